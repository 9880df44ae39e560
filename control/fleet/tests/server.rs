//! A whole server, its store, its API and nodes on a real stream.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use record::delta::RefusalKind;
use serde_json::{Value, json};
use world::node::Node;
use world::{Server, allow, eventually};

/// Two nodes with `web` on the first and `db` on the second.
async fn shop(server: &Server) -> [Node; 2] {
    let nodes = [Node::join(&server.address(), "n1").await, Node::join(&server.address(), "n2").await];
    nodes[0].attach("web", &[("app", "web")]).await;
    nodes[1].attach("db", &[("app", "db")]).await;
    nodes
}

/// Whether `db` on the second node lets `web` of the first in, with the sender's group as the first node has it now.
fn reaches(nodes: &[Node; 2], port: u16) -> bool {
    let group = |node: &Node| node.look(|held| held.group(held.endpoints[0].addresses[0]));
    let (sender, receiver) = (group(&nodes[0]), group(&nodes[1]));
    nodes[1].look(|held| held.judge(sender, receiver, 6, port).outcome(true).is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_attach_a_policy_is_staged_and_everything_says_so() {
    let server = Server::start().await;
    let nodes = shop(&server).await;
    assert!(reaches(&nodes, 5432) && reaches(&nodes, 22));
    let api = server.api();
    api.policy("db", allow("db", "web", 5432)).await;
    eventually("the policy is in force", || async { !reaches(&nodes, 22) }).await;
    assert!(reaches(&nodes, 5432));
    let path = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/db";
    eventually("the policy is realised", || async {
        api.get(path).await.pointer("/status/conditions/0/status") == Some(&json!("True"))
    })
    .await;
    let endpoint = api.get("/apis/sealane.dev/v1alpha1/namespaces/default/endpoints/web").await;
    assert_eq!(endpoint["spec"]["node"], "n1", "{endpoint}");
    let network = api.get("/apis/sealane.dev/v1alpha1/virtualnetworks/default").await;
    assert_eq!(network["status"]["vni"], 1, "{network}");
    let node = api.get("/clusters/system/apis/sealane.dev/v1alpha1/nodes/n1").await;
    assert_eq!(node["status"]["conditions"][0]["type"], "Ready", "{node}");

    let status = api.get("/fabric/v1/status").await;
    assert_eq!(
        (status["endpoints"].as_u64(), status["nodes"].as_array().unwrap().len()),
        (Some(2), 2),
        "{status}"
    );
    assert_eq!(status["nodes"][0]["behindBecause"], "", "{status}");
    let (code, metrics) = api.try_request("GET", "/metrics", None).await.unwrap();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    assert!(code == 200 && metrics.contains("sealane_server_node_connected{node=\"n1\"} 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_agrees_with_the_nodes_and_names_where_they_differ() {
    let server = Server::start().await;
    let nodes = shop(&server).await;
    let api = server.api();
    api.policy("db", allow("db", "web", 5432)).await;
    eventually("the policy is in force", || async { !reaches(&nodes, 22) }).await;
    eventually("no fault is left", || async {
        api.get("/fabric/v1/explain?from=default/web&to=default/db:5432").await["faults"] == json!([])
    })
    .await;
    let allowed = api.get("/fabric/v1/explain?from=default/web&to=default/db:5432").await;
    assert_eq!(allowed["allowed"], true, "{allowed}");
    assert_eq!(allowed["nodes"], json!(["n1", "n2"]));
    assert_eq!(allowed["datapath"].as_array().unwrap().len(), 2, "{allowed}");
    assert_eq!(allowed["rule"]["name"], "db", "{allowed}");
    let denied = api.get("/clusters/default/fabric/v1/explain?from=default/web&to=default/db:22/TCP").await;
    assert!(denied["allowed"] == false && denied["faults"] == json!([]), "{denied}");

    // A node whose maps say something else than the policies.
    nodes[1].held.lock().unwrap().records.retain(|key, _| !matches!(key, record::Key::Row(..)));
    for (port, part) in [(5432, "drops it"), (22, "rule")] {
        let torn = api.get(&format!("/fabric/v1/explain?from=default/web&to=default/db:{port}")).await;
        let faults: Vec<&str> = torn["faults"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(matches!(faults[..], [fault] if fault.contains("n2") && fault.contains(part)), "{faults:?}");
    }
    let alone = api.get("/fabric/v1/explain?from=default/web&to=default/db:22&intent=true").await;
    assert!(alone["datapath"] == json!([]) && alone["faults"] == json!([]), "{alone}");
    let (code, wrong) =
        api.request("GET", "/fabric/v1/explain?from=default/wbe&to=default/db:22", None).await;
    assert!(code == 404 && wrong["message"].as_str().unwrap().contains("default/wbe"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_cut_and_starts_again_sends_nothing_to_nodes_that_hold_what_they_should() {
    let mut server = Server::start().await;
    let nodes = shop(&server).await;
    server.api().policy("db", allow("db", "web", 5432)).await;
    eventually("the policy is in force", || async { !reaches(&nodes, 22) }).await;
    let path = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/db";
    let api = server.api();
    eventually("the policy is realised", || async {
        api.get(path).await.pointer("/status/conditions/0/status") == Some(&json!("True"))
    })
    .await;
    let before: Vec<_> = nodes.iter().map(|node| node.look(|held| held.records.clone())).collect();
    server.cut().await;
    server.again().await;
    let again = [nodes[0].come_back(&server.address()).await, nodes[1].come_back(&server.address()).await];
    for node in &again {
        eventually("the node is welcome", || async { node.look(|held| held.number.is_some()) }).await;
    }
    again[0].want("another", None).await.unwrap();
    for (node, before) in again.iter().zip(&before) {
        assert_eq!(node.look(|held| (held.deltas, held.records.clone())), (0, before.clone()));
    }
    server.api().delete(path).await;
    eventually("the policy is gone", || async { reaches(&again, 22) }).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_gets_what_it_missed_and_nothing_else() {
    let server = Server::start().await;
    let nodes = shop(&server).await;
    let api = server.api();
    let away = nodes[1].clone().leave();
    api.policy("db", allow("db", "web", 5432)).await;
    let path = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/db";
    eventually("the policy waits for the node", || async {
        let policy = api.get(path).await;
        let message = policy.pointer("/status/conditions/0/message").and_then(Value::as_str);
        message.is_some_and(|message| message.contains("n2"))
    })
    .await;
    let back = Node::connect(&server.address(), away, Duration::ZERO).await;
    let nodes = [nodes[0].clone(), back];
    eventually("the policy is in force", || async { !reaches(&nodes, 22) && reaches(&nodes, 5432) }).await;
    eventually("the policy is realised", || async {
        api.get(path).await.pointer("/status/conditions/0/status") == Some(&json!("True"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_race_for_blocks_never_share_an_address() {
    let server = Server::start().await;
    let nodes = [Node::join(&server.address(), "n1").await, Node::join(&server.address(), "n2").await];
    let attach = |node: Node, from: usize| async move {
        let mut addresses = Vec::new();
        for at in from..from + 80 {
            addresses.push(node.attach(&format!("c{at}"), &[("app", "c")]).await);
        }
        addresses
    };
    let (one, two) = tokio::join!(
        tokio::spawn(attach(nodes[0].clone(), 0)),
        tokio::spawn(attach(nodes[1].clone(), 1_000))
    );
    let all: std::collections::BTreeSet<_> = one.unwrap().into_iter().chain(two.unwrap()).collect();
    assert_eq!(all.len(), 160);
    let [one, two] = nodes.map(|node| node.look(|held| held.blocks()));
    assert!(
        one.len() >= 2 && two.len() >= 2,
        "80 containers need more than one block of 64: {one:?} {two:?}"
    );
    assert!(one.iter().all(|(_, block)| two.iter().all(|(_, other)| !block.overlaps(*other))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_of_a_known_group_does_not_wait_for_a_node_that_is_slow() {
    let server = Server::start().await;
    let pace = Duration::from_millis(1500);
    let slow = Node::join_slowly(&server.address(), "slow", pace).await;
    let quick = Node::join(&server.address(), "quick").await;
    slow.attach("first", &[("app", "db")]).await;
    server.api().policy("db", allow("db", "web", 5432)).await;
    quick.attach("second", &[("app", "db")]).await;
    let began = std::time::Instant::now();
    quick.attach("third", &[("app", "db")]).await;
    assert!(began.elapsed() < pace, "took {:?}", began.elapsed());
    let began = std::time::Instant::now();
    quick.attach("new", &[("app", "web")]).await;
    assert!(
        began.elapsed() < 4 * pace,
        "a bound of a second, and the slow node's own pace: {:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_with_other_objects_is_refused_with_both_named() {
    let server = Server::start().await;
    let nodes = shop(&server).await;
    let api = server.api();
    let networks = "/apis/sealane.dev/v1alpha1/virtualnetworks";
    let network = |name: &str, spec: Value| {
        json!({
            "apiVersion": "sealane.dev/v1alpha1", "kind": "VirtualNetwork", "metadata": { "name": name }, "spec": spec,
        })
    };
    let taken = network("two", json!({ "subnets": [{ "cidr": "10.9.0.0/16" }], "vni": 1 }));
    let (code, refusal) = api.request("POST", networks, Some(taken)).await;
    assert!(code == 422 && refusal["message"].as_str().unwrap().contains("network default"), "{refusal}");
    let underlay = network("two", json!({ "subnets": [{ "cidr": "192.0.2.0/24" }] }));
    let (code, refusal) = api.request("POST", networks, Some(underlay)).await;
    assert!(code == 422 && refusal["message"].as_str().unwrap().contains("the node n"), "{refusal}");
    api.create(networks, network("fixed", json!({ "subnets": [{ "cidr": "10.9.0.0/16" }], "vni": 77 })))
        .await;
    let (code, refusal) = api.request("DELETE", &format!("{networks}/default"), None).await;
    assert!(code == 403 && refusal["message"].as_str().unwrap().contains("2 endpoints"), "{refusal}");
    let (code, refusal) =
        api.request("DELETE", "/clusters/system/apis/sealane.dev/v1alpha1/nodes/n1", None).await;
    assert_eq!(code, if refusal["code"] == 405 { 405 } else { 403 }, "{refusal}");
    let refused = nodes[0].want("db", None).await.unwrap_err();
    assert!(refused.kind == RefusalKind::Taken && refused.message.contains("n2"), "{refused:?}");
    let (code, refusal) = api.request("GET", "/fabric/v1/flows?tennant=x", None).await;
    assert!(code == 400 && refusal["message"].as_str().unwrap().contains("\"tenant\""), "{refusal}");
    let (code, refusal) = api.request("GET", "/fabric/v1/flows?tenant=defalt", None).await;
    assert!(code == 404 && refusal["message"].as_str().unwrap().contains("\"default\""), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_tenant_has_a_namespace_and_a_network_of_its_own() {
    let server = Server::start().await;
    let api = server.api();
    let tenant =
        json!({ "apiVersion": "sealane.dev/v1alpha1", "kind": "Tenant", "metadata": { "name": "acme" } });
    api.create("/clusters/system/apis/sealane.dev/v1alpha1/tenants", tenant).await;
    eventually("the network is there", || async {
        let path = "/clusters/acme/apis/sealane.dev/v1alpha1/virtualnetworks/default";
        api.request("GET", path, None).await.1.pointer("/status/vni").and_then(Value::as_u64) == Some(2)
    })
    .await;
    api.get("/clusters/acme/api/v1/namespaces/default").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_does_so_at_once_and_its_nodes_hear_it() {
    let mut server = Server::start().await;
    let nodes = shop(&server).await;
    let began = std::time::Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "took {:?}", began.elapsed());
    for node in &nodes {
        eventually("the session is over", || async { node.is_over() }).await;
    }
    assert!(!server.socket().exists());
}
