//! How this node's datapath is to be set up.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use record::{Mac, NodeId, Prefix};

use crate::abi::{self, UPLINKS};
use crate::error::Error;

/// What [`crate::Datapath::open`] works with.
#[derive(Clone, Debug)]
pub struct Config {
    /// A directory on a bpffs; maps and links are pinned in it.
    pub pin_dir: PathBuf,
    /// This node.
    pub node: NodeId,
    /// Its underlay addresses, at most one of each family.
    pub underlay: Vec<IpAddr>,
    /// The VXLAN device; `None`: no other nodes.
    pub overlay: Option<Overlay>,
    /// The UDP port of the overlay. Endpoints may not send to it on a node: they would speak as this node.
    pub overlay_port: u16,
    /// The leg to the host's stack; `None`: containers and host do not reach each other.
    pub leg: Option<Leg>,
    /// The devices to the world by ifindex, in order of preference; at most four.
    pub uplinks: Vec<u32>,
    /// Node-local addresses by which the host's stack knows endpoints: endpoint `n` is the address `n + 1` of each.
    pub shadow: Vec<Prefix>,
    /// The MAC of every gateway.
    pub gateway_mac: Mac,
    /// Ports that containers' ways to the world are translated to. Must not overlap the host's own.
    pub nat_ports: RangeInclusive<u16>,
    /// When idle flows are forgotten.
    pub timeouts: Timeouts,
    /// Dropped packets told of by each CPU in a second, at most.
    pub events_per_second: u32,
    /// Sizes of maps, where they are made.
    pub capacity: Capacity,
    /// Flows that one tenant may have on this node.
    pub tenant_flows: u64,
    /// How programs are hung on devices; `None`: by what the kernel can.
    pub hooks: Option<HookKind>,
    /// A cgroup of the unified hierarchy (see [`crate::cgroup_root`]): processes in it and below, of the network namespace in
    /// which the datapath is opened, reach published ports at loopback and the node's own addresses. `None`: they do not.
    pub cgroup: Option<PathBuf>,
}

/// The VXLAN device, made in collect-metadata mode with GBP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Its ifindex.
    pub link: u32,
    /// The largest inner IP packet in bytes.
    pub mtu: u32,
}

/// The veth pair between fabric and host stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The ifindex of the end that the host's stack uses.
    pub host: u32,
    /// That end's MAC.
    pub host_mac: Mac,
    /// The ifindex of the fabric's end.
    pub fabric: u32,
}

/// How programs are hung on devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// Links of kernel 6.6 and later, pinned.
    Tcx,
    /// Filters of the `clsact` qdisc.
    Clsact,
}

/// Idle times after which a flow is forgotten, by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP before the first answer.
    pub tcp_opening: Duration,
    /// TCP after it.
    pub tcp_open: Duration,
    /// TCP after the first FIN.
    pub tcp_closing: Duration,
    /// TCP after both, or a RST.
    pub tcp_closed: Duration,
    /// UDP without an answer.
    pub udp_one_way: Duration,
    /// UDP after one.
    pub udp_both_ways: Duration,
    /// ICMP echo.
    pub icmp: Duration,
    /// Any other protocol.
    pub other: Duration,
}

impl Default for Timeouts {
    /// RFC 5382 and RFC 4787 ask for at least 2 h 4 min and 2 min.
    fn default() -> Self {
        Self {
            tcp_opening: Duration::from_secs(60),
            tcp_open: Duration::from_secs(8 * 3600),
            tcp_closing: Duration::from_secs(120),
            tcp_closed: Duration::from_secs(10),
            udp_one_way: Duration::from_secs(30),
            udp_both_ways: Duration::from_secs(180),
            icmp: Duration::from_secs(30),
            other: Duration::from_secs(600),
        }
    }
}

impl Timeouts {
    pub(crate) fn seconds(&self) -> [u32; abi::FLOW_STATES] {
        [
            self.tcp_opening,
            self.tcp_open,
            self.tcp_closing,
            self.tcp_closed,
            self.udp_one_way,
            self.udp_both_ways,
            self.icmp,
            self.other,
        ]
        .map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX))
    }
}

/// Entries that maps hold. Pinned maps keep the sizes they were made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Attachments on this node.
    pub endpoints: u32,
    /// Virtual networks.
    pub networks: u32,
    /// Blocks and subnets of all networks.
    pub routes: u32,
    /// Nodes of the fabric.
    pub nodes: u32,
    /// (network, node) pairs.
    pub members: u32,
    /// Groups.
    pub groups: u32,
    /// Rows of all rule sets.
    pub rows: u32,
    /// Intervals of all distinct rows.
    pub intervals: u32,
    /// Ranges of outside addresses.
    pub address_classes: u32,
    /// Flows.
    pub flows: u32,
    /// Translated flows.
    pub translations: u32,
    /// Published ports.
    pub published: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            endpoints: 4096,
            networks: 4096,
            routes: 65_536,
            nodes: 16_384,
            members: 131_072,
            groups: 65_536,
            rows: 262_144,
            intervals: 1_048_576,
            address_classes: 65_536,
            flows: 262_144,
            translations: 131_072,
            published: 4096,
        }
    }
}

