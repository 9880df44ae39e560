//! A second reading of NetworkPolicy, made from upstream's own text and from nothing of Sealane's.
//!
//! Sources: the documentation of the types of networking.k8s.io/v1 and of meta.k8s.io/v1 `LabelSelector`; the concept page
//! "Network Policies" (isolation by direction, rules that add up, the pod's own node). Two things which upstream leaves to
//! implementations are settled as Sealane promises them: an `ipBlock` means pods by their addresses too, and a protocol
//! without ports is allowed by rules alone that name no port.
//! Promises: quadratic and obvious. Documents are read as they were written, at every question; there are no groups, no
//! tables, no memory.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::world::{Pod, SCTP, TCP, UDP, World};

/// One end of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// A pod, by this one of its addresses.
    Pod(&'a Pod, IpAddr),
    /// An address that no pod has.
    Outside(IpAddr),
    /// The node that the other end runs on.
    OwnNode,
}

/// The first packet of a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) from: End<'a>,
    pub(crate) to: End<'a>,
    /// IANA's number.
    pub(crate) protocol: u8,
    /// The receiver's; 0 for protocols without.
    pub(crate) port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

/// What the policies of one direction say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// No policy isolates this end in this direction.
    Silent,
    Allowed,
    Denied,
}

/// What both directions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) egress: Word,
    pub(crate) ingress: Word,
}

impl Words {
    /// For a connection both ends must allow it; where no policy speaks at all the network decides.
    pub(crate) fn pass(self, default_allow: bool) -> bool {
        let both = [self.egress, self.ingress];
        !both.contains(&Word::Denied) && (both.contains(&Word::Allowed) || default_allow)
    }
}

/// What the policies of a world say of a packet.
pub(crate) fn allowed(world: &World, packet: &Packet<'_>) -> Words {
    if matches!(packet.from, End::OwnNode) || matches!(packet.to, End::OwnNode) {
        return Words { egress: Word::Allowed, ingress: Word::Allowed };
    }
    Words { egress: word(world, packet, Direction::Egress), ingress: word(world, packet, Direction::Ingress) }
}

fn word(world: &World, packet: &Packet<'_>, direction: Direction) -> Word {
    let isolating: Vec<&Value> =
        world.policies.iter().filter(|policy| isolates(policy, packet, direction)).collect();
    let allow = |policy: &&Value| {
        elements(&policy["spec"][rules_of(direction)])
            .iter()
            .any(|rule| rule_allows(world, policy, rule, packet, direction))
    };
    match (isolating.is_empty(), isolating.iter().any(allow)) {
        (true, _) => Word::Silent,
        (false, true) => Word::Allowed,
        (false, false) => Word::Denied,
    }
}

/// Whether the policy is about this direction, and about the end of the packet that the direction is about.
pub(crate) fn isolates(policy: &Value, packet: &Packet<'_>, direction: Direction) -> bool {
    let own = match direction {
        Direction::Ingress => packet.to,
        Direction::Egress => packet.from,
    };
    let End::Pod(pod, _) = own else { return false };
    is_about(&policy["spec"], direction)
        && policy["metadata"]["namespace"] == *pod.namespace
        && selects(&policy["spec"]["podSelector"], &pod.labels)
}

/// `policyTypes`, or what stands for them where none is given.
fn is_about(spec: &Value, direction: Direction) -> bool {
    let types = elements(&spec["policyTypes"]);
    match direction {
        Direction::Ingress => types.is_empty() || types.iter().any(|listed| listed == "Ingress"),
        Direction::Egress if types.is_empty() => !elements(&spec["egress"]).is_empty(),
        Direction::Egress => types.iter().any(|listed| listed == "Egress"),
    }
}

/// Whether the rule at this place of the policy allows the packet.
pub(crate) fn allows(
    world: &World,
    policy: &Value,
    place: usize,
    packet: &Packet<'_>,
    direction: Direction,
) -> bool {
    let rules = elements(&policy["spec"][rules_of(direction)]);
    rules.get(place).is_some_and(|rule| rule_allows(world, policy, rule, packet, direction))
}

