//! The node's end.

use hyper_util::rt::TokioIo;
use record::delta::{MAX_MESSAGE, NodeMessage, ServerMessage};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::secure::{self, OpenError, Suspicion};
use crate::trust::{Distrust, Trust};
use crate::{
    Address, CONNECTION_WINDOW, Credentials, KEEPALIVE, KEEPALIVE_TIMEOUT, NodeCodec, PATH, QUEUE,
    STREAM_WINDOW,
};

/// A session's two directions. Dropping `outgoing` tells the server that nothing more comes; dropping both ends the call.
#[derive(Debug)]
pub struct Link {
    /// To the server. Sending waits while [`QUEUE`](crate::QUEUE) messages are not yet on their way.
    pub outgoing: mpsc::Sender<NodeMessage>,
    /// From the server. `Ok(None)` and errors both mean that the session is over.
    pub incoming: Streaming<ServerMessage>,
}

/// Why no session came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("cannot reach the server at {address}: is it running?")]
    Unreachable {
        /// Where.
        address: Address,
        /// What the connection said.
        #[source]
        source: tonic::transport::Error,
    },
    /// The address wants TLS, and there is nothing to prove oneself with.
    #[error(
        "the server at {address} wants a certificate of this host: join with a token (`sealane token create --for node` on the server)"
    )]
    Nobody {
        /// Where.
        address: Address,
    },
    /// No connection over TLS.
    #[error("cannot reach the server at {address}: is it running?")]
    Closed {
        /// Where.
        address: Address,
        /// Why.
        #[source]
        source: Box<OpenError>,
    },
    /// One end does not believe the other.
    #[error("the server at {address} and this host do not believe each other")]
    Distrust {
        /// Where.
        address: Address,
        /// Which, and why.
        #[source]
        source: Distrust,
    },
    /// Somebody answers who does not speak the delta stream.
    #[error("the server at {address} did not open the delta stream")]
    NotOpened {
        /// Where.
        address: Address,
        /// What it answered.
        #[source]
        source: Box<Status>,
    },
}

/// Opens a session with a server that needs no certificate of this host. The first message is the caller's to send: a
/// [`Hello`](record::delta::Hello).
///
/// # Errors
/// Each variant of [`ConnectError`] but [`Closed`](ConnectError::Closed) and [`Distrust`](ConnectError::Distrust).
pub async fn connect(address: &Address) -> Result<Link, ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { address: address.clone(), source };
    let channel = match address {
        Address::Https(_) => return Err(ConnectError::Nobody { address: address.clone() }),
        Address::Http(uri) => tuned(Endpoint::from(uri.clone())).tcp_nodelay(true).connect().await,
        Address::Unix(path) => {
            let path = path.clone();
            let connector = tower::service_fn(move |_: http::Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            tuned(Endpoint::from_static(PLACEHOLDER)).connect_with_connector(connector).await
        }
    };
    call(channel.map_err(unreachable)?, address).await
}

/// Opens a session as whom the credentials say at this moment; other addresses than `https:` need none.
///
/// # Errors
/// Each variant of [`ConnectError`].
pub async fn connect_as(address: &Address, credentials: &Credentials) -> Result<Link, ConnectError> {
    let Address::Https(uri) = address else { return connect(address).await };
    let suspicion = Suspicion::default();
    let trust = Trust::Bundle(credentials.bundle());
    let stream = secure::open_comparing(uri, credentials.config("h2"), trust, suspicion.clone()).await;
    let stream = stream.map_err(|error| match error {
        OpenError::Distrust(source) => ConnectError::Distrust { address: address.clone(), source },
        source => ConnectError::Closed { address: address.clone(), source: Box::new(source) },
    })?;
    // The connection is there already; a session is one connection, so it is never asked for another.
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: http::Uri| {
        std::future::ready(
            stream.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)),
        )
    });
    let opening = async {
        let channel = tuned(Endpoint::from_static(PLACEHOLDER)).connect_with_connector(connector).await;
        let unreachable = |source| ConnectError::Unreachable { address: address.clone(), source };
        call(channel.map_err(unreachable)?, address).await
    };
    // A server that does not believe this host says so after the handshake, where HTTP/2 sees a connection that ended.
    opening.await.map_err(|error| match suspicion.words() {
        Some(source) => ConnectError::Distrust { address: address.clone(), source },
        None => error,
    })
}

async fn call(channel: Channel, address: &Address) -> Result<Link, ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { address: address.clone(), source };
    let not_opened = |source| ConnectError::NotOpened { address: address.clone(), source: Box::new(source) };
    let mut call = tonic::client::Grpc::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    call.ready().await.map_err(unreachable)?;
    let (outgoing, waiting) = mpsc::channel(QUEUE);
    let path = http::uri::PathAndQuery::from_static(PATH);
    let request = tonic::Request::new(ReceiverStream::new(waiting));
    let response = call.streaming(request, path, NodeCodec::default()).await.map_err(not_opened)?;
    // An HTTP server that knows nothing of the stream answers too, with a page.
    if response.metadata().get("content-type").is_none_or(|kind| kind != "application/grpc") {
        return Err(not_opened(Status::unimplemented("it answered something else than gRPC")));
    }
    Ok(Link { outgoing, incoming: response.into_inner() })
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// HTTP/2 wants an authority; a connection that was opened here needs none.
const PLACEHOLDER: &str = "http://server.sealane";
