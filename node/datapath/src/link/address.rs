//! An address that a link has or shall have.

use std::fmt;
use std::net::IpAddr;

use record::Prefix;
use rtnetlink::packet_route::AddressFamily;

/// An address of a link, with the length of the network it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network's prefix, at most 32 or 128.
    pub length: u8,
}

impl InterfaceAddress {
    /// An address by itself: /32 or /128.
    pub const fn alone(address: IpAddr) -> Self {
        Self { address, length: Prefix::host(address).length() }
    }

    /// The network it lies in.
    pub fn network(self) -> Option<Prefix> {
        Prefix::containing(self.address, self.length).ok()
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The family of an address, as the kernel numbers it.
pub(super) const fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
