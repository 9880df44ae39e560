//! Running a process in a network namespace of its own, with a place on a virtual network.
//!
//! ```text
//!   start:  folder + lock -> namespace -> attach (asked at the agent) -> process -> record
//!   stop:   processes -> detach -> namespace -> control group -> folder
//! ```
//!
//! Promises: the process runs no instruction before the attach was answered; whatever fails on the way, what was made
//! is removed; a runner that was killed leaves a folder whose lock is free, and [`Runtime::sweep`] removes what belongs to it.
//! Knows nothing of labs: `sealane run` on a real host is this. It sets networks apart, not privileges: the program runs as
//! the caller, with the host's files and process numbers.

mod background;
mod remains;
mod spec;

pub use spec::{Sink, Spec, identity};

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use record::door::{Attached, Reply, Request};
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::door::Agent;
use crate::error::{Context, Error, Result};
use crate::link::Links;
use crate::namespace::Namespace;
use crate::process_id::ProcessId;
use crate::signal::Caught;
use crate::spawn::Place;

use remains::Remains;

/// What containers of one host need: the agent that attaches them, a folder for their records, a control group.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Asked for every attachment.
    pub agent: Agent,
    /// A folder for each container; made if missing.
    pub state: PathBuf,
    /// A group for each container; made if missing.
    pub cgroup: Cgroup,
}

/// A container as it is recorded for other processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its identity on this host, see [`identity`].
    pub id: String,
    /// Its first process.
    pub process: ProcessId,
    /// The number of the process that looks after it; 0 in a record of an older release.
    #[serde(default)]
    pub runner: u32,
    /// Its attachment.
    pub attached: Attached,
    /// Where its output goes when nobody holds it in the foreground.
    pub log: PathBuf,
}

/// A container that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Container {
    record: Record,
    namespace: Namespace,
    remains: Remains,
    // Behind `remains`, which ends every process: then this only has to be waited for.
    child: Reaped,
}

/// A child that is waited for when it is dropped, so that it leaves no zombie.
#[derive(Debug)]
struct Reaped(Mutex<Child>);

impl Reaped {
    fn lock(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        let mut child = self.lock();
        // Either fails only if it was waited for before.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Runtime {
    /// That of a real host: records in `/run/sealane/containers`, control groups below `sealane`.
    pub fn of_this_host(agent: Agent) -> Result<Self> {
        let cgroup = Cgroup::root()?.child("sealane").child("containers");
        Ok(Self { agent, state: PathBuf::from("/run/sealane/containers"), cgroup })
    }

    /// Starts a container and returns when its program runs.
    pub fn start(&self, spec: &Spec) -> Result<Container> {
        let id = spec.id()?;
        let mut remains = Remains::claim(self, &id)?;
        let namespace = Namespace::create(&remains.namespace())?;
        namespace.enter(|| Links::open()?.up("lo"))??;
        remains.will_attach();
        let attached = self.agent.attach(&spec.attach(&id, namespace.path()))?;
        let log = self.log(&id);
        let child = self.spawn(spec, &namespace, &remains, &log)?;
        let process = ProcessId::of(child.id());
        let child = Reaped(Mutex::new(child));
        // A program that is over already has no number to be found by; its exit status is still to be had.
        let process = process.unwrap_or(ProcessId { pid: 0, start: 0 });
        let record = Record { id, process, runner: std::process::id(), attached, log };
        remains.write(&record)?;
        Ok(Container { record, namespace, remains, child })
    }

    /// Runs a container in the foreground to its end and returns its exit status as a shell would: its own code, or 128
    /// and the signal that ended it. SIGINT, SIGTERM and SIGHUP are passed on; what has not ended 5 s later is killed.
    pub fn run(&self, spec: &Spec) -> Result<u8> {
        let mut caught = Caught::install()?;
        let container = self.start(spec)?;
        let status = container.attend(&mut caught)?;
        container.stop()?;
        Ok(exit_code(status))
    }

    /// The containers that run, as recorded, sorted by identity.
    pub fn list(&self) -> Result<Vec<Record>> {
        let mut found = Vec::new();
        for id in self.folders()? {
            let path = self.state.join(&id).join(remains::RECORD);
            let Ok(text) = fs::read(&path) else { continue };
            let record: Record =
                serde_json::from_slice(&text).map_err(|source| Error::Record { path, source })?;
            if record.process.alive() {
                found.push(record);
            }
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found)
    }

    /// The container with this identity.
    pub fn find(&self, id: &str) -> Result<Record> {
        let mut all = self.list()?;
        if let Some(place) = all.iter().position(|record| record.id == id) {
            return Ok(all.swap_remove(place));
        }
        let ids: Vec<String> = all.into_iter().map(|record| record.id).collect();
        let remedy = format!("those that run are {}", ids.join(", "));
        Err(Error::Missing { kind: "container", name: id.to_owned(), remedy })
    }

    /// Ends and removes the containers whose runner is gone, and takes away attachments that belong to none. Containers that
    /// others start or stop meanwhile are left to them.
    pub fn sweep(&self) -> Result<()> {
        // A container's folder is there before its attachment and goes after it. So whatever is attached now and has no
        // folder later has no runner; what is attached later than now is not looked at.
        let attached = match self.agent.ask(&Request::List)? {
            Reply::Attachments { attachments } => attachments,
            other => return Err(self.agent.refusal("list", "attachments", other)),
        };
        for id in self.folders()? {
            if let Some(stale) = Remains::claim_stale(self, &id)? {
                stale.remove()?;
            }
        }
        for Attached { container, netns, .. } in attached {
            let folder = self.state.join(&container);
            if netns.starts_with(&folder) && !folder.exists() {
                // With its folder claimed, nobody can start another of this name meanwhile.
                let mut orphan = Remains::claim(self, &container)?;
                orphan.will_attach();
                orphan.remove()?;
            }
        }
        Ok(())
    }

    /// Ends every container, whoever looks after it, and removes all that containers have left: groups, namespaces, records
    /// and logs. Attachments are the agent's: it is told if it is there, and left word for if not.
    pub fn purge(&self) -> Result<()> {
        let ended = self.cgroup.remove();
        let deadline = Instant::now() + RUNNERS_GONE_WITHIN;
        for id in self.folders()? {
            // Whoever looks after it sees it end and removes it; what is left then has nobody.
            loop {
                match Remains::claim_stale(self, &id) {
                    Ok(Some(stale)) => break stale.remove()?,
                    Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                    Ok(None) if !self.state.join(&id).exists() => break,
                    // Its runner hangs: then it is named.
                    Ok(None) => {
                        return Err(Error::Exists {
                            kind: "container",
                            name: id,
                            remedy: "end the `sealane run` that holds it",
                        });
                    }
                    Err(_) if !self.state.join(&id).exists() => break,
                    Err(fault) => return Err(fault),
                }
            }
        }
        match fs::remove_dir_all(&self.state) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
            done => done.context("remove", self.state.display())?,
        }
        ended
    }

