//! Owner references: which objects a document names as its owners, and what is wrong with what it says.
//!
//! An object in a namespace is owned by objects of the same namespace or of its tenant; an object of a tenant by others of the
//! tenant; what is at the provider's level by others there. A reference that leads elsewhere, or to a kind that the tenant
//! does not know, leads nowhere, and an object that has such a one is never collected.

use intent::problem::Fault;
use intent::registry::Scope as Place;
use intent::{Kind, Problem};
use serde_json::Value;
use store::ObjectKey;

use crate::ending::Propagation;

/// One owner that a document names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Where the owner would be; `None`: it leads nowhere.
    pub(crate) key: Option<ObjectKey>,
    pub(crate) uid: String,
    /// Whether an owner that is deleted in the foreground waits for this object.
    pub(crate) blocks: bool,
}

/// The owners that the document of this key names.
pub(crate) fn references(key: &ObjectKey, document: &Value) -> Vec<Reference> {
    let listed = document["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let reference = |listed: &Value| Reference {
        key: owner_key(key, listed).ok(),
        uid: text(listed, "uid").to_owned(),
        blocks: listed["blockOwnerDeletion"] == true,
    };
    listed.map(reference).collect()
}

/// Takes away the references to these owners, by uid.
pub(crate) fn disown(document: &mut Value, uids: &[&str]) {
    let Some(Value::Array(listed)) = document.pointer_mut("/metadata/ownerReferences") else { return };
    listed.retain(|reference| !uids.contains(&text(reference, "uid")));
    if let (true, Some(metadata)) = (listed.is_empty(), document["metadata"].as_object_mut()) {
        metadata.remove("ownerReferences");
    }
}

/// Lets owners go before this object: what breaks a circle of objects that own each other.
pub(crate) fn unblock(document: &mut Value) {
    let Some(Value::Array(listed)) = document.pointer_mut("/metadata/ownerReferences") else { return };
    for reference in listed.iter_mut().filter(|reference| reference["blockOwnerDeletion"] == true) {
        reference["blockOwnerDeletion"] = Value::Bool(false);
    }
}

/// What is wrong with the owners and finalizers of a document.
pub(crate) fn problems(document: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let listed = document["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, reference) in listed.iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"]
            .into_iter()
            .filter(|field| text(reference, field).is_empty())
        {
            let path = format!("metadata.ownerReferences[{index}].{field}");
            problems.push(Problem::missing(
                path,
                "is empty",
                "name the owner by apiVersion, kind, name and uid",
            ));
        }
    }
    let controllers: Vec<_> = listed.iter().filter(|reference| reference["controller"] == true).collect();
    if let [first, second, ..] = controllers[..] {
        problems.push(Problem::new(
            "metadata.ownerReferences",
            &document["metadata"]["ownerReferences"],
            Fault::Invalid,
            format!(
                "{} {:?} and {} {:?} both have controller: true",
                text(first, "kind"),
                text(first, "name"),
                text(second, "kind"),
                text(second, "name"),
            ),
            "an object has one controller",
        ));
    }
    if Propagation::Orphan.is_noted(document) && Propagation::Foreground.is_noted(document) {
        problems.push(Problem::new(
            "metadata.finalizers",
            &document["metadata"]["finalizers"],
            Fault::Invalid,
            "orphan and foregroundDeletion exclude each other: dependents stay, or go first",
            "leave one of them out",
        ));
    }
    problems
}

/// What the writer of a document should know of its owners.
pub(crate) fn warnings(key: &ObjectKey, document: &Value) -> Vec<String> {
    let listed = document["metadata"]["ownerReferences"].as_array().into_iter().flatten().enumerate();
    let warning = |(index, reference): (usize, &Value)| {
        let reason = owner_key(key, reference).err()?;
        Some(format!(
            "metadata.ownerReferences[{index}]: {reason}: this object is not deleted with its owners"
        ))
    };
    listed.filter_map(warning).collect()
}

