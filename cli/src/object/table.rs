//! Tables as the server gives them (meta.k8s.io/v1 `Table`).

use serde::Deserialize;
use serde_json::Value;

use crate::output::Columns;

/// Rows that the server has made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Table {
    column_definitions: Vec<Definition>,
    pub(super) rows: Vec<Row>,
    pub(super) metadata: ListMeta,
}

/// What a list says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ListMeta {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) more: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Definition {
    name: String,
    priority: i32,
}

/// One object's row.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Row {
    cells: Vec<Value>,
    object: Value,
}

impl Table {
    /// Columns for its rows.
    pub(super) fn columns(&self, with_namespace: bool, wide: bool) -> Columns {
        let namespace = with_namespace.then_some("namespace");
        Columns::new(
            namespace.into_iter().chain(self.shown(wide).map(|(_, definition)| definition.name.as_str())),
        )
    }

    /// Adds its rows to columns that were made for such a table.
    pub(super) fn fill(&self, columns: &mut Columns, with_namespace: bool, wide: bool) {
        for row in &self.rows {
            let namespace = super::text(&row.object, &["metadata", "namespace"]).to_owned();
            let cells =
                self.shown(wide).map(|(index, _)| row.cells.get(index).map(shown).unwrap_or_default());
            columns.row(with_namespace.then_some(namespace).into_iter().chain(cells));
        }
    }

    /// Takes over the definitions of a table before it, where a watch gives them but once.
    pub(super) fn continue_from(&mut self, before: &Self) {
        if self.column_definitions.is_empty() {
            self.column_definitions.clone_from(&before.column_definitions);
        }
    }

    fn shown(&self, wide: bool) -> impl Iterator<Item = (usize, &Definition)> {
        self.column_definitions.iter().enumerate().filter(move |(_, column)| wide || column.priority == 0)
    }
}

impl Row {
    /// The object's name.
    fn name(&self) -> &str {
        let name = super::text(&self.object, &["metadata", "name"]);
        if name.is_empty() { self.cells.first().and_then(Value::as_str).unwrap_or_default() } else { name }
    }

    /// Keeps the revision of its object.
    pub(super) fn remember(&self, revision: &mut String) {
        let now = super::text(&self.object, &["metadata", "resourceVersion"]);
        if !now.is_empty() {
            now.clone_into(revision);
        }
    }

    /// Shows that the object is gone.
    pub(super) fn mark_deleted(&mut self) {
        let name = format!("{} (deleted)", self.name());
        if let Some(first) = self.cells.first_mut() {
            *first = name.into();
        }
    }
}

fn shown(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
