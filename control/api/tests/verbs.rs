//! Create, read, change and delete by HTTP.
#![allow(clippy::unwrap_used)]

mod harness;

use harness::{NAMESPACES, NETWORKS, Server, TENANTS, namespace, network, policies, policy, tenant};
use hyper::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn an_object_is_made_read_changed_and_deleted() {
    let server = Server::start().await;
    let made = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201).body;
    let metadata = &made["metadata"];
    assert_eq!(metadata["generation"], 1);
    assert!(metadata["uid"].as_str().unwrap().len() == 36 && metadata["creationTimestamp"].is_string());
    assert_eq!(made["spec"]["defaultVerdict"], "Allow", "defaults are filled in");
    let path = format!("{NETWORKS}/red");
    assert_eq!(server.get(&path).await.expect(200).body, made);

    let mut changed = made.clone();
    changed["spec"]["mtu"] = json!(1400);
    changed["metadata"]["uid"] = metadata["uid"].clone();
    changed["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    changed["metadata"]["generation"] = json!(77);
    changed["status"] = json!({ "conditions": [] });
    let updated = server.put(&path, &changed).await.expect(200).body;
    assert_eq!((&updated["spec"]["mtu"], &updated["metadata"]["generation"]), (&json!(1400), &json!(2)));
    assert_eq!(updated["metadata"]["creationTimestamp"], metadata["creationTimestamp"]);
    assert_eq!(updated.get("status"), None, "the status is not written here");

    let labelled =
        server.merge(&path, &json!({ "metadata": { "labels": { "a": "b" } } })).await.expect(200).body;
    assert_eq!(labelled["metadata"]["generation"], 2, "labels are no change of intent");
    let gone = server.delete(&path).await.expect(200).body;
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone["details"]["uid"], metadata["uid"]);
    assert_eq!(server.get(&path).await.expect(404).reason(), "NotFound");
    assert_eq!(server.delete(&path).await.expect(404).body["details"]["name"], "red");
}

#[tokio::test]
async fn refusals_are_shaped_as_clients_expect() {
    let server = Server::start().await;
    let missing = server.get(&format!("{}/p", policies("default"))).await.expect(404).body;
    let expected = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
        "message": "networkpolicies.networking.k8s.io \"p\" not found",
        "details": { "name": "p", "group": "networking.k8s.io", "kind": "networkpolicies" },
    });
    assert_eq!(missing, expected);
    server.post(NAMESPACES, &namespace("shop")).await.expect(201);
    assert_eq!(server.post(NAMESPACES, &namespace("shop")).await.expect(409).reason(), "AlreadyExists");
    let lost = server.post(&policies("nowhere"), &policy("p")).await.expect(404).body;
    assert_eq!(lost["message"], "namespaces \"nowhere\" not found");

    let mut wrong = network("Red_", "10.1.0.1/16");
    wrong["spec"]["colour"] = json!("red");
    let invalid = server.post(&format!("{NETWORKS}?fieldValidation=Strict"), &wrong).await.expect(422).body;
    let fields: Vec<_> =
        invalid["details"]["causes"].as_array().unwrap().iter().map(|c| c["field"].clone()).collect();
    assert_eq!(invalid["details"]["kind"], "VirtualNetwork");
    for field in ["metadata.name", "spec.subnets[0].cidr", "spec.colour"] {
        assert!(fields.contains(&json!(field)), "all problems at once: {fields:?}");
    }
    let nowhere = server.get("/apis/nothing.example/v1/things").await.expect(404).body;
    assert_eq!(nowhere["kind"], "Status");
    assert_eq!(
        server.post(&format!("{NETWORKS}/red"), &json!({})).await.expect(405).reason(),
        "MethodNotAllowed"
    );
    assert_eq!(
        server.post("/apis/sealane.dev/v1alpha1/nodes", &json!({})).await.expect(405).reason(),
        "MethodNotAllowed"
    );
}

