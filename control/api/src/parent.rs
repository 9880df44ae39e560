//! What objects live in: namespaces and tenants. Nothing is made in one that does not exist or is being deleted.

use std::time::SystemTime;

use intent::Kind;
use intent::object::{DEFAULT, DEFAULT_TENANT, NAMESPACE_NAME_LABEL, SYSTEM_TENANT};
use intent::registry::Scope as Place;
use serde_json::{Value, json};
use store::{Action, Cached, Change, Expect, ObjectKey, Scope, Store, StoreError, Transaction};

use crate::status::{Reason, Refusal};

/// Something that objects live in, by its own key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Parent {
    pub(crate) key: ObjectKey,
}

impl Parent {
    pub(crate) fn namespace(tenant: &str, name: &str) -> Self {
        Self { key: ObjectKey::new(tenant, &Kind::Namespace.descriptor().resource(), None, name) }
    }

    pub(crate) fn tenant(name: &str) -> Self {
        Self { key: ObjectKey::new(SYSTEM_TENANT, &Kind::Tenant.descriptor().resource(), None, name) }
    }

    /// The parent that an object of this key is itself, if it is one.
    pub(crate) fn itself(key: &ObjectKey) -> Option<Self> {
        let is = |kind: Kind| key.resource() == kind.descriptor().resource();
        (is(Kind::Namespace) || is(Kind::Tenant)).then(|| Self { key: key.clone() })
    }

    /// What an object lives in, the nearest first. The tenants `default` and `system` always exist and are no objects.
    pub(crate) fn all_of(key: &ObjectKey) -> impl Iterator<Item = Self> {
        let namespace = key.namespace().map(|namespace| Self::namespace(key.tenant(), namespace));
        let listed = !matches!(key.tenant(), DEFAULT_TENANT | SYSTEM_TENANT);
        namespace.into_iter().chain(listed.then(|| Self::tenant(key.tenant())))
    }

    pub(crate) fn is_tenant(&self) -> bool {
        self.key.tenant() == SYSTEM_TENANT
    }

    /// Where its content is in the store.
    pub(crate) fn content(&self) -> Scope {
        if self.is_tenant() {
            Scope::all().of_tenant(self.key.name())
        } else {
            Scope::all().of_tenant(self.key.tenant()).in_namespace(self.key.name())
        }
    }
}

/// What must hold so that an object may be made: its parents exist and stay. Errors: 404, 403.
pub(crate) fn expectations(store: &Cached, key: &ObjectKey) -> Result<Vec<Change>, Refusal> {
    let expect = |parent: Parent| {
        let known = if parent.is_tenant() { Kind::Tenant } else { Kind::Namespace }.descriptor();
        let name = parent.key.name();
        let about = |reason, what: &str| {
            let message = format!("{} {name:?} {what}", known.resource());
            Refusal::new(reason, message).about(known.plural, known.group, name)
        };
        let object = store.find(&parent.key).ok_or_else(|| about(Reason::NotFound, "not found"))?;
        if is_ending(&object.value) {
            let what = "is being terminated: nothing can be created in it";
            return Err(about(Reason::Forbidden, what).because(
                "NamespaceTerminating",
                what,
                "metadata.namespace",
            ));
        }
        Ok(Change { key: parent.key, expect: Expect::Revision(object.revision), action: Action::Keep })
    };
    Parent::all_of(key).map(expect).collect()
}

/// Whether deletion was asked for.
pub(crate) fn is_ending(document: &Value) -> bool {
    !document["metadata"]["deletionTimestamp"].is_null()
}

/// Whether somebody must agree before the object goes.
pub(crate) fn is_held(document: &Value) -> bool {
    document["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// This moment as documents write it (RFC 3339, whole seconds).
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// What the server sets in the metadata of every object that it makes.
pub(crate) fn stamp(document: &mut Value) {
    let metadata = &mut document["metadata"];
    metadata["uid"] = json!(uuid::Uuid::new_v4().to_string());
    metadata["creationTimestamp"] = json!(now());
    metadata["generation"] = json!(1);
}

/// The namespace `default` of a tenant, which every tenant has from the beginning; `None`: it is there.
pub(crate) fn default_namespace(store: &Cached, tenant: &str) -> Option<Change> {
    let key = Parent::namespace(tenant, DEFAULT).key;
    if store.find(&key).is_some() {
        return None;
    }
    let mut document = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": DEFAULT, "labels": { NAMESPACE_NAME_LABEL: DEFAULT } },
        "status": { "phase": "Active" },
    });
    stamp(&mut document);
    Some(Change { key, expect: Expect::Absent, action: Action::Put(document.into()) })
}

/// Makes the namespace `default` of the tenant `default` if it is missing.
pub(crate) async fn ensure_default(store: &Cached) -> Result<(), StoreError> {
    if let Some(change) = default_namespace(store, DEFAULT_TENANT) {
        store.write(Transaction { changes: vec![change] }).await?;
    }
    Ok(())
}

/// Whether an object may never be deleted.
pub(crate) fn is_lasting(kind: Kind, name: &str) -> bool {
    match kind.descriptor().scope {
        Place::Tenant => kind == Kind::Namespace && name == DEFAULT,
        Place::Provider => kind == Kind::Tenant && matches!(name, DEFAULT_TENANT | SYSTEM_TENANT),
        Place::Namespaced | Place::Level => false,
    }
}
