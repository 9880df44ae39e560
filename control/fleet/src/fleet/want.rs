//! What attaches wait for: a network's records and addresses in it.
//!
//! Promises: a grant is sent when the node has acknowledged the records, and the other members of the network the route to its
//! block (those that are connected, for at most [`PATIENCE`]): the first packet's answer finds its way. A refusal says which
//! name or address was wrong and what to do.

use std::collections::BTreeSet;
use std::net::IpAddr;

use compile::Change;
use record::delta::{Grant, Refusal, RefusalKind, ServerMessage, Want};
use record::record::{Route, Subnet};
use record::{NodeId, Prefix, TenantId, Vni};
use store::ObjectKey;

use super::{Fleet, SessionId};
use crate::blocks::{Blocks, FixedError};
use crate::directory::Unknown;
use crate::document;
use crate::stage::{Millis, Touched};

/// A want that can be met once its records have arrived.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) session: SessionId,
    node: NodeId,
    id: u64,
    tenant: TenantId,
    vni: Vni,
    /// Set at the settling after it came.
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    waiting: Touched,
    since: Millis,
}

impl Pending {
    pub(super) fn deadline(&self, now: Millis) -> Millis {
        self.armed.as_ref().map_or(now, |armed| {
            let patience = if now < armed.since + PATIENCE { PATIENCE } else { OWN_PATIENCE };
            armed.since + patience
        })
    }
}

/// Where a want leads.
struct Place {
    tenant: TenantId,
    vni: Vni,
    subnets: Vec<Subnet>,
}

impl Fleet {
    /// An attach waits.
    pub(super) fn want(&mut self, session: SessionId, node: NodeId, want: Want) {
        let id = want.id;
        let place = self.place(node, &want);
        let place = place.and_then(|place| self.lease(node, &place, &want).map(|()| place));
        match place {
            Ok(Place { tenant, vni, .. }) => {
                let awaited = super::Awaited { since: self.now, object: object(&want) };
                self.outstanding.entry((node, vni)).or_default().insert(want.uid, awaited);
                self.pending.push(Pending { session, node, id, tenant, vni, armed: None });
            }
            Err(refusal) => self.send(session, ServerMessage::Refused(id, refusal)),
        }
    }

    /// Finds what the names mean.
    fn place(&self, node: NodeId, want: &Want) -> Result<Place, Refusal> {
        let tenant = self.directory.tenant(&want.tenant).map_err(not_found)?;
        let namespace = self.directory.namespace(&want.tenant, &want.namespace).map_err(not_found)?;
        let name = want.network.as_ref().unwrap_or(&namespace.network);
        let network = self.directory.network(&want.tenant, name).map_err(not_found)?;
        if let Some(holder) = self.holder_of(&object(want), &want.uid) {
            let at = self.node_name(holder);
            let remedy = if holder == node {
                "detach that one first, or give this one another name".to_owned()
            } else {
                format!("give it another name; if the node {at} is gone for good, delete its Node object")
            };
            let message =
                format!("the endpoint {}/{} is attached on the node {at}", want.namespace, want.endpoint);
            return Err(refusal(RefusalKind::Taken, message, remedy));
        }
        Ok(Place { tenant: tenant.id, vni: network.vni, subnets: network.subnets().to_vec() })
    }

    /// Where another attachment of this name is, or is about to be.
    fn holder_of(&self, object: &ObjectKey, uid: &str) -> Option<NodeId> {
        let attached = self.endpoints.named(object).filter(|other| other.report.uid != uid);
        attached.map(|other| other.node).or_else(|| {
            self.outstanding.iter().find_map(|((node, _), waiting)| {
                let same =
                    |(other, awaited): (&String, &super::Awaited)| other != uid && awaited.object == *object;
                waiting.iter().any(same).then_some(*node)
            })
        })
    }

