//! Create, update and patch.
//!
//! Promises: of two writers who hold the same `resourceVersion` one wins and the other gets 409; who names none is never
//! refused for another's write, but judged again; a write that changes nothing is no revision.

use axum::http::StatusCode;
use intent::Kind;
use serde_json::Value;
use store::{Action, Change, Expect, Object, ObjectKey};

use crate::access::Verb;
use crate::commit::{Outcome, commit};
use crate::document;
use crate::merge::PatchType;
use crate::parent::{self, Parent};
use crate::prepare::{self, text};
use crate::server::{Answer, Api, Request};
use crate::status::{Reason, Refusal};
use crate::view::{at_revision, present};

/// Makes an object. Errors: 400, 403, 404 (no such namespace), 409, 413, 415, 422, 503.
pub(crate) async fn create(api: &Api, request: &Request) -> Result<Answer, Refusal> {
    let body = document::parse(&request.headers, &request.body)?;
    let mut attempt = 0;
    loop {
        let mut document = body.value.clone();
        prepare::identify(request, &mut document, None)?;
        let generated = prepare::name_it(&mut document)?;
        let admitted = prepare::new_object(request, document, &body.repeated)?;
        let name = text(&admitted.document["metadata"]["name"]);
        let key = request.key(&name);
        let mut changes = vec![change(&key, Expect::Absent, Action::Put(admitted.document.into()))];
        changes.extend(parent::expectations(&api.store, &key)?);
        if request.objects.kind == Kind::Tenant {
            changes.extend(parent::default_namespace(&api.store, &name));
        }
        let taken = || request.refuse(Reason::AlreadyExists, &name, "already exists");
        let outcome = match api.store.find(&key) {
            Some(_) => Outcome::Taken,
            None => commit(api, request, None, changes).await?,
        };
        match outcome {
            Outcome::Written(object) => {
                let shown = request.form.one(request.objects.kind, object);
                return Ok(Answer { code: StatusCode::CREATED, body: shown, warnings: admitted.warnings });
            }
            Outcome::Taken if !generated || attempt >= ATTEMPTS => return Err(taken()),
            Outcome::Again(error) if attempt >= ATTEMPTS => return Err(error.into()),
            Outcome::Taken | Outcome::Again(_) => attempt += 1,
        }
    }
}

/// Replaces an object, or changes it in part; or its status alone. Errors: 400, 403, 404, 409, 413, 415, 422, 503.
pub(crate) async fn update(api: &Api, request: &Request, name: &str) -> Result<Answer, Refusal> {
    let incoming = Incoming::read(request)?;
    let key = request.key(name);
    let _turn = api.turn(&key).await;
    let mut attempt = 0;
    loop {
        let current = api.store.find(&key).ok_or_else(|| request.not_found(name))?;
        let mut document = incoming.document(&current)?;
        prepare::identify(request, &mut document, Some(name))?;
        check_preconditions(request, &document, &current)?;
        let pinned = incoming.is_pinned();
        let admitted = prepare::changed_object(request, document, incoming.repeated(), &current)?;
        let answer = |object: Value| {
            let body = request.form.one(request.objects.kind, object);
            Answer { code: StatusCode::OK, body, warnings: admitted.warnings.clone() }
        };
        if admitted.document == *current.value {
            return Ok(answer(present(&current)));
        }
        let ends = parent::is_ending(&admitted.document)
            && !parent::is_held(&admitted.document)
            && Parent::itself(&key).is_none();
        let document = at_revision(&admitted.document, current.revision);
        let action = if ends { Action::Delete } else { Action::Put(admitted.document.clone().into()) };
        let changes = vec![change(&key, Expect::Revision(current.revision), action)];
        match commit(api, request, Some(&current), changes).await? {
            Outcome::Written(_) if ends => return Ok(answer(document)),
            Outcome::Written(object) => return Ok(answer(object)),
            Outcome::Taken if pinned || attempt >= ATTEMPTS => return Err(conflict(request, name)),
            Outcome::Again(error) if attempt >= ATTEMPTS => return Err(error.into()),
            Outcome::Taken | Outcome::Again(_) => attempt += 1,
        }
    }
}

/// What a client wants an object to become.
enum Incoming {
    Whole(document::Document),
    Patch(PatchType, document::Document),
}

impl Incoming {
    fn read(request: &Request) -> Result<Self, Refusal> {
        if request.verb == Verb::Update {
            return Ok(Self::Whole(document::parse(&request.headers, &request.body)?));
        }
        let patch = PatchType::of(&document::media_type(&request.headers)?)?;
        let body = document::parse_json(&request.body)?;
        document::bounded(&body.value)?;
        Ok(Self::Patch(patch, body))
    }

    fn document(&self, current: &Object) -> Result<Value, Refusal> {
        match self {
            Self::Whole(document) => Ok(document.value.clone()),
            Self::Patch(patch, document) => patch.apply(&present(current), &document.value),
        }
    }

    fn repeated(&self) -> &[String] {
        match self {
            Self::Whole(document) | Self::Patch(_, document) => &document.repeated,
        }
    }

    /// Whether the client says which revision it means, so that another's write is a conflict.
    fn is_pinned(&self) -> bool {
        match self {
            Self::Whole(document) | Self::Patch(PatchType::Merge | PatchType::Strategic, document) => {
                document.value["metadata"]["resourceVersion"]
                    .as_str()
                    .is_some_and(|version| !version.is_empty())
            }
            Self::Patch(PatchType::Json, document) => {
                let operations = document.value.as_array().into_iter().flatten();
                operations
                    .filter_map(|operation| operation["path"].as_str())
                    .any(|path| path == "/metadata/resourceVersion")
            }
        }
    }
}

/// Refuses a write that means another object, or another revision of it, than there is.
fn check_preconditions(request: &Request, document: &Value, current: &Object) -> Result<(), Refusal> {
    let name = current.key.name();
    let given =
        |field: &str| document["metadata"][field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    if given("resourceVersion").is_some_and(|version| version != current.revision.to_string()) {
        return Err(conflict(request, name));
    }
    let uid = text(&current.value["metadata"]["uid"]);
    if let Some(other) = given("uid").filter(|given| *given != uid && !request.objects.status) {
        let what = format!(
            "cannot be changed: Precondition failed: UID in the request: {other}, UID of the object: {uid}"
        );
        return Err(request.refuse(Reason::Conflict, name, &what));
    }
    Ok(())
}

fn conflict(request: &Request, name: &str) -> Refusal {
    let what = "cannot be changed: the object has been modified; please apply your changes to the latest version and try again";
    request.refuse(Reason::Conflict, name, what)
}

fn change(key: &ObjectKey, expect: Expect, action: Action) -> Change {
    Change { key: key.clone(), expect, action }
}

/// How often a write is judged again when others write at the same time.
const ATTEMPTS: usize = 20;