impl Capacity {
    /// The size of a map that is configured.
    pub(crate) fn of(&self, map: &str) -> Option<u32> {
        Some(match map {
            "endpoints_by_link" => self.endpoints,
            // An address of each family; `endpoints_by_address` holds the gateways too.
            "endpoints_by_address" => {
                self.endpoints.saturating_mul(2).saturating_add(self.networks.saturating_mul(4))
            }
            "endpoints_by_shadow" => self.endpoints.saturating_mul(2),
            "networks" | "tenants" => self.networks,
            "routes" => self.routes,
            "nodes" => self.nodes,
            "nodes_by_address" => self.nodes.saturating_mul(2),
            "members" => self.members,
            "groups" => self.groups,
            "rows" => self.rows,
            "intervals" => self.intervals,
            "address_classes" => self.address_classes,
            "flows" => self.flows,
            "translations" => self.translations,
            "published" => self.published,
            _ => return None,
        })
    }
}

impl Config {
    /// A node with pins in `pin_dir`, the usual ranges, and no device yet.
    pub fn new(pin_dir: impl Into<PathBuf>, node: NodeId) -> Self {
        let capacity = Capacity::default();
        Self {
            pin_dir: pin_dir.into(),
            node,
            underlay: Vec::new(),
            overlay: None,
            overlay_port: 4789,
            leg: None,
            uplinks: Vec::new(),
            shadow: Vec::new(),
            gateway_mac: GATEWAY_MAC,
            nat_ports: 16_384..=29_999,
            timeouts: Timeouts::default(),
            events_per_second: 100,
            capacity,
            tenant_flows: u64::from(capacity.flows / 2),
            hooks: None,
            cgroup: None,
        }
    }

    /// The node's own underlay address of a family.
    pub(crate) fn underlay_of(&self, ipv4: bool) -> Option<IpAddr> {
        self.underlay.iter().copied().find(|address| address.is_ipv4() == ipv4)
    }

    /// The shadow address of an endpoint in the family of `like`; `None` where the range is missing or too small.
    pub(crate) fn shadow_of(&self, endpoint: u32, like: IpAddr) -> Option<IpAddr> {
        shadow_of(&self.shadow, endpoint, like)
    }

    pub(crate) fn encode(&self) -> Result<abi::Config, Error> {
        if self.uplinks.len() > UPLINKS {
            return Err(Error::Config("more than four uplinks"));
        }
        if self.nat_ports.is_empty() || *self.nat_ports.start() == 0 {
            return Err(Error::Config("the range of translated ports is empty or begins at 0"));
        }
        // What comes to that port is the overlay's, so answers to a flow translated to it would be lost.
        if self.nat_ports.contains(&self.overlay_port) {
            return Err(Error::Config("the range of translated ports holds the overlay's own"));
        }
        let mut uplinks = [0; UPLINKS];
        uplinks[..self.uplinks.len()].copy_from_slice(&self.uplinks);
        Ok(abi::Config {
            underlay4: abi::optional(self.underlay_of(true)),
            underlay6: abi::optional(self.underlay_of(false)),
            namespace_cookie: 0,
            node: self.node.0,
            overlay_link: self.overlay.map_or(0, |overlay| overlay.link),
            overlay_mtu: self.overlay.map_or(0, |overlay| overlay.mtu),
            leg_host_link: self.leg.map_or(0, |leg| leg.host),
            leg_fabric_link: self.leg.map_or(0, |leg| leg.fabric),
            uplinks,
            timeouts: self.timeouts.seconds(),
            events_per_second: self.events_per_second,
            nat_first: *self.nat_ports.start(),
            nat_last: *self.nat_ports.end(),
            overlay_port: self.overlay_port.to_be_bytes(),
            unused: 0,
            gateway_mac: self.gateway_mac.0,
            leg_host_mac: self.leg.map_or([0; 6], |leg| leg.host_mac.0),
            unused_end: [0; 4],
        })
    }
}

/// The address, out of these ranges, by which the host's stack knows the address of an endpoint in the family of `like`; `None`
/// where the range is missing or too small.
pub fn shadow_of(ranges: &[Prefix], endpoint: u32, like: IpAddr) -> Option<IpAddr> {
    let range = ranges.iter().find(|range| range.is_ipv4() == like.is_ipv4())?;
    range.nth(u128::from(endpoint) + 1)
}

/// Locally administered, the same for every network: a container that moves keeps its neighbor entry.
pub const GATEWAY_MAC: Mac = Mac([0x02, 0x5e, 0xa1, 0x00, 0x00, 0x01]);
