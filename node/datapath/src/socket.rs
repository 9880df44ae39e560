//! Programs on a cgroup: they lead the sockets of the node's own processes to published ports.
//!
//! Promises: what cannot be hung is told and does without; nothing else of the datapath depends on it.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::Datapath;
use crate::error::Error;
use crate::hook::{Hooks, link_info};

/// The programs, which are named as their hooks are, and where each hangs.
pub(crate) const PROGRAMS: [(&str, libbpf_sys::bpf_attach_type); 8] = [
    ("connect4", libbpf_sys::BPF_CGROUP_INET4_CONNECT),
    ("connect6", libbpf_sys::BPF_CGROUP_INET6_CONNECT),
    ("sendmsg4", libbpf_sys::BPF_CGROUP_UDP4_SENDMSG),
    ("sendmsg6", libbpf_sys::BPF_CGROUP_UDP6_SENDMSG),
    ("recvmsg4", libbpf_sys::BPF_CGROUP_UDP4_RECVMSG),
    ("recvmsg6", libbpf_sys::BPF_CGROUP_UDP6_RECVMSG),
    ("getpeername4", libbpf_sys::BPF_CGROUP_INET4_GETPEERNAME),
    ("getpeername6", libbpf_sys::BPF_CGROUP_INET6_GETPEERNAME),
];

/// The root of the unified hierarchy, at one of the two places where hosts mount it (cgroups(7)); `None`: neither has it.
pub fn cgroup_root() -> Option<PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| statfs(path).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC))
}

/// The cookie of the calling thread's network namespace; kernels tell it since 5.14.
pub(crate) fn namespace_cookie() -> Result<u64, Error> {
    let failed = |errno: nix::errno::Errno| {
        Error::hook("ask for the cookie of", "the network namespace", -(errno as i32))
    };
    let asked: OwnedFd =
        socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
    let mut cookie = 0u64;
    let mut length = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: `cookie` has room for `length` bytes, and the kernel writes no more; the descriptor is open.
    let result = unsafe {
        libc::getsockopt(
            asked.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    nix::errno::Errno::result(result).map(|_| cookie).map_err(failed)
}

impl Datapath {
    /// Hangs the programs on the configured cgroup, or takes off those that hang where none is configured.
    pub(crate) fn hang_on_sockets(&self) -> Result<(), Error> {
        if let Some(cgroup) = &self.config.cgroup
            && self.loaded.has_sockets
        {
            match self.hang_on_cgroup(cgroup) {
                Ok(()) => return Ok(()),
                Err(error) => tell_without(&error),
            }
        }
        PROGRAMS.iter().try_for_each(|(name, _)| self.hooks.unpin(name))
    }

    fn hang_on_cgroup(&self, cgroup: &Path) -> Result<(), Error> {
        let opened = |source| Error::pin("open the cgroup", cgroup, source);
        let folder = File::open(cgroup).map_err(opened)?;
        let id = folder.metadata().map_err(opened)?.ino();
        for (name, kind) in PROGRAMS {
            self.hooks.attach_to_cgroup(name, self.loaded.program(name), (&folder, id), kind)?;
        }
        Ok(())
    }
}

impl Hooks {
    /// Hangs the program on the cgroup, given with its number, or puts it in the place of what hangs there under this name.
    fn attach_to_cgroup(
        &self,
        name: &str,
        program: i32,
        (folder, id): (&File, u64),
        kind: libbpf_sys::bpf_attach_type,
    ) -> Result<(), Error> {
        self.attach_link(name, program, (folder.as_raw_fd(), kind), |link| {
            let info = link_info(link, name)?;
            // SAFETY: the kernel fills the `cgroup` member for a link of that type; of another type the number means none.
            Ok(unsafe { info.__bindgen_anon_1.cgroup.cgroup_id } == id)
        })
    }
}

/// Says what the node does without.
pub(crate) fn tell_without(error: &Error) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(error, "processes of this node do not reach published ports at its own addresses");
}

/// include/uapi/asm-generic/socket.h
const SO_NETNS_COOKIE: libc::c_int = 71;
