//! How answers are shown: tables, JSON, YAML, progress.

mod columns;
mod progress;

use std::io::{self, Write};

use serde_json::Value;

use crate::failure::Failure;
use crate::settings::Format;

pub(crate) use columns::Columns;
pub(crate) use progress::Progress;

/// Writes a document as JSON or YAML.
pub(crate) fn document(out: &mut dyn Write, format: Format, value: &Value) -> Result<(), Failure> {
    let text = if format == Format::Yaml { yaml(value) } else { format!("{value:#}\n") };
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// A document as YAML.
pub(crate) fn yaml(value: &Value) -> String {
    let text = serde_saphyr::to_string(value).expect("JSON values have YAML");
    if text.ends_with('\n') { text } else { text + "\n" }
}

/// The standard output.
pub(crate) fn screen() -> io::StdoutLock<'static> {
    io::stdout().lock()
}
