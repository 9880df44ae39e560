//! The order of verdicts: what the records say of a flow, by the way that the datapath goes.
//!
//! ```text
//!   each side:  tier after tier until one speaks: the node's own traffic, NetworkPolicy
//!   together:   a Deny of either side; else an Allow of either; else the network's default
//! ```
//!
//! A further tier (admin and baseline policies) is one more entry of [`TIERS`] at its place.
//! Promises: pure; what is not known is denied.

use std::collections::BTreeMap;
use std::sync::Arc;

use record::inspect::Side;
use record::record::{GroupRules, Peer};
use record::{Decision, Direction, DropReason, Group, Key, Record, RuleId, RuleSetId, TenantId, Verdict};

use crate::compiler::Compiler;

/// Where records are looked up: the compiler's own, or those that a node holds.
pub trait Tables {
    /// The record with this key.
    fn record(&self, key: &Key) -> Option<&Record>;
}

impl Tables for Compiler {
    fn record(&self, key: &Key) -> Option<&Record> {
        Self::record(self, key)
    }
}

impl Tables for BTreeMap<Key, Record> {
    fn record(&self, key: &Key) -> Option<&Record> {
        self.get(key)
    }
}

impl Tables for BTreeMap<Key, Arc<Record>> {
    fn record(&self, key: &Key) -> Option<&Record> {
        self.get(key).map(|record| &**record)
    }
}

/// A flow between two groups of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Whose.
    pub tenant: TenantId,
    /// The group of whoever begins it.
    pub sender: Group,
    /// The group of whom it is begun with.
    pub receiver: Group,
    /// IANA's protocol number.
    pub protocol: u8,
    /// The receiver's port, 0 for protocols without.
    pub port: u16,
}

/// What policy says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The sender's side.
    pub egress: Side,
    /// The receiver's side.
    pub ingress: Side,
    /// A group of the two that the tables do not have: nothing else counts then.
    pub unknown: Option<Group>,
}

/// What policy says of a flow.
pub fn verdict(tables: &dyn Tables, flow: Flow) -> Judged {
    let mut judged = Judged { egress: SILENT, ingress: SILENT, unknown: None };
    for (direction, side) in
        [(Direction::Egress, &mut judged.egress), (Direction::Ingress, &mut judged.ingress)]
    {
        let mut tiers = TIERS.iter().map(|tier| tier(tables, &flow, direction));
        match tiers.find(|spoken| *spoken != Ok(None)) {
            Some(Ok(Some(spoken))) => *side = spoken,
            Some(Err(unknown)) => judged.unknown = judged.unknown.or(Some(unknown)),
            Some(Ok(None)) | None => {}
        }
    }
    judged
}

impl Judged {
    /// Whether the flow passes in a network with this default: the rule that allows it (0: the default, or the node's own
    /// traffic), or why not and the rule that denies it.
    pub fn outcome(&self, default_allow: bool) -> Result<RuleId, (DropReason, RuleId)> {
        if self.unknown.is_some() {
            return Err((DropReason::GroupUnknown, RuleId(0)));
        }
        let sides = [self.egress.decision, self.ingress.decision];
        if let Some(denial) = sides.iter().find(|decision| decision.verdict == Verdict::Deny) {
            return Err((DropReason::PolicyDenied, denial.rule));
        }
        // Of two rules that allow it the receiver's is told.
        if let Some(allowance) = sides.iter().rev().find(|decision| decision.verdict == Verdict::Allow) {
            return Ok(allowance.rule);
        }
        if default_allow { Ok(RuleId(0)) } else { Err((DropReason::DefaultDenied, RuleId(0))) }
    }
}

/// A tier: what it says of one side (`None`: nothing), or the group that is not known.
type Tier = fn(&dyn Tables, &Flow, Direction) -> Result<Option<Side>, Group>;

/// The order of verdicts.
const TIERS: [Tier; 2] = [own_node, network_policy];

const SILENT: Side =
    Side { rule_set: RuleSetId::OPEN, decision: Decision { verdict: Verdict::Default, rule: RuleId(0) } };

/// The node reaches its own endpoints always, and they it (NetworkPolicy, "Prerequisites" and "Behavior of to and from
/// selectors": traffic to and from the node where a pod runs is always allowed).
fn own_node(_: &dyn Tables, flow: &Flow, _: Direction) -> Result<Option<Side>, Group> {
    let concerned = flow.sender == Group::HOST || flow.receiver == Group::HOST;
    let allowed = Decision { verdict: Verdict::Allow, rule: RuleId(0) };
    Ok(concerned.then_some(Side { decision: allowed, ..SILENT }))
}

