//! Holds a document against its schema: reports what does not fit, removes what is not known, fills in what is preset.

use serde_json::{Map, Value};

use super::{Absent, Field, Format, Schema, Shape};
use crate::nearest::nearest;
use crate::problem::{Fault, Problem, Problems, below, element};

/// What [`check`] found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// What does not fit.
    pub(crate) problems: Problems,
    /// Fields that are not known; they are no longer in the document.
    pub(crate) unknown: Problems,
}

/// Checks `document`, and brings it into the canonical form: no `null`, no unknown field, presets filled in.
pub(crate) fn check(schema: &'static Schema, document: &mut Value) -> Checked {
    let mut checked = Checked::default();
    checked.value(schema, document, "");
    checked
}

impl Checked {
    fn value(&mut self, schema: &'static Schema, value: &mut Value, path: &str) {
        match schema.shape {
            Shape::Object { fields, open } => match value {
                Value::Object(object) => self.object(fields, open, object, path),
                _ => self.mistyped(value, path, "an object", "write its fields below it, indented"),
            },
            Shape::Map { keys, values } => match value {
                Value::Object(object) => self.map(keys, values, object, path),
                _ => self.mistyped(value, path, "a map", "write it as KEY: VALUE lines, indented"),
            },
            Shape::List { items, least, most, .. } => match value {
                Value::Array(elements) => {
                    self.length(elements, (least, most), path);
                    for (index, item) in elements.iter_mut().enumerate() {
                        self.value(items, item, &element(path, index));
                    }
                }
                _ => self.mistyped(value, path, "a list", "begin each element with \"- \""),
            },
            Shape::Text(format) => match value {
                Value::String(text) => self.text(format, text, path),
                Value::Number(_) | Value::Bool(_) => {
                    let remedy = format!("put it in quotes: \"{value}\"");
                    self.mistyped(value, path, "a text", &remedy);
                }
                _ => self.mistyped(value, path, "a text", ""),
            },
            Shape::Number { least, most } => self.number((least, most), value, path),
            Shape::NumberOrText { least, most, format } => match value {
                Value::String(text) => self.text(format, text, path),
                _ => self.number((least, most), value, path),
            },
            Shape::Flag => match value {
                Value::Bool(_) => {}
                _ => self.mistyped(value, path, "true or false", "write true or false, without quotes"),
            },
            Shape::Anything => {}
        }
    }

    fn object(&mut self, fields: &'static [Field], open: bool, object: &mut Map<String, Value>, path: &str) {
        object.retain(|_, value| !value.is_null());
        if !open {
            self.prune(fields, object, path);
        }
        for field in fields {
            if !object.contains_key(field.name) {
                match field.absent {
                    Absent::Stays => continue,
                    Absent::Refused | Absent::Served => {
                        let about = field.schema.about.split_inclusive(". ").next().unwrap_or_default();
                        let remedy = format!("add it: {}", about.trim_end());
                        self.problems.push(Problem::missing(below(path, field.name), "is missing", remedy));
                        continue;
                    }
                    Absent::Text(text) => object.insert(field.name.to_owned(), Value::from(text)),
                    Absent::EmptyObject => object.insert(field.name.to_owned(), Value::Object(Map::new())),
                };
            }
            if let Some(value) = object.get_mut(field.name) {
                self.value(&field.schema, value, &below(path, field.name));
            }
        }
    }

    /// Reports and removes the fields that are not known.
    fn prune(&mut self, fields: &'static [Field], object: &mut Map<String, Value>, path: &str) {
        object.retain(|name, value| {
            let known = fields.iter().any(|field| field.name == name);
            if !known {
                let names = fields.iter().map(|field| field.name);
                let remedy = match nearest(name, names.clone()) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None if fields.is_empty() => "leave it out: nothing can be set here".to_owned(),
                    None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
                };
                let problem =
                    Problem::new(below(path, name), value, Fault::UnknownField, "is no known field", remedy);
                self.unknown.push(problem);
            }
            known
        });
    }

    fn map(&mut self, keys: Format, values: Format, object: &mut Map<String, Value>, path: &str) {
        for (key, value) in object.iter_mut() {
            let path = below(path, key);
            if let Err(misfit) = keys.check(key) {
                let key = Value::from(key.as_str());
                let reason = format!("as a key {}", misfit.reason);
                self.problems.push(Problem::new(path.as_str(), &key, misfit.fault, reason, misfit.remedy));
            }
            match value {
                Value::String(text) => self.text(values, text, &path),
                Value::Null => self.mistyped(value, &path, "a text", "write \"\" for an empty value"),
                _ => {
                    let remedy = format!("put it in quotes: \"{value}\"");
                    self.mistyped(value, &path, "a text", &remedy);
                }
            }
        }
    }

    fn length(&mut self, elements: &[Value], (least, most): (usize, usize), path: &str) {
        let found = elements.len();
        if found < least {
            let reason = format!("has {found} elements and needs at least {least}");
            self.problems.push(Problem::new(
                path,
                &Value::from(elements),
                Fault::Required,
                reason,
                "add one",
            ));
        } else if found > most {
            let reason = format!("has {found} elements and may have {most}");
            let remedy = format!("leave out {}", found - most);
            self.problems.push(Problem::new(path, &Value::from(elements), Fault::TooLong, reason, remedy));
        }
    }

    fn text(&mut self, format: Format, text: &str, path: &str) {
        if let Err(misfit) = format.check(text) {
            let text = Value::from(text);
            self.problems.push(Problem::new(path, &text, misfit.fault, misfit.reason, misfit.remedy));
        }
    }

    fn number(&mut self, (least, most): (i64, i64), value: &Value, path: &str) {
        match value {
            Value::Number(number) => match number.as_i64() {
                Some(number) if (least..=most).contains(&number) => {}
                _ => {
                    let reason = format!("is no whole number within {least}–{most}");
                    let remedy = format!("give one from {least} to {most}");
                    self.problems.push(Problem::new(path, value, Fault::Invalid, reason, remedy));
                }
            },
            Value::String(text) if text.parse::<i64>().is_ok() => {
                self.mistyped(value, path, "a number", &format!("write {text} without quotes"));
            }
            _ => self.mistyped(value, path, "a whole number", ""),
        }
    }

    fn mistyped(&mut self, value: &Value, path: &str, wanted: &str, remedy: &str) {
        let found = match value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        let reason = format!("is {found} where {wanted} is wanted");
        self.problems.push(Problem::new(path, value, Fault::TypeInvalid, reason, remedy));
    }
}
