//! The numbers that records carry: selectors, rules, rule sets and groups, each by its name.
//!
//! Numbers are the only memory that compiling has, and they are a value: in with the inputs, out with the records. The same
//! name has the same number for as long as it is in use, across restarts too ([`Numbers::drain`], [`Numbers::load`]); a freed
//! number rests before another name gets it, so that what is still under way on some node is never mistaken for something else.
//! While it rests, its own name gets it back.
//!
//! A group's number outlives what was told about it: a node's flow that nobody has sent in for hours still has it, and takes it for
//! whoever has it now. So groups rest [`QUIET`] times as long while their tenant has numbers enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use record::record::{DecodeError, Members, decode, encode};
use record::selector::Selector;
use record::{Direction, Group, NamedPort, RuleId, RuleSetId, SelectorId, TenantId};

/// Names and their numbers.
#[derive(Clone, Debug)]
pub struct Numbers {
    clock: u64,
    rest: u64,
    /// Nothing is freed until the first sweep of what was there already: what has not been asked for yet may still be in use on a node.
    swept: bool,
    /// Whether the numbers after those that were loaded may be known somewhere.
    leapt: bool,
    selectors: Interner<SelectorName>,
    rules: Interner<RuleName>,
    rule_sets: Interner<RuleSetName>,
    groups: BTreeMap<TenantId, Interner<GroupName>>,
    last_group: u16,
    touched: BTreeSet<Name>,
}

/// One number as it is stored: an opaque key and its value; no value: forget the key.
pub type Stored = (Vec<u8>, Option<Vec<u8>>);

/// Stored numbers that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Bytes that are no number of this version.
    #[error("cannot read a stored number")]
    Damaged(#[from] DecodeError),
    /// A number that its kind does not have, or that two names claim.
    #[error("stored number {number} of {name} is out of range or belongs to another name too")]
    Conflict {
        /// The number.
        number: u32,
        /// The name, as far as it can be put in words.
        name: String,
    },
}

/// What a selector is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(crate) struct SelectorName {
    #[n(0)]
    pub(crate) tenant: TenantId,
    #[n(1)]
    pub(crate) selector: Selector,
}

/// What a rule is known by: its place in a policy, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(crate) struct RuleName {
    #[n(0)]
    pub(crate) tenant: TenantId,
    #[n(1)]
    pub(crate) namespace: String,
    #[n(2)]
    pub(crate) policy: String,
    #[n(3)]
    pub(crate) direction: Direction,
    #[n(4)]
    pub(crate) index: Option<u32>,
}

/// What a rule set is known by: which policies isolate in which direction, and what the receiver's named ports are. Not by its
/// rows: a new peer group adds a row, and an edited rule rewrites rows, without a new number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(crate) struct RuleSetName {
    #[n(0)]
    pub(crate) tenant: TenantId,
    #[n(1)]
    pub(crate) direction: Direction,
    /// The isolations, in the order of policies.
    #[n(2)]
    pub(crate) isolations: Vec<RuleId>,
    /// Ingress: the members' named ports, as far as the policies name them.
    #[n(3)]
    pub(crate) ports: BTreeSet<NamedPort>,
}

/// What a group is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(crate) struct GroupName {
    #[n(0)]
    pub(crate) members: Members,
    #[n(1)]
    pub(crate) selectors: BTreeSet<SelectorId>,
    #[n(2)]
    pub(crate) ports: BTreeSet<NamedPort>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
