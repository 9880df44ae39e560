//! Bringing a generation into force.
//!
//! ```text
//!   add and change what is not versioned     blocks, nodes, members, gateways
//!   write versioned entries                  {since: g + 1, new, old}: packets still see `old`
//!   store g + 1                              one word: now every packet sees `new`
//!   wait for the packets under way
//!   remove what is gone, free old slices
//! ```
//!
//! Promises: a packet is judged by one generation; a failure before the flip takes everything back; a process killed anywhere
//! leaves the generation before or the one after (see `held`).

use record::Generation;
use record::record::{Key, Record};

use crate::Datapath;
use crate::abi::{
    self, ClassEntry, GroupEntry, ROUTE_NODE, ROUTE_SUBNET, Resident, Route, RouteKey, Row, RowEntry, SCHEMA,
    State, Tenant,
};
use crate::entry::{Content, Network, Slot, Value};
use crate::error::{Error, Fault};
use crate::held::{Change, Held, NO_ROW, NO_SETS, Refused};

impl Datapath {
    /// Brings records into force, all at once: those changed are there, those removed gone, as `generation`. What is there
    /// already is not written again.
    ///
    /// Errors: every record that could not be realised; then the generation before stays in force. One that is older than the
    /// generation held is refused.
    pub fn apply(
        &mut self,
        changed: &[Record],
        removed: &[Key],
        generation: Generation,
    ) -> Result<(), Vec<Fault>> {
        self.check_age(generation)?;
        let plan = self.held.plan(changed, removed, self.families()).map_err(refused)?;
        self.realise(plan, generation)
    }

    /// Makes these records all there is: reads the maps back, changes what differs and sweeps what nobody wants.
    ///
    /// Errors: as [`Datapath::apply`].
    pub fn resync(&mut self, records: &[Record], generation: Generation) -> Result<(), Vec<Fault>> {
        self.check_age(generation)?;
        let word = self.state().map_err(one)?.generation;
        self.held = Held::read(&self.loaded.tables, word).map_err(one)?;
        let plan = self.held.plan_whole(records, self.families()).map_err(refused)?;
        self.realise(plan, generation)
    }

    /// The server's generation that is in force.
    pub fn generation(&self) -> Result<Generation, Error> {
        Ok(Generation(self.state()?.held))
    }

    fn state(&self) -> Result<State, Error> {
        Ok(self.loaded.tables.state.find(&0)?.unwrap_or_default())
    }

    fn check_age(&self, offered: Generation) -> Result<(), Vec<Fault>> {
        let held = self.generation().map_err(one)?;
        if offered < held { Err(one(Error::Older { offered, held })) } else { Ok(()) }
    }

    fn families(&self) -> (bool, bool) {
        (self.config.underlay_of(true).is_some(), self.config.underlay_of(false).is_some())
    }

    fn realise(&mut self, plan: Vec<Change>, generation: Generation) -> Result<(), Vec<Fault>> {
        let current = self.state().map_err(one)?;
        let flips = plan.iter().any(|change| change.slot.is_versioned());
        let since = current.generation.wrapping_add(u32::from(flips));
        let mut written = Vec::new();
        let mut faults = Vec::new();
        for change in &plan {
            // What goes and is not versioned goes after the flip.
            if change.new.is_none() && !change.slot.is_versioned() {
                continue;
            }
            match self.write(change, &plan, since) {
                Ok(()) => written.push(change),
                Err(source) => faults.push(Fault { key: change.cause.clone(), source }),
            }
        }
        let next = State { generation: since, schema: SCHEMA, held: generation.0 };
        if faults.is_empty()
            && current != next
            && let Err(source) = self.loaded.tables.state.put(&0, &next)
        {
            faults.push(Fault { key: None, source });
        }
        if !faults.is_empty() {
            self.take_back(&written);
            return Err(faults);
        }
        self.finish(plan, flips);
        Ok(())
    }

