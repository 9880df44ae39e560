#![allow(clippy::unwrap_used)]
//! What the records say is what the policies say, read one by one; and no stage of a change says anything else.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use compile::{
    Change, Changes, Compiler, Delivery, Endpoint, Flow, Inquiry, Numbers, Party, Tables, Universe, verdict,
};
use proptest::prelude::*;
use record::selector::{LabelSelector, Namespaces, Operator, Requirement, Selector};
use record::{Decision, Group, Key, Record, RuleId, TenantId, Verdict};
use world::{Packet, Reading, Someone, Word, World, policy, records, tenants};

const TENANT: TenantId = TenantId(1);

/// Ports on both sides of every edge that policies of these worlds can have.
const PORTS: [(u8, u16); 8] = [(6, 79), (6, 80), (6, 81), (6, 82), (6, 84), (17, 81), (1, 0), (132, 80)];

/// Everybody in a world, and somebody in each class of outside addresses.
fn everybody(world: &World) -> Vec<Someone<'_>> {
    let endpoints = world.endpoints.values();
    let inside = endpoints.flat_map(|endpoint| {
        endpoint.addresses.iter().map(move |address| Someone::Endpoint(endpoint, *address))
    });
    let outside = [
        "10.0.0.4",
        "10.0.0.8",
        "10.3.0.1",
        "192.0.2.1",
        "192.0.2.128",
        "192.0.2.129",
        "198.51.100.1",
        "fd00::8",
        "2001:db8::1",
    ];
    inside.chain(outside.iter().map(|address| Someone::Outside(address.parse().unwrap()))).collect()
}

/// The records as a node holds them.
type Held = BTreeMap<Key, Record>;

/// A group as a node finds it: an endpoint's is told, an outside address has that of the longest range around it.
fn group(held: &Held, someone: &Someone<'_>) -> Group {
    match someone {
        Someone::Endpoint(endpoint, address) => match &held[&Key::Endpoint(TENANT, endpoint.uid.clone())] {
            Record::Endpoint(endpoint) => endpoint.group(*address),
            other => panic!("{other:?} has an endpoint's key"),
        },
        Someone::Outside(address) => {
            let classes = held.values().filter_map(|record| match record {
                Record::AddressClass(class) if class.prefix.contains(*address) => Some(class),
                _ => None,
            });
            classes.max_by_key(|class| class.prefix.length()).map_or(Group::WORLD, |class| class.group)
        }
    }
}

fn spoken(tables: &dyn Tables, decision: Decision) -> Option<Word> {
    let allowed = match decision.verdict {
        Verdict::Default => return None,
        Verdict::Allow => true,
        Verdict::Deny => false,
    };
    match tables.record(&Key::Rule(TENANT, decision.rule)) {
        Some(Record::Rule(rule)) => Some(Word { allowed, policy: rule.name.clone(), index: rule.index }),
        other => panic!("{decision:?} names {other:?}"),
    }
}

/// What a node's records say of a packet whose ends have these groups.
fn reading(held: &Held, packet: &Packet<'_>, sender: Group, receiver: Group) -> Reading {
    let flow = Flow { tenant: TENANT, sender, receiver, protocol: packet.protocol, port: packet.port };
    let judged = verdict(held, flow);
    assert_eq!(judged.unknown, None, "{flow:?}");
    Reading { egress: spoken(held, judged.egress.decision), ingress: spoken(held, judged.ingress.decision) }
}

fn packets(world: &World) -> impl Iterator<Item = Packet<'_>> {
    let everybody = everybody(world);
    let pairs = everybody
        .clone()
        .into_iter()
        .flat_map(move |from| everybody.clone().into_iter().map(move |to| (from, to)));
    pairs.flat_map(|(from, to)| {
        PORTS.into_iter().map(move |(protocol, port)| Packet { from, to, protocol, port })
    })
}

/// Holds what a node's records say against the policies of a world; the ends' groups are those of any of the numberings.
fn agree(held: &Held, numberings: &[&Held], world: &World, when: &str) -> Result<(), TestCaseError> {
    for packet in packets(world) {
        let truth = world.reads(TENANT, &packet);
        for sender in numberings.iter().map(|numbering| group(numbering, &packet.from)) {
            for receiver in numberings.iter().map(|numbering| group(numbering, &packet.to)) {
                let reading = reading(held, &packet, sender, receiver);
                if reading != truth {
                    let told = format!("{when}: {packet:?} in groups {sender} and {receiver}");
                    prop_assert_eq!(&reading, &truth, "{}\n{:#?}", told, held);
                }
            }
        }
    }
    Ok(())
}

/// Takes a change step by step, as nodes are told: make, move, break. Between the steps some nodes are ahead of others.
fn step_by_step(held: &mut Held, changes: Changes, world: &World, when: &str) -> Result<(), TestCaseError> {
    let before = held.clone();
    let whole = Delivery { upserts: changes.upserts, removals: changes.removals };
    for stage in whole.stages() {
        for record in stage.upserts {
            held.insert(record.key(), (*record).clone());
        }
        for key in stage.removals {
            held.remove(&key);
        }
        let ahead = held.clone();
        let leftover = before.keys().any(|key| matches!(key, Key::Group(..)) && !ahead.contains_key(key));
        // Until the last step is taken, packets with the old numbers may still be under way.
        let numberings: &[&Held] = if leftover { &[&ahead] } else { &[&before, &ahead] };
        agree(held, numberings, world, when)?;
    }
    Ok(())
}

