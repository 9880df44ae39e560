//! The roles that are always there, put into the store: with each tenant, and at the server's start.
//!
//! Promises: what somebody added to such an object stays, what it lacks is added; one whose annotation
//! [`AUTOUPDATE`] is `"false"` is left alone; the bindings of those who are known by their connection alone say what the
//! settings say.

use std::time::SystemTime;

use api::{AUTHENTICATED, Access, LOCAL, LOOPBACK, REMOTE};
use intent::{Kind, Parsed};
use rights::missing;
use rights::ready::{self, ADMINISTRATOR, AUTOUPDATE, CONNECTOR, EVERYWHERE, PROVIDER, READER};
use serde_json::{Value, json};
use store::{Action, Cached, Change, Expect, Object, ObjectKey, Scope, Store, StoreError, Transaction};

use crate::document;

/// The roles of a tenant that is being made.
pub(crate) fn of_tenant(tenant: &str) -> Vec<Change> {
    let roles = EVERYWHERE.iter().map(|role| stamped(tenant, role.role()));
    roles
        .map(|(key, role)| Change { key, expect: Expect::Anything, action: Action::Put(role.into()) })
        .collect()
}

/// Adds what is missing at the provider's level and in every tenant. Errors: those of the store.
pub(crate) async fn repair(store: &Cached, settings: &api::Rights) -> Result<(), StoreError> {
    let mut provider = Vec::new();
    for ready in EVERYWHERE.iter().chain(PROVIDER) {
        provider.extend(mend(store, ObjectKey::SYSTEM, ready.role()));
        provider.extend(ready.binding().and_then(|binding| mend(store, ObjectKey::SYSTEM, binding)));
    }
    for (group, access) in [
        (LOCAL, settings.users),
        (LOOPBACK, settings.loopback),
        (REMOTE, settings.remote),
        (AUTHENTICATED, settings.authenticated),
    ] {
        provider.extend(follow(store, group, access));
    }
    write(store, provider).await?;
    for tenant in store.objects(&Scope::resource(document::TENANTS)).objects {
        if tenant.value.pointer("/metadata/deletionTimestamp").is_none() {
            let name = tenant.key.name();
            write(store, EVERYWHERE.iter().filter_map(|ready| mend(store, name, ready.role())).collect())
                .await?;
        }
    }
    Ok(())
}

async fn write(store: &Cached, changes: Vec<Change>) -> Result<(), StoreError> {
    if !changes.is_empty() {
        store.write(Transaction { changes }).await?;
    }
    Ok(())
}

/// The change by which an object has what it should have; `None`: it has.
fn mend(store: &Cached, tenant: &str, wanted: Value) -> Option<Change> {
    let (key, made) = stamped(tenant, wanted);
    let Some(object) = store.find(&key) else {
        return Some(Change { key, expect: Expect::Absent, action: Action::Put(made.into()) });
    };
    if is_left_alone(&object) {
        return None;
    }
    let mended = mended(&object, &made)?;
    let expect = Expect::Revision(object.revision);
    Some(Change { key, expect, action: Action::Put(mended.into()) })
}

/// The change by which a group of callers has what the settings give it.
fn follow(store: &Cached, group: &str, access: Access) -> Option<Change> {
    let role = match access {
        Access { write: true, .. } => ADMINISTRATOR,
        Access { read: true, .. } => READER,
        Access { connect: true, .. } => CONNECTOR,
        Access { .. } => "",
    };
    // A name of its own: what is given to everybody with a certificate is no part of what upstream binds to that group.
    let name = format!("sealane:settings:{}", group.rsplit(':').next().unwrap_or(group));
    let (key, made) = stamped(ObjectKey::SYSTEM, ready::bound(&name, role, &[group]));
    let object = store.find(&key);
    let expect = object.as_ref().map_or(Expect::Absent, |object| Expect::Revision(object.revision));
    match object {
        Some(object) if is_left_alone(&object) => None,
        Some(_) if role.is_empty() => Some(Change { key, expect, action: Action::Delete }),
        None if role.is_empty() => None,
        Some(object) if ["roleRef", "subjects"].iter().all(|part| object.value[part] == made[part]) => None,
        _ => Some(Change { key, expect, action: Action::Put(made.into()) }),
    }
}

fn is_left_alone(object: &Object) -> bool {
    object.value["metadata"]["annotations"][AUTOUPDATE] == "false"
}

/// The object with what it lacks; `None`: it lacks nothing, or is not what it was made as.
fn mended(object: &Object, wanted: &Value) -> Option<Value> {
    let kind = intent::kind_of(wanted).ok()?;
    let list = if kind == Kind::ClusterRole { "rules" } else { "subjects" };
    let parts = |document: &Value| document[list].as_array().cloned().unwrap_or_default();
    let lacking: Vec<Value> = match (intent::parse(kind, &object.value), intent::parse(kind, wanted)) {
        (Ok(Parsed::ClusterRole(own)), Ok(Parsed::ClusterRole(ready))) if own.gathers.is_none() => {
            let lacks = |index: &usize| !missing(&own.rules, &ready.rules[*index..=*index]).is_empty();
            let rules = parts(wanted);
            (0..rules.len()).filter(lacks).map(|index| rules[index].clone()).collect()
        }
        (Ok(Parsed::ClusterRoleBinding(own)), Ok(Parsed::ClusterRoleBinding(ready)))
            if own.role == ready.role =>
        {
            let own = parts(&object.value);
            parts(wanted).into_iter().filter(|subject| !own.contains(subject)).collect()
        }
        _ => Vec::new(),
    };
    if lacking.is_empty() {
        return None;
    }
    let mut mended = (*object.value).clone();
    mended[list] = [parts(&object.value), lacking].concat().into();
    let generation = mended["metadata"]["generation"].as_u64().unwrap_or_default() + 1;
    mended["metadata"]["generation"] = json!(generation);
    Some(mended)
}

/// The object as it is stored, and under which key.
fn stamped(tenant: &str, mut made: Value) -> (ObjectKey, Value) {
    let kind = if made["kind"] == "ClusterRole" { Kind::ClusterRole } else { Kind::ClusterRoleBinding };
    let name = made["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let created = document::stamp(SystemTime::now());
    made["metadata"]["uid"] = document::uid(&format!("{kind} {tenant} {name} {created}")).into();
    made["metadata"]["creationTimestamp"] = created.into();
    made["metadata"]["generation"] = json!(1);
    (ObjectKey::new(tenant, &kind.descriptor().resource(), None, &name), made)
}
