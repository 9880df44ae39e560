//! What people ask for, parsed and by name: tenants with their namespaces and networks.
//!
//! Promises: what is in it is valid; an object of a tenant counts while the tenant is there.

use std::collections::BTreeMap;

use intent::nearest::nearest;
use intent::object::{Namespace, VirtualNetwork};
use record::record::Subnet;
use record::{TenantId, Vni};

/// Tenants by name.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    tenants: BTreeMap<String, Tenant>,
    by_id: BTreeMap<TenantId, String>,
}

/// One tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) namespaces: BTreeMap<String, Namespace>,
    pub(crate) networks: BTreeMap<String, Network>,
}

/// One network of a tenant.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) vni: Vni,
    pub(crate) object: VirtualNetwork,
}

/// A name that stands for nothing, and what was probably meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {kind} {name:?}{}", place.as_ref().map_or(String::new(), |place| format!(" in the tenant {place}")))]
pub(crate) struct Unknown {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) place: Option<String>,
    pub(crate) nearest: Option<String>,
}

impl Unknown {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> String {
        match &self.nearest {
            Some(nearest) => format!("did you mean {nearest:?}? Otherwise create the {} first", self.kind),
            None => format!("create the {} first", self.kind),
        }
    }
}

impl Directory {
    /// A tenant is there.
    pub(crate) fn put_tenant(&mut self, name: &str, id: TenantId) {
        self.by_id.insert(id, name.to_owned());
        let empty = Tenant { id, namespaces: BTreeMap::new(), networks: BTreeMap::new() };
        self.tenants.entry(name.to_owned()).or_insert(empty);
    }

    /// A tenant is gone, with all it had.
    pub(crate) fn remove_tenant(&mut self, name: &str) -> Option<Tenant> {
        let tenant = self.tenants.remove(name)?;
        self.by_id.remove(&tenant.id);
        Some(tenant)
    }

    /// A tenant, to read or to change.
    pub(crate) fn find(&self, tenant: &str) -> Option<&Tenant> {
        self.tenants.get(tenant)
    }

    /// The same, to change.
    pub(crate) fn find_mut(&mut self, tenant: &str) -> Option<&mut Tenant> {
        self.tenants.get_mut(tenant)
    }

    /// Every tenant, by name.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (&str, &Tenant)> {
        self.tenants.iter().map(|(name, tenant)| (name.as_str(), tenant))
    }

    /// A tenant's name.
    pub(crate) fn name(&self, id: TenantId) -> Option<&str> {
        self.by_id.get(&id).map(String::as_str)
    }

    /// A tenant that somebody named.
    pub(crate) fn tenant(&self, name: &str) -> Result<&Tenant, Unknown> {
        self.tenants.get(name).ok_or_else(|| unknown("tenant", name, None, self.tenants.keys()))
    }

    /// A namespace that somebody named.
    pub(crate) fn namespace(&self, tenant: &str, name: &str) -> Result<&Namespace, Unknown> {
        let known = &self.tenant(tenant)?.namespaces;
        known.get(name).ok_or_else(|| unknown("namespace", name, Some(tenant), known.keys()))
    }

    /// A network that somebody named.
    pub(crate) fn network(&self, tenant: &str, name: &str) -> Result<&Network, Unknown> {
        let known = &self.tenant(tenant)?.networks;
        known.get(name).ok_or_else(|| unknown("network", name, Some(tenant), known.keys()))
    }
}

impl Network {
    /// Its ranges.
    pub(crate) fn subnets(&self) -> &[Subnet] {
        &self.object.subnets
    }
}

fn unknown<'a>(
    kind: &'static str,
    name: &str,
    place: Option<&str>,
    known: impl Iterator<Item = &'a String>,
) -> Unknown {
    let nearest = nearest(name, known.map(String::as_str)).map(str::to_owned);
    Unknown { kind, name: name.to_owned(), place: place.map(str::to_owned), nearest }
}
