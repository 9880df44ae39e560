//! Real container runtimes by CNI: podman and containerd's `ctr` start containers on the hosts of a lab, and `sealane-cni` is
//! called with every verb and version as a runtime would.
//!
//! Needs root, and podman, containerd, runc, curl and busybox-static; what is missing fails a proof by its package's name. Each
//! proof has a lab of its own and leaves nothing of it: no container, namespace, mount, control group or process.
#![allow(clippy::unwrap_used)]

mod containerd;
mod ctr;
mod direct;
#[path = "../fabric/mod.rs"]
mod fabric;
mod image;
mod plugin;
mod podman;
mod pods;
mod refusals;
mod traces;
