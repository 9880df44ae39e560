//! A tenant's endpoints, and which selectors match them.
//!
//! ```text
//!   endpoint --(namespace, labels)--> profile --> label selectors that match
//!            --address--------------> (see `class`) address selectors that match
//! ```
//!
//! Endpoints that are alike share a profile, so a selector is tried on each profile once, and a container like one that is there
//! tries none. Promises: what a profile is said to match is exact after every call; whoever may have changed group is in `dirty`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use intent::object::Namespace;
use record::record::PortName;
use record::selector::{Identity, Namespaces, Selector, Subject};
use record::{Group, Labels, NamedPort, Prefix, SelectorId};

use super::index::{drop_from, last_address};
use super::universe::Universe;
use crate::input::Endpoint;
use crate::work::Work;

/// An endpoint's identity in the fabric.
pub(super) type Uid = Arc<str>;

/// The namespaces of a tenant by name.
pub(super) type NamespaceMap = BTreeMap<String, Namespace>;

/// The endpoints of a tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    endpoints: BTreeMap<Uid, Member>,
    profiles: BTreeMap<ProfileKey, Profile>,
    by_name: BTreeMap<(String, String), BTreeSet<Uid>>,
    by_address: BTreeMap<IpAddr, BTreeSet<Uid>>,
    by_port: BTreeMap<PortName, BTreeSet<Uid>>,
    /// Whose groups have to be worked out anew.
    pub(super) dirty: BTreeSet<Uid>,
    /// Those for whom no group number was left.
    pub(super) homeless: BTreeSet<Uid>,
}

/// An endpoint and the group of each of its addresses.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) endpoint: Endpoint,
    pub(super) groups: BTreeMap<IpAddr, Group>,
}

/// The order puts a namespace's profiles side by side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ProfileKey {
    namespace: String,
    labels: Labels,
}

#[derive(Clone, Debug, Default)]
struct Profile {
    matched: BTreeSet<SelectorId>,
    endpoints: BTreeSet<Uid>,
}

impl Members {
    pub(super) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    pub(super) fn member(&self, uid: &str) -> Option<&Member> {
        self.endpoints.get(uid)
    }

    pub(super) fn member_mut(&mut self, uid: &str) -> Option<&mut Member> {
        self.endpoints.get_mut(uid)
    }

