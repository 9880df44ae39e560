//! Audit events in files, one JSON object in a line.
//!
//! ```text
//!     audit.log <- events      at its bound, or a day old: audit.log -> audit.log.1 -> audit.log.2 -> … -> gone
//! ```
//!
//! Promises: an event is in the file before its request is answered, and outlives the process from then on; a file that
//! cannot be turned is written on; half a line, of a full disk or of a process that was killed, spoils no other.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::audit::Audit;
use crate::event::AuditEvent;
use crate::search::{Found, Search};

/// How much is kept, and how surely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// A file is turned before it has more bytes than this.
    pub bytes: u64,
    /// How many files there are at most, the one that is written among them.
    pub files: u32,
    /// Turned files that nothing was written to for so long are removed; `None`: never for their age.
    pub age: Option<Duration>,
    /// Whether nothing may be written that cannot be noted; each event is on the disk then before its request goes on.
    pub required: bool,
}

impl Default for Keep {
    /// Ten files of 64 MiB, of any age.
    fn default() -> Self {
        Self { bytes: 64 << 20, files: 10, age: None, required: false }
    }
}

/// Audit events in a file and in those that it was turned into.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    keep: Keep,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    /// When the file was begun, as far as this process knows.
    begun: SystemTime,
}

impl AuditFile {
    /// Opens the file, or makes it, readable to its owner alone. Errors: what the system says.
    pub fn open(path: &Path, keep: Keep) -> io::Result<Self> {
        let file = Self { path: path.to_owned(), keep, open: Mutex::new(Open::at(path)?) };
        file.forget(SystemTime::now());
        Ok(file)
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let mut open = self.open.lock();
        let now = SystemTime::now();
        let old = now.duration_since(open.begun).is_ok_and(|age| age >= DAY);
        if open.bytes > 0 && (open.bytes + line.len() as u64 > self.keep.bytes || old) {
            match self.turn(now) {
                Ok(next) => *open = next,
                Err(error) => {
                    open.begun = now;
                    tracing::error!(path = %self.path.display(), %error, "cannot turn the audit file; it grows on");
                }
            }
        }
        open.write(line)?;
        if self.keep.required { open.file.sync_data() } else { Ok(()) }
    }

    /// Makes room for a new file, and begins it.
    fn turn(&self, now: SystemTime) -> io::Result<Open> {
        let last = self.keep.files.saturating_sub(1);
        for number in (1..last).rev() {
            absent_is_well(std::fs::rename(self.turned(number), self.turned(number + 1)))?;
        }
        match last {
            0 => std::fs::remove_file(&self.path)?,
            _ => std::fs::rename(&self.path, self.turned(1))?,
        }
        self.forget(now);
        Open::at(&self.path)
    }

