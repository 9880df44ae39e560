//! The endpoints that nodes have reported, by everything they are asked for by.
//!
//! Promises: an attachment is at one node; an object name is one attachment's, the first's that took it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use record::delta::Report;
use record::{NodeId, Vni};
use store::ObjectKey;

/// All endpoints.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    by_uid: BTreeMap<String, Observed>,
    by_object: BTreeMap<ObjectKey, String>,
    by_node: BTreeMap<NodeId, BTreeSet<String>>,
    by_address: BTreeMap<(Vni, IpAddr), BTreeSet<String>>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) report: Report,
    pub(crate) node: NodeId,
    /// The `Endpoint` object that stands for it.
    pub(crate) object: ObjectKey,
    /// When it was first heard of.
    pub(crate) created: String,
}

impl Endpoints {
    /// Takes in an endpoint. What was known of the attachment before comes back.
    pub(crate) fn put(&mut self, observed: Observed) -> Option<Observed> {
        let uid = observed.report.uid.clone();
        let before = self.remove(&uid);
        self.by_object.insert(observed.object.clone(), uid.clone());
        self.by_node.entry(observed.node).or_default().insert(uid.clone());
        for address in &observed.report.addresses {
            self.by_address.entry((observed.report.vni, *address)).or_default().insert(uid.clone());
        }
        self.by_uid.insert(uid, observed);
        before
    }

    /// Forgets an endpoint.
    pub(crate) fn remove(&mut self, uid: &str) -> Option<Observed> {
        let observed = self.by_uid.remove(uid)?;
        self.by_object.remove(&observed.object);
        if let Some(uids) = self.by_node.get_mut(&observed.node) {
            uids.remove(uid);
        }
        for address in &observed.report.addresses {
            let place = (observed.report.vni, *address);
            if let Some(uids) = self.by_address.get_mut(&place) {
                uids.remove(uid);
                if uids.is_empty() {
                    self.by_address.remove(&place);
                }
            }
        }
        Some(observed)
    }

    /// One endpoint by its attachment.
    pub(crate) fn find(&self, uid: &str) -> Option<&Observed> {
        self.by_uid.get(uid)
    }

    /// The endpoint that an object stands for.
    pub(crate) fn named(&self, object: &ObjectKey) -> Option<&Observed> {
        self.by_uid.get(self.by_object.get(object)?)
    }

    /// An endpoint that has an address of a network.
    pub(crate) fn at(&self, vni: Vni, address: IpAddr) -> Option<&Observed> {
        self.by_uid.get(self.by_address.get(&(vni, address))?.first()?)
    }

    /// The endpoints of a node.
    pub(crate) fn on(&self, node: NodeId) -> impl Iterator<Item = &Observed> {
        self.by_node.get(&node).into_iter().flatten().filter_map(|uid| self.by_uid.get(uid))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_uid.len()
    }
}
