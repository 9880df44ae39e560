//! Sealane's own kinds as custom resource definitions (apiextensions.k8s.io/v1), for clusters and tools that are to hold or
//! check the same documents.
//!
//! Promises: what such a definition accepts has the form that the parser wants; what only the parser can judge (that ranges do
//! not overlap, that a gateway lies inside) it leaves open.

use serde_json::{Map, Value, json};

use crate::registry::{Column, Descriptor, GROUP, Kind};
use crate::schema::Format;

/// The definition of a kind; `None` for upstream's kinds, which every cluster has.
pub fn definition(kind: Kind) -> Option<Value> {
    let known = kind.descriptor();
    if known.group != GROUP {
        return None;
    }
    let mut names = json!({
        "kind": known.kind, "listKind": format!("{}List", known.kind), "plural": known.plural,
        "singular": known.singular, "categories": known.categories,
    });
    if !known.short.is_empty() {
        names["shortNames"] = json!(known.short);
    }
    let columns: Vec<Value> = known.columns.iter().map(column).chain([age()]).collect();
    Some(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": known.resource() },
        "spec": {
            "group": known.group,
            "names": names,
            "scope": if known.namespaced() { "Namespaced" } else { "Cluster" },
            "versions": [{
                "name": known.version,
                "served": true,
                "storage": true,
                "additionalPrinterColumns": columns,
                "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": root(known) },
            }],
        },
    }))
}

fn column(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.cells.type_name(), "jsonPath": column.path,
        "description": column.about, "priority": column.priority,
    })
}

/// Other servers show no age of themselves.
fn age() -> Value {
    json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 0,
        "description": "When it was made" })
}

/// The schema of a whole object. Its metadata are the server's affair: the definition may say of them only what names look like.
fn root(known: &Descriptor) -> Value {
    let mut schema = known.structural();
    schema["properties"]["metadata"] =
        json!({ "type": "object", "properties": { "name": name(known.name) } });
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|field| field != "apiVersion" && field != "kind");
        if required.is_empty()
            && let Some(schema) = schema.as_object_mut()
        {
            schema.remove("required");
        }
    }
    schema
}

fn name(format: Format) -> Value {
    let mut name = Map::from_iter([("type".to_owned(), json!("string"))]);
    if let Some(longest) = format.longest() {
        name.insert("maxLength".to_owned(), longest.into());
    }
    if let Some(pattern) = format.pattern() {
        name.insert("pattern".to_owned(), pattern.into());
    }
    name.into()
}
