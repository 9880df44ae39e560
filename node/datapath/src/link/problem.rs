//! What is wrong with a plan for links.

use std::net::IpAddr;

use record::{Mac, Prefix};

use super::address::InterfaceAddress;

/// One reason for which a plan cannot be carried out: where, the value, why, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not a name that an interface can have.
    #[error(
        "name {name:?}: an interface's name has 1 to 15 bytes, no space and none of '/', ':' and '%', and is none of '.', \
         '..', 'all' and 'default'; choose another"
    )]
    Name {
        /// The name given.
        name: String,
    },
    /// Not one station's Ethernet address.
    #[error(
        "mac {mac}: it is not one station's; clear the lowest bit of its first octet, and do not give zeros alone"
    )]
    Mac {
        /// The address given.
        mac: Mac,
    },
    /// An Ethernet address that the fabric uses itself.
    #[error("mac {mac}: the fabric's own links have it; choose another")]
    Reserved {
        /// The address given.
        mac: Mac,
    },
    /// The prefix is longer than its address.
    #[error("address {address}: the prefix is longer than the address; give at most /{bits}")]
    Length {
        /// The address given.
        address: InterfaceAddress,
        /// What the family allows.
        bits: u8,
    },
    /// An address that no interface can have.
    #[error(
        "address {address}: it is not one host's on a network; give a unicast address, neither loopback, IPv6 link-local nor \
         IPv4-mapped"
    )]
    Address {
        /// The address given.
        address: InterfaceAddress,
    },
    /// The same address twice.
    #[error("address {address}: given twice; give it once")]
    Repeated {
        /// The address given.
        address: InterfaceAddress,
    },
    /// A gateway without an address beside it.
    #[error(
        "gateway {gateway}: the interface has no address of its family; add one, or leave the gateway out"
    )]
    Lonely {
        /// The gateway given.
        gateway: IpAddr,
    },
    /// A gateway that cannot be one.
    #[error(
        "gateway {gateway}: it is the interface's own, or no unicast address; give the network's gateway"
    )]
    Gateway {
        /// The gateway given.
        gateway: IpAddr,
    },
    /// Two gateways of a family.
    #[error("gateway {gateway}: {first} is the gateway of that family already; keep one of them")]
    Second {
        /// The gateway given.
        gateway: IpAddr,
        /// The one before it.
        first: IpAddr,
    },
    /// Packets too small for what they shall carry.
    #[error("mtu {mtu}: {least} to 65535 bytes are needed; raise the underlay's MTU (IPv6 needs 1280)")]
    Mtu {
        /// The MTU in bytes.
        mtu: u32,
        /// The least that will do.
        least: u32,
    },
    /// A range that cannot be the shadow range of its family.
    #[error(
        "shadow range {range}: it is of the other family or holds fewer than four addresses; give a larger one"
    )]
    Shadow {
        /// The range given.
        range: Prefix,
    },
    /// The container's namespace is the host's.
    #[error(
        "namespace {namespace}: it is the host's own, whose routes the link would take; give the container's"
    )]
    HostNamespace {
        /// The namespace given.
        namespace: String,
    },
    /// Port 0.
    #[error("port 0: it is no UDP port; give 4789 or another")]
    Port,
}

impl Problem {
    /// The least MTU of a link that carries IPv4 (RFC 791, section 3.2).
    pub const IPV4_MTU: u32 = 68;
    /// The least MTU of a link that carries IPv6 (RFC 8200, section 5).
    pub const IPV6_MTU: u32 = 1280;
}
