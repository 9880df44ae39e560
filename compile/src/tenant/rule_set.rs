//! A tenant's rule sets and their rows.
//!
//! Promises: a rule set is there while a group has it; it has a row for others, and one for each group about which its rules say
//! something else than about others.

use std::collections::{BTreeMap, BTreeSet};

use record::record::{Peer, PortInterval, PortName, Row};
use record::{Decision, Direction, Group, Key, Record, RuleId, RuleSetId, SelectorId, Verdict};

use super::Desk;
use super::group::{GroupState, Groups};
use super::index::drop_from;
use super::member::port_name;
use super::policy::{AllowRule, Policies};
use crate::number::RuleSetName;
use crate::row::intervals;

/// The rule sets of a tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleSets {
    states: BTreeMap<RuleSetId, RuleSet>,
    by_isolation: BTreeMap<RuleId, BTreeSet<RuleSetId>>,
    by_mention: BTreeMap<SelectorId, BTreeSet<RuleSetId>>,
    by_port: BTreeMap<PortName, BTreeSet<RuleSetId>>,
    dirty: BTreeSet<RuleSetId>,
    left: BTreeSet<RuleSetId>,
}

#[derive(Clone, Debug)]
struct RuleSet {
    name: RuleSetName,
    /// How many groups have it.
    users: u64,
    /// The selectors of its rules' peers.
    mentions: BTreeSet<SelectorId>,
    /// Egress: the ports that its rules name for anyone, so that whoever has such a port is a peer apart.
    ports: BTreeSet<PortName>,
    others: Vec<PortInterval>,
    rows: BTreeSet<Group>,
}

impl RuleSets {
    /// What judges a group in one direction now, claimed for it.
    pub(super) fn claim(
        &mut self,
        group: &GroupState,
        direction: Direction,
        policies: &Policies,
        desk: &mut Desk<'_>,
    ) -> RuleSetId {
        let sides = policies.isolating(&group.name.selectors, direction);
        if sides.is_empty() {
            return RuleSetId::OPEN;
        }
        let isolations: Vec<RuleId> = sides.iter().map(|side| side.isolation).collect();
        let names: BTreeSet<&PortName> = match direction {
            Direction::Ingress => sides.iter().flat_map(|side| side.names()).collect(),
            Direction::Egress => BTreeSet::new(),
        };
        let ports =
            group.name.ports.iter().filter(|port| names.contains(&port_name(port))).cloned().collect();
        let name = RuleSetName { tenant: desk.tenant, direction, isolations, ports };
        let id = desk.numbers.rule_set(&name);
        let state = self.states.entry(id).or_insert_with(|| {
            for isolation in &name.isolations {
                self.by_isolation.entry(*isolation).or_default().insert(id);
            }
            self.dirty.insert(id);
            RuleSet {
                name,
                users: 0,
                mentions: BTreeSet::new(),
                ports: BTreeSet::new(),
                others: Vec::new(),
                rows: BTreeSet::new(),
            }
        });
        state.users += 1;
        id
    }

    /// A group has it no more.
    pub(super) fn release(&mut self, id: RuleSetId) {
        if let Some(state) = self.states.get_mut(&id) {
            state.users -= 1;
            if state.users == 0 {
                self.left.insert(id);
            }
        }
    }

    /// The rules of a policy have changed.
    pub(super) fn soil(&mut self, isolation: RuleId) {
        self.dirty.extend(self.by_isolation.get(&isolation).into_iter().flatten());
    }

    /// Takes out the rule sets that no group has any more.
    pub(super) fn bury(&mut self, groups: &mut Groups, desk: &mut Desk<'_>) {
        for id in std::mem::take(&mut self.left) {
            if self.states.get(&id).is_none_or(|state| state.users > 0) {
                continue;
            }
            let Some(state) = self.states.remove(&id) else { continue };
            self.dirty.remove(&id);
            for isolation in &state.name.isolations {
                drop_from(&mut self.by_isolation, isolation, &id);
            }
            self.unmention(id, &state.mentions, &state.ports);
            for group in &state.rows {
                desk.ledger.remove(&Key::Row(desk.tenant, id, Peer::Group(*group)));
                if let Some(group) = groups.group_mut(*group) {
                    group.rows.remove(&id);
                }
            }
            desk.ledger.remove(&Key::Row(desk.tenant, id, Peer::Others));
            desk.numbers.release_rule_set(id);
        }
    }

    /// A group is gone: the rows about it go.
    pub(super) fn forget(&mut self, group: Group, state: &GroupState, desk: &mut Desk<'_>) {
        for id in &state.rows {
            desk.ledger.remove(&Key::Row(desk.tenant, *id, Peer::Group(group)));
            if let Some(set) = self.states.get_mut(id) {
                set.rows.remove(&group);
            }
        }
    }

    /// Writes all rows of the rule sets that are new or have changed.
    pub(super) fn rebuild(&mut self, groups: &mut Groups, policies: &Policies, desk: &mut Desk<'_>) {
        for id in std::mem::take(&mut self.dirty) {
            let Some(mut state) = self.states.remove(&id) else { continue };
            let rules = Rules::of(&state.name, policies);
            self.unmention(id, &state.mentions, &state.ports);
            state.mention(&rules);
            self.mention(id, &state.mentions, &state.ports);
            state.others = state.intervals(&rules, None);
            desk.work.rows_built += 1;
            desk.put(Record::Row(Row {
                tenant: desk.tenant,
                rule_set: id,
                peer: Peer::Others,
                ports: state.others.clone(),
            }));
            let mut peers = std::mem::take(&mut state.rows);
            peers.extend(state.mentions.iter().flat_map(|selector| groups.with_selector(*selector)));
            peers.extend(state.ports.iter().flat_map(|port| groups.with_port(port)));
            for peer in peers {
                state.write(id, &rules, (peer, groups), desk);
            }
            self.states.insert(id, state);
        }
    }

