//! Taking the agent off a host: every link, pin and file of ours.

use std::io;
use std::path::Path;

use datapath::Datapath;
use datapath::link::Links;

use crate::claim::Claim;
use crate::config::Config;
use crate::error::Error;
use crate::journal::{Journal, JournalError};
use crate::membership::FILES;
use crate::preflight;

/// Removes everything that an agent with these settings has made on this host, its containers' links with it, and names what
/// was removed; nothing, if nothing was there. Blocks.
///
/// Errors: [`Error::Unfit`] without the capabilities of an agent; [`Error::Claim`] or [`Error::Journal`] while one runs; [`Error::Purge`] with what could not be removed (the rest is).
pub fn purge(config: &Config) -> Result<Vec<String>, Error> {
    let lacks = preflight::incapable();
    if !lacks.is_empty() {
        return Err(Error::Unfit { lacks });
    }
    let _claim = Claim::take(config).map_err(Error::of_claim)?;
    let journal = config.journal();
    if journal.exists() {
        // A journal that this program cannot read is to go as well; one that is in use is a running agent's.
        match Journal::open(&journal) {
            Err(error @ JournalError::InUse { .. }) => return Err(Error::of_journal(error)),
            opened => drop(opened),
        }
    }
    let mut purge = Purge::default();
    purge.links();
    purge.pins(&config.pin_dir);
    purge.file(&journal);
    purge.file(&config.socket);
    for name in FILES {
        purge.file(&config.state_dir.join(name));
    }
    purge.tombstones(&config.tombstones());
    match purge.failures.is_empty() {
        true => Ok(purge.removed),
        false => Err(Error::Purge { failures: purge.failures }),
    }
}

#[derive(Default)]
struct Purge {
    removed: Vec<String>,
    failures: Vec<String>,
}

impl Purge {
    fn links(&mut self) {
        match Links::open().and_then(|mut links| links.purge()) {
            Ok(removed) => self.removed.extend(removed),
            Err(error) => self.failures.push(crate::cause::chain(&error)),
        }
    }

    fn pins(&mut self, folder: &Path) {
        if !folder.exists() {
            return;
        }
        match Datapath::remove(folder) {
            Ok(()) => self.removed.push(folder.display().to_string()),
            Err(error) => self.failures.push(crate::cause::chain(&error)),
        }
    }

    fn file(&mut self, path: &Path) {
        self.note(path, std::fs::remove_file(path));
    }

    fn tombstones(&mut self, folder: &Path) {
        self.note(folder, std::fs::remove_dir_all(folder));
    }

    fn note(&mut self, path: &Path, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => self.removed.push(path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.failures.push(format!("remove {}: {error}", path.display())),
        }
    }
}
