//! A world as Sealane is told of it, and what there is to ask about it.
//!
//! Promises: documents reach the compiler by the way that people's do, through `intent`; nothing of the policies is read here
//! but the numbers of ports that make good questions.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use compile::{Change, Compiler, Endpoint, Judged, Tables, Universe};
use intent::{Kind, Parsed, UnknownFields, admit, parse};
use record::record::{Network, Node, Route, Subnet};
use record::{Group, Key, NamedPort, NodeId, Prefix, Protocol, Record, RuleId, TenantId, Verdict, Vni};
use serde_json::Value;

use super::oracle::{Direction, End, Packet, Word, Words, allows, isolates};
use super::world::{Pod, SCTP, TCP, UDP, World};

pub(crate) const TENANT: TenantId = TenantId(1);

pub(crate) fn vni() -> Vni {
    Vni::new(100).unwrap()
}

/// Everything there is, from nothing.
pub(crate) fn changes(world: &World) -> Vec<Change> {
    let mut changes = vec![Change::PutTenant { id: TENANT, name: "shop".into() }];
    changes.push(Change::PutNetwork(network(world.default_allow)));
    for node in [1, 2] {
        let underlay = [format!("192.0.2.{node}"), format!("2001:db8::{node}")];
        let underlay = underlay.iter().map(|text| text.parse().unwrap()).collect();
        changes.push(Change::PutNode(Node { id: NodeId(node), name: format!("node{node}"), underlay }));
        for prefix in [format!("10.1.{node}.0/24"), format!("fd01::{node}:0/112")] {
            let prefix: Prefix = prefix.parse().unwrap();
            changes.push(Change::PutBlock(Route { vni: vni(), prefix, node: NodeId(node) }));
        }
    }
    for document in world.documents() {
        match document["kind"].as_str() {
            Some("Namespace") => {
                let Parsed::Namespace(namespace) = meaning(Kind::Namespace, &document) else {
                    unreachable!()
                };
                changes.push(Change::PutNamespace(TENANT, namespace));
            }
            Some("NetworkPolicy") => changes.push(policy(&document)),
            _ => {}
        }
    }
    changes.extend(world.pods.iter().map(|pod| Change::PutEndpoint(endpoint(pod))));
    changes
}

/// What makes the policies of one world those of another.
pub(crate) fn policy_changes(before: &World, after: &World) -> Vec<Change> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let gone = before.policies.iter().map(|policy| &policy["metadata"]);
    let gone = gone.filter(|own| after.policies.iter().all(|policy| policy["metadata"] != **own));
    let gone = gone.map(|own| Change::RemovePolicy {
        tenant: TENANT,
        namespace: text(&own["namespace"]),
        name: text(&own["name"]),
    });
    gone.chain(after.policies.iter().map(policy)).collect()
}

fn policy(document: &Value) -> Change {
    let Parsed::NetworkPolicy(policy) = meaning(Kind::NetworkPolicy, document) else { unreachable!() };
    Change::PutPolicy(TENANT, policy)
}

/// What the policies of a world cut its groups by.
pub(crate) fn universe(world: &World) -> Universe {
    let mut universe = Universe::default();
    for document in &world.policies {
        let Parsed::NetworkPolicy(policy) = meaning(Kind::NetworkPolicy, document) else { unreachable!() };
        universe.extend(Universe::of(&policy));
    }
    universe
}

/// What a document means; the canonical form that the store keeps means the same.
fn meaning(kind: Kind, document: &Value) -> Parsed {
    let admitted = admit(kind, document.clone(), UnknownFields::Refuse)
        .unwrap_or_else(|problems| panic!("{document} is refused: {problems:?}"));
    assert_eq!(parse(kind, &admitted.document).as_ref(), Ok(&admitted.parsed), "{document}");
    admitted.parsed
}

