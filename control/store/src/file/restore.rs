//! A store made from a backup, in place of the one that is there.
//!
//! Promises: nothing under the store's name changes before the whole backup has been read and found in order and the new store is
//! durable; the store that was there is kept beside it; a server that runs on it is not disturbed, but told of.
//!
//! Revisions go on [`LEAP`] after the backup's: those that were given since it was taken come from another history, and whoever
//! holds one is told to list anew.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::BufRead;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::Database;

use super::birth::sync_folder;
use super::table::{self, Fault};
use crate::backup::{BackupError, Header, Reader};
use crate::{Object, ObjectKey, StoreError};

/// What came of a restoration.
#[derive(Debug)]
pub struct Restored {
    /// What the backup says of itself.
    pub header: Header,
    /// Where the store is that was there before.
    pub kept: Option<PathBuf>,
}

/// Why a backup was not restored; what was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestorationError {
    /// There is a store.
    #[error("there is a store already: {}", path.display())]
    Present {
        /// Its file.
        path: PathBuf,
    },
    /// The backup cannot be used.
    #[error("use the backup")]
    Backup(#[from] BackupError),
    /// The store cannot be made or replaced.
    #[error("make the store")]
    Store(#[from] StoreError),
}

/// Makes the store at `path` what the backup says, with one more object, `mark`, which tells the server that it was restored.
/// `replace`: a store that is there is put aside; else it is a fault.
pub fn restore(
    input: impl BufRead,
    path: &Path,
    (mark, value): (ObjectKey, serde_json::Value),
    replace: bool,
) -> Result<Restored, RestorationError> {
    let failed = |operation, cause: redb::Error| StoreError::Failed {
        operation,
        path: path.to_owned(),
        source: Arc::new(cause),
    };
    let mut reader = Reader::open(input)?;
    let held = hold(path)?;
    if held.is_some() && !replace {
        return Err(RestorationError::Present { path: path.to_owned() });
    }
    let draft = Draft(beside(path, "restoring"));
    let revision = reader.header().revision.saturating_add(LEAP);
    let written = fill(&draft.0, revision, |put| {
        while let Some(object) = reader.read()? {
            if *object.key != mark {
                put(object)?;
            }
        }
        let mark = Object { key: Arc::new(mark.clone()), value: value.into(), revision, created: revision };
        Ok(put(mark)?)
    });
    match written {
        Ok(()) => {}
        Err(Refused::Backup(error)) => return Err(error.into()),
        Err(Refused::File(Fault::Failed(cause))) => return Err(failed("write", cause).into()),
        Err(Refused::File(_)) => unreachable!("a store that was just made is of this schema"),
    }
    let io = |cause: std::io::Error| failed("replace", cause.into());
    let kept = match held {
        Some(_) => Some(put_aside(path).map_err(io)?),
        None => None,
    };
    std::fs::rename(&draft.0, path).and_then(|()| sync_folder(path)).map_err(io)?;
    Ok(Restored { header: reader.header().clone(), kept })
}

/// The store that is there, if there is one, held so that no server opens it meanwhile.
fn hold(path: &Path) -> Result<Option<File>, StoreError> {
    let failed = |cause: std::io::Error| StoreError::Failed {
        operation: "open",
        path: path.to_owned(),
        source: Arc::new(cause.into()),
    };
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed(cause)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// Why a draft was not filled.
enum Refused {
    Backup(BackupError),
    File(Fault),
}

impl From<BackupError> for Refused {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::File(fault)
    }
}

impl<E: Into<redb::Error>> From<E> for Refused {
    fn from(cause: E) -> Self {
        Self::File(Fault::Failed(cause.into()))
    }
}

type Put<'p> = &'p mut dyn FnMut(Object) -> Result<(), Fault>;

/// Makes a store with what `source` puts, as one durable commit.
fn fill(
    draft: &Path,
    revision: u64,
    source: impl FnOnce(Put<'_>) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    let database = Database::builder().create_file(file)?;
    table::prepare(&database)?;
    let transaction = database.begin_write()?;
    {
        let mut tables = table::Tables::open(&transaction)?;
        source(&mut |object| tables.put(&object))?;
        tables.set_revision(revision)?;
        // There is no history: it begins here.
        tables.compact(revision)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Gives the store that is there another name, one that no earlier one has.
fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let mut number = 1u32;
    let kept = loop {
        let kept = beside(path, &format!("replaced-{number}"));
        if !kept.try_exists()? {
            break kept;
        }
        number += 1;
    };
    std::fs::rename(path, &kept)?;
    Ok(kept)
}

/// A file that is gone with this value, unless it was given another name.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more when the restoration succeeded.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(ending);
    name.into()
}

/// More revisions than were written since any backup that is restored.
const LEAP: u64 = 1 << 32;
