//! Files: the one module that reads and writes them.
//!
//! Promises: a file appears whole or not at all, also when the program or the machine dies; what it holds is on the disk before
//! its name is.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct FileError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Only one program at a time makes what is in a folder. Let go when dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "held for its lock")] File);

/// Who may read a file, besides root and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    Nobody,
    Everybody,
}

/// Makes the folder, for its owner alone, and waits until no other program makes something in it.
pub(crate) fn lock(folder: &Path) -> Result<Lock, FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(at("make the folder", folder))?;
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(at("open", &path))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|fault| at("lock", &path)(fault.into()))?;
    Ok(Lock(file))
}

/// The file's text; `None`: there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(at("read", path)(fault)),
    };
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(at("read", path))?;
    Ok(Some(text))
}

/// Puts the file in place of the one that may be there.
pub(crate) fn publish(path: &Path, text: &str, readers: Readers) -> Result<(), FileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A name of its own for each writer: two that write at once must not write into one file.
    let next = folder.join(format!(".{name}.{}", identity::random::word(8)));
    let mode = if readers == Readers::Nobody { 0o600 } else { 0o644 };
    let written = write(&next, text, mode).and_then(|()| {
        fs::rename(&next, path).map_err(at("put in place", path))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at("make durable", folder))
    });
    if written.is_err() {
        // What was begun is of no use; that it cannot be removed says nothing that the first fault does not.
        let _ = fs::remove_file(&next);
    }
    written
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), FileError> {
    let mut file =
        OpenOptions::new().create_new(true).write(true).mode(mode).open(path).map_err(at("write", path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(at("write", path))
}

fn at<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> FileError + 'a {
    move |source| FileError { operation, path: path.to_owned(), source }
}

/// More than any file here has, in bytes.
const LARGEST: u64 = 4 << 20;
