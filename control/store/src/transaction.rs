//! Writes: several changes with expectations, carried out as one revision or not at all.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::{Object, ObjectKey};

/// Changes that happen together. Each object is named once at most.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// The changes, in the order in which their events come.
    pub changes: Vec<Change>,
}

/// One object's part of a transaction.
#[derive(Clone, Debug)]
pub struct Change {
    /// The object.
    pub key: ObjectKey,
    /// What must hold for the transaction to happen.
    pub expect: Expect,
    /// What is done.
    pub action: Action,
}

/// What a writer expects of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Anything,
    /// That there is no such object.
    Absent,
    /// That there is one, whatever its revision.
    Present,
    /// That its revision is this one.
    Revision(u64),
}

/// What a transaction does with an object.
#[derive(Clone, Debug)]
pub enum Action {
    /// Writes it.
    Put(Arc<Value>),
    /// Deletes it; deleting what is absent does nothing.
    Delete,
    /// Leaves it: the expectation alone counts.
    Keep,
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The revision that it became; the revision before, if nothing was changed.
    pub revision: u64,
    /// The object after it for each change, in order; `None`: it does not exist.
    pub objects: Vec<Option<Object>>,
}

impl Transaction {
    /// A transaction of one change.
    pub fn one(key: ObjectKey, expect: Expect, action: Action) -> Self {
        Self::default().and(key, expect, action)
    }

    /// A put of one object.
    pub fn put(key: ObjectKey, expect: Expect, value: Value) -> Self {
        Self::one(key, expect, Action::Put(Arc::new(value)))
    }

    /// The deletion of one object.
    pub fn delete(key: ObjectKey, expect: Expect) -> Self {
        Self::one(key, expect, Action::Delete)
    }

    /// The same with one more change.
    #[must_use]
    pub fn and(mut self, key: ObjectKey, expect: Expect, action: Action) -> Self {
        self.changes.push(Change { key, expect, action });
        self
    }
}

impl Expect {
    /// Whether it holds for an object of this revision (`None`: absent).
    pub(crate) fn holds(self, found: Option<u64>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Revision(revision) => found == Some(revision),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anything => f.write_str("anything"),
            Self::Absent => f.write_str("no such object"),
            Self::Present => f.write_str("that it exists"),
            Self::Revision(revision) => write!(f, "revision {revision}"),
        }
    }
}
