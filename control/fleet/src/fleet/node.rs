//! Nodes: their sessions, what they report, and their end.

use std::net::IpAddr;

use compile::Change;
use intent::Kind;
use record::delta::{Hello, NodeMessage, PROTOCOL, Report, ServerMessage};
use record::inspect::{Answer, Question, State};
use record::{NodeId, TenantId};
use store::{Action, ObjectKey};

use super::{Fleet, SessionId};
use crate::document;
use crate::observed::Observed;
use crate::stage::Millis;

/// What is known of a node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) underlay: Vec<IpAddr>,
    pub(crate) kernel: String,
    pub(crate) software: String,
    pub(crate) mtu: u16,
    /// What it last said of itself; `None`: it has not been asked since this server began.
    pub(crate) state: Option<State>,
    /// Since when it is connected, or gone.
    pub(crate) since: Millis,
    session: Option<SessionId>,
    heard: Millis,
    asked: Option<u64>,
    ask_at: Millis,
    /// Whether a `Node` object stands for it.
    known: bool,
}

impl Node {
    pub(super) fn absent(name: String, now: Millis) -> Self {
        Self {
            name,
            underlay: Vec::new(),
            kernel: String::new(),
            software: String::new(),
            mtu: 0,
            state: None,
            since: now,
            session: None,
            heard: now,
            asked: None,
            ask_at: now,
            known: false,
        }
    }

    /// Its stream, if it has one.
    pub(crate) fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Whether it is heard, or has been until a moment ago.
    pub(crate) fn is_ready(&self, now: Millis) -> bool {
        self.session.is_some() || (self.known && !self.kernel.is_empty() && now < self.since + GRACE)
    }
}

impl Fleet {
    /// Takes in a message of a session.
    pub(crate) fn message(&mut self, session: SessionId, message: NodeMessage) {
        let node = self.sessions.get(&session).copied();
        match (message, node) {
            (NodeMessage::Hello(hello), None) => self.hello(session, hello),
            (NodeMessage::Hello(_), Some(_)) => {
                self.reject(session, "a session says hello once; connect anew")
            }
            (_, None) => self.reject(session, "a session begins with hello; use an agent of this version"),
            (message, Some(node)) => {
                if let Some(known) = self.nodes.get_mut(&node) {
                    known.heard = self.now;
                }
                self.word(session, node, message);
            }
        }
    }

    fn word(&mut self, session: SessionId, node: NodeId, message: NodeMessage) {
        match message {
            NodeMessage::Hello(_) => {}
            NodeMessage::Ack(ack) => {
                for fault in &ack.faults {
                    let node = self.node_name(node);
                    tracing::warn!(node, key = ?fault.key, reason = %fault.reason, "a record is not in force on the node");
                }
                self.stage.acknowledge(node, ack, self.now);
            }
            NodeMessage::Want(want) => self.want(session, node, want),
            NodeMessage::Release(vni, prefix) => self.release(node, vni, prefix),
            NodeMessage::Attached(report) => self.attached(node, report),
            NodeMessage::Detached(_, uid) => self.detached(node, &uid),
            NodeMessage::Answer(question, answer) => self.answered(node, question, answer),
        }
    }

    fn answered(&mut self, node: NodeId, question: u64, answer: Answer) {
        let known = self.nodes.get_mut(&node).filter(|known| known.asked == Some(question));
        match (known, answer) {
            (Some(known), Answer::State(state)) => {
                known.asked = None;
                known.state = Some(state);
            }
            (Some(known), _) => known.asked = None,
            (None, answer) => self.effects.answers.push((question, answer)),
        }
    }

    /// A session begins, or is told why not.
    fn hello(&mut self, session: SessionId, hello: Hello) {
        if let Err(refusal) = self.check_hello(&hello) {
            tracing::warn!(node = hello.name, refusal, "a node was refused");
            return self.reject(session, &refusal);
        }
        let node = match self.numbers.node(&hello.name) {
            Ok(node) => node,
            Err(error) => return self.reject(session, &error.to_string()),
        };
        if let Some(older) = self.nodes.get(&node).and_then(Node::session) {
            tracing::warn!(
                node = hello.name,
                "the node connected again while its older session was live; the newer one counts"
            );
            self.reject(
                older,
                "another agent of this node's name has connected; let one agent run on each host",
            );
            self.closed(older);
        }
        if hello.generation > self.stage.newest() {
            self.catch_up(&hello);
        }
        self.welcome(session, node, &hello);
        self.adopt(node, &hello);
        self.compare_endpoints(node, &hello.endpoints);
        if self.is_listening() {
            return self.put_off(session);
        }
        self.joining.retain(|(other, _)| *other != node);
        self.joining.push((node, hello));
        self.send(session, ServerMessage::Welcome(node));
    }

