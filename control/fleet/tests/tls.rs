//! A whole server whose TCP port speaks TLS, as one setting says.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use authority::{Authority, Subject};
use bytes::Bytes;
use fleet::Config;
use futures_util::StreamExt;
use futures_util::stream::{once, pending};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity::{Key, Request};
use record::Generation;
use record::delta::{Hello, NodeMessage, PROTOCOL, ServerMessage};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Sender = hyper::client::conn::http2::SendRequest<BoxBody<Bytes, Infallible>>;

/// A connection as the holder of a certificate for `subject`, or as nobody.
async fn connect(address: SocketAddr, pki: &Path, subject: Option<Subject>) -> Sender {
    let authority = Authority::open(pki, SystemTime::now()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.root().der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match subject {
        None => builder.with_no_client_auth(),
        Some(subject) => {
            let key = Key::generate();
            let asked = Request::read(&key.request()).unwrap();
            let hour = Duration::from_hours(1);
            let certificate = authority.certify(&subject, &asked, hour, SystemTime::now()).unwrap();
            builder.with_client_auth_cert(vec![certificate.der().clone()], key.der()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::IpAddress(address.ip().into());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn get(sender: &mut Sender, path: &str) -> u16 {
    let request = http::Request::builder().uri(format!("https://server{path}"));
    let response = sender.send_request(request.body(BodyExt::boxed(Empty::new())).unwrap()).await.unwrap();
    response.status().as_u16()
}

/// What the server answers to a node that says it is `name`.
async fn join(sender: &mut Sender, name: &str) -> ServerMessage {
    let hello = Hello {
        protocol: PROTOCOL,
        name: name.to_owned(),
        underlay: vec!["192.0.2.1".parse().unwrap()],
        generation: Generation::default(),
        held: Vec::new(),
        endpoints: Vec::new(),
        software: "0.1.0".into(),
        kernel: "6.18".into(),
        mtu: 1500,
    };
    let message = record::record::encode(&NodeMessage::Hello(hello));
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = Bytes::from([&[0][..], &length, &message].concat());
    // A node's own stream stays open: who ends it has left.
    let said = once(async { Ok(Frame::data(frame)) }).chain(pending());
    let request = http::Request::builder()
        .method("POST")
        .uri(format!("https://server{}", stream::PATH))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let response =
        sender.send_request(request.body(BodyExt::boxed(StreamBody::new(said))).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut held = Vec::new();
    while held.len() < 5 || held.len() < 5 + u32::from_be_bytes(held[1..5].try_into().unwrap()) as usize {
        let next = tokio::time::timeout(Duration::from_secs(30), body.frame()).await.unwrap();
        let frame = next.unwrap_or_else(|| panic!("the stream ended after {held:?}")).unwrap();
        held.extend(frame.into_data().unwrap_or_default());
    }
    record::record::decode(&held[5..]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_identity_loopback_is_nobody_and_a_node_is_let_in_under_its_own_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let pki = folder.path().join("pki");
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Config {
        store: folder.path().join("server.redb"),
        socket: None,
        listen: vec![address],
        pki: Some(pki.clone()),
        audit: None,
        ..Config::default()
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(fleet::run(config, async {
        stopped.await.ok();
    }));
    let began = Instant::now();
    while !pki.join("server.pem").exists() || TcpStream::connect(address).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(30) && !server.is_finished(), "the server is not up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut nobody = connect(address, &pki, None).await;
    assert_eq!(get(&mut nobody, "/readyz").await, 200);
    assert_eq!(get(&mut nobody, "/api/v1/namespaces").await, 401);
    assert_eq!(get(&mut nobody, "/fabric/v1/status").await, 401);
    let mut admin = connect(address, &pki, Some(Subject::admin())).await;
    assert_eq!(get(&mut admin, "/fabric/v1/status").await, 200);

    let mut node = connect(address, &pki, Some(Subject::node("n1").unwrap())).await;
    assert_eq!(get(&mut node, "/api/v1/namespaces").await, 403);
    let answer = join(&mut node, "n2").await;
    let ServerMessage::Rejected(why) = &answer else { panic!("{answer:?}") };
    assert!(why.contains("\"n1\"") && why.contains("\"n2\""), "{why}");
    let answer = join(&mut node, "n1").await;
    assert!(matches!(answer, ServerMessage::Welcome(_)), "{answer:?}");
    drop((nobody, admin, node));
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
