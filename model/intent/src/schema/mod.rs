//! The form of documents: one descriptor tree per kind, from which come the checks of structure, the unknown-field
//! problems, the defaults, OpenAPI in both versions, the definitions of custom resources, and the reference.
//!
//! Promises: what passes [`check`] has every required field, every value of the described type and syntax, and no field
//! that the tree does not know (they are reported and removed). What ties values to each other is judged where the kind is
//! parsed; where a [`Rule`] can say it too, clients learn it beforehand.

mod check;
mod format;
mod openapi;
mod word;

pub use format::Format;
pub use openapi::{Definitions, Dialect, openapi};
pub use word::{constraints, facts, type_name};

pub(crate) use check::check;
pub(crate) use format::range;

/// The form of a value.
#[derive(Debug)]
pub struct Schema {
    /// What it means, for a reader.
    pub about: &'static str,
    /// What it looks like.
    pub shape: Shape,
    /// What ties its parts to each other.
    pub rules: &'static [Rule],
    /// What OpenAPI calls it where several schemas share it.
    pub part: Option<&'static Part>,
}

/// What ties values to each other, so that a client or another server can judge it (`x-kubernetes-validations`). The parser
/// judges the same, with better words.
#[derive(Debug)]
pub struct Rule {
    /// In CEL, `self` being the value; with `oldSelf` it is about updates.
    pub expression: &'static str,
    /// What is wrong where it does not hold.
    pub message: &'static str,
}

/// A form that several schemas share.
#[derive(Debug)]
pub struct Part {
    /// Its name among OpenAPI's definitions.
    pub name: &'static str,
    /// What it means wherever it stands.
    pub about: &'static str,
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
        /// What tells them apart.
        identity: Identity,
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

/// What tells the elements of a list apart, and so how a patch changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nothing: a patch replaces the list whole.
    None,
    /// Their values: a patch adds and removes values.
    Value,
    /// These fields: a patch merges elements that agree in them.
    Fields(&'static [&'static str]),
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
    /// The document is wrong, but a client may leave it to the server, which fills it in before the document is read.
    Served,
    /// This text is put there.
    Text(&'static str),
    /// An empty object is put there.
    EmptyObject,
}

impl Schema {
    const fn new(about: &'static str, shape: Shape) -> Self {
        Self { about, shape, rules: &[], part: None }
    }

    /// An object that knows only these fields.
    pub const fn object(about: &'static str, fields: &'static [Field]) -> Self {
        Self::new(about, Shape::Object { fields, open: false })
    }

    /// An object that keeps fields beyond these.
    pub const fn open(about: &'static str, fields: &'static [Field]) -> Self {
        Self::new(about, Shape::Object { fields, open: true })
    }

    /// A map from text to text.
    pub const fn map(about: &'static str, keys: Format, values: Format) -> Self {
        Self::new(about, Shape::Map { keys, values })
    }

    /// A list of any length that a request can hold.
    pub const fn list(about: &'static str, items: &'static Schema) -> Self {
        Self::list_of(about, items, 0, usize::MAX)
    }

    /// A list with bounds on its length, both included.
    pub const fn list_of(about: &'static str, items: &'static Schema, least: usize, most: usize) -> Self {
        Self::new(about, Shape::List { items, least, most, identity: Identity::None })
    }

    /// A list whose elements are told apart by these fields.
    pub const fn list_by(
        about: &'static str,
        items: &'static Schema,
        fields: &'static [&'static str],
    ) -> Self {
        let identity = Identity::Fields(fields);
        Self::new(about, Shape::List { items, least: 0, most: usize::MAX, identity })
    }

    /// A list whose order and repetitions mean nothing.
    pub const fn set(about: &'static str, items: &'static Schema) -> Self {
        Self::new(about, Shape::List { items, least: 0, most: usize::MAX, identity: Identity::Value })
    }

    /// A text.
    pub const fn text(about: &'static str, format: Format) -> Self {
        Self::new(about, Shape::Text(format))
    }

    /// A whole number within bounds, both included.
    pub const fn number(about: &'static str, least: i64, most: i64) -> Self {
        Self::new(about, Shape::Number { least, most })
    }

    /// A whole number within bounds, both included, or a text.
    pub const fn number_or_text(about: &'static str, least: i64, most: i64, format: Format) -> Self {
        Self::new(about, Shape::NumberOrText { least, most, format })
    }

    /// True or false.
    pub const fn flag(about: &'static str) -> Self {
        Self::new(about, Shape::Flag)
    }

    /// Whatever it is.
    pub const fn anything(about: &'static str) -> Self {
        Self::new(about, Shape::Anything)
    }

    /// The same, held to rules.
    #[must_use]
    pub const fn held_to(self, rules: &'static [Rule]) -> Self {
        Self { rules, ..self }
    }

    /// The same, known by a name in OpenAPI.
    #[must_use]
    pub const fn known_as(self, part: &'static Part) -> Self {
        Self { part: Some(part), ..self }
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

    /// A field that must be there once the server has filled in what clients may leave to it.
    pub const fn served(name: &'static str, schema: Schema) -> Self {
        Self { name, schema, absent: Absent::Served }
    }

    /// A field that is put there when it is not written.
    pub const fn preset(name: &'static str, schema: Schema, absent: Absent) -> Self {
        Self { name, schema, absent }
    }
}
