//! What is noted of requests: who, from where, what, before and after, why.
#![allow(clippy::unwrap_used)]

mod harness;

use api::{Access, Keep, Rights};
use axum::body::Body;
use harness::{Choices, NAMESPACES, Server, answer, namespace, policies, policy};
use hyper::Method;
use serde_json::{Value, json};

fn events(server: &Server) -> Vec<Value> {
    let text = std::fs::read_to_string(&server.audit).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn before(event: &Value) -> Value {
    let text = event["annotations"]["sealane.dev/before"].as_str();
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

/// Verb, name and code of an event.
fn short(event: &Value) -> (&str, &str, u64) {
    (
        event["verb"].as_str().unwrap(),
        event["objectRef"]["name"].as_str().unwrap_or_default(),
        event["responseStatus"]["code"].as_u64().unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_write_is_noted_with_what_was_sent_what_was_there_and_what_came_of_it() {
    let server = Server::start().await;
    server.post(NAMESPACES, &namespace("shop")).await.expect(201);
    let path = format!("{NAMESPACES}/shop");
    let labels = json!({ "metadata": { "labels": { "team": "a" } } });
    server.merge(&path, &labels).await.expect(200);
    server.merge(&format!("{path}?dryRun=All"), &json!({ "metadata": { "labels": null } })).await.expect(200);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let replaced = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
    let request = server.request(Method::PUT, &path).header("accept", table);
    let request = request.header("user-agent", "tester/1").header("content-type", "application/json");
    answer(server.send(request.body(Body::from(replaced.to_string())).unwrap()).await).await.expect(200);
    server.delete(&path).await.expect(200);

    let events = events(&server);
    let told: Vec<_> = events.iter().map(short).collect();
    let expected = [
        ("create", "shop", 201),
        ("patch", "shop", 200),
        ("patch", "shop", 200),
        ("update", "shop", 200),
        ("delete", "shop", 200),
    ];
    assert_eq!(told, expected);
    let [made, patched, tried, replaced, _] = &events[..] else { unreachable!() };
    assert_eq!((&made["level"], &before(made)), (&json!("RequestResponse"), &Value::Null));
    assert_eq!(made["requestObject"], namespace("shop"));
    assert!(made["responseObject"]["metadata"]["uid"].is_string());
    assert_eq!(
        (&patched["requestObject"], &before(patched)["metadata"]["labels"]["team"]),
        (&labels, &Value::Null)
    );
    assert_eq!(patched["responseObject"]["metadata"]["labels"]["team"], "a");
    assert_eq!(
        (&tried["level"], tried.get("responseObject")),
        (&json!("Metadata"), None),
        "nothing was written"
    );
    assert_eq!(before(replaced)["metadata"]["labels"]["team"], "a");
    assert_eq!(
        replaced["responseObject"]["kind"], "Namespace",
        "the object, in whatever form it was asked for"
    );
    assert_eq!(replaced["userAgent"], "tester/1");
    for event in &events {
        let annotations = &event["annotations"];
        assert_eq!(annotations["authorization.k8s.io/decision"], "allow");
        assert_eq!(annotations["authorization.k8s.io/reason"], "the settings allow it to sealane:loopback");
        assert_eq!(annotations["sealane.dev/tenant"], "default");
        assert_eq!(
            (&event["user"]["username"], &event["sourceIPs"]),
            (&json!("loopback"), &json!(["127.0.0.1"]))
        );
    }
}

#[tokio::test]
async fn each_object_of_a_collection_that_was_deleted_is_noted_under_one_request() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.post(&policies("default"), &policy(name)).await.expect(201);
    }
    server.delete(&policies("default")).await.expect(200);
    let events = events(&server);
    let gone: Vec<_> = events.iter().filter(|event| event["verb"] == "deletecollection").collect();
    assert_eq!(gone.iter().map(|event| short(event).1).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(gone.iter().all(|event| event["auditID"] == gone[0]["auditID"]));
    assert!(
        gone.iter().all(|event| before(event)["spec"].is_object() && event.get("responseObject").is_none())
    );
}

#[tokio::test]
async fn what_is_refused_before_it_is_understood_is_noted_with_the_reason_and_without_its_secrets() {
    let server = Server::start().await;
    let bearer = |path: &str| {
        let request = server.request(Method::GET, path).header("authorization", "Bearer sesame");
        server.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(bearer(NAMESPACES).await.status(), 401);
    server.get("/clusters/acme/../../etc/passwd").await.expect(404);
    let path = format!("{NAMESPACES}/a/b/c");
    server.post(&path, &json!({ "token": "sesame" })).await.expect(404);
    server.call(Method::POST, NAMESPACES, "application/json", "{\"token\": \"sesame\"").await.expect(400);
    server.put(NAMESPACES, &json!({})).await.expect(405);
    let page = server.request(Method::GET, NAMESPACES).header("origin", "http://evil.example");
    assert_eq!(server.send(page.body(Body::empty()).unwrap()).await.status(), 403);
    server.get(&format!("{NAMESPACES}?limit=x")).await.expect(400);

    let events = events(&server);
    let told: Vec<_> = events
        .iter()
        .map(|event| (event["responseStatus"]["code"].as_u64().unwrap(), event["verb"].as_str().unwrap()))
        .collect();
    let expected = [
        (401, "get"),
        (404, "get"),
        (404, "post"),
        (400, "create"),
        (405, "put"),
        (403, "get"),
        (400, "list"),
    ];
    assert_eq!(told, expected);
    for event in &events {
        assert!(event["responseStatus"]["message"].as_str().is_some_and(|told| !told.is_empty()), "{event}");
        assert_eq!((&event["level"], event.get("requestObject")), (&json!("Metadata"), None));
        assert!(!event.to_string().contains("sesame"), "{event}");
    }
    assert_eq!(events[0]["user"]["username"], "system:anonymous");
    assert_eq!(events[0]["objectRef"]["resource"], "namespaces");
    assert_eq!(events[1]["requestURI"], "/clusters/acme/../../etc/passwd");
}

#[tokio::test]
async fn reads_are_noted_if_they_are_refused_and_not_if_there_is_nothing() {
    let server = Server::start().await;
    server.get(NAMESPACES).await.expect(200);
    server.get(&format!("{NAMESPACES}/nothing")).await.expect(404);
    assert_eq!(events(&server), [] as [Value; 0]);
    let rights = Rights { loopback: Access::NONE, ..Rights::default() };
    let server = Server::start_with(Choices { rights, ..Choices::default() }).await;
    server.get(&format!("{NAMESPACES}/nothing")).await.expect(403);
    server.get("/apis").await.expect(403);
    let events = events(&server);
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), [("get", "nothing", 403), ("get", "", 403)]);
    assert!(events.iter().all(|event| event["annotations"]["authorization.k8s.io/decision"] == "forbid"));
}

#[tokio::test]
async fn an_object_that_is_too_large_is_left_out_and_the_event_says_so() {
    let server = Server::start().await;
    let mut large = namespace("large");
    large["metadata"]["annotations"]["text"] = "x".repeat(100 << 10).into();
    server.post(NAMESPACES, &large).await.expect(201);
    let event = &events(&server)[0];
    assert!(event.get("requestObject").is_none() && event.get("responseObject").is_none());
    assert_eq!(event["annotations"]["audit.k8s.io/truncated"], "true");
    let left_out = event["annotations"]["sealane.dev/left-out"].as_str().unwrap();
    assert!(left_out.starts_with("responseObject (1"), "{left_out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_writes_only_where_the_audit_is_required() {
    for required in [false, true] {
        let keep = Keep { required, ..Keep::default() };
        let audit = Some("/dev/full".into());
        let server = Server::start_with(Choices { audit, keep, ..Choices::default() }).await;
        let written = server.post(NAMESPACES, &namespace("shop")).await;
        server.get(&format!("{NAMESPACES}/shop")).await.expect(if required { 404 } else { 200 });
        let written = written.expect(if required { 503 } else { 201 });
        if required {
            let told = written.body["message"].as_str().unwrap();
            assert!(told.contains("the audit cannot be written") && told.contains("No space left"), "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_audit_is_required_a_write_is_noted_before_it_happens_and_after() {
    let keep = Keep { required: true, ..Keep::default() };
    let server = Server::start_with(Choices { keep, ..Choices::default() }).await;
    server.post(NAMESPACES, &namespace("shop")).await.expect(201);
    let events = events(&server);
    let stages: Vec<_> = events.iter().map(|event| event["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
    assert_eq!(events[0]["auditID"], events[1]["auditID"]);
}
