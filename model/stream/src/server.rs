//! The server's end.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use record::delta::{MAX_MESSAGE, NodeMessage, ServerMessage};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::adapters::Map;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::ServerCodec;

/// Answers one request on [`PATH`](crate::PATH). `open` is given what the node sends and gives back what is to be sent to it;
/// the call lasts until either side is done: the receiver's last sender dropped, or the connection gone.
///
/// Windows and keepalive of the connection belong to whoever accepts connections: [`STREAM_WINDOW`](crate::STREAM_WINDOW),
/// [`CONNECTION_WINDOW`](crate::CONNECTION_WINDOW).
pub async fn accept<B, F>(request: http::Request<B>, open: F) -> http::Response<tonic::body::Body>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    F: FnOnce(Streaming<NodeMessage>) -> mpsc::Receiver<ServerMessage> + Send,
{
    tonic::server::Grpc::new(ServerCodec::default())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
        .streaming(Opening(Some(open)), request)
        .await
}

/// One call's `open`, as tonic wants to call it.
struct Opening<F>(Option<F>);

impl<F> tower::Service<Request<Streaming<NodeMessage>>> for Opening<F>
where
    F: FnOnce(Streaming<NodeMessage>) -> mpsc::Receiver<ServerMessage>,
{
    type Response = Response<Outgoing>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<NodeMessage>>) -> Self::Future {
        let open = self.0.take().ok_or_else(|| Status::internal("one call was opened twice"));
        ready(open.map(|open| {
            let waiting = open(request.into_inner());
            Response::new(ReceiverStream::new(waiting).map(Ok as fn(_) -> _))
        }))
    }
}

type Outgoing = Map<ReceiverStream<ServerMessage>, fn(ServerMessage) -> Result<ServerMessage, Status>>;
