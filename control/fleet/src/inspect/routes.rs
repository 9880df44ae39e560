//! The routes, and who may take them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use api::{Api, Deed, Reason, Refusal, Verb, What, Who};
use axum::body::Body;
use axum::extract::{Path, Query as Parameters};
use axum::http::{Response, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Router};
use intent::object::{DEFAULT_TENANT, SYSTEM_TENANT};
use serde::Serialize;
use store::{Cached, Scope, Store, backup};

use super::parameters::{Asked, Query, known, parsed};
use super::survey::{self, Area};
use super::{AuditList, FabricStatus, NodeStatus, audit, explain};
use crate::engine::Handle;
use crate::fleet::Fleet;
use crate::{document, metrics, session};

/// What the routes need.
pub(crate) struct State {
    pub(crate) handle: Handle,
    pub(crate) store: Arc<Cached>,
    pub(crate) api: Arc<Api>,
}

/// The routes beside the API's own: the nodes' stream, questions, metrics.
pub(crate) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route(stream::PATH, post(sync))
        .route("/fabric/v1/status", get(status))
        .route("/fabric/v1/flows", get(flows))
        .route("/fabric/v1/drops", get(drops))
        .route("/fabric/v1/explain", get(explain_default))
        .route("/clusters/{tenant}/fabric/v1/explain", get(explain_tenant))
        .route("/fabric/v1/audit", get(events))
        .route("/fabric/v1/backup", post(taken))
        .route("/metrics", get(figures))
        .layer(Extension(state))
}

type Shared = Extension<Arc<State>>;
type Caller = Extension<Who>;

async fn sync(
    Extension(state): Shared,
    Extension(who): Caller,
    request: axum::extract::Request,
) -> Response<Body> {
    if let Err(refusal) = allowed(&state, &who, Verb::Connect, SYSTEM_TENANT, "nodes") {
        return refusal.response();
    }
    let own = who.node().map(str::to_owned);
    let (received, api) = (SystemTime::now(), Arc::clone(&state.api));
    let refused = move |message: &str| {
        let what = question("nodes", who.node());
        let deed = Deed { verb: Verb::Connect, tenant: SYSTEM_TENANT, what };
        api.note(&who, &deed, received, Err(&Refusal::new(Reason::Forbidden, message)));
    };
    stream::accept(request, |incoming| session::open(&state.handle, incoming, own, refused))
        .await
        .map(Body::new)
}

async fn status(
    Extension(state): Shared,
    Extension(who): Caller,
    Parameters(query): Parameters<Query>,
) -> Response<Body> {
    let checked =
        allowed(&state, &who, Verb::Get, SYSTEM_TENANT, "status").and_then(|()| fitting(known(&query, &[])));
    if let Err(refusal) = checked {
        return refusal.response();
    }
    let revision = state.store.span().revision;
    answer(state.handle.look(move |fleet| fabric_status(fleet, revision)).await.map(Ok))
}

