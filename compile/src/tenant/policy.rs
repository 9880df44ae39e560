//! A tenant's policies in the form that rule sets are made from.
//!
//! Promises: every rule has its record and number for as long as the policy is there; whose rule sets a change concerns is in
//! `soiled`.

use std::collections::{BTreeMap, BTreeSet};

use intent::policy::{NetworkPolicy, Peers, Ports, Rule};
use record::record::PortName;
use record::{Direction, Key, Record, RuleId, SelectorId};

use super::Desk;
use super::index::drop_from;
use crate::input::port_names;
use crate::number::RuleName;

/// A policy's name; the order of policies is the order of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PolicyKey {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The policies of a tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    states: BTreeMap<PolicyKey, PolicyState>,
    by_subject: BTreeMap<SelectorId, BTreeSet<PolicyKey>>,
    isolations: BTreeMap<RuleId, (PolicyKey, Direction)>,
    /// Subjects whose policies have come, gone or changed.
    pub(super) soiled_subjects: BTreeSet<SelectorId>,
    /// Isolations whose rules have changed.
    pub(super) soiled_isolations: BTreeSet<RuleId>,
}

/// A policy and what it holds on to.
#[derive(Clone, Debug)]
pub(super) struct PolicyState {
    pub(super) policy: NetworkPolicy,
    /// One for each use.
    pub(super) selectors: Vec<SelectorId>,
    /// One for each use.
    pub(super) ports: Vec<PortName>,
    subject: Option<SelectorId>,
    ingress: Option<Side>,
    egress: Option<Side>,
}

/// One direction of a policy.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) isolation: RuleId,
    pub(super) rules: Vec<AllowRule>,
}

/// One rule of a policy.
#[derive(Clone, Debug)]
pub(super) struct AllowRule {
    pub(super) id: RuleId,
    /// `None`: anyone.
    pub(super) peers: Option<BTreeSet<SelectorId>>,
    pub(super) ports: Ports,
    pub(super) names: BTreeSet<PortName>,
}

impl Policies {
    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    pub(super) fn policy(&self, key: &PolicyKey) -> Option<&PolicyState> {
        self.states.get(key)
    }

    /// Takes a policy whose selectors have numbers, and gives back what was there under its name.
    pub(super) fn put(
        &mut self,
        policy: NetworkPolicy,
        subject: Option<SelectorId>,
        ids: &BTreeMap<&record::selector::Selector, SelectorId>,
        desk: &mut Desk<'_>,
    ) -> Option<PolicyState> {
        let key = PolicyKey { namespace: policy.namespace.clone(), name: policy.name.clone() };
        let mut side = |direction, rules: &Option<Vec<Rule>>| {
            rules.as_ref().map(|rules| numbered(&key, direction, rules, ids, desk))
        };
        let ingress = side(Direction::Ingress, &policy.ingress);
        let egress = side(Direction::Egress, &policy.egress);
        let rules = policy.ingress.iter().chain(&policy.egress).flatten();
        let ports = rules.flat_map(port_names).collect();
        let state = PolicyState { selectors: Vec::new(), ports, subject, ingress, egress, policy };
        let old = self.remove(&key, &state.rule_ids(), desk);
        if let Some(subject) = subject {
            self.by_subject.entry(subject).or_default().insert(key.clone());
            self.soiled_subjects.insert(subject);
        }
        for (direction, side) in state.sides() {
            self.isolations.insert(side.isolation, (key.clone(), direction));
            self.soiled_isolations.insert(side.isolation);
        }
        self.states.insert(key, state);
        old
    }

    /// Notes the uses that a policy holds on to.
    pub(super) fn hold(&mut self, key: &PolicyKey, selectors: Vec<SelectorId>) {
        if let Some(state) = self.states.get_mut(key) {
            state.selectors = selectors;
        }
    }

    /// Takes a policy out, with its rules apart from those in `kept`.
    pub(super) fn remove(
        &mut self,
        key: &PolicyKey,
        kept: &BTreeSet<RuleId>,
        desk: &mut Desk<'_>,
    ) -> Option<PolicyState> {
        let state = self.states.remove(key)?;
        if let Some(subject) = state.subject {
            drop_from(&mut self.by_subject, &subject, key);
            self.soiled_subjects.insert(subject);
        }
        for (_, side) in state.sides() {
            self.isolations.remove(&side.isolation);
        }
        for rule in state.rule_ids().difference(kept) {
            desk.numbers.release_rule(*rule);
            desk.ledger.remove(&Key::Rule(desk.tenant, *rule));
        }
        Some(state)
    }

    /// The policies that isolate whoever these selectors match, in order.
    pub(super) fn isolating(&self, selectors: &BTreeSet<SelectorId>, direction: Direction) -> Vec<&Side> {
        let keys: BTreeSet<&PolicyKey> =
            selectors.iter().filter_map(|selector| self.by_subject.get(selector)).flatten().collect();
        keys.into_iter().filter_map(|key| self.states[key].side(direction)).collect()
    }

    /// The direction of a policy that an isolation stands for.
    pub(super) fn isolation(&self, isolation: RuleId) -> Option<&Side> {
        let (key, direction) = self.isolations.get(&isolation)?;
        self.states.get(key)?.side(*direction)
    }
}

impl PolicyState {
    fn side(&self, direction: Direction) -> Option<&Side> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }

    fn sides(&self) -> impl Iterator<Item = (Direction, &Side)> {
        let directions = [Direction::Ingress, Direction::Egress].into_iter();
        directions.filter_map(|direction| self.side(direction).map(|side| (direction, side)))
    }

    fn rule_ids(&self) -> BTreeSet<RuleId> {
        let rules = self.sides().flat_map(|(_, side)| side.rules.iter().map(|rule| rule.id));
        rules.chain(self.sides().map(|(_, side)| side.isolation)).collect()
    }
}

impl Side {
    /// The names that its rules use for ports.
    pub(super) fn names(&self) -> impl Iterator<Item = &PortName> {
        self.rules.iter().flat_map(|rule| &rule.names)
    }
}

fn numbered(
    key: &PolicyKey,
    direction: Direction,
    rules: &[Rule],
    ids: &BTreeMap<&record::selector::Selector, SelectorId>,
    desk: &mut Desk<'_>,
) -> Side {
    let mut number = |index| {
        let name = RuleName {
            tenant: desk.tenant,
            namespace: key.namespace.clone(),
            policy: key.name.clone(),
            direction,
            index,
        };
        let id = desk.numbers.rule(&name);
        desk.put(Record::Rule(record::record::Rule {
            tenant: desk.tenant,
            id,
            kind: "NetworkPolicy".to_owned(),
            namespace: name.namespace,
            name: name.policy,
            direction,
            index,
        }));
        id
    };
    let isolation = number(None);
    let rules = (0..).zip(rules).map(|(index, rule)| AllowRule {
        id: number(Some(index)),
        peers: match &rule.peers {
            Peers::Anyone => None,
            Peers::These(peers) => Some(peers.iter().map(|peer| ids[peer]).collect()),
        },
        ports: rule.ports.clone(),
        names: port_names(rule).collect(),
    });
    Side { isolation, rules: rules.collect() }
}
