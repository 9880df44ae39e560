//! OpenAPI 2.0 in the protobuf form that older clients ask for alone: gnostic's `openapi.v2.Document`.
//!
//! Promises: the message says what the JSON document says; what the tables here do not name is not in these documents (a
//! test holds it).

use serde_json::{Map, Value};

/// A message: its fields by their names in JSON, and where `x-…` extensions go.
struct Message {
    fields: &'static [(&'static str, u64, Shape)],
    extensions: Option<u64>,
}

/// What a field holds.
enum Shape {
    Text,
    Whole,
    Real,
    Flag,
    /// Whatever it is, as text that is JSON and so YAML.
    Any,
    Message(&'static Message),
    /// A list: the field as often as it has elements.
    Many(&'static Shape),
    /// A message whose only field this is.
    Within(u64, &'static Shape),
    /// A message that holds an object as pairs of name and value.
    Pairs(u64, &'static Shape),
    /// A parameter: what is in the body, the query or the path has a message of its own each.
    Parameter,
}

/// The document in its binary form.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if let Value::Object(document) = document {
        message(&DOCUMENT, document, &mut out);
    }
    out
}

fn message(shape: &Message, object: &Map<String, Value>, out: &mut Vec<u8>) {
    for (name, value) in object {
        if let Some((_, number, shape)) = shape.fields.iter().find(|(known, ..)| known == name) {
            field(*number, shape, value, out);
        } else if let Some(extensions) = shape.extensions.filter(|_| name.starts_with("x-")) {
            bytes(extensions, &pair(name, &Shape::Any, value), out);
        } else {
            debug_assert!(false, "{name} has no number in the binary form");
        }
    }
}

fn field(number: u64, shape: &Shape, value: &Value, out: &mut Vec<u8>) {
    match (shape, value) {
        (Shape::Text, Value::String(text)) => bytes(number, text.as_bytes(), out),
        (Shape::Whole, Value::Number(whole)) => {
            varint(number << 3, out);
            varint(whole.as_i64().unwrap_or_default().cast_unsigned(), out);
        }
        (Shape::Flag, Value::Bool(flag)) => {
            varint(number << 3, out);
            varint(u64::from(*flag), out);
        }
        (Shape::Real, Value::Number(real)) => {
            varint(number << 3 | FIXED, out);
            out.extend(real.as_f64().unwrap_or_default().to_le_bytes());
        }
        (Shape::Any, any) => nested(number, out, |out| bytes(ANY_YAML, any.to_string().as_bytes(), out)),
        (Shape::Message(shape), Value::Object(object)) => {
            nested(number, out, |out| message(shape, object, out))
        }
        (Shape::Many(shape), Value::Array(elements)) => {
            elements.iter().for_each(|element| field(number, shape, element, out));
        }
        (Shape::Within(inner, shape), value) => nested(number, out, |out| field(*inner, shape, value, out)),
        (Shape::Pairs(inner, shape), Value::Object(object)) => nested(number, out, |out| {
            for (name, value) in object {
                bytes(*inner, &pair(name, shape, value), out);
            }
        }),
        (Shape::Parameter, Value::Object(parameter)) => {
            nested(number, out, |out| one_parameter(parameter, out))
        }
        _ => debug_assert!(false, "{value} is of another type than its field"),
    }
}

/// `ParametersItem` { 1: `Parameter` { 1: body, 2: any other { 3: query, 4: path } } }
fn one_parameter(parameter: &Map<String, Value>, out: &mut Vec<u8>) {
    nested(1, out, |out| match parameter.get("in").and_then(Value::as_str) {
        Some("body") => nested(1, out, |out| message(&BODY_PARAMETER, parameter, out)),
        Some("query") => {
            nested(2, out, |out| nested(3, out, |out| message(&QUERY_PARAMETER, parameter, out)))
        }
        _ => nested(2, out, |out| nested(4, out, |out| message(&PATH_PARAMETER, parameter, out))),
    });
}

/// { 1: name, 2: value }
fn pair(name: &str, shape: &Shape, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(1, name.as_bytes(), &mut out);
    field(2, shape, value, &mut out);
    out
}

fn nested(number: u64, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    content(&mut inner);
    bytes(number, &inner, out);
}

fn bytes(number: u64, content: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | LENGTH_DELIMITED, out);
    varint(content.len() as u64, out);
    out.extend(content);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const FIXED: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
/// The field of `Any` that holds text.
const ANY_YAML: u64 = 2;

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Shape::Text),
        ("info", 2, Shape::Message(&INFO)),
        // Extensions are the first field of `Paths`, the paths themselves its second.
        ("paths", 8, Shape::Pairs(2, &Shape::Message(&PATH_ITEM))),
        ("definitions", 9, Shape::Pairs(1, &Shape::Message(&SCHEMA))),
    ],
    extensions: Some(16),
};

