use std::net::IpAddr;

use record::door::{Collect, Publish, RefusalCode};
use record::{Group, Protocol};

use super::*;
use crate::testing::{labels, request, selector};

fn publish(host_port: u16) -> Publish {
    Publish { address: None, host_port, port: 80, protocol: Protocol::Tcp }
}

fn code(outcome: Result<Attached, Refusal>) -> RefusalCode {
    outcome.unwrap_err().code
}

#[tokio::test]
async fn a_container_gets_an_address_a_group_and_its_link_without_any_server() {
    let mut world = World::new();
    world.selector(1, selector("app", "web")).group(300, [1], &[]);
    let bench = Bench::of(&world).await;
    let web = Attach { labels: labels(&[("app", "web")]), publish: vec![publish(8080)], ..request("web") };
    let attached = bench.attach(web).await.unwrap();
    assert_eq!(
        attached.addresses[0].address,
        IpAddr::from([10, 0, 0, 2]),
        "the first that is no endpoint's is passed over"
    );
    assert_eq!(attached.addresses[0].gateway, IpAddr::from([10, 0, 0, 1]));
    assert_eq!(attached.addresses[0].subnet.to_string(), "10.0.0.0/24");
    assert_eq!(attached.mac.to_string(), "02:00:0a:00:00:02");
    assert_eq!((attached.mtu, attached.judged), (1450, true));
    assert_eq!((attached.tenant.as_str(), attached.network.as_str()), ("default", "default"));
    let groups = bench.kernel.state.lock().endpoints.values().next().unwrap().clone();
    assert_eq!(groups, Groups::from([(attached.addresses[0].address, Group(300))]));
    bench.assert_agreement();
    assert_eq!(bench.node.list(), vec![attached]);
}

#[tokio::test]
async fn the_same_request_again_answers_the_same_and_changes_nothing() {
    let bench = Bench::new().await;
    let first = bench.attach(request("a")).await.unwrap();
    let before = bench.kernel.state.lock().clone();
    let again = bench.attach(request("a")).await.unwrap();
    assert_eq!(first, again);
    let after = bench.kernel.state.lock().clone();
    assert_eq!((before.links, before.endpoints), (after.links, after.endpoints));
    let other = Attach { labels: labels(&[("x", "y")]), ..request("a") };
    let refusal = bench.attach(other).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Taken);
    assert!(refusal.message.contains("attached already, as endpoint default/a"), "{refusal:?}");
}

#[tokio::test]
async fn a_newer_pod_of_the_same_name_takes_the_place_of_one_whose_end_was_not_told() {
    let bench = Bench::new().await;
    let pod = |container: &str, uid: &str| Attach {
        name: "web-0".into(),
        pod: Some(uid.into()),
        publish: vec![publish(8080)],
        ..request(container)
    };
    let first = bench.attach(pod("a", "one")).await.unwrap();
    assert_eq!(bench.attach(pod("a", "one")).await.unwrap(), first, "the same again");
    let same = bench.attach(pod("b", "one")).await.unwrap_err();
    assert!(same.code == RefusalCode::Taken && same.message.contains("default/web-0"), "{same:?}");
    let nameless = bench.attach(Attach { pod: None, ..pod("b", "") }).await.unwrap_err();
    assert_eq!(nameless.code, RefusalCode::Taken, "who says no pod takes nobody's place");
    let elsewhere = Attach { name: "web-1".into(), publish: Vec::new(), ..pod("c", "three") };
    let other = bench.attach(elsewhere).await.unwrap();

    let second = bench.attach(pod("b", "two")).await.unwrap();
    assert_ne!(first.uid, second.uid);
    assert_eq!(second.container, "b");
    let left: Vec<String> = bench.node.list().into_iter().map(|one| one.uid).collect();
    assert!(left.len() == 2 && left.contains(&second.uid) && left.contains(&other.uid), "{left:?}");
    bench.assert_agreement();
    bench.detach("a").await.unwrap();
    assert_eq!(bench.node.list().len(), 2, "the late word of the first's end means nobody");
}