    /// After the flip: removes what is gone, in reverse, and frees what no packet can read any more.
    fn finish(&mut self, plan: Vec<Change>, flips: bool) {
        let quiet = !flips
            || self.grace.wait().inspect_err(|error| tracing::warn!(%error, "waiting for packets")).is_ok();
        for change in plan.into_iter().rev() {
            match &change.new {
                Some(value) => self.held.entries.insert(change.slot, value.clone()),
                None => self.held.entries.remove(&change.slot),
            };
            // Without the wait an entry may still be read: it stays, absent, for the next start to sweep.
            if !quiet {
                continue;
            }
            if change.new.is_none()
                && let Err(error) = self.erase(&change.slot)
            {
                tracing::warn!(%error, slot = ?change.slot, "an entry that is gone stays until the next resync");
            }
            if let Some(Value::Row(content)) = &change.old {
                self.held.slices.release(content);
            }
        }
    }

    fn take_back(&mut self, written: &[&Change]) {
        for change in written.iter().rev() {
            let restored = match &change.old {
                Some(old) => self.restore(&change.slot, old),
                None => self.erase(&change.slot),
            };
            if let Err(error) = restored {
                tracing::warn!(%error, slot = ?change.slot, "an entry could not be taken back: a resync will");
            }
            if let Some(Value::Row(content)) = &change.new {
                self.held.slices.release(content);
            }
        }
    }

    /// Writes the change so that generations before `since` see the old value, where the slot is versioned.
    fn write(&mut self, change: &Change, plan: &[Change], since: u32) -> Result<(), Error> {
        match change.slot {
            Slot::Network(vni) => {
                // A network that goes stays as it was until it is removed.
                let Some(Value::Network(new)) = &change.new else { return Ok(()) };
                let flags_old =
                    if let Some(Value::Network(old)) = &change.old { old.flags } else { new.flags };
                self.put_network(vni, new, flags_old, since)
            }
            Slot::Row(key) => {
                let old = self.row_of(change.old.as_ref());
                let new = match &change.new {
                    Some(Value::Row(content)) => self.acquire(content)?,
                    _ => NO_ROW,
                };
                let written = self.loaded.tables.rows.put(&key, &RowEntry { since, new, old });
                if written.is_err()
                    && let Some(Value::Row(content)) = &change.new
                {
                    self.held.slices.release(content);
                }
                written
            }
            Slot::Group(key) => {
                let sets = |value: &Option<Value>| {
                    if let Some(Value::Group(sets)) = value { *sets } else { NO_SETS }
                };
                let entry = GroupEntry { since, new: sets(&change.new), old: sets(&change.old) };
                self.loaded.tables.groups.put(&key, &entry)
            }
            Slot::Class(key) => {
                let entry = ClassEntry {
                    since,
                    new: class_of(&change.new).unwrap_or_else(|| self.class_after(&key, plan)),
                    old: class_of(&change.old).unwrap_or_else(|| self.class_before(&key)),
                };
                self.loaded.tables.address_classes.put(&key, &entry)
            }
            _ => match &change.new {
                Some(value) => self.restore(&change.slot, value),
                None => Ok(()),
            },
        }
    }

    /// Writes a value for every generation.
    fn restore(&mut self, slot: &Slot, value: &Value) -> Result<(), Error> {
        let tables = &self.loaded.tables;
        match (slot, value) {
            (Slot::Tenant(id), _) => {
                let fresh = Tenant { flows: 0, quota: self.config.tenant_flows };
                tables.tenants.insert(id, &fresh).map(drop)
            }
            (Slot::Node(id), Value::Node(address)) => tables.nodes.put(id, address),
            (Slot::NodeAddress(address), Value::NodeAddress(node)) => {
                tables.nodes_by_address.put(address, node)
            }
            (Slot::Gateway(place), Value::Gateway { tenant }) => {
                tables.endpoints_by_address.put(place, &Resident { tenant: *tenant, ..Resident::default() })
            }
            (Slot::Member(key), _) => tables.members.put(key, &1),
            (Slot::Subnet(key), _) => self.put_route(key, |route| route.kind |= ROUTE_SUBNET),
            (Slot::Route(key), Value::Route { node }) => self.put_route(key, |route| {
                route.kind |= ROUTE_NODE;
                route.node = *node;
            }),
            (Slot::Network(vni), Value::Network(network)) => {
                self.put_network(*vni, network, network.flags, 0)
            }
            (Slot::Row(key), Value::Row(_)) => {
                let row = self.row_of(Some(value));
                self.loaded.tables.rows.put(key, &RowEntry { since: 0, new: row, old: row })
            }
            (Slot::Group(key), Value::Group(sets)) => {
                tables.groups.put(key, &GroupEntry { since: 0, new: *sets, old: *sets })
            }
            (Slot::Class(key), Value::Class(group)) => {
                tables.address_classes.put(key, &ClassEntry { since: 0, new: *group, old: *group })
            }
            _ => Ok(()),
        }
    }