#[tokio::test]
async fn a_document_that_contradicts_its_path_is_refused() {
    let server = Server::start().await;
    server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201);
    let mut elsewhere = policy("p");
    elsewhere["metadata"]["namespace"] = json!("other");
    server.post(&policies("default"), &elsewhere).await.expect(400);
    server.post(NETWORKS, &namespace("red")).await.expect(400);
    server.put(&format!("{NETWORKS}/red"), &network("blue", "10.1.0.0/16")).await.expect(400);
    server.put(&format!("{NETWORKS}/blue"), &network("blue", "10.1.0.0/16")).await.expect(404);
    server.post("/apis/networking.k8s.io/v1/networkpolicies", &policy("p")).await.expect(400);
    server.post(NETWORKS, &json!({ "metadata": {} })).await.expect(400);
    let mut copied = network("copied", "10.1.0.0/16");
    copied["metadata"]["resourceVersion"] = json!("7");
    server.post(NETWORKS, &copied).await.expect(400);
    let mut other = network("red", "10.1.0.0/16");
    other["metadata"]["uid"] = json!("another");
    assert_eq!(server.put(&format!("{NETWORKS}/red"), &other).await.expect(409).reason(), "Conflict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_with_the_same_version_exactly_one_wins() {
    let server = Server::start().await;
    let path = format!("{NETWORKS}/red");
    let mut current = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201).body;
    for round in 0..20 {
        let write = |mtu: u64| {
            let mut mine = current.clone();
            mine["spec"]["mtu"] = json!(1000 + 10 * round + mtu);
            let (server, path) = (&server, &path);
            async move { server.put(path, &mine).await }
        };
        let (one, other) = tokio::join!(write(1), write(2));
        let mut codes = [one.code, other.code];
        codes.sort_unstable();
        assert_eq!(codes, [200, 409], "round {round}");
        let (won, lost) = if one.code == 200 { (one, other) } else { (other, one) };
        assert_eq!(lost.reason(), "Conflict");
        current = won.body;
        assert_eq!(server.get(&path).await.body, current);
    }
    let patches = (0..30).map(|i| {
        let (server, path) = (&server, &path);
        async move {
            server
                .merge(path, &json!({ "metadata": { "labels": { format!("l{i}"): "x" } } }))
                .await
                .expect(200)
        }
    });
    futures_util::future::join_all(patches).await;
    let labels = server.get(&path).await.body["metadata"]["labels"].as_object().unwrap().len();
    assert_eq!(labels, 30, "who names no version is never refused for another's write, and loses none");
    let stale = json!({ "metadata": { "resourceVersion": current["metadata"]["resourceVersion"], "labels": { "late": "x" } } });
    assert_eq!(server.merge(&path, &stale).await.expect(409).reason(), "Conflict");
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_no_revision() {
    let server = Server::start().await;
    let made = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201);
    let path = format!("{NETWORKS}/red");
    assert_eq!(
        server.put(&path, &network("red", "10.1.0.0/16")).await.expect(200).revision(),
        made.revision()
    );
    assert_eq!(server.merge(&path, &json!({})).await.expect(200).revision(), made.revision());
}

#[tokio::test]
async fn status_and_intent_are_written_apart() {
    let server = Server::start().await;
    let path = format!("{NETWORKS}/red");
    let made = server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201).body;
    let mut both = made.clone();
    both["status"] = json!({ "vni": 7, "conditions": [{ "type": "Realised", "status": "True" }] });
    both["spec"]["mtu"] = json!(1400);
    let written = server.put(&format!("{path}/status"), &both).await.expect(200).body;
    assert_eq!((&written["status"]["vni"], &written["spec"]["mtu"]), (&json!(7), &Value::Null));
    assert_eq!(written["metadata"]["generation"], 1);
    let patched = server
        .merge(&path, &json!({ "status": { "vni": 8 }, "spec": { "mtu": 1300 } }))
        .await
        .expect(200)
        .body;
    assert_eq!((&patched["status"]["vni"], &patched["spec"]["mtu"]), (&json!(7), &json!(1300)));
    server.get(&format!("{path}/status")).await.expect(200);
    server.delete(&format!("{path}/status")).await.expect(405);
}

#[tokio::test]
async fn what_intent_holds_unchangeable_stays() {
    let server = Server::start().await;
    server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201);
    let refused =
        server.put(&format!("{NETWORKS}/red"), &network("red", "10.2.0.0/16")).await.expect(422).body;
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.subnets");
}

