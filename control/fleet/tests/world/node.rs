//! A node in memory that speaks over a real stream.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compile::{Flow, Judged, verdict};
use record::delta::{Ack, Hello, NodeMessage, PROTOCOL, Refusal, Report, ServerMessage, Subscriber, Want};
use record::inspect::{Answer, Judgement, Packet, Path, Question, State};
use record::{Group, Key, NodeId, Prefix, Record, TenantId, Vni};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::eventually;

/// What a node holds, and what it has heard since it connected.
#[derive(Default)]
pub(crate) struct Held {
    pub name: String,
    pub underlay: Vec<IpAddr>,
    pub records: BTreeMap<Key, Record>,
    pub subscriber: Subscriber,
    pub endpoints: Vec<Report>,
    pub number: Option<NodeId>,
    pub rejected: Option<String>,
    pub deltas: usize,
    pub answers: BTreeMap<u64, Result<(), Refusal>>,
    next_want: u64,
}

/// A node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Node {
    pub held: Arc<Mutex<Held>>,
    outgoing: mpsc::Sender<NodeMessage>,
    task: Arc<JoinHandle<()>>,
    /// How long it takes to realise a generation.
    delay: Duration,
}

impl Node {
    pub(crate) async fn join(address: &stream::Address, name: &str) -> Self {
        Self::join_slowly(address, name, Duration::ZERO).await
    }

    pub(crate) async fn join_slowly(address: &stream::Address, name: &str, delay: Duration) -> Self {
        let digit = name.bytes().map(u32::from).sum::<u32>() % 250 + 1;
        let underlay = vec![format!("192.0.2.{digit}").parse().unwrap()];
        let held = Held { name: name.to_owned(), underlay, ..Held::default() };
        let node = Self::connect(address, Arc::new(Mutex::new(held)), delay).await;
        eventually("the node is welcome", || async { node.look(|held| held.number.is_some()) }).await;
        node
    }

    /// As [`Self::join`]; `None`: the server is not there, or goes.
    pub(crate) async fn try_join(address: &stream::Address, name: &str) -> Option<Self> {
        let digits = name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(131).wrapping_add(byte.into()));
        let underlay = vec![IpAddr::from([100, 64, (digits >> 8) as u8, digits as u8])];
        let held = Held { name: name.to_owned(), underlay, ..Held::default() };
        let node = Self::try_connect(address, Arc::new(Mutex::new(held)), Duration::ZERO).await?;
        while node.look(|held| held.number.is_none()) {
            if node.is_over() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Some(node)
    }

    /// Connects with what is held already.
    pub(crate) async fn connect(address: &stream::Address, held: Arc<Mutex<Held>>, delay: Duration) -> Self {
        Self::try_connect(address, held, delay).await.unwrap()
    }

    async fn try_connect(address: &stream::Address, held: Arc<Mutex<Held>>, delay: Duration) -> Option<Self> {
        let link = stream::connect(address).await.ok()?;
        let hello = {
            let mut held = held.lock().unwrap();
            held.deltas = 0;
            held.number = None;
            held.hello()
        };
        link.outgoing.send(NodeMessage::Hello(hello)).await.ok()?;
        let task = tokio::spawn(serve(Arc::clone(&held), link.outgoing.clone(), link.incoming, delay));
        Some(Self { held, outgoing: link.outgoing, task: Arc::new(task), delay })
    }

    /// The connection breaks.
    pub(crate) fn leave(self) -> Arc<Mutex<Held>> {
        self.task.abort();
        self.held
    }

    pub(crate) async fn come_back(&self, address: &stream::Address) -> Self {
        self.task.abort();
        Self::connect(address, Arc::clone(&self.held), self.delay).await
    }

