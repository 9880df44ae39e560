//! Owner references: dependents follow their owners, in every way that a client may ask for.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::{Choices, NAMESPACES, NETWORKS, Server, namespace, network, policies, policy};
use hyper::Method;
use proptest::prelude::*;
use serde_json::{Value, json};
use store::{Event, Object, Scope, Store};

/// A reference to an object as it was answered.
fn owned_by(owner: &Value, blocks: bool) -> Value {
    json!({ "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": blocks })
}

fn with_owners(mut object: Value, owners: &[Value]) -> Value {
    object["metadata"]["ownerReferences"] = json!(owners);
    object
}

async fn delete(server: &Server, path: &str, policy: &str) -> harness::Answer {
    let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy });
    server.call(Method::DELETE, path, "application/json", options.to_string()).await
}

async fn until(server: &Server, path: &str, code: u16) {
    let look = async || server.get(path).await.code == code;
    assert!(soon(look).await, "{path} is never answered with {code}");
}

/// Whether it comes to be so.
async fn soon(look: impl AsyncFn() -> bool) -> bool {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !look().await {
        if tokio::time::Instant::now() > end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

#[tokio::test]
async fn dependents_go_with_their_last_owner() {
    let server = Server::start().await;
    let red = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201).body;
    let blue = server.post(NETWORKS, &network("blue", "10.2.0.0/16")).await.expect(201).body;
    let all = policies("default");
    let of = |owners: &[&Value]| owners.iter().map(|owner| owned_by(owner, false)).collect::<Vec<_>>();
    let one = server.post(&all, &with_owners(policy("one"), &of(&[&red]))).await.expect(201).body;
    server.post(&all, &with_owners(policy("below"), &of(&[&one]))).await.expect(201);
    server.post(&all, &with_owners(policy("both"), &of(&[&red, &blue]))).await.expect(201);
    server.post(&all, &policy("free")).await.expect(201);
    server.delete(&format!("{NETWORKS}/red")).await.expect(200);
    until(&server, &format!("{all}/one"), 404).await;
    until(&server, &format!("{all}/below"), 404).await;
    let left = async || server.get(&format!("{all}/both")).await.body["metadata"]["ownerReferences"].clone();
    assert!(soon(async || left().await.as_array().unwrap().len() == 1).await, "the lost owner is taken out");
    assert_eq!(left().await[0]["name"], "blue");
    assert_eq!(server.get(&all).await.names(), ["both", "free"]);
}

#[tokio::test]
async fn an_owner_deleted_in_the_foreground_waits_for_those_who_block() {
    let server = Server::start().await;
    let red = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201).body;
    let all = policies("default");
    let mut held = with_owners(policy("held"), &[owned_by(&red, true)]);
    held["metadata"]["finalizers"] = json!(["a.example/x"]);
    server.post(&all, &held).await.expect(201);
    server.post(&all, &with_owners(policy("light"), &[owned_by(&red, false)])).await.expect(201);
    let path = format!("{NETWORKS}/red");
    let marked = delete(&server, &path, "Foreground").await.expect(200).body;
    assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(marked["metadata"]["generation"], 2);
    until(&server, &format!("{all}/light"), 404).await;
    let is_marked =
        async || server.get(&format!("{all}/held")).await.body["metadata"]["deletionTimestamp"].is_string();
    assert!(soon(is_marked).await);
    server.get(&path).await.expect(200);
    server.merge(&format!("{all}/held"), &json!({ "metadata": { "finalizers": null } })).await.expect(200);
    until(&server, &path, 404).await;
}

#[tokio::test]
async fn orphans_stay_without_their_owner() {
    let server = Server::start().await;
    let red = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201).body;
    let all = policies("default");
    for i in 0..5 {
        let dependent = with_owners(policy(&format!("p{i}")), &[owned_by(&red, true)]);
        server.post(&all, &dependent).await.expect(201);
    }
    let path = format!("{NETWORKS}/red");
    server.delete(&format!("{path}?propagationPolicy=Orphan")).await.expect(200);
    until(&server, &path, 404).await;
    let left = server.get(&all).await;
    assert_eq!(left.names().len(), 5);
    for item in left.body["items"].as_array().unwrap() {
        assert_eq!(item["metadata"].get("ownerReferences"), None, "{item}");
    }
}

#[tokio::test]
async fn circles_of_owners_end_in_the_foreground() {
    let server = Server::start().await;
    let all = policies("default");
    let one = server.post(&all, &policy("one")).await.expect(201).body;
    let two = with_owners(policy("two"), &[owned_by(&one, true)]);
    let two = server.post(&all, &two).await.expect(201).body;
    let owners = json!({ "metadata": { "ownerReferences": [owned_by(&two, true)] } });
    server.merge(&format!("{all}/one"), &owners).await.expect(200);
    delete(&server, &format!("{all}/one"), "Foreground").await.expect(200);
    until(&server, &format!("{all}/one"), 404).await;
    until(&server, &format!("{all}/two"), 404).await;
}