#[tokio::test]
async fn a_container_that_died_unseen_makes_room_for_its_successor() {
    let bench = Bench::new().await;
    let first = bench.attach(request("a")).await.unwrap();
    bench.kernel.end_namespace("/run/netns/a");
    let second = bench.attach(request("a")).await.unwrap();
    assert_ne!(first.uid, second.uid);
    bench.assert_agreement();
}

#[tokio::test]
async fn a_door_is_refused_what_its_settings_do_not_name_and_told_which_setting() {
    let bench = Bench::new().await;
    let refusal = bench.attach(Attach { tenant: Some("red".into()), ..request("a") }).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Forbidden);
    assert!(refusal.remedy.contains("doors.cni.tenants"), "{refusal:?}");
    let folder = TempDir::new().unwrap();
    let (journal, contents) = Journal::open(&folder.path().join("agent.redb")).unwrap();
    let mut narrow = config(&folder);
    let rules = crate::DoorRules { tenants: vec!["default".into()], networks: vec!["default/other".into()] };
    narrow.doors.insert(Door::Cni, rules);
    let node = crate::book(narrow, Arc::new(Memory::default()), journal, contents);
    node.take_over(Delta {
        generation: Generation(1),
        changed: World::new().list(),
        removed: vec![],
        more: false,
    })
    .await;
    for network in [None, Some("default".to_owned())] {
        let refusal = Arc::clone(&node).attach(Attach { network, ..request("a") }).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Forbidden);
        assert!(refusal.remedy.contains("doors.cni.networks"), "{refusal:?}");
    }
    let run = Arc::clone(&node).attach(Attach { door: Door::Run, ..request("a") }).await;
    assert_eq!(
        code(run),
        RefusalCode::Unavailable,
        "another door may; but this node has no number, so no block is its own"
    );
}

#[tokio::test]
async fn a_fixed_address_is_given_once_and_never_the_networks_own() {
    let bench = Bench::new().await;
    let fixed =
        |name: &str, address: &str| Attach { addresses: vec![address.parse().unwrap()], ..request(name) };
    let attached = bench.attach(fixed("a", "10.0.0.20")).await.unwrap();
    assert_eq!(attached.addresses[0].address.to_string(), "10.0.0.20");
    let refusal = bench.attach(fixed("b", "10.0.0.20")).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Taken);
    assert!(refusal.message.contains("endpoint default/a"), "{refusal:?}");
    for wrong in ["10.0.0.0", "10.0.0.1", "10.0.0.255", "10.9.0.1", "fd00::1"] {
        assert_eq!(code(bench.attach(fixed("b", wrong)).await), RefusalCode::Invalid, "{wrong}");
    }
    let elsewhere = bench.attach(fixed("b", "10.0.0.200")).await;
    assert_eq!(code(elsewhere), RefusalCode::Unavailable, "not in this node's block, and no server to ask");
    let next = bench.attach(request("c")).await.unwrap();
    assert_eq!(next.addresses[0].address.to_string(), "10.0.0.21");
    bench.assert_agreement();
}

#[tokio::test]
async fn names_and_published_ports_belong_to_one_container() {
    let bench = Bench::new().await;
    bench.kernel.state.lock().host_ports.insert(22);
    bench.attach(Attach { publish: vec![publish(80)], ..request("a") }).await.unwrap();
    let refusal = bench.attach(Attach { publish: vec![publish(80)], ..request("b") }).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Taken);
    assert!(refusal.message.contains("80/TCP") && refusal.message.contains("default/a"), "{refusal:?}");
    let refusal = bench.attach(Attach { publish: vec![publish(22)], ..request("b") }).await.unwrap_err();
    assert!(
        refusal.code == RefusalCode::Taken && refusal.message.contains("a process of this host"),
        "{refusal:?}"
    );
    let refusal = bench.attach(Attach { name: "a".into(), ..request("b") }).await.unwrap_err();
    assert!(refusal.code == RefusalCode::Taken && refusal.message.contains("default/a"), "{refusal:?}");
    let other = Publish { protocol: Protocol::Udp, ..publish(80) };
    bench.attach(Attach { publish: vec![other], ..request("b") }).await.unwrap();
    bench.detach("a").await.unwrap();
    bench.attach(Attach { publish: vec![publish(80)], ..request("c") }).await.unwrap();
    bench.assert_agreement();
}

