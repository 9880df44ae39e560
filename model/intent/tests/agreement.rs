//! What the published schema says of a document against what the parser does with it.
//!
//! The schema is read here by a small judge of its own, from its JSON, as another server or a client would.
#![allow(clippy::unwrap_used)]

use intent::problem::Fault;
use intent::schema::{Format, Schema, Shape};
use intent::{Kind, UnknownFields, admit, reference};
use proptest::prelude::*;
use regex_lite::Regex;
use serde_json::{Map, Value, json};

/// What a schema has against a value: the fault, and where.
fn faults(schema: &Value, value: &Value, path: &str, found: &mut Vec<(Fault, String)>) {
    if schema["x-kubernetes-int-or-string"] == true {
        match value {
            Value::String(_) => {}
            Value::Number(number) if number.is_i64() => {}
            // A number, but none of those that are meant.
            Value::Number(_) => found.push((Fault::Invalid, path.to_owned())),
            _ => found.push((Fault::TypeInvalid, path.to_owned())),
        }
        return;
    }
    match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(fields)) => object(schema, fields, path, found),
        (Some("array"), Value::Array(elements)) => {
            let count = elements.len() as u64;
            if schema["minItems"].as_u64().is_some_and(|least| count < least) {
                found.push((Fault::Required, path.to_owned()));
            }
            if schema["maxItems"].as_u64().is_some_and(|most| count > most) {
                found.push((Fault::TooLong, path.to_owned()));
            }
            for (index, element) in elements.iter().enumerate() {
                faults(&schema["items"], element, &format!("{path}[{index}]"), found);
            }
        }
        (Some("string"), Value::String(text)) => {
            let words = schema["enum"].as_array();
            if words.is_some_and(|words| !words.contains(&text.as_str().into())) {
                found.push((Fault::NotSupported, path.to_owned()));
            }
        }
        (Some("integer"), Value::Number(number)) => {
            let within = |number: i64| {
                schema["minimum"].as_i64().is_none_or(|least| number >= least)
                    && schema["maximum"].as_i64().is_none_or(|most| number <= most)
            };
            if !number.as_i64().is_some_and(within) {
                found.push((Fault::Invalid, path.to_owned()));
            }
        }
        (Some("boolean"), Value::Bool(_)) | (None, _) => {}
        _ => found.push((Fault::TypeInvalid, path.to_owned())),
    }
}

/// A `null` is as good as nothing, as API servers treat it where a field is not nullable and has a default.
fn object(schema: &Value, fields: &Map<String, Value>, path: &str, found: &mut Vec<(Fault, String)>) {
    if let Some(values) = schema.get("additionalProperties") {
        fields.iter().for_each(|(name, value)| faults(values, value, &below(path, name), found));
        return;
    }
    let given = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !given(name) {
            found.push((Fault::Required, below(path, name)));
        }
    }
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        match schema["properties"].get(name) {
            Some(property) => faults(property, value, &below(path, name), found),
            None if schema["x-kubernetes-preserve-unknown-fields"] == true => {}
            None => found.push((Fault::UnknownField, below(path, name))),
        }
    }
}

/// The path of a field or a key, as problems tell it.
fn below(path: &str, name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    match (path.is_empty(), plain) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name}]"),
    }
}

/// Faults of structure, as the parser tells them: of other faults the schema need not know.
fn told(kind: Kind, document: &Value) -> Vec<(Fault, String)> {
    let problems = admit(kind, document.clone(), UnknownFields::Refuse).err().unwrap_or_default();
    problems.into_iter().map(|problem| (problem.fault, problem.path)).collect()
}

const STRUCTURE: [Fault; 3] = [Fault::TypeInvalid, Fault::UnknownField, Fault::NotSupported];

fn assert_agreement(kind: Kind, document: &Value) {
    let mut said = Vec::new();
    faults(&kind.descriptor().structural(), document, "", &mut said);
    let told = told(kind, document);
    let world = || format!("{document:#}\nschema: {said:?}\nparser: {told:?}");
    for fault in &said {
        assert!(told.contains(fault), "the parser lets {fault:?} pass\n{}", world());
    }
    for fault in told.iter().filter(|(fault, _)| STRUCTURE.contains(fault)) {
        assert!(said.contains(fault), "the schema lets {fault:?} pass\n{}", world());
    }
}

/// A change of one place in a document.
#[derive(Clone, Debug)]
enum Damage {
    Remove,
    Replace(Value),
    Add(String, Value),
}

