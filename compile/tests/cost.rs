#![allow(clippy::unwrap_used)]
//! Work is in proportion to the change: counts, not times.

mod world;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use compile::{Change, Changes, Compiler, Endpoint, Numbers, Work};
use intent::policy::{NetworkPolicy, Peers, PortMatch, Ports, Rule};
use record::record::Node;
use record::selector::{LabelSelector, Namespaces, Operator, Requirement, Selector};
use record::{Key, NodeId, Protocol, TenantId};
use world::{labels, namespace, network, vni};

const TENANT: TenantId = TenantId(1);
const NAMESPACES: u32 = 100;
const POLICIES: u32 = 10;
const ENDPOINTS: u32 = 10_000;
const NODES: u32 = 20;

fn app(name: &str) -> LabelSelector {
    let value = Operator::In(BTreeSet::from([name.to_owned()]));
    LabelSelector(BTreeSet::from([Requirement { key: "app".into(), operator: value }]))
}

fn of(namespace: &str, name: &str) -> Selector {
    Selector::Endpoints { namespaces: Namespaces::Named(namespace.to_owned()), endpoints: app(name) }
}

/// In each namespace, application `n` is reached by application `n + 1` of the same namespace.
fn policy(place: u32, number: u32, port: u16) -> NetworkPolicy {
    let namespace = format!("ns{place}");
    let peer = of(&namespace, &format!("app{}", (number + 1) % POLICIES));
    let port = PortMatch::Range { protocol: Protocol::Tcp, first: port, last: port };
    NetworkPolicy {
        name: format!("policy{number}"),
        namespace,
        subject: app(&format!("app{number}")),
        ingress: Some(vec![Rule {
            peers: Peers::These(vec![peer]),
            ports: Ports::These(BTreeSet::from([port])),
        }]),
        egress: None,
    }
}

fn endpoint(number: u32) -> Endpoint {
    let (place, app) = (number % NAMESPACES, number / NAMESPACES % POLICIES);
    Endpoint {
        tenant: TENANT,
        uid: format!("uid{number}"),
        vni: vni(1),
        namespace: format!("ns{place}"),
        name: format!("pod{number}"),
        labels: labels(&[("app", &format!("app{app}")), ("release", "stable")]),
        ports: BTreeSet::new(),
        addresses: BTreeSet::from([IpAddr::V4(Ipv4Addr::from(0x0a00_0100 + number))]),
        node: NodeId(1 + number % NODES),
    }
}

/// A fabric of 1,000 policies and one endpoint fewer than 10,000.
fn fabric() -> Compiler {
    let mut compiler = Compiler::new(Numbers::new(0));
    let nodes = (1..=NODES).map(|id| Node { id: NodeId(id), name: format!("n{id}"), underlay: Vec::new() });
    let namespaces = (0..NAMESPACES).map(|place| namespace(&format!("ns{place}"), &[]));
    let policies =
        (0..NAMESPACES).flat_map(|place| (0..POLICIES).map(move |number| policy(place, number, 80)));
    compiler.apply(
        [Change::PutTenant { id: TENANT, name: "t".into() }, Change::PutNetwork(network(1, 1, true))]
            .into_iter()
            .chain(nodes.map(Change::PutNode))
            .chain(namespaces.map(|namespace| Change::PutNamespace(TENANT, namespace)))
            .chain(policies.map(|policy| Change::PutPolicy(TENANT, policy)))
            .chain((0..ENDPOINTS - 1).map(|number| Change::PutEndpoint(endpoint(number)))),
    );
    compiler
}

fn costs(compiler: &mut Compiler, change: Change) -> (Changes, Work) {
    let before = compiler.work();
    let changes = compiler.apply([change]);
    let after = compiler.work();
    let work = Work {
        selectors_tried: after.selectors_tried - before.selectors_tried,
        endpoints_grouped: after.endpoints_grouped - before.endpoints_grouped,
        groups_judged: after.groups_judged - before.groups_judged,
        rows_built: after.rows_built - before.rows_built,
        records_written: after.records_written - before.records_written,
    };
    (changes, work)
}

fn told(changes: &Changes) -> Vec<Key> {
    changes.upserts.iter().map(|record| record.key()).collect()
}

#[test]
fn a_change_costs_what_depends_on_it_among_1000_policies_and_10000_endpoints() {
    let mut compiler = fabric();
    let groups = compiler.records().filter(|record| matches!(record.key(), Key::Group(..))).count();
    assert_eq!(groups, 1_001, "one for each application of each namespace, and the empty one");
    let rows = compiler.records().filter(|record| matches!(record.key(), Key::Row(..))).count();
    assert_eq!(rows, 2_000, "a row for others and one for the peer in each rule set");

    // The 10,000th endpoint is like one that is there.
    let last = endpoint(ENDPOINTS - 1);
    let (changes, work) = costs(&mut compiler, Change::PutEndpoint(last.clone()));
    assert_eq!(told(&changes), [Key::Endpoint(TENANT, last.uid.clone())]);
    let one = Work { endpoints_grouped: 1, records_written: 1, ..Work::default() };
    assert_eq!(work, one, "no selector is tried, no group or row looked at");
    assert_eq!(changes.nodes.keys().collect::<Vec<_>>(), [&last.node], "its own node alone is told");

    // One whose labels nobody has yet joins a group that is there: every selector is tried once.
    let mut canary = Endpoint { uid: "canary".into(), name: "canary".into(), ..last };
    canary.labels.insert("release".into(), "canary".into());
    let (changes, work) = costs(&mut compiler, Change::PutEndpoint(canary));
    assert_eq!(told(&changes), [Key::Endpoint(TENANT, "canary".into())]);
    assert_eq!(work.selectors_tried, u64::from(NAMESPACES * POLICIES));
    assert_eq!((work.groups_judged, work.rows_built, work.records_written), (0, 0, 1));

    // The same once more changes nothing.
    let (changes, work) = costs(&mut compiler, Change::PutPolicy(TENANT, policy(3, 4, 80)));
    assert!(changes.is_empty());
    assert_eq!(work, Work::default());
}