#[tokio::test]
async fn patches_of_every_type_are_understood_and_others_refused() {
    let server = Server::start().await;
    let path = format!("{}/p", policies("default"));
    server.post(&policies("default"), &policy("p")).await.expect(201);
    let patch =
        async |media: &str, body: Value| server.call(Method::PATCH, &path, media, body.to_string()).await;
    let json_patch = json!([{ "op": "replace", "path": "/spec/ingress/0/ports/0/port", "value": 81 }]);
    let patched = patch("application/json-patch+json", json_patch).await.expect(200).body;
    assert_eq!(patched["spec"]["ingress"][0]["ports"][0]["port"], 81);
    let strategic = json!({ "metadata": { "finalizers": ["a.example/x"] }, "spec": { "ingress": [] } });
    patch("application/strategic-merge-patch+json; charset=utf-8", strategic).await.expect(200);
    let again = json!({ "metadata": { "finalizers": ["a.example/y"] } });
    let patched = patch("application/strategic-merge-patch+json", again).await.expect(200).body;
    assert_eq!(patched["metadata"]["finalizers"], json!(["a.example/x", "a.example/y"]));
    assert_eq!(patched["spec"]["ingress"], json!([]));
    let told = patch("application/apply-patch+yaml", json!({})).await.expect(415).body;
    assert!(told["message"].as_str().unwrap().contains("apply at the client"), "{told}");
    for media in ["application/json", "text/plain"] {
        assert_eq!(patch(media, json!({})).await.expect(415).reason(), "UnsupportedMediaType");
    }
    patch("application/merge-patch+json", json!({ "metadata": { "name": "q" } })).await.expect(400);
    patch("application/merge-patch+json", json!({ "spec": { "policyTypes": ["Sideways"] } }))
        .await
        .expect(422);
    patch("application/json-patch+json", json!([{ "op": "remove", "path": "/spec/none" }])).await.expect(422);
}

#[tokio::test]
async fn unknown_and_repeated_fields_are_treated_as_asked() {
    let server = Server::start().await;
    let body = |name: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"subnets":[{{"cidr":"10.0.0.0/8"}}],"mtu":1,"mtu":1400,"colour":1}}}}"#
        )
    };
    let post = async |name: &str, validation: &str| {
        server.call(Method::POST, &format!("{NETWORKS}{validation}"), "application/json", body(name)).await
    };
    let strict = post("a", "?fieldValidation=Strict").await.expect(422).body;
    let text = strict["message"].as_str().unwrap();
    assert!(text.contains("spec.mtu") && text.contains("spec.colour"), "{text}");
    let warned = post("b", "").await.expect(201);
    let warnings: Vec<_> =
        warned.headers.get_all("warning").iter().map(|w| String::from_utf8_lossy(w.as_bytes())).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|warning| warning.starts_with("299 - \"")), "{warnings:?}");
    assert_eq!((&warned.body["spec"]["mtu"], &warned.body["spec"]["colour"]), (&json!(1400), &Value::Null));
    let ignored = post("c", "?fieldValidation=Ignore").await.expect(201);
    assert!(!ignored.headers.contains_key("warning"));
}

#[tokio::test]
async fn a_dry_run_answers_as_if_and_changes_nothing() {
    let server = Server::start().await;
    let before = server.store.revision();
    let made =
        server.post(&format!("{NETWORKS}?dryRun=All"), &network("red", "10.1.0.0/16")).await.expect(201);
    assert_eq!(made.body["metadata"]["generation"], 1);
    server.post(&format!("{NETWORKS}?dryRun=All"), &network("red", "10.1.0.0")).await.expect(422);
    assert_eq!(server.store.revision(), before);
    server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201);
    let path = format!("{NETWORKS}/red");
    let patched =
        server.merge(&format!("{path}?dryRun=All"), &json!({ "spec": { "mtu": 1400 } })).await.expect(200);
    assert_eq!(patched.body["spec"]["mtu"], 1400);
    server.delete(&format!("{path}?dryRun=All")).await.expect(200);
    let options = json!({ "kind": "DeleteOptions", "dryRun": ["All"] });
    server.call(Method::DELETE, &path, "application/json", options.to_string()).await.expect(200);
    assert_eq!(server.get(&path).await.expect(200).body["spec"]["mtu"], Value::Null);
    assert_eq!(server.store.revision(), before + 1);
}