fn network(default_allow: bool) -> Network {
    let subnet = |prefix: &str, gateway: &str| Subnet {
        prefix: prefix.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
    };
    Network {
        vni: vni(),
        tenant: TENANT,
        name: "default".into(),
        subnets: vec![subnet("10.1.0.0/16", "10.1.0.1"), subnet("fd01::/64", "fd01::1")],
        default_allow,
        world: true,
        mtu: None,
    }
}

fn endpoint(pod: &Pod) -> Endpoint {
    let port = |port: &super::world::ContainerPort| NamedPort {
        name: port.name.clone(),
        protocol: Protocol::ALL.into_iter().find(|protocol| protocol.number() == port.protocol).unwrap(),
        port: port.number,
    };
    Endpoint {
        tenant: TENANT,
        uid: pod.name.clone(),
        vni: vni(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        labels: pod.labels.clone(),
        ports: pod.ports.iter().map(port).collect(),
        addresses: pod.addresses.iter().copied().collect(),
        node: NodeId(pod.node),
    }
}

/// Everybody in a world, by every address.
pub(crate) fn ends(world: &World) -> Vec<End<'_>> {
    let pods = world.pods.iter();
    let pods = pods.flat_map(|pod| pod.addresses.iter().map(move |address| End::Pod(pod, *address)));
    let outside = world.outside.iter().map(|address| End::Outside(*address));
    pods.chain(outside).chain([End::OwnNode]).collect()
}

/// Who can meet whom: two pods or a pod and an address, of one family; a pod and its node. A pod's own traffic never leaves it.
pub(crate) fn pairs(world: &World) -> Vec<(End<'_>, End<'_>)> {
    let ends = ends(world);
    let meet = |from: &End<'_>, to: &End<'_>| match (from, to) {
        (End::Pod(one, from), End::Pod(other, to)) => {
            one.name != other.name && from.is_ipv4() == to.is_ipv4()
        }
        (End::Pod(_, from) | End::Outside(from), End::Pod(_, to) | End::Outside(to)) => {
            from.is_ipv4() == to.is_ipv4()
        }
        (End::OwnNode, End::Pod(..)) | (End::Pod(..), End::OwnNode) => true,
        (End::OwnNode, _) | (_, End::OwnNode) => false,
    };
    let pairs = ends.iter().flat_map(|from| ends.iter().map(move |to| (*from, *to)));
    pairs.filter(|(from, to)| meet(from, to)).collect()
}

/// Ports on both sides of every number that somebody wrote, in each protocol; the first and the last; protocols without.
pub(crate) fn ports(worlds: &[&World]) -> BTreeSet<(u8, u16)> {
    let mut written = BTreeSet::from([0, u16::MAX]);
    for world in worlds {
        world.policies.iter().for_each(|policy| numbers(policy, &mut written));
        written.extend(world.pods.iter().flat_map(|pod| &pod.ports).map(|port| port.number));
    }
    let around = |number: u16| [number.saturating_sub(1), number, number.saturating_add(1)];
    let numbers: BTreeSet<u16> = written.into_iter().flat_map(around).collect();
    let ports = [TCP, UDP, SCTP].into_iter();
    let ports = ports.flat_map(|protocol| numbers.iter().map(move |number| (protocol, *number)));
    ports.chain([(ICMP, 0), (ICMPV6, 0), (GRE, 0)]).collect()
}

fn numbers(value: &Value, found: &mut BTreeSet<u16>) {
    match value {
        Value::Number(number) => found.extend(number.as_u64().and_then(|number| u16::try_from(number).ok())),
        Value::Array(elements) => elements.iter().for_each(|element| numbers(element, found)),
        Value::Object(fields) => fields.values().for_each(|field| numbers(field, found)),
        _ => {}
    }
}

