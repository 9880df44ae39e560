//! The descriptor tree as an OpenAPI v3 structural schema (apiextensions.k8s.io/v1).

use serde_json::{Map, Value, json};

use super::{Absent, Field, Format, Schema, Shape};

/// The schema as OpenAPI v3 says it.
pub fn openapi(schema: &Schema) -> Value {
    let mut described = match schema.shape {
        Shape::Object { fields, open } => object(fields, open),
        Shape::Map { values, .. } => json!({"type": "object", "additionalProperties": text(values)}),
        Shape::List { items, least, most } => {
            let mut list =
                json!({"type": "array", "items": openapi(items), "x-kubernetes-list-type": "atomic"});
            if least > 0 {
                list["minItems"] = least.into();
            }
            if most < usize::MAX {
                list["maxItems"] = most.into();
            }
            list
        }
        Shape::Text(format) => text(format),
        Shape::Number { least, most } => {
            json!({"type": "integer", "format": "int64", "minimum": least, "maximum": most})
        }
        Shape::NumberOrText { .. } => {
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Anything => json!({"x-kubernetes-preserve-unknown-fields": true}),
    };
    if !schema.about.is_empty() {
        described["description"] = schema.about.into();
    }
    described
}

fn object(fields: &[Field], open: bool) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        let mut property = openapi(&field.schema);
        match field.absent {
            Absent::Stays => {}
            Absent::Refused => required.push(field.name),
            Absent::Text(text) => property["default"] = text.into(),
            Absent::EmptyObject => property["default"] = json!({}),
        }
        properties.insert(field.name.to_owned(), property);
    }
    let mut described = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        described["required"] = required.into();
    }
    if open {
        described["x-kubernetes-preserve-unknown-fields"] = true.into();
    }
    described
}

fn text(format: Format) -> Value {
    match format {
        Format::Free => json!({"type": "string"}),
        Format::Label => json!({"type": "string", "maxLength": 63, "pattern": LABEL}),
        Format::Subdomain => json!({"type": "string", "maxLength": 253, "pattern": SUBDOMAIN}),
        Format::QualifiedName => json!({"type": "string", "maxLength": 317}),
        Format::LabelValue => json!({"type": "string", "maxLength": 63, "pattern": LABEL_VALUE}),
        Format::Range | Format::Prefix => json!({"type": "string", "format": "cidr"}),
        Format::Address => json!({"type": "string", "format": "ip"}),
        Format::Mac => json!({"type": "string", "format": "mac"}),
        Format::PortName => json!({"type": "string", "maxLength": 15}),
        Format::Time => json!({"type": "string", "format": "date-time"}),
        Format::OneOf(words) => json!({"type": "string", "enum": words}),
    }
}

const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
