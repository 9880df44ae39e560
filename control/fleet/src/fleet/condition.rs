//! What objects say of themselves: nodes how they are and whether all on them is as wished, networks and policies whether they are
//! realised.
//!
//! Promises: `Realised` is true only when every node concerned has acknowledged, also those that are away.

use std::sync::Arc;

use record::inspect::State;
use record::{Key, NodeId, TenantId};
use serde_json::{Map, Value, json};
use store::ObjectKey;

use super::{Fleet, Node};
use crate::document::{self, Condition, status_of};
use crate::outlet::Outlet;
use crate::stage::Touched;

/// What is to be written into an object's status.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StatusWrite {
    pub(crate) key: ObjectKey,
    pub(crate) fields: Map<String, Value>,
    pub(crate) conditions: Vec<Condition>,
    /// What it is about: the object as of this `metadata.generation`, where it has one.
    pub(crate) generation: Option<i64>,
    /// Nothing more is to be said about this realisation after this.
    last: Option<u64>,
}

/// A change of an object on its way to the nodes.
#[derive(Debug)]
pub(super) struct Realising {
    serial: u64,
    generation: Option<i64>,
    /// Whom it concerns; `None`: it is not sent yet.
    touched: Option<Arc<Touched>>,
}

impl StatusWrite {
    /// Whether the document is still what it is about.
    pub(crate) fn is_about(&self, document: &Value) -> bool {
        self.key.resource() == document::NODES || self.generation == generation(document)
    }

    /// Writes it into a document. `false`: the document says so already.
    pub(crate) fn write(&self, document: &mut Value, now: &str) -> bool {
        let mut changed = false;
        for (name, value) in &self.fields {
            let status = status_of(document);
            if status.get(name) != Some(value) {
                status.insert(name.clone(), value.clone());
                changed = true;
            }
        }
        self.conditions.iter().fold(changed, |changed, condition| condition.write(document, now) | changed)
    }
}

impl Fleet {
    /// An object is new or different: it is not realised until it has reached the nodes.
    pub(super) fn realise(&mut self, key: &ObjectKey, document: &Value) {
        self.next_serial += 1;
        let realising =
            Realising { serial: self.next_serial, generation: generation(document), touched: None };
        self.realising.insert(key.clone(), realising);
    }

    /// Remembers which nodes a change of networks and policies has yet to reach.
    pub(super) fn note_realising(&mut self, touched: &Touched) {
        let touched = Arc::new(touched.clone());
        for (key, realising) in &mut self.realising {
            if key.resource() == document::NETWORKS && realising.touched.is_none() {
                realising.touched = Some(Arc::clone(&touched));
            }
        }
        let mut last = Arc::new(Touched::new());
        for ((tenant, namespace, name), touched) in self.stage.take_flipped() {
            let Some(tenant) = self.directory.name(tenant) else { continue };
            let key = ObjectKey::new(tenant, document::POLICIES, Some(&namespace), &name);
            // Policies that were changed together share their nodes.
            if *last != touched {
                last = Arc::new(touched);
            }
            if let Some(realising) = self.realising.get_mut(&key) {
                realising.touched = Some(Arc::clone(&last));
            }
        }
    }

    /// What the objects' statuses should say now.
    pub(crate) fn statuses(&self) -> Vec<StatusWrite> {
        let nodes = self.nodes.iter().map(|(id, node)| self.node_status(*id, node));
        nodes
            .chain(self.realising.iter().filter_map(|(key, realising)| self.realised(key, realising)))
            .collect()
    }

    /// A status that was the last word is written.
    pub(crate) fn status_written(&mut self, written: &StatusWrite) {
        let done =
            self.realising.get(&written.key).is_some_and(|realising| Some(realising.serial) == written.last);
        if done {
            self.realising.remove(&written.key);
        }
    }

    fn node_status(&self, id: NodeId, node: &Node) -> StatusWrite {
        let ready = node.is_ready(self.now);
        let outlet = self.stage.find(id);
        let (wanted, held) = outlet.map(Outlet::generations).unwrap_or_default();
        let mut fields = Map::new();
        fields.insert("generationWanted".into(), json!(wanted.0));
        fields.insert("generationHeld".into(), json!(held.0));
        fields.insert("behindBecause".into(), json!(self.behind(id)));
        if !node.kernel.is_empty() {
            fields.insert("kernel".into(), json!(node.kernel));
            fields.insert("software".into(), json!(node.software));
            fields.insert("mtu".into(), json!(node.mtu));
        }
        let (reason, message) = if ready {
            ("Heard", "the node's agent is connected")
        } else {
            (
                "NotHeard",
                "the node's agent is not connected; its endpoints stay, and go on under the policies it holds",
            )
        };
        let ready = Condition { kind: "Ready", holds: ready, reason, message: message.to_owned() };
        StatusWrite {
            key: ObjectKey::new(ObjectKey::SYSTEM, document::NODES, None, &node.name),
            fields,
            // Of a node that was not asked yet what was last known stays.
            conditions: [ready].into_iter().chain(node.state.as_ref().map(fit)).collect(),
            generation: None,
            last: None,
        }
    }

