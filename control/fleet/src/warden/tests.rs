//! The rights of a whole server, asked over its API: who may do what to which kind in which tenant, as one table; what nobody may
//! hand on; and that a change of rights holds from the next request on.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use api::{Api, Authenticate, Identity, Listener, NoAudit, Settings};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use intent::rights::RIGHTS_GROUP;
use rights::ready::{EVERYWHERE, PROVIDER};
use serde_json::{Value, json};
use store::{Cached, Expect, FileStore, ObjectKey, Retention, Scope, Store, Transaction};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Warden, ready};
use crate::admission::FabricAdmission;
use crate::document;

/// A server without nodes, whose callers are whoever they say: the token `ann+dev+ops` is the user `ann` in `dev` and `ops`.
struct Server {
    address: SocketAddr,
    store: Arc<Cached>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
}

struct Trusting;

impl Authenticate for Trusting {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Option<Identity>> {
        let mut parts = token.split('+').map(str::to_owned);
        let user = parts.next().unwrap_or_default();
        Box::pin(async { Some(Identity { user, groups: parts.collect() }) })
    }
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = FileStore::open(&folder.path().join("store"), Retention::default()).unwrap();
        let store = Arc::new(Cached::start(Arc::new(home)).await.unwrap());
        let default =
            document::plain("sealane.dev/v1alpha1", "Tenant", "default", None, "2026-01-01T00:00:00Z");
        let key = ObjectKey::new(ObjectKey::SYSTEM, document::TENANTS, None, "default");
        store.write(Transaction::put(key, Expect::Absent, default)).await.unwrap();
        ready::repair(&store, &api::Rights::default()).await.unwrap();
        let warden = Arc::new(Warden::new(Arc::clone(&store)));
        let default_subnets = vec!["10.9.0.0/16".parse().unwrap()];
        let admission = Arc::new(FabricAdmission { warden: Arc::clone(&warden), default_subnets });
        let authenticate = Some(Arc::new(Trusting) as Arc<dyn Authenticate>);
        let limits = api::Limits::default();
        let settings =
            Settings { authorizer: warden, authenticate, limits, admission, audit: Arc::new(NoAudit) };
        let api = Api::start(Arc::clone(&store), settings).await.unwrap();
        let listener = Listener::tcp(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.address().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = tokio::spawn(api::serve(api, vec![listener], axum::Router::new(), async {
            stopped.await.ok();
        }));
        Self { address, store, stop: Some(stop), serving, folder }
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.serving.await.unwrap();
    }

    async fn ask(&self, who: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let media = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "test")
            .header("authorization", format!("Bearer {who}"))
            .header("content-type", media);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn make(&self, who: &str, path: &str, document: &Value) -> (u16, Value) {
        self.ask(who, "POST", path, document).await
    }

    /// What root makes.
    async fn given(&self, path: &str, document: &Value) {
        let (code, answer) = self.make(ROOT, path, document).await;
        assert_eq!(code, 201, "{answer:#}");
    }

    async fn kubectl(&self, who: &str, arguments: &str) -> (bool, String) {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", door.local_addr().unwrap());
        let vouching = tokio::spawn(vouch(door, self.address, who.to_owned()));
        let mut command = tokio::process::Command::new("kubectl");
        command.args(["--kubeconfig=/dev/null", "--server", &server]).args(arguments.split_whitespace());
        command.env("HOME", self.folder.path()).env_remove("KUBECONFIG");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
        vouching.abort();
        let output = output.expect("kubectl answers within a minute").unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }
}

/// Adds a token to what comes by a door: kubectl itself sends none without TLS.
async fn vouch(door: TcpListener, server: SocketAddr, who: String) {
    while let Ok((mut client, _)) = door.accept().await {
        let token = format!("\r\nAuthorization: Bearer {who}\r\nConnection: close\r\n");
        tokio::spawn(async move {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n") && client.read_exact(&mut byte).await.is_ok() {
                head.push(byte[0]);
            }
            let mut upstream = TcpStream::connect(server).await.unwrap();
            upstream.write_all(head.trim_ascii_end()).await.unwrap();
            upstream.write_all(token.as_bytes()).await.unwrap();
            tokio::io::copy_bidirectional(&mut client, &mut upstream).await.ok();
        });
    }
}

