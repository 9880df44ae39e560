//! The server and the agents of a lab: their config files and their processes.
//!
//! The keys of both configs are here and nowhere else in the lab.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use record::door::Door;
use serde::Serialize;

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::namespace::Namespace;
use crate::spawn::Place;
use crate::wait::wait_until;

/// What the server is told. The API's listener for this machine comes by descriptor, not by config.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) store: PathBuf,
    pub(crate) audit: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) listen: Vec<SocketAddr>,
}

/// What an agent is told.
#[derive(Debug, Serialize)]
pub(crate) struct Agent {
    pub(crate) node: String,
    pub(crate) server: String,
    pub(crate) state_dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) pin_dir: PathBuf,
    pub(crate) cgroup: PathBuf,
    pub(crate) underlay: Addresses,
    pub(crate) doors: BTreeMap<Door, Rules>,
}

/// An agent's place on the underlay.
#[derive(Debug, Serialize)]
pub(crate) struct Addresses {
    pub(crate) addresses: Vec<IpAddr>,
}

/// What a door may use.
#[derive(Debug, Serialize)]
pub(crate) struct Rules {
    tenants: Vec<String>,
}

impl Rules {
    /// Every door may use every tenant: a lab is the user's own.
    pub(crate) fn open() -> BTreeMap<Door, Self> {
        [Door::Cni, Door::Run, Door::Attach].map(|door| (door, Self { tenants: vec!["*".to_owned()] })).into()
    }
}

/// A daemon of one host: `sealane server` or `sealane agent`.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    /// `server` or `agent`.
    pub(crate) role: &'static str,
    /// The `sealane` binary.
    pub(crate) binary: &'a Path,
    /// Where its config, socket, store and log are.
    pub(crate) folder: &'a Path,
    pub(crate) namespace: &'a Namespace,
    pub(crate) cgroup: &'a Cgroup,
}

/// The port at which the server listens on the underlay.
pub const SERVER_PORT: u16 = 7380;

impl Daemon<'_> {
    /// Writes its config: what the lab says, and above it what the lab's options say.
    pub(crate) fn configure(&self, config: &impl Serialize, settings: &toml::Table) -> Result<()> {
        let mut table = toml::Table::try_from(config).expect("the lab's configs are tables of plain values");
        overlay(&mut table, settings);
        let path = self.config();
        fs::write(&path, table.to_string()).context("write", path.display())
    }

    /// Starts it with the config written before and returns once it answers at its socket, at the latest in 20 s. A
    /// `listener` is handed down as descriptor 3 (`sd_listen_fds(3)`).
    pub(crate) fn start(&self, listener: Option<&TcpListener>) -> Result<Child> {
        let mut command = match listener {
            None => Command::new(self.binary),
            Some(listener) => handing_down(self.binary, listener)?,
        };
        let log = self.log();
        let file = File::options().create(true).append(true).open(&log).context("open", log.display())?;
        let copy = file.try_clone().context("open", log.display())?;
        command.arg(self.role).arg("--config").arg(self.config()).stdout(copy).stderr(file);
        if listener.is_none() {
            command.stdin(Stdio::null());
        }
        let place = Place::default().cgroup(self.cgroup)?.network(self.namespace)?.session();
        let mut child = place.apply(&mut command).spawn().context("start", self.binary.display())?;
        if let Err(fault) = self.await_socket(&mut child) {
            // It may be alive and deaf: nobody would know of it.
            let _ = child.kill();
            let _ = child.wait();
            return Err(fault);
        }
        Ok(child)
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join(format!("{}.sock", self.role))
    }

    fn await_socket(&self, child: &mut Child) -> Result<()> {
        let what = format!("{} answers", self.socket().display());
        let ready = wait_until(READY_WITHIN, &what, || match child.try_wait() {
            Ok(Some(status)) => Ok(Err(status)),
            _ => UnixStream::connect(self.socket()).map(|_| Ok(())),
        });
        let log = self.log();
        let ended = |status| Error::Ended {
            process: format!("sealane {} in {}", self.role, self.namespace.path().display()),
            status: format!("{status}"),
            tail: tail(&log, 0),
            log: log.clone(),
        };
        match ready {
            Ok(ready) => ready.map_err(ended),
            Err(mut late) => {
                late.last = format!("{}; its log ends with:\n{}", late.last, tail(&log, 0));
                Err(late.into())
            }
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.join(format!("{}.toml", self.role))
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.role))
    }
}

/// Settings replace those of the same path; tables are merged.
fn overlay(table: &mut toml::Table, settings: &toml::Table) {
    for (key, value) in settings {
        match (table.get_mut(key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => overlay(below, above),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A command that is given its own number in `LISTEN_PID`, which only the process itself knows: so a shell sets it and then
/// becomes the program.
fn handing_down(binary: &Path, listener: &TcpListener) -> Result<Command> {
    let listener: OwnedFd = listener.try_clone().context("hand down", "the API's listener")?.into();
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(r#"export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@" 3<&0 </dev/null"#).arg(binary);
    command.stdin(listener);
    Ok(command)
}

/// The last lines of a log, of what was written behind its first `before` bytes.
pub(crate) fn tail(log: &Path, before: u64) -> String {
    let text = fs::read(log).unwrap_or_default();
    let behind = usize::try_from(before).ok().and_then(|before| text.get(before..));
    let text = String::from_utf8_lossy(behind.unwrap_or(&text));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

const READY_WITHIN: Duration = Duration::from_secs(20);
const TAIL: usize = 20;
