//! The records of the fabric as they are, who needs each, and what a batch of changes made of them.
//!
//! ```text
//!   record --scope--> nodes          a record has one scope; a node has a set of scopes
//! ```
//!
//! Promises: [`Changes`] hold net differences alone (a record that was taken away and put back the same is not in them), each
//! node's in order of dependence; a node's records are exactly those whose scope it has.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use record::{Key, NodeId, Record, TenantId, Vni};

/// Which nodes need a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// One node: its endpoints.
    Node(NodeId),
    /// Those that share a network with the node, and itself: where it is.
    Near(NodeId),
    /// The members of a network: the network, its members and routes.
    Network(Vni),
    /// The members of any network of a tenant: all that policy says.
    Tenant(TenantId),
}

/// What a batch of changes made of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New or different records of the fabric, in order of dependence.
    pub upserts: Vec<Arc<Record>>,
    /// Records that are gone, in reverse order of dependence.
    pub removals: Vec<Key>,
    /// What each node concerned is to be told. Also when no record changed: a node that joins a network gets what is there.
    pub nodes: BTreeMap<NodeId, Delivery>,
}

/// What one node is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// New or different for the node, in order of dependence.
    pub upserts: Vec<Arc<Record>>,
    /// No longer the node's, in reverse order of dependence.
    pub removals: Vec<Key>,
}

impl Changes {
    /// Whether nothing is different for anybody.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty() && self.nodes.is_empty()
    }
}

impl Delivery {
    /// The same in three steps, make before break: what is referred to and disturbs nobody (networks, rules, rows, groups);
    /// then who is in which group (endpoints and address classes, put and removed); then the removal of what is left over.
    /// With the steps acknowledged one after the other, no node meets a number that it has not heard of.
    pub fn stages(self) -> [Self; 3] {
        let moved = |key: &Key| matches!(key, Key::Endpoint(..) | Key::AddressClass(..));
        let (movers, makers) = self.upserts.into_iter().partition(|record| moved(&record.key()));
        let (leavers, leftovers) = self.removals.into_iter().partition(|key| moved(key));
        [
            Self { upserts: makers, removals: Vec::new() },
            Self { upserts: movers, removals: leavers },
            Self { upserts: Vec::new(), removals: leftovers },
        ]
    }
}

#[derive(Clone, Debug)]
struct Entered {
    scope: Scope,
    record: Arc<Record>,
}

/// The records, by key and by scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    records: BTreeMap<Key, Entered>,
    scopes: BTreeMap<Scope, BTreeSet<Key>>,
    /// Who has each scope, and the scopes of each.
    holders: BTreeMap<Scope, BTreeSet<NodeId>>,
    held: BTreeMap<NodeId, BTreeSet<Scope>>,
    /// What was there when the batch began, of what it touched.
    before: BTreeMap<Key, Option<Entered>>,
    held_before: BTreeMap<NodeId, BTreeSet<Scope>>,
    written: u64,
}

