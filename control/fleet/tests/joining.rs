//! A whole server that lets nodes and users in by tokens: what it takes, and every way that it does not.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleet::Config;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use identity::Key;
use record::Generation;
use record::delta::{Hello, NodeMessage, PROTOCOL, ServerMessage};
use record::join::{Fingerprint, Token};
use serde_json::{Value, json};
use stream::{Address, Credentials, JoinError, Link, Passport};
use tokio::task::JoinHandle;

struct Server {
    folder: tempfile::TempDir,
    address: Address,
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<Result<(), fleet::ServerError>>,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = Config {
            store: folder.path().join("server.redb"),
            socket: Some(folder.path().join("server.sock")),
            listen: vec![port],
            pki: Some(folder.path().join("pki")),
            audit: Some(folder.path().join("audit.log")),
            ..Config::default()
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(fleet::run(config, async {
            stopped.await.ok();
        }));
        let server = Self { folder, address: format!("https://{port}").parse().unwrap(), stop, task };
        let began = Instant::now();
        while server.try_ask("GET", "/readyz", None).await.is_none() {
            assert!(began.elapsed() < Duration::from_secs(60) && !server.task.is_finished(), "not up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    fn pki(&self) -> PathBuf {
        self.folder.path().join("pki")
    }

    async fn try_ask(&self, method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let stream = tokio::net::UnixStream::connect(self.folder.path().join("server.sock")).await.ok()?;
        let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(driver);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = http::Request::builder().method(method).uri(path).header("host", "server");
        let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.ok()?;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.ok()?.to_bytes();
        Some((code, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.try_ask(method, path, body).await.unwrap()
    }

    async fn token(&self, whom: Value) -> Token {
        let order = json!({ "whom": whom, "seconds": 600 });
        let (code, made) = self.ask("POST", "/fabric/v1/tokens", Some(order)).await;
        assert_eq!(code, 201, "{made}");
        made["token"].as_str().unwrap().parse().unwrap()
    }

    async fn join(&self, token: &Token, node: &str) -> Result<Passport, JoinError> {
        stream::join(&self.address, token, node, Key::generate()).await
    }

    /// Asks over TLS, as whom the credentials or the bearer token say.
    async fn dial(&self, credentials: &Credentials, bearer: Option<&str>, path: &str) -> Option<u16> {
        let uri = self.address.to_string().parse().unwrap();
        let (stream, _) = stream::dial(&uri, credentials, "http/1.1").await.ok()?;
        let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(driver);
        let mut request = http::Request::get(path).header("host", "server");
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.body(Full::new(bytes::Bytes::new())).unwrap();
        Some(sender.send_request(request).await.ok()?.status().as_u16())
    }

    /// A session under this name, as far as the server's first word.
    async fn session(&self, passport: &Passport, name: &str) -> Result<(Link, ServerMessage), String> {
        let credentials = Credentials::new(passport).unwrap();
        let link = stream::connect_as(&self.address, &credentials).await;
        let mut link = link.map_err(|error| told(&error))?;
        let underlay = vec![format!("192.0.2.{}", name.len()).parse().unwrap()];
        let hello = Hello {
            protocol: PROTOCOL,
            name: name.to_owned(),
            underlay,
            generation: Generation::default(),
            held: Vec::new(),
            endpoints: Vec::new(),
            software: "0.1.0".into(),
            kernel: "6.18".into(),
            mtu: 1500,
        };
        link.outgoing.send(NodeMessage::Hello(hello)).await.unwrap();
        let first = tokio::time::timeout(Duration::from_secs(30), link.incoming.message()).await.unwrap();
        let first = first.map_err(|status| status.to_string())?.ok_or("it closed")?;
        Ok((link, first))
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Until the session is over; panics if it goes on.
async fn ends(mut link: Link) {
    let over = async { while let Ok(Some(_)) = link.incoming.message().await {} };
    tokio::time::timeout(Duration::from_secs(60), over).await.expect("a session of a revoked node ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_joins_with_a_token_once_renews_and_is_cut_off_when_revoked() {
    let server = Server::start().await;
    let token = server.token(json!({ "for": "node" })).await;
    let passport = server.join(&token, "a").await.unwrap();
    let (link, first) = server.session(&passport, "a").await.unwrap();
    assert!(matches!(first, ServerMessage::Welcome(_)), "{first:?}");
    let (_, lie) = server.session(&passport, "bb").await.unwrap();
    assert!(matches!(lie, ServerMessage::Rejected(_)), "another's name: {lie:?}");

    let replayed = server.join(&token, "bb").await.map_err(|error| told(&error)).unwrap_err();
    assert!(replayed.contains("(401)") && replayed.contains("was used by the node a"), "{replayed}");
    let stolen = server.token(json!({ "for": "node" })).await;
    let taken = server.join(&stolen, "a").await.map_err(|error| told(&error)).unwrap_err();
    assert!(taken.contains("another host holds the name a"), "{taken}");
    let bound = server.token(json!({ "for": "node", "name": "ccc" })).await;
    let other = server.join(&bound, "bb").await.map_err(|error| told(&error)).unwrap_err();
    assert!(other.contains("(403)") && other.contains("is for the node ccc"), "{other}");
    let between = Token { pin: Fingerprint::new([7; 32]), ..stolen.clone() };
    let unpinned = server.join(&between, "bb").await.unwrap_err();
    assert!(matches!(unpinned, JoinError::Distrust { .. }), "{unpinned:?}");

    let credentials = Credentials::new(&passport).unwrap();
    let renewed = stream::renew(&server.address, &credentials, Key::generate()).await.unwrap();
    assert_eq!(renewed.certificate.user, "system:node:a");
    assert_ne!(renewed.certificate.serial, passport.certificate.serial);
    let nobody = Credentials::anonymous(passport.bundle.clone()).unwrap();
    let refused = stream::renew(&server.address, &nobody, Key::generate()).await.unwrap_err();
    assert!(matches!(refused, JoinError::Refused { status: 401, .. }), "{refused}");

    let revoke = json!({ "of": "user", "name": "system:node:a", "reason": "stolen" });
    assert_eq!(server.ask("POST", "/fabric/v1/revocations", Some(revoke)).await.0, 201);
    ends(link).await;
    for passport in [&passport, &renewed] {
        let refused = server.session(passport, "a").await.map(|(_, first)| first).unwrap_err();
        assert!(refused.contains("revoked"), "{refused}");
    }
    let (_, ledger) = server.ask("GET", "/fabric/v1/certificates", None).await;
    assert_eq!(ledger["certificates"][0]["revoked"], "stolen", "{ledger}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_node_does_not_come_back_and_its_name_is_free() {
    let server = Server::start().await;
    let token = server.token(json!({ "for": "node", "many": true })).await;
    let passport = server.join(&token, "a").await.unwrap();
    let (link, _) = server.session(&passport, "a").await.unwrap();
    let node = "/clusters/system/apis/sealane.dev/v1alpha1/nodes/a";
    drop(link);
    let began = Instant::now();
    // The node's object comes with its session, and stays until that is over.
    while server.ask("DELETE", node, None).await.0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(30), "there is no node");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    while let Ok((link, _)) = server.session(&passport, "a").await {
        drop(link);
        assert!(began.elapsed() < Duration::from_secs(30), "a deleted node is let in");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What is signed in the second of the dismissal is refused: a host that is quicker tries again.
    while let Err(error) = server.join(&token, "a").await {
        assert!(began.elapsed() < Duration::from_secs(30), "{error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_come_by_token_or_kubeconfig_and_strangers_get_health_alone() {
    let server = Server::start().await;
    let path = server.pki().join("admin.kubeconfig");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let access = authority::Access::read(&path, Some("sealane-system")).unwrap();
    let bundle = access.bundle.unwrap();
    let authority::Proof::Certificate(certificate, key) = access.proof else { panic!("no certificate") };
    let admin = Passport { certificate: *certificate, key: *key, bundle: bundle.clone() };
    let admin = Credentials::new(&admin).unwrap();
    let nobody = Credentials::anonymous(bundle).unwrap();
    let tokens = "/fabric/v1/tokens";
    assert_eq!(server.dial(&admin, None, tokens).await, Some(200));
    for (path, code) in [
        ("/readyz", 200),
        ("/version", 200),
        (tokens, 401),
        ("/fabric/v1/certificates", 401),
        ("/sealane.dev/v1alpha1/renew", 401),
        ("/sealane.dev/v1alpha1/join/", 401),
        ("/sealane.dev//v1alpha1/join", 401),
        ("/sealane.dev/v1alpha1/%6aoin", 401),
        ("/SEALANE.dev/v1alpha1/join", 401),
        ("/sealane.dev/v1alpha1/join", 405),
    ] {
        assert_eq!(server.dial(&nobody, None, path).await, Some(code), "{path}");
    }

    let alice = server.token(json!({ "for": "user", "name": "alice" })).await;
    let bearer = alice.reveal();
    assert_eq!(server.dial(&nobody, Some(&bearer), "/apis").await, Some(200));
    assert_eq!(server.dial(&nobody, Some(&bearer), tokens).await, Some(403), "a user makes no tokens");
    let node = server.token(json!({ "for": "node" })).await.reveal();
    assert_eq!(server.dial(&nobody, Some(&node), "/apis").await, Some(401), "a node's token is no user's");
    let refused = server.join(&alice, "a").await.map_err(|error| told(&error)).unwrap_err();
    assert!(refused.contains("is for the user alice"), "{refused}");
    let (_, listed) = server.ask("GET", tokens, None).await;
    assert!(!listed.to_string().contains(alice.credential.secret()), "{listed}");
    let path = format!("{tokens}/{}", alice.credential.id());
    assert_eq!(server.ask("DELETE", &path, None).await.0, 200);
    assert_eq!(server.ask("DELETE", &path, None).await.0, 404);
    assert_eq!(server.dial(&nobody, Some(&bearer), "/apis").await, Some(401));

    let large = json!({ "whom": { "for": "node" }, "seconds": 600, "x": "x".repeat(70_000) });
    assert_eq!(server.ask("POST", tokens, Some(large)).await.0, 400);
    for wrong in [json!({ "for": "user", "name": "system:node:a" }), json!({ "for": "node", "name": "A B" })]
    {
        let order = json!({ "whom": wrong, "seconds": 600 });
        assert_eq!(server.ask("POST", tokens, Some(order)).await.0, 400);
    }
    let audit = std::fs::read_to_string(server.folder.path().join("audit.log")).unwrap();
    assert!(audit.contains(&alice.credential.id().to_string()), "a token made is in the audit");
    assert!(audit.contains("is for the user alice"), "a refusal to join is in the audit");
    assert!(!audit.contains(alice.credential.secret()), "a secret is in the audit");
    server.stop().await;
}
