//! The thread that owns the file: group commit, bounded history, and opening anew after a failure.

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use redb::Database;
use tokio::sync::oneshot;

use super::table::{self, Fault, History, Tables};
use super::{Opener, birth};
use crate::log::Log;
use crate::object::Objects;
use crate::{
    Action, Change, Event, Listing, Object, ObjectKey, Retention, Scope, Span, StoreError, Transaction,
    Written,
};

/// Where the answer to a job goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread is asked to do.
pub(super) enum Job {
    Write(Transaction, Answer<Written>),
    Find(ObjectKey, Answer<Option<Object>>),
    List(Scope, Option<u64>, Answer<Listing>),
    Compact(u64, Answer<()>),
}

/// The owner of the open file.
pub(super) struct Writer {
    path: PathBuf,
    opener: Opener,
    /// `None` after a failure: a redb handle refuses everything after one, so the next job opens the file anew.
    database: Option<Database>,
    log: Arc<Log>,
    retention: Retention,
    sizes: Sizes,
}

/// The encoded size of each event that the file's history holds.
#[derive(Default)]
struct Sizes {
    events: VecDeque<(u64, usize)>,
    bytes: usize,
}

/// What a group of transactions did, before it is durable.
#[derive(Default)]
struct Group {
    revision: u64,
    events: Vec<Arc<Event>>,
    sizes: Vec<(u64, usize)>,
    outcomes: Vec<Result<Written, StoreError>>,
}

impl Writer {
    pub(super) fn open(path: PathBuf, retention: Retention, opener: Opener) -> Result<Self, StoreError> {
        let log = Arc::new(Log::new(Span { compacted: 0, revision: 0 }));
        let mut writer = Self { path, opener, database: None, log, retention, sizes: Sizes::default() };
        let (database, span, events) = writer.load()?;
        writer.log = Arc::new(Log::new(Span { revision: span.compacted, ..span }));
        writer.take_over(database, span, events);
        Ok(writer)
    }

