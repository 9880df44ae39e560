//! TLS on the doors: who a certificate or token makes of a caller, and what becomes of those who have none, or a bad one.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{AUTHENTICATED, Authenticate, Identity, Limits, MASTERS, NODES, Standing, Tls, Who};
use authority::{
    Authority, ClientVerifier, Revocations, Revoked, ServerIdentity, ServerNames, Shelf, ShelfError, Slip,
    Subject,
};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use harness::{Choices, NAMESPACES, Server};
use identity::{Certificate, Key, Request};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

/// A server with TLS on its port, and the authority behind it.
struct Secured {
    server: Server,
    tls: Arc<Tls>,
    authority: Arc<Authority>,
    revocations: Arc<Revocations>,
}

/// Certificates hold as long as nothing is revoked.
struct Judge(Arc<Revocations>);

impl Standing for Judge {
    fn fault(&self, certificate: &Certificate) -> Option<String> {
        authority::check(certificate, &self.0, SystemTime::now()).err().map(|refusal| refusal.to_string())
    }
}

/// Knows one token.
struct OneToken;

impl Authenticate for OneToken {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Option<Identity>> {
        let owner = || Identity { user: "robot".to_owned(), groups: vec![MASTERS.to_owned()] };
        ready((token == "sesame").then(owner)).boxed()
    }
}

