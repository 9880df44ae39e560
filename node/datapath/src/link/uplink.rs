//! The link that carries the underlay.

use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;

use super::Links;
use super::address::InterfaceAddress;
use super::error::Error;

/// The link that carries the underlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Bytes of the largest packet that it carries, its IP header included.
    pub mtu: u32,
    /// Its addresses of global scope that are in use for good, in the kernel's order.
    pub addresses: Vec<InterfaceAddress>,
    /// The next hop of the default routes over it, IPv4's first.
    pub gateways: Vec<IpAddr>,
}

impl Links {
    /// The link that has `address`; without one, that of the default route (of lowest metric; IPv4's before IPv6's).
    ///
    /// Errors: [`Error::NoUplink`], [`Error::NoSuchAddress`], the kernel's refusals.
    pub fn uplink(&mut self, address: Option<IpAddr>) -> Result<Uplink, Error> {
        let mut defaults = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            defaults.extend(self.netlink.default_route(family)?);
        }
        let index = match address {
            Some(address) => self.netlink.holder(address)?.ok_or(Error::NoSuchAddress { address })?,
            None => defaults.first().ok_or(Error::NoUplink)?.link,
        };
        let gone = || Error::Vanished { operation: "read the uplink", name: format!("number {index}") };
        let device = self.netlink.device_at(index)?.ok_or_else(gone)?;
        Ok(Uplink {
            index,
            mtu: device.mtu,
            addresses: self.netlink.addresses(&device)?,
            gateways: defaults
                .iter()
                .filter(|route| route.link == index)
                .filter_map(|route| route.gateway)
                .collect(),
            name: device.name,
        })
    }
}
