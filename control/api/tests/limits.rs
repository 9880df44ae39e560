//! Attacks on the doors: whoever is slow, silent, deaf or many holds no place for long, and others are served meanwhile.
#![allow(clippy::unwrap_used)]

mod harness;

use std::time::{Duration, Instant};

use api::Limits;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::post;
use harness::{Choices, NAMESPACES, Server, namespace};
use http_body_util::BodyExt;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

const BOUND: Duration = Duration::from_millis(800);

/// Far more than every bound together, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

const PLACES: usize = 40;

async fn strict() -> Server {
    let limits = Limits {
        handshake: BOUND,
        header: BOUND,
        body: BOUND,
        idle: BOUND,
        stall: BOUND,
        ping: BOUND,
        of_address: PLACES,
        ..Limits::default()
    };
    let extra = Router::new().route("/echo", post(|body: Body| async { body }));
    Server::start_with(Choices { limits, extra, ..Choices::default() }).await
}

/// What the server says until it closes; the attacker says `drip` again and again meanwhile, if anything.
async fn until_closed(stream: impl AsyncRead + AsyncWrite, drip: &[u8]) -> String {
    let (mut incoming, mut outgoing) = tokio::io::split(stream);
    let dripping = async {
        // The first write that fails is not told: the read below is what counts.
        while !drip.is_empty() && outgoing.write_all(drip).await.is_ok() {
            tokio::time::sleep(BOUND / 8).await;
        }
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = incoming.read(&mut buffer).await {
            said.extend_from_slice(&buffer[..length]);
        }
    };
    tokio::select! {
        () = dripping => unreachable!(),
        closed = tokio::time::timeout(PATIENCE, reading) => closed.expect("the server closes the connection"),
    }
    String::from_utf8_lossy(&said).into_owned()
}

async fn begun(server: &Server, with: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(with).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_finish_a_header_is_let_go() {
    let server = strict().await;
    let begins: [(&[u8], &[u8]); 5] = [
        (b"", b""),
        (b"PRI * HT", b""),
        (b"G", b""),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n", b"x-more: and more\r\n"),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\n", b"a: b\r\n"),
    ];
    let attacks = begins.map(|(begin, drip)| {
        let server = &server;
        async move { until_closed(begun(server, begin).await, drip).await }
    });
    let said = futures_util::future::join_all(attacks).await;
    assert!(said[4].starts_with("HTTP/1.1 200 OK"), "the whole request was answered: {said:?}");
    server.get("/healthz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_is_408_and_noted() {
    let server = strict().await;
    let request = format!(
        "POST {NAMESPACES} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{{"
    );
    let said = until_closed(begun(&server, request.as_bytes()).await, b" ").await;
    assert!(
        said.starts_with("HTTP/1.1 408 ") && said.contains("read the body: it was not whole within"),
        "{said}"
    );
    let notes = std::fs::read_to_string(&server.audit).unwrap();
    assert!(notes.contains("\"code\":408"), "{notes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_keep_nobody_out_and_are_let_go() {
    let server = strict().await;
    let mut held = Vec::new();
    for _ in 0..1_000 {
        held.push(TcpStream::connect(server.address).await.unwrap());
    }
    let refused =
        server.client.request(server.request(Method::GET, "/healthz").body(Body::empty()).unwrap()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let other = socket.connect(server.address).await.unwrap();
    let said = ask(other, "/healthz").await;
    assert!(said.starts_with("HTTP/1.1 200"), "another address is served: {said}");
    let said = ask(UnixStream::connect(&server.socket).await.unwrap(), "/healthz").await;
    assert!(said.starts_with("HTTP/1.1 200"), "so is the socket: {said}");
    for stream in held {
        until_closed(stream, b"").await;
    }
    assert!(refused.is_err(), "an address has {PLACES} places: {refused:?}");
    server.get("/healthz").await.expect(200);
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    until_closed(stream, b"").await
}

/// Makes more events than every buffer on the way holds.
async fn flood(server: &Server) {
    for number in 0..24 {
        let mut large = namespace(&format!("n{number}"));
        large["metadata"]["annotations"] = json!({ "ballast": "x".repeat(250_000) });
        server.post(NAMESPACES, &large).await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_never_read_is_cut_and_one_that_is_read_is_not() {
    let server = strict().await;
    let path = format!("{NAMESPACES}?watch=1");
    let mut quiet = server.watch(&format!("{path}&labelSelector=of=quiet")).await;
    let mut read = server.watch(&path).await;
    let reading = tokio::spawn(async move { while read.event().await.1 != "n23" {} });
    let mut deaf = UnixStream::connect(&server.socket).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    deaf.write_all(request.as_bytes()).await.unwrap();
    let stream = UnixStream::connect(&server.socket).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::builder().uri(format!("http://sealane{path}")).body(Body::empty()).unwrap();
    let unread = sender.send_request(request).await.unwrap();
    flood(&server).await;

    let began = Instant::now();
    while deaf.write_all(b" ").await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the deaf watch over HTTP/1.1 is still there");
        tokio::time::sleep(BOUND / 4).await;
    }
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    assert!(ended.is_ok(), "the deaf watch over HTTP/2 is still there");
    drop(unread);
    tokio::time::timeout(PATIENCE, reading).await.expect("who reads is told all").unwrap();
    tokio::time::sleep(BOUND * 4).await;
    let mut last = namespace("last");
    last["metadata"]["labels"] = json!({ "of": "quiet" });
    server.post(NAMESPACES, &last).await.expect(201);
    assert_eq!(quiet.event().await.1, "last", "a watch that had nothing to say for long goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_both_ways_outlives_every_bound() {
    let server = strict().await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (say, said) = tokio::sync::mpsc::channel::<Bytes>(1);
    let words = futures_util::stream::unfold(said, |mut said| async {
        let word = said.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(word), said))
    });
    let request = Request::builder().method(Method::POST).uri("http://sealane/echo");
    let answer = sender.send_request(request.body(Body::from_stream(words)).unwrap()).await.unwrap();
    let mut echo = answer.into_body();
    for word in ["one", "two"] {
        tokio::time::sleep(BOUND * 4).await;
        say.send(word.into()).await.unwrap();
        let frame = tokio::time::timeout(PATIENCE, echo.frame()).await.unwrap();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), word);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_answers_no_ping_is_let_go_though_its_watch_is_quiet() {
    let server = strict().await;
    let path = format!("{NAMESPACES}?watch=1&labelSelector=of=nobody");
    let mut watch = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // HEADERS of stream 1, ended: GET (2), http (6), :path (4), :authority (1) of the static table (RFC 7541, appendix A).
    let mut fields = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    fields.extend(path.as_bytes());
    fields.extend([0x01, 1, b'x']);
    watch.extend([0, 0, u8::try_from(fields.len()).unwrap(), 0x01, 0x05, 0, 0, 0, 1]);
    watch.extend(fields);
    let said = until_closed(begun(&server, &watch).await, b"").await;
    assert!(said.contains("\u{1}\u{4}\0\0\0\u{1}"), "the watch had begun: {said:?}");
    assert!(said.contains("\0\0\u{8}\u{6}\0\0\0\0\0"), "it was asked whether it is there: {said:?}");
}
