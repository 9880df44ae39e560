//! The descriptor tree in the dialects of OpenAPI that clients and API servers read.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::word::{constraints, facts};
use super::{Absent, Field, Format, Identity, Schema, Shape};

/// Which OpenAPI is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAPI 2.0, as Kubernetes publishes it for clients; parts are references.
    V2,
    /// OpenAPI 3.0, as Kubernetes publishes it for clients; parts are references.
    V3,
    /// The structural schema of a custom resource (apiextensions.k8s.io/v1): self-contained, with CEL rules.
    Structural,
}

/// The parts that schemas refer to, by name.
pub type Definitions = BTreeMap<String, Value>;

/// The schema in a dialect. What it refers to is put among the definitions; the structural dialect refers to nothing.
pub fn openapi(schema: &Schema, dialect: Dialect, definitions: &mut Definitions) -> Value {
    Writer { dialect, definitions }.described(schema, constraints(schema))
}

struct Writer<'d> {
    dialect: Dialect,
    definitions: &'d mut Definitions,
}

impl Writer<'_> {
    fn described(&mut self, schema: &Schema, facts: Vec<String>) -> Value {
        let mut described = match schema.part {
            Some(part) if self.dialect != Dialect::Structural => {
                if !self.definitions.contains_key(part.name) {
                    let mut own = self.shape(schema);
                    own["description"] = part.about.into();
                    self.definitions.insert(part.name.to_owned(), own);
                }
                self.reference(part.name)
            }
            _ => self.shape(schema),
        };
        let words: Vec<_> =
            [schema.about.to_owned()].into_iter().chain(facts).filter(|words| !words.is_empty()).collect();
        if !words.is_empty() {
            described["description"] = words.join(" ").into();
        }
        if !schema.rules.is_empty() && self.dialect != Dialect::V2 {
            let rules = schema.rules.iter();
            let rules = rules.map(|rule| json!({"rule": rule.expression, "message": rule.message}));
            described["x-kubernetes-validations"] = rules.collect();
        }
        described
    }

    /// OpenAPI 3.0 lets nothing stand beside a reference.
    fn reference(&self, name: &str) -> Value {
        match self.dialect {
            Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Dialect::V3 | Dialect::Structural => {
                json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]})
            }
        }
    }

    fn shape(&mut self, schema: &Schema) -> Value {
        match schema.shape {
            Shape::Object { fields, open } => self.object(fields, open),
            Shape::Map { values, .. } => {
                json!({"type": "object", "additionalProperties": self.text(values)})
            }
            Shape::List { items, least, most, identity } => self.list(items, (least, most), identity),
            Shape::Text(format) => self.text(format),
            Shape::Number { least, most } => {
                let mut number = json!({"type": "integer", "format": "int64", "minimum": least});
                if most < i64::MAX {
                    number["maximum"] = most.into();
                }
                number
            }
            Shape::NumberOrText { least, most, format } => self.number_or_text((least, most), format),
            Shape::Flag => json!({"type": "boolean"}),
            Shape::Anything => json!({"x-kubernetes-preserve-unknown-fields": true}),
        }
    }

    fn object(&mut self, fields: &[Field], open: bool) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in fields {
            let mut property = self.described(&field.schema, facts(field));
            match field.absent {
                Absent::Stays | Absent::Served => {}
                Absent::Refused => required.push(field.name),
                Absent::Text(text) => property["default"] = text.into(),
                Absent::EmptyObject => property["default"] = json!({}),
            }
            properties.insert(field.name.to_owned(), property);
        }
        let mut described = json!({"type": "object"});
        if !properties.is_empty() {
            described["properties"] = properties.into();
        }
        if !required.is_empty() {
            described["required"] = required.into();
        }
        if open {
            described["x-kubernetes-preserve-unknown-fields"] = true.into();
        }
        described
    }

    fn list(&mut self, items: &Schema, (least, most): (usize, usize), identity: Identity) -> Value {
        let items = self.described(items, constraints(items));
        let mut list = json!({"type": "array", "items": items});
        if least > 0 {
            list["minItems"] = least.into();
        }
        if most < usize::MAX {
            list["maxItems"] = most.into();
        }
        let (kind, merge_key) = match identity {
            Identity::None => ("atomic", None),
            Identity::Value => ("set", None),
            Identity::Fields(fields) => {
                list["x-kubernetes-list-map-keys"] = json!(fields);
                ("map", fields.first())
            }
        };
        list["x-kubernetes-list-type"] = kind.into();
        if self.dialect != Dialect::Structural && identity != Identity::None {
            list["x-kubernetes-patch-strategy"] = "merge".into();
            if let Some(key) = merge_key {
                list["x-kubernetes-patch-merge-key"] = json!(key);
            }
        }
        list
    }

    fn number_or_text(&mut self, (least, most): (i64, i64), format: Format) -> Value {
        let own = match self.dialect {
            Dialect::V2 => json!({"type": "string", "format": "int-or-string"}),
            Dialect::V3 => {
                json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
            }
            Dialect::Structural => {
                let mut either = json!({
                    "x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}],
                    "minimum": least, "maximum": most,
                });
                limit(&mut either, format);
                return either;
            }
        };
        let definition = self.definitions.entry(INT_OR_STRING.to_owned()).or_insert(own);
        definition["description"] = "A whole number, or a text.".into();
        self.reference(INT_OR_STRING)
    }

    fn text(&self, format: Format) -> Value {
        let mut text = json!({"type": "string"});
        let named = match format {
            Format::Range | Format::Prefix => Some("cidr"),
            Format::Mac => Some("mac"),
            Format::Time => Some("date-time"),
            Format::Address if self.dialect == Dialect::V2 => Some("ip"),
            Format::Address => {
                text["anyOf"] = json!([{"format": "ipv4"}, {"format": "ipv6"}]);
                None
            }
            Format::OneOf(words) => {
                text["enum"] = json!(words);
                None
            }
            _ => None,
        };
        if let Some(named) = named {
            text["format"] = named.into();
        }
        limit(&mut text, format);
        text
    }
}

/// The bounds that a syntax sets a text.
fn limit(text: &mut Value, format: Format) {
    if let Some(longest) = format.longest() {
        text["maxLength"] = longest.into();
    }
    if let Some(pattern) = format.pattern() {
        text["pattern"] = pattern.into();
    }
}

/// What OpenAPI calls a number or a text.
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
