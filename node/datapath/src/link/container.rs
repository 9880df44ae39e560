//! A container's link: a veth pair with one end in the container's namespace and one on the host.
//!
//! ```text
//!   make the pair, both ends down -> furnish the inner end -> judge(host end) -> host end up
//! ```
//!
//! Promises: nothing passes before `judge` has succeeded, since the host end is down until then; on any failure the pair is
//! removed; removing what is not there is no error.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use record::{Mac, Prefix};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};

use super::Links;
use super::address::InterfaceAddress;
use super::binding::{Neighbor, Neighbours};
use super::device::{Device, creation};
use super::error::{Error, Fault};
use super::mark::{self, GATEWAY_MAC, LinkId};
use super::namespace::Namespace;
use super::netlink::Netlink;
use super::problem::Problem;
use super::route::Route;
use super::sysctl::Setting;

/// What a container's link shall be.
#[derive(Debug)]
pub struct ContainerLink<'a> {
    /// Its number on the node; the host end's name and alias come from it.
    pub id: LinkId,
    /// The container's namespace.
    pub namespace: &'a Namespace,
    /// The interface's name inside, such as `eth0`.
    pub name: String,
    /// The interface's Ethernet address; see [`super::derived_mac`].
    pub mac: Mac,
    /// The interface's addresses, each with the length of its network's prefix. None is no error: a link without addresses.
    pub addresses: Vec<InterfaceAddress>,
    /// The gateways of the default routes, at most one of each family, taken to be on the link whatever the prefix. A family
    /// with a gateway has no other neighbour: what lies in the addresses' own networks goes by it too.
    pub gateways: Vec<IpAddr>,
    /// Bytes of the largest packet, its IP header included; see [`super::Underlay::container_mtu`].
    pub mtu: u32,
}

/// The host end of a container link, for whoever hangs the datapath on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEnd {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// A container link that is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The host end.
    pub host: HostEnd,
    /// The inner end's index in the container's namespace.
    pub inner: u32,
}

/// Why a container has no link now.
#[derive(Debug, thiserror::Error)]
pub enum AttachError<E: std::error::Error + 'static> {
    /// The link could not be made or taken over.
    #[error(transparent)]
    Link(#[from] Error),
    /// The datapath could not be hung on it.
    #[error("attach {name}: its datapath could not be put in place")]
    Judge {
        /// The host end.
        name: String,
        /// The datapath's error.
        #[source]
        source: E,
    },
    /// The link failed, and so did its removal. [`Links::detach`] removes it later.
    #[error("attach {name}: it failed ({failure}), and what was made of it is still there")]
    Leftover {
        /// The host end.
        name: String,
        /// Why the link failed.
        failure: Box<Self>,
        /// Why it could not be removed.
        #[source]
        removal: Box<Error>,
    },
}

/// What the kernel has of a container's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The inner end's index.
    pub inner: u32,
    /// The other end's index, in the namespace where that is.
    pub other_end: Option<u32>,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Its addresses of global scope that are in use for good.
    pub addresses: Vec<InterfaceAddress>,
    /// The gateways of its default routes.
    pub gateways: Vec<IpAddr>,
}

/// Something that a container link should have and has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is no such interface inside.
    NoInterface,
    /// The host end is missing.
    NoHostEnd,
    /// The interface inside is not the other end of the host end.
    NotConnected,
    /// One end or both are down.
    Down,
    /// The Ethernet address is another.
    Mac(Option<Mac>),
    /// The MTU is another, in bytes.
    Mtu(u32),
    /// An address is missing.
    NoAddress(InterfaceAddress),
    /// A default route is missing.
    NoRoute(IpAddr),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface => f.write_str("the interface is missing"),
            Self::NoHostEnd => f.write_str("the host end is missing"),
            Self::NotConnected => f.write_str("the interface is not the host end's other end"),
            Self::Down => f.write_str("the link is down"),
            Self::Mac(Some(mac)) => write!(f, "its Ethernet address is {mac}"),
            Self::Mac(None) => f.write_str("it has no Ethernet address"),
            Self::Mtu(mtu) => write!(f, "its MTU is {mtu}"),
            Self::NoAddress(address) => write!(f, "the address {address} is missing"),
            Self::NoRoute(gateway) => write!(f, "the default route via {gateway} is missing"),
        }
    }
}