#[tokio::test]
async fn names_are_generated_without_collision() {
    let server = Server::start().await;
    let mut unnamed = network("", "10.1.0.0/16");
    unnamed["metadata"] = json!({ "generateName": "net-" });
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let made = server.post(NETWORKS, &unnamed).await.expect(201).body;
        let name = made["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("net-") && name.len() == 9, "{name}");
        assert!(names.insert(name));
    }
    unnamed["metadata"] = json!({ "generateName": "n".repeat(63) });
    let made = server.post(NETWORKS, &unnamed).await.expect(201).body;
    assert_eq!(made["metadata"]["name"].as_str().unwrap().len(), 63);
}

#[tokio::test]
async fn yaml_is_accepted() {
    let server = Server::start().await;
    let text = "apiVersion: sealane.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {name: red}\nspec: {subnets: [{cidr: 10.1.0.0/16}]}\n";
    server.call(Method::POST, NETWORKS, "application/yaml", text).await.expect(201);
    server.call(Method::POST, NETWORKS, "application/yaml", "a: [").await.expect(400);
}

#[tokio::test]
async fn deletions_obey_preconditions_and_finalizers() {
    let server = Server::start().await;
    let path = format!("{NETWORKS}/red");
    let mut held = network("red", "10.1.0.0/16");
    held["metadata"]["finalizers"] = json!(["a.example/x"]);
    let made = server.post(NETWORKS, &held).await.expect(201).body;
    let delete = async |options: Value| {
        server.call(Method::DELETE, &path, "application/json", options.to_string()).await
    };
    let other = delete(json!({ "preconditions": { "uid": "another" } })).await.expect(409);
    assert_eq!(other.reason(), "Conflict");
    delete(json!({ "preconditions": { "resourceVersion": "1" } })).await.expect(409);
    delete(json!({ "kind": "Pod" })).await.expect(400);

    let marked =
        delete(json!({ "preconditions": { "uid": made["metadata"]["uid"] } })).await.expect(200).body;
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let again = server.delete(&path).await.expect(200).body;
    assert_eq!(again["metadata"], marked["metadata"], "a second deletion changes nothing");
    let more = json!({ "metadata": { "finalizers": ["a.example/x", "b.example/y"] } });
    server.merge(&path, &more).await.expect(422);
    let revived = json!({ "metadata": { "deletionTimestamp": null } });
    assert!(
        server.merge(&path, &revived).await.expect(200).body["metadata"]["deletionTimestamp"].is_string()
    );
    server.merge(&path, &json!({ "metadata": { "finalizers": null } })).await.expect(200);
    server.get(&path).await.expect(404);
}

