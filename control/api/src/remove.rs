//! Delete: one object, or all that are selected.
//!
//! An object with finalizers, a namespace and a tenant are marked and stay until their finalizers and content are gone. What
//! becomes of an object's dependents is the client's choice, `propagationPolicy`; `collect` carries it out.

use axum::http::StatusCode;
use intent::Problem;
use intent::problem::Fault;
use serde_json::{Value, json};
use store::{Action, Change, Expect, Object};

use crate::commit::{Outcome, commit};
use crate::document;
use crate::ending::{Propagation, ending};
use crate::parent;
use crate::read::selects;
use crate::server::{Answer, Api, Request};
use crate::status::{Reason, Refusal};
use crate::view::present;

/// The part of `DeleteOptions` (meta.k8s.io/v1) that means something here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Conditions {
    uid: Option<String>,
    revision: Option<String>,
    propagation: Option<Propagation>,
    dry_run: bool,
}

/// Deletes an object. Errors: 400, 403, 404, 409, 413, 415, 422, 503.
pub(crate) async fn delete(api: &Api, request: &Request, name: &str) -> Result<Answer, Refusal> {
    let conditions = Conditions::read(request)?;
    let mut request = request.clone();
    request.options.dry_run |= conditions.dry_run;
    delete_on(api, &request, name, &conditions).await
}

/// Deletes every object that is selected, one by one. Errors: those of [`delete`]; those before stay deleted.
pub(crate) async fn delete_all(api: &Api, request: &Request) -> Result<Answer, Refusal> {
    let conditions = Conditions::read(request)?;
    let listing = api.store.objects(&request.objects.scope());
    let selected: Vec<_> =
        listing.objects.into_iter().filter(|object| selects(&request.options, object)).collect();
    let mut one = request.clone();
    one.options.dry_run |= conditions.dry_run;
    for object in &selected {
        one.objects.namespace = object.key.namespace().map(str::to_owned);
        match delete_on(api, &one, object.key.name(), &conditions).await {
            Err(refusal) if refusal.reason() != Reason::NotFound => return Err(refusal),
            Ok(_) | Err(_) => {}
        }
    }
    let meta = crate::view::ListMeta { revision: api.store.revision(), ..Default::default() };
    Ok(Answer::ok(request.form.many(request.objects.kind, selected.iter().map(present).collect(), &meta)))
}

async fn delete_on(
    api: &Api,
    request: &Request,
    name: &str,
    conditions: &Conditions,
) -> Result<Answer, Refusal> {
    let key = request.key(name);
    let _turn = api.turn(&key).await;
    let mut attempt = 0;
    loop {
        let current = api.store.find(&key).ok_or_else(|| request.not_found(name))?;
        conditions.check(request, &current)?;
        match delete_once(api, request, &current, conditions.propagation).await? {
            Outcome::Written(shown) => return Ok(answer(request, &current, shown)),
            Outcome::Taken | Outcome::Again(_) if attempt < ATTEMPTS => attempt += 1,
            Outcome::Again(error) => return Err(error.into()),
            Outcome::Taken => {
                return Err(request.refuse(Reason::Conflict, name, "cannot be deleted: it keeps changing"));
            }
        }
    }
}

/// [`Outcome::Written`] with `null`: the object is gone; with an object: it is marked and stays.
async fn delete_once(
    api: &Api,
    request: &Request,
    current: &Object,
    propagation: Option<Propagation>,
) -> Result<Outcome, Refusal> {
    let key = &*current.key;
    if parent::is_lasting(request.objects.kind, key.name()) {
        return Err(request.refuse(Reason::Forbidden, key.name(), "is forbidden: it may not be deleted"));
    }
    let Some(action) = ending(key, &current.value, propagation) else {
        return Ok(Outcome::Written(present(current)));
    };
    let goes = matches!(action, Action::Delete);
    let change = Change { key: key.clone(), expect: Expect::Revision(current.revision), action };
    match commit(api, request, Some(current), vec![change]).await? {
        Outcome::Written(_) if goes => Ok(Outcome::Written(Value::Null)),
        outcome => Ok(outcome),
    }
}

