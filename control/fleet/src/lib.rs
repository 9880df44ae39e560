//! The server's side of the fabric: from what people ask for to what each node holds.
//!
//! Owns: who may do what by the store's word, numbers, address blocks, the order in which a change reaches the nodes, their sessions, what is asked of them, and the
//! server as a whole ([`run`], [`Config`]).
//!
//! ```text
//!   api ──> store ──events──> engine ─────> stage ──> outlets ──> session ──stream──> nodes
//!             ^                 │ fleet: directory, numbers, blocks, observed
//!             └─────writes──────┘ (durable before anything is sent)
//! ```
//!
//! Promises: a number, a lease or a report is durable before anybody hears what follows from it; a server that starts again sends
//! nothing to nodes that hold what they should; work follows the change.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod blocks;
mod config;
mod directory;
mod document;
mod engine;
mod fleet;
pub mod inspect;
mod metrics;
mod numbers;
mod observed;
mod outlet;
mod purge;
mod restoration;
mod security;
mod server;
mod session;
mod shelf;
mod stage;
mod warden;

pub use config::{Config, ConfigError};
pub use fleet::RestoreError;
pub use numbers::NumbersError;
pub use purge::{PurgeError, purge};
pub use restoration::{check, restore};
pub use security::SecurityError;
pub use security::ledger;
pub use server::{ServerError, run};
pub use store::backup::{BackupError, Header as BackupHeader};
pub use store::{RestorationError, Restored};
