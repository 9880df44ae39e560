//! The agent's book: the records held and the attachments, and what must agree between them. In memory, without I/O.
//!
//! Promises: an address, an endpoint's name, a published port and a place (door, container, interface) belong to one
//! attachment at a time, from the moment it is planned until everything of it is gone; a number is not used again soon.

mod plan;
mod rest;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use record::door::{Attach, Publish};
use record::{Group, Key, Record, TenantId, Vni};

use crate::attachment::{Attachment, Groups, Place, Step, namespace_of, tenant_of};
use crate::held::Held;
use crate::mtu::mtu_of;
pub(crate) use plan::{Ask, Facts, Plan};
pub(crate) use rest::{Rest, Resting};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The records.
    pub(crate) held: Held,
    /// Blocks that are empty, and those on their way back to the server.
    pub(crate) rest: Rest,
    kept: BTreeMap<String, Kept>,
    places: BTreeMap<Place, String>,
    names: HashMap<(TenantId, String, String), String>,
    used: HashMap<Vni, BTreeSet<IpAddr>>,
    last: HashMap<(Vni, bool), IpAddr>,
    next_number: u32,
}

/// An attachment with what is known of it in this life of the agent.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// What is journaled.
    pub(crate) attachment: Attachment,
    /// The groups that the kernel has for it.
    pub(crate) written: Groups,
    /// What tells the container's namespace from others.
    pub(crate) namespace: Option<u64>,
    /// Whether the server's word on it was waited for in vain.
    unanswered: bool,
}

impl Ledger {
    /// A book with these records, whose next attachment has this number.
    pub(crate) fn new(held: Held, next_number: u32) -> Self {
        Self {
            held,
            next_number: if next_number > NUMBERS { 1 } else { next_number.max(1) },
            ..Self::default()
        }
    }

    /// Enters an attachment, or the next step of one.
    pub(crate) fn keep(&mut self, attachment: Attachment, namespace: Option<u64>) {
        let uid = attachment.uid.clone();
        self.places.insert(Place::of(&attachment.request), uid.clone());
        self.names.insert(name_of(&attachment), uid.clone());
        self.used.entry(attachment.vni).or_default().extend(attachment.ips());
        let before = self.kept.remove(&uid);
        let unanswered = before.as_ref().is_some_and(|kept| kept.unanswered);
        let written = before.map(|kept| kept.written).unwrap_or_default();
        self.kept.insert(uid, Kept { attachment, written, namespace, unanswered });
    }

    /// Strikes an attachment out; what it had is free.
    pub(crate) fn strike(&mut self, uid: &str) -> Option<Attachment> {
        let attachment = self.kept.remove(uid)?.attachment;
        self.places.remove(&Place::of(&attachment.request));
        self.names.remove(&name_of(&attachment));
        if let Some(used) = self.used.get_mut(&attachment.vni) {
            used.retain(|address| !attachment.ips().any(|own| own == *address));
            if used.is_empty() {
                self.used.remove(&attachment.vni);
            }
        }
        Some(attachment)
    }

    /// Marks how far an attachment has come; answers it as it is then.
    pub(crate) fn step(&mut self, uid: &str, step: Step) -> Option<Attachment> {
        let kept = self.kept.get_mut(uid)?;
        kept.attachment.step = step;
        Some(kept.attachment.clone())
    }

    /// The MTU that an attached one should have where the underlay leaves a container `most`, and has not.
    pub(crate) fn misfit(&self, attachment: &Attachment, most: u16) -> Option<u16> {
        let wanted = mtu_of(self.held.network(attachment.vni)?, most);
        (attachment.step == Step::Attached && attachment.mtu != wanted).then_some(wanted)
    }

    /// Notes the MTU that an attachment's link has now.
    pub(crate) fn resized(&mut self, uid: &str, mtu: u16) {
        if let Some(kept) = self.kept.get_mut(uid) {
            kept.attachment.mtu = mtu;
        }
    }

    /// Notes the groups that the kernel has for an attachment.
    pub(crate) fn wrote(&mut self, uid: &str, groups: Groups) {
        if let Some(kept) = self.kept.get_mut(uid) {
            kept.written = groups;
        }
    }

    /// Notes that the server's word on an attachment was waited for in vain: from now on it goes by what is held.
    pub(crate) fn wait_no_more(&mut self, uid: &str) {
        if let Some(kept) = self.kept.get_mut(uid) {
            kept.unanswered = true;
        }
    }

