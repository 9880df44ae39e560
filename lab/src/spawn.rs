//! Where a process starts: in which namespaces and control group, with which host name and mounts.
//!
//! Everything is done in the child between `fork` and `exec`, so the caller never changes its own namespaces, and a
//! process never runs one instruction of its program in the wrong place.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{sethostname, setsid};

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::namespace::Namespace;
use crate::process_id::ProcessId;

/// A place for processes. The default is where the caller is.
#[derive(Debug, Default)]
pub struct Place {
    cgroup: Option<File>,
    entered: Vec<Entered>,
    own: Option<Own>,
    session: bool,
}

/// A file that shows one or more namespaces, and which of them are meant.
#[derive(Debug)]
struct Entered {
    file: OwnedFd,
    kinds: CloneFlags,
}

/// Namespaces that are the process's own.
#[derive(Debug)]
struct Own {
    host_name: CString,
    binds: Vec<CBind>,
}

/// A [`Bind`] as the kernel takes it: made before `fork`, after which nothing may be allocated.
#[derive(Debug)]
struct CBind {
    source: CString,
    target: CString,
}

/// A file of the host's that a container sees elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The host's file or folder.
    pub source: PathBuf,
    /// What it covers; must exist.
    pub target: PathBuf,
}

impl Place {
    /// In this control group, which must exist.
    pub fn cgroup(mut self, cgroup: &Cgroup) -> Result<Self> {
        self.cgroup = Some(cgroup.door()?);
        Ok(self)
    }

    /// In this network namespace.
    pub fn network(mut self, namespace: &Namespace) -> Result<Self> {
        let file = namespace.as_fd().try_clone_to_owned().context("open", namespace.path().display())?;
        self.entered.push(Entered { file, kinds: CloneFlags::CLONE_NEWNET });
        Ok(self)
    }

    /// In the network, mount, host-name and IPC namespaces of a process.
    pub fn beside(mut self, process: ProcessId) -> Result<Self> {
        let gone = || Error::Missing {
            kind: "process",
            name: process.pid.to_string(),
            remedy: "it has ended; start it again".to_owned(),
        };
        let kinds = CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC;
        self.entered.push(Entered { file: process.open().ok_or_else(gone)?, kinds });
        Ok(self)
    }

    /// With mount, host-name and IPC namespaces of its own: this host name, a `/sys` that shows its own links, and these
    /// binds.
    pub fn own(mut self, host_name: &str, binds: &[Bind]) -> Result<Self> {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
        let own = || -> io::Result<Own> {
            let bind = |bind: &Bind| Ok(CBind { source: text(&bind.source)?, target: text(&bind.target)? });
            let binds = binds.iter().map(bind).collect::<io::Result<_>>()?;
            Ok(Own { host_name: CString::new(host_name)?, binds })
        };
        self.own = Some(own().context("name", host_name)?);
        Ok(self)
    }

    /// In a session of its own: no terminal's signals reach it, and it outlives the caller.
    pub fn session(mut self) -> Self {
        self.session = true;
        self
    }

    /// Makes `command` start there.
    pub fn apply(self, command: &mut Command) -> &mut Command {
        let enter = move || self.enter();
        // SAFETY: `enter` makes system calls alone. It allocates nothing and takes no lock: its strings were made before.
        unsafe { command.pre_exec(enter) }
    }

    /// Runs in the child.
    fn enter(&self) -> io::Result<()> {
        if let Some(mut cgroup) = self.cgroup.as_ref() {
            cgroup.write_all(b"0")?;
        }
        for entered in &self.entered {
            setns(entered.file.as_fd(), entered.kinds)?;
        }
        if let Some(own) = &self.own {
            own.enter()?;
        }
        if self.session {
            setsid()?;
        }
        // The caller may hold signals back while it starts a process; the process shall not.
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        Ok(())
    }
}

impl Own {
    fn enter(&self) -> nix::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)?;
        // Its mounts stay its own; what the host unmounts goes here too, so that no container keeps a device busy.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
        for bind in &self.binds {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(bind.source.as_c_str()), bind.target.as_c_str(), None::<&str>, flags, None::<&str>)?;
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
        mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&str>)?;
        sethostname(std::ffi::OsStr::from_bytes(self.host_name.to_bytes()))
    }
}
