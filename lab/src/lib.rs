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
//!
//! ```no_run
//! # use std::{path::Path, time::Duration};
//! # use lab::{Lab, Options, container::Spec, echo::{Echo, Listen}, reach::{Reach, Source, Target}};
//! # fn main() -> lab::Result<()> {
//! let lab = Lab::up(Options::running("demo", 2, Path::new("/usr/bin/sealane")))?;
//! lab.await_ready(Duration::from_secs(20))?;
//! let web = lab.node(1).run(&Spec::idle("web"))?;
//! let db = lab.node(2).run(&Spec { labels: [("app".into(), "db".into())].into(), ..Spec::idle("db") })?;
//! let _echo = Echo::start(db.namespace(), "db", &[Listen::tcp(5432)])?;
//! let sources = [Source { name: "web".into(), namespace: web.namespace().clone() }];
//! let address = db.address(true).expect("the default network has IPv4");
//! let targets = [Target { name: "db".into(), address, protocol: record::Protocol::Tcp, port: 5432 }];
//! let reach = Reach::measure(&sources, &targets, Duration::from_millis(500))?;
//! reach.check(|from, to| (from, to.port) == ("web", 5432)).expect("policy lets web reach db");
//! # Ok(())
//! # }
//! ```
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
mod option;
pub mod probe;
pub mod process;
mod process_id;
pub mod reach;
pub mod signal;
pub mod spawn;
mod state;
mod teardown;
mod underlay;
pub mod wait;

pub use error::{Error, Result, report};
pub use fleet::{Host, Lab};
pub use option::Options;
pub use process_id::ProcessId;
pub use teardown::{down, sweep};
pub use underlay::{Family, Underlay};
pub use wait::{Late, wait_until};
