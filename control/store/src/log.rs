//! The recent history in memory, and the watches that read it.
//!
//! Events are kept in order between two bounds. A watch is a place in the log, so a slow reader costs nothing and cannot
//! hold a writer up; it learns by [`StoreError::Compacted`] that it fell too far behind.
//!
//! ```text
//!     compacted                                   revision
//!         |  e e e e e e e e e e e e e e e e e e e e |
//!         gone   ^ watch A               ^ watch B   new events are appended here
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::{Event, Scope, Span, StoreError};

/// How much history is kept: the newest events, as far as both bounds allow, and always the newest transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events at most.
    pub events: usize,
    /// Bytes at most, of encoded events.
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: 20_000, bytes: 64 << 20 }
    }
}

/// The events of one or more whole transactions.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The newest revision that this batch covers.
    pub revision: u64,
    /// The events of the watch's scope, in order; never empty.
    pub events: Vec<Arc<Event>>,
}

/// A place in the history. Every event after it comes, in order.
#[derive(Debug)]
pub struct Watch {
    log: Arc<Log>,
    head: watch::Receiver<u64>,
    scope: Scope,
    seen: u64,
}

impl Watch {
    /// Waits for the next events of the scope. May be dropped and called again: nothing is lost by it.
    ///
    /// Errors: [`StoreError::Compacted`] when the reader fell behind what is kept, [`StoreError::Closed`] when the store is gone.
    pub async fn next(&mut self) -> Result<Batch, StoreError> {
        loop {
            self.head.borrow_and_update();
            if let Some(batch) = self.ready()? {
                return Ok(batch);
            }
            if self.log.span().revision > self.seen {
                continue;
            }
            self.head.changed().await.map_err(|_| StoreError::Closed)?;
        }
    }

    /// The next events of the scope that are there already, without waiting. Errors as for [`Self::next`].
    pub fn ready(&mut self) -> Result<Option<Batch>, StoreError> {
        let run = self.log.read(self.seen)?;
        self.seen = run.revision;
        let events: Vec<_> = run.events.into_iter().filter(|event| self.scope.holds(&event.key)).collect();
        Ok((!events.is_empty()).then_some(Batch { revision: run.revision, events }))
    }

    /// The revision up to which the watch has delivered everything.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

/// The history itself.
#[derive(Debug)]
pub(crate) struct Log {
    kept: RwLock<Kept>,
    head: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    span: Span,
    events: VecDeque<Arc<Event>>,
    /// Set when no event will follow any more.
    closed: bool,
}

impl Kept {
    fn forget(&mut self, through: u64) {
        let gone = self.events.partition_point(|event| event.revision <= through);
        self.events.drain(..gone);
        self.span.compacted = self.span.compacted.max(through.min(self.span.revision));
    }
}

/// A run of whole transactions, read from the log.
pub(crate) struct Run {
    pub(crate) revision: u64,
    pub(crate) events: Vec<Arc<Event>>,
}

impl Log {
    pub(crate) fn new(span: Span) -> Self {
        let kept = Kept { span, events: VecDeque::new(), closed: false };
        Self { kept: RwLock::new(kept), head: watch::Sender::new(span.revision) }
    }

    pub(crate) fn span(&self) -> Span {
        self.kept.read().span
    }

    /// Adds the events of whole transactions up to `revision`, and forgets the history up to and including `compacted`.
    /// Readers see both at once.
    pub(crate) fn append(&self, revision: u64, events: impl IntoIterator<Item = Arc<Event>>, compacted: u64) {
        {
            let mut kept = self.kept.write();
            kept.events.extend(events);
            kept.span.revision = revision;
            kept.forget(compacted);
        }
        self.head.send_replace(revision);
    }

    /// Forgets the history up to and including `through`.
    pub(crate) fn compact(&self, through: u64) {
        self.kept.write().forget(through);
    }

    /// Ends every watch.
    pub(crate) fn close(&self) {
        self.kept.write().closed = true;
        self.head.send_modify(|_| {});
    }

    pub(crate) fn watch(self: &Arc<Self>, scope: Scope, after: u64) -> Result<Watch, StoreError> {
        self.check(after)?;
        Ok(Watch { log: Arc::clone(self), head: self.head.subscribe(), scope, seen: after })
    }

    /// Refuses a revision that the log cannot answer for.
    pub(crate) fn check(&self, revision: u64) -> Result<(), StoreError> {
        let Span { compacted, revision: newest } = self.span();
        if revision < compacted {
            return Err(StoreError::Compacted { revision, compacted });
        }
        if revision > newest { Err(StoreError::Future { revision, newest }) } else { Ok(()) }
    }

    /// Events after a revision: a bounded number, cut between two transactions.
    fn read(&self, after: u64) -> Result<Run, StoreError> {
        let kept = self.kept.read();
        if after < kept.span.compacted {
            return Err(StoreError::Compacted { revision: after, compacted: kept.span.compacted });
        }
        if kept.closed && after >= kept.span.revision {
            return Err(StoreError::Closed);
        }
        let from = kept.events.partition_point(|event| event.revision <= after);
        let mut to = kept.events.len().min(from + RUN);
        let mut revision = kept.span.revision;
        if to < kept.events.len() {
            revision = kept.events[to].revision;
            while to < kept.events.len() && kept.events[to].revision == revision {
                to += 1;
            }
        }
        Ok(Run { revision, events: kept.events.range(from..to).cloned().collect() })
    }

    /// Every event after a revision, newest first: what has to be undone to be back there.
    pub(crate) fn back_to(&self, revision: u64) -> Vec<Arc<Event>> {
        let kept = self.kept.read();
        let from = kept.events.partition_point(|event| event.revision <= revision);
        kept.events.range(from..).rev().cloned().collect()
    }

    /// Waits until the log has reached a revision.
    pub(crate) async fn reach(&self, revision: u64) -> Result<(), StoreError> {
        let mut head = self.head.subscribe();
        loop {
            head.borrow_and_update();
            {
                let kept = self.kept.read();
                if kept.span.revision >= revision {
                    return Ok(());
                }
                if kept.closed {
                    return Err(StoreError::Closed);
                }
            }
            head.changed().await.map_err(|_| StoreError::Closed)?;
        }
    }
}

/// Events in one run, so that a reader far behind does not hold the lock for long.
const RUN: usize = 512;
