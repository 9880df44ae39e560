//! A node's way in over real sockets: joining, sessions, renewing, and what stands in the way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use authority::{ClientVerifier, Registrar, Revoked, ServerIdentity, ServerNames, server_config};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity::{Certificate, Key};
use record::join::{JOIN_PATH, RENEW_PATH};
use stream::{Address, ConnectError, Credentials, JoinError, Passport, connect_as};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{HOUR, World};

#[tokio::test]
async fn a_node_joins_with_its_token_and_opens_a_session_as_itself() {
    let now = SystemTime::now();
    let world = World::new(now);
    let server = Server::start(&world, now).await;
    let token = token(&world, now).await;
    let passport = stream::join(&server.address, &token, "a", Key::generate()).await.unwrap();
    let passport = Passport::read(&passport.pem()).unwrap();
    assert_eq!(passport.certificate.user, "system:node:a");
    assert_eq!(&passport.bundle, world.authority.bundle());
    let credentials = Credentials::new(&passport).unwrap();
    connect_as(&server.address, &credentials).await.unwrap();

    let [early, late] = [0.0, 1.0].map(|chance| passport.renewal(chance));
    assert!(now < early && early < late && late < now + authority::NODE_LIFE / 2, "{early:?} {late:?}");
    let next = stream::renew(&server.address, &credentials, Key::generate()).await.unwrap();
    assert_eq!(next.certificate.user, "system:node:a");
    credentials.replace(&next).unwrap();
    let old = Revoked::Serial(passport.certificate.serial.clone());
    world.revocations.revoke(old, "renewed", now).await.unwrap();
    connect_as(&server.address, &credentials)
        .await
        .expect("the next session is opened with the next certificate");
}

#[tokio::test]
async fn a_passport_that_was_cut_or_mixed_is_refused() {
    let now = SystemTime::now();
    let world = World::new(now);
    let server = Server::start(&world, now).await;
    let [one, other] = [token(&world, now).await, token(&world, now).await];
    let one = stream::join(&server.address, &one, "a", Key::generate()).await.unwrap();
    let other = stream::join(&server.address, &other, "b", Key::generate()).await.unwrap();
    let text = one.pem();
    let cuts = text.match_indices('\n').map(|(at, _)| &text[..at]);
    for cut in cuts.filter(|cut| cut.len() + 1 < text.len()) {
        assert!(Passport::read(cut).is_err(), "{cut}");
    }
    let mixed = text.replace(&one.key.pem(), &other.key.pem());
    let refused = Passport::read(&mixed).unwrap_err();
    assert!(matches!(refused, stream::PassportError::Strangers), "{refused}");
}

#[tokio::test]
async fn no_secret_reaches_a_server_that_the_pin_does_not_name() {
    let now = SystemTime::now();
    let (world, stranger) = (World::new(now), World::new(now));
    let between = Server::start(&stranger, now).await;
    let token = token(&world, now).await;
    let refused = stream::join(&between.address, &token, "a", Key::generate()).await.unwrap_err();
    assert!(matches!(&refused, JoinError::Distrust { .. }), "{refused:?}");
    assert!(told(&refused).contains("somebody stands between"), "{}", told(&refused));
    assert_eq!(between.asked.load(Ordering::SeqCst), 0, "it was asked nothing");
}

#[tokio::test]
async fn a_revoked_node_and_one_of_another_fabric_learn_why_they_are_refused() {
    let now = SystemTime::now();
    let (world, other) = (World::new(now), World::new(now));
    let (server, foreign) = (Server::start(&world, now).await, Server::start(&other, now).await);
    let token = token(&world, now).await;
    let passport = stream::join(&server.address, &token, "a", Key::generate()).await.unwrap();
    let credentials = Credentials::new(&passport).unwrap();
    let strange = connect_as(&foreign.address, &credentials).await.unwrap_err();
    assert!(told(&strange).contains("no root that is trusted here"), "{}", told(&strange));
    let blind =
        Passport { bundle: other.authority.bundle().clone(), ..Passport::read(&passport.pem()).unwrap() };
    let refused = connect_as(&foreign.address, &Credentials::new(&blind).unwrap()).await.unwrap_err();
    assert!(told(&refused).contains("of another fabric"), "{}", told(&refused));

    world.registrar.dismiss("a", "deleted", now).await.unwrap();
    let refused = connect_as(&server.address, &credentials).await.unwrap_err();
    assert!(matches!(&refused, ConnectError::Distrust { .. }), "{refused:?}");
    assert!(told(&refused).contains("it is revoked; join again"), "{}", told(&refused));
    let refused = stream::renew(&server.address, &credentials, Key::generate()).await.unwrap_err();
    assert!(told(&refused).contains("it is revoked; join again"), "{}", told(&refused));
}