fn damage() -> impl Strategy<Value = Damage> {
    let value = prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(80),
        json!(70_000),
        json!(1.5),
        json!(""),
        json!("a"),
        json!("80"),
        json!("TCP"),
        json!("Allow"),
        json!([]),
        json!(["a"]),
        json!([[]]),
        json!({}),
        json!({"a": 1}),
    ]);
    let name = prop::sample::select(vec![
        "port", "cidr", "spec", "labels", "name", "colour", "vni", "kind", "values",
    ]);
    prop_oneof![
        Just(Damage::Remove),
        value.clone().prop_map(Damage::Replace),
        (name, value).prop_map(|(name, value)| Damage::Add(name.to_owned(), value)),
    ]
}

/// Every place of a document, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            places(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found)
        }),
        Value::Array(elements) => {
            elements
                .iter()
                .enumerate()
                .for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn damaged(mut document: Value, damages: &[(prop::sample::Index, Damage)]) -> Value {
    for (index, damage) in damages {
        let mut found = Vec::new();
        places(&document, "", &mut found);
        let place = index.get(&found).clone();
        match damage {
            Damage::Remove => {
                let Some((above, last)) = place.rsplit_once('/') else { continue };
                let name = last.replace("~1", "/").replace("~0", "~");
                match document.pointer_mut(above) {
                    Some(Value::Object(fields)) => drop(fields.remove(&name)),
                    Some(Value::Array(elements)) => drop(elements.remove(name.parse().unwrap())),
                    _ => {}
                }
            }
            Damage::Replace(value) => *document.pointer_mut(&place).unwrap() = value.clone(),
            Damage::Add(name, value) => {
                if let Some(Value::Object(fields)) = document.pointer_mut(&place) {
                    fields.insert(name.clone(), value.clone());
                }
            }
        }
    }
    document
}

fn example(kind: Kind) -> Value {
    intent::manifest::read(reference::example(kind), "example").unwrap().remove(0).value
}

/// Every syntax that the kinds use.
fn formats(schema: &Schema, found: &mut Vec<Format>) {
    match schema.shape {
        Shape::Object { fields, .. } => fields.iter().for_each(|field| formats(&field.schema, found)),
        Shape::List { items, .. } => formats(items, found),
        Shape::Map { keys, values } => found.extend([keys, values]),
        Shape::Text(format) | Shape::NumberOrText { format, .. } => found.push(format),
        _ => {}
    }
}

/// A text's schema, as it is published.
fn published(format: Format) -> Value {
    let text: &'static Schema = Box::leak(Box::new(Schema::text("", format)));
    intent::schema::openapi(
        text,
        intent::schema::Dialect::Structural,
        &mut intent::schema::Definitions::new(),
    )
}

fn matches(schema: &Value, text: &str) -> bool {
    schema["pattern"].as_str().is_none_or(|pattern| Regex::new(pattern).unwrap().is_match(text))
        && schema["maxLength"].as_u64().is_none_or(|longest| text.chars().count() as u64 <= longest)
        && schema["enum"].as_array().is_none_or(|words| words.contains(&text.into()))
}

proptest! {
    #[test]
    fn schema_and_parser_agree_on_the_structure_of_any_document(
        kind in prop::sample::select(Kind::ALL.to_vec()),
        damages in prop::collection::vec((any::<prop::sample::Index>(), damage()), 0..4),
    ) {
        assert_agreement(kind, &damaged(example(kind), &damages));
    }

    #[test]
    fn what_a_syntax_accepts_matches_its_pattern(
        text in "([a-z0-9.:/_-]{0,20}|[A-F0-9]{2}(:[a-f0-9]{2}){5}|[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?|[a-f0-9:]{2,10}(/[0-9]{1,3})?)",
    ) {
        let mut found = Vec::new();
        Kind::ALL.into_iter().for_each(|kind| formats(kind.descriptor().schema, &mut found));
        for format in found {
            if format.accepts(&text) {
                prop_assert!(matches(&published(format), &text), "{format:?} accepts {text:?}: {}", published(format));
            }
        }
    }

    #[test]
    fn what_the_pattern_of_a_name_matches_is_accepted(
        label in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
        port in "([0-9]{1,3}-)?[0-9]{0,2}[a-z][a-z0-9]{0,3}(-[a-z0-9]{1,3})?",
        text in "[a-zA-Z0-9._/-]{0,12}",
    ) {
        for format in [Format::Label, Format::Subdomain, Format::QualifiedName, Format::LabelValue, Format::PortName] {
            for text in [&label, &port, &text] {
                if matches(&published(format), text) {
                    prop_assert!(format.accepts(text), "{format:?} refuses {text:?}");
                }
            }
        }
    }
}
