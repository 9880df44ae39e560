//! Why an agent does not run.

use std::error::Error as StdError;

pub use crate::preflight::Lack;

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This host lacks something; nothing was changed.
    #[error("this host cannot run the agent: {}", list(lacks))]
    Unfit {
        /// All of it.
        lacks: Vec<Lack>,
    },
    /// Not everything could be removed.
    #[error("purge: {}", failures.join("; "))]
    Purge {
        /// Each removal that failed, and why.
        failures: Vec<String>,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(Box<dyn StdError + Send + Sync>),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(Box<dyn StdError + Send + Sync>),
    /// The doors cannot be opened.
    #[error(transparent)]
    Door(Box<dyn StdError + Send + Sync>),
    /// `/metrics` cannot be served.
    #[error("listen at {address} for /metrics")]
    Metrics {
        /// Where.
        address: std::net::SocketAddr,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn of_journal(error: crate::journal::JournalError) -> Self {
        Self::Journal(Box::new(error))
    }

    pub(crate) fn of_kernel(error: crate::kernel::KernelError) -> Self {
        Self::Kernel(Box::new(error))
    }

    pub(crate) fn of_door(error: crate::door::DoorError) -> Self {
        Self::Door(Box::new(error))
    }
}

fn list(lacks: &[Lack]) -> String {
    lacks.iter().map(|lack| format!("\n  {lack}")).collect()
}
