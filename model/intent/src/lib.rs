#![cfg_attr(test, allow(clippy::unwrap_used))]
//! What people ask for: the kinds, how they are written, and what they mean.
//!
//! Owns: the registry of kinds ([`registry`]), the documents' form ([`schema`], [`wire`]), the way from a document to its
//! parsed form ([`admit`], [`parse`]), the parsed forms ([`object`], [`policy`], [`rights`]), what an update may change
//! ([`check_update`]), files of documents ([`manifest`]), what people and other servers are told of the kinds ([`reference`], [`crd`]) and the answer to bad input ([`problem`]).
//! Promises: a parsed value is valid and complete (defaults are in it); every problem of a document is told at once; no I/O,
//! no clock.
//!
//! ```text
//! text --manifest::read--> document --admit--> canonical document + parsed form
//!                             |
//!                             +--parse--> parsed form
//! ```

pub mod crd;
pub mod manifest;
pub mod nearest;
pub mod object;
mod parse;
pub mod policy;
pub mod problem;
pub mod reference;
pub mod registry;
pub mod rights;
pub mod schema;
mod update;
pub mod wire;

pub use parse::{Admitted, Parsed, UnknownFields, admit, kind_of, parse};
pub use problem::Problem;
pub use registry::Kind;
pub use update::check_update;
