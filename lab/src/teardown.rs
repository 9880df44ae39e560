//! Removing a lab by its name, whoever made it and however far that got.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result, report};
use crate::mount::Mount;
use crate::namespace::Namespace;
use crate::state::{self, Record};
use crate::underlay::{NETNS, namespace_prefix};

/// Ends every process of a lab and removes its namespaces, mounts, pins, control groups and files. Idempotent; `false` if
/// there was nothing. A fault does not keep it from removing the rest.
pub fn down(lab: &str) -> Result<bool> {
    state::check_name(lab)?;
    let folder = state::folder(lab);
    let cgroup = state::cgroup(lab)?;
    let namespaces = namespaces(lab);
    if !folder.exists() && !cgroup.exists() && namespaces.is_empty() {
        return Ok(false);
    }
    let mut steps = vec![cgroup.kill(), end_recorded(lab), Mount::remove_below(&folder)];
    steps.extend(namespaces.iter().map(|path| Namespace::remove(path)));
    steps.push(cgroup.remove());
    steps.push(match fs::remove_dir_all(&folder) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.context("remove", folder.display()),
    });
    steps.push(state::release());
    let faults: Vec<String> = steps.into_iter().filter_map(Result::err).map(|fault| report(&fault)).collect();
    if faults.is_empty() { Ok(true) } else { Err(Error::Leftover { lab: lab.to_owned(), faults }) }
}

fn namespaces(lab: &str) -> Vec<PathBuf> {
    let prefix = namespace_prefix(lab);
    let Ok(entries) = fs::read_dir(NETNS) else { return Vec::new() };
    let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    ours.map(|entry| entry.path()).collect()
}

/// The control group ends whatever was started in it; this ends a daemon that was moved out of it.
fn end_recorded(lab: &str) -> Result<()> {
    // Without a record there is nobody to end.
    let Ok(record) = Record::load(lab) else { return Ok(()) };
    let deadline = Instant::now() + Duration::from_secs(10);
    for (host, process) in record.daemons {
        process.kill();
        if !process.wait(deadline.saturating_duration_since(Instant::now())) && process.alive() {
            return Err(io::Error::from(io::ErrorKind::TimedOut))
                .context("end", format!("process {} of {host}", process.pid));
        }
    }
    Ok(())
}
