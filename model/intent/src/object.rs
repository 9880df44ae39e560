//! The parsed objects, apart from policy: tenants, namespaces, networks, endpoints, nodes.

use std::net::IpAddr;

use record::record::Subnet;
use record::{Labels, Mac, NamedPort, Vni};

/// The tenant that requests without one mean.
pub const DEFAULT_TENANT: &str = "default";
/// The provider's own level: tenants and nodes live there.
pub const SYSTEM_TENANT: &str = "system";
/// The namespace, and the network of a tenant, that requests without one mean.
pub const DEFAULT: &str = "default";
/// The label that every namespace carries with its own name, as upstream sets it.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The annotation of a namespace that names the network of its endpoints.
pub const NETWORK_ANNOTATION: &str = "sealane.dev/network";

/// A tenant (`sealane.dev/v1alpha1`, at the provider's level).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// A DNS label (RFC 1123).
    pub name: String,
}

/// A namespace (`v1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// A DNS label (RFC 1123), unique in the tenant.
    pub name: String,
    /// Its labels; [`NAMESPACE_NAME_LABEL`] is always among them.
    pub labels: Labels,
    /// The network of endpoints that name none: from [`NETWORK_ANNOTATION`], else `default`.
    pub network: String,
}

/// A virtual network (`sealane.dev/v1alpha1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualNetwork {
    /// A DNS label (RFC 1123), unique in the tenant.
    pub name: String,
    /// At least one; no two overlap. The gateway is the first address after the network's own where none is given.
    pub subnets: Vec<Subnet>,
    /// The identifier asked for; `None`: the server gives one.
    pub vni: Option<Vni>,
    /// Whether traffic that no policy speaks of is allowed.
    pub default_allow: bool,
    /// Whether endpoints may leave to the world.
    pub world: bool,
    /// The largest packet of an endpoint in bytes; `None`: what the underlay leaves.
    pub mtu: Option<u16>,
}

/// One attachment of one workload (`sealane.dev/v1alpha1`), written by the fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Unique in the namespace.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The attachment's identity in the fabric.
    pub uid: String,
    /// Its labels.
    pub labels: Labels,
    /// The network's name.
    pub network: String,
    /// The node's name.
    pub node: String,
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
    /// The Ethernet address, where it is known.
    pub mac: Option<Mac>,
    /// Its named ports.
    pub ports: Vec<NamedPort>,
}

/// A host of the fabric (`sealane.dev/v1alpha1`, at the provider's level), written by the fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Unique in the fabric.
    pub name: String,
    /// At most one of each family, preferred first.
    pub underlay: Vec<IpAddr>,
}
