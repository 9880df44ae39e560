//! Brings a link of ours to what it shall be: reads back, compares, changes the least.
//!
//! Promises: where nothing differs nothing is written; what is ours on the link and no longer wanted is removed.

use std::fmt;

use record::Mac;
use rtnetlink::packet_route::link::LinkAttribute;

use super::address::InterfaceAddress;
use super::binding::{Neighbor, Neighbours};
use super::device::Device;
use super::error::Error;
use super::mark;
use super::netlink::Netlink;
use super::route::Route;
use super::sysctl::Setting;

/// What was changed of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Made {
        /// The link.
        link: &'static str,
    },
    /// It was removed and made again, since what differs cannot be changed.
    Remade {
        /// The link.
        link: &'static str,
        /// What differed.
        differs: &'static str,
    },
    /// It was given a value.
    Set {
        /// The link.
        link: &'static str,
        /// What was set, and to what.
        what: String,
    },
    /// It was given an address, a route or a neighbour.
    Added {
        /// The link.
        link: &'static str,
        /// What was added.
        what: String,
    },
    /// An address, a route or a neighbour was taken from it.
    Removed {
        /// The link.
        link: &'static str,
        /// What was removed.
        what: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made { link } => write!(f, "{link}: made"),
            Self::Remade { link, differs } => write!(f, "{link}: made again, its {differs} differed"),
            Self::Set { link, what } => write!(f, "{link}: {what}"),
            Self::Added { link, what } => write!(f, "{link}: added {what}"),
            Self::Removed { link, what } => write!(f, "{link}: removed {what}"),
        }
    }
}

/// What a link of the host shall be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) link: &'static str,
    pub(super) mac: Mac,
    /// Bytes of a layer 3 packet.
    pub(super) mtu: u32,
    pub(super) settings: &'static [Setting],
    pub(super) addresses: Vec<InterfaceAddress>,
    pub(super) neighbors: Vec<Neighbor>,
    pub(super) routes: Vec<Route>,
}

/// Settles one link and tells what it took. The link's settings come before it is up, its routes after.
pub(super) struct Settler<'a> {
    pub(super) netlink: &'a mut Netlink,
    pub(super) changes: &'a mut Vec<Change>,
}

impl Settler<'_> {
    /// Everything that does not need the link to be up. Runs in the link's own namespace.
    pub(super) fn furnish(&mut self, device: &Device, wanted: &Wanted) -> Result<(), Error> {
        let link = wanted.link;
        if device.alias.as_deref() != Some(mark::ALIAS) {
            self.set(
                link,
                device,
                LinkAttribute::IfAlias(mark::ALIAS.to_owned()),
                "alias sealane".to_owned(),
            )?;
        }
        if device.group != mark::GROUP {
            self.set(link, device, LinkAttribute::Group(mark::GROUP), format!("group {}", mark::GROUP))?;
        }
        if device.mac != Some(wanted.mac) {
            let octets = wanted.mac.0.to_vec();
            self.set(link, device, LinkAttribute::Address(octets), format!("address {}", wanted.mac))?;
        }
        if device.mtu != wanted.mtu {
            self.set(link, device, LinkAttribute::Mtu(wanted.mtu), format!("mtu {}", wanted.mtu))?;
        }
        for setting in wanted.settings {
            if setting.apply(link)? {
                self.changes.push(Change::Set { link, what: format!("{} {}", setting.name, setting.value) });
            }
        }
        Ok(())
    }

    /// Takes the link up unless it is.
    pub(super) fn raise(&mut self, device: &Device, wanted: &Wanted) -> Result<(), super::error::Fault> {
        if !device.up {
            self.netlink.up(device.index)?;
            self.changes.push(Change::Set { link: wanted.link, what: "up".to_owned() });
        }
        Ok(())
    }

    /// Addresses, neighbours and routes: what refers to another is added after it and removed before it.
    pub(super) fn address(&mut self, device: &Device, wanted: &Wanted) -> Result<(), Error> {
        let routes = Diff::of(self.netlink.routes(device)?, &wanted.routes);
        let neighbors = Diff::of(self.netlink.neighbors(device)?, &wanted.neighbors);
        let addresses = Diff::of(self.netlink.addresses(device)?, &wanted.addresses);
        let link = wanted.link;
        for route in routes.stale {
            self.netlink.remove_route(device, route)?;
            self.changes.push(Change::Removed { link, what: format!("route {route}") });
        }
        for neighbor in neighbors.stale {
            self.netlink.remove_neighbor(device, neighbor)?;
            self.changes.push(Change::Removed { link, what: format!("neighbour {neighbor}") });
        }
        // With a family's last address the kernel forgets the neighbours of that family too.
        for address in addresses.missing {
            self.netlink.add_address(device, address, Neighbours::OnLink)?;
            self.changes.push(Change::Added { link, what: format!("address {address}") });
        }
        for address in addresses.stale {
            self.netlink.remove_address(device, address)?;
            self.changes.push(Change::Removed { link, what: format!("address {address}") });
        }
        for neighbor in neighbors.missing {
            self.netlink.add_neighbor(device, neighbor)?;
            self.changes.push(Change::Added { link, what: format!("neighbour {neighbor}") });
        }
        for route in routes.missing {
            self.netlink.add_route(device, route)?;
            self.changes.push(Change::Added { link, what: format!("route {route}") });
        }
        Ok(())
    }

    fn set(
        &mut self,
        link: &'static str,
        device: &Device,
        to: LinkAttribute,
        what: String,
    ) -> Result<(), Error> {
        self.netlink.set_device(device, to)?;
        self.changes.push(Change::Set { link, what });
        Ok(())
    }
}

/// What is there and not wanted, and what is wanted and not there.
struct Diff<T> {
    stale: Vec<T>,
    missing: Vec<T>,
}

impl<T: Copy + PartialEq> Diff<T> {
    fn of(held: Vec<T>, wanted: &[T]) -> Self {
        let missing = wanted.iter().filter(|one| !held.contains(one)).copied().collect();
        Self { stale: held.into_iter().filter(|one| !wanted.contains(one)).collect(), missing }
    }
}
