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
                refuse_while_used(proposal, objects, inside)?;
                Ok(give_up_claims(objects, |claim| {
                    claim["tenant"] == proposal.key.tenant() && claim["network"] == network
                }))
            }
            (Kind::Namespace, None) => {
                let namespace = proposal.key.name().to_owned();
                let inside = move |endpoint: &Value| {
                    endpoint.pointer("/metadata/namespace").is_some_and(|name| *name == namespace)
                };
                refuse_while_used(proposal, objects, inside).map(|()| Vec::new())
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
            (Kind::Tenant, None) => {
                refuse_tenant_in_use(proposal, objects)?;
                Ok(give_up_claims(objects, |claim| claim["tenant"] == proposal.key.name()))
            }
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

/// What has gone claims nothing any more.
fn give_up_claims(objects: &Cached, of: impl Fn(&Value) -> bool) -> Vec<Change> {
    let claims = objects.objects(&Scope::resource(CLAIMS)).objects.into_iter();
    let gone = claims.filter(|claim| of(&claim.value));
    let delete = |claim: Object| Change {
        key: (*claim.key).clone(),
        expect: Expect::Revision(claim.revision),
        action: Action::Delete,
    };
    gone.map(delete).collect()
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
) -> Result<(), Objection> {
    let endpoints =
        objects.objects(&Scope::resource(document::ENDPOINTS).of_tenant(proposal.key.tenant())).objects;
    let users: Vec<&Object> = endpoints.iter().filter(|endpoint| inside(&endpoint.value)).collect();
    refuse_users(proposal, &users)
}

fn refuse_tenant_in_use(proposal: &Proposal<'_>, objects: &Cached) -> Result<(), Objection> {
    let endpoints =
        objects.objects(&Scope::resource(document::ENDPOINTS).of_tenant(proposal.key.name())).objects;
    refuse_users(proposal, &endpoints.iter().collect::<Vec<_>>())
}

fn refuse_users(proposal: &Proposal<'_>, users: &[&Object]) -> Result<(), Objection> {
    let Some(first) = users.first() else { return Ok(()) };
    let (endpoints, them) = if users.len() == 1 { ("endpoint", "it") } else { ("endpoints", "them") };
    let node = first.value.pointer("/spec/node").and_then(Value::as_str).unwrap_or_default();
    Err(Objection::Forbidden(format!(
        "the {} {} has {} {endpoints} attached, first {}/{} on the node {node}: detach {them} first",
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

#[cfg(test)]
mod tests {
    use api::{Verb, Who};
    use serde_json::json;
    use store::{FileStore, Retention, Store, Transaction};

    use super::*;

    #[tokio::test]
    async fn a_network_and_a_tenant_that_go_leave_no_claim_of_a_vni_behind() {
        let folder = tempfile::tempdir().unwrap();
        let home = FileStore::open(&folder.path().join("store"), Retention::default()).unwrap();
        let store = Arc::new(Cached::start(Arc::new(home)).await.unwrap());
        let admission = FabricAdmission {
            warden: Arc::new(Warden::new(Arc::clone(&store))),
            default_subnets: Vec::new(),
        };
        let pass = async |kind, key: ObjectKey, new: Option<&Value>| {
            let (who, verb) = (Who::local(0), if new.is_some() { Verb::Create } else { Verb::Delete });
            let proposal = Proposal { who: &who, verb, kind, key: &key, old: None, new };
            let changes = admission.judge(&proposal, &store).unwrap();
            let written = store.write(Transaction { changes }).await.unwrap();
            store.reach(written.revision, std::time::Duration::from_secs(20)).await;
            let claims = store.objects(&Scope::resource(CLAIMS)).objects.into_iter();
            claims.map(|claim| claim.key.name().to_owned()).collect::<Vec<_>>()
        };
        let network = |tenant, name| ObjectKey::new(tenant, document::NETWORKS, None, name);
        let mut claims = Vec::new();
        for (tenant, name, vni) in [("acme", "red", 7), ("acme", "blue", 8), ("bravo", "red", 9)] {
            let document = json!({
                "apiVersion": "sealane.dev/v1alpha1",
                "kind": "VirtualNetwork",
                "metadata": { "name": name },
                "spec": { "vni": vni, "subnets": [{ "cidr": "10.1.0.0/16" }] },
            });
            claims = pass(Kind::VirtualNetwork, network(tenant, name), Some(&document)).await;
        }
        assert_eq!(claims, ["7", "8", "9"]);
        assert_eq!(pass(Kind::VirtualNetwork, network("acme", "red"), None).await, ["8", "9"]);
        let tenant = ObjectKey::new(ObjectKey::SYSTEM, document::TENANTS, None, "acme");
        assert_eq!(pass(Kind::Tenant, tenant, None).await, ["9"]);
    }
}
