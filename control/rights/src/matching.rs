//! Whether one rule allows what is asked.

use intent::rights::{ALL, Reach, Rule};

/// May somebody do something?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The caller's name.
    pub user: &'a str,
    /// The caller's groups.
    pub groups: &'a [String],
    /// In which tenant; [`crate::SYSTEM`]: at the provider's level.
    pub tenant: &'a str,
    /// What is to be done: `get`, `list`, …
    pub verb: &'a str,
    /// With what.
    pub on: On<'a>,
}

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On<'a> {
    /// Objects of a resource.
    Objects {
        /// The API group; empty: the core group.
        group: &'a str,
        /// The plural.
        resource: &'a str,
        /// The part of the object, such as `status`.
        subresource: Option<&'a str>,
        /// The namespace; `None`: none, or all of them.
        namespace: Option<&'a str>,
        /// The object; `None`: any, or one that has no name yet.
        name: Option<&'a str>,
    },
    /// A path that is no resource.
    Path(&'a str),
}

impl<'a> On<'a> {
    /// The namespace asked about.
    pub(crate) fn namespace(self) -> Option<&'a str> {
        match self {
            Self::Objects { namespace, .. } => namespace,
            Self::Path(_) => None,
        }
    }
}

/// Whether the rule allows the verb on this.
pub(crate) fn allows(rule: &Rule, verb: &str, on: On<'_>) -> bool {
    if !lists(&rule.verbs, verb) {
        return false;
    }
    match (&rule.reach, on) {
        (
            Reach::Resources { groups, resources, names },
            On::Objects { group, resource, subresource, name, .. },
        ) => {
            lists(groups, group)
                && resources.iter().any(|given| meets(given, resource, subresource))
                && (names.is_empty() || name.is_some_and(|name| names.iter().any(|given| given == name)))
        }
        (Reach::Paths(paths), On::Path(path)) => paths.iter().any(|given| reaches(given, path)),
        (Reach::Resources { .. }, On::Path(_)) | (Reach::Paths(_), On::Objects { .. }) => false,
    }
}

/// Whether the list has the word, or stands for every word.
pub(crate) fn lists(given: &[String], word: &str) -> bool {
    given.iter().any(|given| given == ALL || given == word)
}

/// Whether a resource as rules write it is this one: `*`, `PLURAL`, `PLURAL/PART`, or `*/PART`.
fn meets(given: &str, resource: &str, subresource: Option<&str>) -> bool {
    if given == ALL {
        return true;
    }
    match (given.split_once('/'), subresource) {
        (None, None) => given == resource,
        (Some((plural, part)), Some(asked)) => part == asked && (plural == ALL || plural == resource),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether a path as rules write it is this one, or begins it where a `*` ends it.
pub(crate) fn reaches(given: &str, path: &str) -> bool {
    given == path || given.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}