#[tokio::test]
async fn a_host_whose_clock_is_hours_off_learns_both_clocks() {
    let here = SystemTime::now();
    let there = here + 3 * HOUR;
    let world = World::new(there);
    let server = Server::start(&world, there).await;
    let token = token(&world, there).await;
    let refused = stream::join(&server.address, &token, "a", Key::generate()).await.unwrap_err();
    let text = told(&refused);
    let hour = |time| identity::clock::show(time)[..14].to_owned();
    assert!(text.contains(&format!("clock says {}", hour(here))), "{text}");
    assert!(text.contains(&format!("the server's {}", hour(there))), "{text}");
}

#[tokio::test]
async fn a_server_says_in_its_own_words_why_a_token_does_not_do() {
    let now = SystemTime::now();
    let world = World::new(now);
    let server = Server::start(&world, now).await;
    let token = token(&world, now).await;
    world.tokens.delete(token.credential.id()).await.unwrap();
    let refused = stream::join(&server.address, &token, "a", Key::generate()).await.unwrap_err();
    assert!(matches!(&refused, JoinError::Refused { status: 401, .. }), "{refused:?}");
    assert!(told(&refused).contains("`sealane token create` makes one"), "{refused}");
    let plain: Address = "http://127.0.0.1:1".parse().unwrap();
    let refused = stream::join(&plain, &token, "a", Key::generate()).await.unwrap_err();
    assert!(told(&refused).contains("https://HOST:PORT"), "{refused}");
}

/// A listener as a server has one, for as long as the test runs.
struct Server {
    address: Address,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(world: &World, now: SystemTime) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local: SocketAddr = listener.local_addr().unwrap();
        let names = ServerNames::new([]).unwrap();
        let identity = Arc::new(ServerIdentity::open(world.authority.clone(), names, now).unwrap());
        let verifier = ClientVerifier::new(world.authority.bundle(), world.revocations.clone()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(identity, verifier).unwrap()));
        let asked = Arc::new(AtomicUsize::new(0));
        let desk = Desk { registrar: world.registrar.clone(), now, asked: asked.clone() };
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, desk) = (acceptor.clone(), desk.clone());
                tokio::spawn(async move { desk.serve(acceptor, stream).await });
            }
        });
        Self { address: format!("https://{local}").parse().unwrap(), asked, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers as a server does.
#[derive(Clone)]
struct Desk {
    registrar: Registrar,
    now: SystemTime,
    asked: Arc<AtomicUsize>,
}

impl Desk {
    async fn serve(self, acceptor: TlsAcceptor, stream: tokio::net::TcpStream) {
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let peer = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = peer.map(|der| Certificate::new(der.clone().into_owned()).unwrap());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (desk, peer) = (self.clone(), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(desk.answer(request, peer).await) }
        });
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>, peer: Option<Certificate>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/livez" {
            return self.say(200, "ok".into());
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        if path == stream::PATH {
            let peer = peer.expect("a session needs a node's certificate");
            assert_eq!(peer.user, "system:node:a");
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            let open = |mut incoming: stream::Streaming<_>| {
                tokio::spawn(async move {
                    while let Ok(Some(_)) = incoming.message().await {}
                    drop(sender);
                });
                receiver
            };
            let response = stream::accept(request, open).await;
            return response.map(|body| body.map_err(Into::into).boxed_unsync());
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let outcome = match (path.as_str(), peer) {
            (JOIN_PATH, _) => self.registrar.join(&serde_json::from_slice(&body).unwrap(), self.now).await,
            (RENEW_PATH, Some(peer)) => {
                self.registrar.renew(&peer, &serde_json::from_slice(&body).unwrap(), self.now).await
            }
            other => panic!("nobody asks {other:?}"),
        };
        match outcome {
            Ok(answer) => self.say(200, serde_json::to_vec(&answer).unwrap()),
            Err(refused) => {
                let status = serde_json::json!({ "kind": "Status", "message": refused.to_string() });
                self.say(refused.status(), serde_json::to_vec(&status).unwrap())
            }
        }
    }

    fn say(&self, status: u16, body: Vec<u8>) -> Response<Body> {
        let body = Full::<Bytes>::from(body).map_err(|never| match never {}).boxed_unsync();
        let date = httpdate::fmt_http_date(self.now);
        Response::builder().status(status).header("date", date).body(body).unwrap()
    }
}

type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

async fn token(world: &World, now: SystemTime) -> record::join::Token {
    let grant = authority::Grant::Node { name: None, many: false };
    let order = authority::Order { grant, life: HOUR, by: "admin".to_owned() };
    world.tokens.create(order, world.authority.fingerprint(), now).await.unwrap()
}

/// The error with its causes, as a person is shown it.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
