//! Keys, requests to certify them, and certificates as they are read.
//!
//! Owns: a private [`Key`], the [`Request`] that asks to certify one (PKCS#10), a [`Certificate`] as its reader sees it (whom it
//! names, until when), and a [`Bundle`] of roots that are trusted, each known by its fingerprint.
//!
//! ```text
//!   node, CLI                              authority
//!   Key::generate ──> request() ──PEM──>   Request::read ──> (signed elsewhere)
//!   Certificate::read                <──   Certificate
//!   Bundle::read                     <──   Bundle
//! ```
//!
//! Promises: no socket, no file, no clock; whatever text is read, the answer is a value or an error and never a panic; a
//! [`Request`] that exists was signed by the key in it, and that key is strong. One crypto library: aws-lc-rs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bundle;
mod certificate;
pub mod clock;
mod key;
pub mod random;
mod request;

pub use bundle::{Bundle, BundleError};
pub use certificate::{Certificate, CertificateError, Serial, Validity, fingerprint};
pub use key::{Key, KeyError};
pub use request::{Request, RequestError};
