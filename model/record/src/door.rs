//! The messages at an agent's doors: attach, detach, check, ask.
//!
//! One request and one answer on a connection, each one line of JSON ended by a newline, over the agent's unix socket. That
//! keeps `sealane-cni` tiny and lets a person speak it with `socat`.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::inspect::{Answer, Question};
use crate::word::{Labels, Mac, NamedPort, Prefix, Protocol};

/// The longest request or answer that is read, in bytes.
pub const MAX_LINE: usize = 4 << 20;

/// The folder, in the agent's state folder, where a door that does not reach the agent leaves a [`Detach`] as JSON, in a file
/// named by [`Detach::tombstone`]. The agent carries it out when it is there, and removes the file.
pub const TOMBSTONES: &str = "detached";

/// What a door can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// Give a network namespace a place on a virtual network. Asked again with the same name and namespace file it answers the
    /// same and changes nothing.
    Attach(Box<Attach>),
    /// Take the place away. Succeeds when there is none.
    Detach(Detach),
    /// Whether an attachment is as it was made.
    Check(Detach),
    /// Take away every attachment of this door that is not listed.
    Collect(Collect),
    /// Whether the agent can attach.
    Status,
    /// The attachments of this node.
    List,
    /// Ask the datapath.
    Ask {
        /// What.
        question: Question,
    },
}

/// Which door a request came through; the agent's config says what each may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// A container runtime, by CNI.
    Cni,
    /// `sealane run`.
    Run,
    /// `sealane attach`.
    Attach,
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cni => "cni",
            Self::Run => "run",
            Self::Attach => "attach",
        })
    }
}

/// See [`Request::Attach`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attach {
    /// Through which door.
    pub door: Door,
    /// The tenant; `None`: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The namespace; `None`: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The endpoint's name, unique in the namespace.
    pub name: String,
    /// The network; `None`: the namespace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The endpoint's labels.
    #[serde(default)]
    pub labels: Labels,
    /// Its named ports.
    #[serde(default)]
    pub ports: Vec<NamedPort>,
    /// The file of its network namespace.
    pub netns: PathBuf,
    /// The interface to make in it.
    pub interface: String,
    /// The runtime's name for the container, with `interface` the attachment's identity at this door.
    pub container: String,
    /// What tells a pod from an earlier one of its name, whose endpoint it takes over; `None`: it takes over nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Addresses it must have; empty: any of the network's.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The Ethernet address it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Ports of the node that lead to it.
    #[serde(default)]
    pub publish: Vec<Publish>,
}

/// A port of the node that leads to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publish {
    /// The node's address; `None`: every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The node's port.
    pub host_port: u16,
    /// The endpoint's port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// Names an attachment of a door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Detach {
    /// Through which door.
    pub door: Door,
    /// The runtime's name for the container.
    pub container: String,
    /// The interface; `None`: all of the container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

impl Detach {
    /// The name of the file in [`TOMBSTONES`] that asks for this: the same for the same attachments.
    pub fn tombstone(&self) -> String {
        let identity =
            format!("{}\0{}\0{}", self.door, self.container, self.interface.as_deref().unwrap_or(""));
        format!("{:016x}.json", xxhash_rust::xxh3::xxh3_64(identity.as_bytes()))
    }
}

/// See [`Request::Collect`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Collect {
    /// Through which door.
    pub door: Door,
    /// Only containers whose name begins with this and a `/`; `None`: every one of the door's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// The attachments that are still wanted: container and interface.
    pub keep: Vec<(String, String)>,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "camelCase")]
pub enum Reply {
    /// To [`Request::Attach`].
    Attached(Box<Attached>),
    /// To [`Request::Detach`], [`Request::Check`], [`Request::Collect`] and [`Request::Status`].
    Done,
    /// To [`Request::List`].
    Attachments {
        /// All of them.
        attachments: Vec<Attached>,
    },
    /// To [`Request::Ask`].
    Answer {
        /// The datapath's.
        answer: Answer,
    },
    /// It was not done, and nothing changed.
    Refused(Refusal),
}

/// An attachment as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// The attachment's identity in the fabric.
    pub uid: String,
    /// The tenant.
    pub tenant: String,
    /// The namespace.
    pub namespace: String,
    /// The endpoint.
    pub name: String,
    /// The network.
    pub network: String,
    /// The runtime's name for the container.
    pub container: String,
    /// The network namespace's file.
    pub netns: PathBuf,
    /// The interface in it.
    pub interface: String,
    /// The host's end of the link.
    pub host_interface: String,
    /// The Ethernet address of the interface.
    pub mac: Mac,
    /// The addresses, each with the gateway of its family.
    pub addresses: Vec<Assigned>,
    /// The interface's MTU in bytes.
    pub mtu: u16,
    /// Whether the groups of its addresses are known; until then it is denied by name.
    pub judged: bool,
    /// Ports of the node that lead to it.
    pub publish: Vec<Publish>,
    /// The addresses by which processes of its node reach it, in the order of `addresses`; they mean nothing elsewhere.
    #[serde(default)]
    pub host_addresses: Vec<IpAddr>,
    /// What whoever asked should know: it is attached, and yet not as somebody wished.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// An address of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assigned {
    /// The address.
    pub address: IpAddr,
    /// The subnet it lies in.
    pub subnet: Prefix,
    /// The gateway.
    pub gateway: IpAddr,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Refusal {
    /// What kind of fault it is, for a program.
    pub code: RefusalCode,
    /// What was wrong, with the object and the value.
    pub message: String,
    /// What to do about it; names the setting where one forbids it.
    pub remedy: String,
}

/// What kind of fault a [`Refusal`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusalCode {
    /// The request is not understood, or a value in it is wrong.
    Invalid,
    /// The config of this door does not allow it.
    Forbidden,
    /// The tenant, namespace, network or attachment does not exist.
    NotFound,
    /// The name, address, interface or published port is taken.
    Taken,
    /// No address is left.
    Exhausted,
    /// It may work later: the server is not reached, or a limit of time ran out.
    Unavailable,
    /// The kernel refused.
    Kernel,
    /// An attachment is not as it was made.
    Drifted,
}
