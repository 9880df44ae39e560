//! The records that the node holds, and what follows from them: which network an attach means, which addresses are this
//! node's to hand out, which group an address is in.
//!
//! Promises: pure; the group found here is the one that the server would give, or [`Group::UNKNOWN`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use record::record::{Endpoint, Members, Network, PortName, Project, Tenant, Version};
use record::selector::{Identity, Selector, Subject};
use record::{Generation, Group, Key, NamedPort, NodeId, Prefix, Record, SelectorId, TenantId, Vni};

use crate::attachment::{Attachment, Groups};

/// The records of one generation, found by their names.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Which generation.
    pub(crate) generation: Generation,
    /// This node's number, once known: the routes to it are the blocks it holds.
    pub(crate) node: Option<NodeId>,
    records: BTreeMap<Key, Record>,
    tenants: HashMap<String, TenantId>,
    networks: HashMap<(TenantId, String), Vni>,
    groups: HashMap<Membership, BTreeSet<Group>>,
    /// How many addresses of this node's endpoints the server has put into each group.
    filled: HashMap<(TenantId, Group), usize>,
}

/// What the members of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Membership {
    tenant: TenantId,
    selectors: BTreeSet<SelectorId>,
    ports: BTreeSet<NamedPort>,
}

impl Held {
    /// Takes over a generation's changes.
    pub(crate) fn apply(&mut self, changed: Vec<Record>, removed: &[Key]) {
        for record in changed {
            let key = record.key();
            if let Some(before) = self.records.get(&key).cloned() {
                self.unlist(&before);
            }
            self.list(&record);
            self.records.insert(key, record);
        }
        for key in removed {
            if let Some(record) = self.records.remove(key) {
                self.unlist(&record);
            }
        }
    }

    /// Every record, in order of dependence.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// What is held under a key.
    pub(crate) fn record(&self, key: &Key) -> Option<&Record> {
        self.records.get(key)
    }

    /// What the server is told at the start of a session.
    pub(crate) fn versions(&self) -> Vec<(Key, Version)> {
        self.records.iter().map(|(key, record)| (key.clone(), record.version())).collect()
    }

    /// The tenant with this name.
    pub(crate) fn tenant_named(&self, name: &str) -> Option<TenantId> {
        self.tenants.get(name).copied()
    }

    /// The name of the tenant with this number.
    pub(crate) fn tenant_name(&self, tenant: TenantId) -> Option<String> {
        match self.records.get(&Key::Tenant(tenant)) {
            Some(Record::Tenant(tenant)) => Some(tenant.name.clone()),
            _ => None,
        }
    }

    /// The tenant's namespace.
    pub(crate) fn project(&self, tenant: TenantId, name: &str) -> Option<&Project> {
        match self.records.get(&Key::Project(tenant, name.to_owned())) {
            Some(Record::Project(project)) => Some(project),
            _ => None,
        }
    }

    /// The tenant's network.
    pub(crate) fn network_named(&self, tenant: TenantId, name: &str) -> Option<&Network> {
        self.network(*self.networks.get(&(tenant, name.to_owned()))?)
    }

    /// The network with this number.
    pub(crate) fn network(&self, vni: Vni) -> Option<&Network> {
        match self.records.get(&Key::Network(vni)) {
            Some(Record::Network(network)) => Some(network),
            _ => None,
        }
    }

    /// The blocks of the network that this node holds.
    pub(crate) fn blocks(&self, vni: Vni) -> impl Iterator<Item = Prefix> {
        self.own_blocks().filter_map(move |(of, prefix)| (of == vni).then_some(prefix))
    }

    /// Every block that this node holds.
    pub(crate) fn own_blocks(&self) -> impl Iterator<Item = (Vni, Prefix)> {
        self.records.values().filter_map(|record| match record {
            Record::Route(route) if Some(route.node) == self.node => Some((route.vni, route.prefix)),
            _ => None,
        })
    }

