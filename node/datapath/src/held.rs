//! What the maps hold, as packets of the current generation see it.
//!
//! Promises: read from the kernel, never remembered from a process before; what an apply that was cut short had written
//! without its flip is taken back before anything else is written, so a later flip cannot bring it into force.

use std::collections::BTreeMap;

use record::record::{Key, Record};

use crate::abi::{
    ABSENT, ClassEntry, ClassKey, GroupEntry, ROUTE_NODE, ROUTE_SUBNET, Route, RouteKey, Row, RowEntry,
    RuleSets,
};
use crate::entry::{self, Content, Network, Slot, Value};
use crate::error::Error;
use crate::interval::Slices;
use crate::object::Tables;

/// Every slot that holds something.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) entries: BTreeMap<Slot, Value>,
    /// The map `routes` as it is: a trie answers for a prefix that it does not hold, so it cannot be asked for one.
    pub(crate) routes: BTreeMap<RouteKey, Route>,
    pub(crate) slices: Slices,
}

/// A slot that is to change, and for the sake of which record.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) slot: Slot,
    pub(crate) old: Option<Value>,
    pub(crate) new: Option<Value>,
    pub(crate) cause: Option<Key>,
}

/// What is wanted of a slot, and by which record.
type Wanted = BTreeMap<Slot, (Option<Value>, Option<Key>)>;

/// A record that cannot be put into entries.
pub(crate) type Refused = (Key, Error);

impl Held {
    /// Reads every map; `generation` is the one in force.
    pub(crate) fn read(tables: &Tables, generation: u32) -> Result<Self, Error> {
        let mut held = Self {
            entries: BTreeMap::new(),
            routes: BTreeMap::new(),
            slices: Slices::new(tables.intervals.capacity()),
        };
        held.read_plain(tables)?;
        held.read_networks(tables, generation)?;
        held.read_rows(tables, generation)?;
        held.read_groups(tables, generation)?;
        held.read_classes(tables, generation)?;
        Ok(held)
    }

    /// What must change for these records to be there and those to be gone. What is there already is no change.
    pub(crate) fn plan(
        &self,
        changed: &[Record],
        removed: &[Key],
        families: (bool, bool),
    ) -> Result<Vec<Change>, Vec<Refused>> {
        let mut wanted = Wanted::new();
        for key in removed.iter().cloned().chain(changed.iter().map(Record::key)) {
            for slot in self.slots(&key) {
                wanted.insert(slot, (None, Some(key.clone())));
            }
        }
        want(&mut wanted, changed, families)?;
        Ok(self.differences(wanted))
    }

    /// What must change for these records to be all.
    pub(crate) fn plan_whole(
        &self,
        records: &[Record],
        families: (bool, bool),
    ) -> Result<Vec<Change>, Vec<Refused>> {
        let mut wanted: Wanted = self.entries.keys().map(|slot| (*slot, (None, None))).collect();
        want(&mut wanted, records, families)?;
        Ok(self.differences(wanted))
    }

