#![cfg_attr(test, allow(clippy::unwrap_used))]
//! What a node must be, in the words that every plane shares.
//!
//! Owns: the shared words ([`word`]), the records a node is made of ([`record`]), the selectors that cut endpoints into
//! groups ([`selector`]), the delta protocol between server and node ([`delta`]), the messages at an agent's doors ([`door`]),
//! what a node tells about itself ([`inspect`]), how it comes to its certificate ([`join`]), and the reasons for which packets
//! are dropped ([`DropReason`]).
//! Promises: no I/O, no clock, no randomness; what decodes is valid.

pub mod delta;
pub mod door;
mod drop_reason;
pub mod inspect;
pub mod join;
pub mod record;
pub mod selector;
pub mod word;

pub use drop_reason::DropReason;
pub use record::{Key, Record};
pub use word::*;
