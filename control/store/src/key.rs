//! Identities of objects, and the scopes that lists and watches are about.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identity of an object. Ordered by resource, tenant, namespace, name, so that each [`Scope`] with a resource is one run
/// of neighbours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    resource: String,
    tenant: String,
    namespace: String,
    name: String,
}

impl ObjectKey {
    /// The tenant that stands for the provider's own level.
    pub const SYSTEM: &str = "system";

    /// An object of a tenant (by name; [`Self::SYSTEM`]: the provider's level). `resource` is the plural with its API group, such
    /// as `networkpolicies.networking.k8s.io` or `namespaces`. No namespace (or an empty one): the object is cluster scoped.
    pub fn new(tenant: &str, resource: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            resource: resource.to_owned(),
            tenant: tenant.to_owned(),
            namespace: namespace.unwrap_or_default().to_owned(),
            name: name.to_owned(),
        }
    }

    /// The plural with its API group.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The tenant's name.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The namespace, if the object is in one.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty())
    }

    /// The object's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Resource, tenant, namespace (empty: none), name: the order in which keys sort.
    pub(crate) fn parts(&self) -> (&str, &str, &str, &str) {
        (&self.resource, &self.tenant, &self.namespace, &self.name)
    }

    pub(crate) fn from_parts((resource, tenant, namespace, name): (&str, &str, &str, &str)) -> Self {
        Self::new(tenant, resource, Some(namespace), name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/", self.resource, self.tenant)?;
        if let Some(namespace) = self.namespace() {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// Which objects a list or a watch is about: those that agree with every part given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The plural with its API group.
    pub resource: Option<String>,
    /// The tenant's name.
    pub tenant: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
}

impl Scope {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// The objects of one resource, of every tenant.
    pub fn resource(resource: &str) -> Self {
        Self { resource: Some(resource.to_owned()), ..Self::default() }
    }

    /// The same, of one tenant alone.
    pub fn of_tenant(self, tenant: &str) -> Self {
        Self { tenant: Some(tenant.to_owned()), ..self }
    }

    /// The same, of one namespace alone.
    pub fn in_namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    /// Whether the object is one of these.
    pub fn holds(&self, key: &ObjectKey) -> bool {
        agrees(&self.resource, &key.resource)
            && agrees(&self.tenant, &key.tenant)
            && agrees(&self.namespace, &key.namespace)
    }

    /// No key of the scope sorts before this one.
    pub(crate) fn first(&self) -> ObjectKey {
        let (tenant, namespace) = match (&self.resource, &self.tenant) {
            (None, _) | (_, None) => ("", None),
            (Some(_), Some(tenant)) => (tenant.as_str(), self.namespace.as_deref()),
        };
        ObjectKey::new(tenant, self.resource.as_deref().unwrap_or_default(), namespace, "")
    }

    /// Whether a key at or after [`Self::first`] is behind every key of the scope.
    pub(crate) fn ends_before(&self, key: &ObjectKey) -> bool {
        if !agrees(&self.resource, &key.resource) {
            return true;
        }
        if self.resource.is_none() || self.tenant.is_none() {
            return false;
        }
        !agrees(&self.tenant, &key.tenant) || !agrees(&self.namespace, &key.namespace)
    }
}

fn agrees(wanted: &Option<String>, found: &str) -> bool {
    wanted.as_deref().is_none_or(|wanted| wanted == found)
}
