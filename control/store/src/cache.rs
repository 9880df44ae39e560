//! The objects in memory: what every reader uses.
//!
//! A task follows the home's watch and applies it. Objects and history change together under one lock, so a listing and a
//! watch after its revision fit without gap or overlap.

use std::ops::Bound;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use tokio::task::JoinHandle;

use crate::log::Log;
use crate::object::Objects;
use crate::{Batch, Listing, Object, ObjectKey, Scope, Span, Store, StoreError, Transaction, Watch, Written};

/// A [`Store`] that answers reads and watches from memory and passes writes to its home. Cheap to read, safe to share.
pub struct Cached {
    home: Arc<dyn Store>,
    state: Arc<State>,
    follower: JoinHandle<()>,
}

struct State {
    objects: RwLock<Objects>,
    log: Arc<Log>,
}

impl Cached {
    /// Reads everything from the home, its history too, and follows it from then on. Needs a tokio runtime.
    ///
    /// Errors: those of [`Store::list`].
    pub async fn start(home: Arc<dyn Store>) -> Result<Self, StoreError> {
        let (listing, watch) = read_from_start(&*home).await?;
        let span = Span { compacted: listing.revision, revision: listing.revision };
        let state = Arc::new(State { objects: RwLock::new(index(listing)), log: Arc::new(Log::new(span)) });
        let now = home.span().revision;
        let follower = tokio::spawn(follow(Arc::downgrade(&home), watch, Arc::clone(&state)));
        state.log.reach(now).await?;
        Ok(Self { home, state, follower })
    }

    /// The newest revision that reads show.
    pub fn revision(&self) -> u64 {
        self.state.log.span().revision
    }

    /// Waits until reads show a revision (of another process, say). `false`: it did not come in time.
    pub async fn reach(&self, revision: u64, patience: Duration) -> bool {
        matches!(tokio::time::timeout(patience, self.state.log.reach(revision)).await, Ok(Ok(())))
    }

    /// The object now, if there is one.
    pub fn find(&self, key: &ObjectKey) -> Option<Object> {
        self.state.objects.read().get(key).cloned()
    }

    /// The objects of a scope now, by key.
    pub fn objects(&self, scope: &Scope) -> Listing {
        let objects = self.state.objects.read();
        Listing { revision: self.revision(), objects: select(&objects, scope) }
    }

    /// The objects of a scope as they were at a revision. Costs the changes since then.
    ///
    /// Errors: [`StoreError::Compacted`], [`StoreError::Future`].
    pub fn objects_at(&self, scope: &Scope, revision: u64) -> Result<Listing, StoreError> {
        let objects = self.state.objects.read();
        self.state.log.check(revision)?;
        let mut then: Objects =
            select(&objects, scope).into_iter().map(|object| (Arc::clone(&object.key), object)).collect();
        for event in self.state.log.back_to(revision).iter().filter(|event| scope.holds(&event.key)) {
            event.undo(&mut then);
        }
        Ok(Listing { revision, objects: then.into_values().collect() })
    }

    /// The objects of a scope now, and everything that happens to them after.
    pub fn subscribe(&self, scope: Scope) -> (Listing, Watch) {
        let objects = self.state.objects.read();
        let listing = Listing { revision: self.revision(), objects: select(&objects, &scope) };
        let watch = self
            .state
            .log
            .watch(scope, listing.revision)
            .expect("the newest revision is always within the log");
        (listing, watch)
    }
}

impl Store for Cached {
    fn span(&self) -> Span {
        self.state.log.span()
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<Object>, StoreError>> {
        Box::pin(async { Ok(self.find(key)) })
    }

    fn list<'a>(&'a self, scope: &'a Scope, at: Option<u64>) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(async move {
            at.map_or_else(|| Ok(self.objects(scope)), |revision| self.objects_at(scope, revision))
        })
    }

    fn watch(&self, scope: Scope, after: u64) -> Result<Watch, StoreError> {
        self.state.log.watch(scope, after)
    }

    fn write(&self, transaction: Transaction) -> BoxFuture<'_, Result<Written, StoreError>> {
        Box::pin(async {
            let written = self.home.write(transaction).await?;
            self.state.log.reach(written.revision).await?;
            Ok(written)
        })
    }

    fn compact(&self, through: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.home.compact(through).await?;
            self.state.log.reach(through).await?;
            self.state.log.compact(through);
            Ok(())
        })
    }
}

impl Drop for Cached {
    fn drop(&mut self) {
        self.follower.abort();
        self.state.log.close();
    }
}

impl State {
    /// Shows a batch to readers, and forgets what the home has forgotten.
    fn apply(&self, batch: &Batch, compacted: u64) {
        let mut objects = self.objects.write();
        batch.events.iter().for_each(|event| event.apply(&mut objects));
        self.log.append(batch.revision, batch.events.iter().cloned(), compacted.min(batch.revision));
    }

    /// Begins anew after a gap: whoever watches has to list anew.
    fn restart(&self, listing: Listing) {
        let mut objects = self.objects.write();
        let revision = listing.revision;
        *objects = index(listing);
        self.log.append(revision, [], revision);
    }
}

/// Applies the home's watch until the home is gone. Holds the home for no longer than a look, so that closing is prompt.
async fn follow(home: Weak<dyn Store>, mut watch: Watch, state: Arc<State>) {
    loop {
        let news = watch.next().await;
        let Some(home) = home.upgrade() else { break };
        match news {
            Ok(batch) => state.apply(&batch, home.span().compacted),
            Err(StoreError::Closed) => break,
            Err(error) => {
                tracing::warn!(%error, "the cache fell behind its store; it reads everything anew");
                match read_anew(&*home).await {
                    Ok((listing, next)) => {
                        watch = next;
                        state.restart(listing);
                    }
                    Err(error) => {
                        tracing::error!(%error, "the cache cannot read its store");
                        drop(home);
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
    }
    state.log.close();
}

async fn read_anew(home: &dyn Store) -> Result<(Listing, Watch), StoreError> {
    let listing = home.list(&Scope::all(), None).await?;
    let watch = home.watch(Scope::all(), listing.revision)?;
    Ok((listing, watch))
}

/// The oldest state that the home can list, and a watch from there: so the cache knows the whole history.
async fn read_from_start(home: &dyn Store) -> Result<(Listing, Watch), StoreError> {
    let mut attempt = 0;
    loop {
        let compacted = home.span().compacted;
        let listing = home.list(&Scope::all(), Some(compacted)).await;
        let read = listing.and_then(|listing| Ok((home.watch(Scope::all(), listing.revision)?, listing)));
        match read {
            Ok((watch, listing)) => return Ok((listing, watch)),
            Err(StoreError::Compacted { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn index(listing: Listing) -> Objects {
    listing.objects.into_iter().map(|object| (Arc::clone(&object.key), object)).collect()
}

fn select(objects: &Objects, scope: &Scope) -> Vec<Object> {
    let from = scope.first();
    objects
        .range::<ObjectKey, _>((Bound::Included(&from), Bound::Unbounded))
        .take_while(|(key, _)| !scope.ends_before(key))
        .filter(|(key, _)| scope.holds(key))
        .map(|(_, object)| object.clone())
        .collect()
}

/// How long the cache waits before it tries to read its store again.
const RETRY: Duration = Duration::from_millis(200);

/// How often a start is tried while the store forgets history under it.
const ATTEMPTS: usize = 10;
