//! One tenant: what is known of it, and how its records follow from that.
//!
//! A change is taken in at once (the universe, and whom each selector matches, are exact after it), and marks what it may
//! concern. Settling (`settle`) then works through the marks in one order:
//!
//! ```text
//!   endpoints, address classes --> groups --> rule sets --> rows
//! ```
//!
//! Promises: the records are those that the same state would give from nothing; work is in proportion to what was marked.

mod class;
mod group;
mod index;
mod member;
mod policy;
mod rule_set;
mod settle;
mod universe;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use intent::object::Namespace;
use intent::policy::{NetworkPolicy, Peers};
use record::record::{Members as Kind, PortName, Project};
use record::selector::Selector;
use record::{Group, Key, Prefix, Record, SelectorId, TenantId};

use self::class::Classes;
use self::group::Groups;
use self::member::{Members, NamespaceMap};
use self::policy::{Policies, PolicyKey, PolicyState};
use self::rule_set::RuleSets;
use crate::input::{Endpoint, Universe, subject};
use crate::ledger::{Ledger, Scope};
use crate::number::{GroupName, Numbers};
use crate::work::Work;

/// What settling writes to and numbers from.
pub(crate) struct Desk<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) numbers: &'a mut Numbers,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) work: &'a mut Work,
}

impl Desk<'_> {
    /// Writes a record that all nodes of the tenant need.
    fn put(&mut self, record: Record) {
        self.ledger.put(Scope::Tenant(self.tenant), record);
    }
}

/// A tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenant {
    name: Option<String>,
    namespaces: NamespaceMap,
    policies: Policies,
    universe: universe::Universe,
    kept: Universe,
    members: Members,
    classes: Classes,
    groups: Groups,
    rule_sets: RuleSets,
    /// The group of endpoints that no selector matches, which a tenant always has.
    empty: Option<Group>,
}

/// An endpoint with its groups, for questions.
pub(crate) struct Found<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) groups: &'a BTreeMap<IpAddr, Group>,
}

impl Tenant {
    /// Whether nothing of it is left to say, and no word was ever kept.
    pub(crate) fn is_gone(&self) -> bool {
        self.name.is_none()
            && self.namespaces.is_empty()
            && self.members.is_empty()
            && self.universe.selectors().next().is_none()
            && self.universe.ports().next().is_none()
            && self.policies.is_empty()
            && self.groups.is_empty()
    }

    /// One who kept a group when its last member left needs it no more.
    pub(crate) fn release_group(&mut self, group: Group) {
        self.groups.release(group);
    }

    pub(crate) fn put_name(&mut self, name: String, desk: &mut Desk<'_>) {
        self.name = Some(name);
        if self.empty.is_none() {
            let nobody =
                GroupName { members: Kind::Endpoints, selectors: BTreeSet::new(), ports: BTreeSet::new() };
            self.empty = self.groups.enter(nobody, desk);
        }
        self.write_name(desk);
    }

    pub(crate) fn remove_name(&mut self, desk: &mut Desk<'_>) {
        self.name = None;
        if let Some(empty) = self.empty.take() {
            self.groups.leave(empty);
        }
        desk.ledger.remove(&Key::Tenant(desk.tenant));
    }

    pub(crate) fn put_namespace(&mut self, namespace: Namespace, desk: &mut Desk<'_>) {
        let name = namespace.name.clone();
        desk.put(Record::Project(Project {
            tenant: desk.tenant,
            name: name.clone(),
            labels: namespace.labels.clone(),
            network: namespace.network.clone(),
        }));
        let labels = namespace.labels.clone();
        let old = self.namespaces.insert(name.clone(), namespace);
        if old.is_none_or(|old| old.labels != labels) {
            self.members.rename(&name, &self.universe, &self.namespaces, desk.work);
        }
    }

    pub(crate) fn remove_namespace(&mut self, name: &str, desk: &mut Desk<'_>) {
        if self.namespaces.remove(name).is_some() {
            desk.ledger.remove(&Key::Project(desk.tenant, name.to_owned()));
            self.members.rename(name, &self.universe, &self.namespaces, desk.work);
        }
    }

    pub(crate) fn put_policy(&mut self, policy: NetworkPolicy, desk: &mut Desk<'_>) {
        let key = PolicyKey { namespace: policy.namespace.clone(), name: policy.name.clone() };
        if self.policies.policy(&key).is_some_and(|state| state.policy == policy) {
            return;
        }
        // The new uses come before the old ones go, so that what both use is not cut anew.
        let policy_again = policy.clone();
        let mut ids: BTreeMap<&Selector, SelectorId> = BTreeMap::new();
        let mut held = Vec::new();
        let rules = policy_again.ingress.iter().chain(&policy_again.egress).flatten();
        for rule in rules {
            if let Peers::These(peers) = &rule.peers {
                for peer in peers {
                    let id = self.take(peer, desk);
                    held.push(id);
                    ids.insert(peer, id);
                }
            }
        }
        let isolates = policy.ingress.is_some() || policy.egress.is_some();
        let subject = isolates.then(|| self.take(&subject(&policy), desk));
        held.extend(subject);
        let old = self.policies.put(policy, subject, &ids, desk);
        self.policies.hold(&key, held);
        let ports = self.policies.policy(&key).map(|state| state.ports.clone()).unwrap_or_default();
        self.take_ports(&ports, desk);
        self.drop_uses(old, desk);
    }

