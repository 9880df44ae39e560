//! A host in namespaces of its own, the agent on it, and its containers.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use datapath::link::Namespace;
use record::door::{Attach, Attached, Reply, Request};
use record::inspect::Question;

/// The test's processes tell each other apart by this variable.
const ROLE: &str = "SEALANE_TEST_ROLE";

/// Runs a test, which bears this name, on a host of its own: in a process that has its network and mounts for itself. A process of
/// the test is that host, others are its agents.
pub(crate) fn on_a_host<F: Future<Output = ()>>(test: &'static str, body: impl FnOnce(Host) -> F) {
    match std::env::var(ROLE).as_deref() {
        Ok("host") => runtime().block_on(async { body(Host::prepare(test)).await }),
        Ok("agent") => runtime().block_on(as_the_agent()),
        _ => {
            let mut command = Command::new("unshare");
            command
                .args(["--net", "--mount", "--propagation", "private"])
                .arg(std::env::current_exe().unwrap());
            let status = command.args(["--exact", test, "--nocapture"]).env(ROLE, "host").status().unwrap();
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
    if let Err(error) = agent::run(config, stop).await {
        eprintln!("REFUSED {error}");
        std::process::exit(REFUSED);
    }
}

/// The host: its underlay, its folders.
pub(crate) struct Host {
    folder: tempfile::TempDir,
    test: &'static str,
}

impl Host {
    fn prepare(test: &'static str) -> Self {
        let host = Self { folder: tempfile::tempdir().unwrap(), test };
        mount("tmpfs", Path::new("/run"));
        for line in [
            "link set lo up",
            "link add uplink type veth peer name wire",
            "address add 192.0.2.10/24 dev uplink",
            "link set uplink up",
            "link set wire up",
            "route add default via 192.0.2.1",
        ] {
            ip(line);
        }
        let bpf = host.path("bpf");
        std::fs::create_dir(&bpf).unwrap();
        mount("bpf", &bpf);
        host.set("state", "sealane");
        host
    }

    /// Writes the settings: with this folder of state, and this one of pins.
    pub(crate) fn set(&self, state: &str, pins: &str) {
        let toml = format!(
            "node = \"n1\"\nserver = {:?}\nstate_dir = {:?}\nsocket = {:?}\npin_dir = {:?}\n[metrics]\nlisten = \"127.0.0.1:7381\"\n",
            self.path("server.sock"),
            self.path(state),
            self.path("agent.sock"),
            self.path("bpf").join(pins)
        );
        std::fs::write(self.path("agent.toml"), toml).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> agent::Config {
        agent::Config::read(&self.path("agent.toml")).unwrap()
    }

    /// Starts the agent and waits for its doors.
    pub(crate) fn agent(&self) -> Agent {
        let agent = Agent(Some(self.agent_by(&[]).spawn().unwrap()));
        self.wait_until("the doors are open", || UnixStream::connect(self.path("agent.sock")).is_ok());
        agent
    }

    /// Why an agent does not start; it is started by this command.
    pub(crate) fn refused_by(&self, by: &[&str]) -> String {
        let output = self.agent_by(by).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(REFUSED), "{said}");
        said.split_once("REFUSED ").unwrap().1.to_owned()
    }

    pub(crate) fn refused(&self) -> String {
        self.refused_by(&[])
    }

    fn agent_by(&self, by: &[&str]) -> Command {
        let this = std::env::current_exe().unwrap();
        let mut command = match by {
            [] => Command::new(this),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(this);
                command
            }
        };
        command.args(["--exact", self.test, "--nocapture"]).env(ROLE, "agent");
        command.env("SEALANE_TEST_CONFIG", self.path("agent.toml")).stdout(Stdio::null());
        command
    }

    pub(crate) fn ask(&self, request: &Request) -> Reply {
        self.try_ask(request).unwrap()
    }

    pub(crate) fn attach(&self, request: Attach) -> Attached {
        attached(self.ask(&Request::Attach(request.into())))
    }

    pub(crate) fn list(&self) -> Vec<Attached> {
        match self.ask(&Request::List) {
            Reply::Attachments { mut attachments } => {
                attachments.sort_by(|a, b| a.name.cmp(&b.name));
                attachments
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn metrics(&self) -> String {
        let mut stream = TcpStream::connect("127.0.0.1:7381").unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// `None`: the agent went before it answered.
    pub(crate) fn try_ask(&self, request: &Request) -> Option<Reply> {
        let mut socket = UnixStream::connect(self.path("agent.sock")).ok()?;
        let mut line = serde_json::to_vec(request).unwrap();
        line.push(b'\n');
        socket.write_all(&line).ok()?;
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).ok()?;
        (!answer.is_empty()).then(|| serde_json::from_str(&answer).unwrap())
    }

    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: {}", self.world());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What an agent can leave on a host.
    pub(crate) fn leftovers(&self) -> BTreeMap<String, BTreeSet<String>> {
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

    pub(crate) fn world(&self) -> String {
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
pub(crate) struct Agent(Option<Child>);

impl Agent {
    pub(crate) fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }
}

impl Agent {
    pub(crate) fn kill(&mut self) {
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn stop(&mut self) {
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
pub(crate) struct Container {
    process: Child,
    namespace: Option<Namespace>,
}

impl Container {
    pub(crate) fn start() -> Self {
        let process = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let path = format!("/proc/{}/ns/net", process.id());
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let deadline = Instant::now() + PATIENCE;
        while std::fs::read_link(&path).unwrap() == own {
            assert!(Instant::now() < deadline, "no namespace of its own");
            std::thread::sleep(Duration::from_millis(1));
        }
        let namespace = Some(Namespace::open(path).unwrap());
        Self { process, namespace }
    }

    pub(crate) fn netns(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.process.id()).into()
    }

    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.as_ref().unwrap().inside(work).unwrap()
    }

    /// Answers what it is sent, at a port of the container.
    pub(crate) fn listen(&self, port: u16) -> std::thread::JoinHandle<()> {
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

    /// Of its interface.
    pub(crate) fn mtu(&self) -> u32 {
        self.namespace.as_ref().unwrap().facts("eth0").unwrap().unwrap().mtu
    }

    pub(crate) fn connect(&self, target: SocketAddr) -> std::io::Result<TcpStream> {
        self.inside(|| TcpStream::connect_timeout(&target, PATIENCE))
    }

    pub(crate) fn reaches(&self, target: SocketAddr) -> bool {
        self.connect(target).is_ok_and(|mut stream| talks(&mut stream))
    }

    /// Nobody answers, not even no.
    pub(crate) fn is_kept_from(&self, target: SocketAddr) -> bool {
        let outcome = self.inside(|| TcpStream::connect_timeout(&target, SILENCE));
        outcome.is_err_and(|fault| fault.kind() == std::io::ErrorKind::TimedOut)
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

pub(crate) fn talks(stream: &mut TcpStream) -> bool {
    is_answered(stream, PATIENCE)
}

pub(crate) fn is_cut(stream: &mut TcpStream) -> bool {
    !is_answered(stream, SILENCE)
}

fn is_answered(stream: &mut TcpStream, patience: Duration) -> bool {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut byte = [0];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok()
}

/// For what must come: a busy machine may take long.
const PATIENCE: Duration = Duration::from_secs(20);

/// For what must not: longer than TCP's first retransmission.
const SILENCE: Duration = Duration::from_millis(1500);

/// Changes links and addresses of this host.
pub(crate) fn ip(line: &str) {
    assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
}

pub(crate) fn mount(kind: &str, at: &Path) {
    nix::mount::mount(Some(kind), at, Some(kind), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
}

/// Makes a file stand for another.
pub(crate) fn bind(file: &Path, at: &Path) {
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(file), at, None::<&str>, flags, None::<&str>).unwrap();
}

pub(crate) fn attached(reply: Reply) -> Attached {
    match reply {
        Reply::Attached(attached) => *attached,
        other => panic!("{other:?}"),
    }
}

/// An agent that refuses to start ends with this.
const REFUSED: i32 = 3;
