//! The definitions of custom resources against the rules that API servers hold them to (apiextensions.k8s.io/v1): a second
//! reading of "structural schema" and of what goes with it, written from Kubernetes' documentation.
#![allow(clippy::unwrap_used)]

use intent::{Kind, crd};
use serde_json::{Map, Value};

/// Keys that say which values there are. They stand outside of `anyOf` and the like alone.
const STRUCTURE: [&str; 6] =
    ["type", "properties", "items", "additionalProperties", "default", "description"];

/// Keys that narrow values; they may stand anywhere.
const NARROWING: [&str; 14] = [
    "format",
    "pattern",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "required",
    "minProperties",
    "maxProperties",
    "anyOf",
    "allOf",
];

const EXTENSIONS: [&str; 5] = [
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
];

/// Formats that API servers know.
const FORMATS: [&str; 7] = ["int64", "int32", "cidr", "ipv4", "ipv6", "mac", "date-time"];

struct Faults(Vec<String>);

impl Faults {
    fn when(&mut self, wrong: bool, path: &str, what: &str) {
        if wrong {
            self.0.push(format!("{path}: {what}"));
        }
    }

    fn schema(&mut self, schema: &Value, path: &str) {
        let Some(schema) = schema.as_object() else { return self.0.push(format!("{path}: is no schema")) };
        let is = |key: &str| schema.get(key) == Some(&Value::Bool(true));
        let (either, open) = (is("x-kubernetes-int-or-string"), is("x-kubernetes-preserve-unknown-fields"));
        let kind = schema.get("type").and_then(Value::as_str);
        self.when(kind.is_none() && !either && !open, path, "has no type");
        self.when(either && kind.is_some(), path, "is an int-or-string and has a type");
        for key in schema.keys() {
            let known =
                [&STRUCTURE[..], &NARROWING, &EXTENSIONS].iter().any(|known| known.contains(&key.as_str()));
            self.when(!known, path, &format!("{key} is no key of a structural schema"));
        }
        let has = |key: &str| schema.contains_key(key);
        self.when(has("properties") && kind != Some("object"), path, "has properties and is no object");
        self.when(
            has("properties") && has("additionalProperties"),
            path,
            "has properties and additionalProperties",
        );
        self.when((kind == Some("array")) != has("items"), path, "items and arrays belong together");
        self.junctors(schema, path, either);
        self.bounds(schema, path);
        if kind == Some("array") {
            self.list(schema, path);
        }
        self.rules(schema, path);
        for (name, property) in properties(schema) {
            self.schema(property, &format!("{path}.{name}"));
        }
        for (key, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
            if let Some(inner) = schema.get(key) {
                self.schema(inner, &format!("{path}{suffix}"));
            }
        }
        if let Some(default) = schema.get("default") {
            let fits = match kind {
                Some("string") => {
                    default.is_string()
                        && schema
                            .get("enum")
                            .is_none_or(|known| known.as_array().is_some_and(|known| known.contains(default)))
                }
                Some("object") => default.is_object(),
                _ => false,
            };
            self.when(!fits, path, "its default is not one of its values");
        }
    }

