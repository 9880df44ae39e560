//! The Kubernetes-shaped REST API, so that `kubectl` and every Kubernetes client drive Sealane.
//!
//! Owns: paths, discovery, verbs, forms ([`serve()`], [`Api`]), who asks ([`Who`]), the one question of rights
//! ([`Authorizer`]), the one [`Audit`] sink, and the [`Admission`] hook by which the server joins in. What documents mean is
//! `intent`'s, where they are kept is `store`'s.
//!
//! ```text
//!     listen -> connection (limits, TLS) -> caller -> route (target, authorize, query) -> read | watch | write | remove -> store
//!                                         |         |
//!             document, merge -> prepare (intent) -> commit (admission)
//! ```
//!
//! Promises: every request for objects or discovery passes `authorize`; every write, and whatever is refused however early, is noted; a body is
//! bounded in size and depth; every refusal is a `Status` with code, reason and all that is wrong. Health and version are open.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod admission;
mod audit;
mod caller;
mod collect;
mod commit;
mod connection;
mod crowd;
mod discovery;
mod document;
mod ending;
mod event;
mod inquiry;
mod journal;
mod jsonpath;
mod limits;
mod listen;
mod merge;
mod note;
mod offer;
mod openapi;
mod owner;
mod parent;
mod prepare;
mod protobuf;
mod pulse;
mod query;
mod read;
mod reap;
mod remove;
mod review;
mod route;
mod search;
mod selector;
mod serve;
mod server;
mod status;
mod target;
mod tls;
mod trail;
mod view;
mod watch;
mod who;
mod write;

pub use access::{Access, Asked, Authorizer, Decision, Deed, Rights, Verb, What};
pub use admission::{Admission, AdmitAll, Objection, Proposal};
pub use audit::{Audit, NoAudit};
pub use event::{AuditEvent, Stage};
pub use journal::{AuditFile, Keep};
pub use limits::{CHUNK, Limits};
pub use listen::{ListenError, Listener};
pub use search::{Found, Search, Subject};
pub use serve::serve;
pub use server::{Api, Settings};
pub use status::{Reason, Refusal};
pub use tls::{Standing, Tls};
pub use who::{
    AUTHENTICATED, Authenticate, Identity, LOCAL, LOOPBACK, MASTERS, NODE_PREFIX, NODES, Origin, REMOTE,
    UNAUTHENTICATED, Who,
};
