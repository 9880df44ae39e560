//! The server that a test plays.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use record::delta::{Ack, Delta, Hello, NodeMessage, ServerMessage};
use record::{Generation, Key, NodeId, Record};
use stream::Streaming;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::ground::Host;

/// A server at the node's stream.
pub(crate) struct Server {
    calls: mpsc::Receiver<(Streaming<NodeMessage>, mpsc::Sender<ServerMessage>)>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(host: &Host) -> Self {
        // The one before has left its file.
        let _ = std::fs::remove_file(host.path("server.sock"));
        let listener = tokio::net::UnixListener::bind(host.path("server.sock")).unwrap();
        let (opened, calls) = mpsc::channel(8);
        let answer = move |request: axum::extract::Request| {
            let opened = opened.clone();
            async move {
                let open = |incoming| {
                    let (sender, waiting) = mpsc::channel(stream::QUEUE);
                    opened.try_send((incoming, sender)).unwrap();
                    waiting
                };
                stream::accept(request, open).await.map(axum::body::Body::new)
            }
        };
        let router = Router::new().route(stream::PATH, post(answer));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { calls, task }
    }

    /// The node that calls, welcomed.
    pub(crate) async fn meet(&mut self) -> Session {
        self.greet().await.0
    }

    pub(crate) async fn greet(&mut self) -> (Session, Hello) {
        let (from_node, to_node) =
            timeout(Duration::from_secs(30), self.calls.recv()).await.unwrap().unwrap();
        let mut session = Session { from_node, to_node };
        let NodeMessage::Hello(hello) = session.hear().await else { panic!("the hello comes first") };
        assert_eq!(hello.name, "n1");
        session.to_node.send(ServerMessage::Welcome(NodeId(1))).await.unwrap();
        (session, hello)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) struct Session {
    from_node: Streaming<NodeMessage>,
    to_node: mpsc::Sender<ServerMessage>,
}

impl Session {
    pub(crate) async fn hear(&mut self) -> NodeMessage {
        timeout(Duration::from_secs(30), self.from_node.message()).await.unwrap().unwrap().unwrap()
    }

    /// Sends a generation, and waits until it is in the kernel.
    pub(crate) async fn send(&mut self, generation: u64, changed: Vec<Record>, removed: Vec<Key>) {
        let generation = Generation(generation);
        let delta = Delta { generation, changed, removed, more: false };
        self.to_node.send(ServerMessage::Delta(delta)).await.unwrap();
        loop {
            if let NodeMessage::Ack(ack) = self.hear().await {
                assert_eq!(ack, Ack { generation, faults: Vec::new() });
                return;
            }
        }
    }
}
