//! Finishes the deletion of namespaces and tenants: their content goes first, then they go.
//!
//! Promises: a deletion that was answered is finished, also after a restart; content with finalizers is marked and waited for,
//! and so are attachments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use intent::Kind;
use store::{Action, Cached, Change, Event, Expect, Object, Scope, Store, StoreError, Transaction};

use crate::ending::{Propagation, ending, release};
use crate::parent::{Parent, is_ending, is_held};

/// Follows the store until it is closed.
pub(crate) async fn follow(store: Arc<Cached>) {
    loop {
        let (listing, mut watch) = store.subscribe(Scope::all());
        let mut ending: BTreeSet<Parent> = listing.objects.iter().filter_map(ending_parent).collect();
        let end = loop {
            let unfinished = finish(&store, std::mem::take(&mut ending)).await;
            let news = if unfinished.is_empty() {
                watch.next().await.map(Some)
            } else {
                // What failed is tried again, news or not.
                tokio::time::timeout(RETRY, watch.next()).await.ok().transpose()
            };
            ending = unfinished;
            match news {
                Ok(batch) => ending.extend(
                    batch.iter().flat_map(|batch| &batch.events).flat_map(|event| concerned(&store, event)),
                ),
                Err(error) => break error,
            }
        };
        if matches!(end, StoreError::Closed) {
            return;
        }
        tracing::info!(error = %end, "looking for unfinished deletions anew");
    }
}

/// Deletes as much as can be; returns those that have to be looked at again without being told.
async fn finish(store: &Cached, parents: BTreeSet<Parent>) -> BTreeSet<Parent> {
    let mut unfinished = BTreeSet::new();
    for parent in parents {
        if let Err(error) = empty(store, &parent).await {
            tracing::warn!(parent = %parent.key, %error, "cannot finish a deletion yet");
            unfinished.insert(parent);
        }
    }
    unfinished
}

async fn empty(store: &Cached, parent: &Parent) -> Result<(), StoreError> {
    let all = store.objects(&parent.content()).objects;
    let content: Vec<_> = all.iter().filter_map(|object| Some((object, kind_of(object)?))).collect();
    let waits = content.iter().any(|(object, kind)| !kind.descriptor().writable || is_held(&object.value));
    let changes: Vec<_> = content.iter().filter_map(|(object, kind)| removal(object, *kind)).collect();
    for some in changes.chunks(TOGETHER) {
        store.write(Transaction { changes: some.to_vec() }).await?;
    }
    let itself = store.find(&parent.key).filter(|object| is_ending(&object.value) && !is_held(&object.value));
    if let (false, Some(object)) = (waits, itself) {
        store.write(Transaction::delete(parent.key.clone(), Expect::Revision(object.revision))).await?;
    }
    Ok(())
}

/// The kind of an object; `None`: it is no object of the API but the server's own record, which is the server's to end.
pub(crate) fn kind_of(object: &Object) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.descriptor().resource() == object.key.resource())
}

/// What is done with an object in a namespace or tenant that goes. What the fabric writes (attachments) stays until the
/// fabric takes it away, or a container would be left without its policies.
fn removal(object: &Object, kind: Kind) -> Option<Change> {
    if !kind.descriptor().writable {
        return None;
    }
    let mut rest = (*object.value).clone();
    for own in [Propagation::Foreground, Propagation::Orphan] {
        release(&mut rest, own);
    }
    let action = match is_held(&rest) {
        true => ending(&object.key, &object.value, Some(Propagation::Background))?,
        // A namespace too, in a tenant that goes: its content is the tenant's.
        false => Action::Delete,
    };
    Some(Change { key: (*object.key).clone(), expect: Expect::Revision(object.revision), action })
}

/// The namespaces and tenants under deletion that an event may let go.
fn concerned(store: &Cached, event: &Event) -> Vec<Parent> {
    let around = Parent::all_of(&event.key)
        .filter(|parent| store.find(&parent.key).is_some_and(|object| is_ending(&object.value)));
    around.chain(event.object.as_ref().and_then(ending_parent)).collect()
}

fn ending_parent(object: &Object) -> Option<Parent> {
    Parent::itself(&object.key).filter(|_| is_ending(&object.value))
}

/// Objects removed in one transaction.
const TOGETHER: usize = 256;

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_millis(500);