    pub(super) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// Serves until every sender is gone.
    pub(super) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut writes = Vec::new();
            let mut others = Vec::new();
            for job in std::iter::once(first).chain(jobs.try_iter().take(GROUP)) {
                match job {
                    Job::Write(transaction, answer) => writes.push((transaction, answer)),
                    other => others.push(other),
                }
            }
            if !writes.is_empty() {
                self.write(writes);
            }
            others.into_iter().for_each(|job| self.serve(job));
        }
        self.log.close();
    }

    fn serve(&mut self, job: Job) {
        match job {
            Job::Find(key, answer) => {
                let found = self.attempt("read", |database| table::find(database, &key));
                answer.send(found).ok();
            }
            Job::List(scope, at, answer) => {
                answer.send(self.list(&scope, at)).ok();
            }
            Job::Compact(through, answer) => {
                answer.send(self.compact(through)).ok();
            }
            Job::Write(transaction, answer) => self.write(vec![(transaction, answer)]),
        }
    }

    fn list(&mut self, scope: &Scope, at: Option<u64>) -> Result<Listing, StoreError> {
        let objects = self.attempt("read", table::read_objects)?;
        let revision = at.unwrap_or_else(|| self.log.span().revision);
        self.log.check(revision)?;
        let mut objects: Objects =
            objects.into_iter().map(|object| (Arc::clone(&object.key), object)).collect();
        self.log.back_to(revision).iter().for_each(|event| event.undo(&mut objects));
        let objects = objects.into_values().filter(|object| scope.holds(&object.key)).collect();
        Ok(Listing { revision, objects })
    }

    fn compact(&mut self, through: u64) -> Result<(), StoreError> {
        let Span { compacted, revision } = self.log.span();
        if through > revision {
            return Err(StoreError::Future { revision: through, newest: revision });
        }
        if through <= compacted {
            return Ok(());
        }
        self.attempt("compact", |database| {
            let transaction = database.begin_write()?;
            Tables::open(&transaction)?.compact(through)?;
            Ok(transaction.commit()?)
        })?;
        self.sizes.forget(through);
        self.log.compact(through);
        Ok(())
    }

    /// Carries out what arrived together by one durable commit, then answers.
    fn write(&mut self, writes: Vec<(Transaction, Answer<Written>)>) {
        let (transactions, answers): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
        match self.commit(&transactions) {
            Ok(outcomes) => answers.into_iter().zip(outcomes).for_each(|(answer, outcome)| {
                answer.send(outcome).ok();
            }),
            Err(fault) => answers.into_iter().for_each(|answer| {
                answer.send(Err(fault.clone())).ok();
            }),
        }
    }

    fn commit(
        &mut self,
        transactions: &[Transaction],
    ) -> Result<Vec<Result<Written, StoreError>>, StoreError> {
        self.ensure_open()?;
        let log = Arc::clone(&self.log);
        let mut sizes = std::mem::take(&mut self.sizes);
        let retention = self.retention;
        let done = self.attempt("commit", |database| {
            let before = log.span();
            let transaction = database.begin_write()?;
            let mut tables = Tables::open(&transaction)?;
            let mut group = Group { revision: before.revision, ..Group::default() };
            for transaction in transactions {
                group.carry_out(transaction, &mut tables)?;
            }
            if group.events.is_empty() {
                drop(tables);
                transaction.abort()?;
                return Ok((group, None));
            }
            tables.set_revision(group.revision)?;
            sizes.add(&group.sizes);
            let through = sizes.excess(retention, group.revision);
            if let Some(through) = through {
                tables.compact(through)?;
            }
            drop(tables);
            transaction.commit()?;
            Ok((group, through))
        });
        // After a failure the sizes are those of the file when it is opened anew.
        let (group, through) = done?;
        if let Some(through) = through {
            sizes.forget(through);
        }
        self.sizes = sizes;
        if !group.events.is_empty() {
            self.log.append(group.revision, group.events, through.unwrap_or_default());
        }
        Ok(group.outcomes)
    }

    /// Does something with the open file. A failure closes it: the next attempt opens it anew.
    fn attempt<T>(
        &mut self,
        operation: &'static str,
        work: impl FnOnce(&Database) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.ensure_open()?;
        let database = self.database.as_ref().expect("opened above");
        contained(|| work(database)).map_err(|fault| {
            let error = self.name(operation, fault);
            tracing::error!(%error, "the store failed; it is opened anew for the next request");
            // A handle that was left in the middle of something may panic again while it closes.
            let database = self.database.take();
            contained(move || {
                drop(database);
                Ok(())
            })
            .ok();
            error
        })
    }

    fn ensure_open(&mut self) -> Result<(), StoreError> {
        if self.database.is_none() {
            let (database, span, events) = self.load()?;
            self.take_over(database, span, events);
            tracing::info!(path = %self.path.display(), revision = span.revision, "opened the store anew");
        }
        Ok(())
    }

    /// Opens the file and reads its history.
    fn load(&mut self) -> Result<(Database, Span, History), StoreError> {
        let path = &self.path;
        let opener = &mut self.opener;
        let loaded = contained(|| {
            let mut database = opener()?;
            // Reading a damaged page can end the process, so every page is checked before any is read.
            if !database.check_integrity()? {
                return Ok(Err(StoreError::Repaired { path: path.clone() }));
            }
            table::prepare(&database)?;
            let (span, events) = table::read_history(&database)?;
            Ok(Ok((database, span, events)))
        });
        let (database, span, events) = loaded.map_err(|fault| self.name("open", fault))??;
        let acknowledged = self.log.span().revision;
        if span.revision < acknowledged {
            return Err(StoreError::Regressed {
                path: self.path.clone(),
                found: span.revision,
                acknowledged,
            });
        }
        Ok((database, span, events))
    }

    /// Continues with a file that was just opened. What it holds beyond the log was committed and never acknowledged.
    fn take_over(&mut self, database: Database, span: Span, events: History) {
        let known = self.log.span().revision;
        self.sizes = Sizes::default();
        self.sizes.add(&events.iter().map(|(event, size)| (event.revision, *size)).collect::<Vec<_>>());
        let news = events.into_iter().map(|(event, _)| event).filter(|event| event.revision > known);
        self.log.append(span.revision, news, span.compacted);
        self.database = Some(database);
    }

    fn name(&self, operation: &'static str, fault: Fault) -> StoreError {
        let path = self.path.clone();
        match fault {
            Fault::Newer(found) => StoreError::Newer { path, found, known: table::SCHEMA },
            Fault::Older(found) => StoreError::Older { path, found, oldest: table::oldest() },
            Fault::Damaged(what, cause) => StoreError::Damaged { path, what, source: Arc::new(cause) },
            Fault::Failed(redb::Error::DatabaseAlreadyOpen) => StoreError::Locked { path },
            Fault::Failed(cause) if birth::is_damage(&cause) => {
                StoreError::Corrupt { path, source: Arc::new(cause) }
            }
            Fault::Failed(cause) => StoreError::Failed { operation, path, source: Arc::new(cause) },
        }
    }
}

