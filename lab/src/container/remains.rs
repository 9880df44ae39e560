//! What a container leaves on its host, and its removal, by its runner or by whoever finds it later.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use record::door::{Detach, Door};

use super::{Record, Runtime};
use crate::cgroup::Cgroup;
use crate::door::Agent;
use crate::error::{Context, Error, Result};
use crate::namespace::Namespace;

/// The record's name in a container's folder.
pub(super) const RECORD: &str = "container.json";

/// A container's folder, held by a lock that ends with its runner. Dropping it removes everything.
#[derive(Debug)]
pub(super) struct Remains {
    id: String,
    folder: PathBuf,
    cgroup: Cgroup,
    agent: Agent,
    attached: bool,
    removed: bool,
    _lock: File,
}

impl Remains {
    /// Makes the folder and the control group of a container that is to start; what a dead runner left is removed first.
    ///
    /// A folder that somebody sweeps in this very moment is free a moment later.
    pub(super) fn claim(runtime: &Runtime, id: &str) -> Result<Self> {
        let folder = runtime.state.join(id);
        let deadline = Instant::now() + SWEPT_WITHIN;
        loop {
            fs::create_dir_all(&folder).context("make", folder.display())?;
            let taken = |remedy| Err(Error::Exists { kind: "container", name: id.to_owned(), remedy });
            match lock(&folder)? {
                Some(lock) => {
                    let mut remains = Self::new(runtime, id, lock);
                    if is_empty(&folder)? {
                        remains.cgroup.create()?;
                        return Ok(remains);
                    }
                    remains.will_attach();
                    remains.remove()?;
                }
                None if folder.join(RECORD).exists() => return taken("stop it, or use another name"),
                None if Instant::now() > deadline => {
                    return taken("it is just being started; use another name");
                }
                None => thread::sleep(POLL),
            }
        }
    }

    /// The folder of a container whose runner is gone; `None` while the runner lives, and when there is no folder.
    pub(super) fn claim_stale(runtime: &Runtime, id: &str) -> Result<Option<Self>> {
        let folder = runtime.state.join(id);
        let Some(lock) = lock(&folder)? else { return Ok(None) };
        let mut stale = Self::new(runtime, id, lock);
        stale.will_attach();
        Ok(Some(stale))
    }

    fn new(runtime: &Runtime, id: &str, lock: File) -> Self {
        Self {
            id: id.to_owned(),
            folder: runtime.state.join(id),
            cgroup: runtime.cgroup.child(id),
            agent: runtime.agent.clone(),
            attached: false,
            removed: false,
            _lock: lock,
        }
    }

    /// Where the network namespace is bound.
    pub(super) fn namespace(&self) -> PathBuf {
        self.folder.join("netns")
    }

    /// The container's group.
    pub(super) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// From here on the agent may know the container, even if its answer is lost.
    pub(super) fn will_attach(&mut self) {
        self.attached = true;
    }

    /// Tells other processes of the container.
    pub(super) fn write(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec_pretty(record).expect("a record has no keys but strings");
        let (new, path) = (self.folder.join("container.new"), self.folder.join(RECORD));
        fs::write(&new, text).context("write", new.display())?;
        fs::rename(&new, &path).context("write", path.display())
    }

    /// Removes all of it: the first fault is told, the rest is removed nonetheless.
    pub(super) fn remove(mut self) -> Result<()> {
        self.take_apart()
    }

    fn take_apart(&mut self) -> Result<()> {
        self.removed = true;
        let ended = self.cgroup.kill();
        let detached = if self.attached { self.detach() } else { Ok(()) };
        let unbound = Namespace::remove(&self.namespace());
        let ungrouped = self.cgroup.remove();
        let forgotten = match fs::remove_dir_all(&self.folder) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.context("remove", self.folder.display()),
        };
        ended.and(detached).and(unbound).and(ungrouped).and(forgotten)
    }

    fn detach(&self) -> Result<()> {
        self.agent.detach(&Detach { door: Door::Run, container: self.id.clone(), interface: None })
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        if !self.removed {
            // Nobody is left to tell; a later sweep finds what could not be removed.
            let _ = self.take_apart();
        }
    }
}

/// Locks a container's folder; `None` if its runner holds it, or if it is gone.
fn lock(folder: &Path) -> Result<Option<File>> {
    let file = match File::open(folder) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.context("open", folder.display())?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(fault)) => return Err(fault).context("lock", folder.display()),
    }
    // Who held the lock may have removed the folder, and somebody may have made it anew: that one is not locked.
    let locked = file.metadata().context("read", folder.display())?;
    let same = |there: fs::Metadata| (there.dev(), there.ino()) == (locked.dev(), locked.ino());
    Ok(fs::metadata(folder).is_ok_and(same).then_some(file))
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(fs::read_dir(folder).context("list", folder.display())?.next().is_none())
}

/// How long a sweep may hold a folder, and how often it is looked whether it still does.
const SWEPT_WITHIN: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);
