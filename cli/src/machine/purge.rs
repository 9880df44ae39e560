//! `sealane down --purge`: nothing of Sealane's stays on this host.

use std::io::Write;
use std::path::{Path, PathBuf};

use lab::container::Runtime;

use super::daemon::Daemon;
use super::{bpffs, serve};
use crate::door::agent;
use crate::failure::Failure;
use crate::output;
use crate::settings::Settings;

/// Ends the containers of `sealane run`. While the agent still runs: it hears of each.
pub(super) fn containers(settings: &Settings) -> Result<(), Failure> {
    Ok(Runtime::of_this_host(agent(settings))?.purge()?)
}

/// Removes what the agent left: links, maps, journal.
pub(super) fn of_agent(settings: &Path) -> Result<(), Failure> {
    serve::purge(Some(settings).filter(|file| file.exists()))?;
    bpffs::unmount()
}

/// Removes what the server left: store, audit.
pub(super) fn of_server(settings: &Path) -> Result<(), Failure> {
    let config = match settings.exists() {
        true => fleet::Config::read(settings).map_err(Failure::ServerSettings)?,
        false => fleet::Config::default(),
    };
    let removed = fleet::purge(&config).map_err(Failure::ServerPurge)?;
    let mut out = output::screen();
    for path in removed {
        writeln!(out, "removed {}", path.display())?;
    }
    Ok(())
}

/// Removes the daemons' logs, and then the folders of ours that are empty: in one that is not, somebody keeps something.
pub(super) fn logs_and_folders(daemons: &[Daemon]) -> Result<(), Failure> {
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    for daemon in daemons {
        match std::fs::remove_file(&daemon.log) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::File { operation: "remove", path: daemon.log.clone(), source });
            }
            _ => folders.extend(daemon.log.parent().map(Path::to_owned)),
        }
    }
    for folder in folders {
        // Refused while anything is in it.
        let _ = std::fs::remove_dir(folder);
    }
    if let Ok(root) = lab::cgroup::Cgroup::root() {
        let _ = std::fs::remove_dir(root.child("sealane").path());
    }
    Ok(())
}

const FOLDERS: [&str; 2] = ["/run/sealane", "/var/lib/sealane"];
