//! Asking an agent at its door: one line of JSON each way over its unix socket (see [`record::door`]).

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use record::door::{Attach, Attached, Detach, MAX_LINE, Reply, Request, TOMBSTONES};

use crate::error::{Context, Error, Result};

/// An agent's socket, as a door sees it.
#[derive(Clone, Debug)]
pub struct Agent {
    socket: PathBuf,
    state: PathBuf,
}

impl Agent {
    /// The agent that listens at `socket` and keeps its state in the folder `state`, now or later.
    pub fn at(socket: &Path, state: &Path) -> Self {
        Self { socket: socket.to_owned(), state: state.to_owned() }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks, and waits at most 30 s for the answer.
    pub fn ask(&self, request: &Request) -> Result<Reply> {
        let object = || format!("the agent at {}", self.socket.display());
        let mut line = serde_json::to_vec(request).expect("a door's messages have no keys but strings");
        line.push(b'\n');
        let mut stream = UnixStream::connect(&self.socket).context("reach", object())?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).context("reach", object())?;
        stream.set_write_timeout(Some(ANSWER_WITHIN)).context("reach", object())?;
        stream.write_all(&line).context("ask", object())?;
        let mut answer = String::new();
        let mut reader = BufReader::new(stream).take(MAX_LINE as u64);
        reader.read_line(&mut answer).context("hear", object())?;
        serde_json::from_str(&answer).map_err(|fault| self.strange(&answer, Some(fault)))
    }

    /// Asks for a place on a network.
    pub fn attach(&self, attach: &Attach) -> Result<Attached> {
        match self.ask(&Request::Attach(Box::new(attach.clone())))? {
            Reply::Attached(attached) => Ok(*attached),
            other => Err(self.refusal("attach", &attach.container, other)),
        }
    }

    /// Gives the place back; succeeds when there is none. An agent that cannot be asked is left word, which it follows when it
    /// is back (see [`TOMBSTONES`]).
    pub fn detach(&self, detach: &Detach) -> Result<()> {
        match self.ask(&Request::Detach(detach.clone())) {
            Ok(Reply::Done) => Ok(()),
            Ok(other) => Err(self.refusal("detach", &detach.container, other)),
            Err(fault @ Error::System { .. }) => self.leave_word(detach).map_err(|_| fault),
            Err(fault) => Err(fault),
        }
    }

    /// Whether it can attach; the error says why not.
    pub fn status(&self) -> Result<()> {
        match self.ask(&Request::Status)? {
            Reply::Done => Ok(()),
            other => Err(self.refusal("tell the status of", "itself", other)),
        }
    }

    /// Fails where there is no agent's state: then nobody would ever read it.
    fn leave_word(&self, detach: &Detach) -> io::Result<()> {
        let folder = self.state.join(TOMBSTONES);
        match fs::create_dir(&folder) {
            Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => return Err(fault),
            _ => {}
        }
        let path = folder.join(detach.tombstone());
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(detach)?)?;
        fs::rename(new, path)
    }

    pub(crate) fn refusal(&self, operation: &'static str, object: &str, reply: Reply) -> Error {
        match reply {
            Reply::Refused(refusal) => Error::Refused {
                socket: self.socket.clone(),
                operation,
                object: object.to_owned(),
                reason: format!("{} ({})", refusal.message, refusal.remedy),
            },
            other => self.strange(&serde_json::to_string(&other).unwrap_or_default(), None),
        }
    }

    fn strange(&self, answer: &str, source: Option<serde_json::Error>) -> Error {
        let answer = answer.chars().take(200).collect();
        Error::Answer { socket: self.socket.clone(), answer, source }
    }
}

/// An attach waits for the node's first policy, so longer than any of its own limits.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
