//! Taking the server off a host: its store, its audit, its socket.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::security::FILES;

/// A file of the server's that could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("remove {}", path.display())]
pub struct PurgeError {
    /// Which.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// Removes what a server with these settings has left on this host and names it; nothing, if nothing was there. It must not
/// run: the caller has ended it.
///
/// Errors: [`PurgeError`] for the first file that cannot be removed.
pub fn purge(config: &Config) -> Result<Vec<PathBuf>, PurgeError> {
    let mut files = vec![config.store.clone()];
    files.extend(config.socket.clone());
    files.extend(config.audit.iter().flat_map(|audit| turned(audit)));
    files.extend(config.pki.iter().flat_map(|pki| FILES.iter().map(|name| pki.join(name))));
    let mut removed = Vec::new();
    for path in files {
        match std::fs::remove_file(&path) {
            Ok(()) => removed.push(path),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(PurgeError { path, source }),
        }
    }
    Ok(removed)
}

/// The audit's file and those that were turned: `audit.log`, `audit.log.1`, …
fn turned(audit: &Path) -> Vec<PathBuf> {
    let name = audit.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(Ok(entries)) = audit.parent().map(std::fs::read_dir) else { return Vec::new() };
    let ours = |path: &PathBuf| {
        let found = path.file_name().unwrap_or_default().to_string_lossy();
        let rest = found.strip_prefix(&name);
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.strip_prefix('.').is_some_and(|number| number.parse::<u32>().is_ok())
        })
    };
    entries.flatten().map(|entry| entry.path()).filter(ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_the_server_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["server.redb", "audit.log", "audit.log.1", "audit.log.bak", "notes"] {
            std::fs::write(path(name), "x").unwrap();
        }
        let config = Config {
            store: path("server.redb"),
            socket: Some(path("server.sock")),
            audit: Some(path("audit.log")),
            ..Config::default()
        };
        assert_eq!(purge(&config).unwrap().len(), 3);
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["audit.log.bak", "notes"]);
        assert!(purge(&config).unwrap().is_empty());
    }
}