impl Secured {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority_in(folder.path());
        let revocations = Arc::new(Revocations::open(Arc::new(Memory::default())).await.unwrap());
        let tls = Tls::new(config(&authority, &revocations), Arc::new(Judge(Arc::clone(&revocations))));
        let whoami = get(|Extension(who): Extension<Who>| async move {
            axum::Json(json!({ "user": who.user, "groups": who.groups, "from": who.address() }))
        });
        let bound = Duration::from_secs(1);
        let choices = Choices {
            tls: Some(Arc::clone(&tls)),
            authenticate: Some(Arc::new(OneToken)),
            limits: Limits { handshake: bound, header: bound, ..Limits::default() },
            extra: Router::new().route("/whoami", whoami),
            ..Choices::default()
        };
        let server = Server::start_in(folder, choices).await;
        Self { server, tls, authority, revocations }
    }

    /// The files of a certificate of this authority for somebody.
    fn certify(&self, subject: &Subject) -> [String; 2] {
        certify(&self.authority, self.server.folder.path(), subject, SystemTime::now())
    }

    /// Asks by curl, which believes this authority alone.
    async fn curl(&self, arguments: &[&str], path: &str) -> Told {
        let root = self.authority.folder().join("ca.crt");
        let url = format!("https://{}{path}", self.server.address);
        let mut command = tokio::process::Command::new("curl");
        command.args(["-sS", "--max-time", "20", "-w", "\n%{http_code} %{http_version}", "--cacert"]);
        let output = command.arg(root).args(arguments).arg(url).output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, code) = text.rsplit_once('\n').unwrap();
        Told {
            code: code.to_owned(),
            body: serde_json::from_str(body).unwrap_or_else(|_| json!(body)),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// What curl was told.
#[derive(Debug)]
struct Told {
    code: String,
    body: Value,
    complaint: String,
}

fn authority_in(folder: &Path) -> Arc<Authority> {
    Arc::new(Authority::open(&folder.join("pki"), SystemTime::now()).unwrap())
}

fn config(authority: &Arc<Authority>, revocations: &Arc<Revocations>) -> Arc<rustls::ServerConfig> {
    let names = ServerNames::new([]).unwrap();
    let identity = ServerIdentity::open(Arc::clone(authority), names, SystemTime::now()).unwrap();
    let verifier = ClientVerifier::new(authority.bundle(), Arc::clone(revocations)).unwrap();
    Arc::new(authority::server_config(Arc::new(identity), verifier).unwrap())
}

fn certify(authority: &Authority, folder: &Path, subject: &Subject, now: SystemTime) -> [String; 2] {
    let key = Key::generate();
    let request = Request::read(&key.request()).unwrap();
    let certificate = authority.certify(subject, &request, Duration::from_hours(1), now).unwrap();
    let path = |end: &str| {
        let name =
            format!("{}-{}.{end}", subject.user.replace(':', "-"), &certificate.serial.to_string()[..8]);
        folder.join(name).display().to_string()
    };
    std::fs::write(path("crt"), certificate.pem()).unwrap();
    std::fs::write(path("key"), key.pem()).unwrap();
    [path("crt"), path("key")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_names_user_and_groups_over_both_versions_of_http() {
    let secured = Secured::start().await;
    let [admin, key] = secured.certify(&Subject::admin());
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let told = secured.curl(&["--cert", &admin, "--key", &key, option], "/whoami").await;
        let expected = json!({ "user": "admin", "groups": [MASTERS, AUTHENTICATED], "from": "127.0.0.1" });
        assert_eq!((told.code.as_str(), &told.body), (&*format!("200 {version}"), &expected), "{told:?}");
        let told = secured.curl(&["--cert", &admin, "--key", &key, option], NAMESPACES).await;
        assert_eq!(told.body["kind"], "NamespaceList", "{told:?}");
    }
    let [node, key] = secured.certify(&Subject::node("n1").unwrap());
    let told = secured.curl(&["--cert", &node, "--key", &key], "/whoami").await;
    assert_eq!(told.body["user"], "system:node:n1");
    assert_eq!(told.body["groups"], json!([NODES, AUTHENTICATED]));
    let told = secured.curl(&["--cert", &node, "--key", &key], NAMESPACES).await;
    let message = told.body["message"].as_str().unwrap();
    assert!(told.body["code"] == 403 && message.contains("User \"system:node:n1\" cannot list"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_nothing_gets_health_and_version_and_loopback_is_nobody() {
    let secured = Secured::start().await;
    for path in ["/healthz", "/readyz", "/livez", "/version"] {
        let told = secured.curl(&[], path).await;
        assert!(told.code.starts_with("200"), "{path}: {told:?}");
    }
    for path in [NAMESPACES, "/", "/apis", "/openapi/v2", "/whoami", "/elsewhere"] {
        let told = secured.curl(&["-i"], path).await;
        let text = told.body.as_str().unwrap().to_lowercase();
        assert!(told.code.starts_with("401"), "{path}: {told:?}");
        for part in ["www-authenticate: bearer", "\"kind\":\"status\"", "\"reason\":\"unauthorized\""] {
            assert!(text.contains(part), "{path}: {part} in {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_before_the_certificate_and_a_bad_one_for_nothing() {
    let secured = Secured::start().await;
    let [node, key] = secured.certify(&Subject::node("n1").unwrap());
    let certificate = ["--cert", node.as_str(), "--key", key.as_str()];
    let good = ["-H", "Authorization: Bearer sesame"];
    for with in [&[][..], &certificate] {
        let told = secured.curl(&[with, &good].concat(), "/whoami").await;
        assert_eq!(
            (&told.body["user"], &told.body["groups"][0]),
            (&json!("robot"), &json!(MASTERS)),
            "{told:?}"
        );
    }
    for header in ["Bearer open", "Bearer ", "Bearer", "Basic c2VzYW1l"] {
        let header = format!("Authorization: {header}");
        for path in ["/whoami", "/healthz", NAMESPACES] {
            let told = secured.curl(&[&certificate[..], &["-H", &header]].concat(), path).await;
            assert!(told.code.starts_with("401"), "{header} {path}: {told:?}");
        }
    }
    let [admin, key] = secured.certify(&Subject::admin());
    let told =
        secured.curl(&["--cert", &admin, "--key", &key, "-H", "Impersonate-User: root"], "/whoami").await;
    let message = told.body["message"].to_string();
    assert!(told.code.starts_with("403") && message.contains("impersonate-user"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_or_expired_certificate_ends_in_the_handshake() {
    let secured = Secured::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = authority_in(elsewhere.path());
    let now = SystemTime::now();
    let bad = [
        certify(&stranger, elsewhere.path(), &Subject::admin(), now),
        certify(&secured.authority, elsewhere.path(), &Subject::admin(), now - Duration::from_hours(2)),
    ];
    for [certificate, key] in bad {
        let told = secured.curl(&["--cert", &certificate, "--key", &key], "/healthz").await;
        assert!(told.code.starts_with("000") && told.complaint.contains("alert"), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_ends_what_goes_on_and_reloading_does_not() {
    let secured = Secured::start().await;
    let [admin, key] = secured.certify(&Subject::admin());
    let root = secured.authority.folder().join("ca.crt");
    let url = format!("https://{}{NAMESPACES}?watch=1", secured.server.address);
    let mut watch = tokio::process::Command::new("curl");
    watch.args(["-sSN", "--max-time", "60", "--cert", &admin, "--key", &key, "--cacert"]).arg(root).arg(url);
    let mut watch = watch.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut events = watch.stdout.take().unwrap();
    assert!(events.read(&mut [0; 4096]).await.unwrap() > 0, "the namespace that is there");

    let elsewhere = tempfile::tempdir().unwrap();
    let other = authority_in(elsewhere.path());
    secured.tls.reload(config(&other, &secured.revocations));
    let told = secured.curl(&["--cert", &admin, "--key", &key], "/healthz").await;
    assert!(told.code.starts_with("000") && told.complaint.contains("certificate"), "another root: {told:?}");
    secured.tls.reload(config(&secured.authority, &secured.revocations));
    let told = secured.curl(&["--cert", &admin, "--key", &key], "/healthz").await;
    assert!(told.code.starts_with("200"), "the first root again: {told:?}");
    assert!(watch.try_wait().unwrap().is_none(), "the watch went on all the while");

    let user = Revoked::User("admin".to_owned());
    secured.revocations.revoke(user, "lost", SystemTime::now() + Duration::from_secs(2)).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), watch.wait()).await;
    assert!(ended.is_ok(), "the watch outlived its certificate");
    let told = secured.curl(&["--cert", &admin, "--key", &key], "/healthz").await;
    assert!(told.code.starts_with("000") && told.complaint.contains("revoked"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_speaks_no_tls_is_told_so_and_whoever_says_nothing_is_let_go() {
    let secured = Secured::start().await;
    let plain = secured.server.get("/healthz").await.expect(400);
    assert!(plain.body.to_string().contains("https://"), "{plain:?}");
    for begin in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = tokio::net::TcpStream::connect(secured.server.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, begin).await.unwrap();
        let mut said = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
        assert!(closed.is_ok(), "{begin:?} holds a place");
    }
}

/// A shelf in memory.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Slip>>);

impl Shelf for Memory {
    fn list(&self) -> BoxFuture<'_, Result<Vec<Slip>, ShelfError>> {
        ready(Ok(self.0.lock().values().cloned().collect())).boxed()
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Slip>, ShelfError>> {
        ready(Ok(self.0.lock().get(name).cloned())).boxed()
    }

    fn put<'a>(
        &'a self,
        name: &'a str,
        value: Value,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<bool, ShelfError>> {
        let mut held = self.0.lock();
        if held.get(name).map(|slip| slip.revision) != expected {
            return ready(Ok(false)).boxed();
        }
        let revision = expected.map_or(1, |revision| revision + 1);
        held.insert(name.to_owned(), Slip { name: name.to_owned(), value, revision });
        ready(Ok(true)).boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, ShelfError>> {
        ready(Ok(self.0.lock().remove(name).is_some())).boxed()
    }
}
