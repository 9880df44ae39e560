//! Bodies, read into JSON values: bounded in size and depth, with every repeated field told.

use std::cell::RefCell;
use std::fmt;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::event::LARGEST as LARGEST_TOLD;
use crate::protobuf;
use crate::pulse::TooSlow;
use crate::status::{Reason, Refusal, chain};

/// The largest body, and the largest object that patches may build, in bytes.
pub(crate) const LARGEST: usize = 3 << 20;

/// The deepest nesting of a stored object.
pub(crate) const DEEPEST: usize = 64;

/// A document with the paths of the fields that it gives more than once (the last one counts).
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) repeated: Vec<String>,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Json,
    Protobuf,
    Yaml,
}

/// Reads a whole body. Errors: 413 when it is too large, 408 when it does not come in time, 400 when the connection fails.
pub(crate) async fn read(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, LARGEST).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::new(
            Reason::RequestEntityTooLarge,
            format!("read the body: it is larger than the limit of {LARGEST} bytes"),
        )),
        Err(error) => {
            let told = format!("read the body: {}", chain(&*error));
            let reason = if is_too_slow(&*error) { Reason::RequestTimeout } else { Reason::BadRequest };
            Err(Refusal::new(reason, told))
        }
    }
}

fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<TooSlow>() || error.source().is_some_and(is_too_slow)
}

/// Parses a body by its `Content-Type`: JSON (or none said), YAML, or Kubernetes' protobuf. Errors: 415, 400.
pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Document, Refusal> {
    let document = match language(headers)? {
        Language::Json => parse_json(body)?,
        Language::Protobuf => Document { value: protobuf::parse(body)?, repeated: Vec::new() },
        Language::Yaml => parse_yaml(body)?,
    };
    bounded(&document.value)?;
    Ok(document)
}

/// A body as an audit event tells it, whatever its type, unless it is too large or cannot be read.
pub(crate) fn told(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let parsed = || match language(headers) {
        // A patch has a type of its own, and is JSON.
        Err(_) => parse_json(body),
        Ok(_) => parse(headers, body),
    };
    let small = !body.is_empty() && body.len() <= LARGEST_TOLD;
    small.then(parsed).and_then(Result::ok).map(|document| document.value)
}

/// The media type of the body, without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<String, Refusal> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok("application/json".to_owned()) };
    let given = given.to_str().map_err(|_| Refusal::bad_request("read Content-Type: it is not text"))?;
    Ok(given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn language(headers: &HeaderMap) -> Result<Language, Refusal> {
    match media_type(headers)?.as_str() {
        "application/json" => Ok(Language::Json),
        "application/vnd.kubernetes.protobuf" => Ok(Language::Protobuf),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Language::Yaml),
        other => {
            Err(unsupported(other, "application/json, application/yaml, application/vnd.kubernetes.protobuf"))
        }
    }
}

/// 415 with what would be accepted.
pub(crate) fn unsupported(given: &str, accepted: &str) -> Refusal {
    let message =
        format!("the body of the request is {given:?}: the media types understood here are {accepted}");
    Refusal::new(Reason::UnsupportedMediaType, message)
}

/// Refuses what is nested too deeply or, taken apart by patches, has grown too large.
pub(crate) fn bounded(value: &Value) -> Result<(), Refusal> {
    if depth(value) > DEEPEST {
        return Err(Refusal::bad_request(format!("the object is nested more than {DEEPEST} deep")));
    }
    if weight(value) > LARGEST {
        let message = format!("the object is larger than the limit of {LARGEST} bytes");
        return Err(Refusal::new(Reason::RequestEntityTooLarge, message));
    }
    Ok(())
}

/// About the bytes that a value takes.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| weight(item) + 1).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(name, field)| name.len() + 4 + weight(field)).sum::<usize>()
        }
    }
}

/// Lists and objects within each other, at the deepest place.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Parses JSON. Errors: 400 with line and column.
pub(crate) fn parse_json(body: &[u8]) -> Result<Document, Refusal> {
    let repeated = RefCell::default();
    let mut parser = serde_json::Deserializer::from_slice(body);
    let seed = Node { path: String::new(), repeated: &repeated };
    let value = seed.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    let value = value.map_err(|error| Refusal::bad_request(format!("read the body as JSON: {error}")))?;
    Ok(Document { value, repeated: repeated.into_inner() })
}

fn parse_yaml(body: &[u8]) -> Result<Document, Refusal> {
    let wrong = |fault: &dyn fmt::Display| Refusal::bad_request(format!("read the body as YAML: {fault}"));
    let text = std::str::from_utf8(body).map_err(|error| wrong(&error))?;
    let documents = intent::manifest::read(text, "body").map_err(|problems| {
        wrong(&problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    })?;
    match <[_; 1]>::try_from(documents) {
        Ok([document]) => Ok(Document { value: document.value, repeated: Vec::new() }),
        Err(documents) => Err(wrong(&format!("{} documents, where one is wanted", documents.len()))),
    }
}

/// Reads one value, and notes where fields are repeated.
struct Node<'a> {
    path: String,
    repeated: &'a RefCell<Vec<String>>,
}

impl Node<'_> {
    fn below(&self, path: String) -> Node<'_> {
        Node { path, repeated: self.repeated }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that JSON cannot hold"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) =
            items.next_element_seed(self.below(format!("{}[{}]", self.path, list.len())))?
        {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            let field = fields.next_value_seed(self.below(path.clone()))?;
            if map.insert(name, field).is_some() && self.repeated.borrow().len() < MOST_REPEATED {
                self.repeated.borrow_mut().push(path);
            }
        }
        Ok(Value::Object(map))
    }
}

/// Repeated fields told at most.
const MOST_REPEATED: usize = 100;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn repeated_fields_are_told_and_the_last_counts() {
        let text = br#"{"a":1,"b":{"c":[{"d":1,"d":2}],"c":[{"d":3,"d":4}]},"a":{"x":null,"y":-1.5}}"#;
        let document = parse_json(text).unwrap();
        assert_eq!(document.value, json!({ "a": { "x": null, "y": -1.5 }, "b": { "c": [{ "d": 4 }] } }));
        assert_eq!(document.repeated, ["b.c[0].d", "b.c[0].d", "b.c", "a"]);
    }

    #[test]
    fn garbage_is_refused() {
        for text in [&b"{"[..], b"", b"{} x", b"\xff\xfe", b"{\"a\":\"\xc3\x28\"}", b"{\"a\":NaN}", b"[1,]"] {
            let refusal = parse_json(text).unwrap_err();
            assert_eq!(refusal.reason(), Reason::BadRequest, "{refusal}");
        }
    }

    #[test]
    fn deep_documents_are_refused_at_every_depth() {
        for deep in [DEEPEST + 1, 127, 128, 200, 1_000_000] {
            let text = "[".repeat(deep) + &"]".repeat(deep);
            let refusal =
                parse_json(text.as_bytes()).and_then(|document| bounded(&document.value)).unwrap_err();
            assert_eq!(refusal.reason(), Reason::BadRequest, "{deep}: {refusal}");
        }
        let text = "[".repeat(DEEPEST) + &"]".repeat(DEEPEST);
        bounded(&parse_json(text.as_bytes()).unwrap().value).unwrap();
    }
}
