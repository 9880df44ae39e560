//! A lab and its hosts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::container::{self, Container, Runtime, Spec};
use crate::door;
use crate::error::{Context, Error, Result, report};
use crate::link::Links;
use crate::namespace::Namespace;
use crate::process::{self, Daemon, SERVER_PORT};
use crate::process_id::ProcessId;
use crate::spawn::Place;
use crate::state::{self, Record};
use crate::teardown;
use crate::underlay::{Family, Member, Underlay};
use crate::wait::{Late, Look, wait_until};

/// How a lab is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Its name: 1 to 24 of a–z and 0–9, unique on the machine.
    pub name: String,
    /// How many hosts.
    pub nodes: u16,
    /// The underlay's address families.
    pub family: Family,
    /// The underlay's MTU in bytes.
    pub mtu: u32,
    /// The `sealane` binary for the server and the agents; without it the hosts are bare.
    pub binary: Option<PathBuf>,
    /// Whether the server and all agents are started at once. Otherwise the caller starts each.
    pub start: bool,
    /// Settings of the server's config that differ from the lab's.
    pub server: toml::Table,
    /// Settings of every agent's config that differ from the lab's.
    pub agent: toml::Table,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "lab".to_owned(),
            nodes: 3,
            family: Family::Both,
            mtu: 1500,
            binary: None,
            start: true,
            server: toml::Table::new(),
            agent: toml::Table::new(),
        }
    }
}

impl Options {
    /// A lab of bare hosts.
    pub fn bare(name: &str, nodes: u16) -> Self {
        Self { name: name.to_owned(), nodes, ..Self::default() }
    }

    /// A lab that runs this `sealane`.
    pub fn running(name: &str, nodes: u16, binary: &Path) -> Self {
        Self { binary: Some(binary.to_owned()), ..Self::bare(name, nodes) }
    }
}

/// A fleet of hosts on this machine. Dropping it removes it wholly, unless it is kept.
#[derive(Debug)]
pub struct Lab {
    underlay: Mutex<Underlay>,
    record: Mutex<Record>,
    /// Those that this process started, to be waited for.
    children: Mutex<BTreeMap<String, Child>>,
    /// Held so that the API keeps its port while the server is down.
    listener: Mutex<Option<TcpListener>>,
    owned: bool,
}

/// One host of a lab.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    lab: &'a Lab,
    member: Member,
}

impl Lab {
    /// Makes a lab. If that fails, nothing of it is left.
    pub fn up(options: Options) -> Result<Self> {
        state::check_name(&options.name)?;
        if options.nodes > Underlay::MOST {
            let rule = "a lab has at most 4000 hosts";
            return Err(Error::Name { kind: "number of hosts", name: options.nodes.to_string(), rule });
        }
        state::claim(&options.name).inspect_err(|fault| {
            if !matches!(fault, Error::Exists { .. }) {
                // The first fault is the one to tell.
                let _ = teardown::down(&options.name);
            }
        })?;
        let start = options.start && options.binary.is_some();
        let lab = Self::new(Record { options, port: None, daemons: BTreeMap::new() }, true);
        lab.build()?;
        if start {
            lab.start()?;
        }
        Ok(lab)
    }

    /// A lab that another process made and keeps.
    pub fn open(name: &str) -> Result<Self> {
        state::check_name(name)?;
        Ok(Self::new(Record::load(name)?, false))
    }

    /// The names of the labs on this machine.
    pub fn all() -> Vec<String> {
        state::labs()
    }

    /// Lets it outlive this value and this process.
    pub fn keep(mut self) -> Self {
        self.owned = false;
        self
    }

    /// Removes it.
    pub fn down(mut self) -> Result<()> {
        self.owned = false;
        self.remove()
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.record().options.name.clone()
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> PathBuf {
        state::folder(&self.name())
    }

    /// The server's unix socket.
    pub fn server_socket(&self) -> PathBuf {
        self.folder().join("server/server.sock")
    }

    /// The server's API as clients on this machine reach it; `None` if no server was started.
    pub fn api(&self) -> Option<SocketAddr> {
        self.record().port.map(local)
    }

    /// The host with this number, from 1.
    ///
    /// # Panics
    /// If the lab has no such host.
    pub fn node(&self, number: u16) -> Host<'_> {
        let nodes = self.record().options.nodes;
        assert!((1..=nodes).contains(&number), "the lab has the hosts 1 to {nodes}, not {number}");
        Host { lab: self, member: Member::Node(number) }
    }