    fn erase(&mut self, slot: &Slot) -> Result<(), Error> {
        let tables = &self.loaded.tables;
        match slot {
            Slot::Tenant(id) => tables.tenants.remove(id),
            Slot::Node(id) => tables.nodes.remove(id),
            Slot::NodeAddress(address) => tables.nodes_by_address.remove(address),
            Slot::Network(vni) => tables.networks.remove(vni),
            Slot::Gateway(place) => tables.endpoints_by_address.remove(place),
            Slot::Member(key) => tables.members.remove(key),
            Slot::Row(key) => tables.rows.remove(key),
            Slot::Group(key) => tables.groups.remove(key),
            Slot::Class(key) => tables.address_classes.remove(key),
            Slot::Subnet(key) => return self.put_route(key, |route| route.kind &= !ROUTE_SUBNET),
            Slot::Route(key) => {
                return self.put_route(key, |route| {
                    route.kind &= !ROUTE_NODE;
                    route.node = 0;
                });
            }
        }
        .map(drop)
    }

    /// A block and a subnet of the same prefix share an entry; one that is neither goes.
    fn put_route(&mut self, key: &RouteKey, change: impl FnOnce(&mut Route)) -> Result<(), Error> {
        let routes = &self.loaded.tables.routes;
        let mut route = self.held.routes.get(key).copied().unwrap_or_default();
        change(&mut route);
        if route.kind == 0 {
            routes.remove(key)?;
            self.held.routes.remove(key);
        } else {
            routes.put(key, &route)?;
            self.held.routes.insert(*key, route);
        }
        Ok(())
    }

    fn put_network(&self, vni: u32, network: &Network, flags_old: u32, since: u32) -> Result<(), Error> {
        let entry = abi::Network {
            gateway4: network.gateway4,
            gateway6: network.gateway6,
            tenant: network.tenant,
            since,
            flags_new: network.flags,
            flags_old,
        };
        self.loaded.tables.networks.put(&vni, &entry)
    }

    /// A slice that holds the content, written to the array before anything refers to it.
    fn acquire(&mut self, content: &Content) -> Result<Row, Error> {
        let slice = self.held.slices.acquire(content)?;
        if slice.is_new
            && let Err(error) = self.loaded.tables.intervals.fill(slice.row.first, content)
        {
            self.held.slices.release(content);
            return Err(error);
        }
        Ok(slice.row)
    }

    fn row_of(&self, value: Option<&Value>) -> Row {
        match value {
            Some(Value::Row(content)) => self.held.slices.find(content).unwrap_or(NO_ROW),
            _ => NO_ROW,
        }
    }

    /// What packets of the generation before find in a range that had no class: its wider range's.
    fn class_before(&self, key: &abi::ClassKey) -> u32 {
        Held::covering_class(key, |slot| self.held.entries.get(slot))
    }

    /// What packets of the next generation find in a range whose class goes.
    fn class_after(&self, key: &abi::ClassKey, plan: &[Change]) -> u32 {
        Held::covering_class(key, |slot| match plan.binary_search_by(|change| change.slot.cmp(slot)) {
            Ok(index) => plan[index].new.as_ref(),
            Err(_) => self.held.entries.get(slot),
        })
    }
}

fn class_of(value: &Option<Value>) -> Option<u32> {
    if let Some(Value::Class(group)) = value { Some(*group) } else { None }
}

fn one(source: Error) -> Vec<Fault> {
    vec![Fault { key: None, source }]
}

fn refused(refused: Vec<Refused>) -> Vec<Fault> {
    refused.into_iter().map(|(key, source)| Fault { key: Some(key), source }).collect()
}