/// Everything that the store holds, as of one revision. Who may have it knows all of every tenant.
async fn taken(
    Extension(state): Shared,
    Extension(who): Caller,
    Parameters(query): Parameters<Query>,
) -> Response<Body> {
    let checked = fitting(known(&query, &[]))
        .and_then(|()| allowed(&state, &who, Verb::Create, SYSTEM_TENANT, "backups"));
    if let Err(refusal) = checked {
        return refusal.response();
    }
    let listing = state.store.objects(&Scope::all());
    tracing::info!(user = who.user, revision = listing.revision, "a backup is taken");
    let now = document::stamp(SystemTime::now());
    let lines = backup::lines(listing, now, env!("CARGO_PKG_VERSION"));
    let stream = futures_util::stream::iter(lines.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response()
}

async fn flows(
    Extension(state): Shared,
    Extension(who): Caller,
    Parameters(query): Parameters<Query>,
) -> Response<Body> {
    let area = fitting(known(&query, &["tenant", "network", "node", "address", "limit"]))
        .and_then(|()| area(&query));
    match area.and_then(|area| allowed(&state, &who, Verb::List, home(&area), "flows").map(|()| area)) {
        Ok(area) => answer(survey::flows(&state.handle, area).await),
        Err(refusal) => refusal.response(),
    }
}

async fn drops(
    Extension(state): Shared,
    Extension(who): Caller,
    Parameters(query): Parameters<Query>,
) -> Response<Body> {
    let area = fitting(known(&query, &["tenant", "node"])).and_then(|()| area(&query));
    match area.and_then(|area| allowed(&state, &who, Verb::List, home(&area), "drops").map(|()| area)) {
        Ok(area) => answer(survey::drops(&state.handle, area).await),
        Err(refusal) => refusal.response(),
    }
}

async fn explain_default(state: Shared, who: Caller, query: Parameters<Query>) -> Response<Body> {
    explain_tenant(state, who, Path(DEFAULT_TENANT.to_owned()), query).await
}

async fn explain_tenant(
    Extension(state): Shared,
    Extension(who): Caller,
    Path(tenant): Path<String>,
    Parameters(query): Parameters<Query>,
) -> Response<Body> {
    let asked = allowed(&state, &who, Verb::Get, &tenant, "explanations")
        .and_then(|()| fitting(Asked::parse(&query)));
    match asked {
        Ok(asked) => answer(explain::explain(&state.handle, tenant, asked).await),
        Err(refusal) => refusal.response(),
    }
}

/// Events of a tenant are for whoever may list `audit` there; those of all, at the provider's level.
async fn events(
    Extension(state): Shared,
    Extension(who): Caller,
    Parameters(query): Parameters<Query>,
) -> Response<Body> {
    let search = fitting(audit::search(&query, SystemTime::now())).and_then(|search| {
        let home = search.tenant.as_deref().unwrap_or(SYSTEM_TENANT);
        allowed(&state, &who, Verb::List, home, "audit").map(|()| search)
    });
    let found = match search {
        Ok(search) => state.api.search(search).await,
        Err(refusal) => Err(refusal),
    };
    match found {
        Ok(api::Found { events, more, unreadable }) => {
            axum::Json(AuditList { events, more, unreadable }).into_response()
        }
        Err(refusal) => refusal.response(),
    }
}

async fn figures(Extension(state): Shared, Extension(who): Caller) -> Response<Body> {
    if let Err(refusal) = allowed(&state, &who, Verb::Get, SYSTEM_TENANT, "metrics") {
        return refusal.response();
    }
    let span = state.store.span();
    match state.handle.look(move |fleet| metrics::encode(fleet, span)).await {
        Some(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        None => stopping().response(),
    }
}

fn fabric_status(fleet: &Fleet, revision: u64) -> FabricStatus {
    let (changes_under_way, policies_changing) = fleet.stage.under_way();
    let mut nodes: Vec<NodeStatus> = fleet.nodes.keys().map(|id| node_status(fleet, *id)).collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    FabricStatus {
        revision,
        tenants: fleet.directory.tenants().count(),
        networks: fleet.directory.tenants().map(|(_, tenant)| tenant.networks.len()).sum(),
        endpoints: fleet.endpoints.len(),
        changes_under_way,
        policies_changing,
        problems: fleet.stage.compiler().problems().iter().map(ToString::to_string).collect(),
        nodes,
    }
}

fn node_status(fleet: &Fleet, id: record::NodeId) -> NodeStatus {
    let node = &fleet.nodes[&id];
    let outlet = fleet.stage.find(id);
    let (generation_wanted, generation_held) = outlet.map(|outlet| outlet.generations()).unwrap_or_default();
    NodeStatus {
        name: node.name.clone(),
        number: id,
        underlay: node.underlay.clone(),
        connected: node.session().is_some(),
        since_seconds: fleet.age(node.since) / 1_000,
        generation_wanted,
        generation_held,
        behind_because: fleet.behind(id),
        records: outlet.map_or(0, |outlet| outlet.size()),
        endpoints: fleet.endpoints.on(id).count(),
        kernel: node.kernel.clone(),
        software: node.software.clone(),
        mtu: node.mtu,
        fill: node.state.as_ref().map(|state| state.fill.clone()).unwrap_or_default(),
        problems: node.state.as_ref().map(|state| state.problems.clone()).unwrap_or_default(),
    }
}

fn area(query: &Query) -> Result<Area, Refusal> {
    let text = |name: &str| query.get(name).filter(|text| !text.is_empty()).cloned();
    let address = fitting(parsed(query, "address", "an address"))?;
    let limit = fitting(parsed(query, "limit", "a number"))?.unwrap_or(0);
    Ok(Area { tenant: text("tenant"), network: text("network"), node: text("node"), address, limit })
}

/// At whose level a survey is: a tenant's, or everybody's.
fn home(area: &Area) -> &str {
    area.tenant.as_deref().unwrap_or(SYSTEM_TENANT)
}

fn allowed(state: &State, who: &Who, verb: Verb, tenant: &str, resource: &str) -> Result<(), Refusal> {
    // A node that says by its certificate which it is asks for itself.
    let what = question(resource, who.node());
    state.api.authorize(who, &Deed { verb, tenant, what })
}

fn question<'a>(resource: &'a str, name: Option<&'a str>) -> What<'a> {
    What::Objects { group: "fabric.sealane.dev", resource, subresource: None, namespace: None, name }
}

fn fitting<T>(result: Result<T, String>) -> Result<T, Refusal> {
    result.map_err(Refusal::bad_request)
}

fn answer<T: Serialize>(result: Option<Result<T, String>>) -> Response<Body> {
    match result {
        Some(Ok(value)) => axum::Json(value).into_response(),
        Some(Err(unknown)) => Refusal::new(Reason::NotFound, unknown).response(),
        None => stopping().response(),
    }
}

fn stopping() -> Refusal {
    Refusal::new(Reason::ServiceUnavailable, "the server is stopping: ask again in a moment")
}
