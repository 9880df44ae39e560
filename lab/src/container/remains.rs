//! What a container leaves on its host, and its removal, by its runner or by whoever finds it later.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

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
    pub(super) fn claim(runtime: &Runtime, id: &str) -> Result<Self> {
        let folder = runtime.state.join(id);
        if folder.exists() {
            let remedy = "stop it, or use another name";
            let taken = || Error::Exists { kind: "container", name: id.to_owned(), remedy };
            Self::claim_stale(runtime, id)?.ok_or_else(taken)?.remove()?;
        }
        fs::create_dir_all(&folder).context("make", folder.display())?;
        let lock = lock(&folder)?.ok_or(Error::Exists {
            kind: "container",
            name: id.to_owned(),
            remedy: "it is just being started; use another name",
        })?;
        let cgroup = runtime.cgroup.child(id);
        let remains = Self::new(runtime, id, lock);
        cgroup.create()?;
        Ok(remains)
    }

    /// The folder of a container whose runner is gone; `None` while the runner lives.
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

/// Locks a container's folder; `None` if its runner holds it.
fn lock(folder: &Path) -> Result<Option<File>> {
    let file = File::open(folder).context("open", folder.display())?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(fault)) => Err(fault).context("lock", folder.display()),
    }
}