    /// Where a container's output goes when nobody holds it in the foreground.
    pub fn log(&self, id: &str) -> PathBuf {
        self.state.join(format!("{id}.log"))
    }

    fn folders(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.state) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.context("list", self.state.display())?,
        };
        let folders = entries.flatten().filter(|entry| entry.path().is_dir());
        Ok(folders.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn spawn(&self, spec: &Spec, namespace: &Namespace, remains: &Remains, log: &Path) -> Result<Child> {
        let mut words = spec.command.iter();
        let program = words.next().ok_or(Error::Name {
            kind: "program",
            name: String::new(),
            rule: "a container needs a command",
        })?;
        let mut command = Command::new(program);
        command.args(words).envs(&spec.environment);
        if spec.output == Sink::Log {
            let file = File::options().create(true).append(true).open(log).context("open", log.display())?;
            let copy = file.try_clone().context("open", log.display())?;
            command.stdin(Stdio::null()).stdout(copy).stderr(file);
        }
        let place = Place::default().cgroup(remains.cgroup())?.network(namespace)?;
        let place = place.own(&spec.name, &spec.binds)?;
        place.apply(&mut command).spawn().context("start", program)
    }
}

impl Container {
    /// What is recorded of it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The endpoint's name.
    pub fn name(&self) -> &str {
        &self.record.attached.name
    }

    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its first address of a family; `None` if its network lacks that family.
    pub fn address(&self, ipv4: bool) -> Option<IpAddr> {
        self.record.attached.addresses.iter().map(|one| one.address).find(|address| address.is_ipv4() == ipv4)
    }

    /// A command that will run inside it.
    pub fn command(&self, program: &str) -> Result<Command> {
        self.record.command(program)
    }

    /// Runs a command inside it and returns its exit status and output.
    pub fn exec(&self, words: &[&str]) -> Result<Output> {
        let (program, arguments) = words.split_first().unwrap_or((&"", &[]));
        self.command(program)?.args(arguments).output().context("run in the container", program)
    }

    /// Whether its first process has ended, and how.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.child.lock().try_wait().context("wait for", &self.record.id)
    }

    /// Waits until its first process ends, however long that takes.
    pub fn wait(&self) -> Result<ExitStatus> {
        self.child.lock().wait().context("wait for", &self.record.id)
    }

    /// Ends all its processes, gives its place back and removes what was made for it.
    pub fn stop(self) -> Result<()> {
        self.remains.remove()
    }

    /// Waits for the end, passing on the signals that the caller gets.
    fn attend(&self, caught: &mut Caught) -> Result<ExitStatus> {
        let mut patience: Option<Instant> = None;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if patience.is_some_and(|end| Instant::now() > end) {
                self.remains.cgroup().kill()?;
            }
            if let Some(signal) = caught.wait(self.record.process, Duration::from_millis(50)) {
                self.record.process.signal(signal);
                patience.get_or_insert(Instant::now() + GRACE);
            }
        }
    }
}

impl Record {
    /// A command that will run inside the container.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        Place::default().beside(self.process)?.cgroup(&Cgroup::of(self.process)?)?.apply(&mut command);
        Ok(command)
    }
}

/// The code that a shell would give: the process's own, or 128 and the signal that ended it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// A runner that has seen its container end removes it at once.
const RUNNERS_GONE_WITHIN: Duration = Duration::from_secs(5);

/// The name of a container's interface.
pub const INTERFACE: &str = "eth0";

/// How long a container may take to end after a signal.
const GRACE: Duration = Duration::from_secs(5);
