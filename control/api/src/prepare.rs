//! From the document that a client sent to the one that is stored: what the path says is filled in, what the server owns is
//! kept, and `intent` has the last word.

use intent::problem::Fault;
use intent::{Kind, Problem, UnknownFields};
use serde_json::{Map, Value, json};
use store::{Object, ObjectKey};

use crate::query::Validation;
use crate::server::Request;
use crate::status::Refusal;
use crate::{owner, parent};

/// A document that intent has admitted, with the warnings for the client.
pub(crate) struct Ready {
    pub(crate) document: Value,
    pub(crate) warnings: Vec<String>,
}

pub(crate) fn new_object(
    request: &Request,
    mut document: Value,
    repeated: &[String],
) -> Result<Ready, Refusal> {
    let fields = document.as_object_mut().expect("identified documents are objects");
    fields.remove("status");
    if request.objects.kind == Kind::Namespace {
        fields.insert("status".to_owned(), json!({ "phase": "Active" }));
    }
    let metadata = metadata(fields);
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|version| !version.is_empty()) {
        return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
    }
    for server_owned in
        ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"]
    {
        metadata.remove(server_owned);
    }
    parent::stamp(&mut document);
    let (admitted, warnings) = admit(request, document, repeated)?;
    Ok(Ready { document: admitted.document, warnings })
}

pub(crate) fn changed_object(
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
    let mut wrong = owner::problems(&document);
    if matches!(validation, Validation::Strict) {
        wrong.splice(..0, repeated.iter().cloned());
    }
    let admitted = match intent::admit(request.objects.kind, document, unknown) {
        Ok(admitted) if wrong.is_empty() => admitted,
        outcome => {
            wrong.extend(outcome.err().into_iter().flatten());
            return Err(invalid(request, &key, &wrong));
        }
    };
    let mut warnings: Vec<_> = admitted.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(owner::warnings(&key, &admitted.document));
    if matches!(validation, Validation::Warn) {
        warnings.extend(repeated.iter().map(ToString::to_string));
    }
    Ok((admitted, warnings))
}

/// Fills in what the path says of the object, and refuses a document that says otherwise.
pub(crate) fn identify(request: &Request, document: &mut Value, name: Option<&str>) -> Result<(), Refusal> {
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
pub(crate) fn name_it(document: &mut Value) -> Result<bool, Refusal> {
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

/// 422 about the object of this key.
pub(crate) fn invalid(request: &Request, key: &ObjectKey, problems: &[Problem]) -> Refusal {
    let known = request.objects.kind.descriptor();
    Refusal::invalid(known.kind, known.group, key.name(), problems)
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

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What generated names end in: nothing that looks alike, no vowels that make words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// So many letters of `generateName` are used that five more fit a DNS label.
const LONGEST_PREFIX: usize = 58;
