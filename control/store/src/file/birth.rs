//! How the file comes into being, and how it is found again.
//!
//! Promises: a file under the store's name was whole once. A new one is made under another name (`….new`) and given its own when
//! its tables are durable, so whatever kills the server during its first start leaves either nothing under the name or a
//! store; a file there that is empty is damage, and no new store.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError};

use super::table::{self, Fault};

/// Opens the file.
pub(super) fn open(path: &Path) -> Result<Database, Fault> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() == 0 {
        return Err(redb::Error::Corrupted("the file is empty".to_owned()).into());
    }
    Ok(Database::builder().set_cache_size(CACHE).create_file(file)?)
}

/// Opens the file, or makes it, readable to its owner alone.
pub(super) fn open_or_make(path: &Path) -> Result<Database, Fault> {
    if path.try_exists()? {
        return open(path);
    }
    let draft = draft_of(path);
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&draft)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DatabaseError::DatabaseAlreadyOpen.into()),
        Err(TryLockError::Error(cause)) => return Err(cause.into()),
    }
    // Whoever made the file between the look above and the lock has given it its name by now.
    if path.try_exists()? {
        std::fs::remove_file(&draft)?;
        return open(path);
    }
    // What a server that was killed has left here never had the name: nothing in it was acknowledged.
    file.set_len(0)?;
    let database = Database::builder().set_cache_size(CACHE).create_file(file)?;
    table::prepare(&database)?;
    std::fs::rename(&draft, path)?;
    sync_folder(path)?;
    Ok(database)
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

/// Makes a new name durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Whether an error tells of the file's content, not of the disk, the rights or the memory.
pub(super) fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_) => true,
        redb::Error::Io(cause) => {
            matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

/// Bytes of redb's own page cache: small, as reads are served by [`crate::Cached`].
const CACHE: usize = 16 << 20;
