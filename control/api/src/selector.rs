//! Which objects a request selects: by labels and by the fields that identify them.
//!
//! The text forms are those of Kubernetes: `app=web,tier in (a, b),!old` and `metadata.name=x`.

use serde_json::Value;

use crate::status::Refusal;

/// A conjunction of requirements on labels. Empty: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    /// A whole number above this one.
    Above(i64),
    /// A whole number below this one.
    Below(i64),
}

impl LabelSelector {
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let parts = split(text).map_err(|fault| unparsable("labelSelector", text, fault))?;
        let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
        let requirements =
            parts.map(|part| requirement(part).map_err(|fault| unparsable("labelSelector", text, &fault)));
        requirements.collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object's `metadata.labels` meet every requirement.
    pub(crate) fn selects(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key).and_then(Value::as_str);
            match &requirement.operator {
                Operator::In(values) => {
                    value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
                }
                Operator::NotIn(values) => {
                    value.is_none_or(|value| !values.iter().any(|wanted| wanted == value))
                }
                Operator::Exists => value.is_some(),
                Operator::Absent => value.is_none(),
                Operator::Above(bound) => number(value).is_some_and(|number| number > *bound),
                Operator::Below(bound) => number(value).is_some_and(|number| number < *bound),
            }
        })
    }
}

/// Splits at the commas outside parentheses.
fn split(text: &str) -> Result<Vec<&str>, &'static str> {
    let mut parts = Vec::new();
    let mut inside = false;
    let mut start = 0;
    for (at, symbol) in text.char_indices() {
        match symbol {
            '(' if inside => return Err("a parenthesis opens inside another"),
            '(' => inside = true,
            ')' if !inside => return Err("a parenthesis closes that was not opened"),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err("a parenthesis is not closed");
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, String> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement { key: checked(key.trim())?, operator: Operator::Absent });
    }
    if let Some(list) = part.strip_suffix(')') {
        let (head, list) = list.split_once('(').ok_or("a parenthesis closes that was not opened")?;
        let values = list.split(',').map(|value| checked_value(value.trim())).collect::<Result<_, _>>()?;
        let mut words = head.split_whitespace();
        let operator = match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => (key, Operator::In(values)),
            (Some(key), Some("notin"), None) => (key, Operator::NotIn(values)),
            _ => return Err(format!("{part:?} is not KEY in (…) or KEY notin (…)")),
        };
        return Ok(Requirement { key: checked(operator.0)?, operator: operator.1 });
    }
    for (sign, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = part.split_once(sign) {
            let values = vec![checked_value(value.trim())?];
            let operator = if negated { Operator::NotIn(values) } else { Operator::In(values) };
            return Ok(Requirement { key: checked(key.trim())?, operator });
        }
    }
    for (sign, operator) in [('>', Operator::Above as fn(i64) -> Operator), ('<', Operator::Below)] {
        if let Some((key, bound)) = part.split_once(sign) {
            let bound = number(Some(bound.trim())).ok_or_else(|| format!("{bound:?} is no whole number"))?;
            return Ok(Requirement { key: checked(key.trim())?, operator: operator(bound) });
        }
    }
    Ok(Requirement { key: checked(part)?, operator: Operator::Exists })
}

fn number(text: Option<&str>) -> Option<i64> {
    text?.parse().ok()
}

/// A label's key: letters, digits, `-`, `_`, `.`, and one `/` behind a prefix.
fn checked(key: &str) -> Result<String, String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let fits = |word: &str| !word.is_empty() && word.len() <= 253 && word.bytes().all(is_label_byte);
    if fits(name) && prefix.is_none_or(fits) {
        Ok(key.to_owned())
    } else {
        Err(format!("{key:?} is no label key"))
    }
}

