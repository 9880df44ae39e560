//! `networking.k8s.io/v1` `NetworkPolicy`, parsed.

use std::collections::BTreeSet;

use record::Protocol;
use record::selector::{LabelSelector, Selector};

/// A policy of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Unique in the namespace.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Which endpoints of its namespace it speaks of; empty: all.
    pub subject: LabelSelector,
    /// `spec.ingress`, when `Ingress` is among `spec.policyTypes`: the subject is isolated and these allow. `None`: not isolated.
    pub ingress: Option<Vec<Rule>>,
    /// `spec.egress`, likewise.
    pub egress: Option<Vec<Rule>>,
}

/// One allow rule: traffic with any of the peers on any of the ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `from` or `to`.
    pub peers: Peers,
    /// `ports`.
    pub ports: Ports,
}

/// The other side of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// The list is empty or missing: everybody, inside and outside.
    Anyone,
    /// Those that any of these selects. A `podSelector` without `namespaceSelector` means the policy's own namespace.
    These(Vec<Selector>),
}

/// The ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The list is empty or missing: every port of every protocol.
    All,
    /// Any of these.
    These(BTreeSet<PortMatch>),
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortMatch {
    /// Every port of a protocol.
    Protocol(Protocol),
    /// `port` to `endPort`, both included.
    Range {
        /// The protocol.
        protocol: Protocol,
        /// The first port, 1–65535.
        first: u16,
        /// The last port, at least `first`.
        last: u16,
    },
    /// The port that the receiving endpoint has given this name, for this protocol.
    Named {
        /// The protocol.
        protocol: Protocol,
        /// The name.
        name: String,
    },
}