    /// All hosts, in order.
    pub fn nodes(&self) -> impl Iterator<Item = Host<'_>> {
        let nodes = self.record().options.nodes;
        (1..=nodes).map(|number| Host { lab: self, member: Member::Node(number) })
    }

    /// The host of the server.
    pub fn server(&self) -> Host<'_> {
        Host { lab: self, member: Member::Server }
    }

    /// Everything outside: clients of published ports, servers that containers reach.
    pub fn world(&self) -> Host<'_> {
        Host { lab: self, member: Member::World }
    }

    /// The host with this name: `n1`…, `server` or `world`.
    pub fn host(&self, name: &str) -> Result<Host<'_>> {
        let members = self.underlay().members.clone();
        let found = members.iter().find(|member| member.to_string() == name);
        let remedy = || {
            format!("the hosts are {}", members.iter().map(Member::to_string).collect::<Vec<_>>().join(", "))
        };
        let missing = || Error::Missing { kind: "host", name: name.to_owned(), remedy: remedy() };
        Ok(Host { lab: self, member: *found.ok_or_else(missing)? })
    }

    /// The host on which a container runs, and its record.
    pub fn find(&self, id: &str) -> Result<(Host<'_>, container::Record)> {
        let mut all = Vec::new();
        for host in self.nodes() {
            for record in host.runtime()?.list()? {
                if record.id == id {
                    return Ok((host, record));
                }
                all.push(record.id);
            }
        }
        let remedy = format!("those that run are {}", all.join(", "));
        Err(Error::Missing { kind: "container", name: id.to_owned(), remedy })
    }

    /// Starts the server, then the agent of every host. Those that run are left alone.
    pub fn start(&self) -> Result<()> {
        self.server().start()?;
        self.nodes().try_for_each(|host| host.start())
    }

    /// Waits until every agent says that it can attach.
    pub fn await_ready(&self, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        for host in self.nodes() {
            let agent = host.runtime()?.agent;
            let what = format!("the agent of {} can attach", host.name());
            let left = end.saturating_duration_since(Instant::now());
            self.wait_until(left, &what, || agent.status().map_err(|fault| report(&fault)))?;
        }
        Ok(())
    }

    /// Sets the MTU, in bytes, of every link of the underlay.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        let mut underlay = self.underlay();
        underlay.set_mtu(mtu)?;
        underlay.mtu = mtu;
        self.record().amend(|record| record.options.mtu = mtu)
    }

    /// How `kubectl` and any other client of Kubernetes reaches the API, as the text of a kubeconfig file. `None`: the tenant
    /// `default`.
    pub fn kubeconfig(&self, tenant: Option<&str>) -> Result<String> {
        let missing = || Error::Missing {
            kind: "server in lab",
            name: self.name(),
            remedy: "the lab was made without the sealane binary".to_owned(),
        };
        let path = tenant.map(|tenant| format!("/clusters/{tenant}")).unwrap_or_default();
        let server = format!("http://{}{path}", self.api().ok_or_else(missing)?);
        let name = format!("sealane-{}", self.name());
        Ok(format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\n\
             clusters:\n- name: {name}\n  cluster:\n    server: {server}\n\
             users:\n- name: {name}\n  user: {{}}\n\
             contexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}\n"
        ))
    }

    /// The lab as it is: links, processes and the ends of their logs, for a message of failure.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let members = self.underlay().members.clone();
        for member in members {
            let host = Host { lab: self, member };
            let links = host.namespace().and_then(|namespace| namespace.enter(|| Links::open()?.names())?);
            let links = links.map_or_else(|fault| report(&fault), |names| names.join(" "));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{member}: links {links}");
            let daemon = self.record().daemons.get(&member.to_string()).copied();
            if let Some(daemon) = daemon {
                let state = if daemon.alive() { "runs" } else { "has ended" };
                let log = process::tail(&host.folder().join(format!("{}.log", host.role())));
                let _ = writeln!(
                    text,
                    "{member}: {} {} {state}; its log ends with:\n{log}",
                    host.role(),
                    daemon.pid
                );
            }
        }
        text
    }

    /// Like [`wait_until`]; the error shows the lab as it is too.
    pub fn wait_until<L: Look>(
        &self,
        deadline: Duration,
        what: &str,
        look: impl FnMut() -> L,
    ) -> Result<L::Found, Late> {
        wait_until(deadline, what, look)
            .map_err(|late| Late { last: format!("{}\n{}", late.last, self.describe()), ..late })
    }

    fn new(record: Record, owned: bool) -> Self {
        let nodes = (1..=record.options.nodes).map(Member::Node);
        let underlay = Underlay {
            lab: record.options.name.clone(),
            members: [Member::World, Member::Server].into_iter().chain(nodes).collect(),
            family: record.options.family,
            mtu: record.options.mtu,
        };
        Self {
            underlay: Mutex::new(underlay),
            record: Mutex::new(record),
            children: Mutex::default(),
            listener: Mutex::default(),
            owned,
        }
    }

    fn build(&self) -> Result<()> {
        // First of all, so that what follows can be found by others.
        self.record().save()?;
        self.underlay().build()?;
        let members = self.underlay().members.clone();
        members.into_iter().try_for_each(|member| Host { lab: self, member }.prepare())
    }

    /// The API's listener: made here, in the caller's namespace, and made again on the same port by whoever starts the
    /// server after the one who made it is gone.
    fn listen(&self) -> Result<TcpListener> {
        let mut held = lock(&self.listener);
        if held.is_none() {
            let address = local(self.record().port.unwrap_or(0));
            let listener = TcpListener::bind(address).context("listen at", address)?;
            let address = listener.local_addr().context("listen at", address)?;
            self.record().amend(|record| record.port = Some(address.port()))?;
            *held = Some(listener);
        }
        let listener = held.as_ref().expect("it was made above");
        listener.try_clone().context("hand down", "the API's listener")
    }

    fn remove(&self) -> Result<()> {
        let done = teardown::down(&self.name()).map(drop);
        for (_, mut child) in std::mem::take(&mut *lock(&self.children)) {
            // It was killed above; this takes its exit status, so that no zombie stays.
            let _ = child.wait();
        }
        done
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    fn underlay(&self) -> MutexGuard<'_, Underlay> {
        lock(&self.underlay)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.owned
            && let Err(fault) = self.remove()
        {
            eprintln!("{}", report(&fault));
        }
    }
}