enum Name {
    #[n(0)]
    Selector(#[n(0)] SelectorName),
    #[n(1)]
    Rule(#[n(0)] RuleName),
    #[n(2)]
    RuleSet(#[n(0)] RuleSetName),
    #[n(3)]
    Group(#[n(0)] TenantId, #[n(1)] GroupName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct Slot {
    #[n(0)]
    number: u32,
    /// When it was freed, if it rests.
    #[n(1)]
    freed: Option<u64>,
}

impl Numbers {
    /// No number given yet. A freed number rests until [`Numbers::advance`] is told a time `rest` later than it was freed; the
    /// unit is the caller's, and its count goes on across restarts.
    pub fn new(rest: u64) -> Self {
        Self {
            clock: 0,
            rest,
            swept: true,
            leapt: false,
            selectors: Interner::new(1, u32::MAX),
            rules: Interner::new(1, RuleId::MAX),
            rule_sets: Interner::new(1, u32::MAX),
            groups: BTreeMap::new(),
            last_group: u16::MAX,
            touched: BTreeSet::new(),
        }
    }

    /// The time: what was told last, or the newest that is among the stored numbers.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Whether a number rests, so that time means something.
    pub fn is_resting(&self) -> bool {
        !self.selectors.resting.is_empty()
            || !self.rules.resting.is_empty()
            || !self.rule_sets.resting.is_empty()
            || self.groups.values().any(|groups| !groups.resting.is_empty())
    }

    /// The numbers that were drained before. Those in use then stay taken until [`Numbers::sweep`].
    pub fn load(rest: u64, stored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, LoadError> {
        let mut numbers = Self::new(rest);
        for (key, value) in stored {
            let name: Name = decode(&key)?;
            let slot: Slot = decode(&value)?;
            let words = format!("{name:?}");
            numbers.clock = numbers.clock.max(slot.freed.unwrap_or_default());
            let taken = match name {
                Name::Selector(name) => numbers.selectors.restore(name, slot),
                Name::Rule(name) => numbers.rules.restore(name, slot),
                Name::RuleSet(name) => numbers.rule_sets.restore(name, slot),
                Name::Group(tenant, name) => numbers.groups_of(tenant).restore(name, slot),
            };
            if !taken {
                return Err(LoadError::Conflict { number: slot.number, name: words });
            }
        }
        Ok(numbers.unclaimed())
    }

    /// Passes over the numbers that may have been given to names that these numbers do not know, as when they come from a copy
    /// that is not the newest. What is passed over is given again when all others were.
    pub fn leap(&mut self) {
        self.leapt = true;
        self.selectors.leap(LEAP);
        self.rules.leap(LEAP);
        self.rule_sets.leap(LEAP);
        self.groups.values_mut().for_each(|groups| groups.leap(GROUP_LEAP));
    }

    /// How long a node may know a number's former meaning, in the unit of `rest`.
    pub fn memory(&self) -> u64 {
        self.rest.saturating_mul(QUIET)
    }

    /// The same numbers for a compiler that has asked for none of them yet.
    pub(crate) fn unclaimed(mut self) -> Self {
        self.selectors.unclaim();
        self.rules.unclaim();
        self.rule_sets.unclaim();
        self.groups.values_mut().for_each(Interner::unclaim);
        let taken = |groups: &Interner<GroupName>| !groups.unclaimed.is_empty();
        self.swept = self.selectors.unclaimed.is_empty()
            && self.rules.unclaimed.is_empty()
            && self.rule_sets.unclaimed.is_empty()
            && !self.groups.values().any(taken);
        self
    }

    /// What has changed since the last call, for the store. It must be stored before records that carry the numbers are sent.
    pub fn drain(&mut self) -> Vec<Stored> {
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().map(|name| (encode(&name), self.slot(&name).map(|slot| encode(&slot)))).collect()
    }

    /// Tells the time, in the unit of `rest`; it never goes back. Numbers that have rested enough may be given to other names.
    pub fn advance(&mut self, now: u64) {
        self.clock = self.clock.max(now);
        let (Some(until), quiet) = (self.rested(1), self.rested(QUIET)) else { return };
        let touched = &mut self.touched;
        touched.extend(self.selectors.forget(until).map(|name| Name::Selector((*name).clone())));
        touched.extend(self.rules.forget(until).map(|name| Name::Rule((*name).clone())));
        touched.extend(self.rule_sets.forget(until).map(|name| Name::RuleSet((*name).clone())));
        let Some(until) = quiet else { return };
        for (tenant, groups) in &mut self.groups {
            touched.extend(groups.forget(until).map(|name| Name::Group(*tenant, (*name).clone())));
        }
        self.groups.retain(|_, groups| !groups.names.is_empty());
    }

    /// What was freed at this time or before has rested so many times as long as it must.
    fn rested(&self, times: u64) -> Option<u64> {
        self.clock.checked_sub(self.rest.saturating_mul(times))
    }

    /// Frees what has been loaded and not asked for since: call it when the inputs are complete after a restart.
    pub fn sweep(&mut self) {
        self.swept = true;
        let clock = self.clock;
        let touched = &mut self.touched;
        touched.extend(self.selectors.sweep(clock).map(|name| Name::Selector((*name).clone())));
        touched.extend(self.rules.sweep(clock).map(|name| Name::Rule((*name).clone())));
        touched.extend(self.rule_sets.sweep(clock).map(|name| Name::RuleSet((*name).clone())));
        for (tenant, groups) in &mut self.groups {
            touched.extend(groups.sweep(clock).map(|name| Name::Group(*tenant, (*name).clone())));
        }
    }

    /// The number of a selector; it is in use until released.
    pub(crate) fn selector(&mut self, name: &SelectorName) -> SelectorId {
        let (number, new) = self.selectors.claim(name).expect("fewer than 2^32 selectors fit in memory");
        if new {
            self.touched.insert(Name::Selector(name.clone()));
        }
        SelectorId(number)
    }

    /// The number of a rule.
    pub(crate) fn rule(&mut self, name: &RuleName) -> RuleId {
        let (number, new) = self.rules.claim(name).expect("fewer than 2^30 rules fit in memory");
        if new {
            self.touched.insert(Name::Rule(name.clone()));
        }
        RuleId(number)
    }

    /// The number of a rule set.
    pub(crate) fn rule_set(&mut self, name: &RuleSetName) -> RuleSetId {
        let (number, new) = self.rule_sets.claim(name).expect("fewer than 2^32 rule sets fit in memory");
        if new {
            self.touched.insert(Name::RuleSet(name.clone()));
        }
        RuleSetId(number)
    }

    /// The number of a group; `None`: all of the tenant's are in use or rest.
    pub(crate) fn group(&mut self, tenant: TenantId, name: &GroupName) -> Option<Group> {
        if let Some(until) = self.rested(1).filter(|_| self.groups_of(tenant).is_full()) {
            let groups = self.groups.get_mut(&tenant).into_iter();
            let freed = groups.flat_map(|groups| groups.forget(until).collect::<Vec<_>>());
            self.touched.extend(freed.map(|name| Name::Group(tenant, (*name).clone())));
        }
        let (number, new) = self.groups_of(tenant).claim(name)?;
        if new {
            self.touched.insert(Name::Group(tenant, name.clone()));
        }
        Some(Group(u16::try_from(number).expect("a group's numbers end at u16::MAX")))
    }

    /// Whether another group of the tenant can get a number.
    pub(crate) fn has_group_left(&self, tenant: TenantId) -> bool {
        let rested = |groups: &Interner<GroupName>| {
            let first = groups.resting.first().map(|(freed, _)| *freed);
            first.zip(self.rested(1)).is_some_and(|(freed, until)| freed <= until)
        };
        self.groups.get(&tenant).is_none_or(|groups| !groups.is_full() || rested(groups))
    }

    pub(crate) fn release_selector(&mut self, id: SelectorId) {
        if let Some(name) = self.selectors.release(id.0, self.swept, self.clock) {
            self.touched.insert(Name::Selector((*name).clone()));
        }
    }

    pub(crate) fn release_rule(&mut self, id: RuleId) {
        if let Some(name) = self.rules.release(id.0, self.swept, self.clock) {
            self.touched.insert(Name::Rule((*name).clone()));
        }
    }

    pub(crate) fn release_rule_set(&mut self, id: RuleSetId) {
        if let Some(name) = self.rule_sets.release(id.0, self.swept, self.clock) {
            self.touched.insert(Name::RuleSet((*name).clone()));
        }
    }

    pub(crate) fn release_group(&mut self, tenant: TenantId, group: Group) {
        let (swept, clock) = (self.swept, self.clock);
        if let Some(name) = self.groups_of(tenant).release(group.0.into(), swept, clock) {
            self.touched.insert(Name::Group(tenant, (*name).clone()));
        }
    }

    fn groups_of(&mut self, tenant: TenantId) -> &mut Interner<GroupName> {
        let (last, leapt) = (self.last_group, self.leapt);
        self.groups.entry(tenant).or_insert_with(|| {
            let mut groups = Interner::new(Group::FIRST.0.into(), last.into());
            if leapt {
                groups.leap(GROUP_LEAP);
            }
            groups
        })
    }

    fn slot(&self, name: &Name) -> Option<Slot> {
        match name {
            Name::Selector(name) => self.selectors.slot(name),
            Name::Rule(name) => self.rules.slot(name),
            Name::RuleSet(name) => self.rule_sets.slot(name),
            Name::Group(tenant, name) => self.groups.get(tenant)?.slot(name),
        }
    }

    /// Room for a few groups alone, to try what happens without room.
    #[cfg(test)]
    pub(crate) fn with_groups(rest: u64, count: u16) -> Self {
        Self { last_group: Group::FIRST.0 + count - 1, ..Self::new(rest) }
    }
}

/// How many times as long as other numbers a group's rests while the tenant has others: with the usual five minutes that is as long
/// as a node remembers a flow that is quiet.
const QUIET: u64 = 96;

/// How many numbers a leap passes over, and how many groups of each tenant.
const LEAP: u32 = 1 << 20;
const GROUP_LEAP: u32 = 1 << 12;

/// Names of one kind and their numbers, `first` to `last`.
#[derive(Clone, Debug)]
struct Interner<K> {
    first: u32,
    last: u32,
    /// Where the search for a free number begins: after the last one given, so that a freed number waits its turn.
    next: u32,
    names: BTreeMap<Arc<K>, Slot>,
    by_number: BTreeMap<u32, Arc<K>>,
    resting: BTreeSet<(u64, u32)>,
    /// Loaded and not asked for since.
    unclaimed: BTreeSet<u32>,
}

impl<K: Ord> Interner<K> {
    fn new(first: u32, last: u32) -> Self {
        Self {
            first,
            last,
            next: first,
            names: BTreeMap::new(),
            by_number: BTreeMap::new(),
            resting: BTreeSet::new(),
            unclaimed: BTreeSet::new(),
        }
    }

    fn restore(&mut self, name: K, slot: Slot) -> bool {
        let name = Arc::new(name);
        let fits = (self.first..=self.last).contains(&slot.number);
        if !fits || self.by_number.contains_key(&slot.number) || self.names.contains_key(&name) {
            return false;
        }
        if let Some(freed) = slot.freed {
            self.resting.insert((freed, slot.number));
        }
        self.by_number.insert(slot.number, Arc::clone(&name));
        self.names.insert(name, slot);
        self.next = self.next.max(self.after(slot.number));
        true
    }

    fn unclaim(&mut self) {
        self.unclaimed = self.by_number.keys().copied().collect();
        for (_, number) in &self.resting {
            self.unclaimed.remove(number);
        }
    }

    /// The number of a name, and whether the store has to hear of it; `None`: none is left.
    fn claim(&mut self, name: &K) -> Option<(u32, bool)>
    where
        K: Clone,
    {
        if let Some(slot) = self.names.get_mut(name) {
            self.unclaimed.remove(&slot.number);
            let freed = slot.freed.take();
            if let Some(freed) = freed {
                self.resting.remove(&(freed, slot.number));
            }
            return Some((slot.number, freed.is_some()));
        }
        if self.is_full() {
            return None;
        }
        while self.by_number.contains_key(&self.next) {
            self.next = self.after(self.next);
        }
        let number = self.next;
        self.next = self.after(number);
        let name = Arc::new(name.clone());
        self.by_number.insert(number, Arc::clone(&name));
        self.names.insert(name, Slot { number, freed: None });
        Some((number, true))
    }

    /// The number is no longer in use. Gives the name back if the store has to hear of it.
    fn release(&mut self, number: u32, swept: bool, clock: u64) -> Option<Arc<K>> {
        let name = self.by_number.get(&number)?;
        if !swept {
            self.unclaimed.insert(number);
            return None;
        }
        let name = Arc::clone(name);
        self.names.insert(Arc::clone(&name), Slot { number, freed: Some(clock) });
        self.resting.insert((clock, number));
        Some(name)
    }

    fn sweep(&mut self, clock: u64) -> impl Iterator<Item = Arc<K>> {
        let unclaimed = std::mem::take(&mut self.unclaimed);
        unclaimed.into_iter().filter_map(move |number| self.release(number, true, clock))
    }

    /// Forgets the names that were freed at `until` or before.
    fn forget(&mut self, until: u64) -> impl Iterator<Item = Arc<K>> {
        let later = self.resting.split_off(&(until.saturating_add(1), 0));
        let rested = std::mem::replace(&mut self.resting, later);
        rested.into_iter().filter_map(move |(_, number)| {
            let name = self.by_number.remove(&number)?;
            self.names.remove(&name);
            Some(name)
        })
    }

    fn slot(&self, name: &K) -> Option<Slot> {
        self.names.get(name).copied()
    }

    fn is_full(&self) -> bool {
        self.by_number.len() > (self.last - self.first) as usize
    }

    fn leap(&mut self, step: u32) {
        let count = u64::from(self.last - self.first) + 1;
        let place = (u64::from(self.next - self.first) + u64::from(step)) % count;
        self.next = self.first + u32::try_from(place).expect("it is less than a count of numbers of 32 bits");
    }

    fn after(&self, number: u32) -> u32 {
        if number >= self.last { self.first } else { number + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(index: u32) -> RuleName {
        RuleName {
            tenant: TenantId(1),
            namespace: "shop".into(),
            policy: "web".into(),
            direction: Direction::Ingress,
            index: Some(index),
        }
    }

    fn group(port: u16) -> GroupName {
        let port = NamedPort { name: "http".into(), protocol: record::Protocol::Tcp, port };
        GroupName { members: Members::Endpoints, selectors: BTreeSet::new(), ports: BTreeSet::from([port]) }
    }

    fn stored(numbers: &mut Numbers, store: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        for (key, value) in numbers.drain() {
            match value {
                Some(value) => _ = store.insert(key, value),
                None => _ = store.remove(&key),
            }
        }
    }

    #[test]
    fn a_freed_number_rests_before_another_name_gets_it() {
        let tenant = TenantId(1);
        let mut numbers = Numbers::with_groups(10, 2);
        let first = numbers.group(tenant, &group(1)).unwrap();
        let second = numbers.group(tenant, &group(2)).unwrap();
        assert_ne!(first, second);
        numbers.advance(100);
        numbers.release_group(tenant, first);
        numbers.advance(109);
        assert_eq!(numbers.group(tenant, &group(3)), None, "the freed number still rests");
        numbers.advance(110);
        assert_eq!(numbers.group(tenant, &group(3)), Some(first));
        assert_eq!(numbers.group(tenant, &group(1)), None, "the number is another's now");
    }

    #[test]
    fn a_group_number_is_nobody_elses_while_a_flow_may_be_quiet_also_over_restarts() {
        let tenant = TenantId(1);
        let (rest, mut store) = (300, BTreeMap::new());
        let mut numbers = Numbers::new(rest);
        numbers.advance(1_000);
        let old = numbers.group(tenant, &group(0)).unwrap();
        numbers.release_group(tenant, old);
        for hour in 1..=8u16 {
            stored(&mut numbers, &mut store);
            numbers = Numbers::load(rest, store.clone()).unwrap();
            numbers.advance(1_000 + u64::from(hour) * 3_600 - 1);
            numbers.sweep();
            let fresh = numbers.group(tenant, &group(hour)).unwrap();
            assert_ne!(fresh, old, "after {hour} hours");
            numbers.release_group(tenant, fresh);
        }
        numbers.advance(1_000 + 8 * 3_600);
        stored(&mut numbers, &mut store);
        numbers = Numbers::load(rest, store.clone()).unwrap();
        let taken: BTreeSet<Group> =
            (10..300).filter_map(|port| numbers.group(tenant, &group(port))).collect();
        assert!(!store.is_empty() && taken.len() == 290, "the others go on resting");
        assert!(!numbers.groups[&tenant].names.contains_key(&group(0)), "a number is not held for ever");
    }

    #[test]
    fn time_goes_on_from_the_newest_stored_number() {
        let mut store = BTreeMap::new();
        let mut numbers = Numbers::new(10);
        assert!(!numbers.is_resting());
        numbers.advance(500);
        let first = numbers.rule(&rule(0));
        numbers.release_rule(first);
        assert!(numbers.is_resting());
        stored(&mut numbers, &mut store);
        let numbers = Numbers::load(10, store).unwrap();
        assert_eq!(numbers.clock(), 500);
    }

    #[test]
    fn a_name_that_comes_back_while_its_number_rests_gets_it_again() {
        let mut numbers = Numbers::new(10);
        let first = numbers.rule(&rule(0));
        numbers.release_rule(first);
        assert_ne!(numbers.rule(&rule(1)), first);
        assert_eq!(numbers.rule(&rule(0)), first);
        numbers.advance(1_000);
        assert_eq!(numbers.rule(&rule(0)), first, "a number in use is not forgotten");
    }

    #[test]
    fn numbers_survive_a_restart_and_what_nobody_asks_for_is_freed_by_the_sweep_alone() {
        let mut store = BTreeMap::new();
        let mut numbers = Numbers::new(0);
        let kept = numbers.rule(&rule(0));
        let lost = numbers.rule(&rule(1));
        stored(&mut numbers, &mut store);
        assert_eq!(store.len(), 2);

        let mut numbers = Numbers::load(0, store.clone()).unwrap();
        assert_eq!(numbers.rule(&rule(0)), kept);
        numbers.advance(5);
        let other = numbers.rule(&rule(2));
        assert!(other != lost && other != kept);
        numbers.sweep();
        stored(&mut numbers, &mut store);
        assert_eq!(store.len(), 3, "a resting number is stored");
        numbers.advance(6);
        stored(&mut numbers, &mut store);
        assert_eq!(store.len(), 2, "what has rested is forgotten in the store too");
        let again = Numbers::load(0, store).unwrap();
        assert_eq!(again.rules.slot(&rule(0)).unwrap().number, kept.0);
        assert_eq!(again.rules.slot(&rule(1)), None);
    }

    #[test]
    fn two_names_with_one_number_are_refused() {
        let slot = encode(&Slot { number: 7, freed: None });
        let stored = [0, 1].map(|index| (encode(&Name::Rule(rule(index))), slot.clone()));
        assert!(matches!(Numbers::load(0, stored), Err(LoadError::Conflict { number: 7, .. })));
        let far = encode(&Slot { number: RuleId::MAX + 1, freed: None });
        let stored = [(encode(&Name::Rule(rule(0))), far)];
        assert!(matches!(Numbers::load(0, stored), Err(LoadError::Conflict { .. })));
        assert!(matches!(Numbers::load(0, [(vec![0xff], slot)]), Err(LoadError::Damaged(_))));
    }
}
