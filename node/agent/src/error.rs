//! Why an agent stops, and how an error is shown.

use std::error::Error as StdError;

/// An error with its causes: `operation: cause: its cause`.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
