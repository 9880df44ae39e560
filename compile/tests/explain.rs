#![allow(clippy::unwrap_used)]
//! What is explained: names, places and reasons, by the records in force.

mod world;

use std::collections::BTreeSet;

use compile::{Change, Compiler, Endpoint, ExplainError, Explanation, Inquiry, Numbers, Party};
use intent::policy::{NetworkPolicy, Peers, PortMatch, Ports, Rule};
use record::inspect::Path;
use record::record::{Network, Node};
use record::selector::{LabelSelector, Namespaces, Operator, Requirement, Selector};
use record::{DropReason, Group, NamedPort, NodeId, Protocol, TenantId, Verdict};
use world::{labels, namespace, network, prefix, vni};

const TENANT: TenantId = TenantId(1);

fn having(key: &str, value: &str) -> LabelSelector {
    let value = Operator::In(BTreeSet::from([value.to_owned()]));
    LabelSelector(BTreeSet::from([Requirement { key: key.to_owned(), operator: value }]))
}

fn endpoint(namespace: &str, name: &str, addresses: &[&str], node: u32) -> Endpoint {
    Endpoint {
        tenant: TENANT,
        uid: format!("uid-{name}"),
        vni: vni(1),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: labels(&[("app", name)]),
        ports: BTreeSet::from([NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }]),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        node: NodeId(node),
    }
}

/// In namespace shop, `web` hears `front` on port `http`, and 192.0.2.0/24 but for 192.0.2.9 on everything.
fn shop() -> Vec<Change> {
    let office = Selector::Addresses {
        prefix: prefix("192.0.2.0/24"),
        except: BTreeSet::from([prefix("192.0.2.9/32")]),
    };
    let front = Selector::Endpoints {
        namespaces: Namespaces::Matching(having("team", "sales")),
        endpoints: having("app", "front"),
    };
    let http = PortMatch::Named { protocol: Protocol::Tcp, name: "http".into() };
    let policy = NetworkPolicy {
        name: "web".into(),
        namespace: "shop".into(),
        subject: having("app", "web"),
        ingress: Some(vec![
            Rule { peers: Peers::These(vec![front]), ports: Ports::These(BTreeSet::from([http])) },
            Rule { peers: Peers::These(vec![office]), ports: Ports::All },
        ]),
        egress: None,
    };
    let node = |id: u32| Node {
        id: NodeId(id),
        name: format!("n{id}"),
        underlay: vec![format!("203.0.113.{id}").parse().unwrap()],
    };
    let mut elsewhere = endpoint("shop", "elsewhere", &["10.0.0.2"], 1);
    elsewhere.vni = vni(3);
    vec![
        Change::PutTenant { id: TENANT, name: "t".into() },
        Change::PutNode(node(1)),
        Change::PutNode(node(2)),
        Change::PutNetwork(network(1, 1, true)),
        Change::PutNetwork(Network { default_allow: false, world: false, ..network(3, 1, false) }),
        Change::PutNamespace(TENANT, namespace("shop", &[])),
        Change::PutNamespace(TENANT, namespace("sales", &[("team", "sales")])),
        Change::PutPolicy(TENANT, policy),
        Change::PutEndpoint(endpoint("shop", "web", &["10.0.0.2", "fd00::2"], 1)),
        Change::PutEndpoint(endpoint("sales", "front", &["10.0.0.3"], 2)),
        Change::PutEndpoint(endpoint("shop", "six", &["fd00::6"], 1)),
        Change::PutEndpoint(elsewhere),
    ]
}

fn party(text: &str) -> Party {
    match text {
        "world" => Party::World,
        "host" => Party::Host,
        text => match text.split_once('/') {
            Some((namespace, name)) => {
                Party::Endpoint { namespace: namespace.to_owned(), name: name.to_owned() }
            }
            None => Party::Address(text.parse().unwrap()),
        },
    }
}

fn asked(from: &str, to: &str, port: u16) -> Result<Explanation, ExplainError> {
    asked_of(6, from, to, port)
}

fn asked_of(protocol: u8, from: &str, to: &str, port: u16) -> Result<Explanation, ExplainError> {
    let mut compiler = Compiler::new(Numbers::new(0));
    compiler.apply(shop());
    let (from, to) = (party(from), party(to));
    compiler.explain(&Inquiry { tenant: TENANT, network: None, from, to, protocol, port })
}

fn explained(from: &str, to: &str, port: u16) -> Explanation {
    asked(from, to, port).unwrap()
}

#[test]
fn an_allowed_flow_names_the_rule_the_groups_and_the_way() {
    let told = explained("sales/front", "shop/web", 8080);
    assert!(told.allowed);
    assert_eq!((told.vni, told.network.as_str()), (vni(1), "net1"));
    assert_eq!(told.path, Path::Node(NodeId(1)));
    assert_eq!(told.egress.as_ref().unwrap().verdict, Verdict::Default);
    assert_eq!(told.egress.unwrap().words, "no policy isolates it");
    let ingress = told.ingress.unwrap();
    assert_eq!(ingress.words, "allowed by NetworkPolicy shop/web spec.ingress[0]");
    assert_eq!(told.rule, ingress.rule);
    assert_eq!(told.to.selectors, ["endpoints with app=web in namespace shop"]);
    assert_eq!(told.from.selectors, ["endpoints with app=front in namespaces with team=sales"]);
    assert_eq!(told.to.address, Some("10.0.0.2".parse().unwrap()), "the family that both have");
    assert_eq!(told.to.ports.len(), 1);
    assert_eq!(
        told.summary,
        "sales/front reaches shop/web in network net1: allowed by NetworkPolicy shop/web spec.ingress[0]"
    );
}

