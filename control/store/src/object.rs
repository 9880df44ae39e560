//! Objects, what happened to them, and lists of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::ObjectKey;

/// One object as of one revision. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Who it is.
    pub key: Arc<ObjectKey>,
    /// What was written, unchanged: the store reads nothing of it.
    pub value: Arc<Value>,
    /// The revision that wrote it.
    pub revision: u64,
    /// The revision that created it; a later object of the same name has another.
    pub created: u64,
}

/// One change of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The revision that brought it.
    pub revision: u64,
    /// The object concerned.
    pub key: Arc<ObjectKey>,
    /// The object from this revision on; `None`: it was deleted.
    pub object: Option<Object>,
    /// The object until this revision; `None`: there was none.
    pub previous: Option<Object>,
}

/// The objects of a scope at one revision, by key.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The revision that this is the state of; a watch after it misses nothing.
    pub revision: u64,
    /// The objects, by key.
    pub objects: Vec<Object>,
}

/// Objects by key.
pub(crate) type Objects = BTreeMap<Arc<ObjectKey>, Object>;

impl Event {
    /// Carries the change out.
    pub(crate) fn apply(&self, objects: &mut Objects) {
        replace(objects, &self.key, self.object.clone());
    }

    /// Takes the change back.
    pub(crate) fn undo(&self, objects: &mut Objects) {
        replace(objects, &self.key, self.previous.clone());
    }
}

fn replace(objects: &mut Objects, key: &Arc<ObjectKey>, object: Option<Object>) {
    match object {
        Some(object) => objects.insert(Arc::clone(&object.key), object),
        None => objects.remove(key),
    };
}
