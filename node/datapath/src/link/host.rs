//! What a host has once: the VXLAN device and the host leg.
//!
//! ```text
//!   host stack --- sealane0 ===(veth)=== sealane1 --- from_host       sealane.vx --- from_overlay
//!      shadow range is routed here       no addresses                 every network of every tenant
//! ```
//!
//! Promises: preparing a host that is prepared changes nothing; a link that bears our name and is not ours is never
//! touched; settings are written on these links alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use record::Prefix;
use rtnetlink::LinkVxlan;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage,
};

use nix::errno::Errno;

use super::Links;
use super::address::InterfaceAddress;
use super::binding::Neighbor;
use super::device::{Device, creation};
use super::error::{Error, Fault};
use super::mark::{self, LEG_FABRIC, LEG_FABRIC_MAC, LEG_HOST, LEG_HOST_MAC, OVERLAY, OVERLAY_MAC};
use super::netlink::Netlink;
use super::problem::Problem;
use super::route::Route;
use super::settle::{Change, Settler, Wanted};
use super::sysctl::{Family, Setting};

/// The network between hosts, as far as the size of packets depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// Bytes of the largest packet that it carries, its IP header included.
    pub mtu: u32,
    /// Whether any host is reached by IPv6.
    pub ipv6: bool,
}

impl Underlay {
    /// Bytes of the largest packet that a container may send, its IP header included: the underlay's without the inner
    /// Ethernet header (14), VXLAN (8), UDP (8) and the outer IP header (20, or 40 for IPv6). RFC 7348, section 5.
    pub const fn container_mtu(self) -> u32 {
        self.mtu.saturating_sub(if self.ipv6 { 70 } else { 50 })
    }
}

/// What the host's own links shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// The UDP port of the overlay; IANA's is 4789.
    pub port: u16,
    /// What the overlay runs on.
    pub underlay: Underlay,
    /// The range of node-local IPv4 addresses by which the host stack knows containers. Its first address after the
    /// network's own is the host stack's; containers are numbered from behind it.
    pub shadow4: Prefix,
    /// The same for IPv6.
    pub shadow6: Prefix,
}

impl HostPlan {
    /// The usual port and shadow ranges on `underlay`.
    pub fn on(underlay: Underlay) -> Self {
        let [shadow4, shadow6] = Self::shadow_ranges();
        Self { port: 4789, underlay, shadow4, shadow6 }
    }

    /// The usual ranges of shadow addresses, of IPv4 and IPv6: the same on every host.
    pub fn shadow_ranges() -> [Prefix; 2] {
        [shadow(SHADOW4, 10), shadow(SHADOW6, 64)]
    }

    /// Every reason for which the plan cannot be carried out.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mtu = self.underlay.container_mtu();
        if mtu < Problem::IPV6_MTU {
            problems.push(Problem::Mtu { mtu, least: Problem::IPV6_MTU });
        }
        for (range, ipv4) in [(self.shadow4, true), (self.shadow6, false)] {
            if range.is_ipv4() != ipv4 || range.size() < 4 {
                problems.push(Problem::Shadow { range });
            }
        }
        if self.port == 0 {
            problems.push(Problem::Port);
        }
        problems
    }

    /// The shadow ranges of the families that this kernel has.
    fn shadows(&self) -> Vec<Prefix> {
        let mut ranges = vec![self.shadow4];
        if Family::Ipv6.is_present() {
            ranges.push(self.shadow6);
        }
        ranges
    }
}

/// A prepared host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The index of the VXLAN device.
    pub overlay: u32,
    /// The index of the leg's end in the host stack.
    pub leg_host: u32,
    /// The index of the leg's end in the fabric.
    pub leg_fabric: u32,
    /// Bytes of the largest packet that a container may send.
    pub container_mtu: u32,
    /// What it took; nothing if all was there.
    pub changes: Vec<Change>,
}

impl Links {
    /// Makes the host's own links what the plan says. Changes nothing that is right already; makes a link again only where
    /// it cannot be changed (the overlay's port and modes).
    ///
    /// Errors: [`Error::Plan`], [`Error::NotOurs`], [`Error::NoDriver`], [`Error::PortTaken`], [`Error::RouteTaken`],
    /// [`Error::Incapable`] and the kernel's refusals. What was made before an error stays; a second run goes on from there.
    pub fn prepare_host(&mut self, plan: &HostPlan) -> Result<Host, Error> {
        let problems = plan.problems();
        if !problems.is_empty() {
            return Err(Error::Plan { name: OVERLAY.to_owned(), problems });
        }
        let netlink = &mut self.netlink;
        self.home.at_home(|| prepare(netlink, plan))?
    }

