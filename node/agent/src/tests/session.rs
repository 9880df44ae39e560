use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use record::Group;
use record::delta::{Fault, Grant, Hello, NodeMessage, Refusal as ServerRefusal, RefusalKind, ServerMessage};
use record::door::RefusalCode;
use record::inspect::{Answer, Question};
use record::record::Version;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::sync::Ended;
use crate::testing::{labels, request, selector, tenant_record, vni};

/// The other end of a session.
struct Server {
    from_node: mpsc::Receiver<NodeMessage>,
    to_node: mpsc::Sender<Result<ServerMessage, String>>,
    session: JoinHandle<Ended>,
}

impl Server {
    /// Takes the node's hello and welcomes it.
    async fn meet(bench: &Bench) -> (Self, Hello) {
        let (outgoing, from_node) = mpsc::channel(64);
        let (to_node, incoming) = mpsc::channel(64);
        let node = Arc::clone(&bench.node);
        let session =
            tokio::spawn(async move { node.session(outgoing, ReceiverStream::new(incoming)).await });
        let mut server = Self { from_node, to_node, session };
        let NodeMessage::Hello(hello) = server.hear().await else { panic!("the first message is the hello") };
        server.say(ServerMessage::Welcome(NodeId(1))).await;
        (server, hello)
    }

    async fn say(&self, message: ServerMessage) {
        self.to_node.send(Ok(message)).await.unwrap();
    }

    async fn send(&self, generation: u64, changed: Vec<Record>, removed: &[Key]) {
        let delta =
            Delta { generation: Generation(generation), changed, removed: removed.to_vec(), more: false };
        self.say(ServerMessage::Delta(delta)).await;
    }

    async fn hear(&mut self) -> NodeMessage {
        timeout(SOON, self.from_node.recv()).await.unwrap().unwrap()
    }

    async fn hear_ack(&mut self) -> record::delta::Ack {
        loop {
            if let NodeMessage::Ack(ack) = self.hear().await {
                return ack;
            }
        }
    }

    async fn end(self) -> Ended {
        drop(self.to_node);
        self.session.await.unwrap()
    }
}

#[tokio::test]
async fn a_node_says_what_it_holds_and_acknowledges_what_is_in_its_kernel() {
    let bench = Bench::empty().await;
    let (mut server, hello) = Server::meet(&bench).await;
    assert_eq!((hello.name.as_str(), hello.held.len(), hello.endpoints.len()), ("n1", 0, 0));
    assert_eq!((hello.mtu, hello.generation), (1500, Generation(0)));
    let records = World::new().list();
    let (first, rest) = records.split_at(2);
    let part = |changed: &[Record], more| {
        ServerMessage::Delta(Delta {
            generation: Generation(4),
            changed: changed.to_vec(),
            removed: vec![],
            more,
        })
    };
    server.say(part(first, true)).await;
    server.say(part(rest, false)).await;
    assert_eq!(server.hear_ack().await, record::delta::Ack { generation: Generation(4), faults: vec![] });
    assert_eq!(bench.kernel.state.lock().generation, Generation(4));
    bench.attach(request("a")).await.unwrap();
    let NodeMessage::Attached(report) = server.hear().await else { panic!("the endpoint is reported") };
    assert_eq!((report.name.as_str(), report.vni), ("a", vni()));
    assert!(matches!(server.end().await, Ended::Closed));
    let bench = bench.restart().await;
    let (_server, hello) = Server::meet(&bench).await;
    let held: BTreeMap<Key, Version> = hello.held.into_iter().collect();
    assert_eq!(held, records.iter().map(|record| (record.key(), record.version())).collect());
    assert_eq!((hello.generation, hello.endpoints), (Generation(4), vec![report]));
}

