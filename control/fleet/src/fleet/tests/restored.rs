//! A server whose store was made from a backup, and nodes that know more than it does.

use record::delta::Report;

use super::*;
use crate::restoration::LISTEN;

type Objects = BTreeMap<ObjectKey, Object>;

fn mark() -> ObjectKey {
    ObjectKey::new("system", "restorations.fleet.sealane.dev", None, "last")
}

/// A server that starts on a store that was just made from a backup.
fn restored(mut objects: Objects) -> World {
    let key = std::sync::Arc::new(mark());
    let object = Object { key, value: json!({}).into(), revision: 1_000, created: 1_000 };
    objects.insert(mark(), object);
    World::on(objects)
}

fn attached(world: &mut World, session: SessionId, name: &str) -> Report {
    world.want(session, 1, name, None);
    world.run();
    assert_eq!(world.answer(session, 1), Some(Ok(())), "{name}");
    let report = world.attach(session, name, &[("app", name)]);
    world.run();
    report
}

/// What a node is told while the server listens: to come again, and nothing that would change what it holds.
fn put_off(world: &mut World, node: FakeNode) -> FakeNode {
    let number = node.number;
    let session = world.connect(node);
    world.run();
    let told = &world.nodes[&session];
    assert!(told.ended && told.number == number && told.deltas() == 0, "{:?}", told.received);
    let ServerMessage::Rejected(why) = &told.received[0] else { panic!("{:?}", told.received) };
    assert!(why.contains("restored"), "{why}");
    let mut node = world.leave(session);
    node.ended = false;
    node
}

fn heard(world: &mut World) {
    world.pass(LISTEN);
    world.run();
}

fn object<'w>(world: &'w World, name: &str) -> Option<&'w Value> {
    let key = ObjectKey::new("default", document::ENDPOINTS, Some("default"), name);
    world.objects.get(&key).map(|object| &*object.value)
}

#[test]
fn an_address_that_was_given_since_the_backup_is_its_nodes_and_nobody_elses() {
    let mut world = World::new();
    let one = world.join("n1");
    attached(&mut world, one, "web");
    let backup = world.objects.clone();
    let two = world.join("n2");
    let late = attached(&mut world, two, "late");
    let (one, two) = (world.leave(one), world.leave(two));
    let (blocks, generation) = (two.blocks(), two.subscriber.generation());

    let mut world = restored(backup);
    world.run();
    let (one, two) = (put_off(&mut world, one), put_off(&mut world, two));
    let fresh = put_off(&mut world, FakeNode { name: "n3".into(), ..FakeNode::default() });
    heard(&mut world);
    // Who asks first is a node that had nothing, and the one that the backup does not know comes last.
    let three = world.connect(fresh);
    world.run();
    let first = attached(&mut world, three, "first");
    assert_ne!(first.addresses, late.addresses);
    let one = world.connect(one);
    let two = world.connect(two);
    world.run();
    assert_eq!(object(&world, "late").unwrap()["spec"]["addresses"], json!(late.addresses));
    assert_eq!(world.nodes[&two].blocks(), blocks, "it has the blocks that it had");
    assert!(world.nodes[&two].subscriber.generation() > generation, "it was sent the state of this server");
    let route = Key::Route(blocks[0].0, blocks[0].1);
    for session in [one, two, three] {
        assert!(world.nodes[&session].records.contains_key(&route), "n2's block is known everywhere");
    }
    let again = attached(&mut world, two, "again");
    assert!(again.addresses != late.addresses && again.addresses != first.addresses);
}

#[test]
fn a_block_that_changed_hands_since_the_backup_stays_with_whom_it_is_used_by() {
    let mut world = World::new();
    let (one, two) = (world.join("n1"), world.join("n2"));
    let gone = attached(&mut world, one, "gone");
    let backup = world.objects.clone();
    let (vni, block) = world.nodes[&one].blocks()[0];
    world.nodes.get_mut(&one).unwrap().endpoints.clear();
    world.fleet.message(one, NodeMessage::Detached(gone.tenant, gone.uid.clone()));
    world.fleet.message(one, NodeMessage::Release(vni, block));
    world.run();
    let late = attached(&mut world, two, "late");
    assert_eq!(late.addresses, gone.addresses, "the free block went to the other node");
    let (one, two) = (world.leave(one), world.leave(two));
    assert!(one.blocks().is_empty());

    let mut world = restored(backup);
    world.run();
    let (two, one) = (put_off(&mut world, two), put_off(&mut world, one));
    heard(&mut world);
    let one = world.connect(one);
    world.run();
    let first = attached(&mut world, one, "first");
    assert_ne!(first.addresses, late.addresses);
    let two = world.connect(two);
    world.run();
    assert_eq!(object(&world, "late").unwrap()["spec"]["node"], "n2");
    assert_eq!(object(&world, "gone"), None);
    let holds =
        |session| world.nodes[&session].blocks().iter().any(|(_, block)| block.contains(late.addresses[0]));
    assert!(holds(two) && !holds(one));
}

#[test]
fn no_number_means_something_else_after_a_restoration() {
    let mut world = World::new();
    let one = world.join("n1");
    attached(&mut world, one, "web");
    let backup = world.objects.clone();
    let tenant = |world: &mut World, name: &str| {
        let value = json!({ "apiVersion": "sealane.dev/v1alpha1", "kind": "Tenant" });
        world.write("tenants.sealane.dev", "system", None, name, value);
        world.furnish(name);
        world.run();
        let vni = world.fleet.numbers.find_network(name, "default").unwrap();
        (world.fleet.numbers.tenant(name).unwrap(), vni, world.fleet.numbers.node(name).unwrap())
    };
    let divided = |world: &mut World, by: &str| {
        let policy = policy(json!({ "app": "web" }), json!({ "app": by }));
        world.write(document::POLICIES, "default", Some("default"), by, policy);
        world.run();
    };
    let before = tenant(&mut world, "lost");
    divided(&mut world, "lost");
    let one = world.leave(one);
    let lost = meanings(&one);

    for starts in 1..3 {
        let mut world = restored(backup.clone());
        world.run();
        heard(&mut world);
        for _ in 1..starts {
            world = World::on(world.objects);
            world.run();
        }
        let after = tenant(&mut world, "made");
        assert!(after.0 != before.0 && after.1 != before.1 && after.2 != before.2, "{before:?} {after:?}");
        let session = world.connect(FakeNode {
            name: "n1".into(),
            endpoints: one.endpoints.clone(),
            ..FakeNode::default()
        });
        world.run();
        divided(&mut world, "made");
        let made = meanings(&world.nodes[&session]);
        assert!(made.len() > 1 && lost.len() > 1, "{made:?} {lost:?}");
        for (group, meaning) in &made {
            assert!(lost.get(group).is_none_or(|other| other == meaning), "{group:?}: {lost:?} {made:?}");
        }
    }
}

#[test]
fn a_restored_server_listens_once_and_forgets_the_restoration_when_nodes_have() {
    let mut world = restored(World::new().objects);
    world.run();
    world = World::on(world.objects);
    world.run();
    let node = put_off(&mut world, FakeNode { name: "n1".into(), ..FakeNode::default() });
    heard(&mut world);
    assert!(world.objects[&mark()].value["until"].as_u64().is_some());
    world = World::on(world.objects);
    let session = world.connect(node);
    world.run();
    assert!(world.nodes[&session].number.is_some(), "the next start listens no more");
    world.pass(97 * 60 * 1_000);
    world.run();
    assert!(!world.objects.contains_key(&mark()));
}