const ROOT: &str = "root+system:masters";
const RIGHTS_PATH: &str = "/apis/rbac.authorization.k8s.io/v1";
const ACME: &str = "/clusters/acme";

fn role(name: &str, rules: Value) -> Value {
    json!({ "metadata": { "name": name }, "rules": rules })
}

fn bind(name: &str, kind: &str, role: &str, users: &[&str]) -> Value {
    let subjects: Vec<_> = users.iter().map(|user| json!({ "kind": "User", "name": user })).collect();
    json!({ "metadata": { "name": name }, "roleRef": { "kind": kind, "name": role }, "subjects": subjects })
}

/// A tenant `acme` with a namespace `shop`, and somebody for every ready role.
async fn peopled() -> Server {
    let server = Server::start().await;
    let tenants = "/apis/sealane.dev/v1alpha1/tenants";
    server.given(tenants, &json!({ "metadata": { "name": "acme" } })).await;
    for place in ["", ACME] {
        let namespace = json!({ "metadata": { "name": "shop" } });
        server.given(&format!("{place}/api/v1/namespaces"), &namespace).await;
    }
    for ready in EVERYWHERE.iter().filter(|ready| ready.name != "developer") {
        let binding = bind(ready.name, "ClusterRole", ready.name, &[ready.name]);
        server.given(&format!("{ACME}{RIGHTS_PATH}/clusterrolebindings"), &binding).await;
    }
    let developer = bind("developer", "ClusterRole", "developer", &["developer"]);
    server.given(&format!("{ACME}{RIGHTS_PATH}/namespaces/shop/rolebindings"), &developer).await;
    let operator = bind("provider", "ClusterRole", "network-operator", &["provider"]);
    server.given(&format!("/clusters/system{RIGHTS_PATH}/clusterrolebindings"), &operator).await;
    server
}

/// Callers, in the order of the table's columns.
const CALLERS: [&str; 9] = [
    "cluster-admin",
    "tenant-administrator",
    "security",
    "network-operator",
    "developer",
    "auditor",
    "view",
    "provider",
    "system:node:n1+system:nodes",
];