#[tokio::test]
async fn what_cannot_be_realised_is_told_and_its_predecessor_stays_over_a_restart() {
    let bench = Bench::new().await;
    let (mut server, _) = Server::meet(&bench).await;
    let (tenant, new) = (tenant_record(1, "renamed"), tenant_record(2, "two"));
    bench.kernel.state.lock().refuse = [tenant.key(), new.key()].into();
    server.send(2, vec![tenant.clone(), new.clone(), tenant_record(3, "three")], &[]).await;
    let faults = server.hear_ack().await.faults;
    let fault = |record: &Record| Fault { key: record.key(), reason: "map rows: no room".into() };
    assert_eq!(faults, [fault(&tenant), fault(&new)]);
    bench.assert_agreement();
    server.end().await;
    bench.kernel.state.lock().refuse.clear();
    let bench = bench.restart().await;
    bench.assert_agreement();
    let ledger = bench.node.ledger();
    assert_eq!(
        (ledger.held.tenant_named("default").is_some(), ledger.held.tenant_named("three").is_some()),
        (true, true)
    );
    assert_eq!(ledger.held.tenant_named("two"), None);
}

#[tokio::test]
async fn an_older_generation_ends_the_session_and_changes_nothing() {
    let bench = Bench::new().await;
    let (server, _) = Server::meet(&bench).await;
    server.send(1, vec![tenant_record(9, "nine")], &[]).await;
    let ended = timeout(SOON, server.session).await.unwrap().unwrap();
    assert!(matches!(ended, Ended::OutOfOrder(_)), "{ended}");
    assert_eq!(bench.node.ledger().held.tenant_named("nine"), None);
    assert!(!bench.node.outbox.is_open());
}

#[tokio::test]
async fn a_rejected_node_says_why() {
    let bench = Bench::empty().await;
    let (server, _) = Server::meet(&bench).await;
    server.say(ServerMessage::Rejected("protocol 1 is not spoken here".into())).await;
    let ended = timeout(SOON, server.session).await.unwrap().unwrap();
    assert!(ended.to_string().contains("protocol 1"), "{ended}");
}

#[tokio::test]
async fn an_unknown_network_is_asked_for_once_for_all_who_wait() {
    let bench = Bench::empty().await;
    let (mut server, _) = Server::meet(&bench).await;
    let attaches: Vec<_> = (0..5)
        .map(|index| tokio::spawn(Arc::clone(&bench.node).attach(request(&format!("c{index}")))))
        .collect();
    let NodeMessage::Want(want) = server.hear().await else { panic!("the network is wanted") };
    assert_eq!((want.tenant.as_str(), want.namespace.as_str(), want.network), ("default", "default", None));
    server.send(1, World::new().list(), &[]).await;
    server.say(ServerMessage::Granted(Grant { id: want.id, tenant: record::TenantId(1), vni: vni() })).await;
    for attach in attaches {
        attach.await.unwrap().unwrap();
    }
    let mut reported = 0;
    while reported < 5 {
        match server.hear().await {
            NodeMessage::Attached(_) => reported += 1,
            NodeMessage::Ack(_) => {}
            other => panic!("{other:?}"),
        }
    }
    bench.assert_agreement();
}

#[tokio::test]
async fn a_refusal_of_the_server_reaches_the_door() {
    let bench = Bench::empty().await;
    let (mut server, _) = Server::meet(&bench).await;
    let attach = tokio::spawn(Arc::clone(&bench.node).attach(request("a")));
    let NodeMessage::Want(want) = server.hear().await else { panic!("the network is wanted") };
    let said = ServerRefusal {
        kind: RefusalKind::NotFound,
        message: "no namespace default".into(),
        remedy: "create it".into(),
    };
    server.say(ServerMessage::Refused(want.id, said)).await;
    let refusal = attach.await.unwrap().unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (RefusalCode::NotFound, "no namespace default"));
    let attach = tokio::spawn(Arc::clone(&bench.node).attach(request("a")));
    assert!(matches!(server.hear().await, NodeMessage::Want(_)));
    server.end().await;
    assert_eq!(
        attach.await.unwrap().unwrap_err().code,
        RefusalCode::Unavailable,
        "the server went before it answered"
    );
}

