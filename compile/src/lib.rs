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
//!
//! ```
//! use compile::{Change, Compiler, Numbers};
//! use record::record::{Node, Route};
//! use record::{NodeId, TenantId, Vni};
//!
//! // Freed numbers rest for 600 of whatever `advance` counts. After a restart: `Numbers::load`, all inputs, then `sweep`.
//! let mut compiler = Compiler::new(Numbers::new(600));
//! let node = NodeId(1);
//! let vni = Vni::new(7).expect("7 is a network identifier");
//! let changes = compiler.apply([
//!     Change::PutTenant { id: TenantId(1), name: "default".to_owned() },
//!     Change::PutNode(Node { id: node, name: "n1".to_owned(), underlay: Vec::new() }),
//!     Change::PutBlock(Route { vni, prefix: "10.1.0.0/24".parse()?, node }),
//! ]);
//! // First what was numbered is stored; then each node is told its part.
//! let stored = compiler.drain_numbers();
//! assert_eq!(stored.len(), 1, "the group of endpoints that no selector matches");
//! assert_eq!(changes.nodes[&node].upserts.len(), 3, "the node, that it is a member, its block");
//! # Ok::<(), record::PrefixError>(())
//! ```

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
mod work;

pub use compiler::{Compiler, Left, Problem};
pub use difference::{Difference, diff};
pub use explain::{
    End, ExplainError, Explanation, Inquiry, Party, SideTold, rule_in_words, selector_in_words,
};
pub use input::{Change, Endpoint, Universe, network};
pub use judge::{Someone, judge};
pub use ledger::{Changes, Delivery};
pub use number::{LoadError, Numbers, Stored};
pub use verdict::{Flow, Judged, Tables, verdict};
pub use work::Work;