/// A rule allows what matches both its peers and its ports; an empty or missing list of either restricts nothing.
fn rule_allows(
    world: &World,
    policy: &Value,
    rule: &Value,
    packet: &Packet<'_>,
    direction: Direction,
) -> bool {
    let (peers, other) = match direction {
        Direction::Ingress => (elements(&rule["from"]), packet.from),
        Direction::Egress => (elements(&rule["to"]), packet.to),
    };
    let ports = elements(&rule["ports"]);
    (peers.is_empty() || peers.iter().any(|peer| peer_is(world, policy, peer, other)))
        && (ports.is_empty() || ports.iter().any(|port| port_is(port, packet)))
}

fn peer_is(world: &World, policy: &Value, peer: &Value, other: End<'_>) -> bool {
    let (pods, namespaces, block) = (&peer["podSelector"], &peer["namespaceSelector"], &peer["ipBlock"]);
    if !block.is_null() {
        return match other {
            End::Pod(_, address) | End::Outside(address) => block_has(block, address),
            End::OwnNode => false,
        };
    }
    let End::Pod(pod, _) = other else { return false };
    let in_namespace = if namespaces.is_null() {
        policy["metadata"]["namespace"] == *pod.namespace
    } else {
        selects(namespaces, &namespace_labels(world, &pod.namespace))
    };
    in_namespace && (pods.is_null() || selects(pods, &pod.labels))
}

fn namespace_labels(world: &World, name: &str) -> BTreeMap<String, String> {
    let namespace = world.namespaces.iter().find(|namespace| namespace.name == name);
    let mut labels = namespace.map(|namespace| namespace.labels.clone()).unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    labels
}

/// Every requirement of a label selector holds; one that asks nothing selects all.
fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let none = serde_json::Map::new();
    let mut pairs = selector["matchLabels"].as_object().unwrap_or(&none).iter();
    pairs.all(|(key, value)| labels.get(key).is_some_and(|own| value == own))
        && elements(&selector["matchExpressions"]).iter().all(|expression| {
            let own = labels.get(text(&expression["key"]));
            let listed = |own: &String| elements(&expression["values"]).iter().any(|value| value == own);
            match text(&expression["operator"]) {
                "In" => own.is_some_and(listed),
                "NotIn" => !own.is_some_and(listed),
                "Exists" => own.is_some(),
                "DoesNotExist" => own.is_none(),
                other => panic!("no operator {other:?}"),
            }
        })
}

fn block_has(block: &Value, address: IpAddr) -> bool {
    let holes = elements(&block["except"]);
    range_has(text(&block["cidr"]), address) && !holes.iter().any(|hole| range_has(text(hole), address))
}

/// Whether the first bits of the two are the same. What is written behind the length does not count.
fn range_has(range: &str, address: IpAddr) -> bool {
    let (network, length) = range.split_once('/').expect("a range has a length");
    let network: IpAddr = network.parse().expect("a range begins with an address");
    let length: u32 = length.parse().expect("a length is a number");
    let (one, other, width) = match (network, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (u128::from(u32::from(one)), u128::from(u32::from(other)), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => (u128::from(one), u128::from(other), 128),
        _ => return false,
    };
    (0..length).all(|bit| one >> (width - 1 - bit) & 1 == other >> (width - 1 - bit) & 1)
}

fn port_is(port: &Value, packet: &Packet<'_>) -> bool {
    let protocol = match port["protocol"].as_str().unwrap_or("TCP") {
        "TCP" => TCP,
        "UDP" => UDP,
        "SCTP" => SCTP,
        other => panic!("no protocol {other:?}"),
    };
    if protocol != packet.protocol {
        return false;
    }
    match &port["port"] {
        Value::Null => true,
        Value::String(name) => has_port(packet, name),
        number => {
            let first = number.as_u64().expect("a port is a name or a number");
            let last = port["endPort"].as_u64().unwrap_or(first);
            (first..=last).contains(&u64::from(packet.port))
        }
    }
}

/// Whether the receiver is a pod that calls the packet's port by this name.
fn has_port(packet: &Packet<'_>, name: &str) -> bool {
    let End::Pod(receiver, _) = packet.to else { return false };
    let mut ports = receiver.ports.iter();
    ports.any(|port| port.name == name && port.protocol == packet.protocol && port.number == packet.port)
}

fn rules_of(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// `null` and what is missing is an empty list.
fn elements(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
