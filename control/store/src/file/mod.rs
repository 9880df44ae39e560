//! The home of objects in one file.
//!
//! A thread owns the open file and does everything with it in turn: it takes all writes that are waiting, carries each out or
//! refuses it, makes them durable by one commit and then answers. Watches are served from memory.

mod birth;
mod restore;
mod table;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;
use redb::Database;
use tokio::sync::oneshot;

use crate::log::Log;
use crate::{
    Listing, Object, ObjectKey, Retention, Scope, Span, Store, StoreError, Transaction, Watch, Written,
};
use table::Fault;
use writer::{Job, Writer};

pub use restore::{RestorationError, Restored, restore};
pub use table::SCHEMA;

/// A [`Store`] in one redb file, for one server: opening it a second time fails with [`StoreError::Locked`].
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    log: Arc<Log>,
    /// `None` while closing.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the database; called again after each failure.
type Opener = Box<dyn FnMut() -> Result<Database, Fault> + Send>;

impl FileStore {
    /// Opens the file, or makes it, readable to its owner alone. Blocks while the history is read.
    ///
    /// Errors: [`StoreError::Locked`], [`StoreError::Newer`], [`StoreError::Older`], [`StoreError::Repaired`],
    /// [`StoreError::Corrupt`], [`StoreError::Damaged`], [`StoreError::Failed`], [`StoreError::Thread`].
    pub fn open(path: &Path, retention: Retention) -> Result<Self, StoreError> {
        let file = path.to_owned();
        let mut opened = false;
        // A file that is gone after the first time was taken away: to make a new one would hide that.
        let opener = move || {
            let database = if opened { birth::open(&file) } else { birth::open_or_make(&file) };
            opened |= database.is_ok();
            database
        };
        Self::open_with(path, retention, Box::new(opener))
    }

    fn open_with(path: &Path, retention: Retention, opener: Opener) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel();
        let writer = Writer::open(path.to_owned(), retention, opener)?;
        let log = writer.log();
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(&waiting));
        let thread =
            thread.map_err(|cause| StoreError::Thread { path: path.to_owned(), source: Arc::new(cause) })?;
        Ok(Self { path: path.to_owned(), log, jobs: Some(jobs), thread: Some(thread) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn ask<T>(&self, job: impl FnOnce(writer::Answer<T>) -> Job) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job(answer)).map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Store for FileStore {
    fn span(&self) -> Span {
        self.log.span()
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<Object>, StoreError>> {
        Box::pin(self.ask(|answer| Job::Find(key.clone(), answer)))
    }

    fn list<'a>(&'a self, scope: &'a Scope, at: Option<u64>) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(self.ask(move |answer| Job::List(scope.clone(), at, answer)))
    }

    fn watch(&self, scope: Scope, after: u64) -> Result<Watch, StoreError> {
        self.log.watch(scope, after)
    }

    fn write(&self, transaction: Transaction) -> BoxFuture<'_, Result<Written, StoreError>> {
        Box::pin(self.ask(|answer| Job::Write(transaction, answer)))
    }

    fn compact(&self, through: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(move |answer| Job::Compact(through, answer)))
    }
}

impl Drop for FileStore {
    /// Carries out what was asked before, then lets the file go.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!(path = %self.path.display(), "the store's thread ended by a panic");
        }
    }
}

#[cfg(test)]
mod tests;
