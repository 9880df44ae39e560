//! Network namespaces: opening one, working inside it, telling two apart.
//!
//! A namespace is a property of a thread. Work inside another one runs on a thread of its own that ends afterwards, so no
//! thread of the caller's ever changes place.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::error::Error;

/// A network namespace, held open: it lives at least as long as this value.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
}

/// What tells one namespace from every other that exists at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The device of the kernel's namespace files.
    pub device: u64,
    /// The number that `readlink /proc/PID/ns/net` shows. It may be used again once the namespace is gone.
    pub inode: u64,
}

impl Namespace {
    /// The namespace at `path`, such as `/run/netns/blue` or `/proc/4711/ns/net`.
    ///
    /// Errors: [`Error::NamespaceOpen`], [`Error::NotANamespace`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let file = File::open(&path).map_err(|source| Error::NamespaceOpen { path: path.clone(), source })?;
        if call::is_network_namespace(file.as_fd()) {
            Ok(Self { file, path })
        } else {
            Err(Error::NotANamespace { path })
        }
    }

    /// The namespace of the process `pid`. The caller sees to it that the process still is the one meant.
    pub fn of_pid(pid: u32) -> Result<Self, Error> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// The calling thread's own.
    pub fn current() -> Result<Self, Error> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it from the others.
    pub fn identity(&self) -> Result<Identity, Error> {
        let metadata = self.file.metadata().map_err(|source| self.unidentified(source))?;
        Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
    }

    /// The kernel's cookie of it: never used again while the host runs, and the one that programs in the kernel see
    /// (`bpf_get_netns_cookie`).
    pub fn cookie(&self) -> Result<u64, Error> {
        self.inside(call::own_cookie)?.map_err(|source| self.unidentified(source))
    }

    /// Runs `work` inside, on a thread of its own, and waits for it. A panic of `work` goes on here.
    ///
    /// Errors: [`Error::NamespaceEnter`] (needs CAP_SYS_ADMIN), [`Error::Thread`].
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let entered = thread::scope(|scope| {
            let body = || setns(&self.file, CloneFlags::CLONE_NEWNET).map(|()| work());
            let thread = thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, body);
            let thread = thread.map_err(|source| Error::Thread { namespace: self.to_string(), source })?;
            Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        entered.map_err(|source: Errno| Error::NamespaceEnter { namespace: self.to_string(), source })
    }

    /// Runs `work` inside: at once if the calling thread is there already, else as [`Namespace::inside`] does.
    pub(super) fn at_home<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        if Self::current()?.identity()? == self.identity()? { Ok(work()) } else { self.inside(work) }
    }

    fn unidentified(&self, source: io::Error) -> Error {
        Error::NamespaceIdentity { namespace: self.to_string(), source }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The two system calls that have no safe wrapper.
mod call {
    #![allow(unsafe_code)]

    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

    use nix::libc;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    /// Whether the file is a namespace, and of the network kind (`man 2 ioctl_ns`).
    pub(super) fn is_network_namespace(file: BorrowedFd<'_>) -> bool {
        // SAFETY: the request takes no argument and the descriptor is open for the call; on other files it fails.
        let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
        kind == libc::CLONE_NEWNET
    }

    /// The cookie of the calling thread's namespace.
    pub(super) fn own_cookie() -> io::Result<u64> {
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let mut cookie = 0_u64;
        let mut length = libc::socklen_t::try_from(size_of::<u64>()).expect("eight fits");
        // SAFETY: the option writes at most `length` bytes to `cookie`, which is that long, and both outlive the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut length,
            )
        };
        if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
    }

    /// `_IO(0xb7, 3)` of linux/nsfs.h.
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    /// Of asm-generic/socket.h.
    const SO_NETNS_COOKIE: libc::c_int = 71;
}
