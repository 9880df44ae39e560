//! The form of documents: one descriptor tree per kind, from which come the checks of structure, the unknown-field
//! problems, the defaults and the OpenAPI schema.
//!
//! Promises: what passes [`check`] has every required field, every value of the described type and syntax, and no field
//! that the tree does not know (they are reported and removed). What ties values to each other is not said here but where
//! the kind is parsed.

mod check;
mod format;
mod openapi;

pub use format::Format;
pub use openapi::openapi;

pub(crate) use check::check;
pub(crate) use format::range;

/// The form of a value.
#[derive(Debug)]
pub struct Schema {
    /// What it means, for a reader.
    pub about: &'static str,
    /// What it looks like.
    pub shape: Shape,
}

/// What a value looks like.
#[derive(Debug)]
pub enum Shape {
    /// An object with these fields.
    Object {
        /// In the order in which people write them.
        fields: &'static [Field],
        /// Whether fields beyond these are kept.
        open: bool,
    },
    /// A map from text to text.
    Map {
        /// The syntax of its keys.
        keys: Format,
        /// The syntax of its values.
        values: Format,
    },
    /// A list.
    List {
        /// Its elements.
        items: &'static Schema,
        /// How few there may be.
        least: usize,
        /// How many there may be.
        most: usize,
    },
    /// A text.
    Text(Format),
    /// A whole number within bounds, both included.
    Number {
        /// The smallest.
        least: i64,
        /// The largest.
        most: i64,
    },
    /// A whole number within bounds, or a text: Kubernetes' `IntOrString`.
    NumberOrText {
        /// The smallest number.
        least: i64,
        /// The largest number.
        most: i64,
        /// The syntax of the text.
        format: Format,
    },
    /// True or false.
    Flag,
    /// Whatever it is.
    Anything,
}

/// A field of an object.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its form.
    pub schema: Schema,
    /// What holds when it is not written.
    pub absent: Absent,
}

/// What holds when a field is not written (or is `null`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Nothing; it is optional.
    Stays,
    /// The document is wrong.
    Refused,
    /// This text is put there.
    Text(&'static str),
    /// An empty object is put there.
    EmptyObject,
}

impl Schema {
    /// An object that knows only these fields.
    pub const fn object(about: &'static str, fields: &'static [Field]) -> Self {
        Self { about, shape: Shape::Object { fields, open: false } }
    }

    /// An object that keeps fields beyond these.
    pub const fn open(about: &'static str, fields: &'static [Field]) -> Self {
        Self { about, shape: Shape::Object { fields, open: true } }
    }

    /// A map from text to text.
    pub const fn map(about: &'static str, keys: Format, values: Format) -> Self {
        Self { about, shape: Shape::Map { keys, values } }
    }

    /// A list of any length that a request can hold.
    pub const fn list(about: &'static str, items: &'static Schema) -> Self {
        Self { about, shape: Shape::List { items, least: 0, most: usize::MAX } }
    }

    /// A list with bounds on its length, both included.
    pub const fn list_of(about: &'static str, items: &'static Schema, least: usize, most: usize) -> Self {
        Self { about, shape: Shape::List { items, least, most } }
    }

    /// A text.
    pub const fn text(about: &'static str, format: Format) -> Self {
        Self { about, shape: Shape::Text(format) }
    }

    /// A whole number within bounds, both included.
    pub const fn number(about: &'static str, least: i64, most: i64) -> Self {
        Self { about, shape: Shape::Number { least, most } }
    }

    /// True or false.
    pub const fn flag(about: &'static str) -> Self {
        Self { about, shape: Shape::Flag }
    }

    /// Whatever it is.
    pub const fn anything(about: &'static str) -> Self {
        Self { about, shape: Shape::Anything }
    }

    /// The field of this name, where the value is an object.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        match self.shape {
            Shape::Object { fields, .. } => fields.iter().find(|field| field.name == name),
            _ => None,
        }
    }
}

impl Field {
    /// A field that may be left out.
    pub const fn optional(name: &'static str, schema: Schema) -> Self {
        Self { name, schema, absent: Absent::Stays }
    }

    /// A field that must be written.
    pub const fn required(name: &'static str, schema: Schema) -> Self {
        Self { name, schema, absent: Absent::Refused }
    }

    /// A field that is put there when it is not written.
    pub const fn preset(name: &'static str, schema: Schema, absent: Absent) -> Self {
        Self { name, schema, absent }
    }
}
