//! The fleet in memory: claims about sessions, leases, grants, restarts and statuses.

mod restored;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use record::delta::{Hello, NodeMessage, PROTOCOL, RefusalKind, ServerMessage, Subscriber, Want};
use record::inspect::{Answer, Question, State};
use record::{Generation, Key, Record, TenantId};
use serde_json::{Value, json};

use self::world::{FakeNode, World};
use super::*;

fn policy(selector: Value, from: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "spec": { "podSelector": { "matchLabels": selector }, "ingress": [{ "from": [{ "podSelector": { "matchLabels": from } }] }] },
    })
}

#[test]
fn a_want_is_granted_after_its_records_are_acknowledged() {
    let mut world = World::new();
    let one = world.join("n1");
    world.want(one, 1, "web", None);
    world.settle();
    assert_eq!(world.answer(one, 1), None, "the records are sent and not yet acknowledged");
    world.run();
    assert_eq!(world.answer(one, 1), Some(Ok(())));
    let node = &world.nodes[&one];
    assert!(!node.blocks().is_empty());
    for kind in ["Tenant", "Network", "Project", "Member", "Route"] {
        let of_kind = |key: &&Key| format!("{key:?}").starts_with(kind);
        assert!(node.records.keys().any(|key| of_kind(&key)), "no {kind} in {:?}", node.records);
    }
    world.attach(one, "web", &[]);
    world.run();
    assert_eq!(world.nodes[&one].groups().len(), 1);
    let key = ObjectKey::new("default", document::ENDPOINTS, Some("default"), "web");
    assert_eq!(world.objects[&key].value["spec"]["node"], "n1");
}

#[test]
fn many_attaches_at_once_share_a_block_and_one_that_found_none_gets_another() {
    let mut world = World::new();
    let one = world.join("n1");
    for id in 0..10 {
        world.want(one, id, &format!("c{id}"), None);
    }
    world.run();
    assert!((0..10).all(|id| world.answer(one, id) == Some(Ok(()))));
    assert_eq!(world.nodes[&one].blocks().len(), 1, "a block of 16 has room for ten");
    world.want(one, 20, "c3", None);
    world.run();
    assert_eq!(world.nodes[&one].blocks().len(), 2, "who asks again has found no address");
}

#[test]
fn two_nodes_that_race_for_blocks_get_different_ones_until_none_is_left() {
    let mut world = World::new();
    let sessions = [world.join("n1"), world.join("n2")];
    let mut refused = 0;
    for id in 0..400 {
        let session = sessions[id as usize % 2];
        world.want(session, id, &format!("c{id}"), None);
        world.run();
        match world.answer(session, id) {
            Some(Ok(())) => _ = world.attach(session, &format!("c{id}"), &[]),
            Some(Err(refusal)) => {
                assert_eq!(refusal.kind, RefusalKind::Exhausted, "{refusal:?}");
                assert!(refusal.message.contains("10.201.0.0/24"), "{refusal:?}");
                refused += 1;
            }
            None => panic!("no answer to want {id}"),
        }
    }
    assert_eq!(400 - refused, 253, "every address but the network's own is in use");
    let [one, two] = sessions.map(|session| world.nodes[&session].blocks());
    assert!(one.iter().all(|(_, block)| two.iter().all(|(_, other)| !block.overlaps(*other))));
    let addresses: std::collections::BTreeSet<_> = world
        .nodes
        .values()
        .flat_map(|node| &node.endpoints)
        .flat_map(|report| report.addresses.clone())
        .collect();
    assert_eq!(addresses.len(), 253);
}

