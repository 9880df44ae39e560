//! Random small clusters, as people write them down: documents of policies, namespaces with labels, pods, addresses outside.
//!
//! Promises: plain data that knows nothing of how Sealane reads it; every document is one that upstream's validation accepts;
//! few names and numbers, so that everything meets everything; printed as YAML that can be applied.
//!
//! Pods lie on two nodes: 1 holds 10.1.1.0/24 and fd01::1:0/112, 2 holds 10.1.2.0/24 and fd01::2:0/112.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Map, Value, json};

/// A cluster.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) pods: Vec<Pod>,
    /// Addresses that no pod has.
    pub(crate) outside: Vec<IpAddr>,
    /// networking.k8s.io/v1 NetworkPolicy documents.
    pub(crate) policies: Vec<Value>,
    /// Whether the network allows what no policy speaks of.
    pub(crate) default_allow: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    /// As written; the API adds `kubernetes.io/metadata.name`.
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// At most one of each family.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ports: Vec<ContainerPort>,
    /// 1 or 2.
    pub(crate) node: u32,
}

/// A named port of one of a pod's containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerPort {
    pub(crate) name: String,
    /// IANA's number.
    pub(crate) protocol: u8,
    pub(crate) number: u16,
}

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;

const NAMESPACES: [&str; 4] = ["blue", "green", "red", "white"];
const PORT_NAMES: [&str; 3] = ["web", "dns", "peer-9"];
const PORT_NUMBERS: [u16; 7] = [1, 53, 80, 81, 8080, 8081, 65_535];

/// The last part of pods' addresses, with the node that it makes them lie on.
const PLACES: [(u32, u8); 10] =
    [(1, 4), (1, 5), (1, 10), (1, 64), (1, 128), (1, 200), (2, 4), (2, 5), (2, 130), (2, 250)];

const OUTSIDE: [&str; 15] = [
    "198.51.100.1",
    "198.51.100.7",
    "198.51.100.128",
    "203.0.113.1",
    "203.0.113.64",
    "203.0.113.200",
    "192.0.2.77",
    "10.9.9.9",
    "10.1.1.77",
    "10.1.3.1",
    "2001:db8:1::7",
    "2001:db8:1:1::7",
    "2001:db8:2::1",
    "fd01::1:77",
    "fd02::1",
];

/// Ranges and ranges inside them. Some have bits behind their length, which upstream clears.
const BLOCKS: [(&str, &[&str]); 16] = [
    ("0.0.0.0/0", &["10.0.0.0/8", "10.1.1.0/24", "198.51.100.128/25", "0.0.0.0/1"]),
    ("10.0.0.0/8", &["10.1.0.0/16", "10.1.1.4/31", "10.1.2.0/24"]),
    ("10.1.0.0/16", &["10.1.2.0/24", "10.1.1.128/25", "10.1.1.5/32"]),
    ("10.1.1.0/24", &["10.1.1.0/29", "10.1.1.4/32", "10.1.1.77/32"]),
    ("10.1.1.9/24", &["10.1.1.70/26"]),
    ("10.1.1.4/31", &["10.1.1.5/32"]),
    ("10.1.2.130/32", &[]),
    ("198.51.100.0/24", &["198.51.100.128/25", "198.51.100.7/32"]),
    ("198.51.100.7/32", &[]),
    ("203.0.113.0/25", &["203.0.113.64/26"]),
    ("::/0", &["fd01::/64", "2001:db8::/32", "8000::/1"]),
    ("fd01::/64", &["fd01::1:0/112", "fd01::2:4/127"]),
    ("fd01::1:0/112", &["fd01::1:4/127", "fd01::1:80/121"]),
    ("fd01::1:4/128", &[]),
    ("2001:db8:1::/48", &["2001:db8:1:1::/64"]),
    ("2001:db8:1:1::9/64", &["2001:db8:1:1::7/128"]),
];

/// Any cluster.
pub(crate) fn worlds() -> impl Strategy<Value = World> {
    let namespaces = (1..=NAMESPACES.len()).prop_flat_map(|count| {
        prop::collection::vec(labels(&["team", "env"]), count).prop_map(|labels| {
            let named = NAMESPACES.iter().zip(labels);
            named.map(|(name, labels)| Namespace { name: (*name).to_owned(), labels }).collect::<Vec<_>>()
        })
    });
    let pods = subsequence(PLACES.to_vec(), 0..=PLACES.len()).prop_shuffle().prop_flat_map(|places| {
        places.into_iter().enumerate().map(|(number, place)| pod(number, place)).collect::<Vec<_>>()
    });
    let outside = subsequence(OUTSIDE.to_vec(), 0..=8);
    (namespaces, pods, outside, policies(), prop::bool::weighted(0.8)).prop_map(
        |(namespaces, pods, outside, policies, default_allow)| {
            let name = |index: Index| namespaces[index.index(namespaces.len())].name.clone();
            let pods = pods.into_iter().map(|(home, pod)| Pod { namespace: name(home), ..pod }).collect();
            let outside = outside.into_iter().map(|text| text.parse().unwrap()).collect();
            let policies = homed(policies, &namespaces);
            World { namespaces, pods, outside, policies, default_allow }
        },
    )
}

