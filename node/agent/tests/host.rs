//! The agent as a process on the real kernel: in a network and mount namespace of its own, with a server that this test plays,
//! containers that are processes in namespaces, and TCP between them. Needs root.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use datapath::link::Namespace;
use record::delta::{Ack, Delta, Hello, NodeMessage, ServerMessage};
use record::door::{Attach, Attached, Detach, Door, Publish, Reply, Request};
use record::inspect::{Answer, Question};
use record::record::*;
use record::selector::{LabelSelector, Namespaces, Operator, Requirement, Selector};
use record::{
    Decision, DropReason, Generation, Group, Labels, NodeId, Protocol, RuleId, RuleSetId, SelectorId,
    TenantId, Verdict, Vni,
};
use stream::Streaming;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The test's processes tell each other apart by this variable.
const ROLE: &str = "SEALANE_TEST_ROLE";
const NAME: &str = "containers_go_where_policy_lets_them_through_kills_and_restarts_and_nothing_is_left";

#[test]
fn containers_go_where_policy_lets_them_through_kills_and_restarts_and_nothing_is_left() {
    match std::env::var(ROLE).as_deref() {
        Ok("host") => runtime().block_on(on_the_host()),
        Ok("agent") => runtime().block_on(as_the_agent()),
        _ => {
            let mut command = Command::new("unshare");
            command
                .args(["--net", "--mount", "--propagation", "private"])
                .arg(std::env::current_exe().unwrap());
            let status = command.args(["--exact", NAME, "--nocapture"]).env(ROLE, "host").status().unwrap();
            assert!(status.success(), "see above");
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// `agent::run` with the settings that the host's process wrote, until it is told to stop.
async fn as_the_agent() {
    let filter = tracing_subscriber::EnvFilter::new("info");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let config = agent::Config::read(Path::new(&std::env::var("SEALANE_TEST_CONFIG").unwrap())).unwrap();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    let stop = async move {
        terminate.recv().await;
    };
    agent::run(config, stop).await.unwrap();
}

async fn on_the_host() {
    let host = Host::prepare();
    let mut server = Server::start(&host);
    let before = host.leftovers();
    let mut agent = host.agent();
    let mut session = server.meet().await;
    session.send(1, world(), Vec::new()).await;

    let (web, db) = (Container::start(), Container::start());
    let [web_is, db_is] = [("web", &web), ("db", &db)]
        .map(|(name, container)| host.attach(request(name, container, &[("app", name)])));
    assert!(web_is.judged && db_is.judged, "{web_is:?} {db_is:?}");
    let listener = db.listen(8080);
    let target = SocketAddr::new(db_is.addresses[0].address, 8080);
    assert!(web.reaches(target), "{}", host.world());
    assert_eq!(host.ask(&Request::Check(detach("web"))), Reply::Done);

    // A policy isolates `app=db`; the flow that stands is cut, a new one is denied, by name.
    let mut standing = web.connect(target).unwrap();
    session.send(2, isolation(), Vec::new()).await;
    assert!(!web.reaches(target), "denied: {}", host.world());
    assert!(!talks(&mut standing), "a standing flow is judged anew");
    let Reply::Answer { answer: Answer::Drops(drops) } =
        host.ask(&Request::Ask { question: Question::Drops })
    else {
        panic!("drops are told")
    };
    let denied = drops.counts.iter().find(|count| count.reason == DropReason::PolicyDenied).unwrap();
    assert_eq!(denied.rule, RuleId(9), "{drops:?}");
    session.send(3, vec![group(257, &[1], RuleSetId::OPEN)], Vec::new()).await;
    assert!(web.reaches(target), "allowed again: {}", host.world());

    // The server goes; the agent is killed; what stands goes on, and what is new is attached from what is held.
    drop((session, server));
    let mut standing = web.connect(target).unwrap();
    agent.kill();
    assert!(talks(&mut standing), "the datapath needs no agent");
    let mut agent = host.agent();
    assert!(talks(&mut standing), "nor does its restart cut anything");
    assert_eq!(host.list(), [&db_is, &web_is].map(Clone::clone).to_vec());
    let late = Container::start();
    let late_is = host.attach(request("late", &late, &[("app", "db")]));
    assert!(late_is.judged && late.reaches(target), "{late_is:?}: {}", host.world());
    let warm = host.time_of_attaches();
    assert!(warm < Duration::from_millis(250), "a warm attach took {warm:?}");

    // The server is back: it is told what is held and who is attached, and sends nothing that is held.
    let mut server = Server::start(&host);
    let (session, hello) = server.greet().await;
    assert_eq!((hello.generation, hello.held.len()), (Generation(3), world().len() + 2));
    let names: BTreeSet<&str> = hello.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["db", "late", "web"]));
    host.wait_until("the session counts", || host.metrics().contains("sealane_agent_server_connected 1"));
    assert!(host.metrics().contains("sealane_agent_attachments 3"), "{}", host.metrics());
    drop((session, server));

    for pause in [20, 80, 200, 400] {
        agent = host.kill_amid_attaches(agent, Duration::from_millis(pause));
    }
    assert!(talks(&mut standing), "none of it cuts what stands");

    // A container that ends is released; a stopped agent leaves the rest alone; purged, nothing is left.
    drop(late);
    host.wait_until("the ended container is released", || host.list().len() == 2);
    agent.stop();
    assert!(talks(&mut standing), "a stopped agent leaves containers alone");
    let mut agent = host.agent();
    assert_eq!(host.ask(&Request::Detach(detach("db"))), Reply::Done);
    assert!(!web.reaches(target), "what is detached is not reached");
    assert_eq!(host.list(), vec![web_is]);
    agent.stop();
    drop((listener, standing));
    let removed = agent::purge(&host.config()).unwrap();
    assert!(!removed.is_empty());
    assert_eq!(host.leftovers(), before);
    assert_eq!(agent::purge(&host.config()).unwrap(), Vec::<String>::new(), "a second time there is nothing");
}

/// The host: its underlay, its folders.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn prepare() -> Self {
        let host = Self { folder: tempfile::tempdir().unwrap() };
        for line in [
            "link set lo up",
            "link add uplink type veth peer name wire",
            "address add 192.0.2.10/24 dev uplink",
            "link set uplink up",
            "link set wire up",
            "route add default via 192.0.2.1",
        ] {
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
        }
        let bpf = host.path("bpf");
        std::fs::create_dir(&bpf).unwrap();
        nix::mount::mount(Some("bpf"), &bpf, Some("bpf"), nix::mount::MsFlags::empty(), None::<&str>)
            .unwrap();
        let toml = format!(
            "node = \"n1\"\nserver = {:?}\nstate_dir = {:?}\nsocket = {:?}\npin_dir = {:?}\n[metrics]\nlisten = \"127.0.0.1:7381\"\n",
            host.path("server.sock"),
            host.path("state"),
            host.path("agent.sock"),
            bpf.join("sealane")
        );
        std::fs::write(host.path("agent.toml"), toml).unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> agent::Config {
        agent::Config::read(&self.path("agent.toml")).unwrap()
    }

    /// Starts the agent and waits for its doors.
    fn agent(&self) -> Agent {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env(ROLE, "agent");
        command.env("SEALANE_TEST_CONFIG", self.path("agent.toml")).stdout(Stdio::null());
        let agent = Agent(Some(command.spawn().unwrap()));
        self.wait_until("the doors are open", || UnixStream::connect(self.path("agent.sock")).is_ok());
        agent
    }

    fn ask(&self, request: &Request) -> Reply {
        self.try_ask(request).unwrap()
    }

    fn attach(&self, request: Attach) -> Attached {
        attached(self.ask(&Request::Attach(request.into())))
    }

    fn list(&self) -> Vec<Attached> {
        match self.ask(&Request::List) {
            Reply::Attachments { mut attachments } => {
                attachments.sort_by(|a, b| a.name.cmp(&b.name));
                attachments
            }
            other => panic!("{other:?}"),
        }
    }

    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect("127.0.0.1:7381").unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// Kills the agent while containers are attached: whatever was answered stays, and of the rest nothing half.
    fn kill_amid_attaches(&self, mut agent: Agent, pause: Duration) -> Agent {
        let containers: Vec<Container> = (0..8).map(|_| Container::start()).collect();
        let answered: Vec<Attached> = std::thread::scope(|scope| {
            let attach = |(index, container): (usize, &Container)| {
                let request = request(&format!("killed{index}"), container, &[]);
                scope.spawn(move || self.try_ask(&Request::Attach(request.into())))
            };
            let attaches: Vec<_> = containers.iter().enumerate().map(attach).collect();
            std::thread::sleep(pause);
            agent.kill();
            let answers = attaches.into_iter().filter_map(|attach| attach.join().unwrap());
            answers.map(attached).collect()
        });
        let agent = self.agent();
        self.assert_nothing_leaked();
        let listed = self.list();
        eprintln!("killed after {pause:?}: {} of 8 were answered, {} stay", answered.len(), listed.len() - 3);
        assert!(answered.iter().all(|attached| listed.contains(attached)), "{answered:#?}\n{listed:#?}");
        for attached in listed.iter().filter(|attached| attached.name.starts_with("killed")) {
            assert_eq!(self.ask(&Request::Detach(detach(&attached.container))), Reply::Done);
        }
        self.assert_nothing_leaked();
        agent
    }

    /// Links and pins are those of the attachments that are listed.
    fn assert_nothing_leaked(&self) {
        let listed: BTreeSet<String> =
            self.list().into_iter().map(|attached| attached.host_interface).collect();
        let name = |link: &String| link.split('@').next().map(str::to_owned);
        let leftovers = self.leftovers();
        let links = leftovers["links"].iter().filter_map(name).filter(|name| name.starts_with("sl0"));
        assert_eq!(links.collect::<BTreeSet<String>>(), listed, "links");
        let pins = std::fs::read_dir(self.path("bpf/sealane/links")).unwrap().filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let number: u32 = name.split_once('-')?.0.parse().unwrap();
            Some(format!("sl{number:08x}"))
        });
        assert_eq!(pins.collect::<BTreeSet<String>>(), listed, "pins");
    }

    /// `None`: the agent went before it answered.
    fn try_ask(&self, request: &Request) -> Option<Reply> {
        let mut socket = UnixStream::connect(self.path("agent.sock")).ok()?;
        let mut line = serde_json::to_vec(request).unwrap();
        line.push(b'\n');
        socket.write_all(&line).ok()?;
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).ok()?;
        (!answer.is_empty()).then(|| serde_json::from_str(&answer).unwrap())
    }

    /// The shortest of some attaches, door to door.
    fn time_of_attaches(&self) -> Duration {
        let containers: Vec<Container> = (0..5).map(|_| Container::start()).collect();
        let times = containers.iter().enumerate().map(|(index, container)| {
            let name = format!("timed{index}");
            let began = Instant::now();
            self.attach(request(&name, container, &[]));
            let took = began.elapsed();
            assert_eq!(self.ask(&Request::Detach(detach(&name))), Reply::Done);
            took
        });
        let times: Vec<Duration> = times.collect();
        eprintln!("attaches, door to door: {times:?}");
        times.into_iter().min().unwrap()
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: {}", self.world());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What an agent can leave on a host.
    fn leftovers(&self) -> BTreeMap<String, BTreeSet<String>> {
        let names = |folder: &Path| -> BTreeSet<String> {
            let entries =
                std::fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().file_name()));
            entries.map(|names| names.map(|name| name.into_string().unwrap()).collect()).unwrap_or_default()
        };
        let links = Command::new("ip").args(["-br", "link"]).output().unwrap().stdout;
        let links = String::from_utf8(links).unwrap();
        let links =
            links.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
        BTreeMap::from([
            ("links".to_owned(), links),
            ("pins".to_owned(), names(&self.path("bpf"))),
            ("state".to_owned(), names(&self.path("state"))),
        ])
    }

    fn world(&self) -> String {
        let said = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let drops = UnixStream::connect(self.path("agent.sock"))
            .map(|_| format!("{:?}", self.ask(&Request::Ask { question: Question::Drops })));
        format!("\n{}\n{}\n{drops:?}", said("ip", &["-d", "address"]), said("ip", &["route"]))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The folder can be removed only when nothing is mounted in it.
        nix::mount::umount2(&self.path("bpf"), nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

/// The agent's process.
struct Agent(Option<Child>);

impl Agent {
    fn kill(&mut self) {
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn stop(&mut self) {
        let mut child = self.0.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.kill();
        }
    }
}

/// A process in a network namespace of its own.
struct Container {
    process: Child,
    namespace: Option<Namespace>,
}

impl Container {
    fn start() -> Self {
        let process = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let path = format!("/proc/{}/ns/net", process.id());
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::fs::read_link(&path).unwrap() == own {
            assert!(Instant::now() < deadline, "no namespace of its own");
            std::thread::sleep(Duration::from_millis(1));
        }
        let namespace = Some(Namespace::open(path).unwrap());
        Self { process, namespace }
    }

    fn netns(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.process.id()).into()
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.as_ref().unwrap().inside(work).unwrap()
    }

    /// Answers what it is sent, at a port of the container.
    fn listen(&self, port: u16) -> std::thread::JoinHandle<()> {
        let listener = self.inside(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        })
    }

    fn connect(&self, target: SocketAddr) -> std::io::Result<TcpStream> {
        self.inside(|| TcpStream::connect_timeout(&target, Duration::from_millis(700)))
    }

    fn reaches(&self, target: SocketAddr) -> bool {
        self.connect(target).is_ok_and(|mut stream| talks(&mut stream))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The namespace lasts as long as anybody holds it.
        self.namespace.take();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn talks(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut byte = [0];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok()
}

/// A server at the node's stream.
struct Server {
    calls: mpsc::Receiver<(Streaming<NodeMessage>, mpsc::Sender<ServerMessage>)>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    fn start(host: &Host) -> Self {
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
    async fn meet(&mut self) -> Session {
        self.greet().await.0
    }

    async fn greet(&mut self) -> (Session, Hello) {
        let (from_node, to_node) =
            timeout(Duration::from_secs(10), self.calls.recv()).await.unwrap().unwrap();
        let mut session = Session { from_node, to_node };
        let NodeMessage::Hello(hello) = session.hear().await else { panic!("the hello comes first") };
        assert_eq!((hello.name.as_str(), hello.mtu), ("n1", 1500));
        assert_eq!(hello.underlay, ["192.0.2.10".parse::<IpAddr>().unwrap()]);
        session.to_node.send(ServerMessage::Welcome(NodeId(1))).await.unwrap();
        (session, hello)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Session {
    from_node: Streaming<NodeMessage>,
    to_node: mpsc::Sender<ServerMessage>,
}

impl Session {
    async fn hear(&mut self) -> NodeMessage {
        timeout(Duration::from_secs(10), self.from_node.message()).await.unwrap().unwrap().unwrap()
    }

    /// Sends a generation, and waits until it is in the kernel.
    async fn send(&mut self, generation: u64, changed: Vec<Record>, removed: Vec<Key>) {
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

fn attached(reply: Reply) -> Attached {
    match reply {
        Reply::Attached(attached) => *attached,
        other => panic!("{other:?}"),
    }
}

fn vni() -> Vni {
    Vni::new(100).unwrap()
}

/// A tenant with a network and a block of it on this node; `app=db` is told from the rest.
fn world() -> Vec<Record> {
    let tenant = TenantId(1);
    let in_ = Operator::In(BTreeSet::from(["db".to_owned()]));
    let selector = Selector::Endpoints {
        namespaces: Namespaces::Named("default".to_owned()),
        endpoints: LabelSelector(BTreeSet::from([Requirement { key: "app".to_owned(), operator: in_ }])),
    };
    vec![
        Record::Tenant(Tenant { id: tenant, name: "default".to_owned(), port_names: BTreeSet::new() }),
        Record::Node(Node {
            id: NodeId(1),
            name: "n1".to_owned(),
            underlay: vec!["192.0.2.10".parse().unwrap()],
        }),
        Record::Network(Network {
            vni: vni(),
            tenant,
            name: "default".to_owned(),
            subnets: vec![Subnet {
                prefix: "10.1.0.0/16".parse().unwrap(),
                gateway: "10.1.0.1".parse().unwrap(),
            }],
            default_allow: true,
            world: true,
            mtu: None,
        }),
        Record::Member(Member { vni: vni(), node: NodeId(1) }),
        Record::Route(Route { vni: vni(), prefix: "10.1.3.0/26".parse().unwrap(), node: NodeId(1) }),
        Record::Project(Project {
            tenant,
            name: "default".to_owned(),
            labels: Labels::new(),
            network: "default".to_owned(),
        }),
        Record::Selector(NamedSelector { tenant, id: SelectorId(1), selector }),
        group(256, &[], RuleSetId::OPEN),
        group(257, &[1], RuleSetId::OPEN),
    ]
}

/// Nobody may open a connection to `app=db`.
fn isolation() -> Vec<Record> {
    let tenant = TenantId(1);
    let decision = Decision { verdict: Verdict::Deny, rule: RuleId(9) };
    vec![
        Record::Rule(Rule {
            tenant,
            id: RuleId(9),
            kind: "NetworkPolicy".to_owned(),
            namespace: "default".to_owned(),
            name: "isolate-db".to_owned(),
            direction: record::Direction::Ingress,
            index: None,
        }),
        Record::Row(Row {
            tenant,
            rule_set: RuleSetId(5),
            peer: Peer::Others,
            ports: vec![PortInterval { protocol: 0, port: 0, decision }],
        }),
        group(257, &[1], RuleSetId(5)),
    ]
}

fn group(number: u16, selectors: &[u32], ingress: RuleSetId) -> Record {
    Record::Group(GroupRules {
        tenant: TenantId(1),
        group: Group(number),
        members: Members::Endpoints,
        selectors: selectors.iter().copied().map(SelectorId).collect(),
        ports: BTreeSet::new(),
        ingress,
        egress: RuleSetId::OPEN,
    })
}

fn request(name: &str, container: &Container, labels: &[(&str, &str)]) -> Attach {
    let published = Publish { address: None, host_port: 9000, port: 80, protocol: Protocol::Tcp };
    Attach {
        door: Door::Run,
        tenant: None,
        namespace: None,
        name: name.to_owned(),
        network: None,
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ports: Vec::new(),
        netns: container.netns(),
        interface: "eth0".to_owned(),
        container: name.to_owned(),
        addresses: Vec::new(),
        mac: None,
        publish: if name == "web" { vec![published] } else { Vec::new() },
    }
}

fn detach(name: &str) -> Detach {
    Detach { door: Door::Run, container: name.to_owned(), interface: None }
}
