//! A server of the API on a free port and a unix socket, and ways to talk to it.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{Admission, AdmitAll, Api, AuditFile, Authenticate, Keep, Limits, Listener, Rights, Settings, Tls};
use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use store::{Cached, FileStore, Retention, Store, StoreError};
use tokio::task::JoinHandle;

pub(crate) struct Server {
    pub(crate) store: Arc<Cached>,
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) audit: PathBuf,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) client: Client<HttpConnector, Body>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

pub(crate) struct Choices {
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) rights: Rights,
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    pub(crate) limits: Limits,
    /// What the TCP door speaks; `None`: plain HTTP.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) retention: Retention,
    /// Where the audit goes, if not into the folder.
    pub(crate) audit: Option<PathBuf>,
    pub(crate) keep: Keep,
    pub(crate) extra: Router,
    /// What is put between the file and the cache.
    pub(crate) between: fn(FileStore) -> Arc<dyn Store>,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            admission: Arc::new(AdmitAll),
            rights: Rights::default(),
            authenticate: None,
            limits: Limits::default(),
            tls: None,
            retention: Retention::default(),
            audit: None,
            keep: Keep::default(),
            extra: Router::new(),
            between: |home| Arc::new(home),
        }
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let items = self.body["items"].as_array().unwrap_or_else(|| panic!("no list: {self:?}"));
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn revision(&self) -> String {
        self.body["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_else(|| panic!("no revision: {self:?}"))
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{:#}", self.body);
        self
    }
}

impl Server {
    /// The text of a kubeconfig file that leads here, below this path (a tenant's).
    pub(crate) fn kubeconfig(&self, path: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: 'http://{}{path}'}}}}]\n\
             users: [{{name: test, user: {{}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n",
            self.address
        )
    }

    pub(crate) async fn start() -> Self {
        Self::start_with(Choices::default()).await
    }

    pub(crate) async fn start_with(choices: Choices) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), choices).await
    }

    pub(crate) async fn start_in(folder: tempfile::TempDir, choices: Choices) -> Self {
        let home = open(&folder.path().join("server.redb"), choices.retention).await;
        let store = Arc::new(Cached::start((choices.between)(home)).await.unwrap());
        let audit = choices.audit.unwrap_or_else(|| folder.path().join("audit.log"));
        let settings = Settings {
            authorizer: Arc::new(choices.rights),
            authenticate: choices.authenticate,
            limits: choices.limits,
            admission: choices.admission,
            audit: Arc::new(AuditFile::open(&audit, choices.keep).unwrap()),
        };
        let api = Api::start(Arc::clone(&store), settings).await.unwrap();
        let socket = folder.path().join("server.sock");
        // Others than root reach the socket too.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let tcp = Listener::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = tcp.address().unwrap();
        let tcp = match &choices.tls {
            Some(tls) => tcp.secured(tls),
            None => tcp,
        };
        let listeners = vec![tcp, Listener::unix(&socket).unwrap()];
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(api::serve(api, listeners, choices.extra, async {
            stopped.await.ok();
        }));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { store, address, socket, audit, folder, client, stop: Some(stop), task: Some(task) }
    }

    /// Stops the server and gives back its folder.
    pub(crate) async fn stop(mut self) -> tempfile::TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.take().unwrap().await.unwrap();
        self.folder
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> hyper::Response<hyper::body::Incoming> {
        self.client.request(request).await.unwrap()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}{path}", self.address))
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        media: &str,
        body: impl Into<Body>,
    ) -> Answer {
        let request = self.request(method, path).header("content-type", media).body(body.into()).unwrap();
        answer(self.send(request).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "application/json", Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, "application/json", body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, "application/json", body.to_string()).await
    }

    pub(crate) async fn merge(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PATCH, path, "application/merge-patch+json", body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, "application/json", Body::empty()).await
    }

    /// Begins a watch.
    pub(crate) async fn watch(&self, path: &str) -> Lines {
        self.follow(self.request(Method::GET, path)).await
    }

    /// Begins the watch that a request asks for.
    pub(crate) async fn follow(&self, request: hyper::http::request::Builder) -> Lines {
        let response = self.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        Lines { body: response.into_body(), rest: Vec::new() }
    }
}

/// Opens a store's file, which a server that was just stopped may still be closing.
async fn open(path: &Path, retention: Retention) -> FileStore {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        match FileStore::open(path, retention) {
            Err(StoreError::Locked { .. }) if tokio::time::Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            opened => return opened.unwrap(),
        }
    }
}

pub(crate) async fn answer(response: hyper::Response<hyper::body::Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
    Answer { code: parts.status.as_u16(), headers: parts.headers, body }
}

/// The lines of a watch.
pub(crate) struct Lines {
    body: hyper::body::Incoming,
    rest: Vec<u8>,
}

impl Lines {
    /// The next event; `None`: the watch is over.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame());
            let frame = frame.await.expect("an event within twenty seconds")?;
            self.rest.extend(frame.ok()?.into_data().unwrap_or_default());
        }
    }

    /// The next event as type, name and revision.
    pub(crate) async fn event(&mut self) -> (String, String, u64) {
        let event = self.next().await.expect("an event");
        let metadata = &event["object"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (
            text(&event["type"]),
            text(&metadata["name"]),
            text(&metadata["resourceVersion"]).parse().unwrap_or_default(),
        )
    }
}

pub(crate) const NAMESPACES: &str = "/api/v1/namespaces";
pub(crate) const NETWORKS: &str = "/apis/sealane.dev/v1alpha1/virtualnetworks";
pub(crate) const TENANTS: &str = "/apis/sealane.dev/v1alpha1/tenants";

pub(crate) fn policies(namespace: &str) -> String {
    format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies")
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

pub(crate) fn network(name: &str, cidr: &str) -> Value {
    json!({ "apiVersion": "sealane.dev/v1alpha1", "kind": "VirtualNetwork", "metadata": { "name": name },
            "spec": { "subnets": [{ "cidr": cidr }] } })
}

pub(crate) fn tenant(name: &str) -> Value {
    json!({ "apiVersion": "sealane.dev/v1alpha1", "kind": "Tenant", "metadata": { "name": name } })
}

pub(crate) fn policy(name: &str) -> Value {
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": name },
            "spec": { "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Ingress"],
                      "ingress": [{ "from": [{ "podSelector": {} }], "ports": [{ "port": 80 }] }] } })
}
