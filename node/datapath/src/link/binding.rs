//! What is bound to one link: its addresses and its permanent neighbours, read, added, removed.

use std::fmt;
use std::net::IpAddr;

use nix::errno::Errno;
use record::Mac;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::address::{InterfaceAddress, family};
use super::device::Device;
use super::error::Error;
use super::netlink::Netlink;

/// Whether the network of an address is on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// It is: the kernel routes the network to the link and asks for every neighbour.
    OnLink,
    /// It is reached by the routes that are given.
    Elsewhere,
}

/// A permanent entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbor {
    pub(super) address: IpAddr,
    pub(super) mac: Mac,
}

impl fmt::Display for Neighbor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.address, self.mac)
    }
}

impl Netlink {
    /// The addresses of a link that others may use: neither link-local nor still on trial nor going out of use.
    pub(super) fn addresses(&mut self, device: &Device) -> Result<Vec<InterfaceAddress>, Error> {
        let mut message = AddressMessage::default();
        message.header.index = device.index;
        let answer = self.dump(&RouteNetlinkMessage::GetAddress(message));
        let answer = answer.map_err(|fault| fault.on("list addresses of", &device.name))?;
        Ok(answer.into_iter().filter_map(|message| usable(&message, device.index)).collect())
    }

    /// The link that has the address, if any has.
    pub(super) fn holder(&mut self, address: IpAddr) -> Result<Option<u32>, Error> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        let answer = self.dump(&RouteNetlinkMessage::GetAddress(message));
        let answer = answer.map_err(|fault| fault.on("look for the address", address))?;
        Ok(answer.iter().find_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) if own(message) == Some(address) => {
                Some(message.header.index)
            }
            _ => None,
        }))
    }

    /// Gives a link an address, in use at once: nobody else can have it, so duplicates are not looked for (RFC 4862, 5.4).
    pub(super) fn add_address(
        &mut self,
        device: &Device,
        address: InterfaceAddress,
        neighbours: Neighbours,
    ) -> Result<(), Error> {
        let mut message = spelt(device, address);
        let mut flags = AddressFlags::empty();
        flags.set(AddressFlags::Nodad, address.address.is_ipv6());
        flags.set(AddressFlags::Noprefixroute, neighbours == Neighbours::Elsewhere);
        message.attributes.push(AddressAttribute::Flags(flags));
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|fault| fault.on("add address", format!("{address} to {}", device.name)))
    }

    /// Takes an address from a link.
    pub(super) fn remove_address(&mut self, device: &Device, address: InterfaceAddress) -> Result<(), Error> {
        self.change(RouteNetlinkMessage::DelAddress(spelt(device, address)), 0)
            .map_err(|fault| fault.on("remove address", format!("{address} from {}", device.name)))
    }

    /// The permanent neighbours of a link.
    pub(super) fn neighbors(&mut self, device: &Device) -> Result<Vec<Neighbor>, Error> {
        let mut message = NeighbourMessage::default();
        message.attributes.push(NeighbourAttribute::IfIndex(device.index));
        let answer = self.dump(&RouteNetlinkMessage::GetNeighbour(message));
        let answer = answer.map_err(|fault| fault.on("list neighbours of", &device.name))?;
        Ok(answer.iter().filter_map(|message| permanent(message, device.index)).collect())
    }

    /// Makes a neighbour known for good, in place of what was known of its address.
    pub(super) fn add_neighbor(&mut self, device: &Device, neighbor: Neighbor) -> Result<(), Error> {
        let mut message = neighbor_message(device, neighbor.address);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbor.mac.0.to_vec()));
        self.change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
            .map_err(|fault| fault.on("add neighbour", format!("{neighbor} on {}", device.name)))
    }

    /// Forgets a neighbour.
    pub(super) fn remove_neighbor(&mut self, device: &Device, neighbor: Neighbor) -> Result<(), Error> {
        match self.change(RouteNetlinkMessage::DelNeighbour(neighbor_message(device, neighbor.address)), 0) {
            Err(fault) if fault.errno() != Some(Errno::ENOENT) => {
                Err(fault.on("remove neighbour", format!("{neighbor} from {}", device.name)))
            }
            _ => Ok(()),
        }
    }
}

fn spelt(device: &Device, address: InterfaceAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.address);
    message.header.prefix_len = address.length;
    message.header.index = device.index;
    message.attributes.push(AddressAttribute::Local(address.address));
    message.attributes.push(AddressAttribute::Address(address.address));
    message
}

/// The link's own address: where a link has a peer, `Address` is the peer's and `Local` its own.
fn own(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn usable(message: &RouteNetlinkMessage, index: u32) -> Option<InterfaceAddress> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let unfit = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    let fit = !flags.is_some_and(|flags| flags.intersects(unfit));
    let global = message.header.scope == AddressScope::Universe;
    let address = InterfaceAddress { address: own(message)?, length: message.header.prefix_len };
    (message.header.index == index && fit && global).then_some(address)
}

fn neighbor_message(device: &Device, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = device.index;
    message.attributes.push(NeighbourAttribute::Destination(match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }));
    message
}

fn permanent(message: &RouteNetlinkMessage, index: u32) -> Option<Neighbor> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    if message.header.ifindex != index || message.header.state != NeighbourState::Permanent {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) => octets.clone().try_into().ok().map(Mac),
        _ => None,
    })?;
    Some(Neighbor { address, mac })
}
