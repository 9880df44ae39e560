//! What waits to be told to the server.
//!
//! Promises: while a session stands nothing is lost and the order is kept; of several words on one endpoint only the last is
//! sent, so what waits is bounded by the endpoints there are; without a session nothing is kept: the next one begins with all.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use record::delta::NodeMessage;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    is_open: bool,
    next: u64,
    messages: BTreeMap<u64, NodeMessage>,
    endpoints: HashMap<String, u64>,
}

impl Outbox {
    /// A session begins; what waited for the last one is forgotten.
    pub(crate) fn open(&self) {
        *self.queue.lock() = Queue { is_open: true, ..Queue::default() };
    }

    /// The session is over.
    pub(crate) fn close(&self) {
        *self.queue.lock() = Queue::default();
    }

    /// Whether a session stands.
    pub(crate) fn is_open(&self) -> bool {
        self.queue.lock().is_open
    }

    /// Puts a message in; `false` without a session.
    pub(crate) fn push(&self, message: NodeMessage) -> bool {
        let mut queue = self.queue.lock();
        if !queue.is_open {
            return false;
        }
        let place = queue.next;
        queue.next += 1;
        let endpoint = match &message {
            NodeMessage::Attached(report) => Some(report.uid.clone()),
            NodeMessage::Detached(_, uid) => Some(uid.clone()),
            _ => None,
        };
        if let Some(before) = endpoint.and_then(|uid| queue.endpoints.insert(uid, place)) {
            queue.messages.remove(&before);
        }
        queue.messages.insert(place, message);
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// Waits for the next message. For one taker.
    pub(crate) async fn take(&self) -> NodeMessage {
        loop {
            if let Some(message) = self.queue.lock().take() {
                return message;
            }
            self.filled.notified().await;
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().messages.len()
    }
}

impl Queue {
    fn take(&mut self) -> Option<NodeMessage> {
        let (place, message) = self.messages.pop_first()?;
        if let NodeMessage::Attached(record::delta::Report { uid, .. }) | NodeMessage::Detached(_, uid) =
            &message
            && self.endpoints.get(uid) == Some(&place)
        {
            self.endpoints.remove(uid);
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::Step;
    use crate::testing::{attachment, vni};
    use record::TenantId;

    fn detached(uid: &str) -> NodeMessage {
        NodeMessage::Detached(TenantId(1), uid.to_owned())
    }

    #[tokio::test]
    async fn of_an_endpoint_the_last_word_is_told_in_its_place() {
        let outbox = Outbox::default();
        assert!(!outbox.push(detached("a")), "without a session nothing is kept");
        outbox.open();
        let release = NodeMessage::Release(vni(), "10.0.0.0/26".parse().unwrap());
        for message in [
            NodeMessage::Attached(attachment("a", 1, Step::Attached).report()),
            detached("b"),
            release.clone(),
            detached("a"),
        ] {
            assert!(outbox.push(message));
        }
        assert_eq!(outbox.len(), 3);
        assert_eq!(outbox.take().await, detached("b"));
        assert_eq!(outbox.take().await, release);
        assert_eq!(outbox.take().await, detached("a"));
        assert!(outbox.queue.lock().endpoints.is_empty());
        outbox.push(detached("c"));
        outbox.open();
        assert_eq!(outbox.len(), 0, "a new session begins with everything anyway");
    }
}
