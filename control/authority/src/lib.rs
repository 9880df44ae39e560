//! Who is who: certificates, tokens, and what is no longer believed.
//!
//! Owns: the fabric's root ([`Authority`]) and its files; the server's own certificate ([`ServerIdentity`]) and its judgement of
//! others' ([`ClientVerifier`]); the [`Tokens`] that let in whoever has no certificate; what is revoked ([`Revocations`]); what the
//! server does when a node joins or renews ([`Registrar`]); and the [`Kubeconfig`] that a person's tools read.
//!
//! ```text
//!                      Authority ──certifies──> admin, users, nodes, ServerIdentity
//!                          ^                                               |
//!   join, renew ──> Registrar ──asks──> Tokens      Revocations <──asks── ClientVerifier <── handshake
//!                          └────────────asks──────────^
//! ```
//!
//! Promises: no socket and no clock here: time is an argument; files through one module, whole or not at all; tokens and
//! revocations on a [`Shelf`] that the server provides. Secrets are in no message, log or error.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod draft;
mod file;
mod kubeconfig;
mod registrar;
mod revocation;
mod root;
mod server;
mod shelf;
mod subject;
mod token;

pub use draft::ServerName;
pub use file::FileError;
pub use kubeconfig::{Access, Kubeconfig, KubeconfigError, Proof, admin};
pub use registrar::{CertificateRefusal, Holder, Registrar, RegistrarError, check};
pub use revocation::{Revocation, Revocations, Revoked};
pub use root::{
    ADMIN_LIFE, Authority, AuthorityError, IssueError, MAX_LIFE, MIN_LIFE, NODE_LIFE, ROOT_LIFE, SERVER_LIFE,
};
pub use server::{ClientVerifier, ServerError, ServerIdentity, ServerNames, server_config};
pub use shelf::{Shelf, ShelfError, Slip};
pub use subject::{MASTERS, NODE_PREFIX, NODES, Subject, SubjectError};
pub use token::{Grant, Kept, Order, OrderError, TokenRefusal, Tokens, Use};
