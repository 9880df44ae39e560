//! What can go wrong between the datapath and the kernel.

use std::io;
use std::path::PathBuf;

/// Why an operation on the datapath failed. What was in force before it still is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused an operation on a map.
    #[error("{operation} map {map}")]
    Map {
        /// What was tried.
        operation: &'static str,
        /// The map's name.
        map: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// libbpf refused.
    #[error("{operation} {object}")]
    Library {
        /// What was tried.
        operation: &'static str,
        /// On which map or program.
        object: String,
        /// Its answer.
        #[source]
        source: libbpf_rs::Error,
    },
    /// The kernel refused an operation on a link or a pin.
    #[error("{operation} {object}")]
    Hook {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file operation on the pins failed.
    #[error("{operation} {}", path.display())]
    Pin {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A pinned map is not what this build works with.
    #[error("map {map} has keys and values of {found:?} bytes, this build works with {expected:?}")]
    Shape {
        /// Its name.
        map: &'static str,
        /// Bytes of (key, value) found.
        found: (u32, u32),
        /// Bytes of (key, value) expected.
        expected: (u32, u32),
    },
    /// The pinned maps are another version's.
    #[error(
        "the maps in {} are of schema {found}, this build works with {expected}: run the release that made them, or \
         remove them with `sealane agent --purge`, which cuts this node's flows", path.display()
    )]
    Schema {
        /// Where they are pinned.
        path: PathBuf,
        /// Their version.
        found: u32,
        /// This build's.
        expected: u32,
    },
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(&'static str),
    /// A generation older than the one held.
    #[error("generation {offered} is older than {held}, which the node holds")]
    Older {
        /// What was to be applied.
        offered: record::Generation,
        /// What is in force.
        held: record::Generation,
    },
    /// The array of policy intervals has no free slice of this length.
    #[error("no room for a row of {wanted} intervals: {free} of {capacity} are free, in pieces")]
    Intervals {
        /// Intervals wanted.
        wanted: usize,
        /// Intervals free.
        free: u32,
        /// Intervals in all.
        capacity: u32,
    },
    /// A record that no map can hold.
    #[error("{what} does not fit the datapath")]
    Unfit {
        /// What, and why.
        what: String,
    },
    /// An endpoint that is not attached.
    #[error("endpoint {0} is not attached")]
    NotAttached(u32),
    /// Another endpoint has the address.
    #[error("{address} in network {vni} belongs to endpoint {owner}")]
    AddressTaken {
        /// The network.
        vni: u32,
        /// The address.
        address: std::net::IpAddr,
        /// Whose it is.
        owner: u32,
    },
    /// A program that never runs so far did not run.
    #[error("program {program} ended with {returned}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it returned.
        returned: u32,
    },
}

impl Error {
    /// From libbpf's result: a negative errno.
    pub(crate) fn map(operation: &'static str, map: &'static str, result: i32) -> Self {
        Self::Map { operation, map, source: io::Error::from_raw_os_error(-result) }
    }

    pub(crate) fn library(
        operation: &'static str,
        object: impl Into<String>,
        source: libbpf_rs::Error,
    ) -> Self {
        Self::Library { operation, object: object.into(), source }
    }

    pub(crate) fn hook(operation: &'static str, object: impl Into<String>, result: i32) -> Self {
        Self::Hook { operation, object: object.into(), source: io::Error::from_raw_os_error(-result) }
    }

    pub(crate) fn pin(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Pin { operation, path: path.into(), source }
    }

    /// EINVAL, or ENODEV: the device, and with it the qdisc, is gone.
    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self.errno(), Some(nix::errno::Errno::EINVAL | nix::errno::Errno::ENODEV))
    }

    fn errno(&self) -> Option<nix::errno::Errno> {
        match self {
            Self::Map { source, .. } | Self::Hook { source, .. } | Self::Pin { source, .. } => {
                source.raw_os_error().map(nix::errno::Errno::from_raw)
            }
            _ => None,
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.errno() == Some(nix::errno::Errno::ENOENT)
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.errno() == Some(nix::errno::Errno::EEXIST)
    }

    /// Whether a map has no room (E2BIG), or a buffer none (ENOSPC).
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Intervals { .. })
            || matches!(self.errno(), Some(nix::errno::Errno::E2BIG | nix::errno::Errno::ENOSPC))
    }
}

/// A record that could not be realised, and why. The generation before it stays in force.
#[derive(Debug, thiserror::Error)]
#[error("realise {}", key.as_ref().map_or_else(|| "a generation".to_owned(), |key| format!("{key:?}")))]
pub struct Fault {
    /// Which; `None`: none in particular.
    pub key: Option<record::record::Key>,
    /// Why.
    #[source]
    pub source: Error,
}
