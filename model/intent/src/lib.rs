//! What people ask for: the kinds, parsed.
//!
//! Owns: the kinds and their parsed forms ([`object`], [`policy`]). Promises: a parsed value is valid and complete (defaults
//! are in it); no I/O, no clock.

pub mod object;
pub mod policy;