/// A cluster, and other policies for it: some stay, some change, some come and some go.
pub(crate) fn moves() -> impl Strategy<Value = (World, World)> {
    (worlds(), policies(), any::<u8>()).prop_map(|(before, others, stay)| {
        let mut after = before.clone();
        after.policies = homed(others, &before.namespaces);
        for (place, policy) in before.policies.iter().enumerate().filter(|(place, _)| stay >> place & 1 == 1)
        {
            match after.policies.get_mut(place) {
                Some(other) => *other = policy.clone(),
                None => after.policies.push(policy.clone()),
            }
        }
        let mut seen = BTreeSet::new();
        after.policies.retain(|policy| seen.insert(policy["metadata"].to_string()));
        (before, after)
    })
}

/// Specs with the place of a namespace each.
type Homeless = Vec<(Index, Value)>;

fn policies() -> impl Strategy<Value = Homeless> {
    prop::collection::vec((any::<Index>(), spec()), 0..=8)
}

fn homed(policies: Homeless, namespaces: &[Namespace]) -> Vec<Value> {
    let document = |(number, (home, spec)): (usize, (Index, Value))| {
        let namespace = &namespaces[home.index(namespaces.len())].name;
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": format!("p{number}"), "namespace": namespace},
            "spec": spec,
        })
    };
    policies.into_iter().enumerate().map(document).collect()
}

fn pod(number: usize, (node, last): (u32, u8)) -> impl Strategy<Value = (Index, Pod)> {
    let families = select(vec![(true, false), (false, true), (true, true)]);
    let port = (select(PORT_NAMES.to_vec()), protocol(), select(PORT_NUMBERS.to_vec()));
    let ports = prop::collection::vec(port, 0..4);
    (any::<Index>(), labels(&["app", "tier", "env"]), families, ports).prop_map(
        move |(home, labels, (ipv4, ipv6), ports)| {
            let four = format!("10.1.{node}.{last}").parse().unwrap();
            let six = format!("fd01::{node}:{last:x}").parse().unwrap();
            let addresses = [(ipv4, four), (ipv6, six)];
            let named = |(name, protocol, number): (&str, u8, u16)| ContainerPort {
                name: name.to_owned(),
                protocol,
                number,
            };
            let pod = Pod {
                name: format!("pod{number}"),
                namespace: String::new(),
                labels,
                addresses: addresses
                    .into_iter()
                    .filter(|(has, _)| *has)
                    .map(|(_, address)| address)
                    .collect(),
                ports: ports.into_iter().map(named).collect(),
                node,
            };
            (home, pod)
        },
    )
}

fn protocol() -> impl Strategy<Value = u8> {
    select(vec![TCP, TCP, UDP, SCTP])
}

fn labels(keys: &'static [&'static str]) -> impl Strategy<Value = BTreeMap<String, String>> {
    let text = |choices: &[&'static str]| select(choices.to_vec()).prop_map(str::to_owned);
    prop::collection::btree_map(text(keys), text(&["a", "b", ""]), 0..=keys.len())
}

/// A `spec`, with every way to leave something out.
fn spec() -> impl Strategy<Value = Value> {
    let subject = prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        2 => Just(Some(json!({}))),
        4 => selector(&["app", "tier", "env"]).prop_map(Some),
    ];
    let types = prop_oneof![
        3 => Just(None),
        1 => Just(Some(json!([]))),
        1 => Just(Some(json!(["Ingress"]))),
        2 => Just(Some(json!(["Egress"]))),
        2 => Just(Some(json!(["Ingress", "Egress"]))),
        1 => Just(Some(json!(["Egress", "Ingress"]))),
    ];
    (subject, types, list(rule("from"), 3), list(rule("to"), 3)).prop_map(
        |(subject, types, ingress, egress)| {
            object([
                ("podSelector", subject),
                ("policyTypes", types),
                ("ingress", ingress),
                ("egress", egress),
            ])
        },
    )
}

fn rule(peers: &'static str) -> impl Strategy<Value = Value> {
    (list(peer(), 3), list(port(), 3))
        .prop_map(move |(listed, ports)| object([(peers, listed), ("ports", ports)]))
}

