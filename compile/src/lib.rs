#![cfg_attr(test, allow(clippy::unwrap_used))]
//! Intent and observations in, records out; verdicts and their explanation.
//!
//! ```text
//!   Change --> Compiler --> Changes (records, and what each node is told)
//!              Numbers  <-> store
//! ```
//!
//! Owns: groups, rule sets, rows, address classes, who needs which record ([`Compiler`]), and the numbers of all that
//! ([`Numbers`]).
//! Promises: pure: no I/O, clock or randomness; incremental equals from nothing.

mod compiler;
mod difference;
mod explain;
mod fabric;
mod input;
mod judge;
mod ledger;
mod number;
mod row;
mod tenant;
mod verdict;

pub use compiler::{Compiler, Problem, Work};
pub use difference::{Difference, diff};
pub use explain::{
    End, ExplainError, Explanation, Inquiry, Party, SideTold, rule_in_words, selector_in_words,
};
pub use input::{Change, Endpoint, Universe, network};
pub use judge::{Someone, judge};
pub use ledger::{Changes, Delivery};
pub use number::{LoadError, Numbers, Stored};
pub use verdict::{Flow, Judged, Tables, verdict};
