//! What objects say of themselves: nodes how they are, networks and policies whether they are realised.
//!
//! Promises: `Realised` is true only when every node concerned has acknowledged, also those that are away.

use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// Nothing more is to be said about it after this.
    pub(crate) last: bool,
}

impl StatusWrite {
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
    /// Remembers which nodes a change of networks and policies has yet to reach.
    pub(super) fn note_realising(&mut self, touched: &Touched) {
        let touched = Arc::new(touched.clone());
        for (key, waiting) in &mut self.realising {
            if key.resource() == document::NETWORKS && waiting.is_empty() {
                *waiting = Arc::clone(&touched);
            }
        }
        let mut same: BTreeMap<TenantId, Arc<Touched>> = BTreeMap::new();
        for ((tenant, namespace, name), touched) in self.stage.take_flipped() {
            let Some(tenant_name) = self.directory.name(tenant) else { continue };
            let key = ObjectKey::new(tenant_name, document::POLICIES, Some(&namespace), &name);
            let shared = same.entry(tenant).or_insert_with(|| Arc::new(touched.clone()));
            if **shared != touched {
                *shared = Arc::new(touched);
            }
            if let Some(waiting) = self.realising.get_mut(&key) {
                *waiting = Arc::clone(shared);
            }
        }
    }

    /// What the objects' statuses should say now.
    pub(crate) fn statuses(&self) -> Vec<StatusWrite> {
        let nodes = self.nodes.iter().map(|(id, node)| self.node_status(*id, node));
        nodes.chain(self.realising.iter().filter_map(|(key, touched)| self.realised(key, touched))).collect()
    }

    /// A status that was the last word is written.
    pub(crate) fn status_written(&mut self, written: &StatusWrite) {
        if written.last {
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
        StatusWrite {
            key: ObjectKey::new(ObjectKey::SYSTEM, document::NODES, None, &node.name),
            fields,
            conditions: vec![Condition { kind: "Ready", holds: ready, reason, message: message.to_owned() }],
            last: false,
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

    fn realised(&self, key: &ObjectKey, touched: &Touched) -> Option<StatusWrite> {
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
                let more = names.len().saturating_sub(SHOWN);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                ("Waiting", format!("not acknowledged by {shown}{more}"))
            }
        };
        let mut fields = Map::new();
        if key.resource() == document::NETWORKS {
            fields.insert("vni".into(), json!(tenant.networks.get(key.name())?.vni));
        }
        let holds = reason == "Acknowledged";
        let condition = Condition { kind: "Realised", holds, reason, message };
        Some(StatusWrite { key: key.clone(), fields, conditions: vec![condition], last: holds })
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
                .directory
                .by_vni(*vni)
                .and_then(|(name, _)| self.directory.find(name))
                .is_some_and(|entry| entry.id == tenant),
            Key::Node(_) => false,
        };
        faults.iter().find(|fault| own(&fault.key)).map(|fault| fault.reason.clone())
    }
}

/// How many names of nodes a condition's message shows.
const SHOWN: usize = 5;
