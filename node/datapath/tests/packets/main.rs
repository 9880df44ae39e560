//! Packet tests by test run: a frame in, the verdict and the frame out, with live maps.
//!
//! Each test has its own network namespace, mount namespace and bpffs; see `ground`.

#![allow(clippy::unwrap_used, missing_docs)]

mod container;
mod error;
mod fragment;
mod frame;
mod ground;
mod host;
mod maps;
mod neighbor;
mod oracle;
mod overlay;
mod policy;
mod published;
mod tcp;
mod world;
