//! A lab and its hosts.

mod host;

pub use host::Host;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::container;
use crate::error::{Context, Error, Result, report};
use crate::link::Links;
use crate::option::Options;
use crate::process;
use crate::process_id::ProcessId;
use crate::state::{self, Record};
use crate::teardown;
use crate::underlay::{Member, Underlay};
use crate::wait::{Late, Look, wait_until};

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

impl Lab {
    /// Makes a lab. If that fails, nothing of it is left.
    pub fn up(options: Options) -> Result<Self> {
        state::check_name(&options.name)?;
        if options.nodes > Underlay::MOST {
            let rule = "a lab has at most 4000 hosts";
            return Err(Error::Name { kind: "number of hosts", name: options.nodes.to_string(), rule });
        }
        state::claim(&options.name)?;
        let start = options.start && options.binary.is_some();
        let owner = Some(ProcessId::own());
        // From here on a fault drops the lab, which removes it.
        let lab = Self::new(Record { options, owner, port: None, daemons: BTreeMap::new() }, true);
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
    pub fn keep(mut self) -> Result<Self> {
        self.record().amend(|record| record.owner = None)?;
        self.owned = false;
        Ok(self)
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
            let look = || {
                let links = Links::open()?;
                Ok(format!("links {}; addresses {}", links.names()?.join(" "), links.addresses()?.join(", ")))
            };
            let seen = host.namespace().and_then(|namespace| namespace.enter(look)?);
            let seen = seen.unwrap_or_else(|fault: Error| report(&fault));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{member}: {seen}");
            if host.log().exists() {
                let state =
                    host.daemon().map_or("has ended".to_owned(), |daemon| format!("runs as {}", daemon.pid));
                let log = process::tail(&host.log(), 0);
                let _ = writeln!(text, "{member}: {} {state}; its log ends with:\n{log}", host.role());
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
        state::furnish(&self.name())?;
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
            // It was killed above, if that went well; this takes its exit status, so that no zombie stays.
            let _ = child.kill();
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

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), port)
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
