#![allow(clippy::unwrap_used)]
//! Incremental equals from nothing; whoever is told of the changes holds what is to be held.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use compile::{Change, Compiler, Left, Numbers};
use proptest::prelude::*;
use record::record::{Members, Peer};
use record::{Key, NodeId, Record, RuleSetId, TenantId, Vni};
use world::{Store, World, histories, records};

/// From nothing, with numbers as they were stored. Time goes by meanwhile: nothing may be freed before all has been said.
fn from_nothing(store: &Store, batches: impl IntoIterator<Item = Vec<Change>>) -> (Compiler, Store) {
    let mut compiler = Compiler::new(store.load().unwrap());
    let mut now = 0;
    for batch in batches {
        compiler.apply(batch);
        now += 1;
        compiler.advance(now);
    }
    compiler.sweep();
    let mut store = store.clone();
    compiler.advance(now + 1);
    store.write(compiler.drain_numbers());
    (compiler, store)
}

/// Who needs a record, from what the world says and nothing else.
fn needs(world: &World, key: &Key, record: &Record) -> BTreeSet<NodeId> {
    let members = |vni: Vni| -> BTreeSet<NodeId> {
        let blocks = world.blocks.values().filter(|block| block.vni == vni).map(|block| block.node);
        let endpoints = world.endpoints.values().filter(|endpoint| endpoint.vni == vni);
        blocks.chain(endpoints.map(|endpoint| endpoint.node)).collect()
    };
    let vnis = || (1..4).map(world::vni);
    let of_tenant = |tenant: TenantId| -> BTreeSet<NodeId> {
        let own = world.networks.values().filter(|network| network.tenant == tenant);
        own.flat_map(|network| members(network.vni)).collect()
    };
    let nodes: BTreeSet<NodeId> = match (key, record) {
        (Key::Node(id), _) => {
            let shared = vnis().map(members).filter(|members| members.contains(id)).flatten();
            shared.chain([*id]).collect()
        }
        (Key::Network(vni) | Key::Member(vni, _) | Key::Route(vni, _), _) => members(*vni),
        (Key::Endpoint(tenant, uid), _) => [world.endpoints[&(*tenant, uid.clone())].node].into(),
        (
            Key::Tenant(tenant)
            | Key::Project(tenant, _)
            | Key::Selector(tenant, _)
            | Key::Rule(tenant, _)
            | Key::Row(tenant, ..)
            | Key::Group(tenant, _)
            | Key::AddressClass(tenant, _),
            _,
        ) => of_tenant(*tenant),
    };
    nodes.into_iter().filter(|node| world.nodes.contains_key(node)).collect()
}

fn groups(compiler: &Compiler) -> BTreeSet<Key> {
    let keys = compiler.records().map(|record| record.key());
    keys.filter(|key| matches!(key, Key::Group(..))).collect()
}

/// The groups of endpoints and of address classes.
fn used_groups(compiler: &Compiler) -> BTreeSet<Key> {
    let mut used = BTreeSet::new();
    for record in compiler.records() {
        match &**record {
            Record::Endpoint(endpoint) => {
                used.extend(endpoint.groups.values().map(|group| Key::Group(endpoint.tenant, *group)));
            }
            Record::AddressClass(class) => _ = used.insert(Key::Group(class.tenant, class.group)),
            _ => {}
        }
    }
    used
}

