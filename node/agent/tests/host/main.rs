//! The agent as a process on the real kernel: in a network and mount namespace of its own, with a server that the test plays,
//! containers that are processes in namespaces, and TCP between them. Needs root.
#![allow(clippy::unwrap_used)]

mod claim;
mod disk;
mod ground;
mod lost;
mod mtu;
mod publish;
mod server;
mod whole;
mod world;
