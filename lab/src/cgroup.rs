//! Control groups of the unified hierarchy: a folder each for a lab, its hosts and their containers, so that everything
//! started in one can be ended at once, whatever it forked.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};
use crate::mount::Mount;
use crate::process_id::ProcessId;

/// One control group. The value is a name: dropping it removes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The root of the unified hierarchy, wherever it is mounted (`/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hosts
    /// that keep the old controllers beside it).
    pub fn root() -> Result<Self> {
        let mounts = Mount::list()?;
        let found = mounts.into_iter().find(|mount| mount.kind == "cgroup2");
        let missing = || Error::Missing {
            kind: "mount of type",
            name: "cgroup2".to_owned(),
            remedy: "mount -t cgroup2 none /sys/fs/cgroup/unified".to_owned(),
        };
        Ok(Self { path: found.ok_or_else(missing)?.point })
    }

    /// The group of the unified hierarchy that a process is in.
    pub fn of(process: ProcessId) -> Result<Self> {
        let path = format!("/proc/{}/cgroup", process.pid);
        let text = fs::read_to_string(&path).context("read", &path)?;
        // The unified hierarchy has the number 0 and no controllers' names (cgroups(7)).
        let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        Ok(Self { path: Self::root()?.path.join(own) })
    }

    /// The group at this path, whether it exists or not.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// A group inside this one, whether it exists or not.
    pub fn child(&self, name: &str) -> Self {
        Self { path: self.path.join(name) }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it and the groups above it. It may exist.
    pub fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.path).context("make the control group", self.path.display())
    }

    /// The file by which a process joins: writing `0` moves the writer.
    pub(crate) fn door(&self) -> Result<File> {
        let path = self.path.join("cgroup.procs");
        File::options().write(true).open(&path).context("open", path.display())
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Whether a process lives in it or in a group below.
    pub fn populated(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events")).is_ok_and(|text| text.contains("populated 1"))
    }

    /// The processes in it and in the groups below.
    pub fn processes(&self) -> Vec<u32> {
        let own = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        let mut found: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).collect();
        found.extend(self.children().iter().flat_map(Self::processes));
        found
    }

    /// Ends every process in it and below (SIGKILL) and waits until they are gone, at most 10 s. Kernels before 5.14
    /// lack `cgroup.kill`: there the processes are killed one by one until none is left.
    pub fn kill(&self) -> Result<()> {
        let deadline = Instant::now() + GONE_WITHIN;
        while self.populated() {
            let together = fs::write(self.path.join("cgroup.kill"), "1");
            if together.is_err_and(|fault| fault.kind() == io::ErrorKind::NotFound) {
                for pid in self.processes() {
                    crate::process_id::kill_now(pid);
                }
            }
            if Instant::now() > deadline {
                let left = format!("the processes {:?} of {}", self.processes(), self.path.display());
                return Err(io::Error::from(io::ErrorKind::TimedOut)).context("end", left);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Ends every process in it and removes it with the groups below. It may be gone already.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            self.kill()?;
            for child in self.children() {
                child.remove()?;
            }
            match fs::remove_dir(&self.path) {
                // A process that has just ended holds its group until the kernel has taken it apart; one that was being
                // started has joined only now.
                Err(fault) if fault.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(2));
                }
                Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                    return Err(fault).context("remove the control group", self.path.display());
                }
                _ => return Ok(()),
            }
        }
    }

    /// Removes it if nothing is in it, for a folder that several labs share.
    pub(crate) fn remove_if_empty(&self) {
        // Refused while another lab is in it: then it is that lab's to remove.
        let _ = fs::remove_dir(&self.path);
    }

    /// The groups directly inside.
    pub fn children(&self) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(&self.path) else { return Vec::new() };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|entry| Self { path: entry.path() }).collect()
    }
}

/// How long processes that were killed may take to go. One in an uninterruptible wait outlives its kill.
const GONE_WITHIN: Duration = Duration::from_secs(10);
