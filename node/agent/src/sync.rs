//! The session with the server: what the node holds follows what the server says.
//!
//! ```text
//!   connect -> Hello {held, endpoints} -> Welcome -> (Delta -> journal -> kernel -> book -> Ack)*
//!      ^                                                   |
//!      └──────── a jittered pause that grows <─────────────┘ the session ends
//! ```
//!
//! Promises: a generation is in the journal before it is in the kernel and in the kernel before it is acknowledged, so a node that
//! was killed goes forward, never back; without a server everything local goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use record::delta::{Ack, Delta, Fault, Hello, NodeMessage, OutOfOrder, PROTOCOL, ServerMessage, Subscriber};
use record::{Key, Record};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::attachment::Step;
use crate::cause::chain;
use crate::journal::Entry;
use crate::ledger::Resting;
use crate::node::{Node, blocking};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The server closed it.
    #[error("the server closed the session")]
    Closed,
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Broken(String),
    /// The server does not take this node.
    #[error("the server rejected this node: {0}")]
    Rejected(String),
    /// A message that the protocol does not allow. The next session tells the server anew what is held.
    #[error("the server's messages are out of order")]
    OutOfOrder(#[from] OutOfOrder),
    /// The kernel did not take this node's number.
    #[error("this node's number cannot be taken over: {0}")]
    Unidentified(String),
    /// A message before the server has said who this node is.
    #[error("the server sent a generation before its welcome")]
    NoWelcome,
}

impl Node {
    /// Keeps a session with the server, until it is dropped.
    pub(crate) async fn stay_in_sync(self: Arc<Self>) {
        let mut attempt = 0;
        let mut told = String::new();
        loop {
            let (outcome, lasted) = match self.membership.connect().await {
                Ok(link) => {
                    let began = Instant::now();
                    (chain(&self.session(link.outgoing, link.incoming).await), began.elapsed())
                }
                Err(error) => (chain(&error), Duration::ZERO),
            };
            *self.trouble.lock() = Some(outcome.clone());
            attempt = if lasted > SETTLED { 0 } else { attempt + 1 };
            if outcome != told || lasted > Duration::ZERO {
                warn!(server = %self.config.server, reason = outcome, "no session with the server; what is held stays in force");
                told = outcome;
            }
            tokio::time::sleep(pause(attempt)).await;
        }
    }

    /// Renews this host's certificate while the agent runs.
    pub(crate) async fn stay_certified(self: Arc<Self>) {
        self.membership.keep().await;
    }

    /// One session, to its end.
    pub(crate) async fn session<E: std::fmt::Display>(
        self: &Arc<Self>,
        outgoing: mpsc::Sender<NodeMessage>,
        incoming: impl Stream<Item = Result<ServerMessage, E>> + Unpin,
    ) -> Ended {
        // Open before the hello is made: what happens from now on is told after it.
        self.outbox.open();
        let hello = self.hello();
        let subscriber = Subscriber::new(hello.generation);
        let ended = if outgoing.send(NodeMessage::Hello(hello)).await.is_err() {
            Ended::Closed
        } else {
            let speak = async {
                while outgoing.send(self.outbox.take().await).await.is_ok() {}
                Ended::Closed
            };
            tokio::select! {
                ended = speak => ended,
                ended = self.listen(subscriber, incoming) => ended,
            }
        };
        self.outbox.close();
        self.wants.give_up();
        self.metrics.level(None);
        self.ledger().part_with_leaving();
        self.announce();
        ended
    }

