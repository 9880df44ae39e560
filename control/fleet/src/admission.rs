//! What a single document cannot show: whether it fits with the other objects and with what is attached.
//!
//! Promises: judged by the store's objects alone, so that two writes at once cannot slip by each other: what was looked at is
//! expected to be the same when the write happens.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use api::{Admission, Objection, Proposal};
use intent::problem::Fault;
use intent::{Kind, Parsed, Problem};
use record::Prefix;
use serde_json::Value;
use store::{Action, Cached, Change, Expect, Object, ObjectKey, Scope};

use crate::warden::{Warden, escalation, ready};
use crate::{document, numbers};

/// See the module.
pub(crate) struct FabricAdmission {
    /// Knows who may hand on which rights.
    pub(crate) warden: Arc<Warden>,
    /// The subnets of the network that a new tenant gets.
    pub(crate) default_subnets: Vec<Prefix>,
}

impl Admission for FabricAdmission {
    fn judge(&self, proposal: &Proposal<'_>, objects: &Cached) -> Result<Vec<Change>, Objection> {
        match (proposal.kind, proposal.new) {
            (Kind::VirtualNetwork, Some(new)) => check_network(proposal, new, objects),
            (Kind::VirtualNetwork, None) => {
                let network = proposal.key.name();
                let inside =
                    |endpoint: &Value| endpoint.pointer("/spec/network").is_some_and(|name| name == network);
                refuse_while_used(proposal, objects, inside)
            }
            (Kind::Namespace, None) => {
                let namespace = proposal.key.name().to_owned();
                let inside = move |endpoint: &Value| {
                    endpoint.pointer("/metadata/namespace").is_some_and(|name| *name == namespace)
                };
                refuse_while_used(proposal, objects, inside)
            }
            (Kind::Tenant, Some(_)) if proposal.old.is_none() => {
                let tenant = proposal.key.name();
                let mut companions = ready::of_tenant(tenant);
                companions.push(network_of_tenant(tenant, &self.default_subnets));
                Ok(companions)
            }
            (Kind::Role | Kind::ClusterRole | Kind::RoleBinding | Kind::ClusterRoleBinding, Some(new)) => {
                self.warden.look(|rights| escalation::judge(rights, proposal, new, objects))
            }
            (Kind::Tenant, None) => refuse_tenant_in_use(proposal, objects),
            (Kind::Node, None) => refuse_live_node(proposal, objects),
            _ => Ok(Vec::new()),
        }
    }
}

/// A new tenant has the network that requests without one mean. Whoever deletes it has decided so.
pub(crate) fn network_of_tenant(tenant: &str, subnets: &[Prefix]) -> Change {
    let document = document::default_network(subnets, &document::stamp(SystemTime::now()));
    let key = ObjectKey::new(tenant, document::NETWORKS, None, intent::object::DEFAULT);
    Change { key, expect: Expect::Absent, action: Action::Put(document.into()) }
}

/// A network's identifier is its own, and its subnets do not hold the hosts themselves.
fn check_network(proposal: &Proposal<'_>, new: &Value, objects: &Cached) -> Result<Vec<Change>, Objection> {
    let Ok(Parsed::VirtualNetwork(network)) = intent::parse(Kind::VirtualNetwork, new) else {
        return Ok(Vec::new());
    };
    let mut problems = Vec::new();
    let mut expectations = Vec::new();
    if let Some(vni) = network.vni {
        if let Some((tenant, name)) = holder_of_vni(vni.value(), proposal.key, objects) {
            let reason = format!("is the VNI of the network {name} of the tenant {tenant}");
            let remedy = "choose another, or leave it out: the server gives one";
            problems.push(Problem::new(
                "spec.vni",
                &Value::from(vni.value()),
                Fault::Duplicate,
                reason,
                remedy,
            ));
        }
        expectations.push(claim_of_vni(vni.value(), proposal.key, objects));
    }
    let nodes = objects.objects(&Scope::resource(document::NODES)).objects;
    for (index, subnet) in network.subnets.iter().enumerate() {
        if let Some((node, address)) = nodes.iter().find_map(|node| underlay_in(node, subnet.prefix)) {
            let reason =
                format!("holds {address}, the address of the node {node} on the network between hosts");
            let remedy = "choose a range that holds no host: containers could not reach that host";
            let value = Value::from(subnet.prefix.to_string());
            problems.push(Problem::new(
                format!("spec.subnets[{index}].cidr"),
                &value,
                Fault::Invalid,
                reason,
                remedy,
            ));
        }
    }
    if problems.is_empty() { Ok(expectations) } else { Err(Objection::Invalid(problems)) }
}

