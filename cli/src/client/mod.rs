//! Asking the server: HTTP over its unix socket, TCP or TLS, one connection for each request.
//!
//! Promises: a server that does not answer is told with what to do; a refusal keeps all that the server said; the wait is
//! bounded except for watches.

mod address;
mod path;
mod status;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use stream::{Distrust, OpenError, Suspicion};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};

pub(crate) use address::{Account, Address};
pub(crate) use path::{Place, Query};
pub(crate) use status::Status;

/// A server that can be asked.
#[derive(Debug)]
pub(crate) struct Client {
    address: Address,
    runtime: Runtime,
}

/// Does something about each item, several at a time over connections of their own: the server makes writes that arrive
/// together durable together. The results are in the order of the items.
pub(crate) fn each<T: Sync, R: Send>(
    address: &Address,
    items: &[T],
    work: impl Fn(&Client, &T) -> R + Sync,
) -> Result<Vec<R>, ClientError> {
    let next = AtomicUsize::new(0);
    let done: Result<Vec<Vec<(usize, R)>>, ClientError> = std::thread::scope(|scope| {
        let worker = || {
            let client = Client::new(address)?;
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(index) else { return Ok(done) };
                done.push((index, work(&client, item)));
            }
        };
        let workers: Vec<_> = (0..items.len().min(AT_ONCE)).map(|_| scope.spawn(worker)).collect();
        let results = workers.into_iter().map(|worker| worker.join());
        results.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut done: Vec<(usize, R)> = done?.into_iter().flatten().collect();
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// A request: what is asked for, and how the answer should look.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    /// What to do.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    /// The form of the answer.
    pub(crate) accept: &'a str,
    /// What is sent, with its type.
    pub(crate) body: Option<(&'a str, &'a Value)>,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The answer.
    pub(crate) value: Value,
    /// What the server found odd about the request (RFC 7234 `Warning`).
    pub(crate) warnings: Vec<String>,
}

/// The lines of an answer that goes on.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    client: &'a Client,
    body: Incoming,
    held: BytesMut,
}

/// Why the server could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody answers.
    #[error("cannot reach the server at {address}")]
    Unreachable {
        address: Address,
        #[source]
        source: io::Error,
    },
    /// Over TLS somebody has to ask.
    #[error("the server at {address} wants to know who asks")]
    Nobody { address: Address },
    /// No connection over TLS.
    #[error("cannot reach the server at {address}")]
    Closed {
        address: Address,
        #[source]
        source: Box<OpenError>,
    },
    /// One end does not believe the other.
    #[error("the server at {address} and this caller do not believe each other")]
    Distrust {
        address: Address,
        #[source]
        source: Distrust,
    },
    /// The server did not answer in time.
    #[error("the server at {address} has not answered {method} {path} within {} s", limit.as_secs())]
    Late { address: Address, method: Method, path: String, limit: Duration },
    /// The connection broke, or what came is no HTTP.
    #[error("the exchange with the server at {address} broke off")]
    Broken {
        address: Address,
        #[source]
        source: hyper::Error,
    },
    /// The request cannot be put into HTTP.
    #[error("cannot ask for {path:?}")]
    Unaskable {
        path: String,
        #[source]
        source: http::Error,
    },
    /// What came is no JSON.
    #[error("the server at {address} answered {path} with no JSON")]
    Strange {
        address: Address,
        path: String,
        #[source]
        source: serde_json::Error,
    },
    /// The server said no.
    #[error("{0}")]
    Refused(Box<Status>),
    /// This process cannot do input and output.
    #[error("cannot start the exchange with the server")]
    Runtime(#[source] io::Error),
}

impl Client {
    pub(crate) fn new(address: &Address) -> Result<Self, ClientError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
        Ok(Self { address: address.clone(), runtime })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The document at a path.
    pub(crate) fn read(&self, path: &str) -> Result<Value, ClientError> {
        self.ask(&Ask::read(path)).map(|reply| reply.value)
    }

