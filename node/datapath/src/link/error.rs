//! What can go wrong with links, and what to do about it.
//!
//! Promises: an error names the operation and the object; the kernel's own answer is its source and is not repeated.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use nix::errno::Errno;
use record::Prefix;
use rtnetlink::packet_core::DecodeError;

use super::problem::Problem;

/// The kernel's refusal of a netlink request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error number.
    pub errno: Errno,
    /// The sentence the kernel added (extended acknowledgement), if it did.
    pub said: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.errno)?;
        match &self.said {
            Some(said) => write!(f, " (the kernel says: {said})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why links could not be made, read, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("{operation} {object}: refused by the kernel")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Of what.
        object: String,
        /// The kernel's answer.
        #[source]
        refusal: Refusal,
    },
    /// A right is lacking.
    #[error("{operation} {object}: this process lacks {capability}")]
    Incapable {
        /// What was asked.
        operation: &'static str,
        /// Of what.
        object: String,
        /// The capability that would allow it.
        capability: &'static str,
        /// The kernel's answer.
        #[source]
        refusal: Refusal,
    },
    /// The netlink socket itself failed.
    #[error("{operation} {object}: the netlink socket failed")]
    Socket {
        /// What was asked.
        operation: &'static str,
        /// Of what.
        object: String,
        /// The socket's error.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer is not understood.
    #[error("{operation} {object}: the kernel's answer cannot be read")]
    Unreadable {
        /// What was asked.
        operation: &'static str,
        /// Of what.
        object: String,
        /// Where reading stopped.
        #[source]
        source: DecodeError,
    },
    /// The kernel has no driver for a kind of link.
    #[error("create {object}: this kernel has no {kind} links; it needs {option}")]
    NoDriver {
        /// The link that was wanted.
        object: String,
        /// Its kind.
        kind: &'static str,
        /// The build option (or module) that brings it.
        option: &'static str,
        /// The kernel's answer.
        #[source]
        refusal: Refusal,
    },
    /// The UDP port of the overlay belongs to somebody else.
    #[error("open UDP port {port} for {name}: another VXLAN device or process on this host has it")]
    PortTaken {
        /// The VXLAN device.
        name: String,
        /// The port wanted.
        port: u16,
        /// The kernel's answer.
        #[source]
        refusal: Refusal,
    },
    /// A link has a name of ours and is not ours; it is left alone.
    #[error("use the name {name}: a link has it that Sealane did not make; rename or remove that link")]
    NotOurs {
        /// The name.
        name: String,
    },
    /// The endpoint has a host end already.
    #[error("create {name}: the endpoint's link exists; remove it first")]
    HostEndExists {
        /// The host end.
        name: String,
    },
    /// The name wanted inside the container is in use there.
    #[error("create {name} in {namespace}: an interface there has that name; choose another or remove it")]
    NameTaken {
        /// The interface's name.
        name: String,
        /// The container's namespace.
        namespace: String,
    },
    /// A route to the same prefix is there, by another link.
    #[error(
        "add route {to} via {gateway} on {name}: there is a route to {to} by another link; remove it, or plan without"
    )]
    RouteTaken {
        /// The prefix.
        to: Prefix,
        /// The gateway wanted.
        gateway: IpAddr,
        /// The link it was to be on.
        name: String,
    },
    /// A link vanished between two steps.
    #[error("{operation} {name}: the link is gone")]
    Vanished {
        /// What was being done.
        operation: &'static str,
        /// The link.
        name: String,
    },
    /// What was asked for cannot be made; every problem of it.
    #[error("plan link {name}: {}", list(problems))]
    Plan {
        /// The link's name.
        name: String,
        /// Each of them.
        problems: Vec<Problem>,
    },
    /// No link carries traffic out of this host.
    #[error("find the uplink: there is no default route; name an underlay address")]
    NoUplink,
    /// The underlay address is on no link.
    #[error("find the uplink: no link has the address {address}")]
    NoSuchAddress {
        /// The address given.
        address: IpAddr,
    },
    /// A namespace cannot be opened.
    #[error("open network namespace {path}: no such namespace can be opened")]
    NamespaceOpen {
        /// Where it was looked for.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A file is no network namespace.
    #[error("open network namespace {path}: it is not a network namespace")]
    NotANamespace {
        /// The file.
        path: PathBuf,
    },
    /// A namespace cannot be entered.
    #[error("enter network namespace {namespace}: {}", entering(*source))]
    NamespaceEnter {
        /// The namespace.
        namespace: String,
        /// The system's error.
        #[source]
        source: Errno,
    },
    /// What identifies a namespace cannot be read.
    #[error("identify network namespace {namespace}: its identity cannot be read")]
    NamespaceIdentity {
        /// The namespace.
        namespace: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// No thread for work inside a namespace.
    #[error("enter network namespace {namespace}: no thread can be started")]
    Thread {
        /// The namespace.
        namespace: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A setting under /proc/sys/net cannot be read or written.
    #[error("set {} to {value}: {}", path.display(), writing(source))]
    Sysctl {
        /// The file.
        path: PathBuf,
        /// The value wanted.
        value: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The kernel's error number, where the kernel refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { refusal, .. }
            | Self::Incapable { refusal, .. }
            | Self::NoDriver { refusal, .. }
            | Self::PortTaken { refusal, .. } => Some(refusal.errno),
            Self::NamespaceEnter { source, .. } => Some(*source),
            _ => None,
        }
    }
}

/// Why one netlink request failed, before it is known for what it was made.
#[derive(Debug)]
pub(super) enum Fault {
    Refused(Refusal),
    Socket(io::Error),
    Unreadable(DecodeError),
}

impl Fault {
    /// The error number, if the kernel refused.
    pub(super) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(refusal) => Some(refusal.errno),
            _ => None,
        }
    }

    /// The error of `operation` on `object`.
    pub(super) fn on(self, operation: &'static str, object: impl fmt::Display) -> Error {
        let object = object.to_string();
        match self {
            Self::Refused(refusal) if refusal.errno == Errno::EPERM => {
                Error::Incapable { operation, object, capability: "CAP_NET_ADMIN", refusal }
            }
            Self::Refused(refusal) => Error::Refused { operation, object, refusal },
            Self::Socket(source) => Error::Socket { operation, object, source },
            Self::Unreadable(source) => Error::Unreadable { operation, object, source },
        }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

fn entering(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => "this process lacks CAP_SYS_ADMIN",
        _ => "refused by the kernel",
    }
}

fn writing(source: &io::Error) -> &'static str {
    match Errno::from_raw(source.raw_os_error().unwrap_or_default()) {
        Errno::EPERM | Errno::EACCES => "this process lacks CAP_NET_ADMIN",
        Errno::EROFS => "/proc/sys is mounted read-only here",
        _ => "the setting cannot be changed",
    }
}
