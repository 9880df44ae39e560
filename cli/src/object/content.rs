//! What a tenant holds: every object that people write in it, in a form that another tenant could hold too.
//!
//! Owns: which kinds count ([`kinds`]: all that people write, none that the fabric writes), what of an object counts
//! ([`portable`]: its name, namespace, labels, annotations and what is asked for), and the difference of two tenants
//! ([`differences`]). Promises: two tenants without differences compile to the same policy, for that is a function of what counts
//! here and of who is attached.

use std::collections::{BTreeMap, BTreeSet};

use intent::object::{DEFAULT, DEFAULT_TENANT, NAMESPACE_NAME_LABEL, SYSTEM_TENANT};
use intent::registry::Scope;
use intent::{Kind, UnknownFields, admit};
use serde_json::{Map, Value, json};

use super::merge::LAST_APPLIED;
use super::{place, text, title};
use crate::client::{Client, Place};
use crate::failure::Failure;
use crate::settings::Settings;

/// Which object of a tenant is meant, in whichever tenant. The tenant's own object has no name here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) kind: Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

/// Everything that people have written in a tenant.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) tenant: String,
    /// The objects as the server has them; those that others live in first.
    pub(crate) objects: BTreeMap<Identity, Value>,
}

/// Where two tenants are not the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    pub(crate) identity: Identity,
    /// What the first has, as far as it counts.
    pub(crate) first: Option<Value>,
    /// What the second has.
    pub(crate) second: Option<Value>,
}

impl Content {
    /// Reads a tenant whole.
    ///
    /// # Errors
    /// There is no such tenant, or it is the provider's level, or something of it may not be read.
    pub(crate) fn read(client: &Client, settings: &Settings, tenant: &str) -> Result<Self, Failure> {
        if let Some(content) = Self::find(client, tenant)? {
            return Ok(content);
        }
        let settings = Settings { tenant: Some(tenant.to_owned()), ..settings.clone() };
        place::check(client, &settings, None)?;
        Err(Failure::usage(format!("there is no tenant {tenant:?}"), "see `sealane get tenants`"))
    }

    /// The same; `None` where there is no such tenant.
    pub(crate) fn find(client: &Client, tenant: &str) -> Result<Option<Self>, Failure> {
        if tenant == SYSTEM_TENANT {
            let remedy = "name a tenant: `sealane get tenants` lists them";
            return Err(Failure::usage(format!("{tenant} is the provider's own level, no tenant"), remedy));
        }
        let place = Place { tenant: Some(tenant), namespace: None };
        let mut objects = BTreeMap::new();
        let itself = Identity { kind: Kind::Tenant, namespace: None, name: String::new() };
        match client.find(&place.of(Kind::Tenant, tenant))? {
            Some(object) => objects.insert(itself, object),
            // It always exists and need not be an object.
            None if tenant == DEFAULT_TENANT => {
                let known = Kind::Tenant.descriptor();
                let object = json!({ "apiVersion": known.api_version(), "kind": known.kind, "metadata": {} });
                objects.insert(itself, object)
            }
            None => return Ok(None),
        };
        for kind in kinds() {
            let list = client.read(&place.of_all(kind))?;
            for mut object in list["items"].as_array().cloned().unwrap_or_default() {
                // Items of a list need not say what all of them are.
                object["apiVersion"] = kind.descriptor().api_version().into();
                object["kind"] = kind.descriptor().kind.into();
                let namespace = text(&object, &["metadata", "namespace"]);
                let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
                let name = text(&object, &["metadata", "name"]).to_owned();
                objects.insert(Identity { kind, namespace, name }, object);
            }
        }
        Ok(Some(Self { tenant: tenant.to_owned(), objects }))
    }
}

impl Identity {
    /// How a message names it: `networkpolicy.networking.k8s.io/web in shop`.
    pub(crate) fn shown(&self) -> String {
        match (self.kind, &self.namespace) {
            (Kind::Tenant, _) => "the tenant itself".to_owned(),
            (kind, Some(namespace)) => format!("{} in {namespace}", title(kind, &self.name)),
            (kind, None) => title(kind, &self.name),
        }
    }

    /// Its path in a tenant.
    pub(crate) fn path(&self, tenant: &str) -> String {
        let name = if self.kind == Kind::Tenant { tenant } else { &self.name };
        self.place(tenant).of(self.kind, name)
    }

    /// The path of those that it would be one of.
    pub(crate) fn path_of_all(&self, tenant: &str) -> String {
        self.place(tenant).of_all(self.kind)
    }

    fn place<'a>(&'a self, tenant: &'a str) -> Place<'a> {
        Place { tenant: Some(tenant), namespace: self.namespace.as_deref() }
    }
}

/// The kinds that people write in a tenant, those that others live in first.
fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| {
        let known = kind.descriptor();
        known.writable && known.scope != Scope::Provider
    })
}

/// Every object that is not the same in both, with what each has.
pub(crate) fn differences(first: &Content, second: &Content) -> Vec<Difference> {
    let all: BTreeSet<&Identity> = first.objects.keys().chain(second.objects.keys()).collect();
    let of = |content: &Content, identity: &Identity| {
        content.objects.get(identity).map(|object| portable(identity, object))
    };
    all.into_iter()
        .map(|identity| Difference {
            identity: identity.clone(),
            first: of(first, identity),
            second: of(second, identity),
        })
        .filter(|difference| difference.first != difference.second)
        .collect()
}