    /// The document at a path, `None` where there is none.
    pub(crate) fn find(&self, path: &str) -> Result<Option<Value>, ClientError> {
        match self.read(path) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks, and waits for the whole answer.
    pub(crate) fn ask(&self, ask: &Ask<'_>) -> Result<Reply, ClientError> {
        self.runtime.block_on(async {
            let answer = async {
                let response = self.send(ask).await?;
                self.whole(&ask.path, response).await
            };
            tokio::time::timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|_| Err(self.late(ask)))
        })
    }

    /// Asks, and gives the answer line by line as it comes.
    pub(crate) fn follow(&self, ask: &Ask<'_>) -> Result<Lines<'_>, ClientError> {
        let response = self.runtime.block_on(async {
            let response = tokio::time::timeout(ANSWER_WITHIN, self.send(ask)).await;
            let response = response.unwrap_or_else(|_| Err(self.late(ask)))?;
            if response.status().is_success() {
                Ok(response)
            } else {
                self.whole(&ask.path, response).await.and_then(|_| Err(self.late(ask)))
            }
        })?;
        Ok(Lines { client: self, body: response.into_body(), held: BytesMut::new() })
    }

    fn late(&self, ask: &Ask<'_>) -> ClientError {
        let (address, method, path) = (self.address.clone(), ask.method.clone(), ask.path.clone());
        ClientError::Late { address, method, path, limit: ANSWER_WITHIN }
    }

    async fn send(&self, ask: &Ask<'_>) -> Result<Response<Incoming>, ClientError> {
        let unaskable = |source| ClientError::Unaskable { path: ask.path.clone(), source };
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(&ask.path)
            .header(HOST, self.address.host())
            .header(ACCEPT, ask.accept)
            .header(http::header::USER_AGENT, concat!("sealane/", env!("CARGO_PKG_VERSION")));
        if let Address::Tls { account: Some(account), .. } = &self.address
            && let Some(bearer) = account.bearer()
        {
            request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let body = match ask.body {
            Some((kind, value)) => {
                request = request.header(CONTENT_TYPE, kind);
                Bytes::from(value.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body)).map_err(unaskable)?;
        let (mut sender, suspicion) = self.connect().await?;
        // A server that does not believe a certificate says so after the handshake, where HTTP sees an end.
        sender.send_request(request).await.map_err(|source| match suspicion.words() {
            Some(source) => ClientError::Distrust { address: self.address.clone(), source },
            None => self.broken(source),
        })
    }

    async fn connect(&self) -> Result<(SendRequest<Full<Bytes>>, Suspicion), ClientError> {
        let unreachable = |source| ClientError::Unreachable { address: self.address.clone(), source };
        let within = |()| unreachable(io::Error::from(io::ErrorKind::TimedOut));
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                Ok((self.shake_hands(TokioIo::new(stream)).await?, Suspicion::default()))
            }
            Address::Tls { account, .. } => {
                let nobody = || ClientError::Nobody { address: self.address.clone() };
                let account = account.as_ref().ok_or_else(nobody)?;
                let uri = self.address.to_string();
                let unaskable = |source: http::uri::InvalidUri| ClientError::Unaskable {
                    path: uri.clone(),
                    source: source.into(),
                };
                let dialled =
                    stream::dial(&uri.parse().map_err(unaskable)?, account.credentials(), HTTP).await;
                let (stream, suspicion) = dialled.map_err(|error| match error {
                    OpenError::Distrust(source) => {
                        ClientError::Distrust { address: self.address.clone(), source }
                    }
                    source => ClientError::Closed { address: self.address.clone(), source: Box::new(source) },
                })?;
                Ok((self.shake_hands(TokioIo::new(stream)).await?, suspicion))
            }
            Address::Tcp { host, port } => {
                let connecting = TcpStream::connect((host.as_str(), *port));
                let stream =
                    tokio::time::timeout(CONNECT_WITHIN, connecting).await.map_err(|_| within(()))?;
                let stream = TokioIo::new(stream.map_err(unreachable)?);
                Ok((self.shake_hands(stream).await?, Suspicion::default()))
            }
        }
    }

    async fn shake_hands<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, ClientError>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(stream).await.map_err(|source| self.broken(source))?;
        // Its end shows in the answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken { address: self.address.clone(), source }
    }