#[tokio::test]
async fn owners_elsewhere_are_none_and_unknown_ones_keep() {
    let server = Server::start().await;
    server.post(NAMESPACES, &namespace("shop")).await.expect(201);
    let there = server.post(&policies("shop"), &policy("there")).await.expect(201).body;
    let all = policies("default");
    let across = with_owners(policy("across"), &[owned_by(&there, false)]);
    server.post(&all, &across).await.expect(201);
    until(&server, &format!("{all}/across"), 404).await;
    let unknown = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "u" });
    let kept = server.post(&all, &with_owners(policy("kept"), &[unknown])).await.expect(201);
    let told = String::from_utf8_lossy(kept.headers["warning"].as_bytes()).into_owned();
    assert!(told.contains("ownerReferences[0]") && told.contains("Deployment"), "{told}");
    let mut below = network("below", "10.9.0.0/16");
    below["metadata"]["ownerReferences"] = json!([owned_by(&there, false)]);
    server.post(NETWORKS, &below).await.expect(201);
    // What happens to this one happens after all of them were looked at.
    let last = with_owners(policy("last"), &[owned_by(&there, false)]);
    server.post(&all, &last).await.expect(201);
    until(&server, &format!("{all}/last"), 404).await;
    server.get(&format!("{all}/kept")).await.expect(200);
    server.get(&format!("{NETWORKS}/below")).await.expect(200);
}

#[tokio::test]
async fn nonsense_about_owners_is_refused_whole() {
    let server = Server::start().await;
    let all = policies("default");
    let owner =
        json!({ "apiVersion": "v1", "kind": "Namespace", "name": "a", "uid": "", "controller": true });
    let mut wrong = with_owners(policy("p"), &[owner.clone(), owner]);
    wrong["metadata"]["finalizers"] = json!(["orphan", "foregroundDeletion"]);
    let causes = server.post(&all, &wrong).await.expect(422).body["details"]["causes"].clone();
    let fields: BTreeSet<_> =
        causes.as_array().unwrap().iter().map(|c| c["field"].as_str().unwrap()).collect();
    let expected = [
        "metadata.finalizers",
        "metadata.ownerReferences",
        "metadata.ownerReferences[0].uid",
        "metadata.ownerReferences[1].uid",
    ];
    assert!(expected.iter().all(|field| fields.contains(field)), "{fields:?}");
    server.post(&all, &policy("p")).await.expect(201);
    assert_eq!(delete(&server, &format!("{all}/p"), "Sideways").await.expect(422).reason(), "Invalid");
    let both = json!({ "propagationPolicy": "Orphan", "orphanDependents": true }).to_string();
    server.call(Method::DELETE, &format!("{all}/p"), "application/json", both).await.expect(422);
    server.get(&format!("{all}/p")).await.expect(200);
}

#[tokio::test]
async fn what_admission_holds_back_is_collected_when_it_lets_go() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static HELD: AtomicBool = AtomicBool::new(true);
    struct Holding;
    impl api::Admission for Holding {
        fn judge(
            &self,
            proposal: &api::Proposal<'_>,
            _: &store::Cached,
        ) -> Result<Vec<store::Change>, api::Objection> {
            let held = proposal.key.name() == "used" && proposal.new.is_none() && HELD.load(Ordering::SeqCst);
            if held { Err(api::Objection::Forbidden("it is in use".to_owned())) } else { Ok(Vec::new()) }
        }
    }
    let server =
        Server::start_with(Choices { admission: std::sync::Arc::new(Holding), ..Choices::default() }).await;
    let red = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201).body;
    for name in ["used", "unused"] {
        let dependent = with_owners(network(name, "10.2.0.0/16"), &[owned_by(&red, false)]);
        server.post(NETWORKS, &dependent).await.expect(201);
    }
    server.delete(&format!("{NETWORKS}/red")).await.expect(200);
    until(&server, &format!("{NETWORKS}/unused"), 404).await;
    server.get(&format!("{NETWORKS}/used")).await.expect(200);
    HELD.store(false, Ordering::SeqCst);
    until(&server, &format!("{NETWORKS}/used"), 404).await;
}

