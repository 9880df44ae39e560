//! A daemon that `up` has started: its config, its log, and a record by which `down` finds it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::ProcessId;
use lab::spawn::Place;

use crate::failure::Failure;
use crate::output::Progress;

/// One of the daemons.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    /// `server` or `agent`.
    pub(super) role: &'static str,
    /// Its socket: it is up when somebody answers there.
    pub(super) socket: PathBuf,
    /// Where the record of its process is kept.
    pub(super) run: PathBuf,
    /// Where its log goes.
    pub(super) log: PathBuf,
}

impl Daemon {
    /// The daemon with this socket; the record of its process is beside the socket.
    pub(super) fn new(role: &'static str, socket: &Path, logs: &Path) -> Self {
        let run = socket.parent().unwrap_or(Path::new("/")).to_owned();
        Self { role, socket: socket.to_owned(), run, log: logs.join(format!("{role}.log")) }
    }

    /// The process that `up` has started, if it lives.
    pub(super) fn process(&self) -> Option<ProcessId> {
        let text = fs::read(self.record()).ok()?;
        serde_json::from_slice::<ProcessId>(&text).ok().filter(|process| process.alive())
    }

    /// Whether somebody answers at its socket.
    pub(super) fn answers(&self) -> bool {
        UnixStream::connect(&self.socket).is_ok()
    }

    /// Starts it and returns when it answers.
    pub(super) fn start(&self, config: Option<&Path>) -> Result<ProcessId, Failure> {
        let this = std::env::current_exe().map_err(|source| self.fault("find the program of", source))?;
        let mut command = Command::new(this);
        command.arg(self.role);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let log = self.open_log()?;
        let copy = log.try_clone().map_err(|source| self.fault("write the log of", source))?;
        command.stdin(Stdio::null()).stdout(copy).stderr(log);
        let before = fs::metadata(&self.log).map(|log| log.len()).unwrap_or_default();
        let child = Place::default().session().apply(&mut command).spawn();
        let mut child = child.map_err(|source| self.fault("start", source))?;
        let began = Instant::now();
        let mut progress = Progress::new();
        loop {
            if let Some(status) = child.try_wait().map_err(|source| self.fault("watch", source))? {
                let tail = self.tail(before);
                let source = io::Error::other(format!("it ended with {status}; {}", self.log_hint(&tail)));
                return Err(self.fault("start", source));
            }
            if self.answers() {
                break;
            }
            if began.elapsed() > UP_WITHIN {
                let what = format!("an answer of the {} at {}", self.role, self.socket.display());
                let remedy = format!("see {}; `sealane down` ends it", self.log.display());
                self.remember(child.id())?;
                return Err(Failure::Late { what, seconds: UP_WITHIN.as_secs(), remedy });
            }
            progress.show(&format!("starting the {}", self.role));
            std::thread::sleep(Duration::from_millis(50));
        }
        self.remember(child.id())
    }

    /// Ends it; `false` if it does not run. One that does not end by itself in time is killed.
    pub(super) fn stop(&self) -> Result<bool, Failure> {
        let Some(process) = self.process() else {
            self.forget()?;
            return Ok(false);
        };
        let mut progress = Progress::new();
        progress.show(&format!("ending the {}", self.role));
        process.signal(rustix::process::Signal::TERM);
        if !process.wait(DOWN_WITHIN) {
            process.signal(rustix::process::Signal::KILL);
            process.wait(DOWN_WITHIN);
        }
        self.forget()?;
        Ok(true)
    }

    fn remember(&self, pid: u32) -> Result<ProcessId, Failure> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "it has ended again");
        let process = ProcessId::of(pid).ok_or_else(|| self.fault("find", gone()))?;
        let path = self.record();
        let failed = |source| Failure::File { operation: "write", path: path.clone(), source };
        fs::create_dir_all(&self.run).map_err(failed)?;
        let text = serde_json::to_vec(&process).map_err(io::Error::other).map_err(failed)?;
        fs::write(&path, text).map_err(failed)?;
        Ok(process)
    }

    fn forget(&self) -> Result<(), Failure> {
        let path = self.record();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Failure::File { operation: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    fn record(&self) -> PathBuf {
        self.run.join(format!("{}.process", self.role))
    }

    fn open_log(&self) -> Result<File, Failure> {
        let folder = self.log.parent().unwrap_or(Path::new("/"));
        let failed = |source| Failure::File { operation: "write", path: self.log.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)
    }

    /// The last lines that were written since the log had this length.
    fn tail(&self, before: u64) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let new = text.get(usize::try_from(before).unwrap_or_default()..).unwrap_or_default();
        let text = String::from_utf8_lossy(new);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    fn log_hint(&self, tail: &str) -> String {
        if tail.is_empty() {
            format!("its log {} says nothing", self.log.display())
        } else {
            format!("its log {} ends with:\n{tail}", self.log.display())
        }
    }

    fn fault(&self, operation: &'static str, source: io::Error) -> Failure {
        Failure::Process { operation, object: format!("the {}", self.role), source }
    }
}

/// Where daemons log unless the user says otherwise.
pub(super) const LOGS: &str = "/var/log/sealane";
const UP_WITHIN: Duration = Duration::from_secs(60);
const DOWN_WITHIN: Duration = Duration::from_secs(10);
const TAIL: usize = 12;