#[test]
fn refusals_name_what_is_wrong_and_what_was_probably_meant() {
    let mut world = World::new();
    let (one, two) = (world.join("n1"), world.join("n2"));
    world.want(one, 1, "web", Some("10.201.0.9"));
    world.run();
    assert_eq!(world.answer(one, 1), Some(Ok(())));
    let refusal = |world: &mut World, change: &dyn Fn(&mut Want)| {
        let mut want = Want {
            id: 7,
            tenant: "default".into(),
            namespace: "default".into(),
            network: None,
            addresses: Vec::new(),
            endpoint: "db".into(),
            uid: "u".into(),
        };
        change(&mut want);
        world.nodes.get_mut(&two).unwrap().received.clear();
        world.fleet.message(two, NodeMessage::Want(want));
        world.run();
        let Some(Err(refusal)) = world.answer(two, 7) else { panic!("not refused") };
        refusal
    };
    let unknown = refusal(&mut world, &|want| want.network = Some("defualt".into()));
    assert_eq!(unknown.kind, RefusalKind::NotFound);
    assert!(unknown.message.contains("\"defualt\"") && unknown.remedy.contains("\"default\""), "{unknown:?}");
    let unknown = refusal(&mut world, &|want| want.tenant = "acme".into());
    assert!(unknown.message.contains("tenant \"acme\""), "{unknown:?}");
    let unknown = refusal(&mut world, &|want| want.namespace = "shop".into());
    assert!(unknown.message.contains("namespace \"shop\""), "{unknown:?}");
    let taken = refusal(&mut world, &|want| want.endpoint = "web".into());
    assert!(taken.kind == RefusalKind::Taken && taken.message.contains("node n1"), "{taken:?}");
    let taken = refusal(&mut world, &|want| want.addresses = vec!["10.201.0.9".parse().unwrap()]);
    assert!(taken.kind == RefusalKind::Taken && taken.message.contains("node n1"), "{taken:?}");
    for (address, part) in
        [("10.202.0.1", "10.201.0.0/24"), ("10.201.0.1", "gateway"), ("10.201.0.255", "last")]
    {
        let wrong = refusal(&mut world, &|want| want.addresses = vec![address.parse().unwrap()]);
        assert!(wrong.kind == RefusalKind::Invalid && wrong.message.contains(part), "{wrong:?}");
    }
}

#[test]
fn a_grant_waits_a_second_at_most_for_a_member_that_does_not_answer() {
    let mut world = World::new();
    let (one, two) = (world.join("n1"), world.join("n2"));
    world.want(two, 1, "db", None);
    world.run();
    world.want(one, 1, "web", None);
    let only = |world: &mut World| {
        for _ in 0..20 {
            world.settle();
            while let Some(ack) = world.nodes.get_mut(&one).unwrap().acks.pop_front() {
                world.fleet.message(one, NodeMessage::Ack(ack));
            }
        }
    };
    only(&mut world);
    assert_eq!(world.answer(one, 1), None, "the member has not acknowledged the route");
    world.pass(1_000);
    only(&mut world);
    assert_eq!(world.answer(one, 1), Some(Ok(())));
}

#[test]
fn a_node_that_comes_back_is_sent_nothing_that_it_holds_also_by_a_server_that_started_again() {
    let mut world = World::new();
    let (one, two) = (world.join("n1"), world.join("n2"));
    for (session, name) in [(one, "web"), (two, "db")] {
        world.want(session, 1, name, None);
        world.run();
        world.attach(session, name, &[("app", name)]);
        world.run();
    }
    world.write(
        document::POLICIES,
        "default",
        Some("default"),
        "db",
        policy(json!({ "app": "db" }), json!({ "app": "web" })),
    );
    world.run();
    let mut node = world.leave(one);
    let before = node.records.clone();
    let again = world.connect(std::mem::take(&mut node));
    world.run();
    assert_eq!(world.nodes[&again].deltas(), 0, "{:?}", world.nodes[&again].received);
    assert_eq!(world.fleet.stage.start(), 1, "coming back is no new start");
    let (node_one, node_two) = (world.leave(again), world.leave(two));

    let mut world = World::on(world.objects);
    let sessions = [world.connect(node_one), world.connect(node_two)];
    world.run();
    for session in sessions {
        assert_eq!(world.nodes[&session].deltas(), 0, "{:?}", world.nodes[&session].received);
    }
    assert_eq!(world.nodes[&sessions[0]].records, before);
    world.write(
        document::POLICIES,
        "default",
        Some("default"),
        "db",
        policy(json!({ "app": "db" }), json!({})),
    );
    world.run();
    assert!(world.nodes[&sessions[0]].deltas() > 0, "a change of the new start is newer than what was held");
}

