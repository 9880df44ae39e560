//! One host of a lab: its place in the file system, its processes and its containers.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use super::{Lab, lock};
use crate::cgroup::Cgroup;
use crate::container::{Container, Runtime, Spec};
use crate::door;
use crate::error::{Context, Error, Result};
use crate::namespace::Namespace;
use crate::process::{self, Daemon, SERVER_PORT};
use crate::process_id::ProcessId;
use crate::spawn::Place;
use crate::state::{self, Record};
use crate::underlay::{Family, Member, Underlay};

/// One host of a lab.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    pub(super) lab: &'a Lab,
    pub(super) member: Member,
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

    /// The log of its agent, or of the server.
    pub fn log(&self) -> PathBuf {
        self.folder().join(format!("{}.log", self.role()))
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
        if self.member == Member::World {
            let remedy = "agents run on the other hosts".to_owned();
            return Err(Error::Missing { kind: "agent in the", name: self.name(), remedy });
        }
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
            daemon.configure(&self.agent_config(&daemon)?, &options.agent)?;
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
        self.end(Signal::KILL)
    }

    /// Asks its agent, or the server, to end (SIGTERM), and waits at most 10 s until it has. Does nothing if it does not run.
    pub fn stop(&self) -> Result<()> {
        self.end(Signal::TERM)
    }

    /// Ends it at once and starts it again.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        self.start()
    }

    fn end(&self, signal: Signal) -> Result<()> {
        if let Some(process) = self.daemon() {
            process.signal(signal);
            if !process.wait(Duration::from_secs(10)) && process.alive() {
                let object = format!("process {} of {}", process.pid, self.name());
                return Err(io::Error::from(io::ErrorKind::TimedOut)).context("end", object);
            }
        }
        self.reap();
        Ok(())
    }

    /// Its folders and groups.
    pub(super) fn prepare(&self) -> Result<()> {
        for folder in [self.folder(), self.pins()] {
            fs::create_dir_all(&folder).context("make", folder.display())?;
        }
        self.system()?.create()
    }

    fn server_config(&self, daemon: &Daemon<'_>) -> process::Server {
        let address = |ipv4| SocketAddr::new(self.address(ipv4), SERVER_PORT);
        process::Server {
            store: self.folder().join("server.redb"),
            audit: self.folder().join("audit.log"),
            socket: daemon.socket(),
            listen: self.family().each().map(address).collect(),
        }
    }

    fn agent_config(&self, daemon: &Daemon<'_>) -> Result<process::Agent> {
        let server = self.lab.server().address(self.family().has(true));
        Ok(process::Agent {
            node: self.name(),
            server: format!("http://{}", SocketAddr::new(server, SERVER_PORT)),
            state_dir: self.folder(),
            socket: daemon.socket(),
            pin_dir: self.pins(),
            cgroup: self.cgroup()?.path().to_owned(),
            underlay: process::Addresses {
                addresses: self.family().each().map(|ipv4| self.address(ipv4)).collect(),
            },
            doors: process::Rules::open(),
        })
    }

    fn family(&self) -> Family {
        self.lab.underlay().family
    }

    pub(super) fn role(&self) -> &'static str {
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