    /// The groups that an attachment is to be in now. While the server is heard, a group that it has not put an endpoint of this
    /// node into is waited for: nodes that will judge its members may not have heard of it yet.
    pub(crate) fn groups_of(&self, attachment: &Attachment, server_heard: bool) -> Groups {
        let found = self.held.groups_of(attachment);
        let kept = self.kept.get(&attachment.uid);
        if !server_heard || self.held.has_word(attachment) || kept.is_some_and(|kept| kept.unanswered) {
            return found;
        }
        let written = |address| kept.and_then(|kept| kept.written.get(&address).copied());
        let choose = |(address, group)| {
            let sure = self.held.is_filled(attachment.tenant, group) || written(address) == Some(group);
            (address, if sure { group } else { Group::UNKNOWN })
        };
        found.into_iter().map(choose).collect()
    }

    /// The attachment with this identity.
    pub(crate) fn kept(&self, uid: &str) -> Option<&Kept> {
        self.kept.get(uid)
    }

    /// The attachment at a place.
    pub(crate) fn at(&self, place: &Place) -> Option<&Kept> {
        self.kept.get(self.places.get(place)?)
    }

    /// What an earlier pod of the same name has at the same door.
    pub(crate) fn earlier_pod(&self, request: &Attach) -> Option<&Attachment> {
        let pod = request.pod.as_ref()?;
        let name = |request: &Attach| {
            (
                request.door,
                tenant_of(request).to_owned(),
                namespace_of(request).to_owned(),
                request.name.clone(),
            )
        };
        let wanted = name(request);
        self.all().map(|kept| &kept.attachment).find(|one| {
            one.request.pod.as_ref().is_some_and(|other| other != pod) && name(&one.request) == wanted
        })
    }

    /// The attachment with this number.
    pub(crate) fn numbered(&self, number: u32) -> Option<&Attachment> {
        self.all().map(|kept| &kept.attachment).find(|attachment| attachment.number == number)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Kept> {
        self.kept.values()
    }

    /// How many have come to this step.
    pub(crate) fn count(&self, step: Step) -> usize {
        self.all().filter(|kept| kept.attachment.step == step).count()
    }

    /// Whether the groups of all its addresses are in the kernel.
    pub(crate) fn is_judged(&self, uid: &str) -> bool {
        self.kept.get(uid).is_some_and(|kept| {
            let known = |address| kept.written.get(&address).is_some_and(|group| *group != Group::UNKNOWN);
            kept.attachment.ips().all(known)
        })
    }

    /// The attachments whose groups may be others after a change of these records.
    pub(crate) fn touched(&self, changed: &[Record], removed: &[Key]) -> Vec<String> {
        let mut tenants = BTreeSet::new();
        let mut uids = BTreeSet::new();
        for key in changed.iter().map(Record::key).chain(removed.iter().cloned()) {
            match key {
                Key::Endpoint(_, uid) => {
                    uids.insert(uid);
                }
                Key::Tenant(tenant)
                | Key::Project(tenant, _)
                | Key::Selector(tenant, _)
                | Key::Group(tenant, _) => {
                    tenants.insert(tenant);
                }
                _ => {}
            }
        }
        let touched =
            |kept: &&Kept| uids.contains(&kept.attachment.uid) || tenants.contains(&kept.attachment.tenant);
        self.all().filter(touched).map(|kept| kept.attachment.uid.clone()).collect()
    }

    /// The addresses in use in a network.
    pub(crate) fn used(&self, vni: Vni) -> Option<&BTreeSet<IpAddr>> {
        self.used.get(&vni)
    }

    fn owner(&self, vni: Vni, address: IpAddr) -> Option<&Attachment> {
        let here =
            |kept: &&Kept| kept.attachment.vni == vni && kept.attachment.ips().any(|own| own == address);
        self.all().find(here).map(|kept| &kept.attachment)
    }

    fn publisher(&self, wanted: &Publish) -> Option<&Attachment> {
        let collides = |other: &Publish| {
            let same_address = match (other.address, wanted.address) {
                (Some(other), Some(wanted)) => other == wanted,
                _ => true,
            };
            other.protocol == wanted.protocol && other.host_port == wanted.host_port && same_address
        };
        let has = |kept: &&Kept| kept.attachment.request.publish.iter().any(collides);
        self.all().find(has).map(|kept| &kept.attachment)
    }

    /// A number that no attachment has; the counter goes round so that a number rests for as long as possible.
    fn take_number(&mut self) -> u32 {
        let behind = |number: u32| if number >= NUMBERS { 1 } else { number + 1 };
        while self.numbered(self.next_number).is_some() {
            self.next_number = behind(self.next_number);
        }
        let number = self.next_number;
        self.next_number = behind(number);
        number
    }
}

fn name_of(attachment: &Attachment) -> (TenantId, String, String) {
    (attachment.tenant, attachment.namespace().to_owned(), attachment.request.name.clone())
}

/// The largest number of an attachment: for each the datapath has a node-local address out of 100.64.0.0/10.
const NUMBERS: u32 = 4_000_000;