fn compiled(world: &World) -> Compiler {
    let mut compiler = Compiler::new(Numbers::new(0));
    compiler.apply(world.changes());
    compiler
}

fn universe(world: &World) -> Universe {
    let mut universe = Universe::default();
    world.policies.values().for_each(|policy| universe.extend(Universe::of(policy)));
    universe
}

proptest! {
    #[test]
    fn the_records_say_what_the_policies_say(world in tenants()) {
        let held = records(&compiled(&world));
        agree(&held, &[&held], &world, "from nothing")?;
    }

    #[test]
    fn an_allow_names_a_rule_that_allows_and_a_deny_an_isolation(world in tenants()) {
        let compiler = compiled(&world);
        for record in compiler.records() {
            let Record::Row(row) = &**record else { continue };
            for interval in &row.ports {
                let Some(Record::Rule(rule)) = compiler.record(&Key::Rule(TENANT, interval.decision.rule)) else {
                    panic!("{interval:?} names no rule");
                };
                prop_assert_eq!(rule.index.is_some(), interval.decision.verdict == Verdict::Allow);
            }
        }
    }

    #[test]
    fn one_call_says_the_same_as_a_compiler(world in tenants()) {
        let namespaces: Vec<_> = world.namespaces.values().cloned().collect();
        let policies: Vec<_> = world.policies.values().cloned().collect();
        let someone = |someone: &Someone<'_>| match someone {
            Someone::Outside(address) => compile::Someone::Outside(*address),
            Someone::Endpoint(endpoint, address) => compile::Someone::Endpoint {
                namespace: endpoint.namespace.clone(),
                labels: endpoint.labels.clone(),
                ports: endpoint.ports.clone(),
                address: *address,
            },
        };
        let everybody = everybody(&world);
        let (from, to) = (everybody[0], everybody[everybody.len() / 2]);
        for (protocol, port) in PORTS {
            let judged = compile::judge(&namespaces, &policies, &someone(&from), &someone(&to), (protocol, port));
            let truth = world.reads(TENANT, &Packet { from, to, protocol, port });
            // Its numbers are its own: what it decides can be compared.
            let decided = |decision: Decision| match decision.verdict {
                Verdict::Default => None,
                verdict => Some(verdict == Verdict::Allow),
            };
            let reading = (decided(judged.egress.decision), decided(judged.ingress.decision));
            let allowed = |word: Option<Word>| word.map(|word| word.allowed);
            let truth = (allowed(truth.egress), allowed(truth.ingress));
            prop_assert_eq!(reading, truth);
        }
    }

    #[test]
    fn what_is_explained_is_what_the_policies_say(mut world in tenants()) {
        (1..4).for_each(|id| world.take_in(Change::PutNetwork(world::network(id, 1, true))));
        let compiler = compiled(&world);
        let names: BTreeSet<(&String, &String)> =
            world.endpoints.values().map(|endpoint| (&endpoint.namespace, &endpoint.name)).collect();
        prop_assert_eq!(names.len(), world.endpoints.len(), "each has a name of its own");
        let party = |endpoint: &Endpoint| Party::Endpoint {
            namespace: endpoint.namespace.clone(),
            name: endpoint.name.clone(),
        };
        for from in world.endpoints.values() {
            for to in world.endpoints.values() {
                for (protocol, port) in PORTS {
                    let (from_party, to_party) = (party(from), party(to));
                    let inquiry =
                        Inquiry { tenant: TENANT, network: None, from: from_party, to: to_party, protocol, port };
                    let Ok(told) = compiler.explain(&inquiry) else {
                        let family = |endpoint: &Endpoint| -> BTreeSet<bool> {
                            endpoint.addresses.iter().map(IpAddr::is_ipv4).collect()
                        };
                        prop_assert!(from.vni != to.vni || family(from).is_disjoint(&family(to)));
                        continue;
                    };
                    let packet = Packet {
                        from: Someone::Endpoint(from, told.from.address.unwrap()),
                        to: Someone::Endpoint(to, told.to.address.unwrap()),
                        protocol,
                        port,
                    };
                    let truth = world.reads(TENANT, &packet);
                    let words = [&truth.egress, &truth.ingress];
                    let denied = words.into_iter().flatten().any(|word| !word.allowed);
                    prop_assert_eq!(told.allowed, !denied, "{:?}: {:#?}", packet, told);
                    prop_assert_eq!(told.rule.is_some(), truth.egress.is_some() || truth.ingress.is_some());
                    prop_assert_eq!(told.egress.unwrap().rule.is_some(), truth.egress.is_some());
                    prop_assert_eq!(told.ingress.unwrap().rule.is_some(), truth.ingress.is_some());
                }
            }
        }
    }

    /// Refine, rules, coarsen: meaning and numbering never change at once.
    #[test]
    fn each_stage_of_a_policy_change_changes_either_the_numbering_or_the_meaning(
        world in tenants(),
        policies in prop::collection::vec(policy(), 1..3),
        gone in any::<prop::sample::Index>(),
    ) {
        let mut new = world.clone();
        let mut edits: Vec<Change> = policies.into_iter().map(|policy| Change::PutPolicy(TENANT, policy)).collect();
        if !world.policies.is_empty() {
            let (tenant, namespace, name) = world.policies.keys().nth(gone.index(world.policies.len())).unwrap().clone();
            edits.insert(0, Change::RemovePolicy { tenant, namespace, name });
        }
        edits.iter().cloned().for_each(|edit| new.take_in(edit));
        let mut compiler = compiled(&world);
        let mut held = records(&compiler);

        let changes = compiler.apply([Change::Keep(TENANT, universe(&new))]);
        step_by_step(&mut held, changes, &world, "while groups are refined the old policies hold")?;
        prop_assert_eq!(&held, &records(&compiler));

        edits.push(Change::Keep(TENANT, universe(&world)));
        let changes = compiler.apply(edits);
        for key in changes.upserts.iter().map(|record| record.key()).chain(changes.removals) {
            let of_numbering = matches!(
                key,
                Key::Endpoint(..) | Key::AddressClass(..) | Key::Selector(..) | Key::Tenant(..)
            );
            prop_assert!(!of_numbering, "{:?} changes with the rules", key);
        }
        let groups = |held: &Held| -> BTreeSet<Key> {
            held.keys().filter(|key| matches!(key, Key::Group(..))).cloned().collect()
        };
        let refined = groups(&held);
        held = records(&compiler);
        prop_assert_eq!(groups(&held), refined, "groups come and go with the numbering alone");
        agree(&held, &[&held], &new, "with the new rules the new policies hold")?;

        let changes = compiler.apply([Change::Keep(TENANT, Universe::default())]);
        step_by_step(&mut held, changes, &new, "while groups are coarsened the new policies hold")?;
        let mut fresh = Compiler::new(compiler.numbers().clone());
        fresh.apply(new.changes());
        prop_assert_eq!(records(&fresh), held, "nothing is left of the stages");
    }
}

