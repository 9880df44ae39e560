//! The unified difference of two texts, as `diff -u` writes it.

use std::io::Write;

use similar::{ChangeTag, TextDiff};

use crate::failure::{Failure, printable};
use crate::style::Style;

/// Writes the difference of two texts, each under its heading; whether there is any.
pub(super) fn write(
    out: &mut dyn Write,
    style: Style,
    headings: &[String; 2],
    [before, after]: [&str; 2],
) -> Result<bool, Failure> {
    if before == after {
        return Ok(false);
    }
    let diff = TextDiff::from_lines(before, after);
    writeln!(out, "{}", style.bold(&format!("--- {}", printable(&headings[0]))))?;
    writeln!(out, "{}", style.bold(&format!("+++ {}", printable(&headings[1]))))?;
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        writeln!(out, "{}", style.dim(&hunk.header().to_string()))?;
        for change in hunk.iter_changes() {
            let line = printable(change.value().trim_end_matches('\n'));
            let line = match change.tag() {
                ChangeTag::Delete => style.bad(&format!("-{line}")),
                ChangeTag::Insert => style.good(&format!("+{line}")),
                ChangeTag::Equal => format!(" {line}"),
            };
            writeln!(out, "{line}")?;
        }
    }
    Ok(true)
}
