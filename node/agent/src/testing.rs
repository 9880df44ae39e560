//! A small world for tests: tenant `default` (1) with namespace `default`, network `default` (VNI 100, 10.0.0.0/24) and the
//! node's block 10.0.0.0/26; group 256 is of endpoints that no selector matches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use record::door::{Assigned, Attach, Door};
use record::record::{
    Endpoint, GroupRules, Members, NamedSelector, Network, PortName, Project, Route, Subnet, Tenant,
};
use record::selector::{LabelSelector, Namespaces, Operator, Requirement, Selector};
use record::{
    Group, Key, Labels, Mac, NamedPort, NodeId, Protocol, Record, RuleSetId, SelectorId, TenantId, Vni,
};

use crate::attachment::{Attachment, Step};
use crate::held::Held;

pub(crate) struct World {
    pub(crate) records: BTreeMap<Key, Record>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self { records: BTreeMap::new() };
        world.put(tenant_record(1, "default")).put(network_record("10.0.0.0/24", "10.0.0.1"));
        world.put(Record::Project(Project {
            tenant: TenantId(1),
            name: "default".to_owned(),
            labels: Labels::new(),
            network: "default".to_owned(),
        }));
        world.block("10.0.0.0/26").group(256, [], &[]);
        world
    }

    pub(crate) fn put(&mut self, record: Record) -> &mut Self {
        self.records.insert(record.key(), record);
        self
    }

    pub(crate) fn block(&mut self, prefix: &str) -> &mut Self {
        self.put(Record::Route(Route { vni: vni(), prefix: prefix.parse().unwrap(), node: NodeId(1) }))
    }

    pub(crate) fn selector(&mut self, id: u32, selector: Selector) -> &mut Self {
        self.put(Record::Selector(NamedSelector { tenant: TenantId(1), id: SelectorId(id), selector }))
    }

    pub(crate) fn port_name(&mut self, protocol: Protocol, name: &str) -> &mut Self {
        let port_names = BTreeSet::from([PortName { protocol, name: name.to_owned() }]);
        self.put(Record::Tenant(Tenant { id: TenantId(1), name: "default".to_owned(), port_names }))
    }

    pub(crate) fn group<const N: usize>(
        &mut self,
        group: u16,
        selectors: [u32; N],
        ports: &[(&str, u16)],
    ) -> &mut Self {
        let port = |(name, port): &(&str, u16)| NamedPort {
            name: (*name).to_owned(),
            protocol: Protocol::Tcp,
            port: *port,
        };
        self.put(Record::Group(GroupRules {
            tenant: TenantId(1),
            group: Group(group),
            members: Members::Endpoints,
            selectors: selectors.into_iter().map(SelectorId).collect(),
            ports: ports.iter().map(port).collect(),
            ingress: RuleSetId::OPEN,
            egress: RuleSetId::OPEN,
        }))
    }

    pub(crate) fn endpoint(&mut self, uid: &str, address: IpAddr, group: u16) -> &mut Self {
        let groups = BTreeMap::from([(address, Group(group))]);
        self.put(Record::Endpoint(Endpoint { tenant: TenantId(1), uid: uid.to_owned(), groups }))
    }

    pub(crate) fn list(&self) -> Vec<Record> {
        self.records.values().cloned().collect()
    }

    pub(crate) fn held(&self) -> Held {
        let mut held = Held::default();
        held.node = Some(NodeId(1));
        held.apply(self.list(), &[]);
        held
    }
}

pub(crate) fn vni() -> Vni {
    Vni::new(100).unwrap()
}

pub(crate) fn tenant_record(id: u32, name: &str) -> Record {
    Record::Tenant(Tenant { id: TenantId(id), name: name.to_owned(), port_names: BTreeSet::new() })
}

pub(crate) fn network_record(prefix: &str, gateway: &str) -> Record {
    Record::Network(Network {
        vni: vni(),
        tenant: TenantId(1),
        name: "default".to_owned(),
        subnets: vec![Subnet { prefix: prefix.parse().unwrap(), gateway: gateway.parse().unwrap() }],
        default_allow: true,
        world: true,
        mtu: None,
    })
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn selector(key: &str, value: &str) -> Selector {
    let operator = Operator::In(BTreeSet::from([value.to_owned()]));
    Selector::Endpoints {
        namespaces: Namespaces::Named("default".to_owned()),
        endpoints: LabelSelector(BTreeSet::from([Requirement { key: key.to_owned(), operator }])),
    }
}

/// A request for a container whose namespace's file is named like it.
pub(crate) fn request(container: &str) -> Attach {
    Attach {
        door: Door::Cni,
        tenant: None,
        namespace: None,
        name: container.to_owned(),
        network: None,
        labels: Labels::new(),
        ports: Vec::new(),
        netns: format!("/run/netns/{container}").into(),
        interface: "eth0".to_owned(),
        container: container.to_owned(),
        pod: None,
        addresses: Vec::new(),
        mac: None,
        publish: Vec::new(),
    }
}

pub(crate) fn attachment(uid: &str, number: u32, step: Step) -> Attachment {
    let address = Assigned {
        address: IpAddr::from([10, 0, 0, 10]),
        subnet: "10.0.0.0/24".parse().unwrap(),
        gateway: IpAddr::from([10, 0, 0, 1]),
    };
    Attachment {
        uid: uid.to_owned(),
        number,
        step,
        request: request(uid),
        tenant: TenantId(1),
        vni: vni(),
        network: "default".to_owned(),
        mac: Mac([2, 0, 10, 0, 0, 10]),
        addresses: vec![address],
        mtu: 1450,
    }
}
