//! Fleets of hosts in network namespaces.
//!
//! A *lab* is some hosts on one machine: each a network namespace with a control group, joined by a switch (the underlay),
//! beside a `server` host and the `world` outside. The tests, the benches and `sealane lab` use the same code:
//!
//! ```text
//!   sl-NAME-n1        sl-NAME-n2      sl-NAME-server      sl-NAME-world   203.0.113.0/24, 2001:db8:113::/64
//!      eth0              eth0              eth0               eth0        (every address of these is the world's own)
//!       |                 |                 |                  |
//!   ----n1----------------n2--------------server-------------world----    bridge in sl-NAME-net
//!                     172.31.0.0/16, fd00:31::/64
//! ```
//!
//! Owns: [`fleet`] (a lab and its hosts), [`container`] (running a process in a namespace of its own, attached by an agent;
//! it knows nothing of labs and is what `sealane run` uses), [`process`] (the server's and the agents' configs and processes),
//! [`probe`], [`echo`] and [`reach`] (who reaches whom, as a truth table), [`wait`], and [`inventory`] (everything on the
//! machine that a lab could leave behind).
//! Promises: the caller's own namespaces never change; a lab that goes, by `down`, by drop or by a panic, leaves nothing;
//! what an owner that was killed left is found by the lab's name and removed.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cgroup;
pub mod container;
pub mod door;
pub mod echo;
mod error;
pub mod fleet;
pub mod inventory;
pub mod link;
pub mod mount;
pub mod namespace;
pub mod probe;
pub mod process;
mod process_id;
pub mod reach;
mod signal;
pub mod spawn;
mod state;
mod teardown;
mod underlay;
pub mod wait;

pub use error::{Error, Result, report};
pub use fleet::{Host, Lab, Options};
pub use process_id::ProcessId;
pub use teardown::{down, sweep};
pub use underlay::{Family, Underlay};
pub use wait::{Late, wait_until};
