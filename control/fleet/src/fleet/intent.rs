//! What people ask for, as the store tells of it.

use std::collections::BTreeSet;

use compile::Change;
use intent::{Kind, Parsed};
use record::record::{Route, Subnet};
use record::{Prefix, Vni};
use serde_json::Value;
use store::{Action, Event, Object, ObjectKey};

use super::Fleet;
use crate::directory::Network;
use crate::document;
use crate::observed::Observed;

impl Fleet {
    /// Takes in everything that the store holds, in order of dependence.
    pub(super) fn load(&mut self, objects: &[Object]) {
        let of =
            |resource: &'static str| objects.iter().filter(move |object| object.key.resource() == resource);
        for (name, id) in self.numbers.nodes().map(|(name, id)| (name.to_owned(), id)).collect::<Vec<_>>() {
            self.nodes.insert(id, super::Node::absent(name, self.now));
        }
        for object in ORDER.into_iter().flat_map(of) {
            self.put_object(&object.key, &object.value, true);
        }
        for (vni, blocks) in &self.blocks {
            let route = |(prefix, node)| Change::PutBlock(Route { vni: *vni, prefix, node });
            self.changes.extend(blocks.leases().map(route));
        }
        let policies = std::mem::take(&mut self.policies).into_iter();
        let put =
            |(name, policy): (crate::stage::PolicyName, Option<_>)| Some(Change::PutPolicy(name.0, policy?));
        self.changes.extend(policies.filter_map(put));
        let touched = self.stage.load(std::mem::take(&mut self.changes));
        self.note_realising(&touched);
        self.stage.compiler_mut().sweep();
    }

    /// Takes in what happened in the store.
    pub(crate) fn event(&mut self, event: &Event) {
        match &event.object {
            Some(object) => self.put_object(&object.key, &object.value, false),
            None => self.remove_object(&event.key),
        }
    }

    /// Takes in everything anew, where events were missed: what is not there any more is gone.
    pub(crate) fn compare(&mut self, objects: &[Object]) {
        let there: BTreeSet<&ObjectKey> = objects.iter().map(|object| &*object.key).collect();
        let gone: Vec<ObjectKey> = self.known().into_iter().filter(|key| !there.contains(key)).collect();
        gone.iter().for_each(|key| self.remove_object(key));
        for object in ORDER
            .into_iter()
            .flat_map(|resource| objects.iter().filter(move |object| object.key.resource() == resource))
        {
            self.put_object(&object.key, &object.value, false);
        }
    }

    /// The objects that count now.
    fn known(&self) -> Vec<ObjectKey> {
        let mut known: Vec<ObjectKey> = self
            .nodes
            .values()
            .map(|node| ObjectKey::new(ObjectKey::SYSTEM, document::NODES, None, &node.name))
            .collect();
        for (name, tenant) in self.directory.tenants() {
            known.push(ObjectKey::new(ObjectKey::SYSTEM, document::TENANTS, None, name));
            let namespaces = tenant.namespaces.keys();
            known.extend(
                namespaces.map(|namespace| ObjectKey::new(name, document::NAMESPACES, None, namespace)),
            );
            let networks = tenant.networks.keys();
            known.extend(networks.map(|network| ObjectKey::new(name, document::NETWORKS, None, network)));
            let policies = self.stage.policies_of(tenant.id).into_iter();
            known.extend(policies.map(|(_, namespace, policy)| {
                ObjectKey::new(name, document::POLICIES, Some(&namespace), &policy)
            }));
        }
        known
    }

    fn put_object(&mut self, key: &ObjectKey, value: &Value, loading: bool) {
        // What this server wrote itself comes back here; it knows that already.
        let Some(kind) = Kind::named(key.resource()).filter(|kind| loading || kind.descriptor().writable)
        else {
            return;
        };
        match intent::parse(kind, value) {
            Ok(parsed) => self.put_parsed(key, value, parsed, loading),
            Err(problems) => {
                let problem = problems.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(%key, problem, "an object of the store is not valid; what was in force stays");
            }
        }
    }