    /// Removes turned files that are too old, or too many. One that cannot be removed is tried again at the next turn.
    fn forget(&self, now: SystemTime) {
        for number in 1.. {
            let path = self.turned(number);
            let Ok(found) = std::fs::metadata(&path) else { return };
            let age = found.modified().ok().and_then(|changed| now.duration_since(changed).ok());
            let too_old = self.keep.age.is_some_and(|limit| age.is_some_and(|age| age > limit));
            if (too_old || number >= self.keep.files)
                && let Err(error) = std::fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove an old audit file");
            }
        }
    }

    fn turned(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// All files as they are at this moment, newest first.
    fn files(&self) -> io::Result<Vec<File>> {
        let _still = self.open.lock();
        let turned = (1..self.keep.files).map(|number| self.turned(number));
        let mut files = Vec::new();
        for path in std::iter::once(self.path.clone()).chain(turned) {
            match File::open(&path) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path)?;
        let found = file.metadata()?;
        let begun = found.created().or_else(|_| found.modified()).unwrap_or_else(|_| SystemTime::now());
        let mut bytes = found.len();
        if bytes > 0 {
            // A process that was killed may have left half a line.
            let mut last = [0];
            file.seek(SeekFrom::Start(bytes - 1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                bytes += 1;
            }
        }
        Ok(Self { file, bytes, begun })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(line.as_bytes()).inspect_err(|_| {
            // What cannot be taken back is a line that searches pass over.
            self.file.set_len(self.bytes).ok();
        })?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

impl Audit for AuditFile {
    fn note(&self, event: &AuditEvent) -> io::Result<()> {
        let line = format!("{}\n", event.to_json());
        self.append(&line).inspect_err(|error| {
            let AuditEvent { id, verb, uri, code, .. } = event;
            let (path, user) = (self.path.display(), &event.who.user);
            tracing::error!(%path, %error, %id, %user, %verb, %uri, code, "cannot write the audit file");
        })
    }

    fn is_required(&self) -> bool {
        self.keep.required
    }

    fn find(&self, search: &Search) -> io::Result<Found> {
        search.through(self.files()?)
    }
}

fn absent_is_well(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// A file is turned when it is so old, so that what is kept by age goes by the day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::who::Who;

    fn event(name: &str) -> AuditEvent {
        let mut event = AuditEvent::new(Who::local(7), SystemTime::UNIX_EPOCH);
        event.verb = "create".into();
        event.resource = "namespaces".into();
        event.name = Some(name.into());
        event.code = 403;
        event.refusal = Some(("Forbidden".into(), "no".into()));
        event
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_turn_at_their_bound_and_the_newest_of_them_are_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let line = event("n00").to_json().to_string().len() as u64 + 1;
        let keep = Keep { bytes: 3 * line + 1, files: 3, ..Keep::default() };
        let file = AuditFile::open(&path, keep).unwrap();
        (0..20).for_each(|number| file.note(&event(&format!("n{number:02}"))).unwrap());
        assert_eq!(names(folder.path()), ["audit.log", "audit.log.1", "audit.log.2"]);
        let mut told = Vec::new();
        for name in ["audit.log.2", "audit.log.1", "audit.log"] {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(!text.is_empty() && text.len() as u64 <= keep.bytes, "{name}: {} bytes", text.len());
            for line in text.lines() {
                let event: Value = serde_json::from_str(line).unwrap();
                assert_eq!(event["requestReceivedTimestamp"], "1970-01-01T00:00:00.000000Z");
                told.push(event["objectRef"]["name"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(told, (12..20).map(|number| format!("n{number}")).collect::<Vec<_>>());
        let found = file.find(&Search { limit: 5, ..Search::default() }).unwrap();
        let found: Vec<_> = found.events.iter().map(|event| event["objectRef"]["name"].clone()).collect();
        assert_eq!(found, ["n15", "n16", "n17", "n18", "n19"], "from two files, newest last");
    }

    #[test]
    fn turned_files_that_are_too_old_or_too_many_go_and_one_file_may_be_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for number in 1..=4_u64 {
            let turned = File::create(folder.path().join(format!("audit.log.{number}"))).unwrap();
            let age = Duration::from_secs(3_600 * number);
            turned.set_modified(SystemTime::now() - age).unwrap();
        }
        let keep = |files, hours: u64| Keep {
            files,
            age: Some(Duration::from_secs(3_600 * hours + 60)),
            ..Keep::default()
        };
        AuditFile::open(&path, keep(4, 24)).unwrap();
        assert_eq!(names(folder.path()), ["audit.log", "audit.log.1", "audit.log.2", "audit.log.3"]);
        AuditFile::open(&path, keep(4, 1)).unwrap();
        assert_eq!(names(folder.path()), ["audit.log", "audit.log.1"]);
        let file = AuditFile::open(&path, Keep { bytes: 1, files: 1, ..Keep::default() }).unwrap();
        (0..3).for_each(|_| file.note(&event("last")).unwrap());
        assert_eq!(names(folder.path()), ["audit.log"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn half_a_line_of_a_killed_process_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        AuditFile::open(&path, Keep::default()).unwrap().note(&event("whole")).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"kind\":\"Ev").unwrap();
        let file = AuditFile::open(&path, Keep::default()).unwrap();
        file.note(&event("after")).unwrap();
        let found = file.find(&Search::default()).unwrap();
        assert_eq!((found.events.len(), found.unreadable), (2, 1));
    }

    #[test]
    fn a_full_disk_is_an_error_that_a_caller_may_pass_over() {
        let file = AuditFile::open(Path::new("/dev/full"), Keep::default()).unwrap();
        assert_eq!(file.note(&event("lost")).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!file.is_required());
    }
}
