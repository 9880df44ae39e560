//! The mounts of this process, as the kernel lists them (`proc_pid_mountinfo(5)`).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use crate::error::{Context, Result};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The file system's type, such as `bpf`.
    pub kind: String,
    /// What of the file system is mounted here, such as `net:[4026532008]`.
    pub root: PathBuf,
}

impl Mount {
    /// All mounts that the calling thread sees, in the order in which they were made.
    pub fn list() -> Result<Vec<Self>> {
        let path = "/proc/thread-self/mountinfo";
        let text = fs::read_to_string(path).context("read", path)?;
        Ok(text.lines().filter_map(Self::parse).collect())
    }

    /// Unmounts everything at and below `folder`, the newest first.
    pub fn remove_below(folder: &Path) -> Result<()> {
        for mount in Self::list()?.iter().rev().filter(|mount| mount.point.starts_with(folder)) {
            match umount2(&mount.point, MntFlags::MNT_DETACH) {
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(fault) => return Err(fault).context("unmount", mount.point.display()),
            }
        }
        Ok(())
    }

    /// `ID PARENT DEVICE ROOT POINT OPTIONS [FIELD…] - TYPE SOURCE SUPER`
    fn parse(line: &str) -> Option<Self> {
        let (place, what) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let kind = what.split(' ').next()?.to_owned();
        Some(Self { point: unescape(point), kind, root: unescape(root) })
    }
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_escapes() {
        let line = r"36 35 98:0 /a\134b /mnt/my\040disk rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.point, Path::new("/mnt/my disk"));
        assert_eq!(mount.root, Path::new(r"/a\b"));
        assert_eq!(mount.kind, "ext3");
    }

    #[test]
    fn the_mounts_of_this_process_hold_its_root_and_proc() {
        let mounts = Mount::list().unwrap();
        assert!(mounts.iter().any(|mount| mount.point == Path::new("/")), "{mounts:?}");
        assert!(mounts.iter().any(|mount| mount.kind == "proc"), "{mounts:?}");
    }
}