impl Host<'_> {
    /// Its name in the lab.
    pub fn name(&self) -> String {
        self.member.to_string()
    }

    /// Its network namespace.
    pub fn namespace(&self) -> Result<Namespace> {
        Namespace::open(&self.lab.underlay().path(self.member))
    }

    /// Its address on the underlay.
    pub fn address(&self, ipv4: bool) -> IpAddr {
        Underlay::address(self.member, ipv4)
    }

    /// Where its config, socket, store and logs are.
    pub fn folder(&self) -> PathBuf {
        self.lab.folder().join(self.name())
    }

    /// Its agent's socket.
    pub fn agent_socket(&self) -> PathBuf {
        self.folder().join("agent.sock")
    }

    /// Its part of the lab's BPF file system.
    pub fn pins(&self) -> PathBuf {
        state::pins(&self.lab.name()).join(self.name())
    }

    /// Its control group; the daemons, commands and containers of this host are in groups below.
    pub fn cgroup(&self) -> Result<Cgroup> {
        Ok(state::cgroup(&self.lab.name())?.child(&self.name()))
    }

    /// What containers of this host need.
    pub fn runtime(&self) -> Result<Runtime> {
        Ok(Runtime {
            agent: door::Agent::at(&self.agent_socket(), &self.folder()),
            state: self.folder().join("containers"),
            cgroup: self.cgroup()?.child("containers"),
        })
    }

    /// Starts a container here.
    pub fn run(&self, spec: &Spec) -> Result<Container> {
        self.runtime()?.start(spec)
    }

    /// A command that will run on the host itself.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        self.place()?.network(&self.namespace()?)?.apply(&mut command);
        Ok(command)
    }

    /// Among the host's processes, but in the caller's namespaces: for what looks after the host's containers.
    pub fn place(&self) -> Result<Place> {
        Place::default().cgroup(&self.system()?)
    }

    /// Runs a command on the host and returns its exit status and output.
    pub fn exec(&self, words: &[&str]) -> Result<Output> {
        let (program, arguments) = words.split_first().unwrap_or((&"", &[]));
        self.command(program)?.args(arguments).output().context("run on the host", program)
    }

    /// Cuts it off from the underlay.
    pub fn partition(&self) -> Result<()> {
        self.lab.underlay().connect(self.member, false)
    }

    /// Joins it to the underlay again.
    pub fn heal(&self) -> Result<()> {
        self.lab.underlay().connect(self.member, true)
    }

    /// The process of its agent, or of the server on the server's host, if it runs.
    pub fn daemon(&self) -> Option<ProcessId> {
        // As it is written: another process may have started it.
        let record = Record::load(&self.lab.name()).ok()?;
        record.daemons.get(&self.name()).copied().filter(|process| process.alive())
    }

    /// Starts its agent, or the server on the server's host, and returns once it answers. Does nothing if it runs.
    pub fn start(&self) -> Result<()> {
        if self.daemon().is_some() {
            return Ok(());
        }
        let missing = || Error::Missing {
            kind: "binary in lab",
            name: self.lab.name(),
            remedy: "make the lab with the path of sealane".to_owned(),
        };
        let options = self.lab.record().options.clone();
        let binary = options.binary.as_deref().ok_or_else(missing)?;
        let (folder, namespace, cgroup) = (self.folder(), self.namespace()?, self.system()?);
        let role = self.role();
        let daemon = Daemon { role, binary, folder: &folder, namespace: &namespace, cgroup: &cgroup };
        let listener = if self.member == Member::Server {
            daemon.configure(&self.server_config(&daemon), &options.server)?;
            Some(self.lab.listen()?)
        } else {
            daemon.configure(&self.agent_config(&daemon), &options.agent)?;
            None
        };
        let child = daemon.start(listener.as_ref())?;
        let process = ProcessId::of(child.id());
        self.reap();
        lock(&self.lab.children).insert(self.name(), child);
        // One that is over already is found to be so by whoever looks next.
        process.map_or(Ok(()), |process| {
            self.lab.record().amend(|record| {
                record.daemons.insert(self.name(), process);
            })
        })
    }

    /// Ends its agent, or the server, at once (SIGKILL), as a crash would. Does nothing if it does not run.
    pub fn kill(&self) -> Result<()> {
        if let Some(process) = self.daemon() {
            process.kill();
            if !process.wait(Duration::from_secs(10)) && process.alive() {
                let object = format!("process {} of {}", process.pid, self.name());
                return Err(io::Error::from(io::ErrorKind::TimedOut)).context("end", object);
            }
        }
        self.reap();
        Ok(())
    }

    /// Ends it at once and starts it again.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        self.start()
    }

    /// Its folders and groups.
    fn prepare(&self) -> Result<()> {
        for folder in [self.folder(), self.pins()] {
            fs::create_dir_all(&folder).context("make", folder.display())?;
        }
        self.system()?.create()
    }

    fn server_config(&self, daemon: &Daemon<'_>) -> process::Server {
        let address = |ipv4| SocketAddr::new(self.address(ipv4), SERVER_PORT);
        process::Server {
            state_dir: self.folder(),
            socket: daemon.socket(),
            listen: self.family().each().map(address).collect(),
        }
    }

    fn agent_config(&self, daemon: &Daemon<'_>) -> process::Agent {
        let server = self.lab.server().address(self.family().has(true));
        process::Agent {
            node: self.name(),
            server: format!("http://{}", SocketAddr::new(server, SERVER_PORT)),
            state_dir: self.folder(),
            socket: daemon.socket(),
            pin_dir: self.pins(),
            underlay: process::Addresses {
                addresses: self.family().each().map(|ipv4| self.address(ipv4)).collect(),
            },
            doors: process::Rules::open(),
        }
    }

    fn family(&self) -> Family {
        self.lab.underlay().family
    }

    fn role(&self) -> &'static str {
        if self.member == Member::Server { "server" } else { "agent" }
    }

    fn system(&self) -> Result<Cgroup> {
        Ok(self.cgroup()?.child("system"))
    }

    /// Takes the exit status of a daemon that has ended, so that no zombie stays.
    fn reap(&self) {
        let ended = lock(&self.lab.children).remove(&self.name());
        if let Some(mut child) = ended {
            // It fails only if it was waited for before.
            let _ = child.wait();
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), port)
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