/// Every question about a world at these ports.
pub(crate) fn packets<'a>(world: &'a World, ports: &BTreeSet<(u8, u16)>) -> Vec<Packet<'a>> {
    let pairs = pairs(world).into_iter();
    let packets = pairs.flat_map(|(from, to)| {
        ports.iter().map(move |(protocol, port)| Packet { from, to, protocol: *protocol, port: *port })
    });
    packets.collect()
}

/// About `most` of the items, spread evenly and in step with nothing (multiples of the golden ratio); all of them, if they are few.
pub(crate) fn some<T>(items: Vec<T>, most: usize) -> impl Iterator<Item = T> {
    let share = most as f64 / items.len().max(1) as f64 * f64::from(u32::MAX);
    let numbered = items.into_iter().zip(0u32..);
    numbered
        .filter(move |(_, place)| f64::from(place.wrapping_mul(2_654_435_769)) <= share)
        .map(|(item, _)| item)
}

/// The group of an end, as the fabric numbers it.
pub(crate) fn group(compiler: &Compiler, end: &End<'_>) -> Group {
    match end {
        End::Pod(pod, address) => compiler.group(TENANT, &pod.name, *address),
        End::Outside(address) => compiler.class(TENANT, *address),
        End::OwnNode => Group::HOST,
    }
}

/// The records that each node holds.
pub(crate) type Held = BTreeMap<u32, BTreeMap<Key, Arc<Record>>>;

pub(crate) fn held(compiler: &Compiler) -> Held {
    let records = |node: u32| {
        let records = compiler.records_of(NodeId(node)).into_iter();
        records.map(|record| (record.key(), record)).collect()
    };
    [1, 2].map(|node| (node, records(node))).into()
}

/// The nodes that judge a packet: the receiver's always, the sender's where the receiver is not another node's.
pub(crate) fn judges(packet: &Packet<'_>) -> BTreeSet<u32> {
    match (packet.from, packet.to) {
        (_, End::Pod(receiver, _)) => [receiver.node].into(),
        (End::Pod(sender, _), _) => [sender.node].into(),
        _ => BTreeSet::new(),
    }
}

/// What a judgement says, in the oracle's words.
pub(crate) fn words(judged: &Judged) -> Words {
    let word = |verdict: Verdict| match verdict {
        Verdict::Default => Word::Silent,
        Verdict::Allow => Word::Allowed,
        Verdict::Deny => Word::Denied,
    };
    Words { egress: word(judged.egress.decision.verdict), ingress: word(judged.ingress.decision.verdict) }
}

/// Whether the rule that a decision names is there and does what is said of it.
pub(crate) fn rule_does(
    tables: &dyn Tables,
    world: &World,
    packet: &Packet<'_>,
    (rule, word): (RuleId, Word),
    direction: Direction,
) -> bool {
    if word == Word::Silent {
        return rule == RuleId(0);
    }
    let Some(Record::Rule(named)) = tables.record(&Key::Rule(TENANT, rule)) else { return false };
    let side = match direction {
        Direction::Ingress => record::Direction::Ingress,
        Direction::Egress => record::Direction::Egress,
    };
    let is_named = |policy: &&Value| {
        policy["kind"] == *named.kind
            && policy["metadata"]["name"] == *named.name
            && policy["metadata"]["namespace"] == *named.namespace
    };
    let Some(policy) = world.policies.iter().find(is_named) else { return false };
    let about = named.direction == side && isolates(policy, packet, direction);
    about
        && match (word, named.index) {
            (Word::Allowed, Some(place)) => allows(world, policy, place as usize, packet, direction),
            (Word::Denied, None) => true,
            _ => false,
        }
}

/// An end's address; the node that a pod runs on has none here.
pub(crate) fn address(end: &End<'_>) -> Option<IpAddr> {
    match end {
        End::Pod(_, address) | End::Outside(address) => Some(*address),
        End::OwnNode => None,
    }
}

pub(crate) const ICMP: u8 = 1;
pub(crate) const GRE: u8 = 47;
pub(crate) const ICMPV6: u8 = 58;