impl Ledger {
    pub(crate) fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.values().map(|entered| &entered.record)
    }

    pub(crate) fn record(&self, key: &Key) -> Option<&Record> {
        self.records.get(key).map(|entered| &*entered.record)
    }

    /// What one node should hold, in order of dependence.
    pub(crate) fn records_of(&self, node: NodeId) -> Vec<Arc<Record>> {
        let scopes = self.held.get(&node).into_iter().flatten();
        let keys: BTreeSet<&Key> = scopes.filter_map(|scope| self.scopes.get(scope)).flatten().collect();
        keys.into_iter().map(|key| Arc::clone(&self.records[key].record)).collect()
    }

    /// The nodes that need a record.
    pub(crate) fn audience(&self, key: &Key) -> BTreeSet<NodeId> {
        let scope = self.records.get(key).map(|entered| entered.scope);
        scope.and_then(|scope| self.holders.get(&scope)).cloned().unwrap_or_default()
    }

    /// How many records have been put or removed, the same ones again included.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn put(&mut self, scope: Scope, record: Record) {
        let key = record.key();
        let same = |entered: &Entered| entered.scope == scope && *entered.record == record;
        if self.records.get(&key).is_some_and(same) {
            return;
        }
        self.written += 1;
        let entered = Entered { scope, record: Arc::new(record) };
        let old = self.records.insert(key.clone(), entered);
        if let Some(old) = &old {
            self.leave(old.scope, &key);
        }
        self.scopes.entry(scope).or_default().insert(key.clone());
        self.before.entry(key).or_insert(old);
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        let Some(old) = self.records.remove(key) else { return };
        self.written += 1;
        self.leave(old.scope, key);
        self.before.entry(key.clone()).or_insert(Some(old));
    }

    /// Replaces the scopes that a node has.
    pub(crate) fn hold(&mut self, node: NodeId, scopes: BTreeSet<Scope>) {
        let old = self.held.get(&node).cloned().unwrap_or_default();
        for scope in old.difference(&scopes) {
            self.unhold(node, *scope);
        }
        for scope in scopes.difference(&old) {
            self.holders.entry(*scope).or_default().insert(node);
        }
        if scopes.is_empty() {
            self.held.remove(&node);
        } else {
            self.held.insert(node, scopes);
        }
        self.held_before.entry(node).or_insert(old);
    }

    /// Gives a node one scope more.
    pub(crate) fn gain(&mut self, node: NodeId, scope: Scope) {
        let held = self.held.entry(node).or_default();
        if !held.contains(&scope) {
            self.held_before.entry(node).or_insert_with(|| held.clone());
            held.insert(scope);
            self.holders.entry(scope).or_default().insert(node);
        }
    }

    /// Takes one scope from a node.
    pub(crate) fn lose(&mut self, node: NodeId, scope: Scope) {
        let Some(held) = self.held.get_mut(&node) else { return };
        if held.contains(&scope) {
            self.held_before.entry(node).or_insert_with(|| held.clone());
            held.remove(&scope);
            self.unhold(node, scope);
        }
    }

    /// Ends the batch: what it has changed.
    pub(crate) fn finish(&mut self) -> Changes {
        let mut before = std::mem::take(&mut self.before);
        before.retain(|key, old| {
            let now = self.records.get(key);
            match (old, now) {
                (None, None) => false,
                (Some(old), Some(now)) => old.scope != now.scope || old.record != now.record,
                _ => true,
            }
        });
        let nodes = self.deliveries(&before);
        let mut changes = Changes { nodes, ..Changes::default() };
        for (key, old) in before {
            match (self.records.get(&key), old) {
                (Some(now), old) if old.as_ref().is_none_or(|old| old.record != now.record) => {
                    changes.upserts.push(Arc::clone(&now.record));
                }
                (Some(_), _) => {}
                (None, _) => changes.removals.push(key),
            }
        }
        changes.removals.reverse();
        changes
    }

    fn deliveries(&mut self, before: &BTreeMap<Key, Option<Entered>>) -> BTreeMap<NodeId, Delivery> {
        let held_before = std::mem::take(&mut self.held_before);
        let empty = BTreeSet::new();
        // Key by key what a node has to hear: `Some`, the record; `None`, that it is gone.
        let mut news: BTreeMap<NodeId, BTreeMap<&Key, Option<&Arc<Record>>>> = BTreeMap::new();
        for (node, old) in &held_before {
            let now = self.held.get(node).unwrap_or(&empty);
            let heard = news.entry(*node).or_default();
            for scope in old.difference(now) {
                let keys = self.scopes.get(scope).into_iter().flatten();
                let had = |key: &&Key| match before.get(*key) {
                    Some(entered) => entered.as_ref().is_some_and(|entered| entered.scope == *scope),
                    None => true,
                };
                heard.extend(keys.filter(had).map(|key| (key, None)));
            }
            for key in now.difference(old).filter_map(|scope| self.scopes.get(scope)).flatten() {
                heard.insert(key, Some(&self.records[key].record));
            }
        }
        for (key, old) in before {
            if let Some(old) = old {
                let had = |node: &NodeId| held_before.get(node).is_none_or(|held| held.contains(&old.scope));
                let holders = self.holders.get(&old.scope).into_iter().flatten().filter(|node| had(node));
                let left = held_before.iter().filter(|(_, held)| held.contains(&old.scope));
                for node in holders.chain(left.map(|(node, _)| node)) {
                    news.entry(*node).or_default().insert(key, None);
                }
            }
            if let Some(now) = self.records.get(key) {
                for node in self.holders.get(&now.scope).into_iter().flatten() {
                    news.entry(*node).or_default().insert(key, Some(&now.record));
                }
            }
        }
        let told = news.into_iter().map(|(node, heard)| (node, delivery(heard)));
        told.filter(|(_, delivery)| *delivery != Delivery::default()).collect()
    }

    fn leave(&mut self, scope: Scope, key: &Key) {
        if let Entry::Occupied(mut keys) = self.scopes.entry(scope) {
            keys.get_mut().remove(key);
            if keys.get().is_empty() {
                keys.remove();
            }
        }
    }

    fn unhold(&mut self, node: NodeId, scope: Scope) {
        if let Entry::Occupied(mut holders) = self.holders.entry(scope) {
            holders.get_mut().remove(&node);
            if holders.get().is_empty() {
                holders.remove();
            }
        }
    }
}

fn delivery(heard: BTreeMap<&Key, Option<&Arc<Record>>>) -> Delivery {
    let mut delivery = Delivery::default();
    for (key, record) in heard {
        match record {
            Some(record) => delivery.upserts.push(Arc::clone(record)),
            None => delivery.removals.push(key.clone()),
        }
    }
    delivery.removals.reverse();
    delivery
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::record::Node;

    fn node(id: u32, name: &str) -> Record {
        Record::Node(Node { id: NodeId(id), name: name.into(), underlay: Vec::new() })
    }

    fn near(ids: &[u32]) -> BTreeSet<Scope> {
        ids.iter().map(|id| Scope::Near(NodeId(*id))).collect()
    }

    #[test]
    fn what_was_taken_away_and_put_back_is_no_change() {
        let mut ledger = Ledger::default();
        ledger.hold(NodeId(1), near(&[1]));
        ledger.put(Scope::Near(NodeId(1)), node(1, "a"));
        assert_eq!(ledger.finish().nodes[&NodeId(1)].upserts.len(), 1);
        ledger.remove(&Key::Node(NodeId(1)));
        ledger.put(Scope::Near(NodeId(1)), node(1, "b"));
        ledger.put(Scope::Near(NodeId(1)), node(1, "a"));
        assert!(ledger.finish().is_empty());
    }

    #[test]
    fn a_node_that_gets_a_scope_is_told_what_is_in_it_and_one_that_loses_it_what_goes() {
        let mut ledger = Ledger::default();
        ledger.put(Scope::Near(NodeId(2)), node(2, "b"));
        assert!(ledger.finish().nodes.is_empty(), "nobody has the scope");
        ledger.hold(NodeId(1), near(&[1, 2]));
        let changes = ledger.finish();
        assert!(changes.upserts.is_empty(), "no record changed");
        assert_eq!(changes.nodes[&NodeId(1)].upserts[0].key(), Key::Node(NodeId(2)));
        ledger.hold(NodeId(1), near(&[1]));
        ledger.remove(&Key::Node(NodeId(2)));
        assert_eq!(ledger.finish().nodes[&NodeId(1)].removals, [Key::Node(NodeId(2))]);
    }
}