    /// Within `anyOf` and the like values are narrowed and nothing is said of their structure, but for what int-or-string says.
    fn junctors(&mut self, schema: &Map<String, Value>, path: &str, either: bool) {
        for key in ["anyOf", "allOf", "oneOf", "not"] {
            for (index, part) in schema.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
                let said: Vec<_> = part.as_object().unwrap().keys().map(String::as_str).collect();
                let excused = either && key == "anyOf" && said == ["type"];
                let structure = said.iter().find(|key| STRUCTURE.contains(key) || EXTENSIONS.contains(key));
                if let (Some(structure), false) = (structure, excused) {
                    self.0.push(format!("{path}.{key}[{index}]: {structure} cannot stand here"));
                }
                self.bounds(part.as_object().unwrap(), &format!("{path}.{key}[{index}]"));
            }
        }
        if either {
            let types = serde_json::json!([{"type": "integer"}, {"type": "string"}]);
            self.when(
                schema.get("anyOf") != Some(&types),
                path,
                "an int-or-string is anyOf integer and string, in this order",
            );
        }
    }

    fn bounds(&mut self, schema: &Map<String, Value>, path: &str) {
        if let Some(format) = schema.get("format").and_then(Value::as_str) {
            self.when(!FORMATS.contains(&format), path, &format!("API servers know no format {format}"));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            self.when(regex_lite::Regex::new(pattern).is_err(), path, "its pattern is no regular expression");
            self.when(pattern.contains("(?"), path, "RE2 knows no such group");
        }
        if let Some(required) = schema.get("required").and_then(Value::as_array) {
            for name in required.iter().filter_map(Value::as_str) {
                let known = properties(schema).any(|(property, _)| property == name);
                self.when(!known, path, &format!("requires {name}, which it does not describe"));
            }
        }
    }

    fn list(&mut self, schema: &Map<String, Value>, path: &str) {
        let Some(items) = schema.get("items").and_then(Value::as_object) else { return };
        let kind = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        self.when((kind == Some("map")) != keys.is_some(), path, "maps have keys, other lists have none");
        self.when(
            kind == Some("set") && items.get("type") == Some(&"object".into()),
            path,
            "a set is of plain values",
        );
        for key in keys.into_iter().flatten().filter_map(Value::as_str) {
            let Some((_, property)) = properties(items).find(|(name, _)| *name == key) else {
                self.0.push(format!("{path}: its key {key} is no field of its elements"));
                continue;
            };
            let needed = items.get("required").and_then(Value::as_array);
            let needed = needed.is_some_and(|needed| needed.contains(&key.into()));
            let preset = property.get("default").is_some();
            self.when(!needed && !preset, path, &format!("its key {key} can be missing"));
            let kind = property.get("type").and_then(Value::as_str);
            self.when(
                matches!(kind, Some("object" | "array") | None),
                path,
                &format!("its key {key} is no plain value"),
            );
        }
    }

    /// The server bounds what a rule may cost, and so wants to know how large the lists and texts are that it visits.
    fn rules(&mut self, schema: &Map<String, Value>, path: &str) {
        for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
            let expression = rule["rule"].as_str().unwrap();
            let message = rule["message"].as_str().unwrap();
            self.when(message.is_empty() || message.contains('\n'), path, "the rule's message is no line");
            self.when(!expression.contains("self"), path, "the rule is not about the value");
            let even = |open: char, close: char| {
                expression.chars().filter(|letter| *letter == open).count()
                    == expression.chars().filter(|letter| *letter == close).count()
            };
            self.when(
                !even('(', ')')
                    || !expression.chars().filter(|letter| *letter == '\'').count().is_multiple_of(2),
                path,
                "the rule is cut short",
            );
            for (name, list) in properties(schema) {
                let visited = ["all", "exists", "exists_one"].iter();
                let visited =
                    visited.map(|word| format!("self.{name}.{word}(")).any(|word| expression.contains(&word));
                let endless = list["type"] == "array" && list["maxItems"].is_null();
                self.when(visited && endless, path, "the rule visits a list without an end");
            }
        }
    }
}

fn properties(schema: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(name, property)| (name.as_str(), property))
}

#[test]
fn every_schema_is_structural() {
    for kind in Kind::ALL {
        let mut faults = Faults(Vec::new());
        faults.schema(&kind.descriptor().structural(), kind.descriptor().kind);
        assert!(faults.0.is_empty(), "\n{}", faults.0.join("\n"));
    }
}

#[test]
fn every_definition_is_one_that_a_server_takes() {
    for kind in Kind::ALL {
        let Some(definition) = crd::definition(kind) else { continue };
        let known = kind.descriptor();
        assert_eq!(definition["apiVersion"], "apiextensions.k8s.io/v1");
        assert_eq!(definition["metadata"]["name"], format!("{}.{}", known.plural, known.group));
        let version = &definition["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        let mut faults = Faults(Vec::new());
        faults.schema(schema, known.kind);
        assert!(faults.0.is_empty(), "\n{}", faults.0.join("\n"));
        let metadata = schema["properties"]["metadata"].as_object().unwrap();
        let said: Vec<_> = metadata["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((metadata.len(), said), (2, vec!["name"]), "of metadata a definition says the name alone");
        for column in version["additionalPrinterColumns"].as_array().unwrap() {
            let path = column["jsonPath"].as_str().unwrap();
            assert!(path.starts_with('.'), "{column}");
            let field = path[1..].split(['.', '[']).next().unwrap();
            assert!(schema["properties"][field].is_object(), "{path} leads nowhere in {kind}");
            assert!(["string", "integer", "date"].contains(&column["type"].as_str().unwrap()));
        }
        assert_eq!(version["subresources"]["status"], serde_json::json!({}));
    }
}

#[test]
fn the_reading_here_finds_what_is_wrong() {
    let wrong = [
        (r#"{"properties": {}}"#, "has no type"),
        (r#"{"type": "object", "properties": {"a": {"type": "string", "default": 1}}}"#, "its default"),
        (r#"{"type": "object", "required": ["a"]}"#, "requires a"),
        (r#"{"type": "array"}"#, "items and arrays"),
        (r#"{"type": "string", "format": "ip"}"#, "know no format"),
        (r#"{"type": "string", "anyOf": [{"type": "string"}]}"#, "cannot stand here"),
        (
            r#"{"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
              "items": {"type": "object", "properties": {"k": {"type": "string"}}}}"#,
            "can be missing",
        ),
        (r##"{"type": "object", "$ref": "#/a"}"##, "is no key"),
    ];
    for (schema, expected) in wrong {
        let mut faults = Faults(Vec::new());
        faults.schema(&serde_json::from_str(schema).unwrap(), "x");
        assert!(faults.0.iter().any(|fault| fault.contains(expected)), "{schema}: {:?}", faults.0);
    }
}