#[test]
fn the_newest_session_of_a_name_counts_and_another_protocol_is_refused_with_the_remedy() {
    let mut world = World::new();
    let older = world.join("n1");
    let newer = world.join("n1");
    assert!(world.nodes[&older].ended && !world.nodes[&newer].ended);
    world.want(newer, 1, "web", None);
    world.run();
    assert_eq!(world.answer(newer, 1), Some(Ok(())));
    let hello =
        Hello { protocol: PROTOCOL + 1, ..FakeNode { name: "n9".into(), ..FakeNode::default() }.hello() };
    world.nodes.insert(99, FakeNode::default());
    world.fleet.message(99, NodeMessage::Hello(hello));
    world.run();
    let ServerMessage::Rejected(why) = &world.nodes[&99].received[0] else { panic!() };
    assert!(why.contains("version 2") && why.contains("bring the server"), "{why}");
    assert!(world.nodes[&99].ended);
}

#[test]
fn a_host_does_not_take_the_place_of_another_that_is_connected_under_its_name() {
    let mut world = World::new();
    let first = world.join("n1");
    let moved = Hello {
        underlay: vec!["192.0.2.251".parse().unwrap()],
        ..FakeNode { name: "n1".into(), ..FakeNode::default() }.hello()
    };
    let greet = |world: &mut World, session| {
        world.nodes.insert(session, FakeNode::default());
        world.fleet.message(session, NodeMessage::Hello(moved.clone()));
        world.run();
        world.nodes[&session].received[0].clone()
    };
    let ServerMessage::Rejected(why) = greet(&mut world, 98) else { panic!() };
    assert!(why.contains("n1 is connected from 192.0.2.") && why.contains("a name of its own"), "{why}");
    assert!(!world.nodes[&first].ended, "the first goes on");
    world.leave(first);
    let ServerMessage::Welcome(_) = greet(&mut world, 99) else { panic!("a host may get another address") };
}

#[test]
fn a_node_whose_underlay_is_anothers_is_refused_with_both_names() {
    let mut world = World::new();
    world.join("n1");
    let mut hello = FakeNode { name: "n2".into(), ..FakeNode::default() }.hello();
    hello.underlay = FakeNode { name: "n1".into(), ..FakeNode::default() }.hello().underlay;
    world.nodes.insert(99, FakeNode::default());
    world.fleet.message(99, NodeMessage::Hello(hello));
    world.run();
    let ServerMessage::Rejected(why) = &world.nodes[&99].received[0] else { panic!() };
    assert!(why.contains("n1") && why.contains("n2"), "{why}");
}

#[test]
fn a_deleted_node_gives_back_its_blocks_and_its_endpoints_go() {
    let mut world = World::new();
    let (one, two) = (world.join("n1"), world.join("n2"));
    for (session, name) in [(one, "web"), (two, "db")] {
        world.want(session, 1, name, None);
        world.run();
        world.attach(session, name, &[]);
        world.run();
    }
    let gone = world.leave(one);
    world.run();
    let block = gone.blocks()[0];
    assert!(
        world.nodes[&two].records.contains_key(&Key::Route(block.0, block.1)),
        "its endpoints stay while it is away"
    );
    world.delete(document::NODES, "system", None, "n1");
    world.run();
    let key = ObjectKey::new("default", document::ENDPOINTS, Some("default"), "web");
    assert!(!world.objects.contains_key(&key));
    assert!(!world.nodes[&two].records.contains_key(&Key::Route(block.0, block.1)));
    let again = world.join("n1");
    assert_ne!(world.nodes[&again].number, gone.number, "a number is one node's for good");
}

#[test]
fn a_block_is_given_back_when_it_is_empty_and_stays_while_an_endpoint_is_in_it() {
    let mut world = World::new();
    let one = world.join("n1");
    world.want(one, 1, "web", None);
    world.run();
    let report = world.attach(one, "web", &[]);
    world.run();
    let (vni, block) = world.nodes[&one].blocks()[0];
    world.fleet.message(one, NodeMessage::Release(vni, block));
    world.run();
    assert_eq!(world.nodes[&one].blocks(), vec![(vni, block)]);
    world.fleet.message(one, NodeMessage::Detached(report.tenant, report.uid));
    world.fleet.message(one, NodeMessage::Release(vni, block));
    world.run();
    assert!(world.nodes[&one].blocks().is_empty());
    assert!(world.fleet.blocks[&vni].leases().next().is_none());
}

