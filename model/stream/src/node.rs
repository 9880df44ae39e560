//! The node's end.

use hyper_util::rt::TokioIo;
use record::delta::{MAX_MESSAGE, NodeMessage, ServerMessage};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::{
    Address, CONNECTION_WINDOW, KEEPALIVE, KEEPALIVE_TIMEOUT, NodeCodec, PATH, QUEUE, STREAM_WINDOW,
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

/// Opens a session with the server. The first message is the caller's to send: a [`Hello`](record::delta::Hello).
pub async fn connect(address: &Address) -> Result<Link, ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { address: address.clone(), source };
    let not_opened = |source| ConnectError::NotOpened { address: address.clone(), source: Box::new(source) };
    let channel = open(address).await.map_err(unreachable)?;
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

async fn open(address: &Address) -> Result<Channel, tonic::transport::Error> {
    match address {
        Address::Http(uri) => tuned(Endpoint::from(uri.clone())).tcp_nodelay(true).connect().await,
        Address::Unix(path) => {
            let path = path.clone();
            let connector = tower::service_fn(move |_: http::Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            // The name is a placeholder: HTTP/2 wants an authority, a unix socket has none.
            tuned(Endpoint::from_static("http://server.sealane")).connect_with_connector(connector).await
        }
    }
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
