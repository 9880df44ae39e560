//! The numbers of tenants, nodes and networks, and the count of the server's starts.
//!
//! Owns: which number stands for which name, how long the server has lived, and their form in the store. What compiling numbers (groups, rules, selectors)
//! is [`compile::Numbers`]' business.
//!
//! Promises: a name keeps its number; the number of a tenant or a node is never another's, also after a crash, because
//! whoever sends numbers writes [`Numbers::take_writes`] before; a network identifier comes back only after all others were used.

use std::collections::BTreeMap;

use record::{NodeId, TenantId, Vni};
use serde_json::{Value, json};
use store::{Action, Object, ObjectKey};

/// Where numbers are kept.
pub(crate) const RESOURCE: &str = "numbers.fleet.sealane.dev";

/// Everything that is numbered by name.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    counters: Counters,
    tenants: BTreeMap<String, TenantId>,
    nodes: BTreeMap<String, NodeId>,
    networks: BTreeMap<NetworkName, Vni>,
    by_vni: BTreeMap<Vni, NetworkName>,
    writes: BTreeMap<ObjectKey, Action>,
}

/// A network's tenant and name.
pub(crate) type NetworkName = (String, String);

/// The numbers given last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    start: u32,
    tenant: u32,
    node: u32,
    vni: u32,
    /// Seconds, over all starts.
    lived: u64,
}

/// What is kept cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum NumbersError {
    /// An object is not of the form that this version writes.
    #[error(
        "read {key}: {value} is no number of this version; restore the store from a copy, or use the version that wrote it"
    )]
    Form {
        /// Which.
        key: Box<ObjectKey>,
        /// What it holds.
        value: Value,
    },
    /// All numbers of a kind are given out.
    #[error("no number is left for another {0}")]
    Exhausted(&'static str),
}

/// The network identifier that was asked for is another network's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the VNI {vni} is that of the network {} of the tenant {}", holder.1, holder.0)]
pub(crate) struct VniTaken {
    pub(crate) vni: Vni,
    pub(crate) holder: NetworkName,
}

impl Numbers {
    /// The numbers as they were kept.
    pub(crate) fn restore(objects: &[Object]) -> Result<Self, NumbersError> {
        let mut numbers = Self::default();
        for object in objects {
            let wrong = || NumbersError::Form {
                key: Box::new((*object.key).clone()),
                value: (*object.value).clone(),
            };
            numbers.take(object).ok_or_else(wrong)?;
        }
        Ok(numbers)
    }

    fn take(&mut self, object: &Object) -> Option<()> {
        let number = |field: &str| object.value.get(field)?.as_u64().and_then(|n| u32::try_from(n).ok());
        let tenant = object.key.tenant().to_owned();
        match object.key.name().split_once(':') {
            None => {
                self.counters = Counters {
                    start: number("start")?,
                    tenant: number("tenant")?,
                    node: number("node")?,
                    vni: number("vni")?,
                    // The version before did not count it.
                    lived: object.value.get("lived").and_then(Value::as_u64).unwrap_or_default(),
                };
            }
            Some(("tenant", name)) => {
                self.tenants.insert(name.to_owned(), TenantId(number("number")?));
            }
            Some(("node", name)) => {
                self.nodes.insert(name.to_owned(), NodeId(number("number")?));
            }
            Some(("network", name)) => {
                let vni = Vni::new(number("number")?)?;
                self.networks.insert((tenant.clone(), name.to_owned()), vni);
                self.by_vni.insert(vni, (tenant, name.to_owned()));
            }
            Some(_) => return None,
        }
        Some(())
    }

    /// Counts one more start of the server.
    pub(crate) fn start(&mut self) -> u32 {
        self.counters.start = self.counters.start.wrapping_add(1).max(1);
        self.keep_counters();
        self.counters.start
    }

    /// How long the server has lived, in seconds, over all starts: as it was noted last.
    pub(crate) fn lived(&self) -> u64 {
        self.counters.lived
    }

    /// Notes how long it has lived.
    pub(crate) fn note_lived(&mut self, seconds: u64) {
        self.counters.lived = seconds;
        self.keep_counters();
    }

    /// Counts starts on from one that a node has met and the store has lost.
    pub(crate) fn start_after(&mut self, met: u32) -> u32 {
        self.counters.start = self.counters.start.max(met);
        self.start()
    }

