//! Questions to the server that an attach waits for.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use record::delta::{Grant, NodeMessage, Refusal, Want};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::outbox::Outbox;

/// The questions under way.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<Result<Grant, Refusal>>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// No session with the server.
    #[error("the server is not reached")]
    NotReached,
    /// It has not answered in time.
    #[error("the server has not answered within {} ms", .0.as_millis())]
    Late(Duration),
    /// It refused.
    #[error("the server refused: {}", .0.message)]
    Refused(Refusal),
}

impl Wants {
    /// Asks, and waits at most `patience` for the answer. The want's own number is given here.
    pub(crate) async fn ask(
        &self,
        outbox: &Outbox,
        want: Want,
        patience: Duration,
    ) -> Result<Grant, NoAnswer> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting.lock();
            waiting.next += 1;
            let id = waiting.next;
            waiting.answers.insert(id, sender);
            id
        };
        if !outbox.push(NodeMessage::Want(Want { id, ..want })) {
            self.waiting.lock().answers.remove(&id);
            return Err(NoAnswer::NotReached);
        }
        let outcome = timeout(patience, answer).await;
        self.waiting.lock().answers.remove(&id);
        match outcome {
            Ok(Ok(answer)) => answer.map_err(NoAnswer::Refused),
            Ok(Err(_)) => Err(NoAnswer::NotReached),
            Err(_) => Err(NoAnswer::Late(patience)),
        }
    }

    /// Passes an answer on; one that nobody waits for any more is dropped.
    pub(crate) fn answer(&self, id: u64, answer: Result<Grant, Refusal>) {
        if let Some(waiting) = self.waiting.lock().answers.remove(&id) {
            // Whoever stopped waiting just now has taken it for late.
            let _ = waiting.send(answer);
        }
    }

    /// The session is over: nobody will be answered.
    pub(crate) fn give_up(&self) {
        self.waiting.lock().answers.clear();
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().answers.len()
    }
}