    pub(crate) fn look<T>(&self, read: impl FnOnce(&Held) -> T) -> T {
        read(&self.held.lock().unwrap())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    pub(crate) async fn want(&self, name: &str, address: Option<IpAddr>) -> Result<(), Refusal> {
        let id = {
            let mut held = self.held.lock().unwrap();
            held.next_want += 1;
            held.next_want
        };
        let want = Want {
            id,
            tenant: "default".into(),
            namespace: "default".into(),
            network: None,
            addresses: address.into_iter().collect(),
            endpoint: name.into(),
            uid: self.look(|held| format!("{}/{name}", held.name)),
        };
        self.outgoing.send(NodeMessage::Want(want)).await.unwrap();
        eventually("a want is answered", || async { self.look(|held| held.answers.contains_key(&id)) }).await;
        self.look(|held| held.answers[&id].clone())
    }

    /// Wants and attaches; waits for the server's word on the endpoint.
    pub(crate) async fn attach(&self, name: &str, labels: &[(&str, &str)]) -> IpAddr {
        self.want(name, None).await.unwrap();
        let report = self.held.lock().unwrap().attach(name, labels);
        self.outgoing.send(NodeMessage::Attached(report.clone())).await.unwrap();
        let key = Key::Endpoint(report.tenant, report.uid);
        eventually("the endpoint has its groups", || async {
            self.look(|held| held.records.contains_key(&key))
        })
        .await;
        report.addresses[0]
    }

    /// Begins an attach and leaves it at that: the block is asked for, and the endpoint reported once it is there.
    pub(crate) async fn start_attach(&self, name: &str, labels: &[(&str, &str)]) {
        let want = Want {
            id: 1,
            tenant: "default".into(),
            namespace: "default".into(),
            network: None,
            addresses: Vec::new(),
            endpoint: self.look(|held| held.name.clone()),
            uid: self.look(|held| format!("{}/{name}", held.name)),
        };
        self.outgoing.send(NodeMessage::Want(want)).await.ok();
        for _ in 0..100 {
            if self.look(|held| held.answers.contains_key(&1)) {
                let report = self.held.lock().unwrap().attach(name, labels);
                self.outgoing.send(NodeMessage::Attached(report)).await.ok();
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn detach(&self, name: &str) {
        let report = {
            let mut held = self.held.lock().unwrap();
            let at = held.endpoints.iter().position(|report| report.name == name).unwrap();
            held.endpoints.remove(at)
        };
        self.outgoing.send(NodeMessage::Detached(report.tenant, report.uid)).await.unwrap();
    }

    pub(crate) async fn release(&self, vni: Vni, block: Prefix) {
        self.outgoing.send(NodeMessage::Release(vni, block)).await.unwrap();
    }
}

async fn serve(
    held: Arc<Mutex<Held>>,
    outgoing: mpsc::Sender<NodeMessage>,
    mut incoming: stream::Streaming<ServerMessage>,
    delay: Duration,
) {
    while let Ok(Some(message)) = incoming.message().await {
        if matches!(&message, ServerMessage::Delta(delta) if !delta.more) {
            tokio::time::sleep(delay).await;
        }
        let reply = held.lock().unwrap().receive(message);
        if let Some(reply) = reply
            && outgoing.send(reply).await.is_err()
        {
            return;
        }
    }
}

impl Held {
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            name: self.name.clone(),
            underlay: self.underlay.clone(),
            generation: self.subscriber.generation(),
            held: self.records.iter().map(|(key, record)| (key.clone(), record.version())).collect(),
            endpoints: self.endpoints.clone(),
            software: "0.1.0".into(),
            kernel: "6.18".into(),
            mtu: 1500,
        }
    }

    fn receive(&mut self, message: ServerMessage) -> Option<NodeMessage> {
        match message {
            ServerMessage::Welcome(number) => self.number = Some(number),
            ServerMessage::Rejected(why) => self.rejected = Some(why),
            ServerMessage::Granted(grant) => _ = self.answers.insert(grant.id, Ok(())),
            ServerMessage::Refused(id, refusal) => _ = self.answers.insert(id, Err(refusal)),
            ServerMessage::Ask(id, question) => return Some(NodeMessage::Answer(id, self.answer(question))),
            ServerMessage::Delta(delta) => {
                self.deltas += 1;
                let whole = self.subscriber.receive(delta).unwrap()?;
                whole.removed.iter().for_each(|key| _ = self.records.remove(key));
                self.records.extend(whole.changed.into_iter().map(|record| (record.key(), record)));
                return Some(NodeMessage::Ack(Ack { generation: whole.generation, faults: Vec::new() }));
            }
        }
        None
    }

    fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Judge(packet) => Answer::Judgement(self.judgement(&packet)),
            Question::State => Answer::State(State {
                generation: self.subscriber.generation(),
                endpoints: self.endpoints.len() as u32,
                fill: Vec::new(),
                problems: Vec::new(),
            }),
            Question::Flows(_) => Answer::Flows(Vec::new()),
            Question::Drops => Answer::Drops(record::inspect::Drops::default()),
        }
    }

    /// As a datapath would judge, by what the node holds.
    fn judgement(&self, packet: &Packet) -> Judgement {
        let sender = packet.tag.unwrap_or_else(|| self.group(packet.source));
        let receiver = self.group(packet.destination);
        let judged = self.judge(sender, receiver, packet.protocol, packet.port);
        let here = receiver != Group::UNKNOWN;
        let route = |record: &Record| match record {
            Record::Route(route) if route.prefix.contains(packet.destination) => Some(route.node),
            _ => None,
        };
        let path = if here {
            Path::Local
        } else {
            self.records.values().find_map(route).map_or(Path::Nowhere, Path::Node)
        };
        let outcome = judged.outcome(true);
        Judgement {
            generation: self.subscriber.generation(),
            sender,
            receiver,
            egress: here.then_some(judged.egress),
            ingress: here.then_some(judged.ingress),
            path,
            passes: !here || outcome.is_ok(),
            reason: if here { outcome.err().map(|(reason, _)| reason) } else { None },
        }
    }

    pub(crate) fn judge(&self, sender: Group, receiver: Group, protocol: u8, port: u16) -> Judged {
        verdict(&self.records, Flow { tenant: TenantId(1), sender, receiver, protocol, port })
    }

    /// The group of an endpoint of this node.
    pub(crate) fn group(&self, address: IpAddr) -> Group {
        let group = |record: &Record| match record {
            Record::Endpoint(endpoint) => endpoint.groups.get(&address).copied(),
            _ => None,
        };
        self.records.values().find_map(group).unwrap_or(Group::UNKNOWN)
    }

    pub(crate) fn blocks(&self) -> BTreeSet<(Vni, Prefix)> {
        let own = |record: &Record| match record {
            Record::Route(route) if Some(route.node) == self.number => Some((route.vni, route.prefix)),
            _ => None,
        };
        self.records.values().filter_map(own).collect()
    }

    fn attach(&mut self, name: &str, labels: &[(&str, &str)]) -> Report {
        let taken: BTreeSet<IpAddr> =
            self.endpoints.iter().flat_map(|report| report.addresses.clone()).collect();
        let found = self.blocks().into_iter().find_map(|(vni, block)| {
            let Record::Network(network) = &self.records[&Key::Network(vni)] else { panic!() };
            let free = |address: &IpAddr| network.subnets[0].assignable(*address) && !taken.contains(address);
            let address = (0..block.size()).filter_map(|at| block.nth(at)).find(free)?;
            Some((network.tenant, vni, address))
        });
        let (tenant, vni, address) = found.expect("a block of the node has a free address");
        let report = Report {
            uid: format!("{}/{name}", self.name),
            tenant,
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
}