    /// Passes over the numbers that may have been given since the backup from which the store was made.
    pub(crate) fn leap(&mut self) {
        let Counters { start, tenant, node, vni, .. } = &mut self.counters;
        *start = start.saturating_add(STARTS);
        *tenant = tenant.saturating_add(LEAP);
        *node = node.saturating_add(LEAP);
        *vni = (*vni + LEAP) % Vni::MAX;
        self.keep_counters();
    }

    /// The number of a tenant; a new one for a new name.
    pub(crate) fn tenant(&mut self, name: &str) -> Result<TenantId, NumbersError> {
        if let Some(id) = self.tenants.get(name) {
            return Ok(*id);
        }
        self.counters.tenant =
            self.counters.tenant.checked_add(1).ok_or(NumbersError::Exhausted("tenant"))?;
        let id = TenantId(self.counters.tenant);
        self.tenants.insert(name.to_owned(), id);
        self.keep(ObjectKey::SYSTEM, format!("tenant:{name}"), id.0);
        Ok(id)
    }

    /// The number of a node; a new one for a new name.
    pub(crate) fn node(&mut self, name: &str) -> Result<NodeId, NumbersError> {
        if let Some(id) = self.nodes.get(name) {
            return Ok(*id);
        }
        self.counters.node = self.counters.node.checked_add(1).ok_or(NumbersError::Exhausted("node"))?;
        let id = NodeId(self.counters.node);
        self.nodes.insert(name.to_owned(), id);
        self.keep(ObjectKey::SYSTEM, format!("node:{name}"), id.0);
        Ok(id)
    }

    /// The identifier of a network: the one asked for, or the next that is free.
    pub(crate) fn network(
        &mut self,
        tenant: &str,
        name: &str,
        asked: Option<Vni>,
    ) -> Result<Vni, NetworkError> {
        let network = (tenant.to_owned(), name.to_owned());
        if let Some(vni) = self.networks.get(&network).filter(|vni| asked.is_none_or(|asked| asked == **vni))
        {
            return Ok(*vni);
        }
        let vni = match asked {
            Some(vni) => self.check_vni(tenant, name, vni).map(|()| vni)?,
            None => self.next_vni().ok_or(NumbersError::Exhausted("network"))?,
        };
        if let Some(before) = self.networks.insert(network.clone(), vni) {
            self.by_vni.remove(&before);
        }
        self.by_vni.insert(vni, network);
        self.keep(tenant, format!("network:{name}"), vni.value());
        Ok(vni)
    }

    /// Whether a network may have this identifier.
    pub(crate) fn check_vni(&self, tenant: &str, name: &str, vni: Vni) -> Result<(), VniTaken> {
        match self.by_vni.get(&vni) {
            Some(holder) if (holder.0.as_str(), holder.1.as_str()) != (tenant, name) => {
                Err(VniTaken { vni, holder: holder.clone() })
            }
            _ => Ok(()),
        }
    }

    fn next_vni(&mut self) -> Option<Vni> {
        for _ in 0..=self.by_vni.len() {
            self.counters.vni = self.counters.vni % Vni::MAX + 1;
            let vni = Vni::new(self.counters.vni)?;
            if !self.by_vni.contains_key(&vni) {
                return Some(vni);
            }
        }
        None
    }

    /// Forgets a tenant's name; its number is never given again.
    pub(crate) fn drop_tenant(&mut self, name: &str) {
        if self.tenants.remove(name).is_some() {
            self.forget(ObjectKey::SYSTEM, format!("tenant:{name}"));
        }
    }

    /// Forgets a node's name; its number is never given again.
    pub(crate) fn drop_node(&mut self, name: &str) {
        if self.nodes.remove(name).is_some() {
            self.forget(ObjectKey::SYSTEM, format!("node:{name}"));
        }
    }

    /// Forgets a network; its identifier is given again when all others were.
    pub(crate) fn drop_network(&mut self, tenant: &str, name: &str) -> Option<Vni> {
        let vni = self.networks.remove(&(tenant.to_owned(), name.to_owned()))?;
        self.by_vni.remove(&vni);
        self.forget(tenant, format!("network:{name}"));
        Some(vni)
    }

    /// The tenant and name of a network.
    pub(crate) fn network_name(&self, vni: Vni) -> Option<&NetworkName> {
        self.by_vni.get(&vni)
    }

    /// The identifier of a network, if it has one.
    pub(crate) fn find_network(&self, tenant: &str, name: &str) -> Option<Vni> {
        self.networks.get(&(tenant.to_owned(), name.to_owned())).copied()
    }

