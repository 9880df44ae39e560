//! What can go wrong in a lab: every error names the operation and the object, the kernel's fault is its source.

use std::io;
use std::path::PathBuf;

/// The result of whatever a lab does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation of the lab failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or the file system refused.
    #[error("cannot {operation} {object}")]
    System {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a change of links, addresses or routes.
    #[error("cannot {operation} {object}")]
    Netlink {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        object: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// A file that the lab wrote cannot be read back.
    #[error("cannot read {path}: it is not what a lab of this version writes")]
    Record {
        /// The file.
        path: PathBuf,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// A name that no lab or container can have.
    #[error("{name:?} cannot name a {kind}: {rule}")]
    Name {
        /// What was to be named.
        kind: &'static str,
        /// The name.
        name: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// Something is there already.
    #[error("{kind} {name:?} is there already: {remedy}")]
    Exists {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Something is not there.
    #[error("there is no {kind} {name:?}: {remedy}")]
    Missing {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What to do about it.
        remedy: String,
    },
    /// The agent refused what was asked at its door.
    #[error("the agent at {socket} refused to {operation} {object}: {reason}")]
    Refused {
        /// The agent's socket.
        socket: PathBuf,
        /// `attach` or `detach`.
        operation: &'static str,
        /// Which endpoint.
        object: String,
        /// Its reason.
        reason: String,
    },
    /// The agent's answer is none of the door's messages.
    #[error("the agent at {socket} answered with {answer:?}, which is no message of a door")]
    Answer {
        /// The agent's socket.
        socket: PathBuf,
        /// What came.
        answer: String,
        /// Why it cannot be read.
        source: Option<serde_json::Error>,
    },
    /// A process that was started ended before it was ready.
    #[error("{process} ended ({status}) before it was ready; its log {log} ends with:\n{tail}")]
    Ended {
        /// Which process.
        process: String,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Something did not come to pass in time.
    #[error(transparent)]
    Late(#[from] crate::wait::Late),
    /// Something could not be removed; the rest was.
    #[error("lab {lab:?} is not wholly removed:\n{}", faults.join("\n"))]
    Leftover {
        /// Which lab.
        lab: String,
        /// What is left and why, one line each.
        faults: Vec<String>,
    },
}

/// Names the operation and the object of a fault.
pub(crate) trait Context<T> {
    /// The same result, its error naming what was done to what.
    fn context(self, operation: &'static str, object: impl std::fmt::Display) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: &'static str, object: impl std::fmt::Display) -> Result<T> {
        self.map_err(|source| Error::System { operation, object: object.to_string(), source })
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context(self, operation: &'static str, object: impl std::fmt::Display) -> Result<T> {
        self.map_err(io::Error::from).context(operation, object)
    }
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn context(self, operation: &'static str, object: impl std::fmt::Display) -> Result<T> {
        self.map_err(io::Error::from).context(operation, object)
    }
}

impl<T> Context<T> for std::result::Result<T, rtnetlink::Error> {
    fn context(self, operation: &'static str, object: impl std::fmt::Display) -> Result<T> {
        self.map_err(|source| Error::Netlink { operation, object: object.to_string(), source })
    }
}

/// An error and its causes in one line, as a person wants to read it.
pub fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
