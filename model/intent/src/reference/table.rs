//! Tables of Markdown, and of fields.

use std::fmt;

use crate::schema::{Absent, Field, Schema, Shape, constraints, type_name};

/// A table with a heading.
pub(super) struct Table(Vec<String>);

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        let mut table = Self(Vec::new());
        table.row(heading);
        table.0.push(format!("|{}", "---|".repeat(heading.len())));
        table
    }

    /// A table whose rows are fields.
    pub(super) fn of_fields() -> Self {
        Self::new(&["field", "type", "default", "constraints", "meaning"])
    }

    pub(super) fn row(&mut self, cells: &[&str]) {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        self.0.push(format!("| {} |", cells.join(" | ")));
    }

    /// A field and everything below it.
    pub(super) fn field(&mut self, above: &str, field: &Field) {
        let path = format!("{above}{}", field.name);
        let default = match field.absent {
            Absent::Stays => String::new(),
            Absent::Refused | Absent::Served => "required".to_owned(),
            Absent::Text(text) => format!("`{text}`"),
            Absent::EmptyObject => "`{}`".to_owned(),
        };
        let held = constraints(&field.schema).join(" ");
        let kind = type_name(&field.schema);
        self.row(&[&format!("`{path}`"), &kind, &default, &held, field.schema.about]);
        self.inside(&path, &field.schema);
    }

    fn inside(&mut self, path: &str, schema: &Schema) {
        match schema.shape {
            Shape::Object { fields, .. } => {
                for field in fields {
                    self.field(&format!("{path}."), field);
                }
            }
            Shape::List { items, .. } => {
                if !items.rules.is_empty() {
                    let held = constraints(items).join(" ");
                    self.row(&[&format!("`{path}[]`"), &type_name(items), "", &held, items.about]);
                }
                self.inside(&format!("{path}[]"), items);
            }
            _ => {}
        }
    }
}

/// The fields of an object.
pub(super) fn top(schema: &Schema) -> &'static [Field] {
    match schema.shape {
        Shape::Object { fields, .. } => fields,
        _ => &[],
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}
