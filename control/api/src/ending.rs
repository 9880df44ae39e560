//! How objects end: at once, or marked with `deletionTimestamp` until their finalizers, and what lives in them, are gone.
//!
//! Two finalizers are the server's own, and say what becomes of the objects that name this one as their owner: see
//! [`Propagation`]; `collect` acts on them.

use serde_json::{Value, json};
use store::{Action, ObjectKey};

use crate::parent::{Parent, is_ending, is_held, now};

/// What the deletion of an owner means for its dependents (meta.k8s.io/v1 `DeletionPropagation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// The owner goes at once, its dependents after it.
    Background,
    /// The owner stays until those dependents are gone that block its deletion.
    Foreground,
    /// The owner stays until no object names it as owner any more; the dependents stay.
    Orphan,
}

impl Propagation {
    /// What a deletion that names none means: what was asked before, or that dependents follow.
    pub(crate) fn of(document: &Value) -> Self {
        let asked = [Self::Orphan, Self::Foreground];
        asked.into_iter().find(|asked| asked.is_noted(document)).unwrap_or(Self::Background)
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "Background" => Some(Self::Background),
            "Foreground" => Some(Self::Foreground),
            "Orphan" => Some(Self::Orphan),
            _ => None,
        }
    }

    /// The finalizer that holds the owner meanwhile.
    pub(crate) const fn finalizer(self) -> Option<&'static str> {
        match self {
            Self::Background => None,
            Self::Foreground => Some("foregroundDeletion"),
            Self::Orphan => Some("orphan"),
        }
    }

    /// Whether an object's finalizers ask for it.
    pub(crate) fn is_noted(self, document: &Value) -> bool {
        let finalizers = document["metadata"]["finalizers"].as_array();
        finalizers
            .into_iter()
            .flatten()
            .any(|found| found.as_str().is_some_and(|f| Some(f) == self.finalizer()))
    }
}

/// What is done with an object whose deletion is asked for; `None`: that was done before.
pub(crate) fn ending(key: &ObjectKey, document: &Value, asked: Option<Propagation>) -> Option<Action> {
    let wanted = asked.unwrap_or_else(|| Propagation::of(document));
    let mut marked = document.clone();
    for other in [Propagation::Foreground, Propagation::Orphan] {
        if other != wanted {
            release(&mut marked, other);
        }
    }
    if let Some(finalizer) = wanted.finalizer().filter(|_| !wanted.is_noted(&marked)) {
        match &mut marked["metadata"]["finalizers"] {
            Value::Array(finalizers) => finalizers.push(json!(finalizer)),
            absent => *absent = json!([finalizer]),
        }
    }
    let parent = Parent::itself(key);
    if !is_held(&marked) && parent.is_none() {
        return Some(Action::Delete);
    }
    if !is_ending(document) {
        mark(&mut marked, parent.is_some_and(|parent| !parent.is_tenant()));
    }
    (marked != *document).then(|| Action::Put(marked.into()))
}

/// Takes the server's own finalizer away.
pub(crate) fn release(document: &mut Value, propagation: Propagation) {
    let Some(Value::Array(finalizers)) = document.pointer_mut("/metadata/finalizers") else { return };
    finalizers.retain(|found| found.as_str() != propagation.finalizer());
    if let (true, Some(metadata)) = (finalizers.is_empty(), document["metadata"].as_object_mut()) {
        metadata.remove("finalizers");
    }
}

fn mark(document: &mut Value, is_namespace: bool) {
    let metadata = &mut document["metadata"];
    metadata["deletionTimestamp"] = json!(now());
    metadata["deletionGracePeriodSeconds"] = json!(0);
    if let Some(generation) = metadata["generation"].as_u64() {
        metadata["generation"] = json!(generation + 1);
    }
    if is_namespace {
        document["status"]["phase"] = json!("Terminating");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(finalizers: Value, asked: Option<Propagation>) -> Option<Value> {
        let key = ObjectKey::new("default", "things.example", Some("shop"), "a");
        let document = json!({ "metadata": { "finalizers": finalizers, "generation": 3 } });
        match ending(&key, &document, asked)? {
            Action::Put(document) => Some(document["metadata"]["finalizers"].clone()),
            Action::Delete | Action::Keep => Some(Value::Null),
        }
    }

    #[test]
    fn the_last_word_about_dependents_counts() {
        use Propagation::{Background, Foreground, Orphan};
        let cases = [
            (json!([]), None, Value::Null),
            (json!([]), Some(Orphan), json!(["orphan"])),
            (json!(["orphan"]), None, json!(["orphan"])),
            (json!(["orphan"]), Some(Background), Value::Null),
            (json!(["orphan", "a/b"]), Some(Foreground), json!(["a/b", "foregroundDeletion"])),
            (json!(["foregroundDeletion"]), Some(Orphan), json!(["orphan"])),
            (json!(["a/b"]), Some(Background), json!(["a/b"])),
        ];
        for (before, asked, expected) in cases {
            assert_eq!(after(before.clone(), asked), Some(expected), "{before} {asked:?}");
        }
    }

    #[test]
    fn a_mark_counts_as_a_change_of_intent_and_is_made_once() {
        let key = ObjectKey::new("default", "things.example", None, "a");
        let document = json!({ "metadata": { "finalizers": ["a/b"], "generation": 3 } });
        let Some(Action::Put(marked)) = ending(&key, &document, None) else { panic!("it is not marked") };
        assert_eq!(marked["metadata"]["generation"], 4);
        assert!(is_ending(&marked) && ending(&key, &marked, None).is_none());
    }
}