#[test]
fn statuses_say_realised_when_everybody_concerned_has_acknowledged() {
    let mut world = World::new();
    let (one, two) = (world.join("n1"), world.join("n2"));
    for (session, name) in [(one, "web"), (two, "db")] {
        world.want(session, 1, name, None);
        world.run();
        world.attach(session, name, &[("app", name)]);
        world.run();
    }
    let away = world.leave(two);
    world.write(
        document::POLICIES,
        "default",
        Some("default"),
        "db",
        policy(json!({ "app": "db" }), json!({ "app": "web" })),
    );
    world.run();
    let status = |world: &World| {
        let written =
            world.fleet.statuses().into_iter().find(|write| write.key.resource() == document::POLICIES);
        written.map(|write| write.conditions[0].clone()).unwrap()
    };
    let waiting = status(&world);
    assert!(!waiting.holds && waiting.message.contains("n2"), "{waiting:?}");
    world.connect(away);
    world.run();
    assert!(status(&world).holds, "{:?}", status(&world));
    let nodes = world.fleet.statuses();
    let node = nodes.iter().find(|write| write.key.name() == "n1").unwrap();
    assert!(node.conditions[0].holds && node.fields["behindBecause"] == "", "{node:?}");
    assert!(node.fields["generationHeld"].as_u64() > Some(1 << 32));
}

#[test]
fn a_deleted_tenant_leaves_nothing_behind() {
    let mut world = World::new();
    let tenant = json!({ "apiVersion": "sealane.dev/v1alpha1", "kind": "Tenant" });
    world.write(document::TENANTS, "system", None, "acme", tenant);
    world.furnish("acme");
    world.run();
    world.write(document::POLICIES, "acme", Some("default"), "p", policy(json!({}), json!({})));
    world.run();
    let own = world.objects.keys().filter(|key| key.tenant() == "acme").count();
    assert!(own >= 4, "namespace, network, policy, the network's number: {own}");
    world.delete(document::TENANTS, "system", None, "acme");
    world.run();
    let left: Vec<_> = world.objects.keys().filter(|key| key.tenant() == "acme").collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.fleet.directory.name(TenantId(2)), None);
}

#[test]
fn an_endpoint_that_is_attached_while_its_network_or_tenant_goes_leaves_nothing() {
    for whole in [false, true] {
        let mut world = World::new();
        let one = world.join("n1");
        world.want(one, 1, "web", None);
        world.run();
        assert_eq!(world.answer(one, 1), Some(Ok(())));
        let report = world.nodes.get_mut(&one).unwrap().attach(one, "web", &[]);
        if whole {
            world.delete(document::TENANTS, "system", None, "default");
        } else {
            world.delete(document::NETWORKS, "default", None, "default");
        }
        world.run();
        world.fleet.message(one, NodeMessage::Attached(report.clone()));
        world.run();
        let endpoint = |key: &&ObjectKey| key.resource() == document::ENDPOINTS;
        assert_eq!(world.objects.keys().find(endpoint), None, "the whole tenant: {whole}");
        assert_eq!(world.fleet.endpoints.len(), 0);
        let of_network = |key: &&Key| matches!(key, Key::Network(_) | Key::Endpoint(..) | Key::Route(..));
        assert_eq!(world.nodes[&one].records.keys().find(of_network), None);
        world.fleet.message(one, NodeMessage::Detached(report.tenant, report.uid));
        world.run();
        assert!(world.fleet.blocks.is_empty(), "no block stays leased");
        let again = World::on(world.objects);
        assert_eq!(again.fleet.endpoints.len(), 0);
    }
}

#[test]
fn a_node_that_says_nothing_is_asked_and_then_given_up() {
    let mut world = World::new();
    let one = world.join("n1");
    world.fleet.look();
    world.run();
    assert!(world.nodes[&one].received.iter().any(|message| matches!(message, ServerMessage::Ask(..))));
    world.pass(31_000);
    world.fleet.look();
    world.run();
    assert!(world.nodes[&one].ended);
    world.pass(20_000);
    let status = world.fleet.statuses();
    assert!(!status[0].conditions[0].holds, "{status:?}");
}

