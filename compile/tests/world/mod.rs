//! Small random worlds: what is told to a compiler, kept beside it as plainly as can be, and read by rules of its own.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use compile::{Change, Compiler, Endpoint, LoadError, Numbers, Stored, Universe};
use intent::object::{NAMESPACE_NAME_LABEL, Namespace};
use intent::policy::{NetworkPolicy, Peers, PortMatch, Ports, Rule};
use proptest::prelude::*;
use record::record::{Network, Node, PortName, Route, Subnet};
use record::selector::{Identity, LabelSelector, Namespaces, Operator, Requirement, Selector, Subject};
use record::{Key, Labels, NamedPort, NodeId, Prefix, Protocol, Record, TenantId, Vni};

pub(crate) fn vni(id: u32) -> Vni {
    Vni::new(id).unwrap()
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn namespace(name: &str, own: &[(&str, &str)]) -> Namespace {
    let mut labels = labels(own);
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned());
    Namespace { name: name.to_owned(), labels, network: "default".to_owned() }
}

pub(crate) fn network(id: u32, tenant: u32, default_allow: bool) -> Network {
    Network {
        vni: vni(id),
        tenant: TenantId(tenant),
        name: format!("net{id}"),
        subnets: vec![
            Subnet { prefix: prefix("10.0.0.0/16"), gateway: "10.0.0.1".parse().unwrap() },
            Subnet { prefix: prefix("fd00::/64"), gateway: "fd00::1".parse().unwrap() },
        ],
        default_allow,
        world: true,
        mtu: None,
    }
}

/// What has been said so far, each object as it was said last.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) tenants: BTreeMap<TenantId, String>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) networks: BTreeMap<Vni, Network>,
    pub(crate) blocks: BTreeMap<(Vni, Prefix), Route>,
    pub(crate) namespaces: BTreeMap<(TenantId, String), Namespace>,
    pub(crate) policies: BTreeMap<(TenantId, String, String), NetworkPolicy>,
    pub(crate) endpoints: BTreeMap<(TenantId, String), Endpoint>,
    pub(crate) kept: BTreeMap<TenantId, Universe>,
}

impl World {
    pub(crate) fn take_in(&mut self, change: Change) {
        match change {
            Change::PutTenant { id, name } => _ = self.tenants.insert(id, name),
            Change::RemoveTenant(id) => _ = self.tenants.remove(&id),
            Change::PutNode(node) => _ = self.nodes.insert(node.id, node),
            Change::RemoveNode(id) => _ = self.nodes.remove(&id),
            Change::PutNetwork(network) => _ = self.networks.insert(network.vni, network),
            Change::RemoveNetwork(vni) => _ = self.networks.remove(&vni),
            Change::PutBlock(route) => _ = self.blocks.insert((route.vni, route.prefix), route),
            Change::RemoveBlock(vni, prefix) => _ = self.blocks.remove(&(vni, prefix)),
            Change::PutNamespace(tenant, namespace) => {
                self.namespaces.insert((tenant, namespace.name.clone()), namespace);
            }
            Change::RemoveNamespace(tenant, name) => _ = self.namespaces.remove(&(tenant, name)),
            Change::PutPolicy(tenant, policy) => {
                self.policies.insert((tenant, policy.namespace.clone(), policy.name.clone()), policy);
            }
            Change::RemovePolicy { tenant, namespace, name } => {
                self.policies.remove(&(tenant, namespace, name));
            }
            Change::PutEndpoint(endpoint) => {
                self.endpoints.insert((endpoint.tenant, endpoint.uid.clone()), endpoint);
            }
            Change::RemoveEndpoint(tenant, uid) => _ = self.endpoints.remove(&(tenant, uid)),
            Change::Keep(tenant, universe) => _ = self.kept.insert(tenant, universe),
            Change::Bury(..) => {}
        }
    }

