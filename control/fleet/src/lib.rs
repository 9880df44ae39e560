//! The server's side of the fabric.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blocks;
mod directory;
mod document;
mod fleet;
mod numbers;
mod observed;
mod outlet;
mod stage;
