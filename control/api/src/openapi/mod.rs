//! OpenAPI: what clients read to check, explain and patch documents.
//!
//! Owns: the documents in OpenAPI 2.0 (`/openapi/v2`, JSON and protobuf; all that `kubectl` before 1.24 knows) and 3.0
//! (`/openapi/v3`, one for each group and version). What kinds look like is said once, by `intent::schema`.
//! Promises: a tenant's documents name the kinds that its API offers, and no other.
//!
//! ```text
//!     intent::schema --dialect--> definitions --+
//!     path: what can be done where -------------+--> v2 --binary--> protobuf
//!     part: lists, Status, DeleteOptions -------+--> v3
//! ```

mod binary;
mod name;
mod part;
mod path;

use intent::Kind;
use intent::schema::{Definitions, Dialect, openapi};
use serde_json::{Map, Value, json};

use crate::discovery::{core, kinds, versions};
use crate::status::Refusal;
use crate::target::kinds_of;
use name::{list_name, reference, schema_name};

/// The groups and versions that have a document of OpenAPI 3.0: its path below `/openapi/v3/`, the group and the version.
pub(crate) fn places(tenant: &str) -> Vec<(String, &'static str, &'static str)> {
    let core = core(tenant).into_iter().map(|version| (format!("api/{version}"), "", version));
    let others = versions(tenant).into_iter().flat_map(|(group, versions)| {
        versions.into_iter().map(move |version| (format!("apis/{group}/{version}"), group, version))
    });
    core.chain(others).collect()
}

/// The document of one group and version in OpenAPI 3.0. Errors: 404.
pub(crate) fn v3(tenant: &str, group: &str, version: &str) -> Result<Value, Refusal> {
    let kinds = kinds(tenant, group, version);
    if kinds.is_empty() {
        return Err(Refusal::no_such_path());
    }
    let (schemas, paths) = described(kinds.into_iter(), Dialect::V3);
    Ok(json!({ "openapi": "3.0.0", "info": info(), "paths": paths, "components": { "schemas": schemas } }))
}

/// The document of all that a tenant's API offers in OpenAPI 2.0.
pub(crate) fn v2(tenant: &str) -> Value {
    let (definitions, paths) = described(kinds_of(tenant), Dialect::V2);
    json!({ "swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions })
}

/// The same in protobuf.
pub(crate) fn v2_binary(tenant: &str) -> Vec<u8> {
    binary::encode(&v2(tenant))
}

fn info() -> Value {
    json!({ "title": "Sealane", "version": env!("CARGO_PKG_VERSION") })
}

/// The definitions and the paths of kinds.
fn described(kinds: impl Iterator<Item = Kind>, dialect: Dialect) -> (Definitions, Map<String, Value>) {
    let mut definitions = Definitions::new();
    part::define(dialect, &mut definitions);
    let mut paths = Map::new();
    for kind in kinds {
        let known = kind.descriptor();
        let mut schema = openapi(known.schema, dialect, &mut definitions);
        mark(&mut schema, kind, known.kind);
        definitions.insert(schema_name(kind), schema);
        definitions.insert(list_name(kind), list(kind, dialect));
        paths.extend(path::paths(kind, dialect));
    }
    (definitions, paths)
}

fn list(kind: Kind, dialect: Dialect) -> Value {
    let known = kind.descriptor();
    let text = |about: &str| json!({ "type": "string", "description": about });
    let mut list = json!({
        "type": "object",
        "description": format!("Objects of the kind {}.", known.kind),
        "required": ["items"],
        "properties": {
            "apiVersion": text("Group and version of the kind."),
            "kind": text("The kind's name."),
            "metadata": reference(part::LIST_META_NAME, dialect),
            "items": { "type": "array", "description": "The objects.", "items": reference(&schema_name(kind), dialect) },
        },
    });
    mark(&mut list, kind, &format!("{}List", known.kind));
    list
}

/// Says by which group, version and kind a definition is known in documents.
fn mark(definition: &mut Value, kind: Kind, name: &str) {
    let known = kind.descriptor();
    definition["x-kubernetes-group-version-kind"] =
        json!([{ "group": known.group, "version": known.version, "kind": name }]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use intent::object::DEFAULT_TENANT;

    use super::*;

    /// Every reference in a document.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.clone());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_definition_with_a_description() {
        let mut documents = vec![(v2(DEFAULT_TENANT), "definitions")];
        for (_, group, version) in places(DEFAULT_TENANT) {
            documents.push((v3(DEFAULT_TENANT, group, version).unwrap(), "components/schemas"));
        }
        for (document, place) in documents {
            let mut found = BTreeSet::new();
            references(&document, &mut found);
            assert!(found.len() > 5, "{found:?}");
            for reference in found {
                let name =
                    reference.strip_prefix(&format!("#/{place}/")).expect("a reference within the document");
                let definition = &document.pointer(&format!("/{place}")).unwrap()[name];
                assert!(definition["description"].is_string(), "{reference}: {definition}");
            }
        }
    }

    #[test]
    fn operations_have_names_of_their_own_and_say_their_action_and_kind() {
        let document = v2(DEFAULT_TENANT);
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in
                item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
            {
                let name = operation["operationId"].as_str().unwrap();
                assert!(
                    names.insert(format!("{name} {}", operation["x-kubernetes-group-version-kind"]["group"])),
                    "{name} is there twice"
                );
                assert!(operation["x-kubernetes-action"].is_string(), "{method} {path}");
            }
        }
        let patch = &document["paths"]["/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{name}"]
            ["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "NetworkPolicy");
        let parameters = patch["parameters"].as_array().unwrap();
        for wanted in ["dryRun", "fieldValidation", "body"] {
            assert!(
                parameters.iter().any(|parameter| parameter["name"] == wanted),
                "{wanted}: {parameters:?}"
            );
        }
    }

    #[test]
    fn everything_said_in_json_has_its_place_in_the_binary_form() {
        // The encoder panics in tests at what it has no number for.
        assert!(v2_binary(DEFAULT_TENANT).len() > 10_000);
    }
}