    fn lease(&mut self, node: NodeId, place: &Place, want: &Want) -> Result<(), Refusal> {
        let before = self.blocks.get(&place.vni).cloned().unwrap_or_default();
        let mut blocks = before.clone();
        if want.addresses.is_empty() {
            self.lease_any(node, place, want, &mut blocks)?;
        } else {
            for address in &want.addresses {
                self.lease_fixed(node, place, (*address, &want.uid), &mut blocks)?;
            }
        }
        if blocks != before {
            let new = blocks.held_by(node).filter(|block| !before.held_by(node).any(|held| held == *block));
            self.changes.extend(new.map(|prefix| Change::PutBlock(Route { vni: place.vni, prefix, node })));
            self.blocks.insert(place.vni, blocks);
            self.leases_changed.insert(place.vni);
        }
        Ok(())
    }

    /// A free address of each family that the network has.
    fn lease_any(
        &self,
        node: NodeId,
        place: &Place,
        want: &Want,
        blocks: &mut Blocks,
    ) -> Result<(), Refusal> {
        for ipv4 in [true, false] {
            let subnets: Vec<Subnet> =
                place.subnets.iter().copied().filter(|subnet| subnet.prefix.is_ipv4() == ipv4).collect();
            if subnets.is_empty() || self.has_room(node, place.vni, &subnets, &want.uid, blocks) {
                continue;
            }
            if subnets.iter().find_map(|subnet| blocks.lease(*subnet, node)).is_none() {
                let ranges: Vec<String> = subnets.iter().map(|subnet| subnet.prefix.to_string()).collect();
                let network = self.network_words(place.vni);
                let message = format!(
                    "every address of the network {network} ({}) is leased to a node",
                    ranges.join(", ")
                );
                let remedy = "add a subnet to the network, or detach endpoints: nodes give empty blocks back";
                return Err(refusal(RefusalKind::Exhausted, message, remedy));
            }
        }
        Ok(())
    }

    /// Whether the node's blocks have an address for everybody who waits for one there. Who asks again has found none.
    fn has_room(&self, node: NodeId, vni: Vni, subnets: &[Subnet], uid: &str, blocks: &Blocks) -> bool {
        let within = |address: &IpAddr| subnets.iter().any(|subnet| subnet.prefix.contains(*address));
        let assignable: u128 = subnets.iter().map(|subnet| blocks.assignable(*subnet, node)).sum();
        let here = self.endpoints.on(node).filter(|observed| observed.report.vni == vni);
        let used =
            here.flat_map(|observed| &observed.report.addresses).filter(|address| within(address)).count();
        let waiting = self.outstanding.get(&(node, vni));
        let again = waiting.is_some_and(|waiting| waiting.contains_key(uid));
        let waiting = waiting.map_or(0, |waiting| waiting.len());
        !again && assignable > (used + waiting) as u128
    }

    fn lease_fixed(
        &self,
        node: NodeId,
        place: &Place,
        (address, uid): (IpAddr, &str),
        blocks: &mut Blocks,
    ) -> Result<(), Refusal> {
        if let Some(other) = self.endpoints.at(place.vni, address).filter(|other| other.report.uid != uid) {
            let (namespace, name) = (&other.report.namespace, &other.report.name);
            let node = self.node_name(other.node);
            let message = format!(
                "the address {address} is that of the endpoint {namespace}/{name} on the node {node}"
            );
            return Err(refusal(RefusalKind::Taken, message, "choose another address, or none"));
        }
        match blocks.lease_fixed(&place.subnets, address, node) {
            Ok(_) => Ok(()),
            Err(fault @ (FixedError::Outside { .. } | FixedError::Reserved { .. })) => Err(refusal(
                RefusalKind::Invalid,
                fault.to_string(),
                "choose an address inside a subnet of the network",
            )),
            Err(FixedError::Held { block, holder, .. }) => {
                let holder = self.node_name(holder);
                let message = format!(
                    "the address {address} lies in the block {block}, which the node {holder} hands out"
                );
                let remedy = "choose an address outside every node's blocks, or attach it there";
                Err(refusal(RefusalKind::Taken, message, remedy))
            }
        }
    }

