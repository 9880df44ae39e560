//! What the compiler is told: objects, observations, and what changes of them.
//!
//! Promises: plain values; a later word on the same object replaces an earlier one, and saying the same twice changes nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use intent::object::{Namespace, VirtualNetwork};
use intent::policy::{NetworkPolicy, Peers, PortMatch, Ports, Rule};
use record::delta::Report;
use record::record::{Network, Node, PortName, Route};
use record::selector::{Namespaces, Selector};
use record::{Group, Labels, NamedPort, NodeId, Prefix, TenantId, Vni};

/// One change of intent or of what is observed.
///
/// The order does not matter: an object may come before the one it refers to, and counts from when both are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A tenant is there, or has another name.
    PutTenant {
        /// Its number.
        id: TenantId,
        /// Its name.
        name: String,
    },
    /// A tenant is gone.
    RemoveTenant(TenantId),
    /// A host is there, or has other addresses.
    PutNode(Node),
    /// A host is gone.
    RemoveNode(NodeId),
    /// A virtual network is there or different. Its tenant does not change while it is there.
    PutNetwork(Network),
    /// A virtual network is gone.
    RemoveNetwork(Vni),
    /// A node holds a block of a network's addresses.
    PutBlock(Route),
    /// Nobody holds the block.
    RemoveBlock(Vni, Prefix),
    /// A namespace is there or different.
    PutNamespace(TenantId, Namespace),
    /// A namespace is gone.
    RemoveNamespace(TenantId, String),
    /// A policy is there or different.
    PutPolicy(TenantId, NetworkPolicy),
    /// A policy is gone.
    RemovePolicy {
        /// Whose.
        tenant: TenantId,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An endpoint is attached or different.
    PutEndpoint(Endpoint),
    /// An endpoint is gone.
    RemoveEndpoint(TenantId, String),
    /// What the tenant's groups are cut by besides what its policies use: replaces the last word on it. The stages of a policy
    /// change keep both the old and the new universe with it, so that no step changes meaning and numbering at once.
    Keep(TenantId, Universe),
    /// A group that [`Compiler::move_over`](crate::Compiler::move_over) has kept is used by nobody any more: said once for each
    /// time that it was kept.
    Bury(TenantId, Group),
}

/// An attachment, as its node reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose.
    pub tenant: TenantId,
    /// The attachment's identity, unique in the fabric.
    pub uid: String,
    /// In which network.
    pub vni: Vni,
    /// In which namespace.
    pub namespace: String,
    /// Its name, unique in the namespace.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its named ports.
    pub ports: BTreeSet<NamedPort>,
    /// Its addresses, at most one of each family.
    pub addresses: BTreeSet<IpAddr>,
    /// Where it is.
    pub node: NodeId,
}

impl Endpoint {
    /// What a node reported about one of its attachments.
    pub fn reported(node: NodeId, report: Report) -> Self {
        Self {
            tenant: report.tenant,
            uid: report.uid,
            vni: report.vni,
            namespace: report.namespace,
            name: report.name,
            labels: report.labels,
            ports: report.ports.into_iter().collect(),
            addresses: report.addresses.into_iter().collect(),
            node,
        }
    }
}

/// The record of a network object that has got its identifier.
pub fn network(tenant: TenantId, vni: Vni, object: &VirtualNetwork) -> Network {
    Network {
        vni,
        tenant,
        name: object.name.clone(),
        subnets: object.subnets.clone(),
        default_allow: object.default_allow,
        world: object.world,
        mtu: object.mtu,
    }
}

/// What cuts endpoints and addresses into groups: selectors, and the ports that policies name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Universe {
    /// The selectors.
    pub selectors: BTreeSet<Selector>,
    /// The names.
    pub ports: BTreeSet<PortName>,
}

impl Universe {
    /// What one policy cuts by. A policy that isolates in no direction cuts nothing.
    pub fn of(policy: &NetworkPolicy) -> Self {
        let mut universe = Self::default();
        if policy.ingress.is_some() || policy.egress.is_some() {
            universe.selectors.insert(subject(policy));
        }
        for rule in policy.ingress.iter().chain(&policy.egress).flatten() {
            if let Peers::These(selectors) = &rule.peers {
                universe.selectors.extend(selectors.iter().cloned());
            }
            universe.ports.extend(port_names(rule));
        }
        universe
    }

    /// Adds what the other cuts by.
    pub fn extend(&mut self, other: Self) {
        self.selectors.extend(other.selectors);
        self.ports.extend(other.ports);
    }
}

/// Whom a policy speaks of.
pub(crate) fn subject(policy: &NetworkPolicy) -> Selector {
    Selector::Endpoints {
        namespaces: Namespaces::Named(policy.namespace.clone()),
        endpoints: policy.subject.clone(),
    }
}

/// The names that a rule uses for ports.
pub(crate) fn port_names(rule: &Rule) -> impl Iterator<Item = PortName> {
    let ports = match &rule.ports {
        Ports::All => None,
        Ports::These(ports) => Some(ports),
    };
    ports.into_iter().flatten().filter_map(|port| match port {
        PortMatch::Named { protocol, name } => Some(PortName { protocol: *protocol, name: name.clone() }),
        PortMatch::Protocol(_) | PortMatch::Range { .. } => None,
    })
}