impl ContainerLink<'_> {
    /// Every reason for which it cannot be made.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !is_interface_name(&self.name) {
            problems.push(Problem::Name { name: self.name.clone() });
        }
        if self.mac.0[0] & 1 != 0 || self.mac.0 == [0; 6] {
            problems.push(Problem::Mac { mac: self.mac });
        }
        if mark::RESERVED_MACS.contains(&self.mac) {
            problems.push(Problem::Reserved { mac: self.mac });
        }
        for (position, &address) in self.addresses.iter().enumerate() {
            let bits = Prefix::host(address.address).length();
            if address.length > bits {
                problems.push(Problem::Length { address, bits });
            }
            if !is_unicast(address.address) || is_link_local(address.address) {
                problems.push(Problem::Address { address });
            }
            if self.addresses[..position].iter().any(|before| before.address == address.address) {
                problems.push(Problem::Repeated { address });
            }
        }
        self.gateway_problems(&mut problems);
        let least = if self.is_ipv6() { Problem::IPV6_MTU } else { Problem::IPV4_MTU };
        if !(least..=65535).contains(&self.mtu) {
            problems.push(Problem::Mtu { mtu: self.mtu, least });
        }
        problems
    }

    fn gateway_problems(&self, problems: &mut Vec<Problem>) {
        for (position, &gateway) in self.gateways.iter().enumerate() {
            let same_family = |other: IpAddr| other.is_ipv4() == gateway.is_ipv4();
            if !self.addresses.iter().any(|own| same_family(own.address)) {
                problems.push(Problem::Lonely { gateway });
            }
            if !is_unicast(gateway) || self.addresses.iter().any(|own| own.address == gateway) {
                problems.push(Problem::Gateway { gateway });
            }
            if let Some(&first) = self.gateways[..position].iter().find(|before| same_family(**before)) {
                problems.push(Problem::Second { gateway, first });
            }
        }
    }

    fn is_ipv6(&self) -> bool {
        self.addresses.iter().any(|own| own.address.is_ipv6())
    }

    /// The default routes, and those to the addresses' own networks: the kernel's neighbour table is one for the whole
    /// machine (`net.ipv4.neigh.default.gc_thresh3`), too small for an entry for every pair of containers.
    fn routes(&self) -> impl Iterator<Item = Route> {
        let networks = self.addresses.iter().filter_map(|own| {
            let to = own.network().filter(|network| network.length() < network.bits())?;
            Some(Route { to, gateway: self.gateway(own.address)?, source: None })
        });
        let all = self.gateways.iter().map(|&gateway| Route {
            to: Prefix::everything(gateway),
            gateway,
            source: None,
        });
        networks.collect::<BTreeSet<_>>().into_iter().chain(all)
    }

    fn gateway(&self, address: IpAddr) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == address.is_ipv4())
    }

    /// The creation of both ends at once, each in its namespace.
    pub(super) fn pair(&self) -> LinkMessage {
        use std::os::fd::{AsFd, AsRawFd};
        let mut inner = end(&self.name, self.mac, self.mtu);
        inner.attributes.push(LinkAttribute::NetNsFd(self.namespace.as_fd().as_raw_fd()));
        let mut host = end(&self.id.host_end(), GATEWAY_MAC, self.mtu);
        host.attributes.push(LinkAttribute::Group(mark::GROUP));
        host.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inner))),
        ]));
        host
    }

    /// Makes the inner end what it shall be. Runs inside the container's namespace.
    fn furnish(&self, index: u32) -> Result<(), Error> {
        for setting in INNER_SETTINGS {
            setting.apply(&self.name)?;
        }
        if self.is_ipv6() {
            // Runtimes switch IPv6 off in the namespaces of containers that they give no IPv6 address.
            Setting::ipv6("disable_ipv6", "0").apply(&self.name)?;
        }
        let mut netlink = Netlink::open()?;
        let device = Device { index, name: self.name.clone(), ..Device::default() };
        netlink.up(LOOPBACK).map_err(|fault| fault.on("take up", "lo"))?;
        netlink.up(index).map_err(|fault| fault.on("take up", &self.name))?;
        for &address in &self.addresses {
            let neighbours = if self.gateway(address.address).is_some() {
                Neighbours::Elsewhere
            } else {
                Neighbours::OnLink
            };
            netlink.add_address(&device, address, neighbours)?;
        }
        for &address in &self.gateways {
            netlink.add_neighbor(&device, Neighbor { address, mac: GATEWAY_MAC })?;
        }
        for route in self.routes() {
            netlink.add_route(&device, route)?;
        }
        Ok(())
    }

    /// Waits until the interface receives what is sent to its addresses, at most [`IN_USE_WITHIN`]: the kernel brings an
    /// IPv6 address into use in a work item of its own, later than it answers. Runs inside the container's namespace.
    fn await_addresses(&self) -> Result<(), Error> {
        let mut netlink = Netlink::open()?;
        let deadline = Instant::now() + IN_USE_WITHIN;
        for own in self.addresses.iter().filter(|own| own.address.is_ipv6()) {
            while !netlink.is_own(own.address)? && Instant::now() < deadline {
                std::thread::sleep(IN_USE_POLL);
            }
        }
        Ok(())
    }
}