    fn check_hello(&self, hello: &Hello) -> Result<(), String> {
        if hello.protocol != PROTOCOL {
            let (older, newer) =
                if hello.protocol < PROTOCOL { ("agent", "server") } else { ("server", "agent") };
            return Err(format!(
                "the agent speaks version {} of the delta protocol and the server version {PROTOCOL}: bring the {older} to the \
                 {newer}'s version",
                hello.protocol
            ));
        }
        if start_of(hello) > self.stage.start().saturating_add(STARTS_AHEAD) {
            return Err(format!(
                "the node {} holds the generation {}, which no server can have made: its journal is damaged; purge the agent's \
                 state (sealane agent --purge) and start it again",
                hello.name, hello.generation
            ));
        }
        let document = document::node(&hello.name, &hello.underlay, &self.stamp());
        if let Err(problems) = intent::parse(Kind::Node, &document) {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Err(format!("the node cannot be registered: {}", problems.join("; ")));
        }
        // The same host under another address connects once its older session has ended; another host never takes its place.
        let elsewhere = |node: &&Node| {
            node.name == hello.name
                && node.session.is_some()
                && !node.underlay.iter().any(|address| hello.underlay.contains(address))
        };
        if let Some(first) = self.nodes.values().find(elsewhere) {
            let addresses: Vec<String> = first.underlay.iter().map(ToString::to_string).collect();
            return Err(format!(
                "the node {} is connected from {}: give each host a name of its own",
                hello.name,
                addresses.join(", ")
            ));
        }
        let same = |node: &&Node| {
            node.name != hello.name && node.underlay.iter().any(|address| hello.underlay.contains(address))
        };
        match self.nodes.values().find(same) {
            Some(other) => Err(format!(
                "the node {} has an underlay address of the node {}: give each host its own, or delete the node {} if it is gone",
                hello.name, other.name, other.name
            )),
            None => Ok(()),
        }
    }

    /// The node holds a generation that this server has not made: another store made it, or one that is newer than this copy.
    /// A start of the same number is then another start too.
    fn catch_up(&mut self, hello: &Hello) {
        let start = self.numbers.start_after(start_of(hello));
        tracing::warn!(
            node = hello.name,
            held = %hello.generation,
            newest = %self.stage.newest(),
            "the node holds a generation that was made with another store, or after this copy of the store; generations go on \
             from there. Was the store lost, or restored from a copy?"
        );
        self.stage.restart_after(start);
    }

    fn welcome(&mut self, session: SessionId, node: NodeId, hello: &Hello) {
        let name = hello.name.clone();
        if let Some((network, subnet)) = self.network_around(&hello.underlay) {
            tracing::warn!(node = name, network, %subnet, "the node's underlay lies inside a network's subnet; containers there cannot reach it");
        }
        let created = self.stamp();
        let known = self.nodes.entry(node).or_insert_with(|| Node::absent(name, self.now));
        let changed = !known.known || known.underlay != hello.underlay;
        known.underlay.clone_from(&hello.underlay);
        known.kernel.clone_from(&hello.kernel);
        known.software.clone_from(&hello.software);
        known.mtu = hello.mtu;
        known.since = self.now;
        known.heard = self.now;
        known.asked = None;
        known.ask_at = self.now;
        known.known = true;
        known.session = Some(session);
        self.sessions.insert(session, node);
        if changed {
            let document = document::node(&hello.name, &hello.underlay, &created);
            self.put(ObjectKey::new(ObjectKey::SYSTEM, document::NODES, None, &hello.name), document);
            self.place_node(node);
        }
        tracing::info!(node = hello.name, number = %node, "the node is connected");
    }

    fn place_node(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get(&id) {
            let record =
                record::record::Node { id, name: node.name.clone(), underlay: node.underlay.clone() };
            self.changes.push(Change::PutNode(record));
        }
    }