    /// The value of the longest class that covers the key's range, itself apart, as `lookup` sees the slots.
    pub(crate) fn covering_class<'a>(key: &ClassKey, lookup: impl Fn(&Slot) -> Option<&'a Value>) -> u32 {
        let shortest = if key.family == 4 { CLASS_BITS + 96 } else { CLASS_BITS };
        for length in (shortest..key.length).rev() {
            let kept = length - CLASS_BITS;
            let octets = std::array::from_fn(|index| {
                let bits = kept.saturating_sub(8 * index as u32).min(8);
                key.address.octets[index] & (0xff00u16 >> bits) as u8
            });
            let covering = ClassKey { length, address: crate::abi::Address { octets }, ..*key };
            if let Some(Value::Class(group)) = lookup(&Slot::Class(covering)) {
                return *group;
            }
        }
        ABSENT
    }

    fn slots(&self, key: &Key) -> Vec<Slot> {
        if let Some(slot) = entry::slot_of(key) {
            return vec![slot];
        }
        let belongs = |slot: &Slot, value: &Value| match (key, slot) {
            (Key::Node(node), Slot::Node(id)) => *id == node.0,
            (Key::Node(node), Slot::NodeAddress(_)) => *value == Value::NodeAddress(node.0),
            (Key::Network(vni), Slot::Network(id)) => *id == vni.value(),
            (Key::Network(vni), Slot::Gateway(place)) => place.vni == vni.value(),
            (Key::Network(vni), Slot::Subnet(route)) => route.vni == vni.value(),
            _ => false,
        };
        // Nodes, networks and what belongs to them come before all that is numerous.
        let few = self.entries.range(..Slot::Member(Default::default()));
        few.filter(|(slot, value)| belongs(slot, value)).map(|(slot, _)| *slot).collect()
    }

    fn differences(&self, wanted: Wanted) -> Vec<Change> {
        let change = |(slot, (new, cause)): (Slot, (Option<Value>, Option<Key>))| {
            let old = self.entries.get(&slot).cloned();
            (old != new).then_some(Change { slot, old, new, cause })
        };
        wanted.into_iter().filter_map(change).collect()
    }

    fn read_plain(&mut self, tables: &Tables) -> Result<(), Error> {
        let entries = &mut self.entries;
        entries
            .extend(tables.tenants.entries()?.into_iter().map(|(id, _)| (Slot::Tenant(id), Value::Present)));
        entries.extend(
            tables.nodes.entries()?.into_iter().map(|(id, address)| (Slot::Node(id), Value::Node(address))),
        );
        for (address, node) in tables.nodes_by_address.entries()? {
            entries.insert(Slot::NodeAddress(address), Value::NodeAddress(node));
        }
        for (place, resident) in tables.endpoints_by_address.entries()? {
            if resident.link == 0 {
                entries.insert(Slot::Gateway(place), Value::Gateway { tenant: resident.tenant });
            }
        }
        for (key, _) in tables.members.entries()? {
            entries.insert(Slot::Member(key), Value::Present);
        }
        for (key, route) in tables.routes.entries()? {
            self.routes.insert(key, route);
            if route.kind & ROUTE_SUBNET != 0 {
                entries.insert(Slot::Subnet(key), Value::Present);
            }
            if route.kind & ROUTE_NODE != 0 {
                entries.insert(Slot::Route(key), Value::Route { node: route.node });
            }
        }
        Ok(())
    }

    fn read_networks(&mut self, tables: &Tables, generation: u32) -> Result<(), Error> {
        for (vni, mut found) in tables.networks.entries()? {
            if found.since > generation {
                found.flags_new = found.flags_old;
                found.since = 0;
                tables.networks.put(&vni, &found)?;
            }
            let value = Network {
                tenant: found.tenant,
                gateway4: found.gateway4,
                gateway6: found.gateway6,
                flags: found.flags_new,
            };
            self.entries.insert(Slot::Network(vni), Value::Network(value));
        }
        Ok(())
    }

    fn read_rows(&mut self, tables: &Tables, generation: u32) -> Result<(), Error> {
        let found = tables.rows.entries()?;
        let in_force = |entry: &RowEntry| if generation >= entry.since { entry.new } else { entry.old };
        let end_of = |row: Row| row.first as usize + row.count as usize;
        let present = found.iter().map(|(_, entry)| in_force(entry)).filter(|row| row.first != ABSENT);
        let intervals = tables.intervals.until(present.map(end_of).max().unwrap_or(0))?;
        for (key, entry) in found {
            let row = in_force(&entry);
            let slice = intervals.get(row.first as usize..end_of(row)).filter(|_| row.first != ABSENT);
            let Some(content) = slice.map(Content::from) else {
                tables.rows.remove(&key)?;
                continue;
            };
            if entry.since > generation {
                tables.rows.put(&key, &RowEntry { since: 0, new: row, old: row })?;
            }
            self.slices.adopt(&content, row);
            self.entries.insert(Slot::Row(key), Value::Row(content));
        }
        Ok(())
    }

    fn read_groups(&mut self, tables: &Tables, generation: u32) -> Result<(), Error> {
        for (key, entry) in tables.groups.entries()? {
            let sets = if generation >= entry.since { entry.new } else { entry.old };
            if sets.ingress == ABSENT {
                tables.groups.remove(&key)?;
                continue;
            }
            if entry.since > generation {
                tables.groups.put(&key, &GroupEntry { since: 0, new: sets, old: sets })?;
            }
            self.entries.insert(Slot::Group(key), Value::Group(sets));
        }
        Ok(())
    }

    /// An entry whose flip never came may have inherited its old value from a wider range: it goes, and the wider one shows.
    fn read_classes(&mut self, tables: &Tables, generation: u32) -> Result<(), Error> {
        let mut found = tables.address_classes.entries()?;
        found.sort_by_key(|(key, _)| key.length);
        for (key, entry) in found {
            let pending = entry.since > generation;
            let group = if pending { entry.old } else { entry.new };
            let inherited = Self::covering_class(&key, |slot| self.entries.get(slot));
            if group == ABSENT || (pending && group == inherited) {
                tables.address_classes.remove(&key)?;
                continue;
            }
            if pending {
                tables.address_classes.put(&key, &ClassEntry { since: 0, new: group, old: group })?;
            }
            self.entries.insert(Slot::Class(key), Value::Class(group));
        }
        Ok(())
    }
}

fn want(wanted: &mut Wanted, records: &[Record], (ipv4, ipv6): (bool, bool)) -> Result<(), Vec<Refused>> {
    let mut refused = Vec::new();
    for record in records {
        let key = record.key();
        match entry::entries(record, ipv4, ipv6) {
            Ok(entries) => {
                wanted.extend(
                    entries.into_iter().map(|(slot, value)| (slot, (Some(value), Some(key.clone())))),
                );
            }
            Err(error) => refused.push((key, error)),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

/// The rule sets of a group that is not there.
pub(crate) const NO_SETS: RuleSets = RuleSets { ingress: ABSENT, egress: ABSENT };
/// A row that is not there.
pub(crate) const NO_ROW: Row = Row { first: ABSENT, count: 0 };
/// The tenant's and the family's bits before the address in a class key's length.
const CLASS_BITS: u32 = 64;