fn peer() -> impl Strategy<Value = Value> {
    let pods = || selector(&["app", "tier", "env"]);
    let namespaces = || selector(&["team", "env", "kubernetes.io/metadata.name"]);
    prop_oneof![
        3 => pods().prop_map(|pods| json!({"podSelector": pods})),
        2 => namespaces().prop_map(|namespaces| json!({"namespaceSelector": namespaces})),
        3 => (pods(), namespaces()).prop_map(|(pods, namespaces)| json!({"podSelector": pods, "namespaceSelector": namespaces})),
        1 => pods().prop_map(|pods| json!({"podSelector": pods, "namespaceSelector": null, "ipBlock": null})),
        4 => block().prop_map(|block| json!({"ipBlock": block})),
    ]
}

fn block() -> impl Strategy<Value = Value> {
    select(BLOCKS.to_vec()).prop_flat_map(|(cidr, holes)| {
        prop::option::of(subsequence(holes.to_vec(), 0..=holes.len())).prop_map(move |except| {
            object([("cidr", Some(json!(cidr))), ("except", except.map(|holes| json!(holes)))])
        })
    })
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = prop::option::weighted(0.7, select(vec!["TCP", "UDP", "SCTP"]));
    let number = || select(PORT_NUMBERS.to_vec());
    let range = (number(), number()).prop_map(|(one, other)| (one.min(other), one.max(other)));
    let place = prop_oneof![
        1 => Just((None, None)),
        3 => number().prop_map(|number| (Some(json!(number)), None)),
        3 => select(PORT_NAMES.to_vec()).prop_map(|name| (Some(json!(name)), None)),
        2 => range.prop_map(|(first, last)| (Some(json!(first)), Some(json!(last)))),
    ];
    (protocol, place).prop_map(|(protocol, (port, end))| {
        object([("protocol", protocol.map(|name| json!(name))), ("port", port), ("endPort", end)])
    })
}

/// A label selector by `matchLabels`, `matchExpressions`, both or neither.
fn selector(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let value = move |key: &str| {
        select(if key.starts_with("kubernetes") { NAMESPACES.to_vec() } else { vec!["a", "b", ""] })
    };
    let pairs = select(keys.to_vec())
        .prop_flat_map(move |key| value(key).prop_map(move |value| object([(key, Some(json!(value)))])));
    let expression = select(keys.to_vec()).prop_flat_map(move |key| {
        let values = || prop::collection::vec(value(key), 1..3);
        prop_oneof![
            values().prop_map(move |values| json!({"key": key, "operator": "In", "values": values})),
            values().prop_map(move |values| json!({"key": key, "operator": "NotIn", "values": values})),
            Just(json!({"key": key, "operator": "Exists"})),
            Just(json!({"key": key, "operator": "DoesNotExist", "values": []})),
        ]
    });
    (prop::option::of(pairs), list(expression, 2))
        .prop_map(|(pairs, expressions)| object([("matchLabels", pairs), ("matchExpressions", expressions)]))
}

/// Elements; or none, in the three ways to say so.
fn list(element: impl Strategy<Value = Value>, most: usize) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(json!([]))),
        6 => prop::collection::vec(element, 1..=most).prop_map(|elements| Some(json!(elements))),
    ]
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect::<Map<_, _>>())
}

impl World {
    /// Every document, as upstream's API would show it.
    pub(crate) fn documents(&self) -> Vec<Value> {
        let namespaces = self.namespaces.iter().map(|namespace| {
            let metadata = json!({"name": namespace.name, "labels": namespace.labels});
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        });
        let pods = self.pods.iter().map(|pod| {
            let ports = pod.ports.iter().map(|port| {
                json!({"name": port.name, "protocol": protocol_name(port.protocol), "containerPort": port.number})
            });
            // One name may stand twice in a pod, in different containers alone.
            let containers: Vec<Value> = ports.map(|port| json!({"ports": [port]})).collect();
            let addresses: Vec<Value> = pod.addresses.iter().map(|address| json!({"ip": address})).collect();
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod.name, "namespace": pod.namespace, "labels": pod.labels},
                "spec": {"containers": containers, "nodeName": format!("node{}", pod.node)},
                "status": {"podIPs": addresses},
            })
        });
        namespaces.chain(pods).chain(self.policies.iter().cloned()).collect()
    }
}

fn protocol_name(number: u8) -> &'static str {
    match number {
        TCP => "TCP",
        UDP => "UDP",
        SCTP => "SCTP",
        _ => "?",
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# the network's default: {}", if self.default_allow { "allow" } else { "deny" })?;
        writeln!(f, "# outside: {:?}", self.outside)?;
        for document in self.documents() {
            writeln!(f, "---\n{}", serde_saphyr::to_string(&document).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}
