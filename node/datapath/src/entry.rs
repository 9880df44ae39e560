//! Records as map entries: what each record puts where.
//!
//! Pure. A [`Slot`] is a place in a map, ordered by what is referred to first; a [`Value`] is what the place is to hold, in
//! the newest version alone.

use std::sync::Arc;

use record::Prefix;
use record::record::{Key, Peer, Record, Row};

use crate::abi::{self, Address, ClassKey, GroupKey, Interval, MemberKey, Place, RouteKey, RowKey, RuleSets};
use crate::error::Error;

/// One place in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    Tenant(u32),
    Node(u32),
    NodeAddress(Address),
    Network(u32),
    Gateway(Place),
    /// Shares its entry of `routes` with the [`Slot::Route`] of the same prefix.
    Subnet(RouteKey),
    Member(MemberKey),
    Route(RouteKey),
    Row(RowKey),
    Group(GroupKey),
    Class(ClassKey),
}

/// What a place holds; the variant is the slot's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Present,
    Node(Address),
    NodeAddress(u32),
    Network(Network),
    Gateway { tenant: u32 },
    Route { node: u32 },
    Row(Content),
    Group(RuleSets),
    Class(u32),
}

/// The intervals of a row. Equal ones share their slice of the array.
pub(crate) type Content = Arc<[Interval]>;

/// A network without its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) tenant: u32,
    pub(crate) gateway4: Address,
    pub(crate) gateway6: Address,
    pub(crate) flags: u32,
}

impl Slot {
    /// Whether its entry changes with the generation's flip.
    pub(crate) const fn is_versioned(&self) -> bool {
        matches!(self, Self::Network(_) | Self::Row(_) | Self::Group(_) | Self::Class(_))
    }
}

/// What a record puts where. `ipv4`, `ipv6`: the families of this node's underlay.
///
/// Errors: [`Error::Unfit`] for what no map can hold.
pub(crate) fn entries(record: &Record, ipv4: bool, ipv6: bool) -> Result<Vec<(Slot, Value)>, Error> {
    Ok(match record {
        Record::Tenant(tenant) => vec![(Slot::Tenant(tenant.id.0), Value::Present)],
        Record::Node(node) => {
            let usable = node.underlay.iter().find(|address| if address.is_ipv4() { ipv4 } else { ipv6 });
            let tunnel = usable.map(|address| (Slot::Node(node.id.0), Value::Node(Address::of(*address))));
            let known = node
                .underlay
                .iter()
                .map(|address| (Slot::NodeAddress(Address::of(*address)), Value::NodeAddress(node.id.0)));
            tunnel.into_iter().chain(known).collect()
        }
        Record::Network(network) => of_network(network),
        Record::Member(member) => {
            let key = MemberKey { node: member.node.0, vni: member.vni.value() };
            vec![(Slot::Member(key), Value::Present)]
        }
        Record::Route(route) => {
            let key = route_key(route.vni.value(), route.prefix);
            vec![(Slot::Route(key), Value::Route { node: route.node.0 })]
        }
        Record::Row(row) => vec![(Slot::Row(row_key(row.rule_set.0, row.peer)), Value::Row(content(row)?))],
        Record::Group(group) => {
            let sets = RuleSets { ingress: group.ingress.0, egress: group.egress.0 };
            vec![(Slot::Group(group_key(group.tenant.0, group.group.0)), Value::Group(sets))]
        }
        Record::AddressClass(class) => {
            let key = class_key(class.tenant.0, class.prefix);
            vec![(Slot::Class(key), Value::Class(u32::from(class.group.0)))]
        }
        // The agent's own affair.
        Record::Project(_) | Record::Selector(_) | Record::Rule(_) | Record::Endpoint(_) => Vec::new(),
    })
}

/// The one slot of a record that is named by its key alone; `None` where a record has several, or none.
pub(crate) fn slot_of(key: &Key) -> Option<Slot> {
    Some(match key {
        Key::Tenant(id) => Slot::Tenant(id.0),
        Key::Member(vni, node) => Slot::Member(MemberKey { node: node.0, vni: vni.value() }),
        Key::Route(vni, prefix) => Slot::Route(route_key(vni.value(), *prefix)),
        Key::Row(_, rule_set, peer) => Slot::Row(row_key(rule_set.0, *peer)),
        Key::Group(tenant, group) => Slot::Group(group_key(tenant.0, group.0)),
        Key::AddressClass(tenant, prefix) => Slot::Class(class_key(tenant.0, *prefix)),
        Key::Node(_) | Key::Network(_) => return None,
        Key::Project(..) | Key::Selector(..) | Key::Rule(..) | Key::Endpoint(..) => return None,
    })
}

fn of_network(network: &record::record::Network) -> Vec<(Slot, Value)> {
    let vni = network.vni.value();
    let tenant = network.tenant.0;
    let gateway = |ipv4: bool| {
        network.subnets.iter().map(|subnet| subnet.gateway).find(|address| address.is_ipv4() == ipv4)
    };
    let flags = if network.default_allow { 0 } else { abi::NETWORK_DENY }
        | if network.world { abi::NETWORK_EGRESS } else { 0 };
    let value = Network {
        tenant,
        gateway4: abi::optional(gateway(true)),
        gateway6: abi::optional(gateway(false)),
        flags,
    };
    let mut entries = vec![(Slot::Network(vni), Value::Network(value))];
    for subnet in &network.subnets {
        let place = Place { vni, address: Address::of(subnet.gateway) };
        entries.push((Slot::Gateway(place), Value::Gateway { tenant }));
        entries.push((Slot::Subnet(route_key(vni, subnet.prefix)), Value::Present));
    }
    entries
}

fn content(row: &Row) -> Result<Content, Error> {
    if row.ports.len() > ROW_INTERVALS {
        let what =
            format!("row of rule set {} for {:?} with {} intervals", row.rule_set, row.peer, row.ports.len());
        return Err(Error::Unfit { what });
    }
    let interval = |interval: &record::record::PortInterval| Interval {
        start: u32::from(interval.protocol) << 16 | u32::from(interval.port),
        decision: (interval.decision.verdict as u32) << 30 | interval.decision.rule.0,
    };
    Ok(row.ports.iter().map(interval).collect())
}

fn route_key(vni: u32, prefix: Prefix) -> RouteKey {
    let address = prefix.address();
    RouteKey {
        length: 64 + Address::wide_length(address, prefix.length()),
        vni,
        family: Address::family(address),
        address: Address::of(address),
    }
}

fn class_key(tenant: u32, prefix: Prefix) -> ClassKey {
    let address = prefix.address();
    ClassKey {
        length: 64 + Address::wide_length(address, prefix.length()),
        tenant,
        family: Address::family(address),
        address: Address::of(address),
    }
}

fn row_key(rule_set: u32, peer: Peer) -> RowKey {
    let peer = match peer {
        Peer::Others => 0,
        Peer::Group(group) => u32::from(group.0),
    };
    RowKey { rule_set, peer }
}

fn group_key(tenant: u32, group: u16) -> GroupKey {
    GroupKey { tenant, group: u32::from(group) }
}

/// The binary search of `bpf/policy.h` takes at most 17 steps.
const ROW_INTERVALS: usize = 65_535;