    async fn whole(&self, path: &str, response: Response<Incoming>) -> Result<Reply, ClientError> {
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|source| self.broken(source))?.to_bytes();
        if !head.status.is_success() {
            return Err(ClientError::Refused(Box::new(Status::read(head.status, path, &body))));
        }
        let value = if body.is_empty() {
            Value::Null
        } else {
            let strange = |source| ClientError::Strange {
                address: self.address.clone(),
                path: path.to_owned(),
                source,
            };
            serde_json::from_slice(&body).map_err(strange)?
        };
        Ok(Reply { value, warnings: warnings(&head.headers) })
    }
}

impl Lines<'_> {
    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(end + 1).freeze();
                return Ok(Some(line.slice(..end)));
            }
            match self.client.runtime.block_on(self.body.frame()) {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.held.extend_from_slice(data);
                    }
                }
                Some(Err(source)) => return Err(self.client.broken(source)),
                None => return Ok(None),
            }
        }
    }
}

impl<'a> Ask<'a> {
    /// For the document at a path.
    pub(crate) fn read(path: &str) -> Self {
        Self { method: Method::GET, path: path.to_owned(), accept: JSON, body: None }
    }

    /// For rows of a table, or the documents where no table can be given.
    pub(crate) fn table(path: &str) -> Self {
        Self { accept: TABLE, ..Self::read(path) }
    }

    /// To do something.
    pub(crate) fn act(method: Method, path: String, body: Option<(&'a str, &'a Value)>) -> Self {
        Self { method, path, accept: JSON, body }
    }
}

impl ClientError {
    /// Whether what was asked for does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(status) if status.reason == "NotFound" || status.code == 404)
    }

    /// Whether the revision asked for is forgotten.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code == 410)
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> Option<String> {
        match self {
            Self::Unreachable { address: Address::Unix(path), source } => Some(match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    "start it with `sealane up`, or name the right one with --server or SEALANE_SERVER"
                        .to_owned()
                }
                io::ErrorKind::PermissionDenied => {
                    format!("you may not open {}; become a user who may", path.display())
                }
                _ => "name the right server with --server or SEALANE_SERVER".to_owned(),
            }),
            Self::Nobody { .. } => Some(
                "name a kubeconfig with --kubeconfig or KUBECONFIG, such as the server's admin.kubeconfig"
                    .to_owned(),
            ),
            Self::Distrust { .. } => None,
            Self::Unreachable { .. } | Self::Closed { .. } => Some(
                "see that the server runs and listens there, or name the right one with --server".to_owned(),
            ),
            Self::Late { .. } | Self::Broken { .. } => {
                Some("see whether the server is well: `sealane status`".to_owned())
            }
            Self::Strange { .. } => Some("see that --server names a Sealane server".to_owned()),
            Self::Refused(status) => status.remedy(),
            Self::Unaskable { .. } | Self::Runtime(_) => None,
        }
    }
}

/// The texts of the `Warning` headers: `299 - "text"`.
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let texts = headers.get_all("warning").iter().filter_map(|value| value.to_str().ok());
    let quoted = texts.filter_map(|text| text.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"')));
    quoted.map(|(text, _)| text.replace("\\\"", "\"").replace("\\\\", "\\")).collect()
}

/// The protocol spoken over TLS.
const HTTP: &str = "http/1.1";
/// The type of documents.
pub(crate) const JSON: &str = "application/json";
/// The type of merge patches (RFC 7386).
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const AT_ONCE: usize = 16;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