    fn hello(&self) -> Hello {
        let underlay = self.kernel.underlay();
        let ledger = self.ledger();
        let attached = ledger.all().filter(|kept| kept.attachment.step == Step::Attached);
        Hello {
            protocol: PROTOCOL,
            name: self.config.node.clone(),
            underlay: underlay.addresses,
            generation: ledger.held.generation,
            held: ledger.held.versions(),
            endpoints: attached.map(|kept| kept.attachment.report()).collect(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: kernel_release(),
            mtu: underlay.mtu,
        }
    }

    async fn listen<E: std::fmt::Display>(
        self: &Arc<Self>,
        mut subscriber: Subscriber,
        mut incoming: impl Stream<Item = Result<ServerMessage, E>> + Unpin,
    ) -> Ended {
        let mut welcome = false;
        while let Some(message) = incoming.next().await {
            match message {
                Err(error) => return Ended::Broken(error.to_string()),
                Ok(ServerMessage::Rejected(reason)) => return Ended::Rejected(reason),
                Ok(ServerMessage::Welcome(number)) => {
                    info!(node = %number, server = %self.config.server, "in session with the server");
                    if let Err(error) = self.number(number).await {
                        return Ended::Unidentified(chain(&error));
                    }
                    welcome = true;
                    *self.trouble.lock() = None;
                    self.metrics.connected();
                    self.announce();
                }
                Ok(_) if !welcome => return Ended::NoWelcome,
                Ok(ServerMessage::Delta(part)) => match self.receive(&mut subscriber, part).await {
                    Ok(()) => {}
                    Err(error) => return error.into(),
                },
                Ok(ServerMessage::Granted(grant)) => self.wants.answer(grant.id, Ok(grant)),
                Ok(ServerMessage::Refused(id, refusal)) => self.wants.answer(id, Err(refusal)),
                Ok(ServerMessage::Ask(id, question)) => {
                    let node = Arc::clone(self);
                    // The server bounds how many it has under way, and gives up on late ones.
                    tokio::spawn(async move {
                        let answer = node.answer(question).await;
                        node.outbox.push(NodeMessage::Answer(id, answer));
                    });
                }
            }
        }
        Ended::Closed
    }

    async fn receive(self: &Arc<Self>, subscriber: &mut Subscriber, part: Delta) -> Result<(), OutOfOrder> {
        self.metrics.offered(part.generation);
        if let Some(whole) = subscriber.receive(part)? {
            let began = Instant::now();
            let ack = self.take_over(whole).await;
            self.metrics.level(Some(began.elapsed()));
            self.outbox.push(NodeMessage::Ack(ack));
        }
        Ok(())
    }

    /// Brings a generation into journal, kernel and book, and the endpoints into the groups that follow.
    pub(crate) async fn take_over(self: &Arc<Self>, delta: Delta) -> Ack {
        self.fit_before(&delta).await;
        let Delta { generation, changed, removed, .. } = delta;
        let entries = changed.iter().map(|record| Entry::Record(record.clone().into()));
        let entries = entries.chain(removed.iter().cloned().map(Entry::Remove));
        let entries: Vec<Entry> = entries.chain([Entry::Generation(generation)]).collect();
        if let Err(error) = self.journal.write(entries).await {
            // Policy is not held up by a full disk. After a restart the server sends what the journal lacks.
            error!(error = chain(&error), %generation, "a generation is in force, but not in the journal");
        }
        let (wanted, unwanted) = (changed.clone(), removed.clone());
        let mut faults = self.in_kernel(move |kernel| kernel.apply(&wanted, &unwanted, generation)).await;
        let failed: BTreeSet<Key> = faults.iter().map(|fault| fault.key.clone()).collect();
        self.take_back(&failed, &faults).await;
        let changed: Vec<Record> =
            changed.into_iter().filter(|record| !failed.contains(&record.key())).collect();
        let removed: Vec<Key> = removed.into_iter().filter(|key| !failed.contains(key)).collect();
        let touched = {
            let mut ledger = self.ledger();
            ledger.held.apply(changed.clone(), &removed);
            ledger.held.generation = generation;
            ledger.touched(&changed, &removed)
        };
        let counts = (changed.len(), removed.len());
        self.fit_after(changed.iter().map(Record::key).chain(removed));
        let node = Arc::clone(self);
        faults.extend(blocking(move || node.settle_groups(&touched)).await);
        info!(%generation, changed = counts.0, removed = counts.1, faults = faults.len(), "a generation is in force");
        Ack { generation, faults }
    }

    /// Puts back into the journal what stays in force because its successor could not be realised.
    async fn take_back(&self, failed: &BTreeSet<Key>, faults: &[Fault]) {
        for Fault { key, reason } in faults {
            error!(record = ?key, reason, "a record could not be realised; what was in force stays");
        }
        let entries: Vec<Entry> = {
            let ledger = self.ledger();
            let before = |key: &Key| match ledger.held.record(key) {
                Some(record) => Entry::Record(record.clone().into()),
                None => Entry::Remove(key.clone()),
            };
            failed.iter().map(before).collect()
        };
        if !entries.is_empty()
            && let Err(error) = self.journal.write(entries).await
        {
            warn!(error = chain(&error), "the journal has records that are not in force");
        }
    }

    /// Gives blocks back that have been empty for a while. The journal parts with them first: whoever starts from it later asks
    /// the server whose they are.
    pub(crate) async fn release_blocks(&self, now: Instant) {
        if !self.outbox.is_open() {
            return;
        }
        let Resting { release, stay } = self.ledger().rest_blocks(now, BLOCK_REST);
        let parted = release.iter().map(|(vni, block)| Entry::Remove(Key::Route(*vni, *block)));
        let entries: Vec<Entry> =
            parted.chain(stay.into_iter().map(|record| Entry::Record(record.into()))).collect();
        if entries.is_empty() {
            return;
        }
        if let Err(error) = self.journal.write(entries).await {
            warn!(error = chain(&error), "empty blocks are not given back now");
            return;
        }
        for (vni, block) in release {
            info!(%vni, %block, "an empty block goes back to the server");
            self.outbox.push(NodeMessage::Release(vni, block));
        }
    }
}

/// How long to wait before the next attempt: twice as long each time up to a bound, of which a random half is cut off.
fn pause(attempt: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << attempt.min(16)).min(LONGEST_PAUSE);
    // The hasher's keys are random for each value made; no other randomness is needed here.
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), attempt);
    let share = (random % 512) as f64 / 1024.0;
    longest.mul_f64(1.0 - share)
}

fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// A session that lasted so long was a good one.
const SETTLED: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a block stays empty before it goes back. Restarts of a workload within it find the block still here.
const BLOCK_REST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        assert!(pause(0) <= FIRST_PAUSE && pause(0) >= FIRST_PAUSE / 2);
        assert!((0..100).all(|attempt| pause(attempt) <= LONGEST_PAUSE && pause(attempt) >= FIRST_PAUSE / 2));
        let distinct: BTreeSet<Duration> = (0..20).map(|_| pause(40)).collect();
        assert!(distinct.len() > 1, "nodes that lost their server together do not come back together");
    }
}
