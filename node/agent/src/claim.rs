//! The claim on a host: one agent at a time changes a network namespace, and one a folder of pins.
//!
//! The folder of pins is locked itself (`flock(2)`): whichever path or mount leads to it, it is one. The file of a network namespace
//! can be locked by every user who sees it, so there a file of root's stands for it that bears its number.
//!
//! Promises: the kernel gives a claim back when its process ends, however it ends; no other user can hold one; a second agent has
//! changed nothing when it is refused, and is told who holds the claim.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use datapath::link::Namespace;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// A claim that is held. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Bears the number of the network namespace; removed with the claim.
    path: PathBuf,
    _namespace: File,
    pin_dir: PathBuf,
    pins: Option<File>,
}

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// Another agent has it.
    #[error(
        "claim {what}: {holder} has it, and two would remove each other's links; stop that one, or give this one a network \
         namespace and a pin_dir of its own"
    )]
    Held { what: String, holder: String },
    /// The system refused.
    #[error("claim {what}")]
    Failed {
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Who holds a claim, as it says itself.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    state_dir: PathBuf,
    pin_dir: PathBuf,
}

impl Claim {
    /// Claims the calling thread's network namespace and, if it is there, the folder of pins.
    pub(crate) fn take(config: &Config) -> Result<Self, ClaimError> {
        let inode = own_namespace()?;
        let path = Path::new(FOLDER).join(format!("{inode}.lock"));
        let what = || format!("network namespace {inode}");
        let mut file = claim_file(&path)
            .map_err(failed(what()))?
            .ok_or_else(|| ClaimError::Held { what: what(), holder: told(read(&path), &path) })?;
        let holder = Holder {
            pid: std::process::id(),
            state_dir: config.state_dir.clone(),
            pin_dir: config.pin_dir.clone(),
        };
        write(&mut file, &holder).map_err(failed(format!("{} in {}", what(), path.display())))?;
        sweep();
        let mut claim = Self { path, _namespace: file, pin_dir: config.pin_dir.clone(), pins: None };
        if claim.pin_dir.exists() {
            claim.claim_pins()?;
        }
        Ok(claim)
    }

    /// Makes the folder of pins, should it not be there, and claims it. To be called again when it was removed.
    pub(crate) fn claim_pins(&mut self) -> Result<(), ClaimError> {
        let what = format!("pin_dir {}", self.pin_dir.display());
        if self.has_pins().map_err(failed(what.clone()))? {
            return Ok(());
        }
        let locked = lock_folder(&self.pin_dir).map_err(failed(what.clone()))?;
        self.pins = Some(locked.ok_or_else(|| ClaimError::Held {
            holder: told(holder_of(&self.pin_dir), &self.pin_dir),
            what,
        })?);
        Ok(())
    }

    /// Whether the folder that is locked is the one that is there.
    fn has_pins(&self) -> io::Result<bool> {
        let Some(held) = &self.pins else { return Ok(false) };
        match std::fs::metadata(&self.pin_dir) {
            Ok(named) => Ok((named.dev(), named.ino()) == (held.metadata()?.dev(), held.metadata()?.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While the lock is held: whoever opens the file from now on makes a new one. A file that stays stands for nobody.
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_dir(FOLDER);
    }
}

fn own_namespace() -> Result<u64, ClaimError> {
    let identity = Namespace::current().and_then(|namespace| namespace.identity());
    Ok(identity.map_err(failed("this network namespace"))?.inode)
}

/// The file, locked; `None`: somebody else holds it.
fn claim_file(path: &Path) -> io::Result<Option<File>> {
    loop {
        match DirBuilder::new().mode(0o700).create(FOLDER) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let file = match options.open(path) {
            // The last one to leave has taken the folder away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        if !lock(&file)? {
            return Ok(None);
        }
        // The holder before may have removed it between the two.
        match std::fs::metadata(path) {
            Ok(named) if named.ino() == file.metadata()?.ino() => return Ok(Some(file)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

/// The folder of pins, locked, and closed to other users, who could lock it as well.
fn lock_folder(path: &Path) -> io::Result<Option<File>> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let folder = File::open(path)?;
    if folder.metadata()?.mode() & 0o077 != 0 {
        folder.set_permissions(Permissions::from_mode(0o700))?;
    }
    Ok(lock(&folder)?.then_some(folder))
}

fn lock(file: &File) -> io::Result<bool> {
    for _ in 0..ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            // One that ends, or sweeps, is out of the way in a moment.
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// Removes the files that killed agents have left, should their namespaces never see another one.
fn sweep() {
    for entry in std::fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let Ok(file) = File::open(entry.path()) else { continue };
        if file.try_lock().is_ok() {
            // While it is locked: whoever waits for it then finds that it is not the one that is there.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn write(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec(holder)?)
}

fn read(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    File::open(path).and_then(|mut file| file.read_to_string(&mut text)).ok()?;
    serde_json::from_str(&text).ok()
}

/// Who says of itself that it has this folder of pins, and lives.
fn holder_of(pin_dir: &Path) -> Option<Holder> {
    let entries = std::fs::read_dir(FOLDER).ok()?;
    let mut holders = entries.flatten().filter_map(|entry| read(&entry.path()));
    let lives = |holder: &Holder| Path::new("/proc").join(holder.pid.to_string()).exists();
    holders.find(|holder| holder.pin_dir == pin_dir && holder.pid != std::process::id() && lives(holder))
}

fn told(holder: Option<Holder>, locked: &Path) -> String {
    match holder {
        Some(Holder { pid, state_dir, .. }) => {
            format!("the agent with process {pid} and state_dir {}", state_dir.display())
        }
        None => format!("a process that holds a lock on {}", locked.display()),
    }
}

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: impl Into<String>,
) -> impl FnOnce(E) -> ClaimError {
    let what = what.into();
    move |source| ClaimError::Failed { what, source: source.into() }
}

/// Of root's alone, and gone with the host's uptime, like the namespaces whose numbers the files bear.
const FOLDER: &str = "/run/sealane-claims";
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);
