//! Objects with revisions, watches and compare-and-set.
//!
//! Owns: the [`Store`] trait, its home in one file ([`FileStore`]), the cache that every reader uses ([`Cached`]), and copies of
//! all that is in it ([`backup`], [`restore`]).
//!
//! ```text
//!     api, fleet ──reads──> Cached (memory) <──watch── FileStore (redb file)
//!         └────────writes────> Cached ──────────────────^   one durable commit for writes that arrive together
//! ```
//!
//! Promises:
//! - One counter for the whole store: each transaction that changes something is one revision, without gaps.
//! - What was acknowledged is on the disk. What was refused changed nothing.
//! - A watch delivers every event after its revision, in order, whole transactions at a time, or fails with
//!   [`StoreError::Compacted`]; it never skips.
//! - Whoever wrote through [`Cached`] reads that write there.
//! - When the file fails, writes are refused with the cause and reads go on; the file is opened anew for the next write.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod backup;
mod cache;
mod error;
mod file;
mod key;
mod log;
mod object;
mod transaction;

use futures_util::future::BoxFuture;

pub use cache::Cached;
pub use error::StoreError;
pub use file::{FileStore, RestorationError, Restored, SCHEMA, restore};
pub use key::{ObjectKey, Scope};
pub use log::{Batch, Retention, Watch};
pub use object::{Event, Listing, Object};
pub use transaction::{Action, Change, Expect, Transaction, Written};

/// The home of objects: the file of one server now, a cluster of homes later. Safe to share between tasks.
pub trait Store: Send + Sync + 'static {
    /// The span of revisions that can be listed and watched.
    fn span(&self) -> Span;

    /// The object now, if there is one. Errors: [`StoreError::Failed`] when the home cannot be read.
    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<Object>, StoreError>>;

    /// The objects of a scope, by key, as they were at the revision `at` (`None`: now).
    ///
    /// Errors: [`StoreError::Compacted`], [`StoreError::Future`], [`StoreError::Failed`].
    fn list<'a>(&'a self, scope: &'a Scope, at: Option<u64>) -> BoxFuture<'a, Result<Listing, StoreError>>;

    /// Every event of a scope after the revision `after`.
    ///
    /// Errors: [`StoreError::Compacted`], [`StoreError::Future`].
    fn watch(&self, scope: Scope, after: u64) -> Result<Watch, StoreError>;

    /// Carries out the transaction whole, as one revision, or not at all. Returns when it is durable.
    ///
    /// Errors: [`StoreError::Conflict`] for the first expectation that does not hold, [`StoreError::Failed`] when the home
    /// cannot be written (then it may turn out later that the transaction was carried out).
    fn write(&self, transaction: Transaction) -> BoxFuture<'_, Result<Written, StoreError>>;

    /// Forgets the history up to and including the revision `through`; the objects stay.
    fn compact(&self, through: u64) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// What a store can answer for: listing works from `compacted` on, watching after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// History up to and including this revision is forgotten.
    pub compacted: u64,
    /// The newest revision.
    pub revision: u64,
}