    /// Every node and its number.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, NodeId)> {
        self.nodes.iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// What has to be durable before any number given since is sent to anybody.
    pub(crate) fn take_writes(&mut self) -> BTreeMap<ObjectKey, Action> {
        std::mem::take(&mut self.writes)
    }

    fn keep(&mut self, tenant: &str, name: String, number: u32) {
        self.write(tenant, &name, Action::Put(json!({ "number": number }).into()));
        self.keep_counters();
    }

    fn forget(&mut self, tenant: &str, name: String) {
        self.write(tenant, &name, Action::Delete);
    }

    fn keep_counters(&mut self) {
        let Counters { start, tenant, node, vni, lived } = self.counters;
        let value = json!({ "start": start, "tenant": tenant, "node": node, "vni": vni, "lived": lived });
        self.write(ObjectKey::SYSTEM, "counters", Action::Put(value.into()));
    }

    fn write(&mut self, tenant: &str, name: &str, action: Action) {
        self.writes.insert(ObjectKey::new(tenant, RESOURCE, None, name), action);
    }
}

/// Why a network has no identifier.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    /// See [`VniTaken`].
    #[error(transparent)]
    Taken(#[from] VniTaken),
    /// See [`NumbersError`].
    #[error(transparent)]
    Numbers(#[from] NumbersError),
}

/// More starts than a server has made since any backup that is restored.
const STARTS: u32 = 1 << 10;

/// More tenants, nodes or networks than were made since.
const LEAP: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// What a store would hold after these writes.
    fn kept(objects: &mut BTreeMap<ObjectKey, Object>, numbers: &mut Numbers) -> Vec<Object> {
        for (key, action) in numbers.take_writes() {
            match action {
                Action::Put(value) => {
                    let object = Object { key: Arc::new(key.clone()), value, revision: 1, created: 1 };
                    objects.insert(key, object);
                }
                Action::Delete => {
                    objects.remove(&key);
                }
                Action::Keep => {}
            }
        }
        objects.values().cloned().collect()
    }

    #[test]
    fn numbers_outlive_a_restart_and_those_of_the_dead_are_never_given_again() {
        let mut objects = BTreeMap::new();
        let mut numbers = Numbers::default();
        assert_eq!(numbers.start(), 1);
        assert_eq!(numbers.tenant("default").unwrap(), TenantId(1));
        assert_eq!(numbers.tenant("acme").unwrap(), TenantId(2));
        assert_eq!(numbers.node("n1").unwrap(), NodeId(1));
        let web = numbers.network("acme", "web", None).unwrap();
        numbers.drop_tenant("acme");
        numbers.drop_node("n1");
        let mut again = Numbers::restore(&kept(&mut objects, &mut numbers)).unwrap();
        assert_eq!(again.start(), 2);
        assert_eq!(again.tenant("default").unwrap(), TenantId(1));
        assert_eq!(again.tenant("acme").unwrap(), TenantId(3), "a tenant of the same name is another tenant");
        assert_eq!(again.node("n1").unwrap(), NodeId(2));
        assert_eq!(again.network("acme", "web", None).unwrap(), web);
        assert_eq!(again.network_name(web), Some(&("acme".to_owned(), "web".to_owned())));
    }

    #[test]
    fn a_network_identifier_is_one_networks_and_asked_for_ones_are_stepped_over() {
        let mut numbers = Numbers::default();
        let asked = Vni::new(2).unwrap();
        assert_eq!(numbers.network("a", "fixed", Some(asked)).unwrap(), asked);
        assert_eq!(numbers.network("a", "one", None).unwrap().value(), 1);
        assert_eq!(numbers.network("a", "three", None).unwrap().value(), 3);
        let taken = numbers.check_vni("b", "fixed", asked).unwrap_err();
        assert_eq!(taken.to_string(), "the VNI 2 is that of the network fixed of the tenant a");
        numbers.drop_network("a", "one");
        assert_eq!(numbers.network("a", "four", None).unwrap().value(), 4, "a freed identifier rests");
        assert_eq!(numbers.network("b", "first", Vni::new(1)).unwrap().value(), 1, "unless it is asked for");
    }

    #[test]
    fn what_was_kept_and_cannot_be_understood_is_refused_with_its_name() {
        let key = ObjectKey::new("system", RESOURCE, None, "node:n1");
        let object =
            Object { key: Arc::new(key), value: json!({ "number": -1 }).into(), revision: 1, created: 1 };
        let error = Numbers::restore(&[object]).unwrap_err().to_string();
        assert!(error.contains("node:n1"), "{error}");
    }
}
