//! The BPF file system that pins need. Hosts with systemd have one; elsewhere `up` mounts it and `down --purge` takes it away.

use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::failure::Failure;

/// Mounts it in the usual place, if the agent's pins are to be there and it is not mounted.
pub(super) fn mount(pins: &Path) -> Result<(), Failure> {
    if !pins.starts_with(PLACE) || is_mounted() {
        return Ok(());
    }
    let done = rustix::mount::mount("bpf", PLACE, "bpf", MountFlags::empty(), None);
    done.map_err(|fault| failed("mount a BPF file system at", fault))?;
    note(true)
}

/// Takes it away if [`mount`] has mounted it and nothing else is pinned there.
pub(super) fn unmount() -> Result<(), Failure> {
    if !mark().exists() {
        return Ok(());
    }
    note(false)?;
    let own = |name: std::ffi::OsString| name == "maps.debug" || name == "progs.debug";
    let others =
        std::fs::read_dir(PLACE).is_ok_and(|entries| entries.flatten().any(|entry| !own(entry.file_name())));
    if others || !is_mounted() {
        return Ok(());
    }
    rustix::mount::unmount(PLACE, UnmountFlags::empty()).map_err(|fault| failed("unmount", fault))
}

fn is_mounted() -> bool {
    statfs(PLACE).is_ok_and(|found| found.f_type as u64 == BPF_FS_MAGIC)
}

/// That the mount is ours.
fn mark() -> PathBuf {
    PathBuf::from("/run/sealane/bpffs.mounted")
}

fn note(mounted: bool) -> Result<(), Failure> {
    let path = mark();
    let done = match mounted {
        true => std::fs::create_dir_all("/run/sealane").and_then(|()| std::fs::write(&path, "")),
        false => std::fs::remove_file(&path),
    };
    done.map_err(|source| Failure::File { operation: if mounted { "write" } else { "remove" }, path, source })
}

fn failed(operation: &'static str, fault: Errno) -> Failure {
    Failure::Process { operation, object: PLACE.to_owned(), source: fault.into() }
}

const PLACE: &str = "/sys/fs/bpf";

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