/// Does something with redb, which panics on some kinds of damage. Whatever was touched is thrown away afterwards.
fn contained<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no reason given");
        Err(redb::Error::Corrupted(format!("reading it failed an assertion: {text}")).into())
    })
}

impl Group {
    /// Carries one transaction out, or refuses it and leaves everything as it was. `Err`: the file failed.
    fn carry_out(&mut self, transaction: &Transaction, tables: &mut Tables<'_>) -> Result<(), Fault> {
        let mut named = BTreeSet::new();
        let mut before = Vec::with_capacity(transaction.changes.len());
        for change in &transaction.changes {
            if !named.insert(&change.key) {
                self.outcomes.push(Err(StoreError::Repeated { key: Box::new(change.key.clone()) }));
                return Ok(());
            }
            let object = tables.find(&change.key)?;
            let found = object.as_ref().map(|object| object.revision);
            if !change.expect.holds(found) {
                let key = Box::new(change.key.clone());
                self.outcomes.push(Err(StoreError::Conflict { key, expected: change.expect, found }));
                return Ok(());
            }
            before.push(object);
        }
        let revision = self.revision + 1;
        let mut objects = Vec::with_capacity(before.len());
        let mut index = 0;
        for (change, previous) in transaction.changes.iter().zip(before) {
            let Some(event) = event(change, &previous, revision) else {
                objects.push(previous);
                continue;
            };
            let size = tables.record(&event, index)?;
            index += 1;
            objects.push(event.object.clone());
            self.events.push(Arc::new(event));
            self.sizes.push((revision, size));
        }
        if index > 0 {
            self.revision = revision;
        }
        self.outcomes.push(Ok(Written { revision: self.revision, objects }));
        Ok(())
    }
}

/// What a change does to an object, if anything.
fn event(change: &Change, previous: &Option<Object>, revision: u64) -> Option<Event> {
    let key =
        previous.as_ref().map_or_else(|| Arc::new(change.key.clone()), |previous| Arc::clone(&previous.key));
    let object = match &change.action {
        Action::Keep => return None,
        Action::Delete if previous.is_none() => return None,
        Action::Delete => None,
        Action::Put(value) => Some(Object {
            key: Arc::clone(&key),
            value: Arc::clone(value),
            revision,
            created: previous.as_ref().map_or(revision, |previous| previous.created),
        }),
    };
    Some(Event { revision, key, object, previous: previous.clone() })
}

impl Sizes {
    fn add(&mut self, sizes: &[(u64, usize)]) {
        self.events.extend(sizes);
        self.bytes += sizes.iter().map(|(_, size)| size).sum::<usize>();
    }

    /// The revision to forget through, so that the bounds hold; never the newest.
    fn excess(&self, retention: Retention, newest: u64) -> Option<u64> {
        let mut events = self.events.len();
        let mut bytes = self.bytes;
        let mut through = None;
        for (revision, size) in &self.events {
            if (events <= retention.events && bytes <= retention.bytes) || *revision == newest {
                break;
            }
            events -= 1;
            bytes -= size;
            through = Some(*revision);
        }
        through
    }

    fn forget(&mut self, through: u64) {
        while let Some((_, size)) = self.events.pop_front_if(|(revision, _)| *revision <= through) {
            self.bytes -= size;
        }
    }
}

/// Jobs taken together at most, so that none waits for an unbounded commit.
const GROUP: usize = 1024;
