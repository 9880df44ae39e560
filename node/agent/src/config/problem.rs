//! What is wrong with a file of settings.

use std::fmt;
use std::path::{Path, PathBuf};

/// One problem of a file of settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The setting: `doors.cni.tenants[0]`.
    pub path: String,
    /// What was found there.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}; {}", self.path, self.value, self.reason, self.remedy)
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read settings {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML.
    #[error("parse settings{}", of(file))]
    Syntax {
        /// The file, if it came from one.
        file: Option<PathBuf>,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Settings are wrong.
    #[error("check settings{}: {}", of(file), list(problems))]
    Invalid {
        /// The file, if they came from one.
        file: Option<PathBuf>,
        /// All that is wrong, by path.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    pub(super) fn of_file(self, path: &Path) -> Self {
        let file = Some(path.to_owned());
        match self {
            Self::Syntax { source, .. } => Self::Syntax { file, source },
            Self::Invalid { problems, .. } => Self::Invalid { file, problems },
            read @ Self::Read { .. } => read,
        }
    }
}

fn of(file: &Option<PathBuf>) -> String {
    file.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default()
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
