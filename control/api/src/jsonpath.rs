//! The simple JSONPaths of printer columns: `.a.b`, `.a\.b`, `.list[*].x`, `.list[?(@.type=="Ready")].status`.

use serde_json::Value;

/// Every value at the path. A path that is not understood finds nothing.
pub(crate) fn find<'v>(document: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = vec![document];
    let mut rest = path;
    while !rest.is_empty() {
        let Some((step, behind)) = step(rest) else { return Vec::new() };
        found = found.into_iter().flat_map(|value| step.follow(value)).collect();
        rest = behind;
    }
    found
}

enum Step<'p> {
    Field(String),
    Every,
    Where { field: &'p str, equals: &'p str },
}

impl Step<'_> {
    fn follow<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let items = || value.as_array().into_iter().flatten();
        match self {
            Self::Field(name) => value.get(name.as_str()).into_iter().collect(),
            Self::Every => items().collect(),
            Self::Where { field, equals } => {
                items().filter(|item| item.get(*field).and_then(Value::as_str) == Some(*equals)).collect()
            }
        }
    }
}

/// The first step of a path, and what is behind it.
fn step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(behind) = path.strip_prefix("[*]") {
        return Some((Step::Every, behind));
    }
    if let Some(condition) = path.strip_prefix("[?(@.") {
        let (condition, behind) = condition.split_once(")]")?;
        let (field, equals) = condition.split_once("==")?;
        return Some((Step::Where { field, equals: equals.trim_matches('"') }, behind));
    }
    let text = path.strip_prefix('.')?;
    let mut name = String::new();
    let mut symbols = text.char_indices();
    while let Some((at, symbol)) = symbols.next() {
        match symbol {
            '\\' => name.extend(symbols.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return Some((Step::Field(name), &text[at..])),
            plain => name.push(plain),
        }
    }
    Some((Step::Field(name), ""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_find_their_values() {
        let object = json!({
            "metadata": { "annotations": { "sealane.dev/network": "red" } },
            "spec": { "subnets": [{ "cidr": "a" }, { "cidr": "b" }, {}], "list": [1, 2] },
            "status": { "conditions": [{ "type": "X", "status": "no" }, { "type": "Ready", "status": "yes" }] },
        });
        let cases = [
            (".metadata.annotations.sealane\\.dev/network", vec![json!("red")]),
            (".spec.subnets[*].cidr", vec![json!("a"), json!("b")]),
            (".spec.list[*]", vec![json!(1), json!(2)]),
            (".status.conditions[?(@.type==\"Ready\")].status", vec![json!("yes")]),
            (".spec.missing.deeper", vec![]),
            ("spec", vec![]),
        ];
        for (path, expected) in cases {
            assert_eq!(find(&object, path), expected.iter().collect::<Vec<_>>(), "{path}");
        }
    }

    #[test]
    fn every_column_of_every_kind_has_a_path_that_is_understood() {
        for column in intent::Kind::ALL.iter().flat_map(|kind| kind.descriptor().columns) {
            let mut rest = column.path;
            while !rest.is_empty() {
                rest = step(rest).unwrap_or_else(|| panic!("{}: {}", column.name, column.path)).1;
            }
        }
    }
}