#[test]
fn a_namespace_that_is_labelled_anew_takes_its_endpoints_along() {
    let selector = Selector::Endpoints {
        namespaces: Namespaces::Matching(LabelSelector(BTreeSet::from([Requirement {
            key: "team".into(),
            operator: Operator::Exists,
        }]))),
        endpoints: LabelSelector::default(),
    };
    let kept = Universe { selectors: BTreeSet::from([selector]), ports: BTreeSet::new() };
    let mut compiler = Compiler::new(Numbers::new(0));
    let plain = world::namespace("a", &[]);
    let labelled = world::namespace("a", &[("team", "x")]);
    compiler.apply([
        Change::PutNamespace(TENANT, plain.clone()),
        Change::PutEndpoint(endpoint("a")),
        Change::Keep(TENANT, kept),
    ]);
    let address = "10.0.0.2".parse().unwrap();
    let before = compiler.group(TENANT, "e", address);
    let changes = compiler.apply([Change::PutNamespace(TENANT, labelled)]);
    let after = compiler.group(TENANT, "e", address);
    assert_ne!(before, after);
    assert!(changes.upserts.iter().any(|record| record.key() == Key::Endpoint(TENANT, "e".into())));
    assert!(changes.removals.contains(&Key::Group(TENANT, before)));
    compiler.apply([Change::PutNamespace(TENANT, plain)]);
    assert_eq!(compiler.group(TENANT, "e", address), before, "the number still rested");
}

fn endpoint(namespace: &str) -> Endpoint {
    Endpoint {
        tenant: TENANT,
        uid: "e".into(),
        vni: world::vni(1),
        namespace: namespace.into(),
        name: "e".into(),
        labels: BTreeMap::new(),
        ports: BTreeSet::new(),
        addresses: BTreeSet::from(["10.0.0.2".parse::<IpAddr>().unwrap()]),
        node: record::NodeId(1),
    }
}

#[test]
fn an_endpoint_of_a_namespace_that_is_not_there_is_in_no_group() {
    let mut world = World::default();
    world.take_in(Change::PutEndpoint(endpoint("later")));
    let mut compiler = compiled(&world);
    let address = "10.0.0.2".parse().unwrap();
    assert_eq!(compiler.group(TENANT, "e", address), Group::UNKNOWN);
    assert!(compiler.problems().is_empty(), "no number is missing");
    compiler.apply([Change::PutNamespace(TENANT, world::namespace("later", &[]))]);
    assert!(compiler.group(TENANT, "e", address) >= Group::FIRST);
    let flow = Flow { tenant: TENANT, sender: Group::UNKNOWN, receiver: Group::WORLD, protocol: 6, port: 80 };
    assert_eq!(verdict(&compiler, flow).outcome(true), Err((record::DropReason::GroupUnknown, RuleId(0))));
}
