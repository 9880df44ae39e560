#![cfg_attr(test, allow(clippy::unwrap_used))]
//! The agent of one node.

mod attachment;
mod config;
mod error;
mod held;
mod journal;
mod kernel;
mod pool;
#[cfg(test)]
mod testing;

pub use config::{Config, ConfigError, DoorRules, Log, Problem, Underlay};
