//! What the agent asks of the kernel: the seam between its bookkeeping and the datapath.
//!
//! Promises of every implementation: a call blocks and is made from a thread that may block; what an attachment has in the
//! kernel (link, programs, maps' entries, published ports) follows from the [`Attachment`] and its [`Groups`] alone; a call
//! that fails has told all it left behind by [`Kernel::inventory`]; removing what is not there is no error.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use record::delta::Fault;
use record::inspect::{DropCount, DropSample, FlowFilter, Judgement, MapFill, Packet};
use record::{Generation, Key, Mac, NodeId, Record, Vni};
use tokio::sync::mpsc;

use crate::attachment::{Attachment, Groups};

pub(crate) mod fabric;
#[cfg(test)]
pub(crate) mod memory;

/// One node's kernel.
pub(crate) trait Kernel: Send + Sync + 'static {
    /// Takes the node's number: routes to it are this node's own blocks.
    fn identify(&self, node: NodeId) -> Result<(), KernelError>;

    /// Changes the records in force, with one flip from the old state to the new. Answers what could not be realised; what
    /// was in force for it stays.
    fn apply(&self, changed: &[Record], removed: &[Key], generation: Generation) -> Vec<Fault>;

    /// Makes the records in force be exactly these, whatever was found.
    fn resync(&self, records: &[Record], generation: Generation) -> Vec<Fault>;

    /// Makes everything that the attachment has in the kernel: the datapath judges before the link is up. On failure nothing
    /// is left, or [`Kernel::inventory`] tells it.
    fn attach(&self, attachment: &Attachment, groups: &Groups) -> Result<(), KernelError>;

    /// Makes whole what a restart found of an attached one: its link is there, the rest is made as it should be.
    fn adopt(&self, attachment: &Attachment, groups: &Groups) -> Result<(), KernelError>;

    /// Removes everything of the attachment with this number.
    fn detach(&self, number: u32) -> Result<(), KernelError>;

    /// Fits the host's own links to the underlay as it is now; `ipv6`: whether any node is, or may be, reached by IPv6. Answers whether
    /// anything changed.
    fn fit(&self, ipv6: bool) -> Result<bool, KernelError>;

    /// Gives the link of an attachment the MTU that the attachment has now.
    fn resize(&self, attachment: &Attachment) -> Result<(), KernelError>;

    /// Gives the addresses of an attachment other groups.
    fn regroup(&self, attachment: &Attachment, groups: &Groups) -> Result<(), KernelError>;

    /// Every number of which anything is in the kernel.
    fn inventory(&self) -> Result<Vec<Found>, KernelError>;

    /// How the attachment differs from what was made; empty: not at all.
    fn check(&self, attachment: &Attachment) -> Result<Vec<String>, KernelError>;

    /// What tells the network namespace at this path from every other; `None`: there is none.
    fn namespace(&self, path: &std::path::Path) -> Option<u64>;

    /// Why this host cannot publish the port: [`KernelError::PortTaken`], [`KernelError::ForeignAddress`].
    fn offers(&self, publish: &record::door::Publish) -> Result<(), KernelError>;

    /// The Ethernet address of an interface with this address.
    fn mac(&self, vni: Vni, address: IpAddr) -> Mac;

    /// What the underlay is.
    fn underlay(&self) -> Underlay;

    /// What the maps in force say of a packet.
    fn judge(&self, packet: &Packet) -> Result<Judgement, KernelError>;

    /// The live flows that match.
    fn flows(&self, filter: &FlowFilter) -> Result<Vec<record::inspect::Flow>, KernelError>;

    /// What was dropped since the maps were made.
    fn drops(&self) -> Result<Vec<DropCount>, KernelError>;

    /// How full the maps are.
    fn fill(&self) -> Result<Vec<MapFill>, KernelError>;

    /// Forgets flows that are over; answers how many are left.
    fn sweep(&self) -> Result<u64, KernelError>;

    /// Waits for dropped packets at most `patience`; answers them and how many were lost for want of room since the maps
    /// were made.
    fn samples(&self, patience: Duration) -> Result<(Vec<DropSample>, u64), KernelError>;

    /// Tells of links from now on. Called within an async runtime.
    fn watch(&self) -> Result<mpsc::Receiver<News>, KernelError>;
}

/// The kernel, shared.
pub(crate) type SharedKernel = Arc<dyn Kernel>;

/// What of one number was found in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    /// Which.
    pub(crate) number: u32,
    /// Whether its link is there.
    pub(crate) link: bool,
}

/// News of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The link with this number is gone.
    Gone(u32),
    /// The link to the other hosts has changed.
    Underlay,
    /// News were lost: look for yourself.
    Lost,
}

/// The network between hosts, as the agent found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Underlay {
    /// This host's addresses, preferred first.
    pub(crate) addresses: Vec<IpAddr>,
    /// Bytes of its largest packet.
    pub(crate) mtu: u16,
    /// Bytes of the largest packet of a container.
    pub(crate) container_mtu: u16,
}

/// Why the kernel did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    /// The container's namespace is not there.
    #[error("open network namespace {path}")]
    NoNamespace {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The interface's name is in use in the container.
    #[error("make interface {interface} in {namespace}: an interface there has that name")]
    InterfaceTaken { interface: String, namespace: String },
    /// A published port is in use.
    #[error("publish {port}: {by} has it")]
    PortTaken { port: String, by: String },
    /// A port is to be published at an address that the host does not have.
    #[error("publish {port}: this host has no address {address}")]
    ForeignAddress { port: String, address: IpAddr },
    /// Anything else.
    #[error("{operation}")]
    Failed {
        /// The operation and its object.
        operation: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