/// Whatever a record refers to is there.
fn refers_to_what_is_there(records: &BTreeMap<Key, Record>) -> Result<(), TestCaseError> {
    for (key, record) in records {
        let has = |needed: Key| -> Result<(), TestCaseError> {
            prop_assert!(records.contains_key(&needed), "{key:?} refers to {needed:?}");
            Ok(())
        };
        match record {
            Record::Group(group) => {
                for selector in &group.selectors {
                    has(Key::Selector(group.tenant, *selector))?;
                }
                for set in [group.ingress, group.egress].into_iter().filter(|set| *set != RuleSetId::OPEN) {
                    has(Key::Row(group.tenant, set, Peer::Others))?;
                }
                let of_addresses = group.members == Members::Addresses;
                prop_assert!(
                    !of_addresses || (group.ingress, group.egress) == (RuleSetId::OPEN, RuleSetId::OPEN)
                );
            }
            Record::Row(row) => {
                if let Peer::Group(group) = row.peer {
                    has(Key::Group(row.tenant, group))?;
                }
                for interval in &row.ports {
                    has(Key::Rule(row.tenant, interval.decision.rule))?;
                }
            }
            Record::Endpoint(endpoint) => {
                for group in endpoint.groups.values().filter(|group| **group >= record::Group::FIRST) {
                    has(Key::Group(endpoint.tenant, *group))?;
                }
            }
            Record::AddressClass(class) if class.group >= record::Group::FIRST => {
                has(Key::Group(class.tenant, class.group))?;
            }
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_history_ends_where_nothing_and_the_same_numbers_lead(
        history in histories(),
        order in any::<prop::sample::Index>(),
    ) {
        let mut world = World::default();
        let mut store = Store::default();
        let mut compiler = Compiler::new(Numbers::new(0));
        for batch in history {
            batch.iter().cloned().for_each(|change| world.take_in(change));
            compiler.apply(batch);
            store.write(compiler.drain_numbers());
        }
        compiler.advance(1);
        store.write(compiler.drain_numbers());
        let expected = records(&compiler);
        refers_to_what_is_there(&expected)?;

        let changes = world.changes();
        let (at_once, stored) = from_nothing(&store, [changes.clone()]);
        prop_assert_eq!(&records(&at_once), &expected, "all at once");
        prop_assert_eq!(&stored.0, &store.0, "numbers, all at once");
        let mut shuffled = changes;
        if !shuffled.is_empty() {
            let middle = order.index(shuffled.len());
            shuffled.rotate_left(middle);
            shuffled[middle / 2..].reverse();
        }
        let (one_by_one, stored) = from_nothing(&store, shuffled.into_iter().map(|change| vec![change]));
        prop_assert_eq!(&records(&one_by_one), &expected, "one by one, in another order");
        prop_assert_eq!(&stored.0, &store.0, "numbers, one by one");
    }

    #[test]
    fn whoever_is_told_of_the_changes_holds_what_it_needs_and_no_more(history in histories()) {
        let mut world = World::default();
        let mut compiler = Compiler::new(Numbers::new(0));
        let mut fabric: BTreeMap<Key, Record> = BTreeMap::new();
        let mut nodes: BTreeMap<NodeId, BTreeMap<Key, Record>> = BTreeMap::new();
        for batch in history {
            batch.iter().cloned().for_each(|change| world.take_in(change));
            let changes = compiler.apply(batch);
            for record in &changes.upserts {
                let old = fabric.insert(record.key(), (**record).clone());
                prop_assert_ne!(old.as_ref(), Some(&**record), "an upsert changes something");
            }
            for key in &changes.removals {
                prop_assert!(fabric.remove(key).is_some(), "{:?} is removed and was not there", key);
            }
            for (node, delivery) in changes.nodes {
                let held = nodes.entry(node).or_default();
                for stage in delivery.stages() {
                    for record in stage.upserts {
                        held.insert(record.key(), (*record).clone());
                    }
                    for key in stage.removals {
                        prop_assert!(held.remove(&key).is_some(), "{node}: {:?} was never there", key);
                    }
                }
            }
            prop_assert_eq!(&fabric, &records(&compiler));
            for id in (1..4).map(NodeId) {
                let held = nodes.get(&id).cloned().unwrap_or_default();
                let own: BTreeMap<Key, Record> =
                    compiler.records_of(id).iter().map(|record| (record.key(), (**record).clone())).collect();
                prop_assert_eq!(&held, &own);
                for (key, record) in &fabric {
                    let wanted = needs(&world, key, record);
                    prop_assert_eq!(wanted.contains(&id), held.contains_key(key), "{} and {:?}", id, key);
                    prop_assert_eq!(&compiler.audience(key), &wanted);
                }
            }
        }
    }

    /// A node that is cut off puts new containers into groups by what it has heard of: the others must understand the same, or
    /// nothing.
    #[test]
    fn a_number_never_means_something_else_while_freed_ones_rest(history in histories()) {
        let mut compiler = Compiler::new(Numbers::new(1));
        let mut meanings: BTreeMap<Key, String> = BTreeMap::new();
        for batch in history {
            let changes = compiler.apply(batch);
            for record in &changes.upserts {
                let meaning = match &**record {
                    Record::Group(group) => format!("{:?} {:?} {:?}", group.members, group.selectors, group.ports),
                    Record::Selector(_) | Record::Rule(_) => format!("{record:?}"),
                    _ => continue,
                };
                let known = meanings.entry(record.key()).or_insert_with(|| meaning.clone());
                prop_assert_eq!(&*known, &meaning);
            }
        }
    }

    #[test]
    fn a_world_taken_apart_leaves_nothing(history in histories()) {
        let mut world = World::default();
        let mut store = Store::default();
        let mut compiler = Compiler::new(Numbers::new(0));
        for batch in history {
            batch.iter().cloned().for_each(|change| world.take_in(change));
            compiler.apply(batch);
        }
        let mut removals: Vec<Change> = Vec::new();
        removals.extend(world.tenants.into_keys().map(Change::RemoveTenant));
        removals.extend(world.nodes.into_keys().map(Change::RemoveNode));
        removals.extend(world.networks.into_keys().map(Change::RemoveNetwork));
        removals.extend(world.blocks.into_keys().map(|(vni, prefix)| Change::RemoveBlock(vni, prefix)));
        removals.extend(world.namespaces.into_keys().map(|(tenant, name)| Change::RemoveNamespace(tenant, name)));
        let policies = world.policies.into_keys();
        removals.extend(policies.map(|(tenant, namespace, name)| Change::RemovePolicy { tenant, namespace, name }));
        removals.extend(world.endpoints.into_keys().map(|(tenant, uid)| Change::RemoveEndpoint(tenant, uid)));
        removals.extend(world.kept.into_keys().map(|tenant| Change::Keep(tenant, Default::default())));
        for removal in removals {
            compiler.apply([removal]);
        }
        prop_assert_eq!(records(&compiler), BTreeMap::new());
        compiler.advance(1);
        store.write(compiler.drain_numbers());
        prop_assert!(store.0.is_empty(), "{} numbers are left", store.0.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Groups that are kept for those who still use them are said to be something by everybody, and leave nothing when buried.
    #[test]
    fn groups_that_are_kept_are_whole_and_once_buried_everything_is_as_from_nothing(history in histories()) {
        let mut world = World::default();
        let mut store = Store::default();
        let mut compiler = Compiler::new(Numbers::new(0));
        let mut left = Left::new();
        for batch in history {
            batch.iter().cloned().for_each(|change| world.take_in(change));
            let before = groups(&compiler);
            let buried = std::mem::take(&mut left);
            let graves = buried.iter().map(|(tenant, group)| Change::Bury(*tenant, *group));
            let (changes, kept) = compiler.move_over(graves.chain(batch));
            let now = groups(&compiler);
            for key in before.difference(&now) {
                prop_assert!(buried.iter().any(|(tenant, group)| *key == Key::Group(*tenant, *group)), "{key:?}");
            }
            let used = used_groups(&compiler);
            let kept_keys: BTreeSet<Key> =
                kept.iter().map(|(tenant, group)| Key::Group(*tenant, *group)).collect();
            prop_assert!(kept_keys.is_disjoint(&used), "{:?} kept, {:?} used", kept_keys, used);
            for (tenant, group) in &kept {
                let key = Key::Group(*tenant, *group);
                prop_assert!(compiler.record(&key).is_some() && !changes.removals.contains(&key));
            }
            left = kept;
            store.write(compiler.drain_numbers());
        }
        compiler.apply(left.into_iter().map(|(tenant, group)| Change::Bury(tenant, group)));
        compiler.advance(1);
        store.write(compiler.drain_numbers());
        let (at_once, stored) = from_nothing(&store, [world.changes()]);
        prop_assert_eq!(&records(&at_once), &records(&compiler));
        prop_assert_eq!(&stored.0, &store.0);
    }
}