    fn put_parsed(&mut self, key: &ObjectKey, value: &Value, parsed: Parsed, loading: bool) {
        let tenant = self.directory.find(key.tenant()).map(|tenant| tenant.id);
        match (parsed, tenant) {
            (Parsed::Tenant(tenant), _) => self.put_tenant(&tenant.name),
            (Parsed::Node(node), _) => self.load_node(node),
            (Parsed::VirtualNetwork(network), Some(_)) => {
                if self.put_network(key, network) && !(loading && is_realised(value)) {
                    self.realise(key, value);
                }
            }
            (Parsed::Namespace(namespace), Some(id)) => {
                let Some(tenant) = self.directory.find_mut(key.tenant()) else { return };
                if tenant.namespaces.get(&namespace.name) != Some(&namespace) {
                    tenant.namespaces.insert(namespace.name.clone(), namespace.clone());
                    self.changes.push(Change::PutNamespace(id, namespace));
                }
            }
            (Parsed::NetworkPolicy(policy), Some(id)) => {
                let name = (id, policy.namespace.clone(), policy.name.clone());
                let known = !self.policies.contains_key(&name) && self.stage.has_policy(&name, &policy);
                if known {
                    return;
                }
                if !(loading && is_realised(value)) {
                    self.realise(key, value);
                }
                self.policies.insert(name, Some(policy));
            }
            (Parsed::Endpoint(endpoint), Some(_)) => self.load_endpoint(key, value, endpoint),
            // Who may do what changes nothing on the nodes.
            (
                Parsed::Role(_)
                | Parsed::ClusterRole(_)
                | Parsed::RoleBinding(_)
                | Parsed::ClusterRoleBinding(_),
                _,
            ) => {}
            (_, None) => tracing::warn!(%key, "the object's tenant does not exist; it counts for nothing"),
        }
    }

    fn put_tenant(&mut self, name: &str) {
        if self.directory.find(name).is_some() {
            return;
        }
        let id = match self.numbers.tenant(name) {
            Ok(id) => id,
            Err(error) => return tracing::error!(tenant = name, %error, "the tenant cannot be served"),
        };
        self.directory.put_tenant(name, id);
        self.changes.push(Change::PutTenant { id, name: name.to_owned() });
    }

    /// `false`: nothing is different by it.
    fn put_network(&mut self, key: &ObjectKey, object: intent::object::VirtualNetwork) -> bool {
        let (tenant, name) = (key.tenant(), object.name.clone());
        let vni = match self.numbers.network(tenant, &name, object.vni) {
            Ok(vni) => vni,
            Err(error) => {
                tracing::error!(%key, %error, "the network cannot be served");
                return false;
            }
        };
        let Some(entry) = self.directory.find_mut(tenant) else { return false };
        let known = entry.networks.get(&name);
        if known.is_some_and(|known| known.vni == vni && known.object == object) {
            return false;
        }
        self.changes.push(Change::PutNetwork(compile::network(entry.id, vni, &object)));
        entry.networks.insert(name, Network { vni, object });
        true
    }

    fn load_endpoint(&mut self, key: &ObjectKey, value: &Value, endpoint: intent::object::Endpoint) {
        let tenant = self.directory.find(key.tenant()).map(|tenant| tenant.id);
        let vni = self.numbers.find_network(key.tenant(), &endpoint.network);
        let node = self.nodes.iter().find(|(_, node)| node.name == endpoint.node).map(|(id, _)| *id);
        let (Some(tenant), Some(vni), Some(node)) = (tenant, vni, node) else {
            tracing::warn!(%key, "the endpoint's network or node does not exist any more; it is forgotten");
            self.writes.insert(key.clone(), Action::Delete);
            return;
        };
        let status = document::endpoint_status(value);
        let report = record::delta::Report {
            uid: endpoint.uid,
            tenant,
            vni,
            namespace: endpoint.namespace,
            name: status.name.unwrap_or(endpoint.name),
            labels: endpoint.labels,
            ports: endpoint.ports,
            addresses: endpoint.addresses,
            published: status.published,
            host_addresses: status.host_addresses,
        };
        self.changes.push(Change::PutEndpoint(compile::Endpoint::reported(node, report.clone())));
        let created = document::created(value).unwrap_or_default().to_owned();
        self.endpoints.put(Observed { report, node, object: key.clone(), created });
    }