    /// The groups of the attachment's addresses: the server's word where it has spoken, else by the selectors.
    pub(crate) fn groups_of(&self, attachment: &Attachment) -> Groups {
        match self.records.get(&Key::Endpoint(attachment.tenant, attachment.uid.clone())) {
            Some(Record::Endpoint(word)) => {
                attachment.ips().map(|address| (address, Endpoint::group(word, address))).collect()
            }
            _ => {
                attachment.ips().map(|address| (address, self.selected_group(attachment, address))).collect()
            }
        }
    }

    /// Whether the server has put an endpoint of this node into the group: then every node concerned can judge it. One that is
    /// merely held may be news that is still on its way to others.
    pub(crate) fn is_filled(&self, tenant: TenantId, group: Group) -> bool {
        self.filled.contains_key(&(tenant, group))
    }

    /// Whether the server has spoken of the attachment.
    pub(crate) fn has_word(&self, attachment: &Attachment) -> bool {
        self.records.contains_key(&Key::Endpoint(attachment.tenant, attachment.uid.clone()))
    }

    /// The group whose members match just the selectors that the address matches.
    fn selected_group(&self, attachment: &Attachment, address: IpAddr) -> Group {
        let Some(Record::Tenant(tenant)) = self.records.get(&Key::Tenant(attachment.tenant)) else {
            return Group::UNKNOWN;
        };
        let Some(project) = self.project(tenant.id, attachment.namespace()) else { return Group::UNKNOWN };
        let identity = Identity {
            namespace: &project.name,
            namespace_labels: &project.labels,
            labels: &attachment.request.labels,
        };
        let subject = Subject { endpoint: Some(identity), address };
        let matching = |(id, selector): (SelectorId, &Selector)| selector.matches(subject).then_some(id);
        let membership = Membership {
            tenant: tenant.id,
            selectors: self.selectors(tenant.id).filter_map(matching).collect(),
            ports: named_ports(tenant, &attachment.request.ports),
        };
        // Two groups with the same members exist while the server replaces one by the other: the older number stands.
        self.groups.get(&membership).and_then(|groups| groups.first()).copied().unwrap_or(Group::UNKNOWN)
    }

    fn selectors(&self, tenant: TenantId) -> impl Iterator<Item = (SelectorId, &Selector)> {
        let range = Key::Selector(tenant, SelectorId(0))..=Key::Selector(tenant, SelectorId(u32::MAX));
        self.records.range(range).filter_map(|(_, record)| match record {
            Record::Selector(named) => Some((named.id, &named.selector)),
            _ => None,
        })
    }

