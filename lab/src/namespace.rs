//! Network namespaces: made, named by a bind mount, entered and removed.
//!
//! A namespace lives as long as its name does, whoever made it. Work inside one runs on a thread of its own, so no
//! thread of the caller's ever changes its namespace.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{panic, thread};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Context, Result};

/// A network namespace that has a name in the file system. Clones share the descriptor.
#[derive(Clone, Debug)]
pub struct Namespace {
    path: PathBuf,
    file: Arc<File>,
}

impl Namespace {
    /// Makes a namespace with nothing but a loopback device (which is down) and binds it to `path`. The path must be free.
    pub fn create(path: &Path) -> Result<Self> {
        let object = path.display();
        File::options().write(true).create_new(true).open(path).context("make the namespace", &object)?;
        let made = thread::scope(|scope| {
            scope.spawn(|| bind_new(path)).join().unwrap_or_else(|fault| panic::resume_unwind(fault))
        });
        if made.is_err() {
            // The file alone would look like a namespace; the first fault is the one to tell.
            let _ = fs::remove_file(path);
        }
        made.context("make the namespace", &object)?;
        Self::open(path)
    }

    /// The namespace bound at `path`, such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).context("open the namespace", path.display())?;
        Ok(Self { path: path.to_owned(), file: Arc::new(file) })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Where it is bound. The path keeps its meaning while the name exists, unlike a descriptor's number.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` inside. A panic in it goes on in the caller.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let inside = || {
            setns(self.as_fd(), CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        };
        let done: nix::Result<T> = thread::scope(|scope| {
            scope.spawn(inside).join().unwrap_or_else(|fault| panic::resume_unwind(fault))
        });
        done.context("enter the namespace", self.path.display())
    }

    /// Unbinds `path`; the namespace ends with its last process and socket. Does nothing if there is no such file.
    pub fn remove(path: &Path) -> Result<()> {
        loop {
            match umount2(path, MntFlags::MNT_DETACH) {
                Ok(()) => {}
                Err(Errno::EINVAL | Errno::ENOENT) => break,
                Err(fault) => return Err(fault).context("unbind the namespace", path.display()),
            }
        }
        match fs::remove_file(path) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                Err(fault).context("remove the namespace's name", path.display())
            }
            _ => Ok(()),
        }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs on a thread that ends right after: its namespace is the new one.
fn bind_new(path: &Path) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}