impl Links {
    /// Gives a container its link. `judge` hangs the datapath on the host end, which is up only once it has succeeded.
    ///
    /// Errors: [`Error::Plan`] with every problem, [`Error::HostEndExists`], [`Error::NameTaken`], [`Error::Incapable`],
    /// [`Error::NamespaceEnter`], [`Error::RouteTaken`] (another interface has the default route), [`Error::NoDriver`], the
    /// kernel's refusals, and `judge`'s own. Whatever the error, nothing is left of the link, but for [`AttachError::Leftover`]. What `judge` did is its caller's to undo.
    pub fn attach<E: std::error::Error + 'static>(
        &mut self,
        link: &ContainerLink<'_>,
        judge: impl FnOnce(&HostEnd) -> Result<(), E>,
    ) -> Result<Attached, AttachError<E>> {
        let mut problems = link.problems();
        if link.namespace.identity()? == self.home.identity()? {
            problems.push(Problem::HostNamespace { namespace: link.namespace.to_string() });
        }
        if !problems.is_empty() {
            return Err(Error::Plan { name: link.name.clone(), problems }.into());
        }
        self.netlink.create_device(link.pair()).map_err(|fault| self.not_created(link, fault))?;
        self.finish(link, judge).map_err(|failure| match self.detach(link.id) {
            Ok(_) => failure,
            Err(removal) => AttachError::Leftover {
                name: link.id.host_end(),
                failure: Box::new(failure),
                removal: Box::new(removal),
            },
        })
    }

    /// Takes over a link that is there, as after a restart: `judge` hangs the datapath on its host end, which is up
    /// afterwards. `None` if there is no such link. Whether its inner end is whole [`Links::check`] tells.
    ///
    /// Errors: [`Error::NotOurs`], the kernel's refusals, and `judge`'s own. Whatever the error, the link stays.
    pub fn adopt<E: std::error::Error + 'static>(
        &mut self,
        id: LinkId,
        judge: impl FnOnce(&HostEnd) -> Result<(), E>,
    ) -> Result<Option<HostEnd>, AttachError<E>> {
        let name = id.host_end();
        let Some(device) = self.netlink.device_named(&name)? else { return Ok(None) };
        if !device.is_ours() {
            return Err(Error::NotOurs { name }.into());
        }
        self.own(&device, id)?;
        let host = HostEnd { index: device.index, name };
        self.judge_and_raise(&host, judge)?;
        Ok(Some(host))
    }

    /// Gives both ends of a container's link this MTU; false if they have it. What passes meanwhile fits on both: the sending end is
    /// narrowed first and widened last.
    ///
    /// Errors: [`Error::Vanished`] where the link, or its other end in `namespace`, is no more; [`Error::NamespaceEnter`], the
    /// kernel's refusals.
    pub fn resize(&mut self, id: LinkId, namespace: &Namespace, mtu: u32) -> Result<bool, Error> {
        let name = id.host_end();
        let gone = || Error::Vanished { operation: "resize", name: name.clone() };
        let host = self.netlink.device_named(&name)?.filter(Device::is_ours).ok_or_else(gone)?;
        let mut inside = namespace.inside(Netlink::open)??;
        let inner = inside.device_at(host.other_end.ok_or_else(gone)?)?;
        let inner = inner.filter(|inner| inner.other_end == Some(host.index)).ok_or_else(gone)?;
        let mut ends = [(&mut inside, &inner), (&mut self.netlink, &host)];
        if mtu > inner.mtu {
            ends.reverse();
        }
        let mut changed = false;
        for (netlink, end) in ends {
            if end.mtu != mtu {
                netlink.set_device(end, LinkAttribute::Mtu(mtu))?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Removes a container's link, with what hangs on it; false if there was none.
    ///
    /// Errors: [`Error::NotOurs`], the kernel's refusals.
    pub fn detach(&mut self, id: LinkId) -> Result<bool, Error> {
        let name = id.host_end();
        match self.netlink.device_named(&name)? {
            None => Ok(false),
            Some(device) if !device.is_ours() => Err(Error::NotOurs { name }),
            Some(device) => self.netlink.delete_device(&device),
        }
    }

    /// What the container's link should have and has not; nothing if all is as planned. More than planned (an address that
    /// the container gave itself) is no difference.
    ///
    /// Errors: [`Error::NamespaceEnter`], the kernel's refusals.
    pub fn check(&mut self, link: &ContainerLink<'_>) -> Result<Vec<Difference>, Error> {
        let host = self.netlink.device_named(&link.id.host_end())?;
        let Some(facts) = link.namespace.facts(&link.name)? else {
            let no_host_end = host.is_none().then_some(Difference::NoHostEnd);
            return Ok([Difference::NoInterface].into_iter().chain(no_host_end).collect());
        };
        let mut found = Vec::new();
        match &host {
            None => found.push(Difference::NoHostEnd),
            Some(host) if facts.other_end != Some(host.index) => found.push(Difference::NotConnected),
            Some(host) if host.other_end != Some(facts.inner) => found.push(Difference::NotConnected),
            Some(_) => {}
        }
        if !facts.up || host.is_some_and(|host| !host.up) {
            found.push(Difference::Down);
        }
        if facts.mac != Some(link.mac) {
            found.push(Difference::Mac(facts.mac));
        }
        if facts.mtu != link.mtu {
            found.push(Difference::Mtu(facts.mtu));
        }
        let addresses = link.addresses.iter().filter(|address| !facts.addresses.contains(address));
        found.extend(addresses.copied().map(Difference::NoAddress));
        let gateways = link.gateways.iter().filter(|gateway| !facts.gateways.contains(gateway));
        found.extend(gateways.copied().map(Difference::NoRoute));
        Ok(found)
    }

    fn finish<E: std::error::Error + 'static>(
        &mut self,
        link: &ContainerLink<'_>,
        judge: impl FnOnce(&HostEnd) -> Result<(), E>,
    ) -> Result<Attached, AttachError<E>> {
        let name = link.id.host_end();
        let gone = || Error::Vanished { operation: "attach", name: name.clone() };
        let host = self.netlink.device_named(&name)?.ok_or_else(gone)?;
        let inner = host.other_end.ok_or_else(gone)?;
        self.own(&host, link.id)?;
        link.namespace.inside(|| link.furnish(inner))??;

        let host = HostEnd { index: host.index, name };
        self.judge_and_raise(&host, judge)?;
        if link.is_ipv6() {
            link.namespace.inside(|| link.await_addresses())??;
        }
        Ok(Attached { host, inner })
    }

    /// Marks a host end as ours and keeps the host stack off it.
    fn own(&mut self, device: &Device, id: LinkId) -> Result<(), Error> {
        let alias = id.alias();
        if device.alias.as_ref() != Some(&alias) {
            self.netlink.set_device(device, LinkAttribute::IfAlias(alias))?;
        }
        let name = &device.name;
        self.home
            .at_home(|| HOST_END_SETTINGS.iter().try_for_each(|setting| setting.apply(name).map(drop)))?
    }

    fn judge_and_raise<E: std::error::Error + 'static>(
        &mut self,
        host: &HostEnd,
        judge: impl FnOnce(&HostEnd) -> Result<(), E>,
    ) -> Result<(), AttachError<E>> {
        judge(host).map_err(|source| AttachError::Judge { name: host.name.clone(), source })?;
        self.netlink.up(host.index).map_err(|fault| fault.on("take up", &host.name))?;
        Ok(())
    }

    /// The kernel says only that a name is in use, not which of the two.
    fn not_created(&mut self, link: &ContainerLink<'_>, fault: Fault) -> Error {
        let name = link.id.host_end();
        if fault.errno() != Some(Errno::EEXIST) {
            return creation(fault, &name, "veth", "CONFIG_VETH (module veth)");
        }
        match self.netlink.device_named(&name) {
            Ok(Some(device)) if device.is_ours() => Error::HostEndExists { name },
            Ok(Some(_)) => Error::NotOurs { name },
            Ok(None) => Error::NameTaken { name: link.name.clone(), namespace: link.namespace.to_string() },
            Err(error) => error,
        }
    }
}

