//! Why an agent does not run.

use std::error::Error as StdError;
use std::path::PathBuf;

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
    /// Another agent has this host, or it cannot be claimed; nothing was changed.
    #[error(transparent)]
    Claim(Box<dyn StdError + Send + Sync>),
    /// The journal was lost while containers ran; nothing was changed.
    #[error(
        "start with journal {}: it knows of no container, but {count} attached by an earlier agent {} here ({first}{}); they keep \
         their network and the policy that was last in force. Put the file back as it was, or run `sealane agent --purge`: it takes \
         them off the fabric, and each is then to be attached or started anew",
        journal.display(), if *count == 1 { "is" } else { "are" }, if *count == 1 { "" } else { ", …" }
    )]
    Orphans {
        /// The journal.
        journal: PathBuf,
        /// How many containers' links were found.
        count: usize,
        /// The host end of one.
        first: String,
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

    pub(crate) fn of_claim(error: crate::claim::ClaimError) -> Self {
        Self::Claim(Box::new(error))
    }

    pub(crate) fn of_links(error: datapath::link::Error) -> Self {
        Self::Kernel(Box::new(error))
    }

    pub(crate) fn of_pins(error: datapath::Error) -> Self {
        Self::Kernel(Box::new(error))
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
