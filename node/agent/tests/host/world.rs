//! What the server says, and what is asked of the agent.

use std::collections::BTreeSet;

use record::door::{Attach, Detach, Door, Publish};
use record::record::*;
use record::selector::{LabelSelector, Namespaces, Operator, Requirement, Selector};
use record::{
    Decision, Group, Labels, NodeId, Protocol, Record, RuleId, RuleSetId, SelectorId, TenantId, Verdict, Vni,
};

use crate::ground::Container;

pub(crate) fn vni() -> Vni {
    Vni::new(100).unwrap()
}

/// A tenant with a network and a block of it on this node; `app=db` is told from the rest.
pub(crate) fn world() -> Vec<Record> {
    let tenant = TenantId(1);
    let in_ = Operator::In(BTreeSet::from(["db".to_owned()]));
    let selector = Selector::Endpoints {
        namespaces: Namespaces::Named("default".to_owned()),
        endpoints: LabelSelector(BTreeSet::from([Requirement { key: "app".to_owned(), operator: in_ }])),
    };
    vec![
        Record::Tenant(Tenant { id: tenant, name: "default".to_owned(), port_names: BTreeSet::new() }),
        Record::Node(Node {
            id: NodeId(1),
            name: "n1".to_owned(),
            underlay: vec!["192.0.2.10".parse().unwrap()],
        }),
        Record::Network(Network {
            vni: vni(),
            tenant,
            name: "default".to_owned(),
            subnets: vec![Subnet {
                prefix: "10.1.0.0/16".parse().unwrap(),
                gateway: "10.1.0.1".parse().unwrap(),
            }],
            default_allow: true,
            world: true,
            mtu: None,
        }),
        Record::Member(Member { vni: vni(), node: NodeId(1) }),
        Record::Route(Route { vni: vni(), prefix: "10.1.3.0/26".parse().unwrap(), node: NodeId(1) }),
        Record::Project(Project {
            tenant,
            name: "default".to_owned(),
            labels: Labels::new(),
            network: "default".to_owned(),
        }),
        Record::Selector(NamedSelector { tenant, id: SelectorId(1), selector }),
        group(256, &[], RuleSetId::OPEN),
        group(257, &[1], RuleSetId::OPEN),
    ]
}

/// Nobody may open a connection to `app=db`.
pub(crate) fn isolation() -> Vec<Record> {
    let tenant = TenantId(1);
    let decision = Decision { verdict: Verdict::Deny, rule: RuleId(9) };
    vec![
        Record::Rule(Rule {
            tenant,
            id: RuleId(9),
            kind: "NetworkPolicy".to_owned(),
            namespace: "default".to_owned(),
            name: "isolate-db".to_owned(),
            direction: record::Direction::Ingress,
            index: None,
        }),
        Record::Row(Row {
            tenant,
            rule_set: RuleSetId(5),
            peer: Peer::Others,
            ports: vec![PortInterval { protocol: 0, port: 0, decision }],
        }),
        group(257, &[1], RuleSetId(5)),
    ]
}

pub(crate) fn group(number: u16, selectors: &[u32], ingress: RuleSetId) -> Record {
    Record::Group(GroupRules {
        tenant: TenantId(1),
        group: Group(number),
        members: Members::Endpoints,
        selectors: selectors.iter().copied().map(SelectorId).collect(),
        ports: BTreeSet::new(),
        ingress,
        egress: RuleSetId::OPEN,
    })
}

pub(crate) fn request(name: &str, container: &Container, labels: &[(&str, &str)]) -> Attach {
    let published = Publish { address: None, host_port: 9000, port: 80, protocol: Protocol::Tcp };
    Attach {
        door: Door::Run,
        tenant: None,
        namespace: None,
        name: name.to_owned(),
        network: None,
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ports: Vec::new(),
        netns: container.netns(),
        interface: "eth0".to_owned(),
        container: name.to_owned(),
        pod: None,
        addresses: Vec::new(),
        mac: None,
        publish: if name == "web" { vec![published] } else { Vec::new() },
    }
}

pub(crate) fn detach(name: &str) -> Detach {
    Detach { door: Door::Run, container: name.to_owned(), interface: None }
}