/// What happens to a few objects that own each other.
#[derive(Clone, Debug)]
enum Deed {
    Make { name: usize, owners: Vec<(usize, bool)> },
    Own { name: usize, owners: Vec<(usize, bool)> },
    Delete { name: usize, policy: &'static str },
    Restart,
    Pause,
}

const NAMES: usize = 6;

fn deed() -> impl Strategy<Value = Deed> {
    let owners = || prop::collection::vec((0..NAMES, any::<bool>()), 0..3);
    let policy = prop::sample::select(vec!["Background", "Foreground", "Orphan"]);
    prop_oneof![
        6 => (0..NAMES, owners()).prop_map(|(name, owners)| Deed::Make { name, owners }),
        3 => (0..NAMES, owners()).prop_map(|(name, owners)| Deed::Own { name, owners }),
        3 => (0..NAMES, policy).prop_map(|(name, policy)| Deed::Delete { name, policy }),
        1 => Just(Deed::Restart),
        1 => Just(Deed::Pause),
    ]
}

fn metadata(object: &Object) -> &Value {
    &object.value["metadata"]
}

fn references(object: &Object) -> impl Iterator<Item = &Value> {
    metadata(object)["ownerReferences"].as_array().into_iter().flatten()
}

/// Carries the deeds out; returns the uids that clients deleted themselves, and the server.
async fn carry_out(deeds: Vec<Deed>) -> (Server, BTreeSet<String>) {
    let all = policies("default");
    let mut server = Server::start().await;
    let mut deleted = BTreeSet::new();
    // The newest object of each name, there or gone: references to what is gone matter most.
    let mut known: BTreeMap<usize, Value> = BTreeMap::new();
    for deed in deeds {
        let references = |owners: &[(usize, bool)]| -> Vec<Value> {
            owners.iter().filter_map(|(owner, blocks)| Some(owned_by(known.get(owner)?, *blocks))).collect()
        };
        match deed {
            Deed::Make { name, owners } => {
                let made =
                    server.post(&all, &with_owners(policy(&format!("p{name}")), &references(&owners))).await;
                if made.code == 201 {
                    known.insert(name, made.body);
                }
            }
            Deed::Own { name, owners } => {
                let patch = json!({ "metadata": { "ownerReferences": references(&owners) } });
                server.merge(&format!("{all}/p{name}"), &patch).await;
            }
            Deed::Delete { name, policy } => {
                let path = format!("{all}/p{name}");
                let uid = server.get(&path).await.body["metadata"]["uid"].as_str().map(str::to_owned);
                if delete(&server, &path, policy).await.code == 200 {
                    deleted.extend(uid);
                }
            }
            Deed::Restart => server = Server::start_in(server.stop().await, Choices::default()).await,
            Deed::Pause => tokio::time::sleep(Duration::from_millis(15)).await,
        }
    }
    (server, deleted)
}

/// Everything that ever happened to policies, in order.
fn history(server: &Server) -> Vec<Event> {
    let scope = Scope::resource("networkpolicies.networking.k8s.io");
    let mut watch = server.store.watch(scope, server.store.span().compacted).unwrap();
    let mut events = Vec::new();
    while let Some(batch) = watch.ready().unwrap() {
        events.extend(batch.events.iter().map(|event| (**event).clone()));
    }
    events
}

/// Nobody is left who should have gone: each object that names owners has one, and names no other; nothing is half deleted.
fn is_at_rest(server: &Server) -> bool {
    let objects = server.store.objects(&Scope::resource("networkpolicies.networking.k8s.io")).objects;
    let uids: BTreeSet<_> = objects.iter().filter_map(|object| metadata(object)["uid"].as_str()).collect();
    let alive = |reference: &Value| uids.contains(reference["uid"].as_str().unwrap());
    objects
        .iter()
        .all(|object| metadata(object)["deletionTimestamp"].is_null() && references(object).all(alive))
}

/// Every object that went without being asked for had lost its owners before, and who waited for dependents saw them go.
fn check(events: &[Event], deleted: &BTreeSet<String>) {
    let mut alive: BTreeMap<String, Object> = BTreeMap::new();
    let uid = |object: &Object| metadata(object)["uid"].as_str().unwrap().to_owned();
    for event in events {
        if let (None, Some(gone)) = (&event.object, &event.previous) {
            let own = uid(gone);
            let waits = |owner: &Object| {
                let finalizers = metadata(owner)["finalizers"].as_array().into_iter().flatten();
                !metadata(owner)["deletionTimestamp"].is_null()
                    && finalizers.clone().any(|f| f == "foregroundDeletion")
            };
            let holds = |reference: &Value| {
                let owner = alive.get(reference["uid"].as_str().unwrap());
                owner.is_some_and(|owner| !waits(owner) && reference["uid"] != own.as_str())
            };
            // One that is held by the server's finalizer was judged when that was set.
            if !deleted.contains(&own) && metadata(gone)["deletionTimestamp"].is_null() {
                let premature: Vec<_> = references(gone).filter(|reference| holds(reference)).collect();
                assert!(premature.is_empty(), "{} went while {premature:?} was there", gone.key);
                assert!(references(gone).next().is_some(), "{} went and nobody asked", gone.key);
            }
            alive.remove(&own);
        }
        if let Some(object) = &event.object {
            alive.insert(uid(object), object.clone());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_nothing_is_left_and_nothing_goes_too_early(deeds in prop::collection::vec(deed(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (server, deleted) = carry_out(deeds).await;
            let rests = soon(async || is_at_rest(&server)).await;
            prop_assert!(rests, "{:#?}", server.store.objects(&Scope::resource("networkpolicies.networking.k8s.io")));
            check(&history(&server), &deleted);
            server.stop().await;
            Ok(())
        })?;
    }
}