    /// Why a node does not hold what it should; empty: it does.
    pub(crate) fn behind(&self, id: NodeId) -> String {
        let Some(outlet) = self.stage.find(id) else { return String::new() };
        if !outlet.is_connected() {
            return "the node is not connected".to_owned();
        }
        if let Some(fault) = outlet.faults().first() {
            return format!(
                "{} records failed, first {:?}: {}",
                outlet.faults().len(),
                fault.key,
                fault.reason
            );
        }
        if outlet.is_level() { String::new() } else { "a generation is under way".to_owned() }
    }

    fn realised(&self, key: &ObjectKey, realising: &Realising) -> Option<StatusWrite> {
        let touched = realising.touched.as_ref()?;
        let tenant = self.directory.find(key.tenant())?;
        let behind = |(node, epoch): (&NodeId, &crate::outlet::Epoch)| {
            let outlet = self.stage.find(*node)?;
            (!outlet.has(*epoch)).then_some(*node)
        };
        let waiting: Vec<String> =
            touched.iter().filter_map(behind).map(|node| self.node_name(node)).collect();
        let fault = touched.keys().find_map(|node| Some((*node, self.fault(*node, tenant.id)?)));
        let (reason, message) = match (waiting.as_slice(), fault) {
            ([], None) => ("Acknowledged", "every node concerned has it in force".to_owned()),
            ([], Some((node, fault))) => {
                ("NodeFault", format!("on the node {}: {fault}", self.node_name(node)))
            }
            (names, _) => {
                let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
                ("Waiting", format!("not acknowledged by {shown}{}", more(names.len())))
            }
        };
        let mut fields = Map::new();
        if key.resource() == document::NETWORKS {
            fields.insert("vni".into(), json!(tenant.networks.get(key.name())?.vni));
        }
        let holds = reason == "Acknowledged";
        let condition = Condition { kind: "Realised", holds, reason, message };
        let last = holds.then_some(realising.serial);
        let generation = realising.generation;
        Some(StatusWrite { key: key.clone(), fields, conditions: vec![condition], generation, last })
    }

    /// What of a tenant's a node could not realise.
    fn fault(&self, node: NodeId, tenant: TenantId) -> Option<String> {
        let faults = self.stage.find(node)?.faults();
        let own = |key: &Key| match key {
            Key::Tenant(other)
            | Key::Project(other, _)
            | Key::Selector(other, _)
            | Key::Rule(other, _)
            | Key::Row(other, ..)
            | Key::Group(other, _)
            | Key::AddressClass(other, _)
            | Key::Endpoint(other, _) => *other == tenant,
            Key::Network(vni) | Key::Member(vni, _) | Key::Route(vni, _) => self
                .network(*vni)
                .and_then(|(name, _)| self.directory.find(name))
                .is_some_and(|entry| entry.id == tenant),
            Key::Node(_) => false,
        };
        faults.iter().find(|fault| own(&fault.key)).map(|fault| fault.reason.clone())
    }
}

/// Whether all is in force on a node as it was wished.
fn fit(state: &State) -> Condition {
    let (reason, message) = match state.problems.as_slice() {
        [] => ("AsWished", "what is in force on the node is as it was wished".to_owned()),
        problems => {
            let shown = problems.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
            ("NotAsWished", format!("{shown}{}", more(problems.len())))
        }
    };
    Condition { kind: "Fit", holds: state.problems.is_empty(), reason, message }
}

/// What a message says of those that it does not show.
fn more(count: usize) -> String {
    let hidden = count.saturating_sub(SHOWN);
    if hidden > 0 { format!(" and {hidden} more") } else { String::new() }
}

fn generation(document: &Value) -> Option<i64> {
    document.pointer("/metadata/generation").and_then(Value::as_i64)
}

/// How many names of nodes, or problems of one, a condition's message shows.
const SHOWN: usize = 5;
