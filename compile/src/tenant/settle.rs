//! Settling: from what a batch of changes has marked to records.
//!
//! A group is named by what matches its members, and its number never gets another name, even where all members would stay
//! together: a node that is cut off puts new containers into groups by the selectors that it has heard of, and others must not
//! take those for something else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use record::record::{AddressClass, Endpoint as EndpointRecord, Members as Kind};
use record::{Direction, Group, Key, Prefix, Record};

use super::class::Class;
use super::member::{Uid, port_name};
use super::{Desk, Tenant};
use crate::ledger::Scope;
use crate::number::GroupName;

impl Tenant {
    /// Brings the records in line with what has been taken in.
    pub(crate) fn settle(&mut self, desk: &mut Desk<'_>) {
        self.regroup_all(desk);
        self.bury(desk);
        self.rejudge(desk);
    }

    /// The same, but the groups that nobody is in any more stay, with what judges them and what others say of them. Says which.
    pub(crate) fn settle_keeping(&mut self, desk: &mut Desk<'_>) -> Vec<Group> {
        self.regroup_all(desk);
        let kept = self.groups.keep_left();
        self.bury(desk);
        self.rejudge(desk);
        kept
    }

    fn bury(&mut self, desk: &mut Desk<'_>) {
        for (group, state) in self.groups.bury(desk) {
            self.rule_sets.forget(group, &state, desk);
            self.rule_sets.release(state.ingress);
            self.rule_sets.release(state.egress);
        }
    }

    fn regroup_all(&mut self, desk: &mut Desk<'_>) {
        if self.waits() && desk.numbers.has_group_left(desk.tenant) {
            self.members.dirty.append(&mut self.members.homeless);
            self.classes.soil_waiting();
            if let Some(name) = self.name.clone() {
                self.put_name(name, desk);
            }
        }
        for uid in std::mem::take(&mut self.members.dirty) {
            self.regroup(uid, desk);
        }
        for (prefix, class) in self.classes.redraw() {
            self.reclassify(prefix, class, desk);
        }
    }

    /// Finds the group of each address of an endpoint.
    fn regroup(&mut self, uid: Uid, desk: &mut Desk<'_>) {
        let Some(names) = self.names(&uid) else { return };
        desk.work.endpoints_grouped += 1;
        let mut homeless = false;
        let mut groups = BTreeMap::new();
        for (address, name) in names {
            let found = name.map(|name| self.groups.enter(name, desk));
            homeless |= found == Some(None);
            groups.insert(address, found.flatten().unwrap_or(Group::UNKNOWN));
        }
        if homeless {
            self.members.homeless.insert(uid.clone());
        } else {
            self.members.homeless.remove(&uid);
        }
        let Some(member) = self.members.member_mut(&uid) else { return };
        let node = member.endpoint.node;
        let old = std::mem::replace(&mut member.groups, groups.clone());
        old.into_values().for_each(|group| self.groups.leave(group));
        let record = EndpointRecord { tenant: desk.tenant, uid: uid.to_string(), groups };
        desk.ledger.put(Scope::Node(node), Record::Endpoint(record));
    }

    /// The name of the group of each address of an endpoint. In a namespace that is not there an endpoint is in none: what is
    /// missing is denied.
    fn names(&self, uid: &str) -> Option<BTreeMap<IpAddr, Option<GroupName>>> {
        let endpoint = &self.members.member(uid)?.endpoint;
        let known = self.namespaces.contains_key(&endpoint.namespace);
        let name = |address: IpAddr| {
            let mut selectors = self.classes.matching(address);
            selectors.extend(self.members.matched(endpoint).into_iter().flatten());
            let ports = endpoint.ports.iter().filter(|port| self.universe.names(&port_name(port)));
            GroupName { members: Kind::Endpoints, selectors, ports: ports.cloned().collect() }
        };
        let addresses = endpoint.addresses.iter();
        Some(addresses.map(|address| (*address, known.then(|| name(*address)))).collect())
    }

    /// Shows a range with the group of its class, or shows it no more. A class that no selector matches is the world.
    fn reclassify(&mut self, prefix: Prefix, class: Option<Class>, desk: &mut Desk<'_>) {
        let group = class.map(|class| match class.is_empty() {
            true => Group::WORLD,
            false => {
                let name = GroupName { members: Kind::Addresses, selectors: class, ports: BTreeSet::new() };
                self.groups.enter(name, desk).unwrap_or(Group::UNKNOWN)
            }
        });
        match group {
            Some(group) => {
                desk.put(Record::AddressClass(AddressClass { tenant: desk.tenant, prefix, group }));
            }
            None => desk.ledger.remove(&Key::AddressClass(desk.tenant, prefix)),
        }
        if let Some(old) = self.classes.show(prefix, group) {
            self.groups.leave(old);
        }
    }

    /// Gives groups their rule sets, and rule sets their rows.
    fn rejudge(&mut self, desk: &mut Desk<'_>) {
        let fresh = std::mem::take(&mut self.groups.fresh);
        let mut concerned = fresh.clone();
        for subject in std::mem::take(&mut self.policies.soiled_subjects) {
            concerned.extend(self.groups.with_selector(subject));
        }
        for group in concerned {
            desk.work.groups_judged += 1;
            let Some(state) = self.groups.group_mut(group) else { continue };
            if state.is_of_endpoints() {
                for direction in [Direction::Ingress, Direction::Egress] {
                    let new = self.rule_sets.claim(state, direction, &self.policies, desk);
                    let old = std::mem::replace(state.rule_set(direction), new);
                    self.rule_sets.release(old);
                }
            }
            self.groups.write(group, desk);
        }
        for isolation in std::mem::take(&mut self.policies.soiled_isolations) {
            self.rule_sets.soil(isolation);
        }
        self.rule_sets.bury(&mut self.groups, desk);
        // Those that exist already get the rows about new groups; those that are new get all their rows.
        for group in fresh {
            self.rule_sets.introduce(group, &mut self.groups, &self.policies, desk);
        }
        self.rule_sets.rebuild(&mut self.groups, &self.policies, desk);
    }
}