static INFO: Message = Message {
    fields: &[("title", 1, Shape::Text), ("version", 2, Shape::Text), ("description", 3, Shape::Text)],
    extensions: Some(7),
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Shape::Message(&OPERATION)),
        ("put", 3, Shape::Message(&OPERATION)),
        ("post", 4, Shape::Message(&OPERATION)),
        ("delete", 5, Shape::Message(&OPERATION)),
        ("patch", 8, Shape::Message(&OPERATION)),
        ("parameters", 9, Shape::Many(&Shape::Parameter)),
    ],
    extensions: Some(10),
};

static OPERATION: Message = Message {
    fields: &[
        ("description", 3, Shape::Text),
        ("operationId", 5, Shape::Text),
        ("produces", 6, Shape::Many(&Shape::Text)),
        ("consumes", 7, Shape::Many(&Shape::Text)),
        ("parameters", 8, Shape::Many(&Shape::Parameter)),
        ("responses", 9, Shape::Pairs(1, &Shape::Within(1, &Shape::Message(&RESPONSE)))),
    ],
    extensions: Some(13),
};

static RESPONSE: Message = Message {
    fields: &[("description", 1, Shape::Text), ("schema", 2, Shape::Within(1, &Shape::Message(&SCHEMA)))],
    extensions: Some(5),
};

static BODY_PARAMETER: Message = Message {
    fields: &[
        ("description", 1, Shape::Text),
        ("name", 2, Shape::Text),
        ("in", 3, Shape::Text),
        ("required", 4, Shape::Flag),
        ("schema", 5, Shape::Message(&SCHEMA)),
    ],
    extensions: Some(6),
};

static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Shape::Flag),
        ("in", 2, Shape::Text),
        ("description", 3, Shape::Text),
        ("name", 4, Shape::Text),
        ("type", 6, Shape::Text),
    ],
    extensions: Some(23),
};

static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Shape::Flag),
        ("in", 2, Shape::Text),
        ("description", 3, Shape::Text),
        ("name", 4, Shape::Text),
        ("type", 5, Shape::Text),
    ],
    extensions: Some(22),
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Shape::Text),
        ("format", 2, Shape::Text),
        ("description", 4, Shape::Text),
        ("default", 5, Shape::Any),
        ("maximum", 7, Shape::Real),
        ("minimum", 9, Shape::Real),
        ("maxLength", 11, Shape::Whole),
        ("minLength", 12, Shape::Whole),
        ("pattern", 13, Shape::Text),
        ("maxItems", 14, Shape::Whole),
        ("minItems", 15, Shape::Whole),
        ("required", 19, Shape::Many(&Shape::Text)),
        ("enum", 20, Shape::Many(&Shape::Any)),
        ("additionalProperties", 21, Shape::Within(1, &Shape::Message(&SCHEMA))),
        ("type", 22, Shape::Within(1, &Shape::Text)),
        ("items", 23, Shape::Within(1, &Shape::Message(&SCHEMA))),
        ("properties", 25, Shape::Pairs(1, &Shape::Message(&SCHEMA))),
    ],
    extensions: Some(31),
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_becomes_the_message_that_the_field_numbers_say() {
        let document = json!({ "swagger": "2.0", "definitions": { "a": {
            "type": "string", "maxLength": 300, "x-b": true, "maximum": 1, "enum": ["c"] } } });
        let any = |text: &[u8]| [&[0x12, text.len() as u8][..], text].concat();
        let schema = [
            &[0xa2, 0x01, 5][..],
            &any(b"\"c\""),
            &[0x58, 0xac, 0x02],
            &[0x39, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
            &[0xb2, 0x01, 8, 0x0a, 6],
            b"string",
            &[0xfa, 0x01, 13, 0x0a, 3],
            b"x-b",
            &[0x12, 6],
            &any(b"true"),
        ]
        .concat();
        let named = [&[0x0a, 1, b'a', 0x12, schema.len() as u8][..], &schema].concat();
        let definitions = [&[0x0a, named.len() as u8][..], &named].concat();
        let expected = [&[0x4a, definitions.len() as u8][..], &definitions, &[0x0a, 3], b"2.0"].concat();
        assert_eq!(encode(&document), expected);
    }
}
