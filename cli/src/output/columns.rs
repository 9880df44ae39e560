//! Columns for people: headings in capitals, cells aligned, nothing cut off.

use std::io::{self, Write};

use crate::failure::printable;

/// A table as it is filled.
#[derive(Debug)]
pub(crate) struct Columns {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Rows that come later keep to these widths as well as they can.
    widths: Vec<usize>,
}

impl Columns {
    pub(crate) fn new(headings: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let headings: Vec<String> = headings.into_iter().map(|name| name.as_ref().to_uppercase()).collect();
        let widths = headings.iter().map(|name| width(name)).collect();
        Self { headings, rows: Vec::new(), widths }
    }

    /// Adds a row; line breaks and control characters in cells are made visible.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| cell_text(cell.as_ref())).collect();
        for (known, cell) in self.widths.iter_mut().zip(&cells) {
            *known = (*known).max(width(cell));
        }
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes headings and rows.
    pub(crate) fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.write_line(out, &self.headings)?;
        self.write_rows(out)
    }

    /// Writes the rows that were added since the last time.
    pub(crate) fn write_rows(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for row in std::mem::take(&mut self.rows) {
            self.write_line(out, &row)?;
        }
        out.flush()
    }

    fn write_line(&self, out: &mut dyn Write, cells: &[String]) -> io::Result<()> {
        let mut line = String::new();
        for (cell, wanted) in cells.iter().zip(&self.widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', wanted.saturating_sub(width(cell)) + GAP));
        }
        writeln!(out, "{}", line.trim_end())
    }
}

fn cell_text(cell: &str) -> String {
    let text = printable(cell).replace(['\n', '\t'], " ");
    if text.is_empty() { "<none>".to_owned() } else { text }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

const GAP: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned_and_cannot_steer_a_terminal() {
        let mut columns = Columns::new(["name", "age"]);
        columns.row(["longer-name", "1d"]);
        columns.row(["a\u{1b}[31m\nb", ""]);
        let mut out = Vec::new();
        columns.write(&mut out).unwrap();
        let expected = "NAME          AGE\nlonger-name   1d\na\u{fffd}[31m b      <none>\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(columns.is_empty());
    }
}