impl Namespace {
    /// What the kernel has of the interface `name` inside; `None` if there is no such interface.
    ///
    /// Errors: [`Error::NamespaceEnter`], the kernel's refusals.
    pub fn facts(&self, name: &str) -> Result<Option<Facts>, Error> {
        let mut netlink = self.inside(Netlink::open)??;
        let Some(device) = netlink.device_named(name)? else { return Ok(None) };
        let routes = netlink.routes(&device)?;
        Ok(Some(Facts {
            inner: device.index,
            other_end: device.other_end,
            mac: device.mac,
            mtu: device.mtu,
            up: device.up,
            addresses: netlink.addresses(&device)?,
            gateways: routes
                .iter()
                .filter(|route| route.to.length() == 0)
                .map(|route| route.gateway)
                .collect(),
        }))
    }
}

fn end(name: &str, mac: Mac, mtu: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message
}

/// As the kernel's `dev_valid_name`; a '%' it would take for a pattern, and the last two are folders of settings.
fn is_interface_name(name: &str) -> bool {
    let unfit = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b || byte == 0 || b"/:%".contains(&byte);
    (1..=15).contains(&name.len())
        && !name.bytes().any(unfit)
        && ![".", "..", "all", "default"].contains(&name)
}

/// An IPv4-mapped address is none: in the datapath's keys it would be that IPv4 address.
fn is_unicast(address: IpAddr) -> bool {
    let odd = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(address) => address.to_ipv4_mapped().is_some(),
    };
    !(odd || address.is_unspecified() || address.is_multicast() || address.is_loopback())
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// An address that is late by more than this is late for another reason; the container starts all the same.
const IN_USE_WITHIN: Duration = Duration::from_secs(1);
const IN_USE_POLL: Duration = Duration::from_micros(500);

/// The index of `lo` in every namespace.
const LOOPBACK: u32 = 1;

/// The host stack has no business on a container's host end: packets are the programs' alone.
const HOST_END_SETTINGS: &[Setting] = &[Setting::ipv4("rp_filter", "0"), Setting::ipv6("disable_ipv6", "1")];

/// Addresses and routes are the fabric's to give, and duplicates are excluded by it.
const INNER_SETTINGS: &[Setting] =
    &[Setting::ipv6("accept_ra", "0"), Setting::ipv6("autoconf", "0"), Setting::ipv6("accept_dad", "0")];
