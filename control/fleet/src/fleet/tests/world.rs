//! A fleet with a store that is a map, and nodes that are maps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use record::delta::{Ack, Hello, NodeMessage, PROTOCOL, Refusal, Report, ServerMessage, Subscriber, Want};
use record::{Key, NodeId, Record, Vni};
use serde_json::{Value, json};
use store::{Action, Event, Object, ObjectKey};

use super::super::{Fleet, SessionId, Settings};
use crate::document;
use crate::stage::Millis;

/// A fleet with its store.
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) objects: BTreeMap<ObjectKey, Object>,
    pub(crate) nodes: BTreeMap<SessionId, FakeNode>,
    revision: u64,
    now: Millis,
    next_session: SessionId,
}

/// A node in memory.
#[derive(Debug, Default)]
pub(crate) struct FakeNode {
    pub(crate) name: String,
    pub(crate) records: BTreeMap<Key, Record>,
    pub(crate) subscriber: Subscriber,
    pub(crate) number: Option<NodeId>,
    pub(crate) received: Vec<ServerMessage>,
    /// Acknowledgements that are not sent yet.
    pub(crate) acks: VecDeque<Ack>,
    pub(crate) endpoints: Vec<Report>,
    pub(crate) ended: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self::on(BTreeMap::new());
        world.write(
            "tenants.sealane.dev",
            "system",
            None,
            "default",
            json!({ "apiVersion": "sealane.dev/v1alpha1", "kind": "Tenant" }),
        );
        world.furnish("default");
        world.run();
        world
    }

    /// What the API and the admission make with a tenant.
    pub(crate) fn furnish(&mut self, tenant: &str) {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace" });
        self.write(document::NAMESPACES, tenant, None, "default", namespace);
        let network = document::default_network(&["10.201.0.0/24".parse().unwrap()], "2026-11-20T00:00:00Z");
        self.write(document::NETWORKS, tenant, None, "default", network);
    }

    pub(crate) fn on(objects: BTreeMap<ObjectKey, Object>) -> Self {
        let settings = Settings { rest: 60 };
        let list: Vec<Object> = objects.values().cloned().collect();
        let fleet = Fleet::restore(&list, settings, 0, wall(0)).unwrap();
        Self { fleet, objects, nodes: BTreeMap::new(), revision: 1_000, now: 0, next_session: 0 }
    }

    /// Writes an object as the API would.
    pub(crate) fn write(
        &mut self,
        resource: &str,
        tenant: &str,
        namespace: Option<&str>,
        name: &str,
        mut value: Value,
    ) {
        value["metadata"]["name"] = json!(name);
        if let Some(namespace) = namespace {
            value["metadata"]["namespace"] = json!(namespace);
        }
        let kind = ::intent::Kind::named(resource).unwrap();
        let value = ::intent::admit(kind, value, ::intent::UnknownFields::Refuse).unwrap().document;
        self.store(ObjectKey::new(tenant, resource, namespace, name), Action::Put(value.into()), true);
    }

    pub(crate) fn delete(&mut self, resource: &str, tenant: &str, namespace: Option<&str>, name: &str) {
        self.store(ObjectKey::new(tenant, resource, namespace, name), Action::Delete, true);
    }

    fn store(&mut self, key: ObjectKey, action: Action, tell: bool) {
        self.revision += 1;
        let key = Arc::new(key);
        let previous = self.objects.remove(&*key);
        let object = match action {
            Action::Put(value) => {
                let object = Object { key: Arc::clone(&key), value, revision: self.revision, created: 1 };
                self.objects.insert((*key).clone(), object.clone());
                Some(object)
            }
            _ => None,
        };
        if tell {
            self.fleet.event(&Event { revision: self.revision, key, object, previous });
        }
    }

    /// Settles, stores what is written, and delivers what is sent. Returns whether anything was delivered.
    pub(crate) fn settle(&mut self) -> bool {
        self.fleet.at(self.now, wall(self.now));
        self.fleet.settle();
        for (key, action) in self.fleet.take_writes() {
            self.store(key, action, true);
        }
        let effects = self.fleet.take_effects();
        let any = !effects.sends.is_empty() || !effects.ended.is_empty();
        for (session, message) in effects.sends {
            self.nodes.get_mut(&session).unwrap().receive(message);
        }
        for session in effects.ended {
            self.nodes.get_mut(&session).unwrap().ended = true;
        }
        any
    }

    /// Until nothing more happens without time passing; nodes acknowledge at once.
    pub(crate) fn run(&mut self) {
        for _ in 0..1_000 {
            let mut busy = self.settle();
            for session in self.nodes.keys().copied().collect::<Vec<_>>() {
                while let Some(ack) = self.nodes.get_mut(&session).unwrap().acks.pop_front() {
                    self.fleet.message(session, NodeMessage::Ack(ack));
                    busy = true;
                }
            }
            if !busy {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    pub(crate) fn pass(&mut self, time: Millis) {
        self.now += time;
        self.fleet.at(self.now, wall(self.now));
    }

    /// Somebody sets the clock that people read; no time passes.
    pub(crate) fn set_clock(&mut self, since_1970: Duration) {
        self.fleet.at(self.now, SystemTime::UNIX_EPOCH + since_1970);
    }

    /// A node connects with what it holds.
    pub(crate) fn connect(&mut self, node: FakeNode) -> SessionId {
        self.next_session += 1;
        let hello = node.hello();
        self.nodes.insert(self.next_session, node);
        self.fleet.message(self.next_session, NodeMessage::Hello(hello));
        self.next_session
    }

    pub(crate) fn join(&mut self, name: &str) -> SessionId {
        let session = self.connect(FakeNode { name: name.to_owned(), ..FakeNode::default() });
        self.run();
        session
    }

    /// The node's connection ends; what it holds comes back.
    pub(crate) fn leave(&mut self, session: SessionId) -> FakeNode {
        self.fleet.closed(session);
        let mut node = self.nodes.remove(&session).unwrap();
        node.received.clear();
        node.acks.clear();
        node
    }

    pub(crate) fn want(&mut self, session: SessionId, id: u64, name: &str, address: Option<&str>) {
        let want = Want {
            id,
            tenant: "default".into(),
            namespace: "default".into(),
            network: None,
            addresses: address.into_iter().map(|address| address.parse().unwrap()).collect(),
            endpoint: name.into(),
            uid: format!("{session}/{name}"),
        };
        self.fleet.message(session, NodeMessage::Want(want));
    }

    /// Attaches an endpoint with the first free address of the node's blocks.
    pub(crate) fn attach(&mut self, session: SessionId, name: &str, labels: &[(&str, &str)]) -> Report {
        let node = self.nodes.get_mut(&session).unwrap();
        let report = node.attach(session, name, labels);
        self.fleet.message(session, NodeMessage::Attached(report.clone()));
        report
    }

    pub(crate) fn answer(&self, session: SessionId, id: u64) -> Option<Result<(), Refusal>> {
        self.nodes[&session].received.iter().find_map(|message| match message {
            ServerMessage::Granted(grant) if grant.id == id => Some(Ok(())),
            ServerMessage::Refused(other, refusal) if *other == id => Some(Err(refusal.clone())),
            _ => None,
        })
    }
}

impl FakeNode {
    pub(crate) fn hello(&self) -> Hello {
        let digit = self.name.bytes().map(u32::from).sum::<u32>() % 250 + 1;
        Hello {
            protocol: PROTOCOL,
            name: self.name.clone(),
            underlay: vec![format!("192.0.2.{digit}").parse().unwrap()],
            generation: self.subscriber.generation(),
            held: self.records.iter().map(|(key, record)| (key.clone(), record.version())).collect(),
            endpoints: self.endpoints.clone(),
            software: "0.1.0".into(),
            kernel: "6.18".into(),
            mtu: 1500,
        }
    }

    pub(crate) fn receive(&mut self, message: ServerMessage) {
        match &message {
            ServerMessage::Welcome(number) => self.number = Some(*number),
            ServerMessage::Delta(delta) => {
                if let Some(whole) = self.subscriber.receive(delta.clone()).unwrap() {
                    for key in &whole.removed {
                        self.records.remove(key);
                    }
                    self.records.extend(whole.changed.into_iter().map(|record| (record.key(), record)));
                    self.acks.push_back(Ack { generation: whole.generation, faults: Vec::new() });
                }
            }
            _ => {}
        }
        self.received.push(message);
    }

    pub(crate) fn blocks(&self) -> Vec<(Vni, record::Prefix)> {
        let own = |record: &Record| match record {
            Record::Route(route) if Some(route.node) == self.number => Some((route.vni, route.prefix)),
            _ => None,
        };
        self.records.values().filter_map(own).collect()
    }

    pub(crate) fn attach(&mut self, session: SessionId, name: &str, labels: &[(&str, &str)]) -> Report {
        let subnet = |vni: Vni| match &self.records[&Key::Network(vni)] {
            Record::Network(network) => (network.tenant, network.subnets[0]),
            other => panic!("{other:?}"),
        };
        let taken: Vec<_> = self.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone()).collect();
        let (vni, address) = self
            .blocks()
            .into_iter()
            .flat_map(|(vni, block)| (0..block.size()).map(move |at| (vni, block.nth(at).unwrap())))
            .find(|(vni, address)| subnet(*vni).1.assignable(*address) && !taken.contains(address))
            .expect("the node holds a block with a free address");
        let report = Report {
            uid: format!("{session}/{name}"),
            tenant: subnet(vni).0,
            vni,
            namespace: "default".into(),
            name: name.into(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ports: Vec::new(),
            addresses: vec![address],
            published: Vec::new(),
            host_addresses: Vec::new(),
        };
        self.endpoints.push(report.clone());
        report
    }

    pub(crate) fn deltas(&self) -> usize {
        self.received.iter().filter(|message| matches!(message, ServerMessage::Delta(_))).count()
    }

    pub(crate) fn groups(&self) -> Vec<record::Group> {
        let groups = |record: &Record| match record {
            Record::Endpoint(endpoint) => endpoint.groups.values().copied().collect(),
            _ => Vec::new(),
        };
        self.records.values().flat_map(groups).collect()
    }
}

pub(crate) fn wall(now: Millis) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + Duration::from_millis(now)
}