/// Waits until the path is answered with the code.
async fn until(server: &Server, path: &str, code: u16) {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while server.get(path).await.code != code {
        assert!(tokio::time::Instant::now() < end, "{path} is never answered with {code}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_namespace_goes_with_its_content_and_takes_nothing_new_meanwhile() {
    let server = Server::start().await;
    server.post(NAMESPACES, &namespace("shop")).await.expect(201);
    server.post(NAMESPACES, &namespace("other")).await.expect(201);
    let mut held = policy("held");
    held["metadata"]["finalizers"] = json!(["a.example/x"]);
    server.post(&policies("shop"), &held).await.expect(201);
    for i in 0..300 {
        server.post(&policies("shop"), &policy(&format!("p{i}"))).await.expect(201);
    }
    server.post(&policies("other"), &policy("stays")).await.expect(201);
    let path = format!("{NAMESPACES}/shop");
    let marked = server.delete(&path).await.expect(200).body;
    assert_eq!(marked["status"]["phase"], "Terminating");
    let refused = server.post(&policies("shop"), &policy("new")).await.expect(403);
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "NamespaceTerminating");
    // The last by name, so the last that goes.
    until(&server, &format!("{}/p99", policies("shop")), 404).await;
    let left = server.get(&policies("shop")).await.expect(200);
    assert_eq!(left.names(), ["held"]);
    assert!(left.body["items"][0]["metadata"]["deletionTimestamp"].is_string());
    server.get(&path).await.expect(200);
    server
        .merge(&format!("{}/held", policies("shop")), &json!({ "metadata": { "finalizers": [] } }))
        .await
        .expect(200);
    until(&server, &path, 404).await;
    assert_eq!(server.get(&policies("other")).await.names(), ["stays"]);
    assert_eq!(server.delete(&format!("{NAMESPACES}/default")).await.expect(403).reason(), "Forbidden");
}

#[tokio::test]
async fn what_the_fabric_wrote_is_the_fabrics_to_end() {
    use store::{Expect, ObjectKey, Store, Transaction};
    let server = Server::start().await;
    server.post(NAMESPACES, &namespace("shop")).await.expect(201);
    server.post(&policies("shop"), &policy("p")).await.expect(201);
    let endpoint = ObjectKey::new("default", "endpoints.sealane.dev", Some("shop"), "c1");
    let record = ObjectKey::new("default", "numbers.example", Some("shop"), "1");
    for key in [&endpoint, &record] {
        server
            .store
            .write(Transaction::put(key.clone(), Expect::Absent, json!({ "metadata": {} })))
            .await
            .unwrap();
    }
    let node = ObjectKey::new("system", "nodes.sealane.dev", None, "gone");
    server.store.write(Transaction::put(node, Expect::Absent, json!({ "metadata": {} }))).await.unwrap();
    let endpoints = "/apis/sealane.dev/v1alpha1/namespaces/shop/endpoints";
    assert_eq!(server.delete(&format!("{endpoints}/c1")).await.expect(405).reason(), "MethodNotAllowed");
    server.delete("/apis/sealane.dev/v1alpha1/nodes/gone").await.expect(200);

    server.delete(&format!("{NAMESPACES}/shop")).await.expect(200);
    until(&server, &format!("{}/p", policies("shop")), 404).await;
    server.get(&format!("{endpoints}/c1")).await.expect(200);
    server.get(&format!("{NAMESPACES}/shop")).await.expect(200);
    server.store.write(Transaction::delete(endpoint, Expect::Present)).await.unwrap();
    until(&server, &format!("{NAMESPACES}/shop"), 404).await;
    assert!(server.store.find(&record).is_some(), "records of the server are not the API's to delete");
}

#[tokio::test]
async fn a_deletion_under_way_is_finished_after_a_restart() {
    let server = Server::start().await;
    server.post(NAMESPACES, &namespace("shop")).await.expect(201);
    let mut held = policy("held");
    held["metadata"]["finalizers"] = json!(["a.example/x"]);
    server.post(&policies("shop"), &held).await.expect(201);
    server.delete(&format!("{NAMESPACES}/shop")).await.expect(200);
    let store = std::sync::Arc::clone(&server.store);
    let key = store::ObjectKey::new("default", "networkpolicies.networking.k8s.io", Some("shop"), "held");
    let folder = server.stop().await;
    // The API is down; the object goes by another way.
    use store::Store;
    store.write(store::Transaction::delete(key, store::Expect::Present)).await.unwrap();
    drop(store);
    let server = Server::start_in(folder, harness::Choices::default()).await;
    until(&server, &format!("{NAMESPACES}/shop"), 404).await;
}

#[tokio::test]
async fn tenants_are_apart_and_go_whole() {
    let server = Server::start().await;
    let of = |tenant: &str, path: &str| format!("/clusters/{tenant}{path}");
    server.post(&of("acme", NAMESPACES), &namespace("shop")).await.expect(404);
    server.post(TENANTS, &tenant("acme")).await.expect(201);
    server.get(&of("system", &format!("{TENANTS}/acme"))).await.expect(200);
    server.get(&of("acme", TENANTS)).await.expect(404);
    assert_eq!(server.get(&of("acme", NAMESPACES)).await.names(), ["default"]);
    for prefix in ["", "/clusters/acme"] {
        server.post(&format!("{prefix}{NAMESPACES}"), &namespace("shop")).await.expect(201);
        server.post(&format!("{prefix}{}", policies("shop")), &policy("p")).await.expect(201);
    }
    server.delete(&format!("{TENANTS}/acme")).await.expect(200);
    until(&server, &format!("{TENANTS}/acme"), 404).await;
    assert!(server.get(&of("acme", NAMESPACES)).await.names().is_empty());
    assert!(server.get(&of("acme", &policies("shop"))).await.names().is_empty());
    server.get(&format!("{}/p", policies("shop"))).await.expect(200);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let server = Server::start().await;
    for i in 0..6 {
        let mut one = policy(&format!("p{i}"));
        one["metadata"]["labels"] = json!({ "even": (i % 2 == 0).to_string() });
        server.post(&policies("default"), &one).await.expect(201);
    }
    server.delete(&format!("{}?labelSelector=even%3Dtrue", policies("default"))).await.expect(200);
    assert_eq!(server.get(&policies("default")).await.names(), ["p1", "p3", "p5"]);
}
