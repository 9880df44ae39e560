//! Nodes, networks and blocks: who is a member of what, and so who needs which records.
//!
//! A node is a member of a network while it holds a block of it or has an endpoint in it. Promises: work in proportion to the
//! networks of the node concerned and their members.

use std::collections::{BTreeMap, BTreeSet};

use record::record::{Member, Network, Node, Route};
use record::{Key, NodeId, Prefix, Record, TenantId, Vni};

use crate::ledger::{Ledger, Scope};

/// The part of the inputs that is no policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fabric {
    nodes: BTreeSet<NodeId>,
    networks: BTreeMap<Vni, Network>,
    blocks: BTreeMap<(Vni, Prefix), NodeId>,
    /// How many blocks and endpoints make the node a member.
    members: BTreeMap<Vni, BTreeMap<NodeId, u32>>,
    joined: BTreeMap<NodeId, BTreeSet<Vni>>,
}

impl Fabric {
    pub(crate) fn network(&self, vni: Vni) -> Option<&Network> {
        self.networks.get(&vni)
    }

    pub(crate) fn put_node(&mut self, node: Node, ledger: &mut Ledger) {
        self.nodes.insert(node.id);
        ledger.put(Scope::Near(node.id), Record::Node(node.clone()));
        self.place(node.id, ledger);
    }

    pub(crate) fn remove_node(&mut self, node: NodeId, ledger: &mut Ledger) {
        self.nodes.remove(&node);
        ledger.remove(&Key::Node(node));
        self.place(node, ledger);
    }

    pub(crate) fn put_network(&mut self, network: Network, ledger: &mut Ledger) {
        let vni = network.vni;
        ledger.put(Scope::Network(vni), Record::Network(network.clone()));
        self.networks.insert(vni, network);
        self.place_members(vni, ledger);
    }

    pub(crate) fn remove_network(&mut self, vni: Vni, ledger: &mut Ledger) {
        self.networks.remove(&vni);
        ledger.remove(&Key::Network(vni));
        self.place_members(vni, ledger);
    }

    pub(crate) fn put_block(&mut self, route: Route, ledger: &mut Ledger) {
        let old = self.blocks.insert((route.vni, route.prefix), route.node);
        if old == Some(route.node) {
            return;
        }
        ledger.put(Scope::Network(route.vni), Record::Route(route));
        self.join(route.vni, route.node, ledger);
        if let Some(old) = old {
            self.leave(route.vni, old, ledger);
        }
    }

    pub(crate) fn remove_block(&mut self, vni: Vni, prefix: Prefix, ledger: &mut Ledger) {
        if let Some(node) = self.blocks.remove(&(vni, prefix)) {
            ledger.remove(&Key::Route(vni, prefix));
            self.leave(vni, node, ledger);
        }
    }

    /// One more reason for the node to be a member.
    pub(crate) fn join(&mut self, vni: Vni, node: NodeId, ledger: &mut Ledger) {
        let reasons = self.members.entry(vni).or_default().entry(node).or_default();
        *reasons += 1;
        if *reasons == 1 {
            self.joined.entry(node).or_default().insert(vni);
            ledger.put(Scope::Network(vni), Record::Member(Member { vni, node }));
            self.place(node, ledger);
            for other in self.members[&vni].keys().filter(|other| self.nodes.contains(other)) {
                ledger.gain(*other, Scope::Near(node));
            }
        }
    }

    /// One reason fewer.
    pub(crate) fn leave(&mut self, vni: Vni, node: NodeId, ledger: &mut Ledger) {
        let Some(members) = self.members.get_mut(&vni) else { return };
        let Some(reasons) = members.get_mut(&node) else { return };
        *reasons -= 1;
        if *reasons > 0 {
            return;
        }
        members.remove(&node);
        if members.is_empty() {
            self.members.remove(&vni);
        }
        if let Some(joined) = self.joined.get_mut(&node) {
            joined.remove(&vni);
            if joined.is_empty() {
                self.joined.remove(&node);
            }
        }
        ledger.remove(&Key::Member(vni, node));
        self.place(node, ledger);
        for other in self.members.get(&vni).into_iter().flat_map(BTreeMap::keys) {
            if !self.share(node, *other) {
                ledger.lose(*other, Scope::Near(node));
            }
        }
    }

    fn share(&self, one: NodeId, other: NodeId) -> bool {
        let joined = |node| self.joined.get(&node);
        joined(one).zip(joined(other)).is_some_and(|(one, other)| !one.is_disjoint(other))
    }

    fn place_members(&self, vni: Vni, ledger: &mut Ledger) {
        for node in self.members.get(&vni).into_iter().flat_map(BTreeMap::keys) {
            self.place(*node, ledger);
        }
    }

    /// Works out anew which scopes a node has.
    fn place(&self, node: NodeId, ledger: &mut Ledger) {
        let mut scopes = BTreeSet::new();
        if self.nodes.contains(&node) {
            scopes.extend([Scope::Near(node), Scope::Node(node)]);
            for vni in self.joined.get(&node).into_iter().flatten() {
                scopes.insert(Scope::Network(*vni));
                scopes.extend(self.tenant(*vni).map(Scope::Tenant));
                scopes.extend(self.members[vni].keys().map(|other| Scope::Near(*other)));
            }
        }
        ledger.hold(node, scopes);
    }

    fn tenant(&self, vni: Vni) -> Option<TenantId> {
        self.networks.get(&vni).map(|network| network.tenant)
    }
}
