//! The policies that everybody writes, and what they mean.

use std::collections::BTreeSet;

use record::Protocol;
use record::selector::{LabelSelector, Namespaces, Operator, Requirement, Selector};

use super::*;
use crate::policy::{NetworkPolicy, Peers, PortMatch, Ports, Rule};

fn meaning(spec: &Value) -> NetworkPolicy {
    match parse(Kind::NetworkPolicy, &document(Kind::NetworkPolicy, spec)) {
        Ok(Parsed::NetworkPolicy(policy)) => policy,
        other => panic!("{other:?}"),
    }
}

fn labels(pairs: &[(&str, &str)]) -> LabelSelector {
    let one = |(key, value): &(&str, &str)| Requirement {
        key: (*key).to_owned(),
        operator: Operator::In(BTreeSet::from([(*value).to_owned()])),
    };
    LabelSelector(pairs.iter().map(one).collect())
}

fn here(endpoints: LabelSelector) -> Selector {
    Selector::Endpoints { namespaces: Namespaces::Named("shop".to_owned()), endpoints }
}

fn in_namespaces(namespaces: LabelSelector, endpoints: LabelSelector) -> Selector {
    Selector::Endpoints { namespaces: Namespaces::Matching(namespaces), endpoints }
}

fn from(selectors: Vec<Selector>) -> Option<Vec<Rule>> {
    Some(vec![Rule { peers: Peers::These(selectors), ports: Ports::All }])
}

#[test]
fn deny_all_selects_everybody_and_allows_nothing() {
    let policy = meaning(&json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    assert_eq!(policy.subject, LabelSelector::default());
    assert_eq!((policy.ingress, policy.egress), (Some(vec![]), Some(vec![])));
    assert_eq!((policy.name.as_str(), policy.namespace.as_str()), ("a", "shop"));
}

#[test]
fn allow_all_is_one_rule_without_bounds() {
    let policy = meaning(&json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{}]}));
    assert_eq!(policy.subject, labels(&[("app", "web")]));
    assert_eq!(policy.ingress, Some(vec![Rule { peers: Peers::Anyone, ports: Ports::All }]));
    assert_eq!(policy.egress, None);
    let empty_lists = meaning(
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [], "ports": []}]}),
    );
    assert_eq!(empty_lists.ingress, policy.ingress);
}

#[test]
fn a_pod_selector_alone_means_the_policys_own_namespace() {
    let policy = meaning(
        &json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "books", "role": "api"}}}]}]}),
    );
    assert_eq!(policy.ingress, from(vec![here(labels(&[("app", "books"), ("role", "api")]))]));
    let everybody_here = meaning(&json!({"ingress": [{"from": [{"podSelector": {}}]}]}));
    assert_eq!(everybody_here.ingress, from(vec![here(LabelSelector::default())]));
}

#[test]
fn a_namespace_selector_alone_means_everybody_there_and_both_together_narrow() {
    let all = meaning(&json!({"ingress": [{"from": [{"namespaceSelector": {}}]}]}));
    assert_eq!(all.ingress, from(vec![in_namespaces(LabelSelector::default(), LabelSelector::default())]));
    let production = labels(&[("purpose", "production")]);
    let one = meaning(
        &json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"purpose": "production"}}}]}]}),
    );
    assert_eq!(one.ingress, from(vec![in_namespaces(production.clone(), LabelSelector::default())]));
    let both = meaning(
        &json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"purpose": "production"}},
        "podSelector": {"matchLabels": {"type": "monitoring"}}}]}]}),
    );
    assert_eq!(
        both.ingress,
        from(vec![in_namespaces(production.clone(), labels(&[("type", "monitoring")]))])
    );
    let either = meaning(
        &json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"purpose": "production"}}},
        {"podSelector": {"matchLabels": {"type": "monitoring"}}}]}]}),
    );
    let expected =
        vec![in_namespaces(production, LabelSelector::default()), here(labels(&[("type", "monitoring")]))];
    assert_eq!(either.ingress, from(expected));
}

#[test]
fn external_traffic_is_everybody_or_a_block_with_holes() {
    let policy = meaning(
        &json!({"ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "192.168.0.0/16"]}}]}]}),
    );
    let except = BTreeSet::from(["10.0.0.0/8".parse().unwrap(), "192.168.0.0/16".parse().unwrap()]);
    assert_eq!(
        policy.ingress,
        from(vec![Selector::Addresses { prefix: "0.0.0.0/0".parse().unwrap(), except }])
    );
}

#[test]
fn egress_to_names_alone_is_two_ports() {
    let policy = meaning(&json!({"policyTypes": ["Egress"],
        "egress": [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}]}));
    let port = |protocol| PortMatch::Range { protocol, first: 53, last: 53 };
    let ports = Ports::These(BTreeSet::from([port(Protocol::Tcp), port(Protocol::Udp)]));
    assert_eq!(policy.egress, Some(vec![Rule { peers: Peers::Anyone, ports }]));
    assert_eq!(policy.ingress, None);
}

#[test]
fn ports_by_name_by_range_and_by_protocol() {
    let policy =
        meaning(&json!({"ingress": [{"ports": [{"port": "metrics"}, {"port": 32_000, "endPort": 32_768},
        {"protocol": "SCTP"}]}]}));
    let ports = Ports::These(BTreeSet::from([
        PortMatch::Named { protocol: Protocol::Tcp, name: "metrics".to_owned() },
        PortMatch::Range { protocol: Protocol::Tcp, first: 32_000, last: 32_768 },
        PortMatch::Protocol(Protocol::Sctp),
    ]));
    assert_eq!(policy.ingress, Some(vec![Rule { peers: Peers::Anyone, ports }]));
}

#[test]
fn expressions_are_requirements_and_a_label_is_one_too() {
    let policy = meaning(&json!({"podSelector": {"matchLabels": {"a": "1"}, "matchExpressions": [
        {"key": "b", "operator": "In", "values": ["2", "3", "2"]}, {"key": "c", "operator": "NotIn", "values": ["4"]},
        {"key": "d", "operator": "Exists"}, {"key": "e", "operator": "DoesNotExist", "values": []},
        {"key": "a", "operator": "In", "values": ["1"]}]}}));
    let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let requirement = |key: &str, operator| Requirement { key: key.to_owned(), operator };
    let expected = LabelSelector(BTreeSet::from([
        requirement("a", Operator::In(set(&["1"]))),
        requirement("b", Operator::In(set(&["2", "3"]))),
        requirement("c", Operator::NotIn(set(&["4"]))),
        requirement("d", Operator::Exists),
        requirement("e", Operator::DoesNotExist),
    ]));
    assert_eq!(policy.subject, expected);
}
