//! Patches: JSON patch (RFC 6902), JSON merge patch (RFC 7396), and strategic merge patch as far as these kinds need it.
//!
//! In a strategic merge patch lists are replaced whole, as most lists of these kinds are atomic upstream, but for those in
//! [`KEYED`] (merged by a key) and [`SETS`]. The directives `$patch`, `$retainKeys` and `$deleteFromPrimitiveList/…` are
//! understood; `$setElementOrder/…` changes no content and is passed over.

use json_patch::PatchOperation;
use serde_json::{Map, Value};

use crate::document::{DEEPEST, LARGEST, bounded, depth, unsupported, weight};
use crate::status::{Reason, Refusal};

/// What a patch's media type says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
}

/// Lists that are merged element by element, and the field that tells their elements apart.
const KEYED: [(&str, &str); 2] = [("ownerReferences", "uid"), ("conditions", "type")];
/// Lists of plain values that are merged as sets.
const SETS: [&str; 1] = ["finalizers"];
/// Operations in one JSON patch.
const MOST_OPERATIONS: usize = 10_000;

impl PatchType {
    /// Errors: 415.
    pub(crate) fn of(media_type: &str) -> Result<Self, Refusal> {
        match media_type {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => Err(Refusal::new(
                Reason::UnsupportedMediaType,
                "server-side apply is not served here: apply at the client (kubectl apply without --server-side), or send one of \
                 application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
            )),
            other => Err(unsupported(
                other,
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
            )),
        }
    }

    /// The patched document. Errors: 400, and 422 for a JSON patch that does not fit the document.
    pub(crate) fn apply(self, document: &Value, patch: &Value) -> Result<Value, Refusal> {
        let mut patched = document.clone();
        match self {
            Self::Json => apply_operations(&mut patched, patch)?,
            Self::Merge | Self::Strategic if !patch.is_object() => {
                return Err(Refusal::bad_request("read the patch: it is no object"));
            }
            Self::Merge => json_patch::merge(&mut patched, patch),
            Self::Strategic => patched = merge(Some(patched), patch)?.unwrap_or_default(),
        }
        bounded(&patched)?;
        Ok(patched)
    }
}

/// One operation after the other, so that copies of copies can grow neither in size nor in depth without bound.
fn apply_operations(document: &mut Value, patch: &Value) -> Result<(), Refusal> {
    let operations: Vec<PatchOperation> = serde::Deserialize::deserialize(patch)
        .map_err(|error| Refusal::bad_request(format!("read the JSON patch: {error}")))?;
    if operations.len() > MOST_OPERATIONS {
        let message =
            format!("the JSON patch has {} operations; {MOST_OPERATIONS} is the limit", operations.len());
        return Err(Refusal::new(Reason::RequestEntityTooLarge, message));
    }
    let mut handled = 0;
    for (index, operation) in operations.iter().enumerate() {
        let source = match operation {
            PatchOperation::Copy(copy) => document.pointer(copy.from.as_str()),
            PatchOperation::Move(moved) => document.pointer(moved.from.as_str()),
            PatchOperation::Add(add) => Some(&add.value),
            PatchOperation::Replace(replace) => Some(&replace.value),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
        };
        if let Some(source) = source {
            handled += weight(source);
            if operation.path().count() + depth(source) > DEEPEST {
                return Err(Refusal::bad_request(format!(
                    "apply operation {index} of the JSON patch: the object would be nested more than {DEEPEST} deep"
                )));
            }
        }
        if handled > 2 * LARGEST {
            let message = format!(
                "apply operation {index} of the JSON patch: it handles more than {} bytes",
                2 * LARGEST
            );
            return Err(Refusal::new(Reason::RequestEntityTooLarge, message));
        }
        json_patch::patch(document, std::slice::from_ref(operation)).map_err(|error| {
            Refusal::new(
                Reason::Invalid,
                format!("apply operation {index} of the JSON patch: {}", error.kind),
            )
        })?;
    }
    Ok(())
}

/// What becomes of a value under a strategic merge patch; `None`: it is deleted.
fn merge(current: Option<Value>, patch: &Value) -> Result<Option<Value>, Refusal> {
    let Value::Object(patch) = patch else {
        return Ok(Some(patch.clone()).filter(|patch| !patch.is_null()));
    };
    let mut fields = match current {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    match patch.get("$patch").map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("delete") => return Ok(None),
        Some("replace") => {
            let plain = patch.iter().filter(|(name, _)| !name.starts_with('$'));
            return Ok(Some(Value::Object(
                plain.map(|(name, value)| (name.clone(), value.clone())).collect(),
            )));
        }
        Some(other) => {
            return Err(Refusal::bad_request(format!("$patch {other:?} is none of merge, replace, delete")));
        }
    }
    if let Some(keep) = patch.get("$retainKeys") {
        let keep = keep.as_array().ok_or_else(|| Refusal::bad_request("$retainKeys is no list"))?;
        fields.retain(|name, _| keep.iter().any(|kept| kept == name));
    }
    for (name, change) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            delete_from(&mut fields, list, change)?;
        }
    }
    for (name, change) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        let merged = match (fields.remove(name), change) {
            (Some(Value::Array(items)), Value::Array(changes)) => Some(merge_lists(name, items, changes)?),
            (None, Value::Array(changes)) => Some(merge_lists(name, Vec::new(), changes)?),
            (current, change) => merge(current, change)?,
        };
        if let Some(merged) = merged {
            fields.insert(name.clone(), merged);
        }
    }
    Ok(Some(Value::Object(fields)))
}

