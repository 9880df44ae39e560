//! The three-way merge of `apply`: what was written last, what is written now, what is there.
//!
//! A field that was written last and is not written now goes; a field that is written now is set; all others stay as they
//! are, whoever set them. Lists are taken whole. The last writing is kept in the annotation that `kubectl apply` uses, so
//! that both can be used on one object.

use serde_json::{Map, Value};

/// Where the last writing is kept.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What was written last, if the object was ever applied.
pub(super) fn last_applied(live: &Value) -> Option<Value> {
    let text = live.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    serde_json::from_str(text).ok()
}

/// The document with a note of itself, as it is sent. The note is written as `kubectl` writes it (sorted, with `annotations`
/// even if there are none, a newline at its end), so that neither finds the other's note changed.
pub(super) fn annotated(written: &Value) -> Value {
    let mut document = written.clone();
    let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) else { return document };
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    let note = format!("{document}\n");
    if let Some(annotations) = document.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.insert(LAST_APPLIED.to_owned(), note.into());
    }
    document
}

/// The merge patch (RFC 7386) from what is there to what is written. An empty object changes nothing.
pub(super) fn patch(last: Option<&Value>, written: &Value, live: &Value) -> Value {
    let nothing = Value::Object(Map::new());
    let mut patch = Map::new();
    let (Some(written), Some(live)) = (written.as_object(), live.as_object()) else { return written.clone() };
    let last = last.unwrap_or(&nothing);
    for (name, value) in written {
        match live.get(name) {
            Some(there) if there == value => {}
            Some(there) if there.is_object() && value.is_object() => {
                let inner = self::patch(last.get(name), value, there);
                if inner != nothing {
                    patch.insert(name.clone(), inner);
                }
            }
            _ => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    for name in last.as_object().into_iter().flat_map(Map::keys) {
        if !written.contains_key(name) && live.contains_key(name) {
            patch.insert(name.clone(), Value::Null);
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_longer_written_goes_and_what_others_set_stays() {
        let last = json!({"spec": {"a": 1, "b": {"c": 1, "d": 1}, "gone": [1]}});
        let written = json!({"spec": {"a": 2, "b": {"c": 1}, "list": [1, 2]}});
        let live = json!({"spec": {"a": 1, "b": {"c": 1, "d": 1, "other": 1}, "gone": [1], "list": [1]}, "status": {}});
        let patch = patch(Some(&last), &written, &live);
        assert_eq!(patch, json!({"spec": {"a": 2, "b": {"d": null}, "gone": null, "list": [1, 2]}}));
        let mut merged = live;
        json_patch::merge(&mut merged, &patch);
        assert_eq!(
            merged,
            json!({"spec": {"a": 2, "b": {"c": 1, "other": 1}, "list": [1, 2]}, "status": {}})
        );
    }

    #[test]
    fn what_is_there_as_written_needs_no_patch() {
        let written = json!({"spec": {"a": {"b": [1]}}});
        let live = json!({"spec": {"a": {"b": [1], "x": 1}}});
        assert_eq!(patch(Some(&written), &written, &live), json!({}));
        assert_eq!(patch(None, &written, &live), json!({}));
    }

    #[test]
    fn the_note_holds_the_document_without_the_note() {
        let written = json!({"kind": "A", "metadata": {"name": "a"}});
        let once = annotated(&written);
        let note = json!({"kind": "A", "metadata": {"annotations": {}, "name": "a"}});
        assert_eq!(last_applied(&once), Some(note));
        assert_eq!(annotated(&once), once);
    }
}
