//! The server killed at any moment: what it has told anybody is never told of another.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use record::{Key, Record};
use serde_json::json;
use world::node::Node;
use world::{Server, allow};

const FOLDER: &str = "SEALANE_TEST_FOLDER";
const HANDED_OVER: &str = "SEALANE_TEST_HANDED_OVER";

/// A process of its own for the server, that can be killed.
struct Process(Child);

impl Process {
    fn start(server: &Server) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "the_server_itself"])
            .env(FOLDER, &server.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// The same with a socket that is open already, as a service manager hands it over (`LISTEN_FDS`).
    fn start_on(server: &Server, socket: UnixListener) -> Self {
        let script = r#"export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@" 3<&0 </dev/null"#;
        let child = Command::new("/bin/sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "the_server_itself"])
            .env(FOLDER, &server.folder)
            .env(HANDED_OVER, "1")
            .stdin(OwnedFd::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// No test: what [`Process`] runs.
#[tokio::test]
#[ignore = "the server process of another test"]
async fn the_server_itself() {
    let folder = std::env::var_os(FOLDER).expect("started by another test");
    let mut config = Server::config(folder.as_ref());
    if std::env::var_os(HANDED_OVER).is_some() {
        config.socket = None;
    }
    fleet::run(config, std::future::pending()).await.unwrap();
}

/// Everything that a node was ever told by number, in words.
#[derive(Default)]
struct Told(BTreeMap<String, String>);

impl Told {
    fn hear(&mut self, node: &Node) {
        node.look(|held| {
            if let Some(number) = held.number {
                self.note(format!("node {number}"), held.name.clone());
            }
            held.records.iter().for_each(|(key, record)| self.record(key, record));
        });
    }

    fn record(&mut self, key: &Key, record: &Record) {
        match record {
            Record::Tenant(tenant) => self.note(format!("tenant {}", tenant.id), tenant.name.clone()),
            Record::Node(node) => self.note(format!("node {}", node.id), node.name.clone()),
            Record::Network(network) => {
                self.note(format!("network {}", network.vni), format!("{}/{}", network.tenant, network.name));
            }
            Record::Selector(selector) => {
                self.note(format!("selector {}", selector.id), format!("{:?}", selector.selector));
            }
            Record::Rule(rule) => {
                let words = format!("{}/{} {} {:?}", rule.namespace, rule.name, rule.direction, rule.index);
                self.note(format!("rule {}", rule.id), words);
            }
            Record::Group(group) => {
                let words = format!("{:?} {:?} {:?}", group.members, group.selectors, group.ports);
                self.note(format!("group {} of {}", group.group, group.tenant), words);
            }
            Record::Route(route) => {
                // A block is another matter: it may be given back, and this test gives none back.
                self.note(format!("block {} of {}", route.prefix, route.vni), route.node.to_string());
            }
            _ => assert_eq!(*key, record.key()),
        }
    }

    fn note(&mut self, number: String, words: String) {
        let known = self.0.entry(number.clone()).or_insert_with(|| words.clone());
        assert_eq!(*known, words, "{number} was told of two");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_once_sent_means_the_same_for_good_wherever_the_server_is_killed() {
    let server = Server::folder();
    let mut told = Told::default();
    let mut resumed: Option<Node> = None;
    for round in 0..12u64 {
        let process = Process::start(&server);
        server.ready().await;
        let node = match &resumed {
            Some(node) => node.come_back(&server.address()).await,
            None => {
                let node = Node::join(&server.address(), "n0").await;
                node.attach("base", &[]).await;
                node
            }
        };
        let work = tokio::spawn(churn(server.api(), server.address(), round));
        // Each round is cut off somewhere else in what it does.
        for _ in 0..(round * 7) % 60 + 5 {
            told.hear(&node);
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        drop(process);
        for node in work.await.unwrap() {
            told.hear(&node);
        }
        told.hear(&node);
        std::fs::remove_file(server.socket()).ok();
        resumed = Some(node);
    }
    let kinds = ["node", "network", "selector", "rule", "group", "block"];
    for kind in kinds {
        assert!(told.0.keys().any(|number| number.starts_with(kind)), "no {kind} among {:?}", told.0);
    }
    assert!(told.0.len() > 150, "{}: {:?}", told.0.len(), told.0);
}

/// New nodes, containers and policies, as fast as they go.
async fn churn(api: world::Client, address: stream::Address, round: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    for at in 0..50 {
        let name = format!("r{round}x{at}");
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": name },
            "spec": allow(&name, &format!("from-{name}"), 80),
        });
        let path = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
        if api.try_request("POST", path, Some(policy)).await.is_err() {
            break;
        }
        let Ok(link) =
            tokio::time::timeout(Duration::from_millis(500), Node::try_join(&address, &name)).await
        else {
            break;
        };
        let Some(node) = link else { break };
        node.start_attach("web", &[("app", &name)]).await;
        nodes.push(node);
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_handed_over_outlives_the_server_and_loses_no_connection() {
    let server = Server::folder();
    let socket = UnixListener::bind(server.socket()).unwrap();
    let first = Process::start_on(&server, socket.try_clone().unwrap());
    server.ready().await;
    let node = Node::join(&server.address(), "n1").await;
    node.attach("web", &[]).await;
    drop(first);
    // Whoever connects now waits in the socket until the next server takes it over.
    let (address, held) = (server.address(), node.leave());
    let waiting = tokio::spawn(async move { Node::connect(&address, held, Duration::ZERO).await });
    let _second = Process::start_on(&server, socket);
    let node = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    world::eventually("the node is welcome", || async { node.look(|held| held.number.is_some()) }).await;
    assert_eq!(node.look(|held| held.deltas), 0);
}
