//! Create, update and patch.
//!
//! Promises: of two writers who hold the same `resourceVersion` one wins and the other gets 409; who names none is never
//! refused for another's write, but judged again; a write that changes nothing is no revision.

use std::time::Duration;

use axum::http::StatusCode;
use intent::problem::Fault;
use intent::{Kind, Problem, UnknownFields};
use serde_json::{Map, Value, json};
use store::{Action, Change, Expect, Object, ObjectKey, Store, StoreError, Transaction, Written};

use crate::access::Verb;
use crate::admission::{Objection, Proposal};
use crate::document;
use crate::merge::PatchType;
use crate::parent::{self, Parent};
use crate::query::Validation;
use crate::server::{Answer, Api, Request};
use crate::status::{Reason, Refusal};
use crate::view::{at_revision, present};

/// Makes an object. Errors: 400, 403, 404 (no such namespace), 409, 413, 415, 422, 503.
pub(crate) async fn create(api: &Api, request: &Request) -> Result<Answer, Refusal> {
    let body = document::parse(&request.headers, &request.body)?;
    let mut attempt = 0;
    loop {
        let mut document = body.value.clone();
        identify(request, &mut document, None)?;
        let generated = name(&mut document)?;
        let admitted = prepare_new(request, document, &body.repeated)?;
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
        identify(request, &mut document, Some(name))?;
        check_preconditions(request, &document, &current)?;
        let pinned = incoming.is_pinned();
        let admitted = prepare_update(request, document, incoming.repeated(), &current)?;
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

/// A document that intent has admitted, with the warnings for the client.
struct Ready {
    document: Value,
    warnings: Vec<String>,
}

fn prepare_new(request: &Request, mut document: Value, repeated: &[String]) -> Result<Ready, Refusal> {
    let fields = document.as_object_mut().expect("identified documents are objects");
    fields.remove("status");
    if request.objects.kind == Kind::Namespace {
        fields.insert("status".to_owned(), json!({ "phase": "Active" }));
    }
    let metadata = metadata(fields);
    for server_owned in
        ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"]
    {
        metadata.remove(server_owned);
    }
    parent::stamp(&mut document);
    let (admitted, warnings) = admit(request, document, repeated)?;
    Ok(Ready { document: admitted.document, warnings })
}

fn prepare_update(
    request: &Request,
    mut document: Value,
    repeated: &[String],
    current: &Object,
) -> Result<Ready, Refusal> {
    let old = &*current.value;
    if request.objects.status {
        let status = document.get("status").cloned();
        document = old.clone();
        put(document.as_object_mut().expect("stored documents are objects"), "status", status.as_ref());
    } else {
        let fields = document.as_object_mut().expect("identified documents are objects");
        put(fields, "status", old.get("status"));
        let metadata = metadata(fields);
        for server_owned in
            ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
        {
            put(metadata, server_owned, old["metadata"].get(server_owned));
        }
    }
    for gone in ["resourceVersion", "managedFields", "selfLink"] {
        metadata(document.as_object_mut().expect("objects stay objects")).remove(gone);
    }
    refuse_new_finalizers(request, old, &document)?;
    let (mut admitted, warnings) = admit(request, document, repeated)?;
    let kind = request.objects.kind;
    if let Ok(before) = intent::parse(kind, old) {
        intent::check_update(&before, &admitted.parsed)
            .map_err(|problems| invalid(request, &current.key, &problems))?;
    }
    if differs_in_intent(old, &admitted.document) {
        let generation = old["metadata"]["generation"].as_u64().unwrap_or_default() + 1;
        admitted.document["metadata"]["generation"] = json!(generation);
    }
    Ok(Ready { document: admitted.document, warnings })
}

/// Whether anything but metadata and status differs: what `generation` counts.
fn differs_in_intent(old: &Value, new: &Value) -> bool {
    let intent = |document: &Value| -> Map<String, Value> {
        let fields = document.as_object().into_iter().flatten();
        let fields = fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"));
        fields.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    intent(old) != intent(new)
}

/// Nobody can be asked to agree to a deletion that is under way.
fn refuse_new_finalizers(request: &Request, old: &Value, new: &Value) -> Result<(), Refusal> {
    let list = |document: &Value| document["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let held = list(old);
    if !parent::is_ending(old) || list(new).iter().all(|finalizer| held.contains(finalizer)) {
        return Ok(());
    }
    let problem = Problem::new(
        "metadata.finalizers",
        &new["metadata"]["finalizers"],
        Fault::Forbidden,
        "no finalizer can be added while the object is being deleted",
        "leave only those that are there",
    );
    let known = request.objects.kind.descriptor();
    Err(Refusal::invalid(known.kind, known.group, &text(&old["metadata"]["name"]), &[problem]))
}

fn admit(
    request: &Request,
    document: Value,
    repeated: &[String],
) -> Result<(intent::Admitted, Vec<String>), Refusal> {
    let validation = request.options.validation;
    let unknown = match validation {
        Validation::Strict => UnknownFields::Refuse,
        Validation::Warn => UnknownFields::Warn,
        Validation::Ignore => UnknownFields::Ignore,
    };
    let key = request.key(&text(&document["metadata"]["name"]));
    let repeated: Vec<_> = repeated
        .iter()
        .map(|path| {
            Problem::new(
                path,
                &Value::Null,
                Fault::Duplicate,
                "the field is given more than once",
                "give it once",
            )
        })
        .collect();
    let admitted = intent::admit(request.objects.kind, document, unknown);
    let refused = matches!(validation, Validation::Strict) && !repeated.is_empty();
    let admitted = match (admitted, refused) {
        (Ok(admitted), false) => admitted,
        (Ok(_), true) => return Err(invalid(request, &key, &repeated)),
        (Err(problems), false) => return Err(invalid(request, &key, &problems)),
        (Err(problems), true) => return Err(invalid(request, &key, &[repeated, problems].concat())),
    };
    let mut warnings: Vec<_> = admitted.warnings.iter().map(ToString::to_string).collect();
    if matches!(validation, Validation::Warn) {
        warnings.extend(repeated.iter().map(ToString::to_string));
    }
    Ok((admitted, warnings))
}

/// Fills in what the path says of the object, and refuses a document that says otherwise.
fn identify(request: &Request, document: &mut Value, name: Option<&str>) -> Result<(), Refusal> {
    let known = request.objects.kind.descriptor();
    let wrong = |what: &str, found: &Value, wanted: &str| {
        Err(Refusal::bad_request(format!(
            "{what} of the object is {found}, and the request is about {wanted:?}"
        )))
    };
    let fields = document.as_object_mut().ok_or_else(|| Refusal::bad_request("the body is no object"))?;
    for (field, wanted) in [("apiVersion", known.api_version()), ("kind", known.kind.to_owned())] {
        let found = fields.entry(field).or_insert_with(|| json!(wanted));
        if *found != json!(wanted) {
            return wrong(field, found, &wanted);
        }
    }
    if fields.get("metadata").is_some_and(|metadata| !metadata.is_object() && !metadata.is_null()) {
        return Err(Refusal::bad_request("metadata of the object is no object"));
    }
    let metadata = metadata(fields);
    for (field, wanted) in [("namespace", request.objects.namespace.as_deref()), ("name", name)] {
        let Some(wanted) = wanted else { continue };
        match metadata.get(field) {
            None | Some(Value::Null) => {}
            Some(found) if found == wanted => {}
            Some(found) if found == "" => {}
            Some(found) => return wrong(&format!("metadata.{field}"), found, wanted),
        }
        metadata.insert(field.to_owned(), json!(wanted));
    }
    if known.namespaced() && request.objects.namespace.is_none() {
        return Err(Refusal::bad_request(format!(
            "{} live in namespaces: write to …/namespaces/NAMESPACE/{}",
            known.plural, known.plural
        )));
    }
    Ok(())
}

/// Makes a name from `generateName` where there is none; says whether it did.
fn name(document: &mut Value) -> Result<bool, Refusal> {
    let metadata = &mut document["metadata"];
    if metadata["name"].as_str().is_some_and(|name| !name.is_empty()) {
        return Ok(false);
    }
    let Some(prefix) = metadata["generateName"].as_str().filter(|prefix| !prefix.is_empty()) else {
        return Err(Refusal::bad_request("the object has neither metadata.name nor metadata.generateName"));
    };
    let random = uuid::Uuid::new_v4().into_bytes();
    let letters = random[..5].iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
    let prefix: String = prefix.chars().take(LONGEST_PREFIX).collect();
    metadata["name"] = json!(prefix + &letters.collect::<String>());
    Ok(true)
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

/// 422 about the object of this key.
fn invalid(request: &Request, key: &ObjectKey, problems: &[Problem]) -> Refusal {
    let known = request.objects.kind.descriptor();
    Refusal::invalid(known.kind, known.group, key.name(), problems)
}

fn change(key: &ObjectKey, expect: Expect, action: Action) -> Change {
    Change { key: key.clone(), expect, action }
}

/// The metadata of a document, made where it is missing.
fn metadata(fields: &mut Map<String, Value>) -> &mut Map<String, Value> {
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata.as_object_mut().expect("made an object above")
}

/// Sets a field, or takes it away.
fn put(fields: &mut Map<String, Value>, name: &str, value: Option<&Value>) {
    match value {
        Some(value) => fields.insert(name.to_owned(), value.clone()),
        None => fields.remove(name),
    };
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// How often a write is judged again when others write at the same time.
const ATTEMPTS: usize = 20;

/// How long a write waits to see what it conflicted with.
const PATIENCE: Duration = Duration::from_secs(2);

/// The same, where the other deleted the object.
const PAUSE: Duration = Duration::from_millis(5);

/// What generated names end in: nothing that looks alike, no vowels that make words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// So many letters of `generateName` are used that five more fit a DNS label.
const LONGEST_PREFIX: usize = 58;
