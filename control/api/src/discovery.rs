//! What the API of a tenant offers, in the documents that clients look for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use intent::Kind;

use crate::review::Review;
use crate::status::Refusal;
use crate::target::{Discovery, kinds_of};

/// The document. Errors: 404 for a group or version that is not offered.
pub(crate) fn document(tenant: &str, wanted: &Discovery) -> Result<Value, Refusal> {
    match wanted {
        Discovery::Paths => Ok(paths(tenant)),
        Discovery::CoreVersions => {
            Ok(json!({ "kind": "APIVersions", "apiVersion": "v1", "versions": core(tenant) }))
        }
        Discovery::Groups => {
            let groups: Vec<_> =
                served(tenant).iter().map(|(group, versions)| described(group, versions)).collect();
            Ok(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        Discovery::Group(group) => {
            let versions = served(tenant);
            let found = versions.get(group.as_str()).ok_or_else(Refusal::no_such_path)?;
            let mut described = described(group, found);
            described["kind"] = json!("APIGroup");
            described["apiVersion"] = json!("v1");
            Ok(described)
        }
        Discovery::Resources { group, version } => resources(tenant, group, version),
        Discovery::OpenApi2 | Discovery::OpenApiIndex | Discovery::OpenApi { .. } => {
            Err(Refusal::no_such_path())
        }
    }
}

/// A release of aggregated discovery (apidiscovery.k8s.io).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    V2,
    V2Beta1,
}

impl Release {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }
}

/// `/api` or `/apis` with all resources of all groups below it, so that a client need not ask for each.
pub(crate) fn aggregated(tenant: &str, wanted: &Discovery, release: Release) -> Value {
    let groups: BTreeMap<_, _> = match wanted {
        Discovery::CoreVersions => {
            let core = core(tenant);
            if core.is_empty() { BTreeMap::new() } else { BTreeMap::from([("", core)]) }
        }
        _ => served(tenant),
    };
    let items = groups.into_iter().map(|(group, versions)| {
        let versions = versions.into_iter().map(|version| {
            let objects = kinds(tenant, group, version).into_iter().map(aggregated_resource);
            let resources: Vec<_> =
                objects.chain(Review::of(group, version).map(aggregated_review)).collect();
            json!({ "version": version, "freshness": "Current", "resources": resources })
        });
        json!({ "metadata": { "name": group }, "versions": versions.collect::<Vec<_>>() })
    });
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{}", release.word()),
        "metadata": {}, "items": items.collect::<Vec<_>>(),
    })
}

fn aggregated_review(review: Review) -> Value {
    let known = review.known();
    json!({
        "resource": known.plural,
        "responseKind": { "group": known.group, "version": Review::VERSION, "kind": known.kind },
        "scope": if known.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": known.singular,
        "verbs": ["create"],
    })
}

fn aggregated_resource(kind: Kind) -> Value {
    let known = kind.descriptor();
    let response = json!({ "group": known.group, "version": known.version, "kind": known.kind });
    let mut resource = json!({
        "resource": known.plural,
        "responseKind": response,
        "scope": if known.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": known.singular,
        "verbs": known.verbs(),
    });
    if known.has_status() {
        let status =
            json!({ "subresource": "status", "responseKind": response, "verbs": status_verbs(kind) });
        resource["subresources"] = json!([status]);
    }
    name_for_people(&mut resource, kind);
    resource
}

/// `/version`: the Kubernetes release whose API conventions are followed, and this release beside it.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "32", "gitVersion": format!("v1.32.0+sealane.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// The kinds of a group and version that the tenant's API offers.
pub(crate) fn kinds(tenant: &str, group: &str, version: &str) -> Vec<Kind> {
    let fits = |kind: &Kind| kind.descriptor().group == group && kind.descriptor().version == version;
    kinds_of(tenant).filter(fits).collect()
}

/// Each group, the core group apart, with its versions.
pub(crate) fn versions(tenant: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for known in kinds_of(tenant).map(Kind::descriptor).filter(|known| !known.group.is_empty()) {
        let versions = groups.entry(known.group).or_default();
        if !versions.contains(&known.version) {
            versions.push(known.version);
        }
    }
    groups
}

/// The same, with the questions that are answered and not kept.
fn served(tenant: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut groups = versions(tenant);
    groups.extend(Review::ALL.map(|review| (review.known().group, vec![Review::VERSION])));
    groups
}

/// The versions of the core group.
pub(crate) fn core(tenant: &str) -> Vec<&'static str> {
    if kinds(tenant, "", "v1").is_empty() { Vec::new() } else { vec!["v1"] }
}

fn described(group: &str, versions: &[&str]) -> Value {
    let versions: Vec<_> = versions
        .iter()
        .map(|version| json!({ "groupVersion": format!("{group}/{version}"), "version": version }))
        .collect();
    json!({ "name": group, "versions": versions, "preferredVersion": versions[0] })
}

fn paths(tenant: &str) -> Value {
    let mut paths = vec!["/api".to_owned(), "/apis".to_owned()];
    paths.extend(core(tenant).iter().map(|version| format!("/api/{version}")));
    for (group, versions) in served(tenant) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(
        ["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned),
    );
    json!({ "paths": paths })
}

fn resources(tenant: &str, group: &str, version: &str) -> Result<Value, Refusal> {
    let kinds = kinds(tenant, group, version).into_iter();
    let objects = kinds.flat_map(|kind| [Some(resource(kind)), status_of(kind)]).flatten();
    let resources: Vec<_> = objects.chain(Review::of(group, version).map(review)).collect();
    if resources.is_empty() {
        return Err(Refusal::no_such_path());
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources }),
    )
}

fn review(review: Review) -> Value {
    let known = review.known();
    json!({
        "name": known.plural, "singularName": known.singular, "namespaced": known.namespaced, "kind": known.kind,
        "verbs": ["create"],
    })
}

fn resource(kind: Kind) -> Value {
    let known = kind.descriptor();
    let mut resource = json!({
        "name": known.plural, "singularName": known.singular, "namespaced": known.namespaced(), "kind": known.kind,
        "verbs": known.verbs(),
    });
    name_for_people(&mut resource, kind);
    resource
}

/// `None`: the kind has no status.
fn status_of(kind: Kind) -> Option<Value> {
    let known = kind.descriptor();
    known.has_status().then(|| {
        json!({
            "name": format!("{}/status", known.plural), "singularName": "", "namespaced": known.namespaced(),
            "kind": known.kind, "verbs": status_verbs(kind),
        })
    })
}

/// The short names and the categories.
fn name_for_people(resource: &mut Value, kind: Kind) {
    let known = kind.descriptor();
    if !known.short.is_empty() {
        resource["shortNames"] = json!(known.short);
    }
    if !known.categories.is_empty() {
        resource["categories"] = json!(known.categories);
    }
}

fn status_verbs(kind: Kind) -> &'static [&'static str] {
    if kind.descriptor().writable { &["get", "patch", "update"] } else { &["get"] }
}
