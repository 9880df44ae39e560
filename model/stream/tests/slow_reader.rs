//! Over a real connection: order, slow readers, garbage, and the end of calls.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use record::delta::{Ack, Delta, NodeMessage, ServerMessage};
use record::record::Tenant;
use record::{Generation, Key, NodeId, Record, TenantId};
use stream::{Address, ConnectError, Link, Status, Streaming, accept, connect};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

/// A server on a unix socket that gives each call's two ends to the test.
struct Server {
    socket: PathBuf,
    calls: mpsc::Receiver<(Streaming<NodeMessage>, mpsc::Sender<ServerMessage>)>,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("server.sock");
        let (opened, calls) = mpsc::channel(8);
        let task = tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), opened));
        Self { socket, calls, task, _folder: folder }
    }

    fn address(&self) -> Address {
        Address::Unix(self.socket.clone())
    }
}

async fn serve(
    listener: UnixListener,
    opened: mpsc::Sender<(Streaming<NodeMessage>, mpsc::Sender<ServerMessage>)>,
) {
    let answer = move |request: axum::extract::Request| {
        let opened = opened.clone();
        async move {
            let open = |incoming| {
                let (sender, waiting) = mpsc::channel(stream::QUEUE);
                opened.try_send((incoming, sender)).unwrap();
                waiting
            };
            accept(request, open).await.map(axum::body::Body::new)
        }
    };
    axum::serve(listener, Router::new().route(stream::PATH, post(answer))).await.unwrap();
}

fn delta(generation: u64, records: u32) -> ServerMessage {
    let tenant = |id| {
        Record::Tenant(Tenant { id: TenantId(id), name: "t".repeat(40), port_names: Default::default() })
    };
    ServerMessage::Delta(Delta {
        generation: Generation(generation),
        changed: (0..records).map(tenant).collect(),
        removed: vec![Key::Node(NodeId(1))],
        more: false,
    })
}

#[tokio::test]
async fn a_slow_reader_of_many_tiny_messages_gets_every_one_in_order() {
    const MESSAGES: u64 = 30_000;
    let mut server = Server::start();
    let Link { mut incoming, outgoing: _open } = connect(&server.address()).await.unwrap();
    let (_incoming, sender) = server.calls.recv().await.unwrap();
    let sending = tokio::spawn(async move {
        for generation in 1..=MESSAGES {
            // Each alone in its frame now and then, as a server under small changes sends them.
            if generation % 7 == 0 {
                tokio::task::yield_now().await;
            }
            sender.send(delta(generation, 0)).await.unwrap();
        }
    });
    for expected in 1..=MESSAGES {
        if expected % 1_000 == 1 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert_eq!(incoming.message().await.unwrap(), Some(delta(expected, 0)));
    }
    sending.await.unwrap();
    assert_eq!(incoming.message().await.unwrap(), None, "the call ends when the server's sender is gone");
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_back_its_sender_and_loses_nothing() {
    const MESSAGES: u64 = 6_000;
    let mut server = Server::start();
    let Link { mut incoming, outgoing: _open } = connect(&server.address()).await.unwrap();
    let (_incoming, sender) = server.calls.recv().await.unwrap();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let sent = std::sync::Arc::clone(&count);
    let sending = tokio::spawn(async move {
        for generation in 1..=MESSAGES {
            sender.send(delta(generation, 200)).await.unwrap();
            sent.store(generation, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let mut before = u64::MAX;
    while before != count.load(std::sync::atomic::Ordering::SeqCst) {
        before = count.load(std::sync::atomic::Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(before < MESSAGES, "a sender to a peer that does not read is held back: sent {before}");
    for expected in 1..=MESSAGES {
        let Some(ServerMessage::Delta(delta)) = incoming.message().await.unwrap() else { panic!() };
        assert_eq!((delta.generation, delta.changed.len()), (Generation(expected), 200));
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn a_slow_server_gets_every_word_of_a_node_that_talks_much() {
    const MESSAGES: u64 = 30_000;
    let mut server = Server::start();
    let Link { incoming: _open, outgoing } = connect(&server.address()).await.unwrap();
    let (mut incoming, _sender) = server.calls.recv().await.unwrap();
    let ack = |generation| NodeMessage::Ack(Ack { generation: Generation(generation), faults: Vec::new() });
    let sending = tokio::spawn(async move {
        for generation in 0..MESSAGES {
            outgoing.send(ack(generation)).await.unwrap();
            if generation % 5 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    for expected in 0..MESSAGES {
        if expected % 1_000 == 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(incoming.message().await.unwrap(), Some(ack(expected)));
    }
    sending.await.unwrap();
    assert_eq!(incoming.message().await.unwrap(), None, "the node's end is gone");
}

#[tokio::test]
async fn a_message_longer_than_is_read_ends_the_call_and_not_the_server() {
    let mut server = Server::start();
    let mut link = connect(&server.address()).await.unwrap();
    let (_incoming, sender) = server.calls.recv().await.unwrap();
    sender.send(delta(1, 400_000)).await.unwrap();
    assert!(link.incoming.message().await.is_err());
    drop(link);
    let mut again = connect(&server.address()).await.unwrap();
    let (_incoming, sender) = server.calls.recv().await.unwrap();
    sender.send(ServerMessage::Welcome(NodeId(3))).await.unwrap();
    assert_eq!(again.incoming.message().await.unwrap(), Some(ServerMessage::Welcome(NodeId(3))));
}

#[tokio::test]
async fn bytes_that_are_no_message_end_the_call_and_the_server_stays() {
    let mut server = Server::start();
    garbage(&server.socket).await;
    let (mut incoming, _sender) = server.calls.recv().await.unwrap();
    let status: Status = incoming.message().await.unwrap_err();
    assert!(status.message().contains("cannot decode"), "{status}");
    connect(&server.address()).await.unwrap();
}

async fn garbage(socket: &Path) {
    let connection = tokio::net::UnixStream::connect(socket).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(connection);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, driver) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(driver);
    let request = http::Request::post(format!("http://s{}", stream::PATH))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(axum::body::Body::from(&b"\0\0\0\0\x04\xff\xfe\xfd\xfc"[..]))
        .unwrap();
    let _answered = sender.send_request(request).await.unwrap();
}

#[tokio::test]
async fn a_server_that_goes_ends_the_session_and_its_absence_is_named() {
    let mut server = Server::start();
    let mut link = connect(&server.address()).await.unwrap();
    let (incoming, sender) = server.calls.recv().await.unwrap();
    drop((incoming, sender));
    server.task.abort();
    let ended = tokio::time::timeout(Duration::from_secs(30), link.incoming.message()).await.unwrap();
    assert!(matches!(ended, Ok(None) | Err(_)));
    std::fs::remove_file(&server.socket).unwrap();
    let error = connect(&server.address()).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Unreachable { address, .. } if *address == server.address()),
        "{error}"
    );
}

#[tokio::test]
async fn somebody_else_on_the_port_is_told_from_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("other.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new()).await });
    let error = connect(&Address::Unix(socket)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotOpened { .. }), "{error:?}");
}