#[test]
fn a_node_on_which_not_all_is_as_wished_says_so_once_it_was_asked() {
    let mut world = World::new();
    let one = world.join("n1");
    let fit = |world: &World| {
        let status = &world.fleet.statuses()[0];
        status.conditions.iter().find(|condition| condition.kind == "Fit").cloned()
    };
    assert_eq!(fit(&world), None, "nobody knows yet");
    for (count, holds, message) in [
        (1, false, "network red0 is too wide"),
        (7, false, "network red4 is too wide and 2 more"),
        (0, true, "as it was wished"),
    ] {
        world.pass(11_000);
        world.fleet.look();
        world.run();
        let asked = world.nodes[&one].received.iter().rev().find_map(|message| match message {
            ServerMessage::Ask(number, Question::State) => Some(*number),
            _ => None,
        });
        let problems = (0..count).map(|index| format!("network red{index} is too wide")).collect();
        let state = State { problems, ..State::default() };
        world.fleet.message(one, NodeMessage::Answer(asked.unwrap(), Answer::State(state)));
        let fit = fit(&world).unwrap();
        assert!(fit.holds == holds && fit.message.ends_with(message), "{fit:?}");
    }
}

fn holding(name: &str, generation: u64) -> FakeNode {
    FakeNode { name: name.into(), subscriber: Subscriber::new(Generation(generation)), ..FakeNode::default() }
}

#[test]
fn a_node_that_has_met_a_later_start_is_sent_what_it_will_take() {
    for (start, count) in [(1, u64::from(u32::MAX)), (40, 7)] {
        let mut world = World::new();
        let session = world.connect(holding("n1", start << 32 | count));
        world.run();
        assert_eq!(u64::from(world.fleet.stage.start()), start + 1, "a start of its number is not its start");
        world.want(session, 1, "web", None);
        world.run();
        assert_eq!(world.answer(session, 1), Some(Ok(())));
    }
}

#[test]
fn a_node_that_holds_what_this_server_has_made_counts_no_new_start_however_often_either_starts() {
    let mut world = World::new();
    let mut session = world.join("n1");
    for round in 1..4u64 {
        world.want(session, round, &format!("c{round}"), None);
        world.run();
        world.attach(session, &format!("c{round}"), &[]);
        world.run();
        let node = world.leave(session);
        assert!(node.subscriber.generation() > Generation(round << 32), "something was sent in each start");
        session = world.connect(node);
        world.run();
        assert_eq!(u64::from(world.fleet.stage.start()), round);
        let node = world.leave(session);
        world = World::on(world.objects);
        session = world.connect(node);
        world.run();
        assert_eq!(u64::from(world.fleet.stage.start()), round + 1);
    }
}

#[test]
fn a_generation_that_no_server_can_have_made_is_refused_and_uses_up_no_start() {
    let mut world = World::new();
    let session = world.connect(holding("n1", u64::MAX));
    world.run();
    let ServerMessage::Rejected(why) = &world.nodes[&session].received[0] else { panic!() };
    assert!(why.contains("n1") && why.contains("--purge"), "{why}");
    assert_eq!(world.fleet.stage.start(), 1);
}

#[test]
fn a_container_of_a_known_group_is_one_record_for_one_node_however_large_the_fabric_is() {
    let mut world = World::new();
    world.write(
        document::POLICIES,
        "default",
        Some("default"),
        "db",
        policy(json!({ "app": "db" }), json!({ "app": "web" })),
    );
    world.run();
    let mut sessions = Vec::new();
    for node in 0..12 {
        let session = world.join(&format!("n{node}"));
        sessions.push(session);
        for at in 0..8 {
            world.want(session, at, &format!("c{node}x{at}"), None);
            world.run();
            world.attach(
                session,
                &format!("c{node}x{at}"),
                &[("app", if at % 2 == 0 { "web" } else { "db" })],
            );
            world.run();
        }
    }
    world.want(sessions[3], 99, "one-more", None);
    world.run();
    for node in world.nodes.values_mut() {
        node.received.clear();
    }
    let before = world.fleet.stage.compiler().work();
    world.attach(sessions[3], "one-more", &[("app", "web")]);
    world.run();
    for (session, node) in &world.nodes {
        let records: usize = node
            .received
            .iter()
            .map(|message| match message {
                ServerMessage::Delta(delta) => delta.changed.len() + delta.removed.len(),
                _ => 0,
            })
            .sum();
        assert_eq!(records, usize::from(*session == sessions[3]), "session {session}: {:?}", node.received);
    }
    let after = world.fleet.stage.compiler().work();
    assert_eq!(after.records_written - before.records_written, 1);
    assert_eq!(after.rows_built, before.rows_built);
}

