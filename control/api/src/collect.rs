//! Deletes what was owned: objects whose owners are all gone (meta.k8s.io/v1 `ownerReferences`).
//!
//! ```text
//!     store's events -> Dependents (who names whom) -> keys to look at -> one transaction for each object
//! ```
//!
//! Promises: an object goes only if each owner that it names is gone, or goes in the foreground, in the same transaction that
//! deletes it, so no owner that comes back in between loses a dependent; a reference that leads nowhere keeps its object; what
//! was not finished is finished after a restart; what admission refuses to delete stays and is asked about again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use intent::Kind;
use store::{
    Action, Cached, Change, Event, Expect, Listing, Object, ObjectKey, Scope, Store, StoreError, Transaction,
};
use tokio::time::{Instant, timeout_at};

use crate::access::Verb;
use crate::admission::{Admission, Objection, Proposal};
use crate::ending::{Propagation, ending, release};
use crate::owner::{Reference, disown, references, unblock};
use crate::parent::{Parent, is_ending, is_held, is_lasting};
use crate::reap::kind_of;
use crate::who::Who;

/// Follows the store until it is closed.
pub(crate) async fn follow(store: Arc<Cached>, admission: Arc<dyn Admission>) {
    loop {
        let (listing, mut watch) = store.subscribe(Scope::all());
        let mut dependents = Dependents::of(&listing);
        let mut waiting: Keys =
            listing.objects.iter().filter(|o| concerns(o)).map(|o| Arc::clone(&o.key)).collect();
        let mut failed = Keys::new();
        let mut again: Option<Instant> = None;
        let end = loop {
            let collector = Collector { store: &store, admission: &*admission, dependents: &dependents };
            failed.extend(collector.collect(std::mem::take(&mut waiting)).await);
            // What failed is tried again, news or not, but not with all news.
            let news = match again.or_else(|| (!failed.is_empty()).then(|| Instant::now() + RETRY)) {
                None => watch.next().await.map(Some),
                Some(at) => {
                    let news = timeout_at(at, watch.next()).await.ok().transpose();
                    again = Some(at).filter(|at| *at > Instant::now());
                    if again.is_none() {
                        waiting.append(&mut failed);
                    }
                    news
                }
            };
            match news {
                Ok(batch) => {
                    for event in batch.iter().flat_map(|batch| &batch.events) {
                        dependents.learn(event);
                        waiting.extend(dependents.concerned(event, &store));
                    }
                }
                Err(error) => break error,
            }
        };
        if matches!(end, StoreError::Closed) {
            return;
        }
        tracing::info!(error = %end, "looking for objects without owners anew");
    }
}

type Keys = BTreeSet<Arc<ObjectKey>>;

/// Which objects name an object as their owner, by where the owner would be.
#[derive(Debug, Default)]
struct Dependents(BTreeMap<ObjectKey, Keys>);

impl Dependents {
    fn of(listing: &Listing) -> Self {
        let mut dependents = Self::default();
        for object in &listing.objects {
            dependents.add(object);
        }
        dependents
    }

    fn learn(&mut self, event: &Event) {
        for owner in event.previous.iter().flat_map(owners) {
            if let Some(keys) = self.0.get_mut(&owner) {
                keys.remove(&event.key);
                if keys.is_empty() {
                    self.0.remove(&owner);
                }
            }
        }
        event.object.iter().for_each(|object| self.add(object));
    }

    fn add(&mut self, object: &Object) {
        for owner in owners(object) {
            self.0.entry(owner).or_default().insert(Arc::clone(&object.key));
        }
    }

    fn on(&self, owner: &ObjectKey) -> impl Iterator<Item = &Arc<ObjectKey>> {
        self.0.get(owner).into_iter().flatten()
    }

    /// What has to be looked at after an event: the object, those that it owned, and owners that wait for it.
    fn concerned(&self, event: &Event, store: &Cached) -> Keys {
        let itself = event.object.as_ref().filter(|object| concerns(object)).map(|object| &object.key);
        let uid =
            |object: &Option<Object>| object.as_ref().map(|object| object.value["metadata"]["uid"].clone());
        let ends = event.object.as_ref().is_none_or(|object| is_ending(&object.value));
        let owned = (ends || uid(&event.previous) != uid(&event.object)).then(|| self.on(&event.key));
        let named = [&event.previous, &event.object].into_iter().flatten().flat_map(owners);
        let owners = named.filter_map(|owner| store.find(&owner)).filter(|owner| is_ending(&owner.value));
        let known = itself.into_iter().chain(owned.into_iter().flatten()).map(Arc::clone);
        known.chain(owners.map(|owner| owner.key)).collect()
    }
}

