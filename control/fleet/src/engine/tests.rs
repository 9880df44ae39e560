//! The engine over a store that fails on demand.

use std::sync::atomic::AtomicBool;

use futures_util::future::BoxFuture;
use record::delta::{Hello, PROTOCOL, Want};
use record::inspect::State;
use store::{FileStore, Listing, Object, Retention, Span, Written};

use super::*;
use crate::fleet::Settings;

/// A home that refuses writes while it is told to.
struct Failing {
    home: FileStore,
    broken: AtomicBool,
}

impl Store for Failing {
    fn span(&self) -> Span {
        self.home.span()
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<Object>, StoreError>> {
        self.home.get(key)
    }

    fn list<'a>(&'a self, scope: &'a Scope, at: Option<u64>) -> BoxFuture<'a, Result<Listing, StoreError>> {
        self.home.list(scope, at)
    }

    fn watch(&self, scope: Scope, after: u64) -> Result<Watch, StoreError> {
        self.home.watch(scope, after)
    }

    fn write(&self, transaction: Transaction) -> BoxFuture<'_, Result<Written, StoreError>> {
        if self.broken.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Closed) });
        }
        self.home.write(transaction)
    }

    fn compact(&self, through: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.home.compact(through)
    }
}

struct World {
    home: Arc<Failing>,
    store: Arc<Cached>,
    handle: Handle,
    _folder: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = FileStore::open(&folder.path().join("server.redb"), Retention::default()).unwrap();
        let home = Arc::new(Failing { home, broken: AtomicBool::new(false) });
        let store = Arc::new(Cached::start(Arc::clone(&home) as Arc<dyn Store>).await.unwrap());
        for (resource, tenant, kind, version) in [
            (document::TENANTS, ObjectKey::SYSTEM, "Tenant", "sealane.dev/v1alpha1"),
            (document::NAMESPACES, "default", "Namespace", "v1"),
        ] {
            let document = document::plain(version, kind, "default", None, "2026-11-20T00:00:00Z");
            let key = ObjectKey::new(tenant, resource, None, "default");
            store.write(Transaction::put(key, Expect::Absent, document)).await.unwrap();
        }
        let (listing, watch) = store.subscribe(Scope::all());
        let settings = Settings { rest: 60 };
        let fleet = Fleet::restore(&listing.objects, settings, 0, SystemTime::now()).unwrap();
        let (engine, handle) = Engine::new(fleet, Arc::clone(&store), watch, Instant::now());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(engine.run(async {
            stopped.await.ok();
        }));
        Self { home, store, handle, _folder: folder, _stop: stop }
    }

    /// A session that has said hello.
    async fn join(&self, name: &str) -> (SessionId, mpsc::UnboundedReceiver<ServerMessage>) {
        let session = self.handle.next_session();
        let (queue, queued) = mpsc::unbounded_channel();
        assert!(self.handle.tell(Input::Opened(session, queue)).await);
        let hello = Hello {
            protocol: PROTOCOL,
            name: name.into(),
            underlay: vec!["192.0.2.1".parse().unwrap()],
            generation: record::Generation(0),
            held: Vec::new(),
            endpoints: Vec::new(),
            software: String::new(),
            kernel: "6.18".into(),
            mtu: 1500,
        };
        assert!(self.handle.tell(Input::Message(session, NodeMessage::Hello(hello))).await);
        (session, queued)
    }

    fn numbers(&self) -> Vec<String> {
        let kept = self.store.objects(&Scope::resource(crate::numbers::RESOURCE)).objects;
        kept.iter().map(|object| object.key.name().to_owned()).collect()
    }
}