#[tokio::test]
async fn an_endpoint_of_no_known_group_waits_for_the_servers_word() {
    let bench = Bench::of(World::new().selector(1, selector("app", "web"))).await;
    let web = |name: &str| Attach { labels: labels(&[("app", "web")]), ..request(name) };
    let alone = bench.attach(web("alone")).await.unwrap();
    assert!(!alone.judged, "denied by name until somebody knows");
    let unknown = bench.kernel.state.lock().endpoints.values().next().unwrap().clone();
    assert!(unknown.values().all(|group| *group == Group::UNKNOWN));
    let (mut server, _) = Server::meet(&bench).await;
    let attach = tokio::spawn(Arc::clone(&bench.node).attach(web("b")));
    let NodeMessage::Attached(report) = server.hear().await else { panic!("the endpoint is reported") };
    let mut word = World { records: BTreeMap::new() };
    word.group(300, [1], &[]).endpoint(&report.uid, report.addresses[0], 300);
    server.send(2, word.list(), &[]).await;
    assert!(attach.await.unwrap().unwrap().judged);
    server.hear_ack().await;
    bench.assert_agreement();
    let groups: Vec<Group> =
        bench.kernel.state.lock().endpoints.values().flat_map(|groups| groups.values().copied()).collect();
    assert_eq!(groups, [Group(300), Group(300)], "the one that came before follows by its labels");
    server.send(3, vec![], &[Key::Group(record::TenantId(1), Group(300))]).await;
    server.hear_ack().await;
    bench.assert_agreement();
}

/// A group that came with the last generation may be on its way to the nodes that will judge its members.
#[tokio::test]
async fn the_first_of_a_group_on_a_node_waits_for_the_servers_word_and_the_next_for_nobody() {
    let bench = Bench::of(World::new().selector(1, selector("app", "web")).group(300, [1], &[])).await;
    let web = |name: &str| Attach { labels: labels(&[("app", "web")]), ..request(name) };
    let groups = || -> BTreeSet<Group> {
        bench.kernel.state.lock().endpoints.values().flat_map(|groups| groups.values().copied()).collect()
    };
    let (mut server, _) = Server::meet(&bench).await;
    let attach = tokio::spawn(Arc::clone(&bench.node).attach(web("a")));
    let NodeMessage::Attached(report) = server.hear().await else { panic!("the endpoint is reported") };
    assert_eq!(groups(), [Group::UNKNOWN].into(), "held is not enough");
    let mut word = World { records: BTreeMap::new() };
    word.endpoint(&report.uid, report.addresses[0], 300);
    server.send(2, word.list(), &[]).await;
    assert!(attach.await.unwrap().unwrap().judged);
    server.hear_ack().await;
    assert!(bench.attach(web("b")).await.unwrap().judged, "nobody was asked");
    assert_eq!(groups(), [Group(300)].into());
}

#[tokio::test]
async fn a_server_that_is_heard_and_says_nothing_is_waited_for_once() {
    let bench = Bench::of(World::new().selector(1, selector("app", "web")).group(300, [1], &[])).await;
    let (_server, _) = Server::meet(&bench).await;
    let began = Instant::now();
    let web = Attach { labels: labels(&[("app", "web")]), ..request("a") };
    assert!(bench.attach(web).await.unwrap().judged, "by what the node holds");
    assert!(began.elapsed() < Duration::from_secs(5));
    bench.assert_agreement();
}

#[tokio::test]
async fn questions_are_answered_and_empty_blocks_go_back() {
    let bench = Bench::new().await;
    let (mut server, _) = Server::meet(&bench).await;
    server.say(ServerMessage::Ask(7, Question::State)).await;
    let NodeMessage::Answer(7, Answer::State(state)) = server.hear().await else {
        panic!("the state is told")
    };
    assert_eq!((state.generation, state.endpoints), (Generation(1), 0));
    let start = Instant::now();
    bench.node.release_blocks(start).await;
    bench.node.release_blocks(start + Duration::from_secs(400)).await;
    assert_eq!(server.hear().await, NodeMessage::Release(vni(), "10.0.0.0/26".parse().unwrap()));
    let attach = tokio::spawn(Arc::clone(&bench.node).attach(request("a")));
    assert!(
        matches!(server.hear().await, NodeMessage::Want(_)),
        "what is on its way back is not handed out from"
    );
    server.end().await;
    attach.await.unwrap().unwrap_err();
    let bench = bench.restart().await;
    let (_server, hello) = Server::meet(&bench).await;
    assert!(!hello.held.iter().any(|(key, _)| matches!(key, Key::Route(..))), "the server says whose it is");
}

/// What is waited for without an end is waited for longer, also on a busy machine.
const SOON: Duration = Duration::from_secs(30);
