//! OpenAPI v3: what clients read to check and explain documents.
//!
//! `kubectl` looks here whether the server checks fields itself (`fieldValidation` on PATCH), and for `kubectl explain`.

use intent::Kind;
use serde_json::{Map, Value, json};

use crate::discovery::{core, kinds, versions};
use crate::server::is_deletable;
use crate::status::Refusal;

/// `/openapi/v3`: where the documents of each group and version are.
pub(crate) fn index(tenant: &str) -> Value {
    let core = core(tenant).into_iter().map(|version| format!("api/{version}"));
    let groups = versions(tenant);
    let others = groups
        .iter()
        .flat_map(|(group, versions)| versions.iter().map(move |version| format!("apis/{group}/{version}")));
    let release = env!("CARGO_PKG_VERSION");
    let paths = core.chain(others).map(|path| {
        let url = format!("/openapi/v3/{path}?hash={release}");
        (path, json!({ "serverRelativeURL": url }))
    });
    json!({ "paths": paths.collect::<Map<_, _>>() })
}

/// The document of one group and version. Errors: 404.
pub(crate) fn document(tenant: &str, group: &str, version: &str) -> Result<Value, Refusal> {
    let kinds = kinds(tenant, group, version);
    if kinds.is_empty() {
        return Err(Refusal::no_such_path());
    }
    let schemas: Map<_, _> =
        kinds.iter().map(|kind| (schema_name(*kind), kind.descriptor().structural())).collect();
    let paths: Map<_, _> = kinds.iter().flat_map(|kind| paths(*kind)).collect();
    Ok(json!({
        "openapi": "3.0.0",
        "info": { "title": "Sealane", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas },
    }))
}

/// The group's words in reverse order, then version and kind, as names of schemas are made.
fn schema_name(kind: Kind) -> String {
    let known = kind.descriptor();
    let group = if known.group.is_empty() { "core.api" } else { known.group };
    let words: Vec<_> = group.split('.').rev().collect();
    format!("{}.{}.{}", words.join("."), known.version, known.kind)
}

fn paths(kind: Kind) -> [(String, Value); 2] {
    let known = kind.descriptor();
    let root = if known.group.is_empty() { "/api" } else { "/apis" };
    let place = if known.namespaced() { "/namespaces/{namespace}" } else { "" };
    let all = format!("{root}/{}{place}/{}", known.api_version(), known.plural);
    let mut parameters = vec![path_parameter("name")];
    if known.namespaced() {
        parameters.push(path_parameter("namespace"));
    }
    let mut one = json!({ "parameters": parameters, "get": operation(kind, "get") });
    let mut many = json!({ "parameters": parameters[1..], "get": operation(kind, "list") });
    if known.writable {
        many["post"] = operation(kind, "post");
        for action in ["put", "patch"] {
            one[action] = operation(kind, action);
        }
    }
    if is_deletable(kind) {
        one["delete"] = operation(kind, "delete");
    }
    let path = format!("{all}/{{name}}");
    [(all, many), (path, one)]
}

fn operation(kind: Kind, action: &str) -> Value {
    let known = kind.descriptor();
    let schema = json!({ "$ref": format!("#/components/schemas/{}", schema_name(kind)) });
    let content = |media: &str| json!({ media: { "schema": schema } });
    let mut operation = json!({
        "operationId": format!("{action}{}{}", known.version, known.kind),
        "responses": { "200": { "description": "OK", "content": content("application/json") } },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": { "group": known.group, "version": known.version, "kind": known.kind },
    });
    if matches!(action, "post" | "put" | "patch") {
        operation["parameters"] = json!([query_parameter("dryRun"), query_parameter("fieldValidation")]);
    }
    match action {
        "post" | "put" => {
            operation["requestBody"] = json!({ "required": true, "content": content("application/json") })
        }
        "patch" => {
            let types = ["json-patch", "merge-patch", "strategic-merge-patch"];
            let types =
                types.iter().map(|name| (format!("application/{name}+json"), json!({ "schema": {} })));
            operation["requestBody"] = json!({ "required": true, "content": types.collect::<Map<_, _>>() });
        }
        _ => {}
    }
    operation
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

fn query_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "query", "schema": { "type": "string" } })
}
