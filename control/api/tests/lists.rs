//! Lists and watches by HTTP.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Choices, NETWORKS, Server, network, policies, policy};
use hyper::Method;
use serde_json::{Value, json};
use store::{Retention, Store};

async fn fill(server: &Server, count: usize) {
    for i in 0..count {
        let mut one = policy(&format!("p{i:02}"));
        one["metadata"]["labels"] = json!({ "third": (i % 3 == 0).to_string() });
        server.post(&policies("default"), &one).await.expect(201);
    }
}

#[tokio::test]
async fn pages_show_one_state_however_it_changes_meanwhile() {
    let server = Server::start().await;
    fill(&server, 10).await;
    let all = policies("default");
    let first = server.get(&format!("{all}?limit=4")).await.expect(200);
    assert_eq!(first.names(), ["p00", "p01", "p02", "p03"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 6);
    server.delete(&format!("{all}/p05")).await.expect(200);
    server.post(&all, &policy("p045")).await.expect(201);
    let token = first.body["metadata"]["continue"].as_str().unwrap().to_owned();
    let second = server.get(&format!("{all}?limit=4&continue={token}")).await.expect(200);
    assert_eq!(second.names(), ["p04", "p05", "p06", "p07"]);
    assert_eq!(second.revision(), first.revision());
    let token = second.body["metadata"]["continue"].as_str().unwrap().to_owned();
    let third = server.get(&format!("{all}?limit=4&continue={token}")).await.expect(200);
    assert_eq!(
        (third.names(), third.body["metadata"].get("continue")),
        (vec!["p08".to_owned(), "p09".to_owned()], None)
    );
    server.store.compact(server.store.revision()).await.unwrap();
    let expired = server.get(&format!("{all}?limit=4&continue={token}")).await.expect(410);
    assert_eq!(expired.reason(), "Expired");
    let token = expired.body["metadata"]["continue"].as_str().expect("a token to go on with").to_owned();
    let now = server.get(&format!("{all}?limit=4&continue={token}")).await.expect(200);
    assert_eq!(now.names(), ["p08", "p09"], "what is behind the last page, as it is now");
    assert_eq!(now.revision(), server.store.revision().to_string());
    server.get(&format!("{all}?continue=garbage")).await.expect(400);
}

#[tokio::test]
async fn selectors_select() {
    let server = Server::start().await;
    fill(&server, 6).await;
    let all = policies("default");
    assert_eq!(server.get(&format!("{all}?labelSelector=third%3Dtrue")).await.names(), ["p00", "p03"]);
    assert_eq!(
        server.get(&format!("{all}?labelSelector=third+notin+(true)&limit=2")).await.names(),
        ["p01", "p02"]
    );
    assert_eq!(server.get(&format!("{all}?fieldSelector=metadata.name%3Dp04")).await.names(), ["p04"]);
    assert_eq!(server.get("/apis/networking.k8s.io/v1/networkpolicies").await.names().len(), 6);
    server.get(&format!("{all}?labelSelector=a%3D%3D%3Db")).await.expect(400);
    server.get(&format!("{all}?fieldSelector=spec.x%3D1")).await.expect(400);
}

#[tokio::test]
async fn lists_at_a_version_are_what_the_client_asked_for() {
    let server = Server::start().await;
    let red = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.revision();
    server.post(NETWORKS, &network("blue", "10.2.0.0/16")).await.expect(201);
    let exact =
        server.get(&format!("{NETWORKS}?resourceVersion={red}&resourceVersionMatch=Exact")).await.expect(200);
    assert_eq!((exact.names(), exact.revision()), (vec!["red".to_owned()], red.clone()));
    assert_eq!(server.get(&format!("{NETWORKS}?resourceVersion={red}")).await.names(), ["blue", "red"]);
    assert_eq!(server.get(&format!("{NETWORKS}?resourceVersion=0")).await.names(), ["blue", "red"]);
    let future = server.get(&format!("{NETWORKS}?resourceVersion=999999")).await.expect(504);
    assert_eq!(future.reason(), "Timeout");
    assert_eq!(future.body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[tokio::test]
async fn tables_and_metadata_are_given_to_whom_asks() {
    let server = Server::start().await;
    server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201);
    let ask = async |path: &str, accept: &str| {
        let request =
            server.request(Method::GET, path).header("accept", accept).body(Default::default()).unwrap();
        harness::answer(server.send(request).await).await
    };
    let table =
        ask(NETWORKS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await.expect(200).body;
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(
        (table["kind"].as_str(), columns[0], *columns.last().unwrap()),
        (Some("Table"), "Name", "Age")
    );
    assert_eq!(table["rows"][0]["cells"][1], "10.1.0.0/16");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole =
        ask(&format!("{NETWORKS}?includeObject=Object"), "application/json;as=Table;v=v1;g=meta.k8s.io")
            .await
            .body;
    assert_eq!(whole["rows"][0]["object"]["kind"], "VirtualNetwork");
    let one = ask(&format!("{NETWORKS}/red"), "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
        .await
        .body;
    assert_eq!((one["kind"].as_str(), one.get("spec")), (Some("PartialObjectMetadata"), None));
    ask(NETWORKS, "application/xml").await.expect(406);
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_or_after_a_version() {
    let server = Server::start().await;
    let red = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.revision();
    let mut from_now = server.watch(&format!("{NETWORKS}?watch=true")).await;
    let mut after =
        server.watch(&format!("{NETWORKS}?watch=1&resourceVersion={red}&allowWatchBookmarks=true")).await;
    let list = format!(
        "{NETWORKS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut listing = server.watch(&list).await;
    let added =
        |name: &str, revision: &str| ("ADDED".to_owned(), name.to_owned(), revision.parse::<u64>().unwrap());
    assert_eq!(from_now.event().await, added("red", &red));
    assert_eq!(listing.event().await, added("red", &red));
    let bookmark = listing.next().await.unwrap();
    assert_eq!(
        (&bookmark["type"], &bookmark["object"]["kind"]),
        (&json!("BOOKMARK"), &json!("VirtualNetwork"))
    );
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let blue = server.post(NETWORKS, &network("blue", "10.2.0.0/16")).await.revision();
    for watch in [&mut from_now, &mut after, &mut listing] {
        assert_eq!(watch.event().await, added("blue", &blue));
    }
    server.delete(&format!("{NETWORKS}/blue")).await.expect(200);
    let (word, name, revision) = after.event().await;
    assert_eq!((word.as_str(), name.as_str()), ("DELETED", "blue"));
    assert_eq!(revision, blue.parse::<u64>().unwrap() + 1, "a deletion carries its own version");
}

#[tokio::test]
async fn a_watch_of_one_object_and_in_every_form_is_what_was_asked_for() {
    let server = Server::start().await;
    server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201);
    server.post(NETWORKS, &network("blue", "10.2.0.0/16")).await.expect(201);
    let mut one = server.watch(&format!("{NETWORKS}/red?watch=1")).await;
    assert_eq!(one.event().await.1, "red");
    server.delete(&format!("{NETWORKS}/blue")).await.expect(200);
    server.delete(&format!("{NETWORKS}/red")).await.expect(200);
    let (word, name, _) = one.event().await;
    assert_eq!((word.as_str(), name.as_str()), ("DELETED", "red"));
    let path = format!(
        "{NETWORKS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let request = server.request(Method::GET, &path);
    let request = request.header("accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
    let mut bare = server.follow(request).await;
    let bookmark = bare.next().await.unwrap();
    assert_eq!(bookmark["object"]["kind"], "PartialObjectMetadata", "{bookmark}");
    let head = server.request(Method::HEAD, NETWORKS).body(Default::default()).unwrap();
    let head = harness::answer(server.send(head).await).await.expect(200);
    assert_eq!(head.body, "", "HEAD tells the headers alone");
}

#[tokio::test]
async fn a_watch_shows_one_tenant_and_one_namespace_alone() {
    let server = Server::start().await;
    server.post(harness::TENANTS, &harness::tenant("acme")).await.expect(201);
    for prefix in ["", "/clusters/acme"] {
        server
            .post(&format!("{prefix}{}", harness::NAMESPACES), &harness::namespace("shop"))
            .await
            .expect(201);
    }
    let mut watch = server.watch(&format!("/clusters/acme{}?watch=1", policies("shop"))).await;
    for (place, name) in [("", "theirs"), ("/clusters/acme", "ours")] {
        for namespace in ["default", "shop"] {
            let path = format!("{place}{}", policies(namespace));
            server.post(&path, &policy(&format!("{name}-{namespace}"))).await.expect(201);
        }
    }
    assert_eq!(watch.event().await.1, "ours-shop");
}

#[tokio::test]
async fn a_watch_with_a_selector_tells_who_comes_and_goes() {
    let server = Server::start().await;
    server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201);
    let mut watch = server.watch(&format!("{NETWORKS}?watch=1&labelSelector=tier%3Dgold")).await;
    let path = format!("{NETWORKS}/red");
    for (tier, expected) in [("gold", "ADDED"), ("iron", "DELETED"), ("lead", ""), ("gold", "ADDED")] {
        server.merge(&path, &json!({ "metadata": { "labels": { "tier": tier } } })).await.expect(200);
        if !expected.is_empty() {
            let event = watch.next().await.unwrap();
            assert_eq!(event["type"], expected, "{event}");
            // Whoever goes is shown as it last was among the selected.
            assert_eq!(event["object"]["metadata"]["labels"]["tier"], "gold");
        }
    }
    server.merge(&path, &json!({ "spec": { "mtu": 1400 } })).await.expect(200);
    assert_eq!(watch.event().await.0, "MODIFIED");
}

#[tokio::test]
async fn a_watch_ends_in_time_and_with_the_server() {
    let server = Server::start().await;
    let mut short = server.watch(&format!("{NETWORKS}?watch=1&timeoutSeconds=1")).await;
    assert_eq!(short.next().await, None);
    let mut long = server.watch(&format!("{NETWORKS}?watch=1")).await;
    let started = std::time::Instant::now();
    server.stop().await;
    assert_eq!(long.next().await, None);
    assert!(started.elapsed().as_secs() < 5, "watches do not hold the server up");
}

#[tokio::test]
async fn forgotten_history_is_410_at_the_start_and_an_error_event_in_the_middle() {
    let retention = Retention { events: 50, bytes: 1 << 20 };
    let server = Server::start_with(Choices { retention, ..Choices::default() }).await;
    let red = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.revision();
    let mut slow = server.watch(&format!("{NETWORKS}?watch=1&resourceVersion={red}")).await;
    // So much that the connection is full and the watch stands still, until its place is forgotten.
    let note = "x".repeat(100_000);
    for i in 0..150 {
        let patch = json!({ "metadata": { "annotations": { "note": format!("{note}{i}") } } });
        server.merge(&format!("{NETWORKS}/red"), &patch).await.expect(200);
    }
    for lost in [red, "999999".to_owned()] {
        let mut gone = server.watch(&format!("{NETWORKS}?watch=1&resourceVersion={lost}")).await;
        let told = gone.next().await.unwrap();
        assert_eq!(
            (&told["type"], &told["object"]["reason"]),
            (&json!("ERROR"), &json!("Expired")),
            "{told}"
        );
        assert_eq!(gone.next().await, None);
    }
    let mut last = Value::Null;
    while let Some(event) = slow.next().await {
        last = event;
    }
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_resumed_under_load_lose_nothing() {
    const WRITERS: usize = 4;
    const EACH: usize = 60;
    let server = Arc::new(Server::start().await);
    let start = server.get(NETWORKS).await.revision();
    let done = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (server, done) = (Arc::clone(&server), Arc::clone(&done));
        tokio::spawn(async move {
            let mut revision: u64 = start.parse().unwrap();
            let mut seen = BTreeMap::new();
            let mut resumed = 0;
            let wanted = WRITERS * EACH * 2;
            let mut events = 0;
            while events < wanted {
                let mut watch = server.watch(&format!("{NETWORKS}?watch=1&resourceVersion={revision}")).await;
                resumed += 1;
                for _ in 0..17.min(wanted - events) {
                    let (word, name, at) = watch.event().await;
                    assert!(at > revision, "{word} {name} at {at} after {revision}");
                    revision = at;
                    events += 1;
                    seen.entry(name).or_insert_with(Vec::new).push(word);
                }
            }
            done.store(true, Ordering::SeqCst);
            (seen, resumed)
        })
    };
    let writers = (0..WRITERS).map(|writer| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            for i in 0..EACH {
                let name = format!("n{writer}-{i}");
                server.post(NETWORKS, &network(&name, "10.1.0.0/16")).await.expect(201);
                server.delete(&format!("{NETWORKS}/{name}")).await.expect(200);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let (seen, resumed) = watcher.await.unwrap();
    assert!(done.load(Ordering::SeqCst) && resumed > 10);
    assert_eq!(seen.len(), WRITERS * EACH);
    assert!(seen.values().all(|words| words == &["ADDED", "DELETED"]), "{seen:?}");
}
