//! A server on a unix socket, nodes in memory that speak to it over a real stream, and a client of its API.
#![allow(dead_code)]

pub(crate) mod node;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fleet::{Config, ServerError};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A folder with a store and a socket, and the server that runs on it.
pub(crate) struct Server {
    pub folder: PathBuf,
    running: Option<Running>,
    _temporary: tempfile::TempDir,
}

/// A server with a runtime of its own, so that it can be cut off whole.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServerError>>,
    runtime: Runtime,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A runtime may not be waited for where a test's own runs.
        if let Some(running) = self.running.take() {
            running.runtime.shutdown_background();
        }
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let mut server = Self { folder, running: None, _temporary: temporary };
        server.again().await;
        server
    }

    /// A folder without a server.
    pub(crate) fn folder() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        Self { folder: temporary.path().to_owned(), running: None, _temporary: temporary }
    }

    pub(crate) fn config(folder: &Path) -> Config {
        Config {
            store: folder.join("server.redb"),
            socket: Some(folder.join("server.sock")),
            audit: Some(folder.join("audit.log")),
            default_subnets: vec!["10.201.0.0/16".parse().unwrap()],
            ..Config::default()
        }
    }

    /// Starts the server on what the folder holds.
    pub(crate) async fn again(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let task = runtime.spawn(fleet::run(Self::config(&self.folder), async {
            stopped.await.ok();
        }));
        self.running = Some(Running { stop, task, runtime });
        self.ready().await;
    }

    /// Until the API answers.
    pub(crate) async fn ready(&self) {
        let api = self.api();
        eventually("the server answers", || async { api.try_request("GET", "/readyz", None).await.is_ok() })
            .await;
    }

    /// Stops the server in good order.
    pub(crate) async fn stop(&mut self) {
        let Running { stop, task, runtime } = self.running.take().unwrap();
        stop.send(()).unwrap();
        task.await.unwrap().unwrap();
        runtime.shutdown_background();
    }

    /// Ends the server's tasks where they are.
    pub(crate) async fn cut(&mut self) {
        let running = self.running.take().unwrap();
        tokio::task::spawn_blocking(|| running.runtime.shutdown_timeout(Duration::from_secs(5)))
            .await
            .unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("server.sock")
    }

    pub(crate) fn address(&self) -> stream::Address {
        stream::Address::Unix(self.socket())
    }

    pub(crate) fn api(&self) -> Client {
        Client { socket: self.socket() }
    }
}

/// A client of the API.
#[derive(Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(crate) async fn try_request(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Bytes), String> {
        let words = |error: &dyn std::error::Error| error.to_string();
        let connection = UnixStream::connect(&self.socket).await.map_err(|error| words(&error))?;
        let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
            .await
            .map_err(|error| words(&error))?;
        tokio::spawn(driver);
        let patch = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "server")
            .header("content-type", patch)
            .body(Full::new(Bytes::from(body.map(|body| body.to_string()).unwrap_or_default())))
            .unwrap();
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(|error| words(&error))?.to_bytes();
        Ok((status, bytes))
    }

    pub(crate) async fn request(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, bytes) = self.try_request(method, path, body).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, value) = self.request("GET", path, None).await;
        assert_eq!(status, 200, "GET {path}: {value}");
        value
    }

    pub(crate) async fn create(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.request("POST", path, Some(body)).await;
        assert!(status == 201, "POST {path}: {status} {value}");
        value
    }

    pub(crate) async fn delete(&self, path: &str) {
        let (status, value) = self.request("DELETE", path, None).await;
        assert!(status == 200, "DELETE {path}: {status} {value}");
    }

    pub(crate) async fn policy(&self, name: &str, spec: Value) {
        let path = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
        let body = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": name }, "spec": spec,
        });
        self.create(path, body).await;
    }
}

/// A policy's spec: whom it selects and from whom it allows a port.
pub(crate) fn allow(selected: &str, from: &str, port: u16) -> Value {
    json!({
        "podSelector": { "matchLabels": { "app": selected } },
        "ingress": [{
            "from": [{ "podSelector": { "matchLabels": { "app": from } } }],
            "ports": [{ "protocol": "TCP", "port": port }],
        }],
    })
}

/// Waits until something holds; panics with its name when it does not within half a minute.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