#[test]
fn an_edited_rule_rewrites_its_rows_and_a_new_policy_visits_its_subject_alone() {
    let mut compiler = fabric();
    let (changes, work) = costs(&mut compiler, Change::PutPolicy(TENANT, policy(3, 4, 8080)));
    assert_eq!(changes.removals, []);
    assert!(
        matches!(told(&changes)[..], [Key::Row(..)]),
        "one row says something else: {:?}",
        told(&changes)
    );
    assert_eq!((work.endpoints_grouped, work.selectors_tried), (0, 0));
    assert!(work.rows_built <= 4, "{work:?}");

    // A further policy with selectors that are in use cuts nothing: one group gets another rule set.
    let more = NetworkPolicy { name: "more".into(), ..policy(3, 4, 443) };
    let (changes, work) = costs(&mut compiler, Change::PutPolicy(TENANT, more));
    assert_eq!((work.endpoints_grouped, work.groups_judged), (0, 1), "{work:?}");
    let of_groups = told(&changes).iter().filter(|key| matches!(key, Key::Group(..))).count();
    assert_eq!(of_groups, 1);
    assert!(changes.upserts.len() <= 5, "{:?}", told(&changes));

    // One that selects by a label of its own cuts one group of 10 endpoints, in its own namespace.
    let mut own = NetworkPolicy { name: "own".into(), ..policy(7, 2, 443) };
    own.subject.0.insert(Requirement { key: "release".into(), operator: Operator::Exists });
    let (_, work) = costs(&mut compiler, Change::PutPolicy(TENANT, own));
    assert_eq!(work.selectors_tried, u64::from(POLICIES), "endpoints that are alike are tried once");
    assert_eq!(work.endpoints_grouped, u64::from(ENDPOINTS / NAMESPACES / POLICIES));
    assert!(work.records_written < 30, "{work:?}");
}

#[test]
fn a_rule_among_thousands_of_one_subject_rewrites_its_own_row() {
    let mut compiler = Compiler::new(Numbers::new(0));
    let subject = LabelSelector::default();
    let policy = |number: u32, port| NetworkPolicy { subject: subject.clone(), ..policy(0, number, port) };
    let one_of = |number: u32| {
        let app = format!("app{number}");
        Endpoint { labels: labels(&[("app", &app)]), namespace: "ns0".into(), ..endpoint(number) }
    };
    const MANY: u32 = 1_000;
    let peer = |number: u32, port: u16| {
        let mut policy = policy(number, port);
        let rule = Rule { peers: Peers::These(vec![of("ns0", &format!("app{number}"))]), ports: Ports::All };
        policy.ingress = Some(vec![Rule { ports: policy.ingress.unwrap()[0].ports.clone(), ..rule }]);
        Change::PutPolicy(TENANT, policy)
    };
    compiler.apply(
        [Change::PutNamespace(TENANT, namespace("ns0", &[]))]
            .into_iter()
            .chain((0..MANY).map(|number| peer(number, 80)))
            .chain((0..MANY).map(|number| Change::PutEndpoint(one_of(number)))),
    );
    let rows = compiler.records().filter(|record| matches!(record.key(), Key::Row(..))).count();
    assert_eq!(rows, 1 + MANY as usize, "all endpoints share one rule set");
    let (changes, work) = costs(&mut compiler, peer(500, 443));
    assert!(matches!(told(&changes)[..], [Key::Row(..)]), "{:?}", told(&changes));
    assert_eq!((work.endpoints_grouped, work.records_written), (0, 1));
}

#[test]
fn an_address_range_is_looked_at_by_those_inside_it_alone() {
    let mut compiler = fabric();
    let range = Selector::Addresses { prefix: world::prefix("10.0.1.0/30"), except: BTreeSet::new() };
    let mut by_address = NetworkPolicy { name: "by-address".into(), ..policy(9, 9, 80) };
    by_address.ingress = Some(vec![Rule { peers: Peers::These(vec![range]), ports: Ports::All }]);
    let (changes, work) = costs(&mut compiler, Change::PutPolicy(TENANT, by_address));
    assert_eq!(work.endpoints_grouped, 4, "10.0.1.0 to 10.0.1.3");
    let classes = told(&changes).iter().filter(|key| matches!(key, Key::AddressClass(..))).count();
    assert_eq!(classes, 1);
    let moved = told(&changes).iter().filter(|key| matches!(key, Key::Endpoint(..))).count();
    assert_eq!(moved, 4);
}

#[test]
fn a_node_that_joins_is_told_all_and_the_others_where_it_is() {
    let mut compiler = fabric();
    let node = NodeId(NODES + 1);
    compiler.apply([Change::PutNode(Node { id: node, name: "new".into(), underlay: Vec::new() })]);
    let block = record::record::Route { vni: vni(1), prefix: world::prefix("10.0.200.0/24"), node };
    let (changes, work) = costs(&mut compiler, Change::PutBlock(block));
    assert!(work.records_written <= 2, "{work:?}");
    let all = compiler.records_of(node).len();
    assert_eq!(changes.nodes[&node].upserts.len(), all - 1, "it knew itself");
    for (other, delivery) in changes.nodes.iter().filter(|(id, _)| **id != node) {
        assert_eq!(delivery.upserts.len(), 3, "{other}: the node, its membership, its block");
    }
}