#[test]
fn a_denied_flow_names_the_isolation() {
    let told = explained("sales/front", "shop/web", 22);
    assert_eq!((told.allowed, told.reason), (false, Some(DropReason::PolicyDenied)));
    assert_eq!(told.rule.as_ref().unwrap().index, None);
    assert_eq!(
        told.summary,
        "sales/front does not reach shop/web in network net1: denied by NetworkPolicy shop/web, which isolates whom it \
         selects for ingress"
    );
}

#[test]
fn an_outside_address_is_known_by_the_longest_range_around_it() {
    let office = explained("192.0.2.5", "shop/web", 22);
    assert!(office.allowed);
    assert_eq!(office.egress, None, "nobody outside has policies");
    assert_eq!(office.path, Path::Local);
    assert_eq!(office.from.range, Some(prefix("192.0.2.0/24")));
    assert_eq!(office.from.selectors, ["addresses in 192.0.2.0/24 except 192.0.2.9/32"]);
    let hole = explained("192.0.2.9", "shop/web", 22);
    assert!(!hole.allowed);
    assert_eq!((hole.from.group, hole.from.range), (Group::WORLD, Some(prefix("192.0.2.9/32"))));
    let world = explained("world", "shop/web", 22);
    assert!(!world.allowed);
    let out = explained("shop/web", "world", 443);
    assert_eq!((out.allowed, out.path), (true, Path::World));
    assert!(out.summary.ends_with("no policy speaks of it, and network net1 allows that"), "{}", out.summary);
}

#[test]
fn a_node_and_its_own_endpoints_always_reach_each_other() {
    for host in ["host", "203.0.113.1"] {
        let told = explained(host, "shop/web", 22);
        assert!(told.allowed, "{told:#?}");
        assert_eq!(told.from.group, Group::HOST);
        assert_eq!(explained("shop/web", host, 22).path, Path::Host);
    }
    assert!(!explained("203.0.113.2", "shop/web", 22).allowed, "another node is the world");
}

#[test]
fn an_address_of_an_endpoint_is_the_endpoint_and_one_that_nobody_has_is_nowhere() {
    // Two networks hold 10.0.0.2; the one is meant where 10.0.0.3 is.
    let told = explained("10.0.0.3", "10.0.0.2", 8080);
    assert_eq!(told.from.endpoint.as_deref(), Some("sales/front"));
    assert!(matches!(told.to.endpoint.as_deref(), Some("shop/web")));
    let vacant = explained("shop/web", "10.0.0.99", 80);
    assert_eq!((vacant.path, vacant.reason), (Path::Nowhere, Some(DropReason::RouteUnknown)));
    assert!(matches!(asked("10.0.0.99", "shop/web", 80), Err(ExplainError::Vacant { .. })));
    let gateway = explained("shop/web", "10.0.0.1", 80);
    assert_eq!((gateway.to.group, gateway.reason), (Group::GATEWAY, Some(DropReason::PortUnpublished)));
    let pinged = asked_of(1, "shop/web", "10.0.0.1", 0).unwrap();
    assert_eq!(
        pinged.summary,
        "shop/web reaches 10.0.0.1 in network net1: the network's own gateway answers it"
    );
}

#[test]
fn a_network_without_a_way_out_says_so() {
    let told = explained("shop/elsewhere", "world", 443);
    assert_eq!((told.path, told.reason), (Path::Nowhere, Some(DropReason::EgressOff)));
}

#[test]
fn what_has_no_answer_says_why() {
    let told = |from, to| asked(from, to, 80).unwrap_err().to_string();
    assert_eq!(
        told("shop/wep", "world"),
        "cannot explain: no endpoint is named shop/wep; is shop/web meant?"
    );
    assert!(matches!(asked("world", "192.0.2.5", 80), Err(ExplainError::NoEndpoint { .. })));
    assert_eq!(
        told("shop/web", "shop/elsewhere"),
        "cannot explain shop/web to shop/elsewhere: they share no network and address family (shop/web is in net1, \
         shop/elsewhere in net3), so nothing leads from one to the other"
    );
    assert!(
        matches!(asked("sales/front", "shop/six", 80), Err(ExplainError::Apart { .. })),
        "10.0.0.3 to fd00::6"
    );
    let compiler = Compiler::new(Numbers::new(0));
    let inquiry = Inquiry {
        tenant: TenantId(9),
        network: None,
        from: Party::World,
        to: Party::Host,
        protocol: 6,
        port: 1,
    };
    assert_eq!(compiler.explain(&inquiry), Err(ExplainError::NoTenant(TenantId(9))));
}
