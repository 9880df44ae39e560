//! The network between the hosts of a lab: who has which address, and the namespaces, switch and links that make it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use record::Prefix;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::link::{Links, Peer, set_sysctl};
use crate::namespace::Namespace;

/// The folder of named namespaces, the same as `ip netns` uses.
pub(crate) const NETNS: &str = "/run/netns";

/// Each host's link to the underlay.
pub(crate) const UPLINK: &str = "eth0";

/// Which address families the underlay has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    #[default]
    Both,
}

impl Family {
    /// Whether it has this family.
    pub const fn has(self, ipv4: bool) -> bool {
        !matches!((self, ipv4), (Self::V4, false) | (Self::V6, true))
    }

    /// `true` for IPv4, `false` for IPv6, as far as it has them.
    pub fn each(self) -> impl Iterator<Item = bool> {
        [true, false].into_iter().filter(move |ipv4| self.has(*ipv4))
    }
}

/// A namespace on the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Member {
    /// Everything outside: the router behind which 203.0.113.0/24 and 2001:db8:113::/64 lie.
    World,
    /// Where the server runs.
    Server,
    /// The host with this number, from 1.
    Node(u16),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.write_str("world"),
            Self::Server => f.write_str("server"),
            Self::Node(number) => write!(f, "n{number}"),
        }
    }
}

/// The underlay of one lab.
#[derive(Clone, Debug)]
pub struct Underlay {
    pub(crate) lab: String,
    pub(crate) members: Vec<Member>,
    pub(crate) family: Family,
    pub(crate) mtu: u32,
}

impl Underlay {
    /// The subnet between the hosts.
    pub fn subnet(ipv4: bool) -> Prefix {
        prefix(if ipv4 { "172.31.0.0/16" } else { "fd00:31::/64" })
    }

    /// The addresses outside; the world answers for every one of them.
    pub fn outside(ipv4: bool) -> Prefix {
        prefix(if ipv4 { "203.0.113.0/24" } else { "2001:db8:113::/64" })
    }

    /// The most hosts that the plan of addresses has room for.
    pub const MOST: u16 = 4000;

    /// A member's address: the world has .0.1, the server .0.2, host `i` counts on from .1.1 in steps of 200 a row.
    pub(crate) fn address(member: Member, ipv4: bool) -> IpAddr {
        let (row, place) = match member {
            Member::World => (0, 1),
            Member::Server => (0, 2),
            Member::Node(number) => (1 + (number - 1) / 200, 1 + (number - 1) % 200),
        };
        let offset =
            if ipv4 { u128::from(row * 256 + place) } else { u128::from(row) << 16 | u128::from(place) };
        Self::subnet(ipv4).nth(offset).expect("at most 4000 hosts fit the subnet")
    }

    /// The file of a member's namespace, or with `net` of the switch's.
    pub(crate) fn path(&self, member: impl fmt::Display) -> PathBuf {
        PathBuf::from(format!("{NETNS}/{}{member}", namespace_prefix(&self.lab)))
    }

    /// Makes all of it and returns when it carries packets. What was made before a fault is found by its names.
    pub(crate) fn build(&self) -> Result<()> {
        let switch = Namespace::create(&self.path(SWITCH))?;
        switch.enter(|| {
            // Otherwise the switch's packets pass this namespace's netfilter.
            set_sysctl("bridge/bridge-nf-call-iptables", "0")?;
            set_sysctl("bridge/bridge-nf-call-ip6tables", "0")?;
            set_sysctl("ipv6/conf/default/disable_ipv6", "1")?;
            Links::open()?.add_bridge(BRIDGE, self.mtu)
        })??;
        self.members.iter().try_for_each(|member| self.join(*member, &switch))?;
        switch.enter(|| {
            let links = Links::open()?;
            self.members.iter().try_for_each(|member| links.await_carrying(&member.to_string()))
        })??;
        self.members.iter().try_for_each(|member| self.await_uplink(*member))
    }

    fn await_uplink(&self, member: Member) -> Result<()> {
        Namespace::open(&self.path(member))?.enter(|| {
            let links = Links::open()?;
            links.await_carrying(UPLINK)?;
            self.family.each().try_for_each(|ipv4| links.await_address(Self::address(member, ipv4)))
        })?
    }

