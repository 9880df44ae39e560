//! The server's mind: what it knows and what follows. Sans-I/O.
//!
//! Owns: how store events, node messages and time become compile changes, store writes and messages to nodes. Parts of it:
//! [`intent`] (what people ask for), [`node`] (sessions and reports), [`want`] (blocks and grants), [`adopt`] (leases that the store has
//! lost), [`condition`] (statuses).
//!
//! ```text
//!   store events ─┐                       ┌─> writes  (durable before anything below)
//!   messages ─────┼──> Fleet ── settle ───┼─> messages to nodes: Welcome, Granted, ...
//!   time ─────────┘                       └─> generations
//! ```
//!
//! Promises: nothing that depends on a number, a lease or a report is in the messages before it is in the writes.

mod adopt;
mod condition;
mod intent;
mod node;
#[cfg(test)]
mod tests;
mod want;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use compile::{Change, Compiler};
use record::delta::{Delta, ServerMessage};
use record::inspect::{Answer, Question};
use record::{NodeId, Vni};
use store::{Action, Object, ObjectKey};

use crate::blocks::Blocks;
use crate::directory::Directory;
use crate::document;
use crate::numbers::{self, Numbers, NumbersError};
use crate::observed::Endpoints;
use crate::restoration::Restoration;
use crate::stage::{Millis, PolicyName, Stage};

pub(crate) use condition::StatusWrite;
pub(crate) use node::Node;

/// One node's stream, from its first message to its end.
pub(crate) type SessionId = u64;

/// See the module.
pub(crate) struct Fleet {
    pub(crate) numbers: Numbers,
    pub(crate) directory: Directory,
    pub(crate) blocks: BTreeMap<Vni, Blocks>,
    pub(crate) endpoints: Endpoints,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) stage: Stage,
    sessions: BTreeMap<SessionId, NodeId>,
    now: Millis,
    wall: SystemTime,
    /// How long the server had lived when it started, in seconds. Freed numbers rest by that, for it never jumps; what it lived
    /// after the last note, and the time that it was down, is not counted.
    lived_before: u64,
    /// `None`: the store was never made from a backup, or long ago.
    restoration: Option<Restoration>,
    /// For the next compile.
    changes: Vec<Change>,
    policies: BTreeMap<PolicyName, Option<::intent::policy::NetworkPolicy>>,
    joining: Vec<(NodeId, record::delta::Hello)>,
    leases_changed: BTreeSet<Vni>,
    pending: Vec<want::Pending>,
    /// Attaches that were granted, or will be, and are not reported yet, by attachment.
    outstanding: BTreeMap<(NodeId, Vni), BTreeMap<String, Awaited>>,
    realising: BTreeMap<ObjectKey, condition::Realising>,
    next_serial: u64,
    writes: BTreeMap<ObjectKey, Action>,
    effects: Effects,
    next_question: u64,
    retry_at: Millis,
}

/// An attach that is to be reported.
#[derive(Debug)]
struct Awaited {
    since: Millis,
    object: ObjectKey,
}

/// What the fleet is told once.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long a freed number rests, in seconds.
    pub(crate) rest: u64,
}

/// What is to be done after the writes are durable.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Messages, in order for each session.
    pub(crate) sends: Vec<(SessionId, ServerMessage)>,
    /// Sessions to end, after their messages.
    pub(crate) ended: Vec<SessionId>,
    /// What nodes answered, by the question's number.
    pub(crate) answers: Vec<(u64, Answer)>,
}