    /// Removes the host's own links, and with them their addresses and routes. Names what was removed: nothing, if nothing
    /// was there. Links of containers stay.
    ///
    /// Errors: the kernel's refusals. A link that bears our name and is not ours is left alone.
    pub fn purge_host(&mut self) -> Result<Vec<String>, Error> {
        let mut removed = Vec::new();
        for name in [OVERLAY, LEG_HOST, LEG_FABRIC] {
            // The leg's second end goes with its first.
            if let Some(device) = self.netlink.device_named(name)?.filter(Device::is_ours)
                && self.netlink.delete_device(&device)?
            {
                removed.push(device.name);
            }
        }
        Ok(removed)
    }
}

fn prepare(netlink: &mut Netlink, plan: &HostPlan) -> Result<Host, Error> {
    let mut changes = Vec::new();
    let overlay = prepare_overlay(netlink, plan, &mut changes)?;
    let (leg_host, leg_fabric) = prepare_leg(netlink, plan, &mut changes)?;
    Ok(Host { overlay, leg_host, leg_fabric, container_mtu: plan.underlay.container_mtu(), changes })
}

/// One device in metadata mode opens the port for IPv4 and for IPv6, so it serves both underlays.
fn prepare_overlay(netlink: &mut Netlink, plan: &HostPlan, changes: &mut Vec<Change>) -> Result<u32, Error> {
    let device = match ours(netlink, OVERLAY)? {
        None => {
            let device = make_overlay(netlink, plan)?;
            changes.push(Change::Made { link: OVERLAY });
            device
        }
        Some(device) => match overlay_difference(&device, plan.port) {
            None => device,
            Some(differs) => {
                netlink.delete_device(&device)?;
                let device = make_overlay(netlink, plan)?;
                changes.push(Change::Remade { link: OVERLAY, differs });
                device
            }
        },
    };
    let wanted = fabric_end(OVERLAY, OVERLAY_MAC, plan);
    let mut settler = Settler { netlink, changes };
    settler.furnish(&device, &wanted)?;
    settler.raise(&device, &wanted).map_err(|fault| port_fault(fault, plan.port, "take up"))?;
    settler.address(&device, &wanted)?;
    Ok(device.index)
}

fn make_overlay(netlink: &mut Netlink, plan: &HostPlan) -> Result<Device, Error> {
    let mut message = LinkVxlan::new(OVERLAY, 0)
        .port(plan.port)
        .collect_metadata(true)
        .learning(false)
        .append_info_data(InfoVxlan::Gbp)
        // RFC 7348, section 5: a packet without UDP checksum must be taken, over IPv6 too.
        .append_info_data(InfoVxlan::UDPZeroCsumRX(true))
        .build();
    message.attributes.push(LinkAttribute::Address(OVERLAY_MAC.0.to_vec()));
    message.attributes.push(LinkAttribute::Mtu(plan.underlay.container_mtu()));
    message.attributes.push(LinkAttribute::Group(mark::GROUP));
    match netlink.create_device(message) {
        Ok(()) => made(netlink, OVERLAY),
        Err(fault) if fault.errno() == Some(Errno::EEXIST) => {
            Err(port_fault(fault, plan.port, "create link"))
        }
        Err(fault) => Err(creation(fault, OVERLAY, "vxlan", "CONFIG_VXLAN (module vxlan)")),
    }
}

/// What of the overlay differs and is fixed at its creation.
fn overlay_difference(device: &Device, port: u16) -> Option<&'static str> {
    let has = |attribute| device.vxlan.contains(&attribute);
    let fixed = [
        ("kind", device.kind == Some(InfoKind::Vxlan)),
        ("port", has(InfoVxlan::Port(port))),
        ("metadata mode", has(InfoVxlan::CollectMetadata(true))),
        ("group policy extension", has(InfoVxlan::Gbp)),
        ("learning", has(InfoVxlan::Learning(false))),
        ("rule on checksums", has(InfoVxlan::UDPZeroCsumRX(true))),
    ];
    fixed.into_iter().find_map(|(what, right)| (!right).then_some(what))
}

fn prepare_leg(
    netlink: &mut Netlink,
    plan: &HostPlan,
    changes: &mut Vec<Change>,
) -> Result<(u32, u32), Error> {
    let held = (ours(netlink, LEG_HOST)?, ours(netlink, LEG_FABRIC)?);
    let (host, fabric) = match held {
        (Some(host), Some(fabric)) if paired(&host, &fabric) => (host, fabric),
        (None, None) => {
            let pair = make_leg(netlink, plan)?;
            changes.push(Change::Made { link: LEG_HOST });
            pair
        }
        (host, fabric) => {
            for end in [host, fabric].into_iter().flatten() {
                netlink.delete_device(&end)?;
            }
            let pair = make_leg(netlink, plan)?;
            changes.push(Change::Remade { link: LEG_HOST, differs: "other end" });
            pair
        }
    };
    let host_wanted = host_end(plan);
    let fabric_wanted = fabric_end(LEG_FABRIC, LEG_FABRIC_MAC, plan);
    let mut settler = Settler { netlink, changes };
    for (device, wanted) in [(&fabric, &fabric_wanted), (&host, &host_wanted)] {
        settler.furnish(device, wanted)?;
        settler.raise(device, wanted).map_err(|fault| fault.on("take up", &device.name))?;
        settler.address(device, wanted)?;
    }
    Ok((host.index, fabric.index))
}

