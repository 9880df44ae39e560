//! Links, namespaces and addresses, by netlink.
//!
//! Owns every change that a node makes to the kernel's links: the host's own ([`HostPlan`]), those of containers
//! ([`ContainerLink`]), the uplink's discovery ([`Uplink`]), and network namespaces ([`Namespace`]). No other room speaks
//! netlink, and nothing here runs a command.
//!
//! ```text
//!   container's namespace | host's namespace
//!     eth0 ===(veth)=== sl0000002a  \
//!     eth0 ===(veth)=== sl0000002b   >  programs  --  sealane.vx  ~~ UDP 4789 ~~  uplink
//!                     host stack -- sealane0 ===(veth)=== sealane1
//! ```
//!
//! Promises: every link of ours is recognised after a restart; a link of another's is never changed or removed; whatever
//! fails half way is undone. Calls block, for the time that the kernel takes: about a tenth of a millisecond a request, and
//! up to some tens for the removal of a link. From an async task call them by `spawn_blocking`.

mod address;
mod binding;
mod container;
mod device;
mod error;
mod host;
mod inventory;
mod mark;
mod namespace;
mod netlink;
mod problem;
mod route;
mod settle;
mod sysctl;
mod uplink;
mod watch;

pub use address::InterfaceAddress;
pub use container::{AttachError, Attached, ContainerLink, Difference, Facts, HostEnd};
pub use error::{Error, Refusal};
pub use host::{Host, HostPlan, Underlay};
pub use inventory::Owned;
pub use mark::{
    GATEWAY_MAC, LEG_FABRIC, LEG_FABRIC_MAC, LEG_HOST, LEG_HOST_MAC, LinkId, OVERLAY, OVERLAY_MAC,
    derived_mac,
};
pub use namespace::{Identity, Namespace};
pub use problem::Problem;
pub use settle::Change;
pub use uplink::Uplink;
pub use watch::{Event, Watch};

/// The links of one network namespace, the host's.
#[derive(Debug)]
pub struct Links {
    netlink: netlink::Netlink,
    home: Namespace,
}

impl Links {
    /// The links of the calling thread's namespace. The value may move to any thread and goes on meaning that namespace.
    ///
    /// Errors: [`Error::Socket`], [`Error::NamespaceOpen`].
    pub fn open() -> Result<Self, Error> {
        Ok(Self { netlink: netlink::Netlink::open()?, home: Namespace::current()? })
    }

    /// The links of `namespace`.
    ///
    /// Errors: as [`Links::open`], and [`Error::NamespaceEnter`].
    pub fn open_in(namespace: &Namespace) -> Result<Self, Error> {
        namespace.inside(Self::open)?
    }
}

#[cfg(test)]
mod tests;
