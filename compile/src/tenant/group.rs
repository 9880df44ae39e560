//! A tenant's groups: who is in each, and what judges them.
//!
//! Promises: a group is there while it has members or is kept; its number is given back with it.

use std::collections::{BTreeMap, BTreeSet};

use record::record::{GroupRules, Members, PortName};
use record::{Direction, Group, Key, Record, RuleSetId, SelectorId};

use super::Desk;
use super::index::drop_from;
use super::member::port_name;
use crate::number::GroupName;

/// The groups of a tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    states: BTreeMap<Group, GroupState>,
    by_selector: BTreeMap<SelectorId, BTreeSet<Group>>,
    by_port: BTreeMap<PortName, BTreeSet<Group>>,
    /// Groups that have come since the last settling.
    pub(super) fresh: BTreeSet<Group>,
    /// Groups that may have lost their last member.
    left: BTreeSet<Group>,
    /// Groups that nobody keeps any more.
    released: BTreeSet<Group>,
}

/// A group.
#[derive(Clone, Debug)]
pub(super) struct GroupState {
    pub(super) name: GroupName,
    members: u64,
    /// How many need it although nobody is in it.
    keepers: u64,
    pub(super) ingress: RuleSetId,
    pub(super) egress: RuleSetId,
    /// The rule sets that have a row about it.
    pub(super) rows: BTreeSet<RuleSetId>,
}

impl Groups {
    pub(super) fn group(&self, group: Group) -> Option<&GroupState> {
        self.states.get(&group)
    }

    pub(super) fn group_mut(&mut self, group: Group) -> Option<&mut GroupState> {
        self.states.get_mut(&group)
    }

    pub(super) fn with_selector(&self, selector: SelectorId) -> impl Iterator<Item = Group> {
        self.by_selector.get(&selector).into_iter().flatten().copied()
    }

    pub(super) fn with_port(&self, port: &PortName) -> impl Iterator<Item = Group> {
        self.by_port.get(port).into_iter().flatten().copied()
    }

    /// One more member; `None`: no number is left for the group.
    pub(super) fn enter(&mut self, name: GroupName, desk: &mut Desk<'_>) -> Option<Group> {
        let group = desk.numbers.group(desk.tenant, &name)?;
        let state = self.states.entry(group).or_insert_with(|| {
            self.fresh.insert(group);
            for selector in &name.selectors {
                self.by_selector.entry(*selector).or_default().insert(group);
            }
            for port in &name.ports {
                self.by_port.entry(port_name(port)).or_default().insert(group);
            }
            GroupState {
                name,
                members: 0,
                keepers: 0,
                ingress: RuleSetId::OPEN,
                egress: RuleSetId::OPEN,
                rows: BTreeSet::new(),
            }
        });
        state.members += 1;
        Some(group)
    }

    /// One member fewer. Numbers that are reserved are nobody's.
    pub(super) fn leave(&mut self, group: Group) {
        if let Some(state) = self.states.get_mut(&group) {
            state.members -= 1;
            if state.members == 0 {
                self.left.insert(group);
            }
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Keeps the groups that have lost their last member just now, until each is released. Says which.
    pub(super) fn keep_left(&mut self) -> Vec<Group> {
        let left = std::mem::take(&mut self.left).into_iter();
        let kept = left.filter(|group| {
            let deserted = self.states.get_mut(group).filter(|state| state.members == 0);
            deserted.map(|state| state.keepers += 1).is_some()
        });
        kept.collect()
    }

    /// One who kept the group needs it no more.
    pub(super) fn release(&mut self, group: Group) {
        if let Some(state) = self.states.get_mut(&group) {
            state.keepers -= 1;
            if state.keepers == 0 {
                self.released.insert(group);
            }
        }
    }

    /// Takes out the groups that nobody is in and nobody keeps any more.
    pub(super) fn bury(&mut self, desk: &mut Desk<'_>) -> Vec<(Group, GroupState)> {
        let mut buried = Vec::new();
        let mut candidates = std::mem::take(&mut self.left);
        candidates.append(&mut self.released);
        for group in candidates {
            if self.states.get(&group).is_none_or(|state| state.members > 0 || state.keepers > 0) {
                continue;
            }
            let Some(state) = self.states.remove(&group) else { continue };
            self.fresh.remove(&group);
            for selector in &state.name.selectors {
                drop_from(&mut self.by_selector, selector, &group);
            }
            for port in &state.name.ports {
                // Two ports of one name are two ports of the group, and one entry of the index.
                drop_from(&mut self.by_port, &port_name(port), &group);
            }
            desk.numbers.release_group(desk.tenant, group);
            desk.ledger.remove(&Key::Group(desk.tenant, group));
            buried.push((group, state));
        }
        buried
    }

    /// Writes a group's record as it is now.
    pub(super) fn write(&self, group: Group, desk: &mut Desk<'_>) {
        let Some(state) = self.states.get(&group) else { return };
        desk.put(Record::Group(GroupRules {
            tenant: desk.tenant,
            group,
            members: state.name.members,
            selectors: state.name.selectors.clone(),
            ports: state.name.ports.clone(),
            ingress: state.ingress,
            egress: state.egress,
        }));
    }
}

impl GroupState {
    pub(super) fn rule_set(&mut self, direction: Direction) -> &mut RuleSetId {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    /// Whether policy can isolate it.
    pub(super) fn is_of_endpoints(&self) -> bool {
        self.name.members == Members::Endpoints
    }
}
