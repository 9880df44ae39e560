//! One node's datapath: the eBPF programs, their loader, the map codecs, and the links they hang on.
//!
//! ```text
//!   records ── entry ── held ── apply ──┐
//!   attach, regroup, publish ── endpoint ┼── table ── maps ── programs (bpf/) ── hook ── devices
//!   flows, drops, explain, fill ─────────┘
//! ```
//!
//! Promises: what was in force stays in force through any error, a restart and a kill at any step; every object in the kernel
//! is found again after a restart, and [`Datapath::remove`] takes all of them away.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod abi;
mod apply;
mod config;
mod drops;
mod endpoint;
mod entry;
mod error;
mod flow;
mod grace;
mod held;
mod hook;
mod interval;
mod judge;
pub mod link;
mod object;
mod socket;
mod table;

pub use config::{Capacity, Config, GATEWAY_MAC, HookKind, Leg, Overlay, Timeouts, shadow_of};
pub use endpoint::{EndpointAddress, LocalEndpoint, Published};
pub use error::{Error, Fault};
pub use flow::Swept;
pub use socket::cgroup_root;

use std::collections::BTreeMap;
use std::path::Path;

use grace::Grace;
use held::Held;
use hook::{Hooks, Side};
use object::Loaded;

/// A node's datapath, in force. Dropping it changes nothing in the kernel: packets pass as before.
#[derive(Debug)]
pub struct Datapath {
    config: Config,
    loaded: Loaded,
    hooks: Hooks,
    held: Held,
    grace: Grace,
    /// The link of each endpoint in force, by its number.
    attached: BTreeMap<u32, u32>,
}

impl Datapath {
    /// Loads the programs, takes over the pinned maps with all that is in them or makes them, and puts the programs in place
    /// of those that hang on this node's devices. Until the last step the programs before go on; each device changes over in
    /// one step.
    ///
    /// Errors: [`Error::Schema`] for maps of another version, [`Error::Config`], and the kernel's refusals.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let namespace = config.cgroup.as_ref().map(|_| socket::namespace_cookie());
        let namespace = namespace.and_then(|asked| asked.inspect_err(socket::tell_without).ok());
        let settings = abi::Config { namespace_cookie: namespace.unwrap_or(0), ..config.encode()? };
        let loaded = Loaded::load(config, namespace.is_some())?;
        let word = loaded.tables.state.find(&0)?.unwrap_or_default().generation;
        let held = Held::read(&loaded.tables, word)?;
        let hooks = Hooks::open(&config.pin_dir, config.hooks)?;
        let endpoints = loaded.tables.endpoints_by_link.entries()?;
        let attached = endpoints.into_iter().map(|(link, endpoint)| (endpoint.id, link)).collect();
        let datapath = Self { config: config.clone(), loaded, hooks, held, grace: Grace::new()?, attached };
        datapath.prepare_drops()?;
        datapath.loaded.tables.config.put(&0, &settings)?;
        datapath.hang_on_node()?;
        datapath.hang_on_endpoints()?;
        datapath.hang_on_sockets()?;
        Ok(datapath)
    }

    /// Each program's name, and the instructions that the kernel's verifier went through for it; its limit is a million.
    pub fn verified(&self) -> Result<Vec<(String, u32)>, Error> {
        self.loaded.verified()
    }

    /// Takes everything in a pin directory out of the kernel: links first, then maps. Nothing there is no error. Filters of
    /// the older kind go with their devices.
    pub fn remove(pin_dir: &Path) -> Result<(), Error> {
        for name in ["links", "maps"] {
            remove_directory(&pin_dir.join(name))?;
        }
        match std::fs::remove_dir(pin_dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::pin("remove", pin_dir, source))
            }
            _ => Ok(()),
        }
    }

    /// The hooks of the node itself; one whose device is no longer configured goes.
    fn hang_on_node(&self) -> Result<(), Error> {
        let mut wanted = Vec::new();
        if let Some(overlay) = self.config.overlay {
            wanted.push(("overlay".to_owned(), "from_overlay", overlay.link, Side::Ingress));
        }
        if let Some(leg) = self.config.leg {
            // Nobody is let in before it is known who comes.
            wanted.push(("leave".to_owned(), "leave_host", leg.host, Side::Egress));
            wanted.push(("leg".to_owned(), "from_host", leg.fabric, Side::Ingress));
        }
        for (index, link) in self.config.uplinks.iter().enumerate() {
            wanted.push((format!("uplink{index}"), "from_uplink", *link, Side::Ingress));
        }
        for (name, program, device, side) in &wanted {
            self.hooks.attach(name, self.loaded.program(program), *device, *side)?;
        }
        for name in self.hooks.names()? {
            let of_node = name == "overlay" || name == "leg" || name == "leave" || name.starts_with("uplink");
            if of_node && !wanted.iter().any(|(wanted, ..)| *wanted == name) {
                self.hooks.unpin(&name)?;
            }
        }
        Ok(())
    }
}

fn remove_directory(directory: &Path) -> Result<(), Error> {
    let entries = match std::fs::read_dir(directory) {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|source| Error::pin("list", directory, source))?,
    };
    for entry in entries {
        let path = entry.map_err(|source| Error::pin("list", directory, source))?.path();
        std::fs::remove_file(&path).map_err(|source| Error::pin("remove", &path, source))?;
    }
    std::fs::remove_dir(directory).map_err(|source| Error::pin("remove", directory, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datapath_may_move_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Datapath>();
    }
}
