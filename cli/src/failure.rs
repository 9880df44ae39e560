//! Why a command failed, what to do about it, and the exit code.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use intent::Problem;
use record::door::Refusal;

use crate::client::ClientError;
use crate::style::Style;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments contradict each other, or name what does not exist.
    #[error("{message}")]
    Usage {
        message: String,
        /// What to write instead.
        remedy: String,
    },
    /// The server could not be asked, or said no.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// Documents are wrong. Each problem is told with its place.
    #[error("{}, {outcome}", count(problems.len(), "problem"))]
    Documents {
        problems: Vec<Problem>,
        /// What was done about it: `nothing was applied`.
        outcome: String,
    },
    /// The state of things forbids it.
    #[error("{message}")]
    Held {
        message: String,
        /// What must be done first.
        remedy: String,
    },
    /// Some of several objects could not be dealt with; each was told.
    #[error("{failed} of {} failed", count(*all, "object"))]
    Partly { failed: usize, all: usize },
    /// A file cannot be read or written.
    #[error("cannot {operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A kubeconfig cannot be used.
    #[error("cannot use the kubeconfig")]
    Kubeconfig(#[from] authority::KubeconfigError),
    /// The agent said no.
    #[error("the agent refused to {operation} {object}: {}", refusal.message)]
    Door { operation: &'static str, object: String, refusal: Refusal },
    /// This process may not do it.
    #[error("sealane {command} needs {lacks}")]
    Incapable { command: &'static str, lacks: String },
    /// Containers, labs and the agent's door.
    #[error(transparent)]
    Lab(#[from] lab::Error),
    /// A process of this host could not be started or ended.
    #[error("cannot {operation} {object}")]
    Process {
        operation: &'static str,
        object: String,
        #[source]
        source: io::Error,
    },
    /// A backup is not in order.
    #[error("cannot use the backup {}", file.display())]
    Backup {
        file: PathBuf,
        #[source]
        source: fleet::BackupError,
    },
    /// The server's store was not made from a backup; nothing has changed.
    #[error("cannot restore {}", file.display())]
    Restore {
        file: PathBuf,
        #[source]
        source: Box<fleet::RestorationError>,
    },
    /// Something that the server left could not be removed.
    #[error("cannot take the server off this host")]
    ServerPurge(#[source] fleet::PurgeError),
    /// The server did not start, or ended with a fault.
    #[error("cannot run the server")]
    Serve(#[source] fleet::ServerError),
    /// The server's settings cannot be used.
    #[error("cannot run the server")]
    ServerSettings(#[source] fleet::ConfigError),
    /// The agent did not start, or ended with a fault, or could not remove what is its own.
    #[error("cannot {operation}")]
    Agent {
        operation: &'static str,
        #[source]
        source: agent::Error,
    },
    /// The agent's settings cannot be used.
    #[error("cannot use the agent's settings")]
    AgentSettings(#[source] agent::ConfigError),
    /// This process cannot do input and output.
    #[error("cannot start the {0}'s tasks")]
    Runtime(&'static str, #[source] io::Error),
    /// Something has not come to pass in time.
    #[error("{what} has not happened within {seconds} s")]
    Late { what: String, seconds: u64, remedy: String },
    /// Somebody asked this command to end before it was done.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// What the server answered lacks something.
    #[error("the server's answer to {question} is not understood")]
    Answer {
        question: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// Output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// An answer that is given by the exit code: a difference, or a process's own code.
    #[error("exit code {0}")]
    Code(u8),
}

impl Failure {
    /// An argument that cannot be used.
    pub(crate) fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), remedy: remedy.into() }
    }

    /// 1: it failed; 2: the arguments are wrong; others are a process's own.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Code(code) => *code,
            // As a shell tells the end by SIGINT.
            Self::Interrupted(_) => 130,
            _ => 1,
        }
    }

    /// What is told on the error output; empty for an answer that the exit code alone gives.
    pub(crate) fn told(&self, style: Style) -> String {
        let mut told = String::new();
        match self {
            Self::Code(_) => return told,
            Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => return told,
            Self::Documents { problems, .. } => {
                for problem in problems {
                    let line = printable(&problem.to_string());
                    writeln!(told, "{line}").expect("writing to memory does not fail");
                }
            }
            _ => {}
        }
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            write!(line, ": {source}").expect("writing to memory does not fail");
            cause = source.source();
        }
        writeln!(told, "{} {}", style.bad("error:"), printable(&line))
            .expect("writing to memory does not fail");
        if let Some(remedy) = self.remedy() {
            writeln!(told, "{} {}", style.dim("  try:"), printable(&remedy))
                .expect("writing to memory does not fail");
        }
        told
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Usage { remedy, .. } | Self::Late { remedy, .. } | Self::Held { remedy, .. } => {
                Some(remedy.clone())
            }
            Self::Server(error) => error.remedy(),
            Self::Door { refusal, .. } => Some(refusal.remedy.clone()).filter(|remedy| !remedy.is_empty()),
            Self::File { source, .. } | Self::Process { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Some("become root, or a user who may".to_owned()),
                io::ErrorKind::NotFound => Some("see that the path is right".to_owned()),
                _ => None,
            },
            Self::Restore { source, .. } if matches!(**source, fleet::RestorationError::Present { .. }) => {
                Some("put it aside with --force, or name other settings with --config".to_owned())
            }
            Self::Incapable { .. } => Some("run it as root, or give it these capabilities".to_owned()),
            Self::Answer { .. } => {
                Some("see that client and server are of one release: `sealane version`".to_owned())
            }
            _ => None,
        }
    }
}

/// `1 problem`, `2 problems`.
pub(crate) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A text from elsewhere without the control characters that could steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(
            |letter| {
                if letter.is_control() && letter != '\n' && letter != '\t' { '\u{fffd}' } else { letter }
            },
        )
        .collect()
}
