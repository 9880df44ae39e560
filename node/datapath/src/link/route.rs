//! Routes of the main table: read, added, removed.

use std::fmt;
use std::net::IpAddr;

use nix::errno::Errno;
use record::Prefix;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::address::family;
use super::device::Device;
use super::error::Error;
use super::netlink::Netlink;

/// A route of one link by a gateway, which is taken to be on that link whatever its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    pub(super) to: Prefix,
    pub(super) gateway: IpAddr,
    /// The source that the host stack takes for what it sends itself.
    pub(super) source: Option<IpAddr>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} via {}", self.to, self.gateway)?;
        match self.source {
            Some(source) => write!(f, " from {source}"),
            None => Ok(()),
        }
    }
}

/// A default route, as far as finding the uplink needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DefaultRoute {
    pub(super) link: u32,
    pub(super) gateway: Option<IpAddr>,
    /// The lower the better.
    pub(super) priority: u32,
}

impl Netlink {
    /// The routes by a gateway that a link has in the main table.
    pub(super) fn routes(&mut self, device: &Device) -> Result<Vec<Route>, Error> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = selection(family);
            message.attributes.push(RouteAttribute::Oif(device.index));
            let answer = self.route_dump(message, || format!("of {}", device.name))?;
            routes.extend(answer.iter().filter_map(|message| gatewayed(message, device.index)));
        }
        Ok(routes)
    }

    /// The best default route of the family, if there is one.
    pub(super) fn default_route(&mut self, family: AddressFamily) -> Result<Option<DefaultRoute>, Error> {
        let answer = self.route_dump(selection(family), || "of the main table".to_owned())?;
        Ok(answer.iter().filter_map(outbound).min_by_key(|route| route.priority))
    }

    /// Whether packets to the address are received here.
    pub(super) fn is_own(&mut self, address: IpAddr) -> Result<bool, Error> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(address);
        message.header.destination_prefix_length = Prefix::host(address).length();
        message.attributes.push(RouteAttribute::Destination(address.into()));
        match self.read(RouteNetlinkMessage::GetRoute(message)) {
            Ok(answer) => {
                Ok(answer.into_iter().filter_map(route).any(|route| route.header.kind == RouteType::Local))
            }
            Err(fault) if matches!(fault.errno(), Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH)) => {
                Ok(false)
            }
            Err(fault) => Err(fault.on("look for the route to", address)),
        }
    }

    /// Adds a route; one of another's to the same prefix is left as it is.
    pub(super) fn add_route(&mut self, device: &Device, route: Route) -> Result<(), Error> {
        let mut message = spelt(device, route);
        message.header.flags = RouteFlags::Onlink;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
        match self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL) {
            Ok(()) => Ok(()),
            Err(fault) if fault.errno() == Some(Errno::EEXIST) => {
                Err(Error::RouteTaken { to: route.to, gateway: route.gateway, name: device.name.clone() })
            }
            Err(fault) => Err(fault.on("add route", format!("{route} on {}", device.name))),
        }
    }

    /// Removes a route, if it is still there.
    pub(super) fn remove_route(&mut self, device: &Device, route: Route) -> Result<(), Error> {
        match self.change(RouteNetlinkMessage::DelRoute(spelt(device, route)), 0) {
            Err(fault) if fault.errno() != Some(Errno::ESRCH) => {
                Err(fault.on("remove route", format!("{route} from {}", device.name)))
            }
            _ => Ok(()),
        }
    }

    fn route_dump(
        &mut self,
        selection: RouteMessage,
        what: impl FnOnce() -> String,
    ) -> Result<Vec<RouteMessage>, Error> {
        let family = selection.header.address_family;
        match self.dump(&RouteNetlinkMessage::GetRoute(selection)) {
            // Of a family that it lacks, a kernel answers with all others.
            Ok(answer) => Ok(answer
                .into_iter()
                .filter_map(route)
                .filter(|route| route.header.address_family == family)
                .collect()),
            // The table is made with its first route; a kernel without the family has none at all.
            Err(fault)
                if matches!(fault.errno(), Some(Errno::ENOENT | Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP)) =>
            {
                Ok(Vec::new())
            }
            Err(fault) => Err(fault.on("list routes", what())),
        }
    }
}

fn selection(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message
}

fn spelt(device: &Device, route: Route) -> RouteMessage {
    let mut message = selection(family(route.to.address()));
    message.header.destination_prefix_length = route.to.length();
    message.attributes.push(RouteAttribute::Destination(route.to.address().into()));
    message.attributes.push(RouteAttribute::Gateway(route.gateway.into()));
    message.attributes.push(RouteAttribute::Oif(device.index));
    message
}

fn route(message: RouteNetlinkMessage) -> Option<RouteMessage> {
    match message {
        RouteNetlinkMessage::NewRoute(message) => Some(message),
        _ => None,
    }
}

fn gatewayed(message: &RouteMessage, index: u32) -> Option<Route> {
    let mut link = None;
    let mut gateway = None;
    let mut source = None;
    let mut first = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        _ => IpAddr::from([0; 16]),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => link = Some(*oif),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Destination(address) => first = ip(address)?,
            _ => {}
        }
    }
    let to = Prefix::containing(first, message.header.destination_prefix_length).ok()?;
    (link == Some(index)).then_some(Route { to, gateway: gateway?, source })
}

fn outbound(message: &RouteMessage) -> Option<DefaultRoute> {
    if message.header.destination_prefix_length != 0 || message.header.kind != RouteType::Unicast {
        return None;
    }
    let mut link = None;
    let mut gateway = None;
    let mut priority = 0;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => link = Some(*oif),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Priority(value) => priority = *value,
            // Of several equal paths the first: a host's underlay addresses are on one link.
            RouteAttribute::MultiPath(paths) => {
                let path = paths.first()?;
                link = Some(path.interface_index);
                gateway = path.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Gateway(address) => ip(address),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(DefaultRoute { link: link?, gateway, priority })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