    pub(super) fn named(&self, namespace: &str, name: &str) -> impl Iterator<Item = &Member> {
        let uids = self.by_name.get(&(namespace.to_owned(), name.to_owned()));
        uids.into_iter().flatten().filter_map(|uid| self.member(uid))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &(String, String)> {
        self.by_name.keys()
    }

    pub(super) fn with_address(&self, address: IpAddr) -> impl Iterator<Item = &Member> {
        self.by_address.get(&address).into_iter().flatten().filter_map(|uid| self.member(uid))
    }

    /// The label selectors that match an endpoint.
    pub(super) fn matched(&self, endpoint: &Endpoint) -> Option<&BTreeSet<SelectorId>> {
        self.profiles.get(&ProfileKey::of(endpoint)).map(|profile| &profile.matched)
    }

    /// Takes an endpoint in, or its new form; its groups stay as they were until it is regrouped.
    pub(super) fn put(
        &mut self,
        endpoint: Endpoint,
        universe: &Universe,
        namespaces: &NamespaceMap,
        work: &mut Work,
    ) {
        let uid: Uid = endpoint.uid.as_str().into();
        let groups = self.take_out(&uid).map(|member| member.groups).unwrap_or_default();
        let key = ProfileKey::of(&endpoint);
        let profile = self.profiles.entry(key.clone()).or_insert_with(|| Profile {
            matched: key.matched(universe.selectors(), namespaces, work),
            endpoints: BTreeSet::new(),
        });
        profile.endpoints.insert(Arc::clone(&uid));
        let name = (endpoint.namespace.clone(), endpoint.name.clone());
        self.by_name.entry(name).or_default().insert(Arc::clone(&uid));
        for address in &endpoint.addresses {
            self.by_address.entry(*address).or_default().insert(Arc::clone(&uid));
        }
        for port in &endpoint.ports {
            self.by_port.entry(port_name(port)).or_default().insert(Arc::clone(&uid));
        }
        self.dirty.insert(Arc::clone(&uid));
        self.endpoints.insert(uid, Member { endpoint, groups });
    }

    /// Takes an endpoint out and gives it back.
    pub(super) fn take_out(&mut self, uid: &str) -> Option<Member> {
        let member = self.endpoints.remove(uid)?;
        let endpoint = &member.endpoint;
        self.dirty.remove(uid);
        self.homeless.remove(uid);
        let key = ProfileKey::of(endpoint);
        if let Some(profile) = self.profiles.get_mut(&key) {
            profile.endpoints.remove(uid);
            if profile.endpoints.is_empty() {
                self.profiles.remove(&key);
            }
        }
        drop_from(&mut self.by_name, &(endpoint.namespace.clone(), endpoint.name.clone()), uid);
        for address in &endpoint.addresses {
            drop_from(&mut self.by_address, address, uid);
        }
        for port in &endpoint.ports {
            drop_from(&mut self.by_port, &port_name(port), uid);
        }
        Some(member)
    }

    /// A selector cuts from now on.
    pub(super) fn cut(
        &mut self,
        id: SelectorId,
        selector: &Selector,
        namespaces: &NamespaceMap,
        work: &mut Work,
    ) {
        if let Selector::Addresses { prefix, .. } = selector {
            self.soil_addresses(*prefix);
            return;
        }
        for namespace in candidates(selector, namespaces) {
            for (key, profile) in profiles_in(&mut self.profiles, &namespace.name) {
                work.selectors_tried += 1;
                if matches(selector, key, namespace) {
                    profile.matched.insert(id);
                    self.dirty.extend(profile.endpoints.iter().cloned());
                }
            }
        }
    }

    /// A selector cuts no more.
    pub(super) fn mend(&mut self, id: SelectorId, selector: &Selector, namespaces: &NamespaceMap) {
        if let Selector::Addresses { prefix, .. } = selector {
            self.soil_addresses(*prefix);
            return;
        }
        for namespace in candidates(selector, namespaces) {
            for (_, profile) in profiles_in(&mut self.profiles, &namespace.name) {
                if profile.matched.remove(&id) {
                    self.dirty.extend(profile.endpoints.iter().cloned());
                }
            }
        }
    }

    /// A namespace has come, gone, or got other labels.
    pub(super) fn rename(
        &mut self,
        namespace: &str,
        universe: &Universe,
        namespaces: &NamespaceMap,
        work: &mut Work,
    ) {
        for (key, profile) in profiles_in(&mut self.profiles, namespace) {
            profile.matched = key.matched(universe.selectors(), namespaces, work);
            self.dirty.extend(profile.endpoints.iter().cloned());
        }
    }

    /// A port's name has begun or ceased to count.
    pub(super) fn soil_port(&mut self, port: &PortName) {
        self.dirty.extend(self.by_port.get(port).into_iter().flatten().cloned());
    }

    fn soil_addresses(&mut self, prefix: Prefix) {
        let inside = self.by_address.range(prefix.address()..=last_address(prefix));
        self.dirty.extend(inside.flat_map(|(_, uids)| uids).cloned());
    }
}

impl ProfileKey {
    fn of(endpoint: &Endpoint) -> Self {
        Self { namespace: endpoint.namespace.clone(), labels: endpoint.labels.clone() }
    }

    fn matched<'a>(
        &self,
        selectors: impl Iterator<Item = (SelectorId, &'a Selector)>,
        namespaces: &NamespaceMap,
        work: &mut Work,
    ) -> BTreeSet<SelectorId> {
        let Some(namespace) = namespaces.get(&self.namespace) else { return BTreeSet::new() };
        let labels = selectors.filter(|(_, selector)| matches!(selector, Selector::Endpoints { .. }));
        labels
            .inspect(|_| work.selectors_tried += 1)
            .filter_map(|(id, selector)| matches(selector, self, namespace).then_some(id))
            .collect()
    }
}

/// Whether a label selector means the endpoints of a profile.
fn matches(selector: &Selector, key: &ProfileKey, namespace: &Namespace) -> bool {
    let identity =
        Identity { namespace: &namespace.name, namespace_labels: &namespace.labels, labels: &key.labels };
    // Label selectors do not look at the address.
    let address = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    selector.matches(Subject { endpoint: Some(identity), address })
}

/// The namespaces that a label selector may speak of.
fn candidates<'a>(selector: &Selector, namespaces: &'a NamespaceMap) -> Vec<&'a Namespace> {
    match selector {
        Selector::Endpoints { namespaces: Namespaces::Named(name), .. } => {
            namespaces.get(name).into_iter().collect()
        }
        Selector::Endpoints { namespaces: Namespaces::Matching(labels), .. } => {
            namespaces.values().filter(|namespace| labels.matches(&namespace.labels)).collect()
        }
        Selector::Addresses { .. } => Vec::new(),
    }
}

fn profiles_in<'a>(
    profiles: &'a mut BTreeMap<ProfileKey, Profile>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a ProfileKey, &'a mut Profile)> {
    let first = ProfileKey { namespace: namespace.to_owned(), labels: Labels::new() };
    profiles.range_mut(first..).take_while(move |(key, _)| key.namespace == namespace)
}

/// The name by which policies may mean a port.
pub(super) fn port_name(port: &NamedPort) -> PortName {
    PortName { protocol: port.protocol, name: port.name.clone() }
}