fn make_leg(netlink: &mut Netlink, plan: &HostPlan) -> Result<(Device, Device), Error> {
    let mtu = plan.underlay.container_mtu();
    let end = |name: &str, mac: record::Mac| {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
        message.attributes.push(LinkAttribute::Mtu(mtu));
        message.attributes.push(LinkAttribute::Group(mark::GROUP));
        message
    };
    let mut pair = end(LEG_HOST, LEG_HOST_MAC);
    pair.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end(LEG_FABRIC, LEG_FABRIC_MAC)))),
    ]));
    netlink
        .create_device(pair)
        .map_err(|fault| creation(fault, LEG_HOST, "veth", "CONFIG_VETH (module veth)"))?;
    Ok((made(netlink, LEG_HOST)?, made(netlink, LEG_FABRIC)?))
}

fn paired(host: &Device, fabric: &Device) -> bool {
    let veth = |device: &Device| device.kind == Some(InfoKind::Veth);
    veth(host) && veth(fabric) && host.other_end == Some(fabric.index) && fabric.other_end == Some(host.index)
}

/// The whole shadow range lies behind one neighbour, which both families know by an address of the link alone: the host
/// stack resolves nothing, and keeps one neighbour however many containers it talks to.
fn host_end(plan: &HostPlan) -> Wanted {
    let gateway =
        |range: Prefix| if range.is_ipv4() { IpAddr::V4(LEG_GATEWAY4) } else { IpAddr::V6(LEG_GATEWAY6) };
    let mut wanted = Wanted { settings: HOST_END_SETTINGS, ..fabric_end(LEG_HOST, LEG_HOST_MAC, plan) };
    for range in plan.shadows() {
        let source = range.nth(1);
        wanted.addresses.extend(source.map(InterfaceAddress::alone));
        wanted.neighbors.push(Neighbor { address: gateway(range), mac: LEG_FABRIC_MAC });
        wanted.routes.push(Route { to: range, gateway: gateway(range), source });
    }
    wanted
}

/// An end that belongs to the fabric's programs: the host stack has nothing on it.
fn fabric_end(link: &'static str, mac: record::Mac, plan: &HostPlan) -> Wanted {
    Wanted {
        link,
        mac,
        mtu: plan.underlay.container_mtu(),
        settings: FABRIC_END_SETTINGS,
        addresses: Vec::new(),
        neighbors: Vec::new(),
        routes: Vec::new(),
    }
}

fn ours(netlink: &mut Netlink, name: &str) -> Result<Option<Device>, Error> {
    match netlink.device_named(name)? {
        Some(device) if !device.is_ours() => Err(Error::NotOurs { name: name.to_owned() }),
        device => Ok(device),
    }
}

fn made(netlink: &mut Netlink, name: &'static str) -> Result<Device, Error> {
    let gone = || Error::Vanished { operation: "create", name: name.to_owned() };
    netlink.device_named(name)?.ok_or_else(gone)
}

fn port_fault(fault: Fault, port: u16, operation: &'static str) -> Error {
    match fault {
        Fault::Refused(refusal) if matches!(refusal.errno, Errno::EADDRINUSE | Errno::EEXIST) => {
            Error::PortTaken { name: OVERLAY.to_owned(), port, refusal }
        }
        fault => fault.on(operation, OVERLAY),
    }
}

fn shadow(first: IpAddr, length: u8) -> Prefix {
    Prefix::containing(first, length).expect("the length fits the family")
}

/// RFC 6598's shared space: no network of a site has it by the RFC's terms.
const SHADOW4: IpAddr = IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0));
/// A unique local prefix (RFC 4193).
const SHADOW6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd5e, 0x0a1a, 0x000e, 0, 0, 0, 0, 0));
/// Link-local (RFC 3927), so that it lies in no shadow range; known on this link alone.
const LEG_GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 94, 161);
/// The same for IPv6.
const LEG_GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x5e, 0xa1);

const HOST_END_SETTINGS: &[Setting] = &[
    Setting::ipv4("rp_filter", "0"),
    Setting::ipv4("send_redirects", "0"),
    Setting::ipv4("accept_redirects", "0"),
    // A host may have IPv6 off for new links; the leg needs it.
    Setting::ipv6("disable_ipv6", "0"),
    Setting::ipv6("accept_ra", "0"),
    Setting::ipv6("accept_redirects", "0"),
    Setting::ipv6("accept_dad", "0"),
    // 1: no link-local address of the kernel's making, hence no packets of the kernel's own on the leg.
    Setting::ipv6("addr_gen_mode", "1"),
];

const FABRIC_END_SETTINGS: &[Setting] = &[
    Setting::ipv4("rp_filter", "0"),
    Setting::ipv4("accept_redirects", "0"),
    Setting::ipv6("disable_ipv6", "1"),
];