    /// Writes the rows about a group that is new.
    pub(super) fn introduce(
        &mut self,
        group: Group,
        groups: &mut Groups,
        policies: &Policies,
        desk: &mut Desk<'_>,
    ) {
        let Some(name) = groups.group(group).map(|state| &state.name) else { return };
        let by_selector = name.selectors.iter().filter_map(|selector| self.by_mention.get(selector));
        let by_port = name.ports.iter().filter_map(|port| self.by_port.get(&port_name(port)));
        let concerned: BTreeSet<RuleSetId> = by_selector.chain(by_port).flatten().copied().collect();
        for id in concerned {
            if let Some(state) = self.states.get_mut(&id) {
                let rules = Rules::of(&state.name, policies);
                state.write(id, &rules, (group, groups), desk);
            }
        }
    }

    fn mention(&mut self, id: RuleSetId, selectors: &BTreeSet<SelectorId>, ports: &BTreeSet<PortName>) {
        for selector in selectors {
            self.by_mention.entry(*selector).or_default().insert(id);
        }
        for port in ports {
            self.by_port.entry(port.clone()).or_default().insert(id);
        }
    }

    fn unmention(&mut self, id: RuleSetId, selectors: &BTreeSet<SelectorId>, ports: &BTreeSet<PortName>) {
        for selector in selectors {
            drop_from(&mut self.by_mention, selector, &id);
        }
        for port in ports {
            drop_from(&mut self.by_port, port, &id);
        }
    }
}

/// The rules of a rule set, in order, and which of them mean whom: a row is made from those alone that mean its peer.
struct Rules<'a> {
    ordered: Vec<&'a AllowRule>,
    /// Places of rules that mean anyone.
    anyone: Vec<usize>,
    /// Places of rules by the selectors of their peers.
    by_selector: BTreeMap<SelectorId, Vec<usize>>,
}

impl<'a> Rules<'a> {
    fn of(name: &RuleSetName, policies: &'a Policies) -> Self {
        let sides = name.isolations.iter().filter_map(|isolation| policies.isolation(*isolation));
        let mut rules = Self {
            ordered: sides.flat_map(|side| &side.rules).collect(),
            anyone: Vec::new(),
            by_selector: BTreeMap::new(),
        };
        for (place, rule) in rules.ordered.iter().enumerate() {
            match &rule.peers {
                None => rules.anyone.push(place),
                Some(peers) => {
                    for selector in peers {
                        rules.by_selector.entry(*selector).or_default().push(place);
                    }
                }
            }
        }
        rules
    }

    /// The rules that mean a peer whom these selectors match, in order.
    fn meaning(&self, selectors: &BTreeSet<SelectorId>) -> impl Iterator<Item = &'a AllowRule> {
        let own = selectors.iter().filter_map(|selector| self.by_selector.get(selector)).flatten();
        let places: BTreeSet<usize> = own.chain(&self.anyone).copied().collect();
        places.into_iter().map(|place| self.ordered[place])
    }
}

impl RuleSet {
    fn mention(&mut self, rules: &Rules<'_>) {
        self.mentions = rules.by_selector.keys().copied().collect();
        self.ports = match self.name.direction {
            Direction::Ingress => BTreeSet::new(),
            Direction::Egress => {
                rules.anyone.iter().flat_map(|place| &rules.ordered[*place].names).cloned().collect()
            }
        };
    }

    /// Writes the row about one group, or removes it when it says what the row for others says.
    fn write(
        &mut self,
        id: RuleSetId,
        rules: &Rules<'_>,
        (peer, groups): (Group, &mut Groups),
        desk: &mut Desk<'_>,
    ) {
        let Some(group) = groups.group_mut(peer) else { return };
        desk.work.rows_built += 1;
        let ports = self.intervals(rules, Some(group));
        if ports == self.others {
            self.rows.remove(&peer);
            group.rows.remove(&id);
            desk.ledger.remove(&Key::Row(desk.tenant, id, Peer::Group(peer)));
        } else {
            self.rows.insert(peer);
            group.rows.insert(id);
            let row = Row { tenant: desk.tenant, rule_set: id, peer: Peer::Group(peer), ports };
            desk.put(Record::Row(row));
        }
    }

    /// What the rules say of a peer; `None`: of one whom they do not mention, and who has no ports that they name.
    fn intervals(&self, rules: &Rules<'_>, peer: Option<&GroupState>) -> Vec<PortInterval> {
        let (nobody, none) = (BTreeSet::new(), BTreeSet::new());
        let selectors = peer.map_or(&nobody, |peer| &peer.name.selectors);
        let receiver = match self.name.direction {
            Direction::Ingress => &self.name.ports,
            Direction::Egress => peer.map_or(&none, |peer| &peer.name.ports),
        };
        let isolation = self.name.isolations.first().copied().unwrap_or_default();
        let otherwise = Decision { verdict: Verdict::Deny, rule: isolation };
        intervals(rules.meaning(selectors).map(|rule| (rule.id, &rule.ports)), receiver, otherwise)
    }
}
