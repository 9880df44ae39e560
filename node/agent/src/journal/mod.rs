//! What the agent knows after a restart: the records held, their generation, the attachments with their step.
//!
//! ```text
//!   write(entries) ─┐
//!   write(entries) ─┼─> one thread ─> one transaction, one sync ─> every writer is answered
//!   write(entries) ─┘
//! ```
//!
//! Promises: what [`Journal::write`] has answered survives a kill and a power cut; the entries of one write are there together
//! or not at all, and writes are in the order in which they were begun; a file of a newer schema is refused and left alone.
//! Which addresses are in use is not kept: it follows from the attachments.

mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use record::{Generation, Key, NodeId, Record};
use tokio::sync::oneshot;

use crate::attachment::Attachment;
use file::File;

/// The journal, open. Dropping it closes the file once everything begun is written.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What a journal held when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The generation of the records.
    pub(crate) generation: Generation,
    /// This node's number in the fabric, once it has been told.
    pub(crate) node: Option<NodeId>,
    /// The records held, in order of dependence.
    pub(crate) records: Vec<Record>,
    /// The attachments.
    pub(crate) attachments: Vec<Attachment>,
    /// The number that the next attachment has.
    pub(crate) next_number: u32,
}

impl Contents {
    /// Whether nothing was ever written: what an agent has made on this host is then nobody's.
    pub(crate) fn is_fresh(&self) -> bool {
        *self == Self { next_number: 1, ..Self::default() }
    }
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    /// Add or replace an attachment.
    Attachment(Box<Attachment>),
    /// Take out the attachment with this uid.
    Forget(String),
    /// Add or replace a record.
    Record(Box<Record>),
    /// Take out a record.
    Remove(Key),
    /// The records now are those of this generation.
    Generation(Generation),
    /// This node's number.
    Node(NodeId),
}

/// Why a journal cannot be opened or written.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The folder cannot be made.
    #[error("create the folder of journal {}", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Another agent has it.
    #[error("open journal {}: another agent of this host has it; give each agent a state_dir of its own", path.display())]
    InUse { path: PathBuf },
    /// It is of a later version of the program.
    #[error(
        "open journal {}: its schema is {found}, this program knows up to {known}; run the program that wrote it, or stop the \
         containers, run `sealane agent --purge` with that one, and start anew",
        path.display()
    )]
    Newer { path: PathBuf, found: u64, known: u64 },
    /// An entry cannot be read.
    #[error(
        "read {entry} of journal {}: it is damaged; put a copy of it back, or run `sealane agent --purge`: it takes the containers \
         off the fabric, and each is then to be attached or started anew",
        path.display()
    )]
    Damaged { path: PathBuf, entry: String },
    /// The file's system failed.
    #[error("{operation} journal {}", path.display())]
    Storage {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: Arc<redb::Error>,
    },
    /// The agent is stopping.
    #[error("write journal {}: it is closed, the agent is stopping", path.display())]
    Closed { path: PathBuf },
}

impl Journal {
    /// Opens the file, or makes it, and reads it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Contents), JournalError> {
        let file = File::open(path)?;
        let contents = file.contents()?;
        let (sender, jobs) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || serve(file, &jobs))
            .map_err(|source| JournalError::Folder { path: path.to_owned(), source: Arc::new(source) })?;
        let journal =
            Self { path: path.to_owned(), jobs: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)) };
        Ok((journal, contents))
    }

    /// Writes the entries together; they are on disk when this answers.
    pub(crate) async fn write(&self, entries: Vec<Entry>) -> Result<(), JournalError> {
        let (done, answer) = oneshot::channel();
        let sent = match &*self.jobs.lock() {
            Some(jobs) => jobs.send(Job { entries, done }).is_ok(),
            None => false,
        };
        let closed = || JournalError::Closed { path: self.path.clone() };
        if !sent {
            return Err(closed());
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Ends writing: what was begun is written, what comes later is refused, and the file is closed.
    pub(crate) fn close(&self) {
        self.jobs.lock().take();
        if let Some(writer) = self.writer.lock().take() {
            // A panic of the writer has been told where it happened; every waiting write was refused by it.
            let _ = writer.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
struct Job {
    entries: Vec<Entry>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

/// Writes what waits, all of it in one transaction, until the last sender is gone.
fn serve(mut file: File, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Ok(job) = jobs.try_recv()
        {
            together.push(job);
        }
        let result = file.write(together.iter().flat_map(|job| &job.entries));
        if let Err(error) = &result {
            tracing::error!(error = %crate::cause::chain(error), "the journal was not written");
        }
        for job in together {
            // A writer that waits no longer has been told nothing, which is what it will assume.
            let _ = job.done.send(result.clone());
        }
    }
}

/// Writes that share a transaction at most.
const TOGETHER: usize = 256;

#[cfg(test)]
mod tests;