/// The next message but questions, which come when they like.
async fn next(
    queued: &mut mpsc::UnboundedReceiver<ServerMessage>,
    patience: Duration,
) -> Option<ServerMessage> {
    loop {
        match tokio::time::timeout(patience, queued.recv()).await {
            Ok(Some(ServerMessage::Ask(..))) => {}
            Ok(message) => return message,
            Err(_) => return None,
        }
    }
}

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn while_the_store_takes_no_writes_no_new_number_is_sent_and_then_it_is() {
    let world = World::start().await;
    let (_, mut first) = world.join("n1").await;
    assert!(matches!(next(&mut first, SOON).await, Some(ServerMessage::Welcome(_))));
    assert!(world.numbers().contains(&"node:n1".to_owned()), "durable before the welcome");

    world.home.broken.store(true, Ordering::SeqCst);
    let session = world.handle.next_session();
    let (queue, mut second) = mpsc::unbounded_channel();
    world.handle.tell(Input::Opened(session, queue)).await;
    let hello = Hello {
        protocol: PROTOCOL,
        name: "n2".into(),
        underlay: vec!["192.0.2.2".parse().unwrap()],
        generation: record::Generation(0),
        held: Vec::new(),
        endpoints: Vec::new(),
        software: String::new(),
        kernel: "6.18".into(),
        mtu: 1500,
    };
    world.handle.tell(Input::Message(session, NodeMessage::Hello(hello))).await;
    assert_eq!(next(&mut second, Duration::from_millis(600)).await, None, "nothing that is not on the disk");
    assert!(
        world.handle.look(|fleet| fleet.nodes.len()).await.is_some(),
        "questions are answered all the while"
    );

    world.home.broken.store(false, Ordering::SeqCst);
    assert!(matches!(next(&mut second, SOON).await, Some(ServerMessage::Welcome(_))));
    assert!(world.numbers().contains(&"node:n2".to_owned()));
}

#[tokio::test]
async fn a_question_to_a_node_is_answered_by_it_or_by_its_absence() {
    let world = World::start().await;
    let (session, mut queued) = world.join("n1").await;
    let Some(ServerMessage::Welcome(node)) = next(&mut queued, SOON).await else { panic!() };
    let handle = world.handle.clone();
    let asking = tokio::spawn(async move { handle.ask(node, Question::Drops).await });
    let number = loop {
        match queued.recv().await.unwrap() {
            ServerMessage::Ask(number, Question::Drops) => break number,
            _ => continue,
        }
    };
    let answer = Answer::Drops(record::inspect::Drops { lost: 7, ..Default::default() });
    world.handle.tell(Input::Message(session, NodeMessage::Answer(number, answer.clone()))).await;
    assert_eq!(asking.await.unwrap(), Some(answer));

    let handle = world.handle.clone();
    let asking = tokio::spawn(async move { handle.ask(node, Question::Drops).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.handle.tell(Input::Closed(session)).await;
    assert_eq!(tokio::time::timeout(SOON, asking).await.unwrap().unwrap(), None);
    assert_eq!(world.handle.ask(NodeId(99), Question::Drops).await, None);
}

#[tokio::test]
async fn a_node_says_how_it_is_and_a_want_without_a_hello_is_refused() {
    let world = World::start().await;
    let (session, mut queued) = world.join("n1").await;
    let Some(ServerMessage::Welcome(node)) = next(&mut queued, SOON).await else { panic!() };
    let number = loop {
        if let ServerMessage::Ask(number, Question::State) = queued.recv().await.unwrap() {
            break number;
        }
    };
    let state = State { endpoints: 3, ..State::default() };
    world
        .handle
        .tell(Input::Message(session, NodeMessage::Answer(number, Answer::State(state.clone()))))
        .await;
    assert_eq!(world.handle.look(move |fleet| fleet.nodes[&node].state.clone()).await, Some(Some(state)));

    let stranger = world.handle.next_session();
    let (queue, mut told) = mpsc::unbounded_channel();
    world.handle.tell(Input::Opened(stranger, queue)).await;
    let want = Want {
        id: 1,
        tenant: "default".into(),
        namespace: "default".into(),
        network: None,
        addresses: Vec::new(),
        endpoint: "web".into(),
        uid: "u".into(),
    };
    world.handle.tell(Input::Message(stranger, NodeMessage::Want(want))).await;
    let Some(ServerMessage::Rejected(why)) = next(&mut told, SOON).await else { panic!() };
    assert!(why.contains("hello"), "{why}");
    assert_eq!(told.recv().await, None, "the session is over");
}