    /// A node gives a block back.
    pub(super) fn release(&mut self, node: NodeId, vni: Vni, prefix: Prefix) {
        let used = |observed: &&crate::observed::Observed| {
            observed.report.vni == vni
                && observed.report.addresses.iter().any(|address| prefix.contains(*address))
        };
        if let Some(user) = self.endpoints.on(node).find(used) {
            let node = self.node_name(node);
            tracing::warn!(node, %prefix, endpoint = user.report.name, "the node gave a block back that an endpoint is in; it stays the node's");
            return;
        }
        let Some(blocks) = self.blocks.get_mut(&vni) else { return };
        if blocks.release(prefix, node) {
            self.changes.push(Change::RemoveBlock(vni, prefix));
            self.leases_changed.insert(vni);
        }
    }

    /// How many attaches wait for a grant.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Says for new wants whom they wait for.
    pub(super) fn arm_grants(&mut self, touched: &Touched) {
        let now = self.now;
        for pending in self.pending.iter_mut().filter(|pending| pending.armed.is_none()) {
            let leases = self.blocks.get(&pending.vni).into_iter().flat_map(Blocks::leases);
            let members: BTreeSet<NodeId> = leases.map(|(_, holder)| holder).collect();
            let concerned = touched.iter().filter(|(node, _)| members.contains(node));
            let mut waiting: Touched = concerned.map(|(node, epoch)| (*node, *epoch)).collect();
            let own = self.stage.find(pending.node).map(|outlet| outlet.wanted()).unwrap_or_default();
            waiting.insert(pending.node, own);
            pending.armed = Some(Armed { waiting, since: now });
        }
        for waiting in self.outstanding.values_mut() {
            waiting.retain(|_, awaited| now < awaited.since + FORGOTTEN);
        }
        self.outstanding.retain(|_, waiting| !waiting.is_empty());
    }

    /// Grants what has arrived.
    pub(super) fn answer_grants(&mut self) {
        let now = self.now;
        let (mut later, mut answers) = (Vec::new(), Vec::new());
        for mut pending in std::mem::take(&mut self.pending) {
            let Some(armed) = &mut pending.armed else { continue };
            let stage = &self.stage;
            armed.waiting.retain(|node, epoch| {
                let awaited = |outlet: &&crate::outlet::Outlet| !outlet.has(*epoch);
                stage
                    .find(*node)
                    .filter(awaited)
                    .is_some_and(|outlet| outlet.is_awaited() || *node == pending.node)
            });
            let own = armed.waiting.contains_key(&pending.node);
            if armed.waiting.is_empty() || (!own && now >= armed.since + PATIENCE) {
                let grant = Grant { id: pending.id, tenant: pending.tenant, vni: pending.vni };
                answers.push((pending.session, ServerMessage::Granted(grant)));
            } else if now >= armed.since + OWN_PATIENCE {
                let message = "the node has not acknowledged the network's records".to_owned();
                let remedy = "see what it reports: sealane status, the agent's log";
                let refusal = refusal(RefusalKind::Unavailable, message, remedy);
                answers.push((pending.session, ServerMessage::Refused(pending.id, refusal)));
            } else {
                later.push(pending);
            }
        }
        self.pending = later;
        self.effects.sends.append(&mut answers);
    }
}

/// The object that will stand for the endpoint.
fn object(want: &Want) -> ObjectKey {
    ObjectKey::new(&want.tenant, document::ENDPOINTS, Some(&want.namespace), &want.endpoint)
}

fn refusal(kind: RefusalKind, message: String, remedy: impl Into<String>) -> Refusal {
    Refusal { kind, message, remedy: remedy.into() }
}

fn not_found(unknown: Unknown) -> Refusal {
    refusal(RefusalKind::NotFound, unknown.to_string(), unknown.remedy())
}

/// How long a grant waits for the other members of the network, in milliseconds.
const PATIENCE: Millis = 1_000;

/// How long it waits for the node itself, in milliseconds.
const OWN_PATIENCE: Millis = 10_000;

/// After this, an attach that was granted and never reported is forgotten, in milliseconds.
const FORGOTTEN: Millis = 30_000;
