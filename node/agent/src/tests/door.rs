use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use record::door::{MAX_LINE, RefusalCode, Reply, Request};
use record::inspect::{Answer, Question};

use super::*;
use crate::Agent;
use crate::door::Asker;
use crate::testing::request;

async fn agent(folder: &TempDir, kernel: &Arc<Memory>) -> Agent {
    let mut config = config(folder);
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let (journal, contents) = Journal::open(&folder.path().join("agent.redb")).unwrap();
    let shared: Arc<Memory> = Arc::clone(kernel);
    let agent = Agent::start(config, shared, journal, contents).await.unwrap();
    agent.node.number(NodeId(1)).await.unwrap();
    let delta =
        Delta { generation: Generation(1), changed: World::new().list(), removed: vec![], more: false };
    agent.node.take_over(delta).await;
    agent
}

/// Sends bytes and reads the answer, as a client without any async runtime does.
async fn converse(folder: &TempDir, bytes: Vec<u8>) -> Reply {
    let path = folder.path().join("agent.sock");
    let answer = tokio::task::spawn_blocking(move || {
        let mut socket = UnixStream::connect(path).unwrap();
        // The agent may stop reading a line that is too long.
        let _ = socket.write_all(&bytes);
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.ends_with('\n'), "{answer:?}");
    serde_json::from_str(&answer).unwrap()
}

async fn ask(folder: &TempDir, request: &Request) -> Reply {
    let mut line = serde_json::to_vec(request).unwrap();
    line.push(b'\n');
    converse(folder, line).await
}

fn refused(reply: Reply) -> RefusalCode {
    match reply {
        Reply::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_answered_on_one_line() {
    let (folder, kernel) = (TempDir::new().unwrap(), Arc::default());
    let agent = agent(&folder, &kernel).await;
    let Reply::Attached(attached) = ask(&folder, &Request::Attach(request("a").into())).await else {
        panic!()
    };
    let Reply::Attachments { attachments } = ask(&folder, &Request::List).await else { panic!() };
    assert_eq!(attachments, vec![*attached]);
    assert_eq!(ask(&folder, &Request::Check(detach("a"))).await, Reply::Done);
    assert_eq!(ask(&folder, &Request::Status).await, Reply::Done);
    let question = Request::Ask { question: Question::State };
    let Reply::Answer { answer: Answer::State(state) } = ask(&folder, &question).await else { panic!() };
    assert_eq!(state.endpoints, 1);
    let Reply::Answer { answer: Answer::Drops(drops) } =
        ask(&folder, &Request::Ask { question: Question::Drops }).await
    else {
        panic!()
    };
    assert_eq!(drops.counts.len(), 1);
    assert_eq!(ask(&folder, &Request::Detach(detach("a"))).await, Reply::Done);
    let text = agent.node.scrape();
    for line in [
        "sealane_agent_generation_held 1",
        "sealane_agent_attach_seconds_count{door=\"cni\"} 1",
        "sealane_agent_dropped_packets_total{reason=\"policy-denied\",vni=\"100\",network=\"default\"} 3",
        "sealane_agent_flows{tenant=\"default\"} 1",
        "sealane_agent_map_capacity{map=\"endpoints\"} 64",
        "sealane_agent_attachments 0",
    ] {
        assert!(text.contains(line), "{line} in:\n{text}");
    }
    agent.stop().await;
    assert!(!folder.path().join("agent.sock").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_answered_and_disturbs_nobody() {
    let (folder, kernel) = (TempDir::new().unwrap(), Arc::default());
    let agent = agent(&folder, &kernel).await;
    let silent = UnixStream::connect(folder.path().join("agent.sock")).unwrap();
    let mut half = UnixStream::connect(folder.path().join("agent.sock")).unwrap();
    half.write_all(b"{\"request\":").unwrap();
    drop(UnixStream::connect(folder.path().join("agent.sock")).unwrap());
    for garbage in [
        &b"\n"[..],
        b"{}\n",
        b"null\n",
        b"\xff\xfe\n",
        b"{\"request\":\"fly\"}\n",
        b"{\"request\":\"attach\"}\n",
        b"{\"request\":\"detach\",\"door\":\"cni\",\"container\":\"a\",\"extra\":1}\n",
        b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
    ] {
        let reply = converse(&folder, garbage.to_vec()).await;
        assert_eq!(refused(reply), RefusalCode::Invalid, "{}", String::from_utf8_lossy(garbage));
    }
    assert_eq!(refused(converse(&folder, vec![b'x'; MAX_LINE + 2]).await), RefusalCode::Invalid);
    assert!(matches!(ask(&folder, &Request::Attach(request("a").into())).await, Reply::Attached(_)));
    drop((silent, half));
    agent.stop().await;
}

#[tokio::test]
async fn whoever_is_not_root_may_ask_and_not_change() {
    let bench = Bench::new().await;
    let carry_out = |request: Request| {
        let (node, line) = (Arc::clone(&bench.node), serde_json::to_vec(&request).unwrap());
        async move { node.carry_out(&line, Asker::default()).await }
    };
    for change in [
        Request::Attach(request("a").into()),
        Request::Detach(detach("a")),
        Request::Collect(record::door::Collect { door: Door::Cni, within: None, keep: vec![] }),
    ] {
        assert_eq!(refused(carry_out(change).await), RefusalCode::Forbidden);
    }
    assert_eq!(carry_out(Request::List).await, Reply::Attachments { attachments: vec![] });
    assert_eq!(carry_out(Request::Status).await, Reply::Done);
    assert_eq!(refused(carry_out(Request::Check(detach("a"))).await), RefusalCode::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_agent_leaves_containers_alone_and_goes_on_with_them() {
    let (folder, kernel) = (TempDir::new().unwrap(), Arc::default());
    let first = agent(&folder, &kernel).await;
    let Reply::Attached(attached) = ask(&folder, &Request::Attach(request("a").into())).await else {
        panic!()
    };
    let before = kernel.state.lock().clone();
    let second = door_error(&folder, &kernel).await;
    assert!(second.contains("agent.redb") && second.contains("another agent"), "{second}");
    first.stop().await;
    let after = kernel.state.lock().clone();
    assert_eq!((before.links, before.endpoints), (after.links, after.endpoints));
    let again = agent(&folder, &kernel).await;
    assert_eq!(again.node.list(), vec![*attached]);
    kernel.end_namespace("/run/netns/a");
    for _ in 0..100 {
        if again.node.list().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(again.node.list().is_empty(), "the watch saw the container end");
    again.stop().await;
}

async fn door_error(folder: &TempDir, _: &Arc<Memory>) -> String {
    Journal::open(&folder.path().join("agent.redb")).unwrap_err().to_string()
}

#[tokio::test]
async fn a_node_with_neither_addresses_nor_server_is_not_ready() {
    let bench = Bench::empty().await;
    let reply = bench.node.carry_out(b"{\"request\":\"status\"}", Asker::default()).await;
    assert_eq!(refused(reply), RefusalCode::Unavailable);
}

#[tokio::test]
async fn what_a_client_asked_that_gave_up_on_a_hung_agent_is_not_begun() {
    let (folder, kernel) = (TempDir::new().unwrap(), Arc::default());
    let agent = agent(&folder, &kernel).await;
    assert!(matches!(ask(&folder, &Request::Attach(request("a").into())).await, Reply::Attached(_)));
    let mut line = serde_json::to_vec(&Request::Detach(detach("a"))).unwrap();
    line.push(b'\n');
    // Nothing of the agent runs between these: it has one thread, and this is it.
    let mut socket = UnixStream::connect(folder.path().join("agent.sock")).unwrap();
    socket.write_all(&line).unwrap();
    drop(socket);
    for _ in 0..3 {
        let Reply::Attachments { attachments } = ask(&folder, &Request::List).await else { panic!() };
        assert_eq!(attachments.len(), 1);
    }
    // One that has said all it will, and listens, is answered.
    let mut socket = UnixStream::connect(folder.path().join("agent.sock")).unwrap();
    socket.write_all(&line).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(answer.await.unwrap(), "{\"reply\":\"done\"}\n");
    agent.stop().await;
}