    pub(crate) fn remove_policy(&mut self, namespace: String, name: String, desk: &mut Desk<'_>) {
        let old = self.policies.remove(&PolicyKey { namespace, name }, &BTreeSet::new(), desk);
        self.drop_uses(old, desk);
    }

    pub(crate) fn keep(&mut self, kept: Universe, desk: &mut Desk<'_>) {
        let old = std::mem::replace(&mut self.kept, kept.clone());
        for selector in &kept.selectors {
            self.take(selector, desk);
        }
        let ports: Vec<PortName> = kept.ports.into_iter().collect();
        self.take_ports(&ports, desk);
        for selector in &old.selectors {
            if let Some(id) = self.universe.id(selector) {
                self.drop_use(id, desk);
            }
        }
        let ports: Vec<PortName> = old.ports.into_iter().collect();
        self.drop_ports(&ports, desk);
    }

    /// Takes an endpoint in, or its new form. Gives the old one back.
    pub(crate) fn put_endpoint(&mut self, endpoint: Endpoint, desk: &mut Desk<'_>) -> Option<Endpoint> {
        let old = self.members.member(&endpoint.uid).map(|member| member.endpoint.clone());
        if old.as_ref() != Some(&endpoint) {
            self.members.put(endpoint, &self.universe, &self.namespaces, desk.work);
        }
        old
    }

    pub(crate) fn remove_endpoint(&mut self, uid: &str, desk: &mut Desk<'_>) -> Option<Endpoint> {
        let member = self.members.take_out(uid)?;
        for group in member.groups.values() {
            self.groups.leave(*group);
        }
        desk.ledger.remove(&Key::Endpoint(desk.tenant, uid.to_owned()));
        Some(member.endpoint)
    }

    /// What the tenant's groups are cut by.
    pub(crate) fn universe(&self) -> Universe {
        Universe {
            selectors: self.universe.selectors().map(|(_, selector)| selector.clone()).collect(),
            ports: self.universe.ports().cloned().collect(),
        }
    }

    /// How many endpoints are denied because no group number was left for them.
    pub(crate) fn homeless(&self) -> usize {
        self.members.homeless.len()
    }

    /// Whether something waits for a group number.
    pub(crate) fn waits(&self) -> bool {
        !self.members.homeless.is_empty()
            || self.classes.waits()
            || (self.name.is_some() && self.empty.is_none())
    }

    fn take(&mut self, selector: &Selector, desk: &mut Desk<'_>) -> SelectorId {
        let (id, first) = self.universe.take(selector, desk);
        if first {
            self.classes.cut(id, selector);
            self.members.cut(id, selector, &self.namespaces, desk.work);
        }
        id
    }

    fn drop_use(&mut self, id: SelectorId, desk: &mut Desk<'_>) {
        if let Some(selector) = self.universe.drop(id, desk) {
            self.classes.mend(id, &selector);
            self.members.mend(id, &selector, &self.namespaces);
        }
    }

    fn take_ports(&mut self, ports: &[PortName], desk: &mut Desk<'_>) {
        let first: Vec<&PortName> = ports.iter().filter(|port| self.universe.take_port(port)).collect();
        self.soil_ports(&first, desk);
    }

    fn drop_ports(&mut self, ports: &[PortName], desk: &mut Desk<'_>) {
        let last: Vec<&PortName> = ports.iter().filter(|port| self.universe.drop_port(port)).collect();
        self.soil_ports(&last, desk);
    }

    fn soil_ports(&mut self, ports: &[&PortName], desk: &mut Desk<'_>) {
        for port in ports {
            self.members.soil_port(port);
        }
        if !ports.is_empty() {
            self.write_name(desk);
        }
    }

    fn drop_uses(&mut self, old: Option<PolicyState>, desk: &mut Desk<'_>) {
        let Some(old) = old else { return };
        for id in old.selectors {
            self.drop_use(id, desk);
        }
        self.drop_ports(&old.ports, desk);
    }

    fn write_name(&self, desk: &mut Desk<'_>) {
        if let Some(name) = &self.name {
            desk.put(Record::Tenant(record::record::Tenant {
                id: desk.tenant,
                name: name.clone(),
                port_names: self.universe.ports().cloned().collect(),
            }));
        }
    }
}

/// Questions.
impl Tenant {
    pub(crate) fn groups_of(&self, uid: &str) -> Option<&BTreeMap<IpAddr, Group>> {
        self.members.member(uid).map(|member| &member.groups)
    }

    pub(crate) fn endpoints_named(&self, namespace: &str, name: &str) -> impl Iterator<Item = Found<'_>> {
        let members = self.members.named(namespace, name);
        members.map(|member| Found { endpoint: &member.endpoint, groups: &member.groups })
    }

    pub(crate) fn endpoints_at(&self, address: IpAddr) -> impl Iterator<Item = Found<'_>> {
        let members = self.members.with_address(address);
        members.map(|member| Found { endpoint: &member.endpoint, groups: &member.groups })
    }

    /// Namespace and name of each endpoint.
    pub(crate) fn endpoint_names(&self) -> impl Iterator<Item = &(String, String)> {
        self.members.names()
    }

    /// The group of an outside address, and the range that gives it.
    pub(crate) fn class_of(&self, address: IpAddr) -> (Group, Option<Prefix>) {
        match self.classes.shown_for(address) {
            Some((prefix, group)) => (group, Some(prefix)),
            None => (Group::WORLD, None),
        }
    }

    /// A selector in use.
    pub(crate) fn selector(&self, id: SelectorId) -> Option<&Selector> {
        self.universe.selector(id)
    }
}