#[tokio::test]
async fn a_port_is_published_only_at_addresses_of_a_family_that_the_endpoint_has() {
    let bench = Bench::new().await;
    let at = |address: &str| Publish { address: Some(address.parse().unwrap()), ..publish(80) };
    let refusal = bench.attach(Attach { publish: vec![at("fd00::1")], ..request("a") }).await.unwrap_err();
    assert!(
        refusal.code == RefusalCode::Invalid && refusal.message.contains("[fd00::1]:80/TCP"),
        "{refusal:?}"
    );
    bench.attach(Attach { publish: vec![at("192.0.2.1")], ..request("a") }).await.unwrap();
    bench.attach(Attach { publish: vec![at("192.0.2.2")], ..request("b") }).await.unwrap();
    let refusal = bench.attach(Attach { publish: vec![publish(80)], ..request("c") }).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Taken, "every address includes those two");
    assert!(bench.node.list().len() == 2);
}

#[tokio::test]
async fn what_the_kernel_refuses_leaves_nothing_behind() {
    let bench = Bench::new().await;
    bench.kernel.state.lock().namespaces = Some(["/run/netns/a".to_owned()].into());
    assert_eq!(code(bench.attach(request("gone")).await), RefusalCode::Invalid);
    bench.attach(request("a")).await.unwrap();
    let squatter = Attach { netns: "/run/netns/a".into(), ..request("b") };
    assert_eq!(code(bench.attach(squatter).await), RefusalCode::Taken);
    bench.assert_agreement();
    let bench = bench.restart().await;
    bench.assert_agreement();
    assert_eq!(bench.node.list().len(), 1);
}

#[tokio::test]
async fn a_full_node_says_that_the_server_is_not_there_to_give_more() {
    let bench = Bench::new().await;
    // A /26 less the network's own first address and the gateway's.
    for index in 0..62 {
        bench.attach(request(&format!("c{index}"))).await.unwrap();
    }
    let refusal = bench.attach(request("one-too-many")).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Unavailable);
    assert!(refusal.message.contains("a free IPv4 address of network default"), "{refusal:?}");
    bench.detach("c7").await.unwrap();
    bench.attach(request("one-too-many")).await.unwrap();
    bench.assert_agreement();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_get_an_address_each() {
    let bench = Bench::new().await;
    let attaches: Vec<_> = (0..60)
        .map(|index| tokio::spawn(Arc::clone(&bench.node).attach(request(&format!("c{}", index % 50)))))
        .collect();
    let mut replies = Vec::new();
    for attach in attaches {
        replies.push(attach.await.unwrap().unwrap());
    }
    replies.sort_by(|a, b| a.uid.cmp(&b.uid));
    replies.dedup();
    assert_eq!(replies.len(), 50, "the same container asked for twice at once is one attachment");
    bench.assert_agreement();
}

#[tokio::test]
async fn detaching_what_is_not_there_succeeds_and_frees_what_is() {
    let bench = Bench::new().await;
    bench.detach("nobody").await.unwrap();
    bench.attach(request("a")).await.unwrap();
    bench.attach(Attach { interface: "eth1".into(), name: "a.eth1".into(), ..request("a") }).await.unwrap();
    let one = Detach { interface: Some("eth1".into()), ..detach("a") };
    Arc::clone(&bench.node).detach(one).await.unwrap();
    assert_eq!(bench.node.list().len(), 1);
    bench.detach("a").await.unwrap();
    bench.detach("a").await.unwrap();
    assert_eq!(bench.node.list().len(), 0);
    bench.assert_agreement();
}

#[tokio::test]
async fn a_removal_that_fails_keeps_its_address_until_it_succeeds() {
    let bench = Bench::new().await;
    bench.attach(request("a")).await.unwrap();
    bench.kernel.stop_after(1, || {});
    assert_eq!(bench.detach("a").await.unwrap_err().code, RefusalCode::Kernel);
    assert_eq!(bench.node.ledger().count(Step::Leaving), 1);
    bench.kernel.revive();
    bench.node.tidy().await;
    bench.assert_agreement();
    assert!(bench.node.ledger().all().next().is_none());
}

