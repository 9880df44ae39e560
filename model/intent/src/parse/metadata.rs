//! What holds for every kind: `apiVersion`, `kind`, names, namespaces, the size of annotations.

use serde_json::Value;

use super::Findings;
use super::cursor::Cursor;
use crate::problem::Fault;
use crate::registry::{Kind, Scope};

/// Checks what every document has against what its kind says.
pub(super) fn check(kind: Kind, document: Cursor<'_>, findings: &mut Findings) {
    let known = kind.descriptor();
    for (field, wanted) in [("apiVersion", known.api_version()), ("kind", known.kind.to_owned())] {
        let found = document.field(field);
        if found.text().is_some_and(|text| text != wanted) {
            let reason = format!("is not {wanted}, which is wanted here");
            findings.problem(&found, Fault::Invalid, reason, format!("write {wanted}"));
        }
    }
    let metadata = document.field("metadata");
    let name = metadata.field("name");
    if let Some(Err(misfit)) = name.text().map(|text| known.name.check(text)) {
        findings.problem(&name, misfit.fault, misfit.reason, misfit.remedy);
    }
    let namespace = metadata.field("namespace");
    match (known.scope, namespace.is_there()) {
        (Scope::Namespaced, false) => {
            let remedy = "add the namespace that it belongs to, such as namespace: default";
            findings.missing(&namespace, "is missing", remedy);
        }
        (Scope::Provider | Scope::Tenant | Scope::Level, true) => {
            let reason = format!("is given, but a {kind} is in no namespace");
            findings.problem(&namespace, Fault::Forbidden, reason, "leave it out");
        }
        _ => {}
    }
    let annotations = metadata.field("annotations");
    let size: usize = annotations.texts().map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATIONS_LIMIT {
        let reason = format!("hold {size} bytes and may hold {ANNOTATIONS_LIMIT}");
        findings.problem(&annotations, Fault::TooLong, reason, "keep large notes elsewhere");
    }
}

/// The document's name, if it has one.
pub(super) fn name(document: &Cursor<'_>) -> Option<String> {
    document.field("metadata").field("name").text().map(str::to_owned)
}

/// The document's namespace, if it has one.
pub(super) fn namespace(document: &Cursor<'_>) -> Option<String> {
    document.field("metadata").field("namespace").text().map(str::to_owned)
}

/// The document's labels.
pub(super) fn labels(document: &Cursor<'_>) -> record::Labels {
    let labels = document.field("metadata").field("labels");
    labels.texts().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The object at `name` below `parent`, made where it is missing; `None` where something else is in its place.
pub(super) fn object_at<'a>(
    parent: &'a mut Value,
    name: &str,
) -> Option<&'a mut serde_json::Map<String, Value>> {
    let parent = parent.as_object_mut()?;
    parent.entry(name).or_insert_with(|| Value::Object(serde_json::Map::new())).as_object_mut()
}

/// What upstream allows all annotations of an object together, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 << 10;