    fn list(&mut self, record: &Record) {
        match record {
            Record::Tenant(tenant) => drop(self.tenants.insert(tenant.name.clone(), tenant.id)),
            Record::Network(network) => {
                self.networks.insert((network.tenant, network.name.clone()), network.vni);
            }
            Record::Group(group) if group.members == Members::Endpoints => {
                let membership = Membership {
                    tenant: group.tenant,
                    selectors: group.selectors.clone(),
                    ports: group.ports.clone(),
                };
                self.groups.entry(membership).or_default().insert(group.group);
            }
            Record::Endpoint(word) => {
                for group in word.groups.values() {
                    *self.filled.entry((word.tenant, *group)).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    /// The inverse of [`Held::list`]. A name that another record has taken over meanwhile stays that one's.
    fn unlist(&mut self, record: &Record) {
        match record {
            Record::Tenant(tenant) if self.tenants.get(&tenant.name) == Some(&tenant.id) => {
                self.tenants.remove(&tenant.name);
            }
            Record::Network(network) => {
                let name = (network.tenant, network.name.clone());
                if self.networks.get(&name) == Some(&network.vni) {
                    self.networks.remove(&name);
                }
            }
            Record::Group(group) => {
                let membership = Membership {
                    tenant: group.tenant,
                    selectors: group.selectors.clone(),
                    ports: group.ports.clone(),
                };
                if let Some(groups) = self.groups.get_mut(&membership) {
                    groups.remove(&group.group);
                    if groups.is_empty() {
                        self.groups.remove(&membership);
                    }
                }
            }
            Record::Endpoint(word) => {
                for group in word.groups.values() {
                    let place = (word.tenant, *group);
                    if let Some(count) = self.filled.get_mut(&place) {
                        *count -= 1;
                        if *count == 0 {
                            self.filled.remove(&place);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// Of an endpoint's named ports those that the tenant's policies name.
fn named_ports(tenant: &Tenant, ports: &[NamedPort]) -> BTreeSet<NamedPort> {
    let named = |port: &&NamedPort| {
        tenant.port_names.contains(&PortName { protocol: port.protocol, name: port.name.clone() })
    };
    ports.iter().filter(named).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::Step;
    use crate::testing::{World, attachment, labels, selector};
    use record::Protocol;

    #[test]
    fn an_endpoint_is_in_the_group_of_exactly_its_selectors_and_named_ports() {
        let mut world = World::new();
        world.selector(1, selector("app", "web")).selector(2, selector("tier", "front"));
        world.port_name(Protocol::Tcp, "http");
        world.group(300, [1], &[]).group(301, [1, 2], &[]).group(302, [1], &[("http", 8080)]);
        let held = world.held();
        let mut web = attachment("a", 1, Step::Attached);
        let group = |attachment: &Attachment| held.groups_of(attachment).into_values().next().unwrap();
        assert_eq!(group(&web), Group(256), "no selector matches it: the group of nobody's labels");
        web.request.labels = labels(&[("app", "web"), ("unmentioned", "x")]);
        assert_eq!(group(&web), Group(300));
        web.request.labels = labels(&[("app", "web"), ("tier", "front")]);
        assert_eq!(group(&web), Group(301));
        web.request.labels = labels(&[("app", "web")]);
        let port =
            |name: &str, number| NamedPort { name: name.to_owned(), protocol: Protocol::Tcp, port: number };
        web.request.ports = vec![port("http", 8080), port("unmentioned", 1)];
        assert_eq!(group(&web), Group(302));
        web.request.ports = vec![port("http", 8081)];
        assert_eq!(group(&web), Group::UNKNOWN, "another number for the same name is another group");
    }

    #[test]
    fn the_servers_word_goes_before_the_selectors() {
        let mut world = World::new();
        let web = attachment("a", 1, Step::Attached);
        let address = web.ips().next().unwrap();
        world.endpoint("a", address, 400);
        let mut held = world.held();
        assert_eq!(held.groups_of(&web), Groups::from([(address, Group(400))]));
        assert!(held.has_word(&web) && held.is_filled(TenantId(1), Group(400)));
        assert!(!held.is_filled(TenantId(1), Group(256)), "it is held, and nobody here is in it");
        let moved = Endpoint { tenant: TenantId(1), uid: "a".into(), groups: [(address, Group(256))].into() };
        held.apply(vec![Record::Endpoint(moved)], &[]);
        assert!(held.is_filled(TenantId(1), Group(256)) && !held.is_filled(TenantId(1), Group(400)));
        held.apply(Vec::new(), &[Key::Endpoint(TenantId(1), "a".into())]);
        assert!(!held.has_word(&web) && held.filled.is_empty());
    }

    #[test]
    fn without_the_namespaces_labels_nothing_is_known() {
        let mut web = attachment("a", 1, Step::Attached);
        web.request.namespace = Some("elsewhere".into());
        assert!(World::new().held().groups_of(&web).values().all(|group| *group == Group::UNKNOWN));
    }

    #[test]
    fn names_follow_what_is_replaced_and_removed() {
        let mut held = World::new().held();
        let renamed = crate::testing::tenant_record(1, "new");
        held.apply(vec![renamed.clone()], &[]);
        assert_eq!((held.tenant_named("default"), held.tenant_named("new")), (None, Some(TenantId(1))));
        held.apply(Vec::new(), &[renamed.key()]);
        assert_eq!(held.tenant_named("new"), None);
        let vni = Vni::new(100).unwrap();
        assert!(held.network_named(TenantId(1), "default").is_some());
        assert_eq!(held.blocks(vni).count(), 1);
        let gone: Vec<Key> = held.records().map(Record::key).collect();
        held.apply(Vec::new(), &gone);
        assert!(held.network_named(TenantId(1), "default").is_none());
        assert!(held.groups.is_empty() && held.networks.is_empty() && held.blocks(vni).next().is_none());
    }
}
