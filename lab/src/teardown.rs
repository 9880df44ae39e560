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
        // Whoever made the lab may have been killed between its folder and the one above.
        return state::release().map(|()| false);
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

/// Removes the labs whose owners were killed before they could, and returns their names. Labs that are kept stay, and so does
/// one that has no record yet, for it may be just in the making.
pub fn sweep() -> Result<Vec<String>> {
    let orphaned =
        |lab: &String| Record::load(lab).is_ok_and(|record| record.owner.is_some_and(|owner| !owner.alive()));
    let orphans: Vec<String> = state::labs().into_iter().filter(orphaned).collect();
    orphans.iter().try_for_each(|lab| down(lab).map(drop))?;
    Ok(orphans)
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