    /// The changes that make it from nothing.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let tenants = self.tenants.iter().map(|(id, name)| Change::PutTenant { id: *id, name: name.clone() });
        let namespaces = self.namespaces.iter();
        let policies = self.policies.iter();
        let kept = self.kept.iter();
        tenants
            .chain(self.nodes.values().cloned().map(Change::PutNode))
            .chain(self.networks.values().cloned().map(Change::PutNetwork))
            .chain(self.blocks.values().copied().map(Change::PutBlock))
            .chain(
                namespaces.map(|((tenant, _), namespace)| Change::PutNamespace(*tenant, namespace.clone())),
            )
            .chain(policies.map(|((tenant, ..), policy)| Change::PutPolicy(*tenant, policy.clone())))
            .chain(self.endpoints.values().cloned().map(Change::PutEndpoint))
            .chain(kept.map(|(tenant, universe)| Change::Keep(*tenant, universe.clone())))
            .collect()
    }

    /// What the policies of each direction say, read one by one in order: the first rule that allows, or else the first policy that
    /// isolates. `None`: no policy isolates.
    pub(crate) fn reads(&self, tenant: TenantId, packet: &Packet<'_>) -> Reading {
        let read = |side: fn(&NetworkPolicy) -> &Option<Vec<Rule>>, own: &Someone<'_>, peer: &Someone<'_>| {
            let Someone::Endpoint(own, _) = own else { return None };
            let mut isolation = None;
            let of_tenant = self.policies.iter().filter(|((whose, ..), _)| *whose == tenant);
            for (_, policy) in of_tenant {
                let Some(rules) = side(policy) else { continue };
                if policy.namespace != own.namespace || !policy.subject.matches(&own.labels) {
                    continue;
                }
                let word = |allowed, index| Word { allowed, policy: policy.name.clone(), index };
                if let Some(index) = rules.iter().position(|rule| self.allows(rule, peer, packet)) {
                    return Some(word(true, Some(index as u32)));
                }
                isolation = isolation.or_else(|| Some(word(false, None)));
            }
            isolation
        };
        Reading {
            egress: read(|policy| &policy.egress, &packet.from, &packet.to),
            ingress: read(|policy| &policy.ingress, &packet.to, &packet.from),
        }
    }

    fn allows(&self, rule: &Rule, peer: &Someone<'_>, packet: &Packet<'_>) -> bool {
        let meant = match &rule.peers {
            Peers::Anyone => true,
            Peers::These(selectors) => selectors.iter().any(|selector| self.means(selector, peer)),
        };
        let port = match &rule.ports {
            Ports::All => true,
            Ports::These(ports) => ports.iter().any(|port| match port {
                PortMatch::Protocol(protocol) => protocol.number() == packet.protocol,
                PortMatch::Range { protocol, first, last } => {
                    protocol.number() == packet.protocol && *first <= packet.port && packet.port <= *last
                }
                PortMatch::Named { protocol, name } => {
                    let Someone::Endpoint(receiver, _) = &packet.to else { return false };
                    let named = NamedPort { name: name.clone(), protocol: *protocol, port: packet.port };
                    protocol.number() == packet.protocol && receiver.ports.contains(&named)
                }
            }),
        };
        meant && port
    }

    fn means(&self, selector: &Selector, someone: &Someone<'_>) -> bool {
        match someone {
            Someone::Outside(address) => selector.matches(Subject { endpoint: None, address: *address }),
            Someone::Endpoint(endpoint, address) => {
                let namespace = &self.namespaces[&(endpoint.tenant, endpoint.namespace.clone())];
                let identity = Identity {
                    namespace: &endpoint.namespace,
                    namespace_labels: &namespace.labels,
                    labels: &endpoint.labels,
                };
                selector.matches(Subject { endpoint: Some(identity), address: *address })
            }
        }
    }
}

/// One end of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Someone<'a> {
    Endpoint(&'a Endpoint, IpAddr),
    Outside(IpAddr),
}

/// The first packet of a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) from: Someone<'a>,
    pub(crate) to: Someone<'a>,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
}

/// What each direction's policies say; `None`: nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) egress: Option<Word>,
    pub(crate) ingress: Option<Word>,
}

/// What a direction's policies say, and where it is written (in the namespace of the endpoint that they select).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) allowed: bool,
    pub(crate) policy: String,
    /// `None`: the isolation.
    pub(crate) index: Option<u32>,
}

/// A store of numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store(pub(crate) BTreeMap<Vec<u8>, Vec<u8>>);

impl Store {
    pub(crate) fn write(&mut self, stored: Vec<Stored>) {
        for (key, value) in stored {
            match value {
                Some(value) => _ = self.0.insert(key, value),
                None => _ = self.0.remove(&key),
            }
        }
    }

    pub(crate) fn load(&self) -> Result<Numbers, LoadError> {
        Numbers::load(0, self.0.clone())
    }
}

pub(crate) fn records(compiler: &Compiler) -> BTreeMap<Key, Record> {
    compiler.records().map(|record| (record.key(), (**record).clone())).collect()
}

/// A list of batches of changes in which the same few names meet again and again.
pub(crate) fn histories() -> impl Strategy<Value = Vec<Vec<Change>>> {
    prop::collection::vec(prop::collection::vec(change(), 1..6), 1..24)
}

