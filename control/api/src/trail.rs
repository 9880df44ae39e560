//! What a request leaves behind while it is carried out, for its audit events.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use store::ObjectKey;

/// What one request was sent, and what it wrote.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    left: Mutex<Left>,
}

/// What is on a trail.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) sent: Option<Value>,
    pub(crate) written: Vec<Written>,
}

/// One object that was written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) key: ObjectKey,
    pub(crate) before: Option<Arc<Value>>,
    /// `None`: the object is gone.
    pub(crate) after: Option<Value>,
}

impl Trail {
    pub(crate) fn sent(&self, document: Option<Value>) {
        self.left.lock().sent = document;
    }

    pub(crate) fn wrote(&self, written: Written) {
        self.left.lock().written.push(written);
    }

    /// All that is on it; nothing is left there.
    pub(crate) fn take(&self) -> Left {
        std::mem::take(&mut self.left.lock())
    }
}