fn owners(object: &Object) -> impl Iterator<Item = ObjectKey> {
    references(&object.key, &object.value).into_iter().filter_map(|reference| reference.key)
}

/// Whether there may be something to do about an object by itself.
fn concerns(object: &Object) -> bool {
    !object.value["metadata"]["ownerReferences"].is_null() || under_way(object).is_some()
}

/// What its own deletion means for its dependents, if they hold it.
fn under_way(object: &Object) -> Option<Propagation> {
    let noted = Propagation::of(&object.value);
    (is_ending(&object.value) && noted.finalizer().is_some()).then_some(noted)
}

/// Why an object is not finished.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("admission refuses: {0}")]
    Refused(String),
}

/// One look at the objects that are concerned.
struct Collector<'a> {
    store: &'a Cached,
    admission: &'a dyn Admission,
    dependents: &'a Dependents,
}

/// What is left of an owner.
enum Owner {
    There,
    /// It waits for its dependents to go first.
    Waits,
    Gone,
}

impl Collector<'_> {
    /// Does what can be done; returns those that have to be looked at again without being told.
    async fn collect(&self, keys: Keys) -> Keys {
        let looks = keys.into_iter().map(|key| async {
            let outcome = self.look(&key).await;
            (key, outcome)
        });
        let outcomes: Vec<_> = stream::iter(looks).buffer_unordered(TOGETHER).collect().await;
        let unfinished = outcomes.into_iter().filter_map(|(key, outcome)| {
            let fault = outcome.err()?;
            match &fault {
                // Somebody was quicker: a fresh look tells what is left to do.
                Fault::Store(StoreError::Conflict { .. }) | Fault::Refused(_) => {
                    tracing::debug!(object = %key, %fault, "cannot collect an object yet");
                }
                Fault::Store(_) => tracing::warn!(object = %key, %fault, "cannot collect an object yet"),
            }
            Some(key)
        });
        unfinished.collect()
    }

    async fn look(&self, key: &ObjectKey) -> Result<(), Fault> {
        let Some(object) = self.store.find(key) else { return Ok(()) };
        match under_way(&object) {
            Some(Propagation::Orphan) => self.orphan(&object).await,
            Some(Propagation::Foreground) if self.blocking(&object).next().is_none() => {
                self.finish(&object, Propagation::Foreground).await
            }
            Some(_) => Ok(()),
            None if is_ending(&object.value) => Ok(()),
            None => self.follow_owners(&object).await,
        }
    }

    /// Deletes an object that lost its last owner; takes away references to lost owners while another is there.
    async fn follow_owners(&self, object: &Object) -> Result<(), Fault> {
        let named = references(&object.key, &object.value);
        let Some(kind) = kind_of(object).filter(|kind| kind.descriptor().writable) else { return Ok(()) };
        if named.is_empty() || is_lasting(kind, object.key.name()) {
            return Ok(());
        }
        let Some(found) = named.iter().map(|reference| self.owner(reference)).collect::<Option<Vec<_>>>()
        else {
            return Ok(());
        };
        let lost: Vec<_> =
            named.iter().zip(&found).filter(|(_, (owner, _))| !matches!(owner, Owner::There)).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let mut more: Vec<_> = lost.iter().map(|(_, (_, expectation))| expectation.clone()).collect();
        let mut document = (*object.value).clone();
        let action = if lost.len() < named.len() {
            disown(
                &mut document,
                &lost.iter().map(|(reference, _)| reference.uid.as_str()).collect::<Vec<_>>(),
            );
            Action::Put(document.into())
        } else {
            let waits = found.iter().any(|(owner, _)| matches!(owner, Owner::Waits));
            let owned: Vec<_> = self.owned(object).collect();
            if waits && owned.iter().any(|(owned, _)| under_way(owned) == Some(Propagation::Foreground)) {
                unblock(&mut document);
            }
            let asked = (waits && !owned.is_empty()).then_some(Propagation::Foreground);
            let Some(action) = ending(&object.key, &document, asked) else { return Ok(()) };
            more.extend(self.admit(object, kind)?);
            action
        };
        self.write(change(object, action), more).await
    }

    /// What is left of an owner, and the expectation that it stays so; `None`: the reference leads nowhere.
    fn owner(&self, reference: &Reference) -> Option<(Owner, Change)> {
        let key = reference.key.clone()?;
        let found = self.store.find(&key);
        let expect = found.as_ref().map_or(Expect::Absent, |found| Expect::Revision(found.revision));
        let same = found.filter(|found| found.value["metadata"]["uid"] == reference.uid.as_str());
        let owner = match same {
            None => Owner::Gone,
            Some(found) if under_way(&found) == Some(Propagation::Foreground) => Owner::Waits,
            Some(_) => Owner::There,
        };
        Some((owner, Change { key, expect, action: Action::Keep }))
    }

    /// Takes the owner out of every dependent, then lets it go.
    async fn orphan(&self, owner: &Object) -> Result<(), Fault> {
        let uid = owner.value["metadata"]["uid"].as_str().unwrap_or_default();
        let owned: Vec<_> = self.owned(owner).map(|(object, _)| object).collect();
        for some in owned.chunks(TOGETHER) {
            let disowned = some.iter().map(|object| {
                let mut document = (*object.value).clone();
                disown(&mut document, &[uid]);
                change(object, Action::Put(document.into()))
            });
            self.store.write(Transaction { changes: disowned.collect() }).await?;
        }
        self.finish(owner, Propagation::Orphan).await
    }

    /// Takes the server's finalizer away, and the object too if nothing else holds it.
    async fn finish(&self, owner: &Object, propagation: Propagation) -> Result<(), Fault> {
        let mut document = (*owner.value).clone();
        release(&mut document, propagation);
        let stays = is_held(&document) || Parent::itself(&owner.key).is_some();
        let action = if stays { Action::Put(document.into()) } else { Action::Delete };
        let more = match kind_of(owner).filter(|_| !stays) {
            Some(kind) => self.admit(owner, kind)?,
            None => Vec::new(),
        };
        self.write(change(owner, action), more).await
    }

    /// One change with what must happen beside it. What is named twice happens once.
    async fn write(&self, own: Change, more: Vec<Change>) -> Result<(), Fault> {
        let mut changes = vec![own];
        for more in more {
            if changes.iter().all(|change| change.key != more.key) {
                changes.push(more);
            }
        }
        self.store.write(Transaction { changes }).await?;
        Ok(())
    }

    /// The dependents that an owner under deletion waits for: not those that in turn wait for the owner.
    fn blocking(&self, owner: &Object) -> impl Iterator<Item = Object> {
        self.blocked(owner).filter(|object| !self.waits_for(object, owner))
    }

    fn blocked(&self, owner: &Object) -> impl Iterator<Item = Object> {
        self.owned(owner).filter(|(_, reference)| reference.blocks).map(|(object, _)| object)
    }

    /// Whether an object cannot go before `other`, because of objects that block each other's deletion.
    fn waits_for(&self, object: &Object, other: &Object) -> bool {
        let mut seen = Keys::new();
        let mut next = vec![object.clone()];
        while let Some(object) = next.pop() {
            if object.key == other.key {
                return true;
            }
            if under_way(&object) == Some(Propagation::Foreground) && seen.insert(Arc::clone(&object.key)) {
                next.extend(self.blocked(&object));
            }
        }
        false
    }

    /// The objects that name this one, and no earlier one of its name, as owner, with the reference.
    fn owned(&self, owner: &Object) -> impl Iterator<Item = (Object, Reference)> {
        let is_this = move |reference: &Reference| {
            reference.key.as_ref() == Some(&*owner.key)
                && owner.value["metadata"]["uid"] == reference.uid.as_str()
        };
        self.dependents.on(&owner.key).filter_map(move |key| {
            let object = self.store.find(key)?;
            let reference = references(key, &object.value).into_iter().find(is_this)?;
            Some((object, reference))
        })
    }

    /// What admission wants to happen with a deletion. Errors: its objection.
    fn admit(&self, object: &Object, kind: Kind) -> Result<Vec<Change>, Fault> {
        let proposal = Proposal {
            who: &Who::local(0),
            verb: Verb::Delete,
            kind,
            key: &object.key,
            old: Some(&object.value),
            new: None,
        };
        match self.admission.judge(&proposal, self.store) {
            Ok(more) => Ok(more),
            Err(Objection::Forbidden(message)) => Err(Fault::Refused(message)),
            Err(Objection::Invalid(problems)) => {
                Err(Fault::Refused(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
            }
        }
    }
}

fn change(object: &Object, action: Action) -> Change {
    Change { key: (*object.key).clone(), expect: Expect::Revision(object.revision), action }
}

/// Objects looked at, and disowned, together.
const TOGETHER: usize = 128;

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_millis(500);