    /// Takes in a node as the store has it.
    pub(super) fn load_node(&mut self, node: intent::object::Node) {
        let id = match self.numbers.node(&node.name) {
            Ok(id) => id,
            Err(error) => return tracing::error!(node = node.name, %error, "the node cannot be served"),
        };
        let known = self.nodes.entry(id).or_insert_with(|| Node::absent(node.name, self.now));
        known.underlay = node.underlay;
        known.known = true;
        self.place_node(id);
    }

    /// What a node says of its endpoints is all there is on it.
    fn compare_endpoints(&mut self, node: NodeId, reports: &[Report]) {
        let gone = |observed: &&Observed| !reports.iter().any(|report| report.uid == observed.report.uid);
        let gone: Vec<String> =
            self.endpoints.on(node).filter(gone).map(|observed| observed.report.uid.clone()).collect();
        for uid in gone {
            self.detached(node, &uid);
        }
        for report in reports {
            self.attached(node, report.clone());
        }
    }

    /// An endpoint is attached, or different.
    fn attached(&mut self, node: NodeId, report: Report) {
        if let Some(outstanding) = self.outstanding.get_mut(&(node, report.vni)) {
            outstanding.remove(&report.uid);
        }
        let known = self.endpoints.find(&report.uid);
        if known.is_some_and(|known| known.node == node && known.report == report) {
            return;
        }
        if let Err(fault) = self.check_report(node, &report) {
            let node = self.node_name(node);
            tracing::warn!(
                node,
                endpoint = report.name,
                fault,
                "an endpoint was reported that should not be there"
            );
        }
        let owner = self.network(report.vni).and_then(|(tenant, _)| self.directory.find(tenant));
        let Some(owner) = owner.map(|owner| owner.id) else {
            // It was deleted while the node attached: an object of it would be in no network, and nobody could read it back.
            let node = self.node_name(node);
            tracing::error!(node, endpoint = report.name, vni = %report.vni, "an endpoint was reported in a network that is gone; it reaches nobody and counts for nothing: detach it");
            return;
        };
        if owner != report.tenant {
            let (node, network) = (self.node_name(node), self.network_words(report.vni));
            tracing::error!(node, network, endpoint = report.name, tenant = %report.tenant, "an endpoint was reported in another tenant's network; it counts for nothing");
            return;
        }
        let created = known.map_or_else(|| self.stamp(), |known| known.created.clone());
        let Some(object) = self.object_of(&report) else {
            tracing::warn!(endpoint = report.name, tenant = %report.tenant, "an endpoint of an unknown tenant was reported; it counts for nothing");
            return;
        };
        let network =
            self.numbers.network_name(report.vni).map_or_else(String::new, |(_, name)| name.clone());
        let document = document::endpoint(&report, object.name(), &network, &self.node_name(node), &created);
        self.changes.push(Change::PutEndpoint(compile::Endpoint::reported(node, report.clone())));
        let before = self.endpoints.put(Observed { report, node, object: object.clone(), created });
        if let Some(before) = before.filter(|before| before.object != object) {
            self.writes.insert(before.object, Action::Delete);
        }
        self.put(object, document);
    }

    fn check_report(&self, node: NodeId, report: &Report) -> Result<(), String> {
        let network = self.network(report.vni).map(|(_, network)| network);
        let Some(network) = network else { return Err(format!("there is no network of VNI {}", report.vni)) };
        for address in &report.addresses {
            if !network.subnets().iter().any(|subnet| subnet.assignable(*address)) {
                return Err(format!(
                    "{address} is no endpoint's address of the network {}",
                    network.object.name
                ));
            }
            let holder = self.blocks.get(&report.vni).and_then(|blocks| blocks.holder(*address));
            if holder.is_none_or(|(_, holder)| holder != node) {
                return Err(format!("{address} lies in no block that the node holds"));
            }
            let other =
                self.endpoints.at(report.vni, *address).filter(|other| other.report.uid != report.uid);
            if let Some(other) = other {
                return Err(format!("{address} is also that of {}", other.report.name));
            }
        }
        Ok(())
    }

