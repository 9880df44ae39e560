//! Where tokens and revocations are kept: a few named values that outlive the process. Whoever owns the server's store makes them
//! objects in it.

use futures_util::future::BoxFuture;
use serde_json::Value;

/// Named values with compare-and-set. One shelf holds one kind of thing.
pub trait Shelf: Send + Sync + 'static {
    /// Everything on it.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Slip>, ShelfError>>;

    /// The value of this name, if there is one.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Slip>, ShelfError>>;

    /// Writes the value if the name's revision is still the one expected (`None`: there is no such name), and answers whether it
    /// was. What was written is durable.
    fn put<'a>(
        &'a self,
        name: &'a str,
        value: Value,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<bool, ShelfError>>;

    /// Takes the value away, and answers whether there was one.
    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, ShelfError>>;
}

/// One value on a [`Shelf`].
#[derive(Clone, Debug, PartialEq)]
pub struct Slip {
    /// Its name: a to z, 0 to 9, `-` and `.`, at most 63 characters.
    pub name: String,
    /// What was put there.
    pub value: Value,
    /// Another one after each put.
    pub revision: u64,
}

/// The home of a shelf failed.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// It cannot be read or written.
    #[error("{operation} {name} where tokens and certificates are noted")]
    Failed {
        /// `read`, `write`.
        operation: &'static str,
        /// Of what.
        name: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is there cannot be understood: a newer version wrote it, or it is damaged.
    #[error(
        "the note {name} cannot be understood: a newer version wrote it, or it is damaged; delete it or upgrade"
    )]
    Unreadable {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Slip {
    /// The value as what it is meant to be.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, ShelfError> {
        serde_json::from_value(self.value.clone())
            .map_err(|source| ShelfError::Unreadable { name: self.name.clone(), source })
    }
}

/// A value as a shelf takes it.
pub(crate) fn note<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("notes have string keys and finite numbers")
}