/// Where an owner would be, or why it cannot be one.
fn owner_key(dependent: &ObjectKey, reference: &Value) -> Result<ObjectKey, String> {
    let (version, kind, name) =
        (text(reference, "apiVersion"), text(reference, "kind"), text(reference, "name"));
    let unknown = || format!("no kind {kind:?} of {version:?} is known here");
    let known = Kind::of(version, kind).ok_or_else(unknown)?.descriptor();
    let namespace = match (known.scope, dependent.namespace()) {
        (Place::Namespaced, Some(namespace)) => Some(namespace),
        (Place::Namespaced, None) => {
            return Err(format!("a {kind} lives in a namespace and can own nothing outside of it"));
        }
        (Place::Level, _) => None,
        (Place::Tenant, _) if dependent.tenant() != ObjectKey::SYSTEM => None,
        (Place::Provider, None) if dependent.tenant() == ObjectKey::SYSTEM => None,
        (Place::Tenant | Place::Provider, _) => {
            return Err(format!("a {kind} is at another level and can own nothing here"));
        }
    };
    Ok(ObjectKey::new(dependent.tenant(), &known.resource(), namespace, name))
}

fn text<'a>(reference: &'a Value, field: &str) -> &'a str {
    reference[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn leads(dependent: &ObjectKey, version: &str, kind: &str) -> Option<ObjectKey> {
        let owners = json!([{ "apiVersion": version, "kind": kind, "name": "o", "uid": "u" }]);
        let [reference] = &references(dependent, &json!({ "metadata": { "ownerReferences": owners } }))[..]
        else {
            panic!("one reference")
        };
        reference.key.clone()
    }

    #[test]
    fn owners_are_in_the_same_namespace_or_above_it_and_in_the_same_tenant() {
        let policy = ObjectKey::new("acme", "networkpolicies.networking.k8s.io", Some("shop"), "p");
        let network = ObjectKey::new("acme", "virtualnetworks.sealane.dev", None, "n");
        let tenant = ObjectKey::new("system", "tenants.sealane.dev", None, "t");
        let own = "sealane.dev/v1alpha1";
        let other = |namespace| ObjectKey::new("acme", "networkpolicies.networking.k8s.io", namespace, "o");
        assert_eq!(leads(&policy, "networking.k8s.io/v1", "NetworkPolicy"), Some(other(Some("shop"))));
        let above = ObjectKey::new("acme", "virtualnetworks.sealane.dev", None, "o");
        assert_eq!(leads(&policy, own, "VirtualNetwork"), Some(above.clone()));
        assert_eq!(leads(&network, own, "VirtualNetwork"), Some(above));
        let provider = ObjectKey::new("system", "tenants.sealane.dev", None, "o");
        assert_eq!(leads(&tenant, own, "Tenant"), Some(provider));
        for (dependent, version, kind) in [
            (&network, "networking.k8s.io/v1", "NetworkPolicy"),
            (&policy, own, "Tenant"),
            (&tenant, own, "VirtualNetwork"),
            (&policy, "apps/v1", "Deployment"),
        ] {
            assert_eq!(leads(dependent, version, kind), None, "{dependent} {kind}");
        }
    }

    #[test]
    fn everything_wrong_with_owners_and_finalizers_is_told() {
        let owner = |name: &str| json!({ "apiVersion": "v1", "kind": "Namespace", "name": name, "uid": "u", "controller": true });
        let document = json!({ "metadata": {
            "finalizers": ["orphan", "foregroundDeletion"], "ownerReferences": [owner("a"), owner("")] } });
        let told = problems(&document);
        let paths: Vec<_> = told.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            ["metadata.ownerReferences[1].name", "metadata.ownerReferences", "metadata.finalizers"]
        );
        assert!(problems(&json!({ "metadata": { "ownerReferences": [owner("a")] } })).is_empty());
    }
}