fn delete_from(fields: &mut Map<String, Value>, list: &str, gone: &Value) -> Result<(), Refusal> {
    let gone = gone.as_array().ok_or_else(|| Refusal::bad_request("$deleteFromPrimitiveList is no list"))?;
    if let Some(Value::Array(items)) = fields.get_mut(list) {
        items.retain(|item| !gone.contains(item));
    }
    Ok(())
}

fn merge_lists(name: &str, mut items: Vec<Value>, changes: &[Value]) -> Result<Value, Refusal> {
    if SETS.contains(&name) {
        for change in changes {
            if !items.contains(change) {
                items.push(change.clone());
            }
        }
        return Ok(Value::Array(items));
    }
    let Some((_, key)) = KEYED.iter().find(|(list, _)| *list == name) else {
        let plain = changes.iter().filter(|change| change.get("$patch").is_none());
        return Ok(Value::Array(plain.cloned().collect()));
    };
    if changes.iter().any(|change| change.get("$patch").is_some_and(|directive| directive == "replace")) {
        items.clear();
    }
    for change in
        changes.iter().filter(|change| change.get("$patch").is_none_or(|directive| directive != "replace"))
    {
        let wanted = change.get(key).ok_or_else(|| {
            Refusal::bad_request(format!(
                "an element of {name} in the patch lacks {key:?}, which tells them apart"
            ))
        })?;
        let place = items.iter().position(|item| item.get(key) == Some(wanted));
        let current = place.map(|place| items.remove(place));
        if let Some(merged) = merge(current, change)? {
            items.insert(place.unwrap_or(items.len()), merged);
        }
    }
    Ok(Value::Array(items))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_strategic_merge_merges_maps_replaces_lists_and_obeys_directives() {
        let cases = [
            (
                json!({"a": 1, "b": {"c": 2, "d": 3}}),
                json!({"b": {"c": null, "e": 4}}),
                json!({"a": 1, "b": {"d": 3, "e": 4}}),
            ),
            (json!({"ingress": [1, 2]}), json!({"ingress": [3]}), json!({"ingress": [3]})),
            (
                json!({"spec": {"a": 1, "b": 2}}),
                json!({"spec": {"$patch": "replace", "c": 3}}),
                json!({"spec": {"c": 3}}),
            ),
            (json!({"spec": {"a": 1}, "x": 1}), json!({"spec": {"$patch": "delete"}}), json!({"x": 1})),
            (
                json!({"s": {"a": 1, "b": 2}}),
                json!({"s": {"$retainKeys": ["b", "c"], "c": 3}}),
                json!({"s": {"b": 2, "c": 3}}),
            ),
            (
                json!({"finalizers": ["a", "b"]}),
                json!({"finalizers": ["b", "c"]}),
                json!({"finalizers": ["a", "b", "c"]}),
            ),
            (
                json!({"finalizers": ["a", "b"]}),
                json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b"]}),
                json!({"finalizers": ["b"]}),
            ),
            (
                json!({"conditions": [{"type": "A", "status": "x", "keep": 1}, {"type": "B"}, {"type": "C"}]}),
                json!({"conditions": [{"type": "A", "status": "y"}, {"type": "B", "$patch": "delete"}, {"type": "D"}]}),
                json!({"conditions": [{"type": "A", "status": "y", "keep": 1}, {"type": "C"}, {"type": "D"}]}),
            ),
            (json!({"a": [1]}), json!({"a": null}), json!({})),
            (json!({"a": "text"}), json!({"a": {"b": null, "c": 1}}), json!({"a": {"c": 1}})),
        ];
        for (document, patch, expected) in cases {
            assert_eq!(
                PatchType::Strategic.apply(&document, &patch).unwrap(),
                expected,
                "{document} with {patch}"
            );
        }
    }

    #[test]
    fn a_json_patch_happens_whole_or_not_at_all() {
        let document = json!({"a": {"b": 1}});
        let patch = json!([{"op": "test", "path": "/a/b", "value": 1}, {"op": "replace", "path": "/a/b", "value": 2}]);
        assert_eq!(PatchType::Json.apply(&document, &patch).unwrap(), json!({"a": {"b": 2}}));
        let failing = json!([{"op": "replace", "path": "/a/b", "value": 2}, {"op": "remove", "path": "/x"}]);
        assert_eq!(PatchType::Json.apply(&document, &failing).unwrap_err().reason(), Reason::Invalid);
        for wrong in [json!({}), json!([{"op": "jump"}]), json!("x")] {
            assert_eq!(PatchType::Json.apply(&document, &wrong).unwrap_err().reason(), Reason::BadRequest);
        }
    }

    #[test]
    fn copies_of_copies_are_stopped() {
        let document = json!({"a": "x".repeat(1000)});
        let double = |from: &str, to: &str| json!({"op": "copy", "from": from, "path": to});
        let patch: Vec<_> = (0..40).map(|i| double("", &format!("/c{i}"))).collect();
        let refusal = PatchType::Json.apply(&document, &Value::Array(patch)).unwrap_err();
        assert_eq!(refusal.reason(), Reason::RequestEntityTooLarge, "{refusal}");
    }

    #[test]
    fn patches_cannot_nest_an_object_without_bound() {
        let deep = (0..60).fold(json!(1), |inner, _| json!({"a": inner}));
        let path = "/a".repeat(30);
        let patch = json!([{"op": "replace", "path": path, "value": deep}]);
        let refusal = PatchType::Json.apply(&deep, &patch).unwrap_err();
        assert_eq!(refusal.reason(), Reason::BadRequest, "{refusal}");
    }
}