/// A selected endpoint is isolated; then allows add up.
fn network_policy(tables: &dyn Tables, flow: &Flow, direction: Direction) -> Result<Option<Side>, Group> {
    let (subject, peer) = match direction {
        Direction::Egress => (flow.sender, flow.receiver),
        Direction::Ingress => (flow.receiver, flow.sender),
    };
    if subject < Group::FIRST && subject != Group::UNKNOWN {
        return Ok(None);
    }
    let rules = group(tables, flow.tenant, subject).ok_or(subject)?;
    let rule_set = match direction {
        Direction::Egress => rules.egress,
        Direction::Ingress => rules.ingress,
    };
    if rule_set == RuleSetId::OPEN {
        return Ok(None);
    }
    let row = |peer| match tables.record(&Key::Row(flow.tenant, rule_set, peer)) {
        Some(Record::Row(row)) => Some(row),
        _ => None,
    };
    let row = row(Peer::Group(peer)).or_else(|| row(Peer::Others));
    let unheard_of = Decision { verdict: Verdict::Deny, rule: RuleId(0) };
    let decision = row.map_or(unheard_of, |row| row.decision(flow.protocol, flow.port));
    Ok(Some(Side { rule_set, decision }))
}

fn group(tables: &dyn Tables, tenant: TenantId, group: Group) -> Option<&GroupRules> {
    match tables.record(&Key::Group(tenant, group)) {
        Some(Record::Group(rules)) => Some(rules),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::record::{Members, PortInterval, Row};
    use std::collections::BTreeSet;

    const TENANT: TenantId = TenantId(1);
    const OPEN: Group = Group(256);
    const CLOSED: Group = Group(257);

    /// One group that nothing isolates, and one whose ingress allows port 80 of the open group by rule 2.
    fn tables() -> BTreeMap<Key, Record> {
        let group = |group, ingress| {
            Record::Group(GroupRules {
                tenant: TENANT,
                group,
                members: Members::Endpoints,
                selectors: BTreeSet::new(),
                ports: BTreeSet::new(),
                ingress,
                egress: RuleSetId::OPEN,
            })
        };
        let interval = |port, verdict, rule| PortInterval {
            protocol: if port == 0 { 0 } else { 6 },
            port,
            decision: Decision { verdict, rule: RuleId(rule) },
        };
        let row = |peer, ports| Record::Row(Row { tenant: TENANT, rule_set: RuleSetId(1), peer, ports });
        let records = [
            group(OPEN, RuleSetId::OPEN),
            group(CLOSED, RuleSetId(1)),
            row(Peer::Others, vec![interval(0, Verdict::Deny, 1)]),
            row(
                Peer::Group(OPEN),
                vec![
                    interval(0, Verdict::Deny, 1),
                    interval(80, Verdict::Allow, 2),
                    interval(81, Verdict::Deny, 1),
                ],
            ),
        ];
        records.into_iter().map(|record| (record.key(), record)).collect()
    }

    fn outcome(
        sender: Group,
        receiver: Group,
        port: u16,
        default: bool,
    ) -> Result<RuleId, (DropReason, RuleId)> {
        let flow = Flow { tenant: TENANT, sender, receiver, protocol: 6, port };
        verdict(&tables(), flow).outcome(default)
    }

    #[test]
    fn a_deny_wins_an_allow_comes_next_and_the_default_comes_last() {
        assert_eq!(outcome(OPEN, CLOSED, 80, false), Ok(RuleId(2)));
        assert_eq!(outcome(OPEN, CLOSED, 81, true), Err((DropReason::PolicyDenied, RuleId(1))));
        assert_eq!(outcome(OPEN, OPEN, 80, true), Ok(RuleId(0)));
        assert_eq!(outcome(OPEN, OPEN, 80, false), Err((DropReason::DefaultDenied, RuleId(0))));
        assert_eq!(outcome(Group::WORLD, CLOSED, 80, true), Err((DropReason::PolicyDenied, RuleId(1))));
        assert_eq!(outcome(CLOSED, Group::WORLD, 80, true), Ok(RuleId(0)));
    }

    #[test]
    fn a_node_reaches_its_own_endpoints_whatever_policy_says() {
        assert_eq!(outcome(Group::HOST, CLOSED, 81, false), Ok(RuleId(0)));
        assert_eq!(outcome(CLOSED, Group::HOST, 81, false), Ok(RuleId(0)));
    }

    #[test]
    fn what_is_not_known_is_denied() {
        for unknown in [Group::UNKNOWN, Group(999)] {
            assert_eq!(outcome(unknown, OPEN, 80, true), Err((DropReason::GroupUnknown, RuleId(0))));
            assert_eq!(outcome(OPEN, unknown, 80, true), Err((DropReason::GroupUnknown, RuleId(0))));
        }
        let mut rowless = tables();
        rowless.retain(|key, _| !matches!(key, Key::Row(..)));
        let flow = Flow { tenant: TENANT, sender: OPEN, receiver: CLOSED, protocol: 6, port: 80 };
        let judged = verdict(&rowless, flow);
        assert_eq!(judged.outcome(true), Err((DropReason::PolicyDenied, RuleId(0))));
    }
}