/// An object as far as it could be another tenant's too, with all defaults.
///
/// Left out is what the fabric or the server writes (status, uid, revision, times), who else has a say in the object's end (finalizers
/// and owners, by uid), and a network's VNI, which is unique in the fabric.
pub(crate) fn portable(identity: &Identity, object: &Value) -> Value {
    let mut object = match admit(identity.kind, object.clone(), UnknownFields::Ignore) {
        Ok(admitted) => admitted.document,
        // The tenant that is no object, or what a later version has written: as it is.
        Err(_) => object.clone(),
    };
    let Some(fields) = object.as_object_mut() else { return object };
    fields.remove("status");
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        if identity.kind == Kind::VirtualNetwork {
            spec.remove("vni");
        }
        if spec.is_empty() {
            fields.remove("spec");
        }
    }
    let metadata = fields.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut kept = Map::new();
    for (name, mut value) in metadata {
        let counts = match name.as_str() {
            "name" => identity.kind != Kind::Tenant,
            "namespace" => true,
            "labels" | "annotations" => {
                let entries = value.as_object_mut();
                entries.is_some_and(|entries| {
                    entries.remove(LAST_APPLIED);
                    !entries.is_empty()
                })
            }
            _ => false,
        };
        if counts {
            kept.insert(name, value);
        }
    }
    fields.insert("metadata".to_owned(), kept.into());
    object
}

/// Whether it is no more than what every tenant has from its creation: the namespace and the network `default`, ready-made roles.
pub(crate) fn is_given(identity: &Identity, object: &Value) -> bool {
    let metadata = &portable(identity, object)["metadata"];
    let labels = metadata["labels"].as_object();
    let is_bare = metadata.get("annotations").is_none()
        && labels.is_none_or(|labels| labels.keys().all(|label| label == NAMESPACE_NAME_LABEL));
    match identity.kind {
        Kind::Tenant => true,
        Kind::Namespace => identity.name == DEFAULT && is_bare,
        Kind::VirtualNetwork => {
            let applied = text(object, &["metadata", "annotations", LAST_APPLIED]);
            let untouched = object["metadata"]["generation"] == 1 && applied.is_empty();
            identity.name == DEFAULT && is_bare && untouched
        }
        _ => labels.is_some_and(|labels| labels.contains_key(rights::ready::LABEL)),
    }
}

/// What a comparison passes over, in words.
pub(crate) const PASSED_OVER: &str = "status, uid, revision and times, VNI, finalizers and owners";

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(kind: Kind, name: &str) -> Identity {
        let namespace = kind.descriptor().namespaced().then(|| "shop".to_owned());
        Identity { kind, namespace, name: name.to_owned() }
    }

    fn network(vni: u32, subnet: &str) -> Value {
        json!({
            "apiVersion": "sealane.dev/v1alpha1", "kind": "VirtualNetwork",
            "metadata": {
                "name": "blue", "uid": vni.to_string(), "resourceVersion": "7", "finalizers": ["a/b"],
                "labels": { "a": "b" }, "annotations": { LAST_APPLIED: "x" },
            },
            "spec": { "vni": vni, "subnets": [{ "cidr": subnet }] },
            "status": { "vni": vni },
        })
    }

    fn content(tenant: &str, objects: Vec<(Identity, Value)>) -> Content {
        Content { tenant: tenant.to_owned(), objects: objects.into_iter().collect() }
    }

    #[test]
    fn what_the_fabric_gives_makes_no_difference_and_what_people_ask_for_does() {
        let blue = identity(Kind::VirtualNetwork, "blue");
        let one = content("a", vec![(blue.clone(), network(7, "10.1.0.0/16"))]);
        let other = content("b", vec![(blue.clone(), network(8, "10.1.0.0/16"))]);
        assert_eq!(differences(&one, &other), []);
        let other = content("b", vec![(blue, network(8, "10.2.0.0/16"))]);
        let found = differences(&one, &other);
        let cidr = |side: &Option<Value>| side.as_ref().unwrap()["spec"]["subnets"][0]["cidr"].clone();
        assert_eq!(
            found.iter().map(|one| (cidr(&one.first), cidr(&one.second))).collect::<Vec<_>>(),
            [(json!("10.1.0.0/16"), json!("10.2.0.0/16"))]
        );
    }

    #[test]
    fn a_default_that_is_written_out_makes_no_difference() {
        let blue = identity(Kind::VirtualNetwork, "blue");
        let mut written = network(7, "10.1.0.0/16");
        written["spec"]["defaultVerdict"] = json!("Allow");
        let one = content("a", vec![(blue.clone(), written)]);
        assert_eq!(differences(&one, &content("b", vec![(blue.clone(), network(8, "10.1.0.0/16"))])), []);
    }

    #[test]
    fn an_object_that_only_one_has_is_a_difference_of_either_side() {
        let blue = identity(Kind::VirtualNetwork, "blue");
        let one = content("a", vec![(blue.clone(), network(7, "10.1.0.0/16"))]);
        let none = content("b", Vec::new());
        for (first, second) in [(&one, &none), (&none, &one)] {
            let found = differences(first, second);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].identity, blue);
            assert_ne!(found[0].first.is_some(), found[0].second.is_some());
        }
    }

    #[test]
    fn the_namespace_default_is_somebodys_work_once_it_names_a_network() {
        let default = identity(Kind::Namespace, DEFAULT);
        let mut object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": DEFAULT, "labels": { NAMESPACE_NAME_LABEL: DEFAULT } },
        });
        assert!(is_given(&default, &object));
        object["metadata"]["annotations"] = json!({ "sealane.dev/network": "blue" });
        assert!(!is_given(&default, &object));
    }
}