#[test]
fn what_a_node_cannot_realise_is_told_and_tried_again_until_it_can() {
    let mut world = World::new();
    let one = world.join("n1");
    world.want(one, 1, "db", None);
    world.run();
    world.attach(one, "db", &[("app", "db")]);
    world.run();
    let spec = policy(json!({ "app": "db" }), json!({ "app": "web" }));
    world.write(document::POLICIES, "default", Some("default"), "db", spec);
    let fault = |node: &mut FakeNode| {
        for ack in &mut node.acks {
            let rows = node.records.keys().filter(|key| matches!(key, Key::Row(..)));
            let reason = || "the map of rows is full".to_owned();
            ack.faults =
                rows.map(|key| record::delta::Fault { key: key.clone(), reason: reason() }).collect();
        }
    };
    for _ in 0..20 {
        world.settle();
        let node = world.nodes.get_mut(&one).unwrap();
        fault(node);
        while let Some(ack) = world.nodes.get_mut(&one).unwrap().acks.pop_front() {
            world.fleet.message(one, NodeMessage::Ack(ack));
        }
    }
    let told = |world: &World| {
        let statuses = world.fleet.statuses();
        let policy =
            statuses.iter().find(|write| write.key.resource() == document::POLICIES).unwrap().conditions[0]
                .clone();
        let node =
            statuses.iter().find(|write| write.key.name() == "n1").unwrap().fields["behindBecause"].clone();
        (policy, node)
    };
    let (policy, node) = told(&world);
    assert!(
        !policy.holds && policy.reason == "NodeFault" && policy.message.contains("rows is full"),
        "{policy:?}"
    );
    assert!(node.as_str().unwrap().contains("rows is full"), "{node}");
    world.pass(6_000);
    world.run();
    assert!(told(&world).0.holds, "{:?}", told(&world));
    assert_eq!(told(&world).1, "");
}

/// What each group's number stands for on a node.
fn meanings(node: &FakeNode) -> BTreeMap<record::Group, String> {
    let meaning = |record: &Record| match record {
        Record::Group(group) => Some((group.group, format!("{:?} {:?}", group.members, group.selectors))),
        _ => None,
    };
    node.records.values().filter_map(meaning).collect()
}

#[test]
fn a_policy_that_a_crash_cut_off_at_any_step_is_in_force_after_it_and_no_number_changed_its_meaning() {
    for steps in 0..24 {
        let mut world = World::new();
        let sessions = ["n1", "n2"].map(|name| world.join(name));
        for (session, name) in sessions.into_iter().zip(["web", "db"]) {
            world.want(session, 1, name, None);
            world.run();
            world.attach(session, name, &[("app", name)]);
            world.run();
        }
        let spec = policy(json!({ "app": "db" }), json!({ "app": "web" }));
        world.write(document::POLICIES, "default", Some("default"), "db", spec);
        // One message at a time, now to one node, now to the other, until the server dies.
        for step in 0..steps {
            world.settle();
            let session = sessions[step % 2];
            if let Some(ack) = world.nodes.get_mut(&session).unwrap().acks.pop_front() {
                world.fleet.message(session, NodeMessage::Ack(ack));
            }
        }
        let nodes = sessions.map(|session| world.leave(session));
        let before: Vec<_> = nodes.iter().map(meanings).collect();
        let mut world = World::on(world.objects);
        let sessions = nodes.map(|node| world.connect(node));
        world.run();
        for (session, before) in sessions.iter().zip(before) {
            let node = &world.nodes[session];
            let wanted = world.fleet.stage.compiler().records_of(node.number.unwrap());
            let wanted: BTreeMap<Key, Record> =
                wanted.iter().map(|record| (record.key(), (**record).clone())).collect();
            assert_eq!(node.records, wanted, "died after {steps} steps");
            for (group, meaning) in meanings(node) {
                let known = before.get(&group).unwrap_or(&meaning);
                assert_eq!(*known, meaning, "group {group}, died after {steps} steps");
            }
        }
        assert!(world.nodes[&sessions[1]].records.keys().any(|key| matches!(key, Key::Row(..))));
    }
}

