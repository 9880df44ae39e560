//! Objects: apply, get, describe, delete, diff, and what a tenant holds of them.

pub(crate) mod apply;
pub(crate) mod content;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod get;
mod likeness;
mod merge;
pub(crate) mod place;
mod policy;
mod source;
mod table;
mod unified;

pub(crate) use get::understood;

use intent::Kind;
use intent::nearest::nearest;
use intent::registry::Scope;
use serde_json::Value;

use crate::failure::Failure;

/// Objects of one kind that a command line names; no names: all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    kind: Kind,
    names: Vec<String>,
}

/// Reads `KIND[,KIND…] [NAME…]` or `KIND/NAME…`.
fn wanted(words: &[String]) -> Result<Vec<Wanted>, Failure> {
    let (first, rest) = words.split_first().ok_or_else(|| {
        Failure::usage(
            "no kind is named",
            format!("name one of {}", plurals().collect::<Vec<_>>().join(", ")),
        )
    })?;
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| slashed(word)).collect();
    }
    let mut kinds = Vec::new();
    for word in first.split(',') {
        let category: Vec<Kind> = Kind::in_category(word).collect();
        kinds.extend(if category.is_empty() { vec![kind(word)?] } else { category });
    }
    kinds.dedup();
    if kinds.len() > 1 && !rest.is_empty() {
        let remedy = "name one kind, or write each as KIND/NAME";
        return Err(Failure::usage("names are given beside several kinds", remedy));
    }
    Ok(kinds.into_iter().map(|kind| Wanted { kind, names: rest.to_vec() }).collect())
}

fn slashed(word: &str) -> Result<Wanted, Failure> {
    match word.split_once('/') {
        Some((kind_name, name)) if !name.is_empty() && !name.contains('/') => {
            Ok(Wanted { kind: kind(kind_name)?, names: vec![name.to_owned()] })
        }
        _ => Err(Failure::usage(
            format!("{word:?} is not KIND/NAME, as others here are"),
            "write all as KIND/NAME, or all as KIND NAME…; a namespace goes to -n",
        )),
    }
}

/// The kind that a word means.
fn kind(word: &str) -> Result<Kind, Failure> {
    Kind::named(word).ok_or_else(|| {
        let names = Kind::ALL.iter().flat_map(|kind| kind.descriptor().names());
        let remedy = match nearest(word, names) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("the kinds are {}", plurals().collect::<Vec<_>>().join(", ")),
        };
        Failure::usage(format!("{word:?} is no kind of object"), remedy)
    })
}

fn plurals() -> impl Iterator<Item = &'static str> {
    Kind::ALL.iter().map(|kind| kind.descriptor().plural)
}

/// How a message names an object: `networkpolicy.networking.k8s.io/web`.
pub(crate) fn title(kind: Kind, name: &str) -> String {
    let known = kind.descriptor();
    if known.group.is_empty() {
        format!("{}/{name}", known.singular)
    } else {
        format!("{}.{}/{name}", known.singular, known.group)
    }
}

/// The text at a path of names, or nothing.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    path.iter().try_fold(value, |value, name| value.get(name)).and_then(Value::as_str).unwrap_or_default()
}

/// The namespace in which a command looks for objects of a kind; `None` for kinds that are in none.
fn namespace_of(kind: Kind, namespace: &str) -> Option<&str> {
    (kind.descriptor().scope == Scope::Namespaced).then_some(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<Wanted>, Failure> {
        wanted(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn kinds_and_names_are_read_in_both_forms() {
        let one = |kind, names: &[&str]| Wanted {
            kind,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (line, expected) in [
            ("netpol", vec![one(Kind::NetworkPolicy, &[])]),
            ("vnet blue red", vec![one(Kind::VirtualNetwork, &["blue", "red"])]),
            ("ns,NetworkPolicy", vec![one(Kind::Namespace, &[]), one(Kind::NetworkPolicy, &[])]),
            ("ns/a netpol/b", vec![one(Kind::Namespace, &["a"]), one(Kind::NetworkPolicy, &["b"])]),
            ("all", vec![one(Kind::Endpoint, &[])]),
        ] {
            assert_eq!(read(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_kind_comes_with_the_nearest() {
        let remedy = |line: &str| match read(line) {
            Err(Failure::Usage { remedy, .. }) => remedy,
            other => panic!("{other:?}"),
        };
        assert_eq!(remedy("netpoll"), "did you mean netpol?");
        assert!(remedy("pods").starts_with("the kinds are tenants, nodes"));
        assert!(remedy("ns,netpol a").contains("one kind"));
        assert!(remedy("ns/a b").contains("KIND/NAME"));
        assert!(remedy("").contains("name one of"));
    }
}