    /// The object that stands for an endpoint: of its own name, unless another attachment has that.
    fn object_of(&self, report: &Report) -> Option<ObjectKey> {
        let tenant = self.directory.name(report.tenant)?;
        let key = |name: &str| ObjectKey::new(tenant, document::ENDPOINTS, Some(&report.namespace), name);
        let plain = key(&report.name);
        let free =
            |key: &ObjectKey| self.endpoints.named(key).is_none_or(|other| other.report.uid == report.uid);
        if free(&plain) {
            return Some(plain);
        }
        let hash = xxhash_rust::xxh3::xxh3_64(report.uid.as_bytes());
        Some(key(&format!("{}-{:08x}", report.name, hash as u32)))
    }

    /// An endpoint is gone.
    pub(super) fn detached(&mut self, node: NodeId, uid: &str) {
        if self.endpoints.find(uid).is_none_or(|observed| observed.node != node) {
            return;
        }
        if let Some(observed) = self.endpoints.remove(uid) {
            self.forget_endpoint(observed);
        }
    }

    fn forget_endpoint(&mut self, observed: Observed) {
        let tenant: TenantId = observed.report.tenant;
        self.changes.push(Change::RemoveEndpoint(tenant, observed.report.uid));
        self.writes.insert(observed.object, Action::Delete);
    }

    /// A session is over.
    pub(crate) fn closed(&mut self, session: SessionId) {
        let Some(node) = self.sessions.remove(&session) else { return };
        self.pending.retain(|pending| pending.session != session);
        let Some(known) = self.nodes.get_mut(&node).filter(|known| known.session == Some(session)) else {
            return;
        };
        known.session = None;
        known.since = self.now;
        tracing::warn!(node = known.name, "the node is not connected any more; its endpoints stay");
        self.joining.retain(|(other, _)| *other != node);
        self.outstanding.retain(|(other, _), _| *other != node);
        self.stage.disconnect(node, self.now);
    }

    /// A node's object was deleted: it is gone for good, with all it had.
    pub(super) fn remove_node(&mut self, name: &str) {
        let Some(id) = self.nodes.iter().find(|(_, node)| node.name == name).map(|(id, _)| *id) else {
            return;
        };
        if let Some(session) = self.nodes.get(&id).and_then(Node::session) {
            self.reject(session, "this node was deleted; purge its agent's state before it joins again");
            self.closed(session);
        }
        self.nodes.remove(&id);
        let uids: Vec<String> = self.endpoints.on(id).map(|observed| observed.report.uid.clone()).collect();
        for observed in uids.iter().filter_map(|uid| self.endpoints.remove(uid)).collect::<Vec<_>>() {
            self.forget_endpoint(observed);
        }
        for (vni, blocks) in &mut self.blocks {
            for prefix in blocks.release_all(id) {
                self.changes.push(Change::RemoveBlock(*vni, prefix));
                self.leases_changed.insert(*vni);
            }
        }
        self.changes.push(Change::RemoveNode(id));
        self.numbers.drop_node(name);
        self.stage.forget(id, self.now);
    }

    fn reject(&mut self, session: SessionId, why: &str) {
        self.send(session, ServerMessage::Rejected(why.to_owned()));
        self.effects.ended.push(session);
    }

    /// Asks nodes how they are from time to time, and ends the sessions of those that say nothing at all.
    pub(crate) fn look(&mut self) {
        let now = self.now;
        let live = |(id, node): (&NodeId, &Node)| Some((*id, node.session?, node.heard, node.ask_at));
        for (id, session, heard, ask_at) in self.nodes.iter().filter_map(live).collect::<Vec<_>>() {
            if now >= heard + SILENCE {
                tracing::warn!(node = self.node_name(id), "the node says nothing; its session ends");
                self.effects.ended.push(session);
                self.closed(session);
            } else if now >= ask_at {
                let question = self.ask(id, Question::State);
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.asked = question;
                    node.ask_at = now + ASK;
                }
            }
        }
    }
}

/// The server's start in which the generation that a node holds was made.
fn start_of(hello: &Hello) -> u32 {
    (hello.generation.0 >> 32) as u32
}

/// How many starts a store can have lost, at most: whoever claims more would use up the count of starts.
const STARTS_AHEAD: u32 = 1 << 20;

/// How long after its session a node still counts as ready, in milliseconds: an agent that restarts is back by then.
const GRACE: Millis = 15_000;

/// How often a node is asked how it is, in milliseconds.
const ASK: Millis = 10_000;

/// How long it may say nothing before its session is ended, in milliseconds.
const SILENCE: Millis = 30_000;
