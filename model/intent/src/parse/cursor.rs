//! A place in a document: the value there, if any, and its path.
//!
//! Reading through it never fails: a value of another type reads as absent, because the schema has reported it.

use serde_json::Value;

use crate::problem::{below, element};

/// A place in a document.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    value: Option<&'a Value>,
    path: String,
}

impl<'a> Cursor<'a> {
    /// The whole document.
    pub(super) fn root(document: &'a Value) -> Self {
        Self { value: Some(document), path: String::new() }
    }

    /// The field of this name; `null` is as good as absent.
    pub(super) fn field(&self, name: &str) -> Self {
        let value = self.value.and_then(|value| value.get(name)).filter(|value| !value.is_null());
        Self { value, path: below(&self.path, name) }
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> Vec<Self> {
        let elements = self.value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let place = |(index, value)| Self { value: Some(value), path: element(&self.path, index) };
        elements.iter().enumerate().map(place).collect()
    }

    /// The entries of a map whose values are texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let entries = self.value.and_then(Value::as_object).into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// Whether there is a value.
    pub(super) fn is_there(&self) -> bool {
        self.value.is_some()
    }

    /// The text here.
    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.and_then(Value::as_str)
    }

    /// The text here, as a value of its own type.
    pub(super) fn parsed<T: std::str::FromStr>(&self) -> Option<T> {
        self.text().and_then(|text| text.parse().ok())
    }

    /// The number here, if it is whole and fits.
    pub(super) fn number<T: TryFrom<i64>>(&self) -> Option<T> {
        self.value.and_then(Value::as_i64).and_then(|number| T::try_from(number).ok())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The value as a problem shows it.
    pub(super) fn value_or_null(&self) -> &'a Value {
        self.value.unwrap_or(&Value::Null)
    }
}
