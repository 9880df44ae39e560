//! What is asked of a lab.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::underlay::Family;

/// How a lab is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Its name: 1 to 24 of a–z and 0–9, unique on the machine.
    pub name: String,
    /// How many hosts. The neighbours of all namespaces of a machine share one table
    /// (`net.ipv4.neigh.default.gc_thresh3`, 1024 by default): where more than 30 hosts all talk to one another, raise it.
    pub nodes: u16,
    /// The underlay's address families.
    pub family: Family,
    /// The underlay's MTU in bytes.
    pub mtu: u32,
    /// The `sealane` binary for the server and the agents; without it the hosts are bare.
    pub binary: Option<PathBuf>,
    /// Whether the server and all agents are started at once. Otherwise the caller starts each.
    pub start: bool,
    /// Settings of the server's config that differ from the lab's.
    pub server: toml::Table,
    /// Settings of every agent's config that differ from the lab's.
    pub agent: toml::Table,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "lab".to_owned(),
            nodes: 3,
            family: Family::Both,
            mtu: 1500,
            binary: None,
            start: true,
            server: toml::Table::new(),
            agent: toml::Table::new(),
        }
    }
}

impl Options {
    /// A lab of bare hosts.
    pub fn bare(name: &str, nodes: u16) -> Self {
        Self { name: name.to_owned(), nodes, ..Self::default() }
    }

    /// A lab that runs this `sealane`.
    pub fn running(name: &str, nodes: u16, binary: &Path) -> Self {
        Self { binary: Some(binary.to_owned()), ..Self::bare(name, nodes) }
    }
}
