//! What can go wrong with a store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{Expect, ObjectKey};

/// What to do about a damaged file.
const REMEDY: &str = "restore a copy of the file, or move it away to begin anew, which loses every tenant, network and policy and \
                      what the nodes were given";

/// Why a store did not do what was asked. Shared by every writer of a group commit, hence `Clone`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// An expectation of the transaction does not hold; nothing was changed.
    #[error("write {key}: expected {expected}, found {}", found.map_or("no such object".to_owned(), |r| format!("revision {r}")))]
    Conflict {
        /// The object concerned.
        key: Box<ObjectKey>,
        /// What the writer expected.
        expected: Expect,
        /// The revision that the object has; `None`: it does not exist.
        found: Option<u64>,
    },
    /// The revision asked for is forgotten: list anew.
    #[error("read revision {revision}: the history up to revision {compacted} is compacted; list anew")]
    Compacted {
        /// The revision asked for.
        revision: u64,
        /// History up to and including this one is gone.
        compacted: u64,
    },
    /// The revision asked for does not exist yet.
    #[error("read revision {revision}: the newest is {newest}")]
    Future {
        /// The revision asked for.
        revision: u64,
        /// The newest there is.
        newest: u64,
    },
    /// A transaction names one object twice; nothing was changed.
    #[error("write {key}: the transaction changes it twice")]
    Repeated {
        /// The object named twice.
        key: Box<ObjectKey>,
    },
    /// Another process has the file open.
    #[error("open {}: another server uses this file; stop it, or give this one a data directory of its own", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer release.
    #[error(
        "open {}: its schema {found} is newer than {known}, the newest that this release reads; start the release that wrote it, \
         or restore a copy made before the upgrade", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema in the file.
        found: u64,
        /// The newest schema that this release knows.
        known: u64,
    },
    /// The file's schema is older than any that this release can migrate.
    #[error("open {}: its schema {found} is too old; open it once with a release that migrates it to {oldest}", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// The schema in the file.
        found: u64,
        /// The oldest schema that this release migrates.
        oldest: u64,
    },
    /// The file, opened anew after a failure, holds less than what was acknowledged: somebody replaced it.
    #[error(
        "open {}: it ends at revision {found}, and revision {acknowledged} was acknowledged; the file was replaced while the server ran: \
         restart the server to accept it", path.display()
    )]
    Regressed {
        /// The file.
        path: PathBuf,
        /// The newest revision in the file.
        found: u64,
        /// The newest revision that this process acknowledged.
        acknowledged: u64,
    },
    /// The file was damaged, and has been put back to the last state that was whole.
    #[error(
        "open {}: it was damaged and is now repaired to its last whole state, which may lack the newest writes; \
         start the server again to accept that, or restore a copy", path.display()
    )]
    Repaired {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged as a whole: empty, cut short, or with pages that are not what was written.
    #[error("open {}: the file is damaged; {REMEDY}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Arc<redb::Error>,
    },
    /// What the file holds is no object or event of this schema.
    #[error("read {} in {}: it is damaged; {REMEDY}", what, path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The entry.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// The disk or the file failed.
    #[error("{operation} {}", path.display())]
    Failed {
        /// What was attempted: `open`, `read`, `commit`, `compact`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The store's own thread could not be started.
    #[error("start the store of {}", path.display())]
    Thread {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The store was closed.
    #[error("use the store: it is closed")]
    Closed,
}
