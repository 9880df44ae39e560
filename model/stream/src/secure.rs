//! TCP with TLS, opened: and what went wrong after, kept in words, for HTTP tells only that the connection is gone.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::trust::{self, Distrust, Times, Trust};

/// A connection over TLS.
#[derive(Debug)]
pub struct Secure {
    inner: TlsStream<TcpStream>,
    distrust: Suspicion,
}

/// Where a connection leaves the words for what TLS said.
#[derive(Clone, Debug, Default)]
pub struct Suspicion(Arc<Mutex<Option<rustls::Error>>>);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody answers there.
    #[error("nobody answers")]
    Silent(#[source] io::Error),
    /// Not in time.
    #[error("no answer within {} seconds", .0.as_secs())]
    Late(Duration),
    /// One end does not believe the other.
    #[error(transparent)]
    Distrust(#[from] Distrust),
}

/// Opens a connection to `https://HOST:PORT` for another protocol than the delta stream's, such as `http/1.1`, as whom the credentials
/// say. What TLS says later, when the server has looked at the certificate, is in the [`Suspicion`].
///
/// # Errors
/// Each variant of [`OpenError`].
pub async fn dial(
    uri: &http::Uri,
    credentials: &crate::Credentials,
    protocol: &str,
) -> Result<(Secure, Suspicion), OpenError> {
    let suspicion = Suspicion::default();
    let trust = Trust::Bundle(credentials.bundle());
    let stream = open_comparing(uri, credentials.config(protocol), trust, suspicion.clone()).await?;
    Ok((stream, suspicion))
}

/// Opens a connection to `https://HOST:PORT`.
pub(crate) async fn open(
    uri: &http::Uri,
    config: Arc<ClientConfig>,
    distrust: Suspicion,
) -> Result<Secure, OpenError> {
    let opening = async {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(443);
        let stream = TcpStream::connect((host, port)).await.map_err(OpenError::Silent)?;
        stream.set_nodelay(true).map_err(OpenError::Silent)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|fault| OpenError::Silent(io::Error::new(io::ErrorKind::InvalidInput, fault)))?;
        match TlsConnector::from(config).connect(name, stream).await {
            Ok(inner) => Ok(Secure { inner, distrust: distrust.clone() }),
            Err(fault) => {
                distrust.note(&fault);
                Err(distrust.words().map_or(OpenError::Silent(fault), OpenError::Distrust))
            }
        }
    };
    tokio::time::timeout(PATIENCE, opening).await.unwrap_or(Err(OpenError::Late(PATIENCE)))
}

/// Opens a connection as [`open`] does; when certificates' times do not fit the clock here, asks the server for its own, so that
/// the words name both.
pub(crate) async fn open_comparing(
    uri: &http::Uri,
    config: Arc<ClientConfig>,
    trust: Trust,
    distrust: Suspicion,
) -> Result<Secure, OpenError> {
    let error = match open(uri, config, distrust.clone()).await {
        Err(error @ OpenError::Distrust(_)) if distrust.is_about_time() => error,
        other => return other,
    };
    let there = tokio::time::timeout(PATIENCE, clock_of(uri, trust)).await.ok().flatten();
    match there {
        Some(there) => Err(Distrust::clocks(SystemTime::now(), there).into()),
        None => Err(error),
    }
}

/// The server's clock: the `Date` of an answer to nobody, over a connection that tells it nothing.
async fn clock_of(uri: &http::Uri, trust: Trust) -> Option<SystemTime> {
    let config = trust::nobody(trust, Times::Any, "http/1.1").ok()?;
    let stream = open(uri, config, Suspicion::default()).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = http::Request::get("/livez")
        .header("host", "server.sealane")
        .body(Empty::<bytes::Bytes>::new())
        .ok()?;
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer.ok()?,
        _ = connection => return None,
    };
    httpdate::parse_http_date(answer.headers().get("date")?.to_str().ok()?).ok()
}

impl Suspicion {
    /// The words, if TLS said something.
    pub fn words(&self) -> Option<Distrust> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Distrust::new)
    }

    fn is_about_time(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(trust::is_about_time)
    }

    fn note(&self, fault: &io::Error) {
        if let Some(error) = fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        }
    }
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Poll::Ready(Err(fault)) = &polled {
            self.distrust.note(fault);
        }
        polled
    }
}

impl AsyncWrite for Secure {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Err(fault)) = &polled {
            self.distrust.note(fault);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