/// What is kept in the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Of the numbers.
    #[error("restore the fabric's numbers")]
    Numbers(#[from] NumbersError),
    /// Of what compiling numbers.
    #[error("restore the numbers of groups and rules")]
    Compiled(#[from] compile::LoadError),
    /// An object is of a form that this version does not write.
    #[error("restore {key}: it is of no form that this version writes; restore the store from a copy")]
    Form {
        /// Which.
        key: Box<ObjectKey>,
    },
}

impl Fleet {
    /// The fleet as the store has it. The first settling counts the start.
    pub(crate) fn restore(
        objects: &[Object],
        settings: Settings,
        now: Millis,
        wall: SystemTime,
    ) -> Result<Self, RestoreError> {
        let of =
            |resource: &'static str| objects.iter().filter(move |object| object.key.resource() == resource);
        let mut numbers = Numbers::restore(&of(numbers::RESOURCE).cloned().collect::<Vec<_>>())?;
        let restoration = Restoration::find(objects, now);
        if matches!(restoration, Some(Restoration::Listening(_))) {
            numbers.leap();
        }
        let start = numbers.start();
        let form = |object: &Object| RestoreError::Form { key: Box::new((*object.key).clone()) };
        let compiled = of(document::COMPILED)
            .map(|object| document::read_compiled(&object.value).ok_or_else(|| form(object)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut compiled = compile::Numbers::load(settings.rest, compiled)?;
        if restoration.is_some() {
            compiled.leap();
        }
        let lived_before = numbers.lived().max(compiled.clock());
        let mut blocks = BTreeMap::new();
        for object in of(document::BLOCKS) {
            let vni = object.key.name().parse().ok().and_then(Vni::new);
            let leases = document::read_blocks(&object.value);
            let (vni, leases) = vni.zip(leases).ok_or_else(|| form(object))?;
            blocks.insert(vni, leases);
        }
        let mut fleet = Self {
            numbers,
            directory: Directory::default(),
            blocks,
            endpoints: Endpoints::default(),
            nodes: BTreeMap::new(),
            stage: Stage::new(Compiler::new(compiled), start),
            sessions: BTreeMap::new(),
            now,
            wall,
            lived_before,
            restoration,
            changes: Vec::new(),
            policies: BTreeMap::new(),
            joining: Vec::new(),
            leases_changed: BTreeSet::new(),
            pending: Vec::new(),
            outstanding: BTreeMap::new(),
            realising: BTreeMap::new(),
            next_serial: 0,
            writes: BTreeMap::new(),
            effects: Effects::default(),
            next_question: 0,
            retry_at: 0,
        };
        fleet.tell_time();
        fleet.load(objects);
        Ok(fleet)
    }

    /// Sets the clocks: `now` never goes back, `wall` is what people read.
    pub(crate) fn at(&mut self, now: Millis, wall: SystemTime) {
        self.now = self.now.max(now);
        self.wall = wall;
        self.tell_time();
    }

    fn tell_time(&mut self) {
        let lived = self.lived_before + self.now / 1_000;
        self.stage.compiler_mut().advance(lived);
        let is_due = lived >= self.numbers.lived() + LIVED;
        if is_due && self.stage.compiler().numbers().is_resting() {
            self.numbers.note_lived(lived);
        }
    }

    /// Works out what follows from everything that came since the last time.
    pub(crate) fn settle(&mut self) {
        self.tell_restoration();
        let touched = self.stage.apply(std::mem::take(&mut self.changes), self.now);
        self.stage.apply_policies(std::mem::take(&mut self.policies), self.now);
        for (node, hello) in std::mem::take(&mut self.joining) {
            self.stage.connect(node, &hello, self.now);
        }
        self.stage.tick(self.now);
        self.note_realising(&touched);
        self.arm_grants(&touched);
        self.answer_grants();
        self.collect_writes();
    }

    fn collect_writes(&mut self) {
        for vni in std::mem::take(&mut self.leases_changed) {
            let key = ObjectKey::new(ObjectKey::SYSTEM, document::BLOCKS, None, &vni.to_string());
            let action = match self.blocks.get(&vni) {
                Some(blocks) => Action::Put(document::blocks(blocks).into()),
                None => Action::Delete,
            };
            self.writes.insert(key, action);
        }
        self.writes.append(&mut self.numbers.take_writes());
        for (key, value) in self.stage.compiler_mut().drain_numbers() {
            let action = match value {
                Some(value) => Action::Put(document::compiled(&key, &value).into()),
                None => Action::Delete,
            };
            self.writes.insert(document::compiled_key(&key), action);
        }
    }

    /// What has to be durable before [`Self::take_effects`].
    pub(crate) fn take_writes(&mut self) -> BTreeMap<ObjectKey, Action> {
        std::mem::take(&mut self.writes)
    }

    /// What is to be done now that the writes are durable, the next generations among it.
    pub(crate) fn take_effects(&mut self) -> Effects {
        let mut effects = std::mem::take(&mut self.effects);
        let mut generations = self.stage.outgoing();
        if self.now >= self.retry_at {
            self.retry_at = self.now + RETRY;
            generations.extend(self.stage.retries());
        }
        for (node, parts) in generations {
            if let Some(session) = self.nodes.get(&node).and_then(Node::session) {
                effects
                    .sends
                    .extend(parts.into_iter().map(|part: Delta| (session, ServerMessage::Delta(part))));
            }
        }
        effects
    }

    /// Asks a node. The answer comes among [`Effects::answers`]; `None`: the node is not there.
    pub(crate) fn ask(&mut self, node: NodeId, question: Question) -> Option<u64> {
        let session = self.nodes.get(&node).and_then(Node::session)?;
        self.next_question += 1;
        self.send(session, ServerMessage::Ask(self.next_question, question));
        Some(self.next_question)
    }

    /// When something is due even if nothing comes.
    pub(crate) fn deadline(&self) -> Millis {
        let grants = self.pending.iter().map(|pending| pending.deadline(self.now));
        grants.chain(self.stage.deadline()).min().unwrap_or(Millis::MAX).min(self.now + LOOK)
    }

    fn send(&mut self, session: SessionId, message: ServerMessage) {
        self.effects.sends.push((session, message));
    }

    fn put(&mut self, key: ObjectKey, document: serde_json::Value) {
        self.writes.insert(key, Action::Put(document.into()));
    }

    fn stamp(&self) -> String {
        document::stamp(self.wall)
    }

    /// A network by its identifier, with its tenant's name.
    pub(crate) fn network(&self, vni: Vni) -> Option<(&str, &crate::directory::Network)> {
        let (tenant, name) = self.numbers.network_name(vni)?;
        Some((tenant, self.directory.find(tenant)?.networks.get(name)?))
    }

    /// How long ago something was, in milliseconds.
    pub(crate) fn age(&self, since: Millis) -> Millis {
        self.now.saturating_sub(since)
    }

    /// A node's name, for messages and objects.
    pub(crate) fn node_name(&self, id: NodeId) -> String {
        self.nodes.get(&id).map_or_else(|| format!("number {id}"), |node| node.name.clone())
    }
}

/// How often it is noted how long the server has lived, in seconds, while that matters.
const LIVED: u64 = 30;

/// How often what failed on a node is sent again, in milliseconds.
const RETRY: Millis = 5_000;

/// How often sessions are looked at, in milliseconds.
const LOOK: Millis = 1_000;