    fn join(&self, member: Member, switch: &Namespace) -> Result<()> {
        let host = Namespace::create(&self.path(member))?;
        let port = member.to_string();
        switch.enter(|| {
            let links = Links::open()?;
            links.add_veth(&port, Peer { name: UPLINK, namespace: &host }, self.mtu)?;
            links.enslave(&port, BRIDGE)?;
            links.up(&port)
        })??;
        host.enter(|| self.configure(member))?
    }

    /// Runs inside the member.
    fn configure(&self, member: Member) -> Result<()> {
        // The plan gives every address once, so nobody has to ask whether it is taken before it is used.
        for scope in ["all", "default", UPLINK] {
            set_sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
            set_sysctl(&format!("ipv6/conf/{scope}/accept_ra"), "0")?;
        }
        let links = Links::open()?;
        links.up("lo")?;
        links.up(UPLINK)?;
        for ipv4 in self.family.each() {
            links.add_address(UPLINK, Self::address(member, ipv4), Self::subnet(ipv4).length())?;
            if member == Member::World {
                let first = Self::outside(ipv4).nth(1).expect("the subnet has more than one address");
                links.add_address("lo", first, Self::outside(ipv4).length())?;
                links.add_local(Self::outside(ipv4))?;
            } else {
                let everything = Prefix::everything(Self::address(member, ipv4));
                links.add_route(everything, Self::address(Member::World, ipv4))?;
            }
        }
        if member == Member::World {
            set_sysctl("ipv4/ip_forward", "1")?;
            set_sysctl("ipv6/conf/all/forwarding", "1")?;
            // A local route lets IPv4 listen at every outside address; IPv6 asks for an assigned one unless told so.
            set_sysctl("ipv6/ip_nonlocal_bind", "1")?;
        }
        Ok(())
    }

    /// Takes a member's link to the switch down, or up again; then it carries packets when this returns.
    pub(crate) fn connect(&self, member: Member, connected: bool) -> Result<()> {
        let port = member.to_string();
        Namespace::open(&self.path(SWITCH))?.enter(|| {
            let links = Links::open()?;
            if !connected {
                return links.down(&port);
            }
            links.up(&port)?;
            links.await_carrying(&port)
        })??;
        if connected { self.await_uplink(member) } else { Ok(()) }
    }

    /// Sets the MTU, in bytes, of every link of the underlay.
    pub(crate) fn set_mtu(&self, mtu: u32) -> Result<()> {
        Namespace::open(&self.path(SWITCH))?.enter(|| {
            let links = Links::open()?;
            self.members.iter().try_for_each(|member| links.set_mtu(&member.to_string(), mtu))?;
            links.set_mtu(BRIDGE, mtu)
        })??;
        for member in &self.members {
            Namespace::open(&self.path(member))?.enter(|| Links::open()?.set_mtu(UPLINK, mtu))??;
        }
        Ok(())
    }
}

/// What the names of a lab's namespaces begin with. A lab's name has no hyphen, so no other lab's begin with it.
pub(crate) fn namespace_prefix(lab: &str) -> String {
    format!("sl-{lab}-")
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect("the constants are prefixes")
}

const SWITCH: &str = "net";
const BRIDGE: &str = "switch";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_member_has_an_address_of_its_own_inside_the_subnet() {
        let members =
            [Member::World, Member::Server].into_iter().chain((1..=Underlay::MOST).map(Member::Node));
        for ipv4 in [true, false] {
            let addresses: Vec<IpAddr> =
                members.clone().map(|member| Underlay::address(member, ipv4)).collect();
            let distinct: HashSet<_> = addresses.iter().collect();
            assert_eq!(distinct.len(), addresses.len());
            assert!(addresses.iter().all(|address| Underlay::subnet(ipv4).contains(*address)));
        }
        assert_eq!(Underlay::address(Member::Node(1), true).to_string(), "172.31.1.1");
        assert_eq!(Underlay::address(Member::Node(201), true).to_string(), "172.31.2.1");
        assert_eq!(Underlay::address(Member::Node(1), false).to_string(), "fd00:31::1:1");
    }
}
