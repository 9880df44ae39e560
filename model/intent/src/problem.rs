//! What is said about bad input: all of it at once, each with path, value, reason and remedy.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One fault of one value in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where the value is: `spec.ingress[0].from[1].ipBlock.except[0]`.
    pub path: String,
    /// The value as JSON, shortened; empty where it is missing.
    pub value: String,
    /// What kind of fault it is.
    pub fault: Fault,
    /// What is wrong with it.
    pub reason: String,
    /// What to do about it; empty where the reason says it all.
    pub remedy: String,
    /// Where it was read from, when it came from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
}

/// The kinds of fault, as `Status` causes name them (meta.k8s.io/v1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// A needed value is missing.
    #[serde(rename = "FieldValueRequired")]
    Required,
    /// The value breaks a rule.
    #[serde(rename = "FieldValueInvalid")]
    Invalid,
    /// The value is none of those that are known.
    #[serde(rename = "FieldValueNotSupported")]
    NotSupported,
    /// The value is there twice, or two that must differ meet.
    #[serde(rename = "FieldValueDuplicate")]
    Duplicate,
    /// The value may not be given here, or may not be changed.
    #[serde(rename = "FieldValueForbidden")]
    Forbidden,
    /// The value is longer than allowed.
    #[serde(rename = "FieldValueTooLong")]
    TooLong,
    /// The value has another type.
    #[serde(rename = "FieldValueTypeInvalid")]
    TypeInvalid,
    /// No such field exists.
    #[serde(rename = "UnknownField")]
    UnknownField,
}

impl Fault {
    /// The word that a `Status` cause carries as its reason.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::UnknownField => "UnknownField",
        }
    }
}

impl Problem {
    /// A problem of a value that is there.
    pub fn new(
        path: impl Into<String>,
        value: &Value,
        fault: Fault,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let value = shortened(value);
        Self { path: path.into(), value, fault, reason: reason.into(), remedy: remedy.into(), place: None }
    }

    /// A problem of a value that is missing.
    pub fn missing(path: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            value: String::new(),
            fault: Fault::Required,
            reason: reason.into(),
            remedy: remedy.into(),
            place: None,
        }
    }

    /// The problem without its place and path: what a `Status` cause carries as its message.
    pub fn message(&self) -> String {
        let mut message = self.reason.clone();
        if !self.value.is_empty() {
            message = format!("{}: {message}", self.value);
        }
        if !self.remedy.is_empty() {
            message = format!("{message} — {}", self.remedy);
        }
        message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message())
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Collects problems up to a bound, so that a huge bad document is answered with a bounded page.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    beyond: usize,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.list.len() < MOST_PROBLEMS {
            self.list.push(problem);
        } else {
            self.beyond += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn into_vec(mut self) -> Vec<Problem> {
        if self.beyond > 0 {
            self.list.push(Problem {
                path: String::new(),
                value: String::new(),
                fault: Fault::Invalid,
                reason: format!("{} more problems are not shown", self.beyond),
                remedy: "mend these first".to_owned(),
                place: None,
            });
        }
        self.list
    }
}

/// The path of a field or map key below `parent`: `.name` for a plain name, `[a/b]` for anything else.
pub(crate) fn below(parent: &str, name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match (parent.is_empty(), plain) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{parent}.{name}"),
        (_, false) => format!("{parent}[{name}]"),
    }
}

/// The path of a list's element.
pub(crate) fn element(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

fn shortened(value: &Value) -> String {
    let text = match value {
        Value::Object(fields) if fields.len() > 3 => "{…}".to_owned(),
        Value::Array(items) if items.len() > 8 => "[…]".to_owned(),
        other => other.to_string(),
    };
    if text.chars().count() <= LONGEST_VALUE {
        return text;
    }
    text.chars().take(LONGEST_VALUE - 1).chain(['…']).collect()
}

const MOST_PROBLEMS: usize = 100;
const LONGEST_VALUE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_place_path_value_reason_remedy() {
        let mut problem =
            Problem::new("spec.vni", &Value::from(0), Fault::Invalid, "is not a VNI", "give 1–16777215");
        assert_eq!(problem.to_string(), "spec.vni: 0: is not a VNI — give 1–16777215");
        problem.place = Some(Place { file: "net.yaml".into(), line: 12, column: 7 });
        assert_eq!(problem.to_string(), "net.yaml:12:7: spec.vni: 0: is not a VNI — give 1–16777215");
    }

    #[test]
    fn a_flood_of_problems_is_answered_with_a_bounded_page() {
        let mut problems = Problems::default();
        for _ in 0..1000 {
            problems.push(Problem::missing("a", "is missing", ""));
        }
        let page = problems.into_vec();
        assert_eq!(page.len(), MOST_PROBLEMS + 1);
        assert!(page[MOST_PROBLEMS].reason.starts_with("900 more"));
    }

    #[test]
    fn paths_bracket_what_is_no_plain_name() {
        assert_eq!(below("", "spec"), "spec");
        assert_eq!(
            below("metadata.labels", "app.kubernetes.io/name"),
            "metadata.labels[app.kubernetes.io/name]"
        );
        assert_eq!(element(&below("spec", "ingress"), 3), "spec.ingress[3]");
    }
}
