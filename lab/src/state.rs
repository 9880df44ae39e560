//! What a lab keeps in the file system: its folder, its record, and what all labs of a machine share.
//!
//! ```text
//!   /run/sealane-lab/NAME/lab.json        the record, for other processes
//!                         server/ n1/ …   configs, sockets, stores and logs
//!                         bpf/            a BPF file system of the lab's own, a folder for each host
//!   /run/netns/sl-NAME-…                  namespaces
//!   CGROUP2/sealane-lab/NAME/HOST         control groups
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::option::Options;
use crate::process_id::ProcessId;
use crate::underlay::NETNS;

/// A lab as other processes see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// How it was made.
    pub(crate) options: Options,
    /// The process that removes it; `None` if it is kept.
    pub(crate) owner: Option<ProcessId>,
    /// The port of the server's API on this machine's 127.0.0.1; `None` without a server.
    pub(crate) port: Option<u16>,
    /// The server and the agents that run, by host.
    pub(crate) daemons: BTreeMap<String, ProcessId>,
}

impl Record {
    /// Reads the record of a lab.
    pub(crate) fn load(lab: &str) -> Result<Self> {
        let path = folder(lab).join(RECORD);
        match fs::read(&path) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Err(Error::Missing {
                kind: "lab",
                name: lab.to_owned(),
                remedy: "start it with `sealane lab up`".to_owned(),
            }),
            text => {
                let text = text.context("read", path.display())?;
                serde_json::from_slice(&text).map_err(|source| Error::Record { path, source })
            }
        }
    }

    /// Changes what is written, which another process may have changed since it was read, and keeps the outcome.
    pub(crate) fn amend(&mut self, change: impl FnOnce(&mut Self)) -> Result<()> {
        let path = folder(&self.options.name);
        let file = File::open(&path).context("open", path.display())?;
        let _alone = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, fault)| fault)
            .context("lock", path.display())?;
        *self = Self::load(&self.options.name)?;
        change(self);
        self.save()
    }

    /// Writes it, whole or not at all.
    pub(crate) fn save(&self) -> Result<()> {
        let path = folder(&self.options.name).join(RECORD);
        let new = path.with_extension("new");
        let text = serde_json::to_vec_pretty(self).expect("a record has no keys but strings");
        fs::write(&new, text).context("write", new.display())?;
        fs::rename(&new, &path).context("write", path.display())
    }
}

/// A lab's folder.
pub(crate) fn folder(lab: &str) -> PathBuf {
    Path::new(LABS).join(lab)
}

/// A lab's control group.
pub(crate) fn cgroup(lab: &str) -> Result<Cgroup> {
    Ok(Cgroup::root()?.child(CGROUP).child(lab))
}

/// A lab's BPF file system.
pub(crate) fn pins(lab: &str) -> PathBuf {
    folder(lab).join("bpf")
}

/// Refuses a name that could not be told apart from another lab's in a namespace's name.
pub(crate) fn check_name(lab: &str) -> Result<()> {
    let sound = lab.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if sound && (1..=24).contains(&lab.len()) {
        return Ok(());
    }
    Err(Error::Name { kind: "lab", name: lab.to_owned(), rule: "1 to 24 of a-z and 0-9" })
}

/// Takes the lab's name by making its folder; whoever has it already keeps it.
pub(crate) fn claim(lab: &str) -> Result<()> {
    let _alone = alone()?;
    let path = folder(lab);
    fs::create_dir_all(LABS).context("make", LABS)?;
    match fs::create_dir(&path) {
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {
            let remedy = "remove it with `sealane lab down`, or take another name";
            Err(Error::Exists { kind: "lab", name: lab.to_owned(), remedy })
        }
        made => made.context("make", path.display()),
    }
}

/// Makes what a lab needs besides its folder: its control group, its BPF file system, the folder of namespaces.
pub(crate) fn furnish(lab: &str) -> Result<()> {
    {
        let _alone = alone()?;
        share_namespaces()?;
        cgroup(lab)?.create()?;
    }
    let pins = pins(lab);
    fs::create_dir(&pins).context("make", pins.display())?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mounted = mount(Some("bpf"), &pins, Some("bpf"), flags, Some("mode=0700"));
    mounted.context("mount a BPF file system at", pins.display())
}

/// Removes what all labs share, if this was the last of them.
pub(crate) fn release() -> Result<()> {
    let _alone = alone()?;
    Cgroup::root()?.child(CGROUP).remove_if_empty();
    // Only the last lab of the machine: another one's namespaces may be about to be made.
    if labs().is_empty() {
        unshare_namespaces()?;
    }
    // Refused while another lab is in it.
    let _ = fs::remove_dir(LABS);
    Ok(())
}

/// The names of the labs whose folders are there, sorted.
pub(crate) fn labs() -> Vec<String> {
    let Ok(entries) = fs::read_dir(LABS) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The folder of named namespaces must be a shared mount, or a name removed here lives on in other mount namespaces, and
/// `ip netns add` would later cover the names that are in it.
fn share_namespaces() -> Result<()> {
    let found = Path::new(NETNS).exists();
    fs::create_dir_all(NETNS).context("make", NETNS)?;
    let share =
        || mount(None::<&str>, NETNS, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        Err(Errno::EINVAL) => {
            let marker = Path::new(LABS).join(MARKER);
            fs::write(&marker, if found { "mount" } else { "mount folder" })
                .context("write", marker.display())?;
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(NETNS), NETNS, None::<&str>, flags, None::<&str>).context("mount", NETNS)?;
            share().context("share", NETNS)
        }
        done => done.context("share", NETNS),
    }
}

/// Undoes [`share_namespaces`] if a lab did it and nobody has a namespace there now.
fn unshare_namespaces() -> Result<()> {
    let marker = Path::new(LABS).join(MARKER);
    let Ok(made) = fs::read_to_string(&marker) else { return Ok(()) };
    let used = fs::read_dir(NETNS).is_ok_and(|mut entries| entries.next().is_some());
    if used || umount2(NETNS, MntFlags::empty()) == Err(Errno::EBUSY) {
        return Ok(());
    }
    if made.contains("folder") {
        // Refused if a name was added just now: then the folder is somebody else's.
        let _ = fs::remove_dir(NETNS);
    }
    fs::remove_file(&marker).context("remove", marker.display())
}

/// Only one process of a machine changes what all labs share. A folder that always exists is the lock, so no file is left.
fn alone() -> Result<Flock<File>> {
    let file = File::open("/run").context("open", "/run")?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, fault)| fault).context("lock", "/run")
}

const LABS: &str = "/run/sealane-lab";
const CGROUP: &str = "sealane-lab";
const RECORD: &str = "lab.json";
/// Says what a lab made of the folder of namespaces: the last lab undoes it.
const MARKER: &str = ".netns";
