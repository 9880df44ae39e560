//! Selectors: what policy uses to name endpoints and addresses, and the one function that matches them.
//!
//! They travel to the nodes, so that a node without its server still knows which group a new container joins.
//! Promises: canonical (equal meaning written twice is one value where a label selector allows it), pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::word::{Labels, Prefix};

/// What a policy can select.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "camelCase")]
pub enum Selector {
    /// Endpoints by labels, in namespaces by name or labels.
    #[n(0)]
    Endpoints {
        /// Which namespaces of the tenant.
        #[n(0)]
        namespaces: Namespaces,
        /// Which endpoints in them.
        #[n(1)]
        endpoints: LabelSelector,
    },
    /// Addresses, whoever has them: networking.k8s.io/v1 `ipBlock`.
    #[n(1)]
    Addresses {
        /// The range.
        #[n(0)]
        prefix: Prefix,
        /// Ranges inside it that are not meant; sorted.
        #[n(1)]
        except: BTreeSet<Prefix>,
    },
}

/// Which namespaces a selector speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "camelCase")]
pub enum Namespaces {
    /// The one with this name.
    #[n(0)]
    Named(#[n(0)] String),
    /// Those whose labels match.
    #[n(1)]
    Matching(#[n(0)] LabelSelector),
}

/// meta.k8s.io/v1 `LabelSelector` in canonical form: `matchLabels` are `In` requirements of one value. All requirements
/// must hold; none at all matches everything.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct LabelSelector(#[n(0)] pub BTreeSet<Requirement>);

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
pub struct Requirement {
    /// The label's key.
    #[n(0)]
    pub key: String,
    /// What must hold of its value.
    #[n(1)]
    pub operator: Operator,
}

/// What must hold of a label's value (upstream's four operators).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
pub enum Operator {
    /// The label is there and its value is one of these.
    #[n(0)]
    In(#[n(0)] BTreeSet<String>),
    /// The label is absent, or its value is none of these.
    #[n(1)]
    NotIn(#[n(0)] BTreeSet<String>),
    /// The label is there.
    #[n(2)]
    Exists,
    /// The label is absent.
    #[n(3)]
    DoesNotExist,
}

/// One address of an endpoint, or an outside address, as selectors see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The endpoint's identity; `None` for an address outside the fabric.
    pub endpoint: Option<Identity<'a>>,
    /// The address.
    pub address: IpAddr,
}

/// The part of an endpoint that policy can name.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Its namespace's name.
    pub namespace: &'a str,
    /// Its namespace's labels.
    pub namespace_labels: &'a Labels,
    /// Its own labels.
    pub labels: &'a Labels,
}

impl Selector {
    /// Whether the subject is meant.
    pub fn matches(&self, subject: Subject<'_>) -> bool {
        match (self, subject.endpoint) {
            (Self::Endpoints { namespaces, endpoints }, Some(identity)) => {
                namespaces.matches(&identity) && endpoints.matches(identity.labels)
            }
            (Self::Endpoints { .. }, None) => false,
            (Self::Addresses { prefix, except }, _) => {
                prefix.contains(subject.address) && !except.iter().any(|hole| hole.contains(subject.address))
            }
        }
    }
}

impl Namespaces {
    fn matches(&self, identity: &Identity<'_>) -> bool {
        match self {
            Self::Named(name) => name == identity.namespace,
            Self::Matching(labels) => labels.matches(identity.namespace_labels),
        }
    }
}

impl LabelSelector {
    /// Whether all requirements hold.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    /// Whether this one holds.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn requires(key: &str, operator: Operator) -> LabelSelector {
        LabelSelector(BTreeSet::from([Requirement { key: key.to_owned(), operator }]))
    }

    #[test]
    fn not_in_holds_when_the_label_is_absent() {
        let selector = requires("tier", Operator::NotIn(BTreeSet::from(["db".to_owned()])));
        assert!(selector.matches(&labels(&[])));
        assert!(selector.matches(&labels(&[("tier", "web")])));
        assert!(!selector.matches(&labels(&[("tier", "db")])));
    }

    #[test]
    fn an_empty_selector_matches_every_endpoint_and_no_outside_address() {
        let everybody = Selector::Endpoints {
            namespaces: Namespaces::Matching(LabelSelector::default()),
            endpoints: LabelSelector::default(),
        };
        let none = labels(&[]);
        let identity = Identity { namespace: "shop", namespace_labels: &none, labels: &none };
        let address = "10.0.0.1".parse().unwrap();
        assert!(everybody.matches(Subject { endpoint: Some(identity), address }));
        assert!(!everybody.matches(Subject { endpoint: None, address }));
    }

    #[test]
    fn an_except_is_a_hole_in_its_range_for_insiders_and_outsiders_alike() {
        let range = Selector::Addresses {
            prefix: "10.0.0.0/8".parse().unwrap(),
            except: BTreeSet::from(["10.1.0.0/16".parse().unwrap()]),
        };
        for (address, meant) in [("10.2.0.1", true), ("10.1.0.1", false), ("11.0.0.1", false), ("::1", false)]
        {
            assert_eq!(
                range.matches(Subject { endpoint: None, address: address.parse().unwrap() }),
                meant,
                "{address}"
            );
        }
    }
}