fn answer(request: &Request, current: &Object, shown: Value) -> Answer {
    if !shown.is_null() {
        return Answer {
            code: StatusCode::OK,
            body: request.form.one(request.objects.kind, shown),
            warnings: Vec::new(),
        };
    }
    let known = request.objects.kind.descriptor();
    let mut details =
        json!({ "name": current.key.name(), "kind": known.plural, "uid": current.value["metadata"]["uid"] });
    if !known.group.is_empty() {
        details["group"] = json!(known.group);
    }
    Answer::ok(
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details }),
    )
}

impl Conditions {
    fn read(request: &Request) -> Result<Self, Refusal> {
        if request.body.is_empty() {
            let options = &request.options;
            let propagation = propagation(options.propagation.as_deref(), options.orphan)?;
            return Ok(Self { propagation, ..Self::default() });
        }
        let options = document::parse(&request.headers, &request.body)?.value;
        let said = options.get("kind").and_then(Value::as_str);
        if !options.is_object() || said.is_some_and(|kind| kind != "DeleteOptions") {
            return Err(Refusal::bad_request("the body of a delete is no DeleteOptions"));
        }
        let text = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
        let dry_run = match options.get("dryRun") {
            None | Some(Value::Null) => false,
            Some(Value::Array(stages)) if stages.iter().all(|stage| stage == "All") => !stages.is_empty(),
            Some(other) => return Err(Refusal::bad_request(format!("dryRun {other} is not [\"All\"]"))),
        };
        let propagation =
            propagation(options["propagationPolicy"].as_str(), options["orphanDependents"].as_bool())?;
        Ok(Self { uid: text("uid"), revision: text("resourceVersion"), propagation, dry_run })
    }

    fn check(&self, request: &Request, current: &Object) -> Result<(), Refusal> {
        let uid = current.value["metadata"]["uid"].as_str().unwrap_or_default();
        let revision = current.revision.to_string();
        let wrong = |field: &str, wanted: &str, found: &str| {
            let what = format!(
                "cannot be deleted: Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {found}"
            );
            Err(request.refuse(Reason::Conflict, current.key.name(), &what))
        };
        if let Some(wanted) = self.uid.as_ref().filter(|wanted| *wanted != uid) {
            return wrong("UID", wanted, uid);
        }
        match self.revision.as_ref().filter(|wanted| **wanted != revision) {
            Some(wanted) => wrong("ResourceVersion", wanted, &revision),
            None => Ok(()),
        }
    }
}

/// What a deletion says of dependents, in the new form or in the old one, `orphanDependents`. Errors: 422.
fn propagation(policy: Option<&str>, orphan: Option<bool>) -> Result<Option<Propagation>, Refusal> {
    let wrong = |fault, reason: &str, remedy: &str| {
        let value = Value::from(policy);
        let problem = Problem::new("propagationPolicy", &value, fault, reason, remedy);
        Err(Refusal::invalid("DeleteOptions", "meta.k8s.io", "", &[problem]))
    };
    match (policy, orphan) {
        (Some(_), Some(_)) => {
            wrong(Fault::Forbidden, "is given beside orphanDependents", "give propagationPolicy alone")
        }
        (Some(word), None) => match Propagation::parse(word) {
            None => wrong(Fault::NotSupported, "is not known", "use Background, Foreground or Orphan"),
            known => Ok(known),
        },
        (None, Some(true)) => Ok(Some(Propagation::Orphan)),
        (None, Some(false)) => Ok(Some(Propagation::Background)),
        (None, None) => Ok(None),
    }
}

/// How often a deletion is tried while others change the object.
const ATTEMPTS: usize = 20;
