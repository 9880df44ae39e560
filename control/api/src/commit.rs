//! The last step of a write: the server joins in the decision, then the transaction happens, or a dry run does as if.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use store::{Action, Change, Object, Store, StoreError, Transaction, Written};

use crate::access::Verb;
use crate::admission::{Objection, Proposal};
use crate::prepare::invalid;
use crate::server::{Api, Request};
use crate::status::{Reason, Refusal};
use crate::trail;
use crate::view::{at_revision, present};

/// What came of trying to write.
pub(crate) enum Outcome {
    /// The object of the first change, as clients see it.
    Written(Value),
    /// The object is not as expected.
    Taken,
    /// Something else is not as expected.
    Again(StoreError),
}

/// Lets the server join in the decision, then writes, or does as if for a dry run. The first change is the object's own.
pub(crate) async fn commit(
    api: &Api,
    request: &Request,
    old: Option<&Object>,
    mut changes: Vec<Change>,
) -> Result<Outcome, Refusal> {
    let own = changes[0].clone();
    let written = match &own.action {
        Action::Put(document) => Some(&**document),
        Action::Delete | Action::Keep => None,
    };
    let deletes = matches!(request.verb, Verb::Delete | Verb::DeleteCollection);
    let proposal = Proposal {
        who: &request.who,
        verb: request.verb,
        kind: request.objects.kind,
        key: &own.key,
        old: old.map(|object| &*object.value),
        new: written.filter(|_| !deletes),
    };
    let more = api.admission.judge(&proposal, &api.store).map_err(|objection| match objection {
        Objection::Invalid(problems) => invalid(request, &own.key, &problems),
        Objection::Forbidden(message) => {
            request.refuse(Reason::Forbidden, own.key.name(), &format!("is forbidden: {message}"))
        }
    })?;
    for more in more {
        let named = changes.iter().any(|change| change.key == more.key);
        if !(named && matches!(more.action, Action::Keep)) {
            changes.push(more);
        }
    }
    if request.options.dry_run {
        return Ok(Outcome::Written(written.map_or(Value::Null, |document| match old {
            Some(old) => at_revision(document, old.revision),
            None => document.clone(),
        })));
    }
    match api.store.write(Transaction { changes }).await {
        Ok(Written { revision, objects }) => {
            let object = objects.into_iter().next().flatten();
            request.trail.wrote(trail::Written {
                key: own.key,
                before: old.map(|old| Arc::clone(&old.value)),
                after: object.as_ref().map(present),
            });
            Ok(Outcome::Written(
                object.map_or(json!({ "metadata": { "resourceVersion": revision.to_string() } }), |o| {
                    present(&o)
                }),
            ))
        }
        Err(StoreError::Conflict { key, found, expected }) => {
            catch_up(api, found).await;
            let error = StoreError::Conflict { key: key.clone(), found, expected };
            Ok(if *key == own.key { Outcome::Taken } else { Outcome::Again(error) })
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits until reads show what a conflict was with, so that the next attempt is judged by it.
async fn catch_up(api: &Api, found: Option<u64>) {
    match found {
        Some(revision) => {
            api.store.reach(revision, PATIENCE).await;
        }
        None => tokio::time::sleep(PAUSE).await,
    }
}

/// How long a write waits to see what it conflicted with.
const PATIENCE: Duration = Duration::from_secs(2);

/// The same, where the other deleted the object.
const PAUSE: Duration = Duration::from_millis(5);
