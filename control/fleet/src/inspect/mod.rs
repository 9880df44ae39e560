//! What people ask the server about the fabric: status, flows, drops, explanations, the audit, with names in place of numbers.
//!
//! Owns: the answers' form (the types here) and their routes ([`routes`]):
//!
//! | path | parameters | answer |
//! |---|---|---|
//! | `/fabric/v1/status` | – | [`FabricStatus`] |
//! | `/fabric/v1/flows` | `tenant`, `network`, `node`, `address`, `limit` | [`FlowList`] |
//! | `/fabric/v1/drops` | `tenant`, `node` | [`DropList`] |
//! | `/fabric/v1/audit` | `tenant`, `user`, `object`, `verb`, `since`, `refused`, `limit` | [`AuditList`] |
//! | `/fabric/v1/backup` (POST; the right to `create` `backups.fabric.sealane.dev`) | – | [`store::backup`] |
//! | `/fabric/v1/explain`, `/clusters/TENANT/fabric/v1/explain` | `from`, `to`, `network`, `protocol`, `intent` | [`Explained`] |
//!
//! `from` and `to` are `NAMESPACE/NAME`, an address, `world` or `host`; `to` may end with `:PORT` or `:PORT/PROTOCOL`. Refusals
//! are a `Status`, as everywhere on this server. Promises: a node that does not answer is named in the answer, and the rest is
//! there all the same.

mod audit;
mod explain;
mod names;
mod parameters;
mod routes;
mod survey;

use std::net::IpAddr;

use compile::Explanation;
use record::inspect::{Judgement, MapFill, Traffic};
use record::{Direction, DropReason, Generation, Group, NodeId};
use serde::{Deserialize, Serialize};

pub(crate) use routes::{State, routes};

/// How the fabric is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FabricStatus {
    /// The store's newest revision.
    pub revision: u64,
    /// How many tenants there are.
    pub tenants: usize,
    /// How many virtual networks.
    pub networks: usize,
    /// How many endpoints.
    pub endpoints: usize,
    /// Changes that some node has yet to acknowledge.
    pub changes_under_way: usize,
    /// Tenants whose policies are between two states.
    pub policies_changing: usize,
    /// What cannot be done, in words.
    pub problems: Vec<String>,
    /// Every node, by name.
    pub nodes: Vec<NodeStatus>,
}

/// How one node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: NodeId,
    /// Its addresses on the network between hosts.
    pub underlay: Vec<IpAddr>,
    /// Whether its agent is connected.
    pub connected: bool,
    /// Since when it is, or is not, in seconds.
    pub since_seconds: u64,
    /// The newest generation that was sent to it.
    pub generation_wanted: Generation,
    /// The newest that it has acknowledged.
    pub generation_held: Generation,
    /// Why it does not hold what it should; empty: it does.
    pub behind_because: String,
    /// How many records it should hold.
    pub records: usize,
    /// How many endpoints are on it.
    pub endpoints: usize,
    /// Its kernel's release.
    pub kernel: String,
    /// Its agent's version.
    pub software: String,
    /// Its underlay's MTU in bytes; 0: not known.
    pub mtu: u16,
    /// How full its maps were when it was last asked.
    pub fill: Vec<MapFill>,
    /// What is in force on it, and yet not as somebody wished, as of when it was last asked.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// Live flows of the fabric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowList {
    /// The flows, each as one node sees it.
    pub flows: Vec<NamedFlow>,
    /// Nodes that gave no answer.
    pub unanswered: Vec<String>,
}

/// A flow with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedFlow {
    /// Which node tells of it.
    pub node: String,
    /// The tenant.
    pub tenant: String,
    /// The network.
    pub network: String,
    /// `TCP`, `UDP`, or IANA's number.
    pub protocol: String,
    /// Who began it.
    pub source: Peer,
    /// With whom.
    pub destination: Peer,
    /// From the initiator.
    pub sent: Traffic,
    /// To the initiator.
    pub received: Traffic,
    /// Age in milliseconds.
    pub age_ms: u64,
    /// Milliseconds since the last packet.
    pub idle_ms: u64,
    /// `new`, `established`, `closing`.
    pub state: String,
    /// The rule that allowed it; `None`: no rule did, among the sides that this node judged.
    pub rule: Option<String>,
    /// How it is translated, in words; empty: not.
    pub translation: String,
    /// The sides that this node judged when the flow began; none: the receiver's node judges both. `None`: the node does not say.
    #[serde(default)]
    pub judged: Option<Vec<Direction>>,
}

/// One end of a flow or of a dropped packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// The port; 0 for protocols without.
    pub port: u16,
    /// `NAMESPACE/NAME`, where it is an endpoint.
    pub endpoint: Option<String>,
}

/// What the fabric's nodes have dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropList {
    /// Counts since each node's maps were made.
    pub counts: Vec<NamedDropCount>,
    /// The latest dropped packets, oldest first.
    pub samples: Vec<NamedDropSample>,
    /// Samples that were lost for want of room.
    pub lost: u64,
    /// Nodes that gave no answer.
    pub unanswered: Vec<String>,
}

/// How much one node has dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedDropCount {
    /// The node.
    pub node: String,
    /// The tenant, where it was known.
    pub tenant: Option<String>,
    /// The network, where it was known.
    pub network: Option<String>,
    /// Why.
    pub reason: DropReason,
    /// What that means, in words.
    pub meaning: String,
    /// By which rule, where policy dropped it.
    pub rule: Option<String>,
    /// How much.
    pub traffic: Traffic,
}

/// One dropped packet with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedDropSample {
    /// The node.
    pub node: String,
    /// Milliseconds since 1970 by the node's clock.
    pub time_ms: u64,
    /// The tenant, where it was known.
    pub tenant: Option<String>,
    /// The network, where it was known.
    pub network: Option<String>,
    /// From.
    pub source: Peer,
    /// To.
    pub destination: Peer,
    /// `TCP`, `UDP`, or IANA's number.
    pub protocol: String,
    /// The groups, sender's first.
    pub groups: (Group, Group),
    /// Why.
    pub reason: DropReason,
    /// By which rule, where policy dropped it.
    pub rule: Option<String>,
    /// Which side denied, where policy did.
    pub direction: Option<Direction>,
}

/// What was changed and what was refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditList {
    /// Events of audit.k8s.io/v1, newest last.
    pub events: Vec<serde_json::Value>,
    /// Whether there are older ones that match.
    pub more: bool,
    /// Lines of the files that are no events: the end of a full disk or of a process that was killed.
    pub unreadable: u64,
}

/// Why a packet passes, or does not: by the policies, and by the nodes' datapaths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The tenant's name.
    pub tenant: String,
    /// What policies, as they are compiled, say.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// The names of the nodes of both ends, sender's first.
    pub nodes: (Option<String>, Option<String>),
    /// What the datapaths of these nodes say; empty when intent alone was asked for.
    pub datapath: Vec<NodeJudgement>,
    /// Where the two differ, or a node gave no answer; empty: they agree.
    pub faults: Vec<String>,
}

/// What one node's datapath says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeJudgement {
    /// The node.
    pub node: String,
    /// What it says.
    pub judgement: Judgement,
}