#[test]
fn freed_numbers_rest_while_the_server_lives_whatever_the_clock_says_and_however_often_it_starts() {
    let mut world = World::new();
    world.write(document::POLICIES, "default", Some("default"), "p", policy(json!({}), json!({ "a": "b" })));
    world.run();
    world.delete(document::POLICIES, "default", Some("default"), "p");
    world.run();
    let kept =
        |world: &World| world.objects.keys().filter(|key| key.resource() == document::COMPILED).count();
    let resting = kept(&world);
    assert!(resting > 3, "the numbers of selectors, rules and the rule set rest: {resting}");
    for hours in [0, 240] {
        world.set_clock(Duration::from_secs(hours * 3_600));
        world.run();
        assert_eq!(kept(&world), resting, "a clock that jumps to {hours} h after 1970 frees nothing");
    }
    world.pass(50_000);
    world.run();
    assert_eq!(kept(&world), resting, "they rest for a minute");
    // A start counts what was noted before it, and not how long the server was down.
    for _ in 0..2 {
        world = World::on(world.objects);
        world.pass(31_000);
        world.run();
    }
    assert!(kept(&world) < resting, "{} of {resting} go on resting", kept(&world));
}

/// What this process has in memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Tells what the fleet adds to the store's own memory: `cargo test -p fleet --lib twenty_thousand -- --ignored --nocapture`.
#[test]
#[ignore = "measures: run it alone"]
fn twenty_thousand_endpoints_take_less_than_two_hundred_megabytes_beside_the_store() {
    let mut world = World::new();
    let network = document::default_network(&["10.64.0.0/12".parse().unwrap()], "2026-11-20T00:00:00Z");
    world.write(
        document::NETWORKS,
        "default",
        None,
        "big",
        json!({ "apiVersion": network["apiVersion"],
        "kind": network["kind"], "spec": { "subnets": [{ "cidr": "10.64.0.0/12" }] } }),
    );
    for number in 0..50 {
        let subject = json!({ "app": format!("app{number}") });
        let from = json!({ "app": format!("app{}", (number + 1) % 50) });
        world.write(
            document::POLICIES,
            "default",
            Some("default"),
            &format!("p{number}"),
            policy(subject, from),
        );
    }
    world.run();
    let vni = world.fleet.numbers.find_network("default", "big").unwrap();
    let nodes: Vec<SessionId> = ('a'..='y').map(|letter| world.join(&format!("n{letter}"))).collect();
    for number in 0..20_000u32 {
        let labels = [("app", format!("app{}", number % 50)), ("pod", format!("web-5d8f7c{number}"))];
        let report = record::delta::Report {
            uid: format!("containerd/5f1b3a2e-{number:08x}"),
            tenant: TenantId(1),
            vni,
            namespace: "default".into(),
            name: format!("web-5d8f7c{number}"),
            labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            ports: Vec::new(),
            addresses: vec![std::net::Ipv4Addr::from(0x0a40_0010 + number).into()],
            published: Vec::new(),
            host_addresses: Vec::new(),
        };
        world.fleet.message(nodes[number as usize % nodes.len()], NodeMessage::Attached(report));
    }
    world.run();
    // The first one stays, so that the second finds no memory that was given back.
    let objects = world.objects.clone();
    let before = resident();
    let again = World::on(objects);
    let fleet = resident().saturating_sub(before) / 1_024;
    eprintln!("{} endpoints: {fleet} MiB", again.fleet.endpoints.len());
    assert_eq!(again.fleet.endpoints.len(), 20_000);
    assert!(fleet < 200, "{fleet} MiB");
}