/// Two networks that ask for one identifier at once write the same object: the second is judged anew.
fn claim_of_vni(vni: u32, network: &ObjectKey, objects: &Cached) -> Change {
    let key = ObjectKey::new(ObjectKey::SYSTEM, CLAIMS, None, &vni.to_string());
    let expect = objects.find(&key).map_or(Expect::Absent, |claim| Expect::Revision(claim.revision));
    let value = serde_json::json!({ "tenant": network.tenant(), "network": network.name() });
    Change { key, expect, action: Action::Put(value.into()) }
}

/// Another network that has the identifier: because it asked for it, or was given it.
fn holder_of_vni(vni: u32, network: &ObjectKey, objects: &Cached) -> Option<(String, String)> {
    let vni = Value::from(vni);
    let asked = objects.objects(&Scope::resource(document::NETWORKS)).objects.into_iter();
    let asked = asked.filter(|other| other.value.pointer("/spec/vni") == Some(&vni));
    let asked = asked.map(|other| (other.key.tenant().to_owned(), other.key.name().to_owned()));
    let given = objects.objects(&Scope::resource(numbers::RESOURCE)).objects.into_iter();
    let given = given.filter(|other| other.value.get("number") == Some(&vni)).filter_map(|other| {
        let name = other.key.name().strip_prefix("network:")?;
        Some((other.key.tenant().to_owned(), name.to_owned()))
    });
    asked
        .chain(given)
        .find(|(tenant, name)| (tenant.as_str(), name.as_str()) != (network.tenant(), network.name()))
}

fn underlay_in(node: &Object, subnet: Prefix) -> Option<(String, IpAddr)> {
    let underlay = node.value.pointer("/spec/underlay")?.as_array()?;
    let mut addresses = underlay.iter().filter_map(|address| address.as_str()?.parse::<IpAddr>().ok());
    addresses.find(|address| subnet.contains(*address)).map(|address| (node.key.name().to_owned(), address))
}

/// What endpoints are in cannot go: nobody could detach them.
fn refuse_while_used(
    proposal: &Proposal<'_>,
    objects: &Cached,
    inside: impl Fn(&Value) -> bool,
) -> Result<Vec<Change>, Objection> {
    let endpoints =
        objects.objects(&Scope::resource(document::ENDPOINTS).of_tenant(proposal.key.tenant())).objects;
    let users: Vec<&Object> = endpoints.iter().filter(|endpoint| inside(&endpoint.value)).collect();
    refuse_users(proposal, &users)
}

fn refuse_tenant_in_use(proposal: &Proposal<'_>, objects: &Cached) -> Result<Vec<Change>, Objection> {
    let endpoints =
        objects.objects(&Scope::resource(document::ENDPOINTS).of_tenant(proposal.key.name())).objects;
    refuse_users(proposal, &endpoints.iter().collect::<Vec<_>>())
}

fn refuse_users(proposal: &Proposal<'_>, users: &[&Object]) -> Result<Vec<Change>, Objection> {
    let Some(first) = users.first() else { return Ok(Vec::new()) };
    let node = first.value.pointer("/spec/node").and_then(Value::as_str).unwrap_or_default();
    Err(Objection::Forbidden(format!(
        "the {} {} has {} endpoints attached, first {}/{} on the node {node}: detach them first",
        proposal.kind.descriptor().singular,
        proposal.key.name(),
        users.len(),
        first.key.namespace().unwrap_or_default(),
        first.key.name(),
    )))
}

/// A node that is heard is not gone.
fn refuse_live_node(proposal: &Proposal<'_>, objects: &Cached) -> Result<Vec<Change>, Objection> {
    let node = objects.find(proposal.key);
    let conditions =
        node.as_ref().and_then(|node| node.value.pointer("/status/conditions")).and_then(Value::as_array);
    // A node that has just joined says nothing of itself yet.
    let gone = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "False";
    if !conditions.is_some_and(|conditions| conditions.iter().any(gone)) {
        return Err(Objection::Forbidden(format!(
            "the node {} is connected: stop its agent first, and purge it (sealane agent --purge), or it comes back",
            proposal.key.name()
        )));
    }
    Ok(Vec::new())
}

/// Which networks asked for which identifiers; it exists to let writes at once meet.
const CLAIMS: &str = "claims.fleet.sealane.dev";
