//! A schema in words: its type, and what holds of its values, for descriptions and the reference.

use super::{Absent, Field, Format, Identity, Schema, Shape};

/// The type as readers know it: `string`, `integer`, `[]SUBNET`, …
pub fn type_name(schema: &Schema) -> String {
    match schema.shape {
        Shape::Object { .. } => "object".to_owned(),
        Shape::Map { .. } => "map[string]string".to_owned(),
        Shape::List { items, .. } => format!("[]{}", type_name(items)),
        Shape::Text(_) => "string".to_owned(),
        Shape::Number { .. } => "integer".to_owned(),
        Shape::NumberOrText { .. } => "integer or string".to_owned(),
        Shape::Flag => "boolean".to_owned(),
        Shape::Anything => "any".to_owned(),
    }
}

/// What holds of a field's values: syntax, bounds, default. One sentence each.
pub fn facts(field: &Field) -> Vec<String> {
    let mut facts = constraints(&field.schema);
    match field.absent {
        Absent::Text(text) => facts.push(format!("Default: {text}.")),
        Absent::EmptyObject | Absent::Stays | Absent::Refused | Absent::Served => {}
    }
    facts
}

/// What holds of the values of a schema.
pub fn constraints(schema: &Schema) -> Vec<String> {
    let mut facts = match schema.shape {
        Shape::Text(format) => syntax("", format).into_iter().collect(),
        Shape::Number { least, most } => bounds(least, most).into_iter().collect(),
        Shape::NumberOrText { least, most, format } => {
            let number = bounds(least, most);
            let text = syntax("As a text ", format);
            number.into_iter().chain(text).collect()
        }
        Shape::Map { keys, values } => {
            syntax("A key is ", keys).into_iter().chain(syntax("A value is ", values)).collect()
        }
        Shape::List { items, least, most, identity } => list(items, (least, most), identity),
        Shape::Object { .. } | Shape::Flag | Shape::Anything => Vec::new(),
    };
    facts.extend(schema.rules.iter().map(|rule| sentence(rule.message)));
    facts
}

fn list(items: &Schema, (least, most): (usize, usize), identity: Identity) -> Vec<String> {
    let mut facts = Vec::new();
    match (least, most) {
        (0, usize::MAX) => {}
        (least, usize::MAX) => facts.push(format!("At least {least} elements.")),
        (0, most) => facts.push(format!("At most {most} elements.")),
        (least, most) => facts.push(format!("{least}–{most} elements.")),
    }
    match identity {
        Identity::None => {}
        Identity::Value => facts.push("Each value counts once.".to_owned()),
        Identity::Fields(fields) => {
            facts.push(format!("Elements are told apart by {}.", fields.join(" and ")))
        }
    }
    // Elements that are no objects have no place of their own where their syntax could be told.
    if let Shape::Text(format) = items.shape {
        facts.extend(syntax("An element is ", format));
    }
    facts
}

fn bounds(least: i64, most: i64) -> Option<String> {
    match (least, most) {
        (i64::MIN, i64::MAX) => None,
        (least, i64::MAX) => Some(format!("{least} or more.")),
        (least, most) => Some(format!("{least}–{most}.")),
    }
}

fn syntax(before: &str, format: Format) -> Option<String> {
    let words = format.words();
    (!words.is_empty()).then(|| sentence(&format!("{before}{words}")))
}

/// With a capital at its start and a stop at its end.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let stop = if words.ends_with('.') { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_says_its_syntax_bounds_and_default() {
        let verdict = Schema::text("", Format::OneOf(&["Allow", "Deny"]));
        let field = Field::preset("world", verdict, Absent::Text("Allow"));
        assert_eq!(facts(&field), ["One of Allow, Deny.", "Default: Allow."]);
        let port = Schema::number_or_text("", 1, 65_535, Format::PortName);
        let told = constraints(&port);
        assert_eq!(told[0], "1–65535.");
        assert!(told[1].starts_with("As a text a port name (RFC 6335)"), "{told:?}");
        assert_eq!(constraints(&Schema::number("", 0, i64::MAX)), ["0 or more."]);
        const ITEM: Schema = Schema::text("", Format::Address);
        let told = constraints(&Schema::list_of("", &ITEM, 1, 2));
        assert_eq!(told, ["1–2 elements.", "An element is an IPv4 or IPv6 address."]);
    }
}
