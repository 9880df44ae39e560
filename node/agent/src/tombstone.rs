//! Word that doors left while the agent was away: what to take off the network.
//!
//! Promises: a file is removed once what it asks for is done, not before; a file that cannot be understood is set aside and
//! stops nothing.

use std::io;
use std::path::{Path, PathBuf};

use record::door::{Attach, Detach};

/// The folder of the files.
#[derive(Clone, Debug)]
pub(crate) struct Tombstones {
    folder: PathBuf,
}

/// One file and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) detach: Detach,
    path: PathBuf,
}

impl Tombstones {
    /// Those in this folder.
    pub(crate) fn of(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// All of them.
    pub(crate) fn read(&self) -> io::Result<Vec<Tombstone>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                found.extend(parse(&path)?.map(|detach| Tombstone { detach, path }));
            }
        }
        Ok(found)
    }

    /// Those that speak of the place which the request asks for.
    pub(crate) fn about(&self, request: &Attach) -> io::Result<Vec<Tombstone>> {
        let names = [Some(request.interface.clone()), None].map(|interface| {
            Detach { door: request.door, container: request.container.clone(), interface }.tombstone()
        });
        let mut found = Vec::new();
        for path in names.map(|name| self.folder.join(name)) {
            if path.exists() {
                found.extend(parse(&path)?.map(|detach| Tombstone { detach, path }));
            }
        }
        Ok(found)
    }
}

impl Tombstone {
    /// Whether it still asks: nobody has carried it out since it was read.
    pub(crate) fn stands(&self) -> bool {
        self.path.exists()
    }

    /// What it asked for is done.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// What the file asks for; one that is damaged is renamed so that it is seen once.
fn parse(path: &Path) -> io::Result<Option<Detach>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice(&bytes) {
        Ok(detach) => Ok(Some(detach)),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "a door left word that is not understood; it is set aside");
            std::fs::rename(path, path.with_extension("damaged"))?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::request;
    use record::door::Door;

    #[test]
    fn word_is_found_by_its_place_and_damaged_word_is_set_aside() {
        let folder = tempfile::TempDir::new().unwrap();
        let tombstones = Tombstones::of(folder.path().join("detached"));
        assert_eq!(tombstones.read().unwrap(), []);
        std::fs::create_dir(folder.path().join("detached")).unwrap();
        let detach = Detach { door: Door::Cni, container: "a".into(), interface: Some("eth0".into()) };
        let path = folder.path().join("detached").join(detach.tombstone());
        std::fs::write(&path, serde_json::to_vec(&detach).unwrap()).unwrap();
        std::fs::write(folder.path().join("detached/x.json"), "{").unwrap();
        std::fs::write(folder.path().join("detached/y.tmp"), "{").unwrap();
        let found = tombstones.read().unwrap();
        assert_eq!(found.iter().map(|found| &found.detach).collect::<Vec<_>>(), [&detach]);
        assert!(folder.path().join("detached/x.damaged").exists());
        assert_eq!(tombstones.about(&request("a")).unwrap(), found);
        assert_eq!(tombstones.about(&request("b")).unwrap(), []);
        found[0].remove().unwrap();
        found[0].remove().unwrap();
        assert_eq!(tombstones.read().unwrap(), []);
    }
}