fn checked_value(value: &str) -> Result<String, String> {
    let ends = [value.bytes().next(), value.bytes().last()];
    let framed = ends.into_iter().flatten().all(|byte| byte.is_ascii_alphanumeric());
    if value.len() <= LONGEST_VALUE && framed && value.bytes().all(is_label_byte) {
        Ok(value.to_owned())
    } else {
        Err(format!("{value:?} is no label value"))
    }
}

/// Bytes of a label's value at most.
const LONGEST_VALUE: usize = 63;

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// A conjunction of requirements on `metadata.name` and `metadata.namespace`. Empty: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<FieldRequirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldRequirement {
    field: Field,
    value: String,
    equal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
}

impl FieldSelector {
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let requirements = parts.map(|part| {
            let signs = [("!=", false), ("==", true), ("=", true)];
            let split = signs.iter().find_map(|(sign, equal)| Some((part.split_once(sign)?, *equal)));
            let ((field, value), equal) = split.ok_or_else(|| {
                unparsable("fieldSelector", text, "a part is not FIELD=VALUE or FIELD!=VALUE")
            })?;
            let field = match field.trim() {
                "metadata.name" => Field::Name,
                "metadata.namespace" => Field::Namespace,
                other => return Err(Refusal::bad_request(format!("field label not supported: {other}"))),
            };
            Ok(FieldRequirement { field, value: value.trim().to_owned(), equal })
        });
        requirements.collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same, for the object of this name alone.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.0.push(FieldRequirement { field: Field::Name, value: name.to_owned(), equal: true });
        self
    }

    pub(crate) fn selects(&self, key: &store::ObjectKey) -> bool {
        self.0.iter().all(|requirement| {
            let found = match requirement.field {
                Field::Name => key.name(),
                Field::Namespace => key.namespace().unwrap_or_default(),
            };
            (found == requirement.value) == requirement.equal
        })
    }
}

fn unparsable(option: &str, text: &str, fault: &str) -> Refusal {
    Refusal::bad_request(format!("unable to parse {option} {text:?}: {fault}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use store::ObjectKey;

    use super::*;

    #[test]
    fn a_label_selector_selects_what_it_says() {
        let object = json!({ "metadata": { "labels": { "app": "web", "example.org/tier": "a", "empty": "", "size": "4" } } });
        let bare = json!({ "metadata": {} });
        let cases = [
            ("", true, true),
            ("app", true, false),
            ("!app", false, true),
            ("app=web", true, false),
            ("app==web", true, false),
            ("app = web , example.org/tier = a", true, false),
            ("app!=web", false, true),
            ("app!=db", true, true),
            ("app in (db, web)", true, false),
            ("app in (db),example.org/tier", false, false),
            ("app notin (db,web)", false, true),
            ("empty=", true, false),
            ("size>3,size<5", true, false),
            ("size>4", false, false),
            ("app>1", false, false),
        ];
        for (text, of_object, of_bare) in cases {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!((selector.selects(&object), selector.selects(&bare)), (of_object, of_bare), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "a in (b",
            "a in b)",
            "=x",
            "a b",
            "a in (b))",
            "((",
            "a/b/c",
            "a=b=c",
            "über=1",
            "!",
            "a within (b)",
            "a>b",
            "a=-b",
            "a in (b-)",
        ] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
        for text in ["metadata.name", "spec.node=x"] {
            assert!(FieldSelector::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "[a-z!=,() \\PC]{0,40}") {
            let object = json!({ "metadata": { "labels": { "a": "b" } } });
            if let Ok(selector) = LabelSelector::parse(&text) {
                selector.selects(&object);
            }
            FieldSelector::parse(&text).ok();
            crate::target::Target::parse(&format!("/{text}"));
        }
    }

    #[test]
    fn a_field_selector_selects_by_identity() {
        let key = ObjectKey::new("default", "things", Some("shop"), "a");
        for (text, selected) in [
            ("metadata.name=a", true),
            ("metadata.name!=a", false),
            ("metadata.name==a,metadata.namespace=shop", true),
            ("metadata.namespace=other", false),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().selects(&key), selected, "{text}");
        }
    }
}