/// Tenant, resource with its group, namespace, and for each caller: `w` reads and writes, `r` reads, `.` neither.
const TABLE: &[(&str, &str, &str, &str, &str)] = &[
    ("acme", "", "namespaces", "", "wwrr.rrr."),
    ("acme", "networking.k8s.io", "networkpolicies", "", "wwwr.rrr."),
    ("acme", "networking.k8s.io", "networkpolicies", "shop", "wwwrwrrr."),
    ("acme", "networking.k8s.io", "networkpolicies", "other", "wwwr.rrr."),
    ("acme", "policy.networking.k8s.io", "clusternetworkpolicies", "", "wwwr.rrr."),
    ("acme", "sealane.dev", "virtualnetworks", "", "wwrw.rrw."),
    ("acme", "sealane.dev", "endpoints", "shop", "wrrrrrrr."),
    ("acme", "sealane.dev", "endpoints", "other", "wrrr.rrr."),
    ("acme", "sealane.dev", "endpoints/status", "shop", "wrrrrrrr."),
    ("acme", RIGHTS_GROUP, "roles", "shop", "wwr.rr..."),
    ("acme", RIGHTS_GROUP, "rolebindings", "other", "wwr..r..."),
    ("acme", RIGHTS_GROUP, "clusterroles", "", "wwr..r..."),
    ("acme", RIGHTS_GROUP, "clusterrolebindings", "", "wwr..r..."),
    ("acme", "fabric.sealane.dev", "flows", "", "wrrr.r.r."),
    ("acme", "fabric.sealane.dev", "drops", "", "wrrr.r.r."),
    ("acme", "fabric.sealane.dev", "explanations", "", "wrrr.rrr."),
    ("acme", "fabric.sealane.dev", "audit", "", "wr...r..."),
    ("acme", "example.com", "things", "", "w........"),
    ("default", "", "namespaces", "", ".......r."),
    ("default", "networking.k8s.io", "networkpolicies", "shop", ".......r."),
    ("default", RIGHTS_GROUP, "clusterrolebindings", "", "........."),
    ("system", "sealane.dev", "tenants", "", ".......r."),
    ("system", "sealane.dev", "nodes", "", ".......r."),
    ("system", "fabric.sealane.dev", "metrics", "", ".......r."),
    ("system", RIGHTS_GROUP, "clusterroles", "", "........."),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ready_role_may_what_the_table_says_and_nothing_else() {
    let server = peopled().await;
    let mut faults = Vec::new();
    let warden = Warden::new(Arc::clone(&server.store));
    for (tenant, group, resource, namespace, row) in TABLE {
        for (caller, expected) in CALLERS.iter().zip(row.chars()) {
            let mut parts = caller.split('+').map(str::to_owned);
            let (user, mut groups) = (parts.next().unwrap(), parts.collect::<Vec<_>>());
            groups.push(api::AUTHENTICATED.to_owned());
            let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
            let what = api::What::Objects {
                group,
                resource,
                subresource: Some(part).filter(|part| !part.is_empty()),
                namespace: Some(*namespace).filter(|namespace| !namespace.is_empty()),
                name: None,
            };
            let may = |verb: &str| {
                let asked = api::Asked { user: &user, groups: &groups, tenant, verb, what };
                matches!(api::Authorizer::decide(&warden, &asked), api::Decision::Allowed(_))
            };
            let reads = ["get", "list", "watch"].map(may);
            let writes = ["create", "update", "patch", "deletecollection"].map(may);
            let found = match (reads, writes) {
                ([true, true, true], [true, true, true, true]) => 'w',
                ([true, true, true], [false, false, false, false]) => 'r',
                ([false, false, false], [false, false, false, false]) => '.',
                _ => '?',
            };
            if found != expected || may("connect") != (expected == 'w' && *caller == "cluster-admin") {
                faults.push(format!(
                    "{caller} on {resource}.{group} in {tenant}/{namespace}: {found}, not {expected}"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_meet_what_the_table_says() {
    let server = peopled().await;
    let policies =
        |namespace: &str| format!("{ACME}/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
    let policy = json!({ "metadata": { "name": "p" }, "spec": { "podSelector": {} } });
    for (who, namespace, code) in [
        ("developer", "shop", 201),
        ("developer", "default", 403),
        ("view", "shop", 403),
        ("stranger", "shop", 403),
    ] {
        let (found, answer) = server.make(who, &policies(namespace), &policy).await;
        assert_eq!(found, code, "{who} in {namespace}: {answer:#}");
    }
    for (who, path, code) in [
        ("developer", format!("{ACME}/api/v1/namespaces/shop"), 200),
        ("developer", format!("{ACME}/api/v1/namespaces/default"), 403),
        ("developer", format!("{ACME}/api/v1/namespaces"), 403),
        ("developer", policies("shop"), 200),
        ("developer", format!("{}/p", policies("shop")), 200),
        ("cluster-admin", "/api/v1/namespaces".to_owned(), 403),
        ("cluster-admin", "/apis/sealane.dev/v1alpha1/nodes".to_owned(), 403),
        ("provider", "/apis/sealane.dev/v1alpha1/nodes".to_owned(), 200),
        ("stranger", "/apis".to_owned(), 200),
        ("stranger", format!("{ACME}/openapi/v3"), 200),
        (
            "system:node:n1+system:nodes",
            "/clusters/system/apis/sealane.dev/v1alpha1/nodes/n1".to_owned(),
            404,
        ),
        (
            "system:node:n1+system:nodes",
            "/clusters/system/apis/sealane.dev/v1alpha1/nodes/n2".to_owned(),
            403,
        ),
        ("system:node:n1+system:nodes", "/clusters/system/apis/sealane.dev/v1alpha1/nodes".to_owned(), 403),
        ("system:node:n1+system:nodes", policies("shop"), 403),
    ] {
        let (found, answer) = server.ask(who, "GET", &path, &Value::Null).await;
        assert_eq!(found, code, "{who} {path}: {answer:#}");
    }
    let (_, answer) = server.make("stranger", &policies("shop"), &policy).await;
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains("User \"stranger\" cannot create") && message.contains("can-i --list"),
        "{message}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hands_on_what_they_do_not_have() {
    let server = peopled().await;
    let (roles, bindings) =
        (format!("{ACME}{RIGHTS_PATH}/clusterroles"), format!("{ACME}{RIGHTS_PATH}/clusterrolebindings"));
    let within = format!("{ACME}{RIGHTS_PATH}/namespaces/shop");
    let reads =
        json!([{ "verbs": ["get"], "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"] }]);
    let stars = json!([{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }]);
    let who = "tenant-administrator";

    let (code, _) = server.make(who, &roles, &role("reads", reads.clone())).await;
    assert_eq!(code, 201);
    let (code, answer) = server.make(who, &roles, &role("stars", stars.clone())).await;
    let message = answer["message"].as_str().unwrap();
    assert_eq!(code, 403, "{message}");
    assert!(
        message.contains(r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#)
            && message.contains("escalate"),
        "{message}"
    );
    let (code, answer) =
        server.ask(who, "PATCH", &format!("{roles}/reads"), &json!({ "rules": stars })).await;
    assert_eq!(code, 403, "an update is no way round: {answer:#}");
    let label = json!({ "metadata": { "labels": { "gathered": "yes" } } });
    let (code, answer) = server.ask(who, "PATCH", &format!("{roles}/cluster-admin"), &label).await;
    assert_eq!(code, 403, "nor is a label by which others gather it: {answer:#}");
    let gathers = json!({ "metadata": { "name": "g" },
        "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "gathered": "yes" } }] } });
    let (code, answer) = server.make(who, &roles, &gathers).await;
    assert_eq!(code, 403, "nor a role that gathers what others will write: {answer:#}");
    assert_eq!(server.make("cluster-admin", &roles, &gathers).await.0, 201);

    for (name, role, code) in
        [("ok", "developer", 201), ("too-much", "cluster-admin", 403), ("none", "missing", 403)]
    {
        let (found, answer) = server.make(who, &bindings, &bind(name, "ClusterRole", role, &["eve"])).await;
        assert_eq!(found, code, "{answer:#}");
        let inside = bind(name, "ClusterRole", role, &["eve"]);
        let (found, answer) = server.make(who, &format!("{within}/rolebindings"), &inside).await;
        assert_eq!(found, code, "{answer:#}");
    }
    let (code, answer) =
        server.ask(who, "PATCH", &format!("{bindings}/cluster-admin"), &json!({ "subjects": [] })).await;
    assert_eq!(code, 403, "whose role one does not have, one does not give to others either: {answer:#}");

    // With the verbs `bind` and `escalate` on a role, and on no other, its rights can be handed on.
    let verbs = json!([{ "verbs": ["bind"], "apiGroups": [RIGHTS_GROUP], "resources": ["clusterroles"], "resourceNames": ["cluster-admin"] },
        { "verbs": ["escalate"], "apiGroups": [RIGHTS_GROUP], "resources": ["clusterroles"], "resourceNames": ["stars"] }]);
    server.given(&roles, &role("trusted", verbs)).await;
    server.given(&bindings, &bind("trusted", "ClusterRole", "trusted", &[who])).await;
    let (code, answer) =
        server.make(who, &bindings, &bind("now", "ClusterRole", "cluster-admin", &["eve"])).await;
    assert_eq!(code, 201, "{answer:#}");
    assert_eq!(server.make(who, &roles, &role("stars", stars.clone())).await.0, 201);
    assert_eq!(server.make(who, &roles, &role("other", stars)).await.0, 403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_holds_from_the_next_request_on_and_is_lost_as_soon() {
    let server = peopled().await;
    let bindings = format!("{ACME}{RIGHTS_PATH}/clusterrolebindings");
    for round in 0..20 {
        let namespaces = format!("{ACME}/api/v1/namespaces");
        let binding = bind("again", "ClusterRole", "view", &["eve"]);
        assert_eq!(server.make("tenant-administrator", &bindings, &binding).await.0, 201);
        assert_eq!(server.ask("eve", "GET", &namespaces, &Value::Null).await.0, 200, "round {round}");
        let path = format!("{bindings}/again");
        assert_eq!(server.ask("tenant-administrator", "DELETE", &path, &Value::Null).await.0, 200);
        assert_eq!(server.ask("eve", "GET", &namespaces, &Value::Null).await.0, 403, "round {round}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_tells_what_its_user_may() {
    let server = peopled().await;
    server
        .given(
            &format!("{RIGHTS_PATH}/clusterrolebindings"),
            &bind("sec", "ClusterRole", "security", &["sue"]),
        )
        .await;
    for (arguments, expected) in [
        ("auth can-i create networkpolicies -n shop", "yes"),
        ("auth can-i create virtualnetworks", "no"),
        ("auth can-i get /apis", "yes"),
        ("auth can-i get /metrics", "no"),
        ("auth can-i list nodes.sealane.dev", "no"),
        ("auth can-i * *", "no"),
    ] {
        let (_, said) = server.kubectl("sue", arguments).await;
        assert!(said.lines().any(|line| line.trim().starts_with(expected)), "{arguments}: {said}");
    }
    let (well, listed) = server.kubectl("sue", "auth can-i --list").await;
    assert!(
        well && listed.contains("networkpolicies.networking.k8s.io") && listed.contains("[/api/*]"),
        "{listed}"
    );
    let (well, whoami) = server.kubectl("sue+team", "auth whoami").await;
    let told = well && whoami.contains("sue") && whoami.contains("[team system:authenticated]");
    // It is asked so from 1.28 on.
    assert!(told || whoami.contains("unknown command \"whoami\""), "{whoami}");
    let command = "create clusterrolebinding too-much --clusterrole=cluster-admin --user=sue";
    let (well, told) = server.kubectl("sue", command).await;
    assert!(!well && told.contains("is forbidden"), "{told}");
    let (well, roles) = server.kubectl("sue", "get clusterroles").await;
    assert!(well && EVERYWHERE.iter().all(|ready| roles.contains(ready.name)), "{roles}");
    let (well, told) =
        server.kubectl("sue", "create role stars --verb=* --resource=networkpolicies -n shop").await;
    assert!(!well && told.contains("cannot create resource"), "{told}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_ready_role_lacks_is_added_and_what_somebody_added_or_took_over_stays() {
    let server = Server::start().await;
    let find = |name: &str| {
        let key = ObjectKey::new("system", &format!("clusterroles.{RIGHTS_GROUP}"), None, name);
        server.store.find(&key)
    };
    let before = server.store.revision();
    ready::repair(&server.store, &api::Rights::default()).await.unwrap();
    assert_eq!(server.store.revision(), before, "what is whole is not written again");

    let path = format!("/clusters/system{RIGHTS_PATH}/clusterroles");
    let extra = json!({ "verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"] });
    let (code, _) = server.ask(ROOT, "PATCH", &format!("{path}/view"), &json!({ "rules": [extra] })).await;
    assert_eq!(code, 200);
    let own =
        json!({ "rules": [extra], "metadata": { "annotations": { rights::ready::AUTOUPDATE: "false" } } });
    assert_eq!(server.ask(ROOT, "PATCH", &format!("{path}/auditor"), &own).await.0, 200);
    assert_eq!(server.ask(ROOT, "DELETE", &format!("{path}/security"), &Value::Null).await.0, 200);
    let settings = api::Rights { users: api::Access::NONE, ..api::Rights::default() };
    ready::repair(&server.store, &settings).await.unwrap();

    let view = find("view").unwrap().value["rules"].as_array().unwrap().clone();
    let whole = EVERYWHERE.iter().find(|ready| ready.name == "view").unwrap().role();
    assert!(
        view.contains(&extra) && whole["rules"].as_array().unwrap().iter().all(|rule| view.contains(rule)),
        "{view:?}"
    );
    assert_eq!(find("auditor").unwrap().value["rules"], json!([extra]));
    assert!(find("security").is_some());
    let bindings = Scope::resource(&format!("clusterrolebindings.{RIGHTS_GROUP}"));
    let names: Vec<_> =
        server.store.objects(&bindings).objects.iter().map(|object| object.key.name().to_owned()).collect();
    assert!(names.contains(&"sealane:settings:loopback".to_owned()), "{names:?}");
    assert!(
        !names.contains(&"sealane:settings:local".to_owned()),
        "the settings give nothing any more: {names:?}"
    );
    for ready in PROVIDER {
        assert!(find(ready.name).is_some(), "{}", ready.name);
    }
    assert!(server.store.span().revision > before);
    server.stop().await;
}
