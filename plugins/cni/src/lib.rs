#![cfg_attr(test, allow(clippy::unwrap_used))]
//! `sealane-cni`: the door through which container runtimes come, by the Container Network Interface.
//!
//! ```text
//!   runtime ── CNI_* variables, config on stdin ──> Call ──> one request to the agent's socket ──> result or error on stdout
//! ```
//!
//! Promises: speaks the versions in [`SUPPORTED`] and answers in the config's own; decides nothing and holds nothing: the agent does;
//! `DEL` succeeds within a second even if the agent is away, leaving word for it ([`record::door::TOMBSTONES`]).
//! Source: the CNI specification 1.1.0.

mod agent;
mod call;
mod config;
mod conflist;
mod environment;
mod fault;
mod outcome;
mod version;

pub use call::run;
pub use conflist::{Conflist, conflist};
pub use environment::Environment;
pub use fault::{Code, Fault};
pub use version::{SUPPORTED, Unspoken, Version};

/// Where the agent's socket is unless the config's `agentSocket` says otherwise.
pub const AGENT_SOCKET: &str = "/run/sealane/agent.sock";

/// The agent's state folder unless the config's `stateDir` says otherwise.
pub const STATE_DIR: &str = "/var/lib/sealane";