/// A world with endpoints and policies of one tenant, complete enough to judge in.
pub(crate) fn tenants() -> impl Strategy<Value = World> {
    let namespaces = (namespace_labels(), namespace_labels());
    let policies = prop::collection::vec(policy(), 0..6);
    let endpoints = prop::collection::vec(endpoint(), 1..6);
    (namespaces, policies, endpoints).prop_map(|((one, other), policies, endpoints)| {
        let mut world = World::default();
        let tenant = TenantId(1);
        world.take_in(Change::PutTenant { id: tenant, name: "t".into() });
        for (name, labels) in [("a", one), ("b", other)] {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (&**key, &**value)).collect();
            world.take_in(Change::PutNamespace(tenant, namespace(name, &labels)));
        }
        for policy in policies {
            world.take_in(Change::PutPolicy(tenant, policy));
        }
        for endpoint in endpoints {
            world.take_in(Change::PutEndpoint(Endpoint { tenant, ..endpoint }));
        }
        world
    })
}

pub(crate) fn policy() -> impl Strategy<Value = NetworkPolicy> {
    let name = prop::sample::select(vec!["p", "q", "r"]);
    let rules = || prop::option::of(prop::collection::vec(rule(), 0..3));
    (name, a_namespace(), label_selector(), rules(), rules()).prop_map(
        |(name, namespace, subject, ingress, egress)| NetworkPolicy {
            name: name.to_owned(),
            namespace,
            subject,
            ingress,
            egress,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let tenant = || prop_oneof![5 => Just(TenantId(1)), 1 => Just(TenantId(2))];
    let node = || (1u32..4).prop_map(NodeId);
    let a_vni = || (1u32..4).prop_map(vni);
    let block = || prop::sample::select(vec![prefix("10.0.0.0/24"), prefix("10.0.1.0/24")]);
    let uid = || prop::sample::select(vec!["e0", "e1", "e2", "e3", "e4"]).prop_map(str::to_owned);
    prop_oneof![
        1 => (tenant(), prop::sample::select(vec!["x", "y"])).prop_map(|(id, name)| Change::PutTenant { id, name: name.to_owned() }),
        1 => tenant().prop_map(Change::RemoveTenant),
        2 => node().prop_map(|id| Change::PutNode(Node { id, name: format!("n{id}"), underlay: Vec::new() })),
        1 => node().prop_map(Change::RemoveNode),
        // A network stays its tenant's: the second one is the second tenant's.
        2 => (1u32..4, any::<bool>()).prop_map(|(id, allow)| Change::PutNetwork(network(id, 1 + id % 2, allow))),
        1 => a_vni().prop_map(Change::RemoveNetwork),
        2 => (a_vni(), block(), node()).prop_map(|(vni, prefix, node)| Change::PutBlock(Route { vni, prefix, node })),
        1 => (a_vni(), block()).prop_map(|(vni, prefix)| Change::RemoveBlock(vni, prefix)),
        3 => (tenant(), a_namespace(), namespace_labels()).prop_map(|(tenant, name, labels)| {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (&**key, &**value)).collect();
            Change::PutNamespace(tenant, namespace(&name, &labels))
        }),
        1 => (tenant(), a_namespace()).prop_map(|(tenant, name)| Change::RemoveNamespace(tenant, name)),
        5 => (tenant(), policy()).prop_map(|(tenant, policy)| Change::PutPolicy(tenant, policy)),
        2 => (tenant(), a_namespace(), prop::sample::select(vec!["p", "q", "r"])).prop_map(|(tenant, namespace, name)| {
            Change::RemovePolicy { tenant, namespace, name: name.to_owned() }
        }),
        6 => (tenant(), endpoint()).prop_map(|(tenant, endpoint)| Change::PutEndpoint(Endpoint { tenant, ..endpoint })),
        2 => (tenant(), uid()).prop_map(|(tenant, uid)| Change::RemoveEndpoint(tenant, uid)),
        1 => (tenant(), universe()).prop_map(|(tenant, universe)| Change::Keep(tenant, universe)),
    ]
}

fn universe() -> impl Strategy<Value = Universe> {
    let ports = prop::collection::btree_set(
        prop::sample::select(vec!["web", "dns"])
            .prop_map(|name| PortName { protocol: Protocol::Tcp, name: name.to_owned() }),
        0..2,
    );
    (prop::collection::btree_set(selector(), 0..3), ports)
        .prop_map(|(selectors, ports)| Universe { selectors, ports })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let uid = prop::sample::select(vec!["e0", "e1", "e2", "e3", "e4"]);
    let addresses = prop_oneof![
        4 => an_address().prop_map(|address| BTreeSet::from([address])),
        1 => Just(["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()].into()),
    ];
    let ports = prop::collection::btree_set(
        (prop::sample::select(vec!["web", "dns", "other"]), protocol(), 80u16..83)
            .prop_map(|(name, protocol, port)| NamedPort { name: name.to_owned(), protocol, port }),
        0..3,
    );
    (uid, 1u32..4, a_namespace(), own_labels(), ports, addresses, 1u32..4).prop_map(
        |(uid, id, namespace, labels, ports, addresses, node)| Endpoint {
            tenant: TenantId(1),
            uid: uid.to_owned(),
            vni: vni(id),
            namespace,
            name: uid.to_owned(),
            labels,
            ports,
            addresses,
            node: NodeId(node),
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let peers = prop_oneof![
        1 => Just(Peers::Anyone),
        4 => prop::collection::vec(selector(), 1..3).prop_map(Peers::These),
    ];
    let port = prop_oneof![
        protocol().prop_map(PortMatch::Protocol),
        (protocol(), 80u16..83, 0u16..2).prop_map(|(protocol, first, more)| PortMatch::Range {
            protocol,
            first,
            last: first + more,
        }),
        (protocol(), prop::sample::select(vec!["web", "dns"]))
            .prop_map(|(protocol, name)| PortMatch::Named { protocol, name: name.to_owned() }),
    ];
    let ports = prop_oneof![
        1 => Just(Ports::All),
        3 => prop::collection::btree_set(port, 1..3).prop_map(Ports::These),
    ];
    (peers, ports).prop_map(|(peers, ports)| Rule { peers, ports })
}

fn selector() -> impl Strategy<Value = Selector> {
    let namespaces = prop_oneof![
        a_namespace().prop_map(Namespaces::Named),
        label_selector().prop_map(Namespaces::Matching),
    ];
    let ranges = vec![
        ("0.0.0.0/0", vec!["10.0.0.0/24", "192.0.2.0/24"]),
        ("10.0.0.0/8", vec!["10.0.0.0/16", "10.0.0.4/30"]),
        ("10.0.0.0/24", vec!["10.0.0.7/32"]),
        ("192.0.2.0/24", vec!["192.0.2.128/25", "192.0.2.129/32"]),
        ("192.0.2.128/25", vec!["192.0.2.129/32"]),
        ("::/0", vec!["fd00::/64"]),
        ("fd00::/64", vec!["fd00::7/128"]),
    ];
    let addresses = prop::sample::select(ranges).prop_flat_map(|(range, holes)| {
        let holes = prop::sample::subsequence(holes.clone(), 0..=holes.len());
        holes.prop_map(move |holes| Selector::Addresses {
            prefix: prefix(range),
            except: holes.into_iter().map(prefix).collect(),
        })
    });
    prop_oneof![
        2 => (namespaces, label_selector()).prop_map(|(namespaces, endpoints)| Selector::Endpoints { namespaces, endpoints }),
        1 => addresses,
    ]
}

fn label_selector() -> impl Strategy<Value = LabelSelector> {
    let value =
        || prop::collection::btree_set(prop::sample::select(vec!["1", "2"]).prop_map(str::to_owned), 1..3);
    let operator = prop_oneof![
        3 => value().prop_map(Operator::In),
        1 => value().prop_map(Operator::NotIn),
        1 => Just(Operator::Exists),
        1 => Just(Operator::DoesNotExist),
    ];
    let requirement = (prop::sample::select(vec!["k", "l"]), operator)
        .prop_map(|(key, operator)| Requirement { key: key.to_owned(), operator });
    prop::collection::btree_set(requirement, 0..3).prop_map(LabelSelector)
}

fn own_labels() -> impl Strategy<Value = Labels> {
    let pair = (prop::sample::select(vec!["k", "l", "m"]), prop::sample::select(vec!["1", "2"]));
    prop::collection::vec(pair, 0..3).prop_map(|pairs| labels(&pairs))
}

fn namespace_labels() -> impl Strategy<Value = Labels> {
    let pair = (prop::sample::select(vec!["k", "l"]), prop::sample::select(vec!["1", "2"]));
    prop::collection::vec(pair, 0..2).prop_map(|pairs| labels(&pairs))
}

fn a_namespace() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned)
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![Protocol::Tcp, Protocol::Udp])
}

fn an_address() -> impl Strategy<Value = IpAddr> {
    let addresses = vec!["10.0.0.5", "10.0.0.7", "10.0.1.9", "fd00::5", "fd00::7"];
    prop::sample::select(addresses).prop_map(|address| address.parse().unwrap())
}
