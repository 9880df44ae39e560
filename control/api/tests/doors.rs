//! Who may come in, what is noted of it, and what is thrown at the door.
#![allow(clippy::unwrap_used)]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::{Access, Admission, Objection, Proposal, Rights, Verb, Who};
use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::future::BoxFuture;
use harness::{Choices, NAMESPACES, NETWORKS, Server, namespace, network, policies, policy};
use hyper::Method;
use intent::Problem;
use intent::problem::Fault;
use serde_json::{Value, json};
use store::{
    Action, Cached, Change, Expect, FileStore, Listing, Object, ObjectKey, Scope, Span, Store, StoreError,
    Transaction, Watch, Written,
};

/// Asks through the unix socket as a user, by curl.
async fn as_user(server: &Server, uid: u32, arguments: &[&str]) -> Value {
    let mut command = tokio::process::Command::new("setpriv");
    let user = uid.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "curl", "-sS", "--max-time", "20"]);
    command.arg("--unix-socket").arg(&server.socket).args(arguments);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| json!(String::from_utf8_lossy(&output.stdout)))
}

fn notes(server: &Server) -> Vec<Value> {
    let text = std::fs::read_to_string(&server.audit).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn root_writes_and_other_users_read() {
    let server = Server::start().await;
    let url = format!("http://sealane{NAMESPACES}");
    let body = namespace("shop").to_string();
    let post = ["-H", "Content-Type: application/json", "-d", &body, &url];
    let refused = as_user(&server, 65534, &post).await;
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(403), &json!("Forbidden")));
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("User \"uid:65534\" cannot create resource \"namespaces\""), "{message}");
    assert_eq!(as_user(&server, 65534, &[&url]).await["items"].as_array().unwrap().len(), 1);
    assert_eq!(as_user(&server, 0, &post).await["metadata"]["name"], "shop");
    let item = format!("{url}/shop");
    assert_eq!(as_user(&server, 65534, &["-X", "DELETE", &item]).await["code"], 403);

    let notes = notes(&server);
    let told: Vec<_> = notes
        .iter()
        .map(|note| {
            (
                note["user"]["username"].as_str().unwrap(),
                note["verb"].as_str().unwrap(),
                note["responseStatus"]["code"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("uid:65534", "create", 403), ("root", "create", 201), ("uid:65534", "delete", 403)]);
    assert_eq!(notes[0]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(notes[1]["objectRef"]["name"], "shop");
    assert_eq!(notes[1]["requestURI"], NAMESPACES);
}

#[tokio::test]
async fn loopback_has_the_rights_that_are_configured() {
    let rights = Rights { loopback: Access::READ, ..Rights::default() };
    let server = Server::start_with(Choices { rights, ..Choices::default() }).await;
    server.get(NAMESPACES).await.expect(200);
    assert_eq!(server.post(NAMESPACES, &namespace("shop")).await.expect(403).reason(), "Forbidden");
    let rights = Rights { loopback: Access::NONE, ..Rights::default() };
    let server = Server::start_with(Choices { rights, ..Choices::default() }).await;
    for path in [
        NAMESPACES,
        "/api",
        "/apis",
        "/openapi/v3",
        "/clusters/acme/api/v1",
        &format!("{NAMESPACES}?watch=1"),
    ] {
        server.get(path).await.expect(403);
    }
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        server.get(path).await.expect(200);
    }
    let refused: Vec<_> = notes(&server).iter().map(|note| note["objectRef"]["resource"].clone()).collect();
    let list = json!("namespaces");
    assert_eq!(
        refused,
        [&list, &Value::Null, &Value::Null, &Value::Null, &Value::Null, &list].map(Clone::clone)
    );
}

#[tokio::test]
async fn web_pages_are_not_answered() {
    let server = Server::start().await;
    for path in [NAMESPACES, "/healthz", "/elsewhere"] {
        let request =
            server.request(Method::GET, path).header("origin", "http://evil.example").body(Body::empty());
        assert_eq!(harness::answer(server.send(request.unwrap()).await).await.code, 403, "{path}");
    }
    server.call(Method::POST, NAMESPACES, "text/plain", namespace("shop").to_string()).await.expect(415);
}

#[tokio::test]
async fn garbage_is_refused_and_the_server_lives_on() {
    let server = Server::start().await;
    let post = async |body: Vec<u8>| server.call(Method::POST, NAMESPACES, "application/json", body).await;
    let large = format!("{{\"metadata\":{{\"name\":\"{}\"}}}}", "x".repeat(4 << 20));
    assert_eq!(post(large.into_bytes()).await.expect(413).reason(), "RequestEntityTooLarge");
    let bodies: [&[u8]; 8] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{\"metadata\":\"x\"}",
        b"{\"metadata\":{\"name\":\"\xc3\x28\"}}",
        b"{} {}",
    ];
    for body in bodies {
        post(body.to_vec()).await.expect(400);
    }
    for depth in [65, 127, 128, 100_000] {
        let deep = format!(
            "{{\"metadata\":{{\"name\":\"x\"}},\"spec\":{}{}}}",
            "[".repeat(depth),
            "]".repeat(depth)
        );
        post(deep.into_bytes()).await.expect(400);
    }
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &(b'b'..=b'i')
            .map(|c| format!("{}: &{0} [{}]\n", c as char, format!("*{},", (c - 1) as char).repeat(9)))
            .collect::<String>();
    let bombed = server.call(Method::POST, NAMESPACES, "application/yaml", bomb).await;
    assert!(
        bombed.code == 400 && bombed.body["message"].to_string().contains("repeats itself"),
        "{bombed:?}"
    );
    server.call(Method::from_bytes(b"BREW").unwrap(), NAMESPACES, "application/json", "").await.expect(405);
    for path in [
        "/api/v1/namespaces/%00",
        "/api/v1/namespaces/..%2f..",
        "/api//v1",
        "//",
        "/clusters//api",
        "/api/v1/namespaces?limit=-1",
    ] {
        let code = server.get(path).await.code;
        assert!(matches!(code, 400 | 404), "{path}: {code}");
    }
    server.post(NAMESPACES, &json!({ "metadata": { "name": "../x" } })).await.expect(422);
    server.post(NAMESPACES, &json!({ "metadata": { "name": 7 } })).await.expect(400);
    server.post(NAMESPACES, &namespace("fine")).await.expect(201);
}

#[tokio::test]
async fn a_body_is_not_looked_at_before_its_sender_may_write() {
    let server = Server::start().await;
    let url = format!("http://sealane{NAMESPACES}");
    for media in ["application/yaml", "application/json", "text/nonsense"] {
        let media = format!("Content-Type: {media}");
        let refused = as_user(&server, 65534, &["-H", &media, "-d", "a: &a [*a, {", &url]).await;
        assert_eq!(refused["code"], 403, "{media}: {refused}");
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let server = Server::start().await;
    let chunk = axum::body::Bytes::from(vec![b' '; 1 << 20]);
    let endless = futures_util::stream::repeat_with(move || Ok::<_, std::convert::Infallible>(chunk.clone()));
    let request = server.request(Method::POST, NAMESPACES).header("content-type", "application/json");
    let sent = server.client.request(request.body(Body::from_stream(endless)).unwrap());
    let outcome =
        tokio::time::timeout(std::time::Duration::from_secs(10), sent).await.expect("an answer, not a wait");
    // The connection may be cut while the client still writes.
    assert!(outcome.is_err() || outcome.is_ok_and(|response| response.status() == 413));
    server.get(NAMESPACES).await.expect(200);
}

/// A home that cannot be written from its second transaction on, until it is mended.
struct Broken(FileStore);

static MENDED: AtomicBool = AtomicBool::new(false);

impl Store for Broken {
    fn span(&self) -> Span {
        self.0.span()
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<Object>, StoreError>> {
        self.0.get(key)
    }

    fn list<'a>(&'a self, scope: &'a Scope, at: Option<u64>) -> BoxFuture<'a, Result<Listing, StoreError>> {
        self.0.list(scope, at)
    }

    fn watch(&self, scope: Scope, after: u64) -> Result<Watch, StoreError> {
        self.0.watch(scope, after)
    }

    fn write(&self, transaction: Transaction) -> BoxFuture<'_, Result<Written, StoreError>> {
        if self.0.span().revision == 0 || MENDED.load(Ordering::SeqCst) {
            return self.0.write(transaction);
        }
        let source = Arc::new(std::io::Error::from(std::io::ErrorKind::StorageFull));
        Box::pin(async { Err(StoreError::Thread { path: "/full/server.redb".into(), source }) })
    }

    fn compact(&self, through: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.compact(through)
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_written_answers_503_with_the_cause_and_is_read_on() {
    let choices = Choices { between: |home| Arc::new(Broken(home)), ..Choices::default() };
    let server = Server::start_with(choices).await;
    let mut watch = server.watch(&format!("{NAMESPACES}?watch=1")).await;
    assert_eq!(watch.event().await.1, "default");
    let refused = server.post(NAMESPACES, &namespace("shop")).await.expect(503);
    assert_eq!(
        (refused.reason(), &refused.headers["retry-after"]),
        ("ServiceUnavailable", &"1".parse().unwrap())
    );
    let message = refused.body["message"].as_str().unwrap();
    assert!(message.contains("/full/server.redb: no storage space"), "{message}");
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    server.merge(&format!("{NAMESPACES}/default"), &label).await.expect(503);
    assert_eq!(server.get(NAMESPACES).await.expect(200).names(), ["default"]);
    server.get("/readyz").await.expect(200);
    MENDED.store(true, Ordering::SeqCst);
    server.post(NAMESPACES, &namespace("shop")).await.expect(201);
    assert_eq!(watch.event().await.1, "shop");
}

/// Refuses objects named `never`, keeps those labelled so, and lets one network only have each range of addresses.
struct Picky;

impl Admission for Picky {
    fn judge(&self, proposal: &Proposal<'_>, objects: &Cached) -> Result<Vec<Change>, Objection> {
        if proposal.new.is_none()
            && proposal.old.is_some_and(|old| old["metadata"]["labels"]["keep"] == "yes")
        {
            return Err(Objection::Forbidden("it is kept".to_owned()));
        }
        if proposal.key.name() == "never" {
            return Err(Objection::Forbidden("no object has this name".to_owned()));
        }
        let Some(range) = proposal.new.and_then(|new| new["spec"]["subnets"][0]["cidr"].as_str()) else {
            return Ok(Vec::new());
        };
        let key = ObjectKey::new("default", "ranges", None, &range.replace('/', "-"));
        if objects.find(&key).is_some() {
            let problem = Problem::new(
                "spec.subnets[0].cidr",
                &json!(range),
                Fault::Duplicate,
                "is taken",
                "choose another",
            );
            return Err(Objection::Invalid(vec![problem]));
        }
        Ok(vec![Change { key, expect: Expect::Absent, action: Action::Put(json!({}).into()) }])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_joins_in_and_races_do_not_get_past_it() {
    let server = Server::start_with(Choices { admission: Arc::new(Picky), ..Choices::default() }).await;
    let never = server.post(&policies("default"), &policy("never")).await.expect(403);
    assert!(never.body["message"].as_str().unwrap().ends_with("is forbidden: no object has this name"));
    let mut kept = namespace("kept");
    kept["metadata"]["labels"] = json!({ "keep": "yes" });
    server.post(NAMESPACES, &kept).await.expect(201);
    server.delete(&format!("{NAMESPACES}/kept")).await.expect(403);
    assert_eq!(server.get(&format!("{NAMESPACES}/kept")).await.body["status"]["phase"], "Active");
    let names: Vec<_> = (0..10).map(|i| format!("n{i}")).collect();
    let racing = names.iter().map(|name| {
        let body = network(name, "10.1.0.0/16");
        let server = &server;
        async move { server.post(NETWORKS, &body).await }
    });
    let answers = futures_util::future::join_all(racing).await;
    let mut codes: Vec<_> = answers.iter().map(|answer| answer.code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [vec![201], vec![422; 9]].concat());
    assert_eq!(server.get(NETWORKS).await.names().len(), 1);
}

#[tokio::test]
async fn other_routes_share_the_doors_and_know_who_asks() {
    let whoami = get(|Extension(who): Extension<Who>| async move { who.user });
    let extra = Router::new().route("/sealane/whoami", whoami);
    let server = Server::start_with(Choices { extra, ..Choices::default() }).await;
    assert_eq!(server.get("/sealane/whoami").await.expect(200).body, "loopback");
    assert_eq!(as_user(&server, 65534, &["http://sealane/sealane/whoami"]).await, "uid:65534");
    let known = as_user(&server, 0, &["--http2-prior-knowledge", "http://sealane/sealane/whoami"]).await;
    assert_eq!(known, "root", "HTTP/2 with prior knowledge is spoken on the same socket");
    server.get(NAMESPACES).await.expect(200);
    assert!(Verb::Connect.word() == "connect" && !Verb::Connect.writes());
}

/// Not a test of its own: opens connections as whichever user it runs as, says how many stay open, and holds them.
#[test]
#[ignore = "the child of a_user_who_holds_many_connections_keeps_nobody_out"]
fn child_holds_connections() {
    let Some(socket) = std::env::var_os("SEALANE_TEST_SOCKET") else { return };
    let held: Vec<_> = (0..300).map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap()).collect();
    let is_open = |mut stream: &std::os::unix::net::UnixStream| {
        stream.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        let read = std::io::Read::read(&mut stream, &mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    println!("OPEN {}", held.iter().filter(|stream| is_open(stream)).count());
    std::io::stdin().lines().for_each(drop);
}

#[tokio::test]
async fn a_user_who_holds_many_connections_keeps_nobody_out() {
    use tokio::io::AsyncBufReadExt;
    let server = Server::start().await;
    let mut crowd = tokio::process::Command::new("setpriv");
    crowd
        .args(["--reuid", "65533", "--regid", "65533", "--clear-groups"])
        .arg(std::env::current_exe().unwrap());
    crowd
        .args(["--exact", "child_holds_connections", "--ignored", "--nocapture"])
        .env("SEALANE_TEST_SOCKET", &server.socket);
    crowd.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut crowd = crowd.spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(crowd.stdout.take().unwrap()).lines();
    let open = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the child says how many are open");
            if let Some((_, count)) = line.split_once("OPEN ") {
                break count.to_owned();
            }
        }
    };
    assert_eq!(tokio::time::timeout(std::time::Duration::from_secs(60), open).await.unwrap(), "128");
    let url = format!("http://sealane{NAMESPACES}");
    assert_eq!(as_user(&server, 65534, &[&url]).await["kind"], "NamespaceList");
    assert_eq!(as_user(&server, 0, &[&url]).await["kind"], "NamespaceList");
    crowd.kill().await.unwrap();
}

#[tokio::test]
async fn the_socket_is_gone_after_the_end() {
    let server = Server::start().await;
    let socket = server.socket.clone();
    assert!(socket.exists());
    let _folder = server.stop().await;
    assert!(!socket.exists());
}
