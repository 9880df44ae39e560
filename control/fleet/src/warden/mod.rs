//! Who may do what, as the store says: the API's authorizer, what nobody may hand on, and the roles that are always there.
//!
//! ```text
//!     store ──watch──> Warden { rights }  <── decide ── every request
//!                         ^  <── escalation ── writes of roles and bindings
//!     settings, ready roles ──ready──> store (at the start, and with each tenant)
//! ```
//!
//! Promises: a decision is made by all that the store shows at that moment; whoever has just been given a right has it in the
//! next request, and whoever has lost it has not.

pub(crate) mod escalation;
pub(crate) mod ready;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::{Asked, Authorizer, Decision, What};
use intent::rights::Rule;
use intent::{Kind, Parsed};
use parking_lot::{RwLock, RwLockWriteGuard};
use rights::{NODES, On, Question, Rights};
use store::{Cached, Object, ObjectKey, Scope, StoreError, Watch};

/// See the module.
pub(crate) struct Warden {
    store: Arc<Cached>,
    known: RwLock<Known>,
}

/// The rights as of the last event that the watch delivered.
struct Known {
    rights: Rights,
    watch: Watch,
}

impl Warden {
    /// Knows what the store holds, and follows it.
    pub(crate) fn new(store: Arc<Cached>) -> Self {
        let known = RwLock::new(Known::read(&store));
        Self { store, known }
    }

    /// Looks at the rights as the store shows them now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Rights) -> T) -> T {
        let known = self.known.read();
        if known.watch.seen() >= self.store.revision() {
            return look(&known.rights);
        }
        drop(known);
        let mut known = self.known.write();
        known.catch_up(&self.store);
        look(&RwLockWriteGuard::downgrade(known).rights)
    }
}

impl Known {
    fn read(store: &Cached) -> Self {
        let (listing, watch) = store.subscribe(Scope::all());
        let mut known = Self { rights: Rights::default(), watch };
        for object in &listing.objects {
            known.put(&object.key, Some(object));
        }
        known
    }

    fn catch_up(&mut self, store: &Cached) {
        loop {
            match self.watch.ready() {
                Ok(Some(batch)) => {
                    for event in batch.events {
                        self.put(&event.key, event.object.as_ref());
                    }
                }
                Ok(None) | Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::info!(%error, "the rights fell behind the store; they are read anew");
                    *self = Self::read(store);
                    return;
                }
            }
        }
    }

    /// An object is this now, or is gone. One that is not valid gives nothing.
    fn put(&mut self, key: &ObjectKey, object: Option<&Object>) {
        let Some(kind) = KINDS.into_iter().find(|kind| key.resource() == kind.descriptor().resource()) else {
            return;
        };
        let (tenant, namespace, name) = (key.tenant(), key.namespace(), key.name());
        match object.map(|object| intent::parse(kind, &object.value)) {
            Some(Ok(Parsed::Role(role) | Parsed::ClusterRole(role))) => self.rights.put_role(tenant, role),
            Some(Ok(Parsed::RoleBinding(binding) | Parsed::ClusterRoleBinding(binding))) => {
                self.rights.put_binding(tenant, binding);
            }
            gone_or_wrong => {
                if let Some(Err(problems)) = gone_or_wrong {
                    let problem = problems.first().map(ToString::to_string).unwrap_or_default();
                    tracing::error!(%key, problem, "an object of the store is not valid; it gives no rights");
                }
                match kind {
                    Kind::Role | Kind::ClusterRole => self.rights.remove_role(tenant, namespace, name),
                    _ => self.rights.remove_binding(tenant, namespace, name),
                }
            }
        }
    }
}

impl Authorizer for Warden {
    fn decide(&self, asked: &Asked<'_>) -> Decision {
        let Asked { user, groups, tenant, verb, what } = *asked;
        let question = Question { user, groups, tenant, verb, on: on(what) };
        self.look(|rights| match rights.decide(&question) {
            Some(grant) => Decision::Allowed(grant.to_string()),
            None if groups.iter().any(|group| group == NODES) => {
                Decision::Denied(Some(NODE_LIMITS.to_owned()))
            }
            None => Decision::Denied(Some(REMEDY.to_owned())),
        })
    }

    fn rules(&self, user: &str, groups: &[String], tenant: &str, namespace: Option<&str>) -> Vec<Rule> {
        self.look(|rights| rights.rules(user, groups, tenant, namespace))
    }
}

/// A namespace is within itself: whoever has a role in it may be given the namespace, too.
fn on(what: What<'_>) -> On<'_> {
    match what {
        What::Path(path) => On::Path(path),
        What::Objects { group: "", resource: "namespaces", subresource, name: Some(name), .. } => {
            On::Objects {
                group: "",
                resource: "namespaces",
                subresource,
                namespace: Some(name),
                name: Some(name),
            }
        }
        What::Objects { group, resource, subresource, namespace, name } => {
            On::Objects { group, resource, subresource, namespace, name }
        }
    }
}

const KINDS: [Kind; 4] = [Kind::Role, Kind::ClusterRole, Kind::RoleBinding, Kind::ClusterRoleBinding];

const NODE_LIMITS: &str = "a node may open its own stream and read its own Node, nothing else";

const REMEDY: &str = "no role gives it; kubectl auth can-i --list tells what yours do, and whoever administers the tenant can bind another";