    fn remove_object(&mut self, key: &ObjectKey) {
        self.realising.remove(key);
        let tenant = self.directory.find(key.tenant()).map(|tenant| tenant.id);
        match (Kind::named(key.resource()), tenant) {
            (Some(Kind::Tenant), _) => self.remove_tenant(key.name()),
            (Some(Kind::Node), _) => self.remove_node(key.name()),
            (Some(Kind::Namespace), Some(id)) => {
                if let Some(tenant) = self.directory.find_mut(key.tenant()) {
                    tenant.namespaces.remove(key.name());
                }
                self.changes.push(Change::RemoveNamespace(id, key.name().to_owned()));
            }
            (Some(Kind::VirtualNetwork), Some(_)) => {
                if let Some(tenant) = self.directory.find_mut(key.tenant()) {
                    tenant.networks.remove(key.name());
                }
                self.remove_network(key.tenant(), key.name());
            }
            (Some(Kind::NetworkPolicy), Some(id)) => {
                let namespace = key.namespace().unwrap_or_default().to_owned();
                self.policies.insert((id, namespace, key.name().to_owned()), None);
            }
            _ => {}
        }
    }

    fn remove_network(&mut self, tenant: &str, name: &str) {
        let Some(vni) = self.numbers.drop_network(tenant, name) else { return };
        self.changes.push(Change::RemoveNetwork(vni));
        if let Some(blocks) = self.blocks.remove(&vni) {
            self.changes.extend(blocks.leases().map(|(prefix, _)| Change::RemoveBlock(vni, prefix)));
            self.leases_changed.insert(vni);
        }
        self.outstanding.retain(|(_, other), _| *other != vni);
    }

    /// Nothing of a tenant outlives it.
    fn remove_tenant(&mut self, name: &str) {
        let Some(tenant) = self.directory.remove_tenant(name) else { return };
        for network in tenant.networks.keys() {
            self.remove_network(name, network);
            self.writes.insert(ObjectKey::new(name, document::NETWORKS, None, network), Action::Delete);
        }
        for namespace in tenant.namespaces.into_keys() {
            self.writes.insert(ObjectKey::new(name, document::NAMESPACES, None, &namespace), Action::Delete);
            self.changes.push(Change::RemoveNamespace(tenant.id, namespace));
        }
        for (_, namespace, policy) in self.stage.policies_of(tenant.id) {
            let key = ObjectKey::new(name, document::POLICIES, Some(&namespace), &policy);
            self.writes.insert(key, Action::Delete);
            self.policies.insert((tenant.id, namespace, policy), None);
        }
        self.changes.push(Change::RemoveTenant(tenant.id));
        self.numbers.drop_tenant(name);
    }

    /// The first network, and its subnet, that holds one of these addresses.
    pub(crate) fn network_around(&self, addresses: &[std::net::IpAddr]) -> Option<(String, Prefix)> {
        let held = |subnet: &&Subnet| addresses.iter().any(|address| subnet.prefix.contains(*address));
        self.directory.tenants().find_map(|(tenant, entry)| {
            entry.networks.iter().find_map(|(name, network)| {
                let subnet = network.subnets().iter().find(held)?;
                Some((format!("{tenant}/{name}"), subnet.prefix))
            })
        })
    }

    /// A network's identifier as a name, for messages.
    pub(crate) fn network_words(&self, vni: Vni) -> String {
        self.numbers
            .network_name(vni)
            .map_or_else(|| format!("VNI {vni}"), |(tenant, name)| format!("{tenant}/{name}"))
    }
}

/// The order of dependence: what is referred to first.
const ORDER: [&str; 6] = [
    document::TENANTS,
    document::NODES,
    document::NETWORKS,
    document::NAMESPACES,
    document::POLICIES,
    document::ENDPOINTS,
];

/// Whether an object says that every node concerned has it as it is.
fn is_realised(document: &Value) -> bool {
    let generation = document.pointer("/metadata/generation");
    let conditions = document.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition["type"] == "Realised"
            && condition["status"] == "True"
            && condition.get("observedGeneration") == generation
    })
}
