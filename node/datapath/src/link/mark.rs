//! How a link is known as ours after a restart: names, alias, group number, Ethernet addresses.
//!
//! The kernel takes the group number with the link's creation and the alias only afterwards: a link that a crash left
//! without its alias is still known by its group.

use std::fmt;
use std::net::IpAddr;

use record::{Mac, Vni};

/// The VXLAN device that carries every network.
pub const OVERLAY: &str = "sealane.vx";
/// The host leg's end in the host stack.
pub const LEG_HOST: &str = "sealane0";
/// The host leg's end in the fabric.
pub const LEG_FABRIC: &str = "sealane1";

/// The Ethernet address of every network's gateway, and of every container link's host end.
pub const GATEWAY_MAC: Mac = Mac([0x02, 0x5e, 0xa1, 0x00, 0x00, 0x01]);
/// The Ethernet address of [`LEG_HOST`].
pub const LEG_HOST_MAC: Mac = Mac([0x02, 0x5e, 0xa1, 0x00, 0x00, 0x10]);
/// The Ethernet address of [`LEG_FABRIC`].
pub const LEG_FABRIC_MAC: Mac = Mac([0x02, 0x5e, 0xa1, 0x00, 0x00, 0x11]);
/// The Ethernet address of [`OVERLAY`], the same on every host. The kernel drops an inner frame whose source is the
/// receiving VXLAN device's own address, so no frame in the overlay may ever carry it as its source.
pub const OVERLAY_MAC: Mac = Mac([0x02, 0x5e, 0xa1, 0x00, 0x12, 0xb5]);

/// What no container may have as its Ethernet address.
pub(super) const RESERVED_MACS: [Mac; 4] = [GATEWAY_MAC, LEG_HOST_MAC, LEG_FABRIC_MAC, OVERLAY_MAC];

/// A container link's number, unique on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

impl LinkId {
    /// The host end's name: `sl` and eight hexadecimal digits.
    pub fn host_end(self) -> String {
        format!("sl{self}")
    }

    pub(super) fn alias(self) -> String {
        format!("{ALIAS}:{self}")
    }

    /// The link that the alias, or for want of one the name, speaks of.
    pub(super) fn recognise(name: &str, alias: Option<&str>) -> Option<Self> {
        let digits = match alias {
            Some(alias) => alias.strip_prefix(ALIAS)?.strip_prefix(':')?,
            None => name.strip_prefix("sl")?,
        };
        let exact = digits.len() == 8 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if exact { u32::from_str_radix(digits, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The Ethernet address that an endpoint has unless it asks for another: the same for the same address of the same
/// network, wherever it runs. Locally administered (IEEE 802, second bit of the first octet).
///
/// An IPv4 address is spelt out in the last four octets and so is unique in its network; an IPv6 address is hashed to 40
/// bits.
pub fn derived_mac(vni: Vni, address: IpAddr) -> Mac {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            let [.., low] = vni.value().to_be_bytes();
            Mac([0x0a, low, a, b, c, d])
        }
        IpAddr::V6(address) => {
            let bytes = vni.value().to_be_bytes().into_iter().chain(address.octets());
            // FNV-1a (draft-eastlake-fnv), folded from 64 bits to 40.
            let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
            let [_, _, _, a, b, c, d, e] = (hash ^ (hash >> 40)).to_be_bytes();
            Mac([0x0e, a, b, c, d, e])
        }
    }
}

/// The alias of what a host has once, and the first word of every other.
pub(super) const ALIAS: &str = "sealane";
/// The group number of our links.
pub(super) const GROUP: u32 = 0x005e_a1a0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_recognised_by_its_alias_or_by_its_name_and_by_nothing_else() {
        let id = LinkId(0x2a);
        assert_eq!(id.host_end(), "sl0000002a");
        assert_eq!(LinkId::recognise("whatever", Some(&id.alias())), Some(id));
        assert_eq!(LinkId::recognise(&id.host_end(), None), Some(id));
        for (name, alias) in [
            ("sl0000002a", Some("sealane")),
            ("sl0000002a", Some("somebody's")),
            ("slip0", None),
            ("sl0000002A", None),
            ("sl+000002a", None),
        ] {
            assert_eq!(LinkId::recognise(name, alias), None, "{name} {alias:?}");
        }
        assert!(LinkId(u32::MAX).host_end().len() <= 15);
    }

    #[test]
    fn a_derived_mac_is_locally_administered_and_depends_on_network_and_address() {
        let vni = |value| Vni::new(value).expect("a VNI");
        let of = |network, address: &str| derived_mac(vni(network), address.parse().expect("an address"));
        let some = [
            of(1, "10.0.0.1"),
            of(1, "10.0.0.2"),
            of(2, "10.0.0.1"),
            of(1, "fd00::1"),
            of(2, "fd00::1"),
            of(1, "fd00::2"),
        ];
        for (position, mac) in some.iter().enumerate() {
            assert_eq!(mac.0[0] & 0b11, 0b10, "{mac} is one station's and locally administered");
            assert!(!some[position + 1..].contains(mac), "{mac} twice");
        }
        assert_eq!(of(1, "10.0.0.1"), Mac([0x0a, 1, 10, 0, 0, 1]));
    }
}