#[tokio::test]
async fn a_container_that_ends_without_a_word_is_released() {
    let bench = Bench::new().await;
    let attached = bench.attach(request("a")).await.unwrap();
    let number = u32::from_str_radix(attached.host_interface.trim_start_matches("sl"), 16).unwrap();
    bench.kernel.end_namespace("/run/netns/a");
    bench.node.release(number).await;
    bench.assert_agreement();
    bench.attach(request("b")).await.unwrap();
    bench.kernel.end_namespace("/run/netns/b");
    bench.node.tidy().await;
    assert!(bench.node.list().is_empty(), "unseen, it is found");
    bench.assert_agreement();
}

#[tokio::test]
async fn a_check_tells_a_missing_container_from_a_changed_one() {
    let bench = Bench::new().await;
    assert_eq!(bench.node.check(&detach("a")).await.unwrap_err().code, RefusalCode::NotFound);
    bench.attach(request("a")).await.unwrap();
    bench.node.check(&detach("a")).await.unwrap();
    bench.kernel.end_namespace("/run/netns/a");
    let refusal = bench.node.check(&detach("a")).await.unwrap_err();
    assert!(refusal.code == RefusalCode::Drifted && refusal.message.contains("eth0"), "{refusal:?}");
}

#[tokio::test]
async fn collecting_takes_only_what_the_door_and_the_network_own() {
    let bench = Bench::new().await;
    for (door, container) in
        [(Door::Cni, "red/1"), (Door::Cni, "red/2"), (Door::Cni, "reddish/1"), (Door::Run, "red/3")]
    {
        let name = container.replace('/', "-");
        bench.attach(Attach { door, name, ..request(container) }).await.unwrap();
    }
    let keep = vec![("red/2".to_owned(), "eth0".to_owned())];
    let collect = Collect { door: Door::Cni, within: Some("red".into()), keep };
    Arc::clone(&bench.node).collect(collect).await.unwrap();
    let mut left: Vec<String> = bench.node.list().into_iter().map(|attached| attached.container).collect();
    left.sort();
    assert_eq!(left, ["red/2", "red/3", "reddish/1"]);
    Arc::clone(&bench.node).collect(Collect { door: Door::Cni, within: None, keep: vec![] }).await.unwrap();
    assert_eq!(bench.node.list().len(), 1);
}

#[tokio::test]
async fn word_that_a_door_left_is_carried_out_at_the_start_and_strikes_no_successor() {
    let bench = Bench::new().await;
    bench.attach(request("a")).await.unwrap();
    bench.attach(request("b")).await.unwrap();
    for container in ["a", "b"] {
        let word = Detach { interface: Some("eth0".into()), ..detach(container) };
        std::fs::write(bench.tombstones().join(word.tombstone()), serde_json::to_vec(&word).unwrap())
            .unwrap();
    }
    let successor = bench.attach(request("b")).await.unwrap();
    bench.node.tidy().await;
    assert_eq!(
        bench.node.list(),
        vec![successor.clone()],
        "a is gone; b's word was older than its successor"
    );
    let word = detach("b");
    std::fs::write(bench.tombstones().join(word.tombstone()), serde_json::to_vec(&word).unwrap()).unwrap();
    let bench = bench.restart().await;
    assert!(bench.node.list().is_empty());
    assert_eq!(std::fs::read_dir(bench.tombstones()).unwrap().count(), 0);
    bench.assert_agreement();
}

#[tokio::test]
async fn word_that_was_read_while_a_successor_came_strikes_it_not() {
    let bench = Bench::new().await;
    bench.attach(request("a")).await.unwrap();
    let word = Detach { interface: Some("eth0".into()), ..detach("a") };
    std::fs::write(bench.tombstones().join(word.tombstone()), serde_json::to_vec(&word).unwrap()).unwrap();
    let inside = bench.node.containers.enter((Door::Cni, "a".to_owned())).await;
    let node = Arc::clone(&bench.node);
    let attaching = tokio::spawn(node.attach(request("a")));
    tokio::task::yield_now().await;
    let node = Arc::clone(&bench.node);
    let burying = tokio::spawn(async move { node.bury().await });
    tokio::task::yield_now().await;
    drop(inside);
    let successor = attaching.await.unwrap().unwrap();
    burying.await.unwrap();
    assert_eq!(bench.node.list(), vec![successor]);
    bench.assert_agreement();
}
