//! Whether the tenant and the namespace that a command was told of are there.
//!
//! To Kubernetes' API a place that does not exist is one without objects, and so says `kubectl`. A person who mistypes a tenant's
//! name would take the answer "nothing" for the truth, so where nothing was found this asks once more. Who may not see tenants
//! or namespaces is told what the server told.

use intent::Kind;
use intent::nearest::nearest;
use intent::object::{DEFAULT_TENANT, SYSTEM_TENANT};

use super::text;
use crate::client::Client;
use crate::failure::Failure;
use crate::settings::Settings;

/// Nothing was found in a place: an error where that place does not exist. `namespace`: the one that was looked in.
///
/// # Errors
/// Names what does not exist, and the nearest that does.
pub(crate) fn check(client: &Client, settings: &Settings, namespace: Option<&str>) -> Result<(), Failure> {
    if let Some(tenant) = settings.tenant.as_deref().filter(|tenant| !ALWAYS.contains(tenant)) {
        exists(client, settings, Kind::Tenant, tenant)?;
    }
    namespace.map_or(Ok(()), |namespace| exists(client, settings, Kind::Namespace, namespace))
}

fn exists(client: &Client, settings: &Settings, kind: Kind, name: &str) -> Result<(), Failure> {
    let place = settings.place(None);
    if !matches!(client.find(&place.of(kind, name)), Ok(None)) {
        return Ok(());
    }
    let list = client.read(&place.of_all(kind)).unwrap_or_default();
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let listed = items.iter().map(|item| text(item, &["metadata", "name"]));
    let always = ALWAYS.into_iter().filter(|_| kind == Kind::Tenant);
    let singular = kind.descriptor().singular;
    let remedy = match nearest(name, listed.chain(always)) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("see `sealane get {}`; sealane apply -f makes one", kind.descriptor().plural),
    };
    let within = match (kind, &settings.tenant) {
        (Kind::Namespace, Some(tenant)) => format!(" in the tenant {tenant}"),
        _ => String::new(),
    };
    Err(Failure::usage(format!("there is no {singular} {name:?}{within}"), remedy))
}

/// The tenants that are there whatever the store holds.
const ALWAYS: [&str; 2] = [DEFAULT_TENANT, SYSTEM_TENANT];
