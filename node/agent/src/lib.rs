#![cfg_attr(test, allow(clippy::unwrap_used))]
//! The agent of one node: it puts containers on their networks and keeps the kernel as the server says.
//!
//! ```text
//!   doors (unix socket) ──> attach, detach ──┐                        ┌── journal (what a restart finds)
//!                                            ├── ledger (the book) ───┤
//!   server <── stream ────> sync ────────────┘                        └── kernel (links, programs, maps)
//!                                  reconcile: journal and kernel agree again after anything
//! ```
//!
//! Promises: everything local goes on without the server; killed at any step, the next start leaves neither address nor link, map
//! entry nor pin behind; stopped, it leaves containers undisturbed.

mod attach;
mod attachment;
mod cause;
mod claim;
mod config;
mod crowd;
mod detach;
mod door;
mod error;
mod fit;
mod gate;
mod held;
mod journal;
mod kernel;
mod ledger;
mod membership;
mod metrics;
mod mtu;
mod node;
mod orphan;
mod outbox;
mod pool;
mod preflight;
mod purge;
mod question;
mod reconcile;
mod refusal;
mod sample;
mod scrape;
mod sync;
mod task;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tombstone;
mod want;

use std::future::Future;
use std::sync::Arc;

pub use config::{Config, ConfigError, DoorRules, Log, Problem, Underlay};
pub use error::{Error, Lack};
pub use purge::purge;

use claim::Claim;
use held::Held;
use journal::Journal;
use kernel::SharedKernel;
use kernel::fabric::Fabric;
use ledger::Ledger;
use node::Node;
use task::Tasks;

/// Runs the agent of this host until `shutdown` ends. Containers stay on their networks when it stops.
///
/// Errors: [`Error::Unfit`] before anything is changed; what keeps the doors from being opened.
pub async fn run(config: Config, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
    let settings = config.clone();
    let (claim, kernel, journal, contents) = node::blocking(move || prepare(&settings)).await?;
    let agent = Agent::start(config, kernel, journal, contents).await?;
    shutdown.await;
    tracing::info!("stopping; containers stay on their networks");
    agent.stop().await;
    drop(claim);
    Ok(())
}

/// Looks whether the host is fit, claims it, then opens journal and kernel.
fn prepare(config: &Config) -> Result<(Claim, SharedKernel, Journal, journal::Contents), Error> {
    let lacks = preflight::lacks(config);
    if !lacks.is_empty() {
        return Err(Error::Unfit { lacks });
    }
    let mut claim = Claim::take(config).map_err(Error::of_claim)?;
    let (journal, contents) = Journal::open(&config.journal()).map_err(Error::of_journal)?;
    if contents.is_fresh() {
        orphan::refuse(&config.journal())?;
        datapath::Datapath::remove(&config.pin_dir).map_err(Error::of_pins)?;
    }
    claim.claim_pins().map_err(Error::of_claim)?;
    let kernel = Fabric::open(config, contents.node, &contents.records).map_err(Error::of_kernel)?;
    Ok((claim, Arc::new(kernel), journal, contents))
}

/// An agent that runs.
struct Agent {
    node: Arc<Node>,
    tasks: Tasks,
}

impl Agent {
    /// Reads the journal, brings the kernel to what it says, and opens the doors.
    async fn start(
        config: Config,
        kernel: SharedKernel,
        journal: Journal,
        contents: journal::Contents,
    ) -> Result<Self, Error> {
        let node = book(config, kernel, journal, contents);
        node.resume().await.map_err(Error::of_kernel)?;
        node.bury().await;
        node.fit().await;
        let metrics = match node.config.metrics {
            None => None,
            Some(address) => Some(
                task::metrics_listener(address).await.map_err(|source| Error::Metrics { address, source })?,
            ),
        };
        let socket = door::Socket::listen(&node.config.socket).map_err(Error::of_door)?;
        let tasks = Tasks::start(&node, socket, metrics);
        tracing::info!(node = node.config.node, socket = %node.config.socket.display(), "the doors are open");
        Ok(Self { node, tasks })
    }

    /// Ends what is under way and leaves the kernel as it is.
    async fn stop(self) {
        self.tasks.stop().await;
        let node = self.node;
        node::blocking(move || node.journal.close()).await;
    }
}

/// The node as its journal has it.
fn book(config: Config, kernel: SharedKernel, journal: Journal, contents: journal::Contents) -> Arc<Node> {
    let mut held = Held::default();
    held.generation = contents.generation;
    held.node = contents.node;
    held.apply(contents.records, &[]);
    let mut ledger = Ledger::new(held, contents.next_number);
    for attachment in contents.attachments {
        let namespace = kernel.namespace(&attachment.request.netns);
        ledger.keep(attachment, namespace);
    }
    Node::new(config, kernel, journal, ledger)
}
