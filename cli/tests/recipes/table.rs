//! Truth tables as text: a row for each sender, a column for each receiver, a letter in the cell for each port that is open.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is open from whom to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    columns: Vec<String>,
    /// The cells of each row, in the order of the columns.
    rows: BTreeMap<String, Vec<String>>,
}

impl Table {
    /// Reads a table: the first line names the columns, who are the senders too, each other one a sender and its cells: letters,
    /// `*` for everything, `-` for nothing. The cells of `others` are those of every sender that has no line.
    ///
    /// # Panics
    /// If a line has not as many cells as there are columns, or a sender has two lines or none.
    pub(crate) fn read(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let columns: Vec<String> = words(lines.next().expect("a table has a head"));
        let mut rows = BTreeMap::new();
        for line in lines {
            let mut cells = words(line);
            let row = cells.remove(0);
            assert_eq!(cells.len(), columns.len(), "{line}");
            assert!(row == OTHERS || columns.contains(&row), "{line}: no such sender");
            assert!(rows.insert(row, cells).is_none(), "{line} twice");
        }
        let others = rows.remove(OTHERS);
        for column in &columns {
            if !rows.contains_key(column) {
                let cells = others.clone().unwrap_or_else(|| panic!("{column} has no line"));
                rows.insert(column.clone(), cells);
            }
        }
        Self { columns, rows }
    }

    /// Whether this letter is open.
    ///
    /// # Panics
    /// If the table lacks the row or the column.
    pub(crate) fn is_open(&self, from: &str, to: &str, letter: char) -> bool {
        let column = self.columns.iter().position(|column| column == to);
        let column = column.unwrap_or_else(|| panic!("the table has no column {to}"));
        let row = self.rows.get(from).unwrap_or_else(|| panic!("the table has no row {from}"));
        row[column] == "*" || row[column].contains(letter)
    }

    /// The same rows and columns, with what `open` says of every letter.
    pub(crate) fn measured(&self, letters: &str, open: impl Fn(&str, &str, char) -> bool) -> Self {
        let cell = |from: &str, to: &str| {
            let found: String = letters.chars().filter(|letter| open(from, to, *letter)).collect();
            match found.as_str() {
                "" => "-".to_owned(),
                all if all == letters => "*".to_owned(),
                some => some.to_owned(),
            }
        };
        let row =
            |from: &String| (from.clone(), self.columns.iter().map(|to| cell(from, to)).collect::<Vec<_>>());
        Self { columns: self.columns.clone(), rows: self.rows.keys().map(row).collect() }
    }

    /// The rows in which the two differ, the other's below this one's.
    pub(crate) fn diff(&self, other: &Self) -> String {
        let mut text = format!("{:>10} {}\n", "", padded(&self.columns));
        for (name, row) in self.rows.iter().filter(|(name, row)| other.rows.get(*name) != Some(row)) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- {name:>8} {}", padded(row));
            let _ = writeln!(text, "+ {name:>8} {}", padded(&other.rows[name]));
        }
        text
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn padded(cells: &[String]) -> String {
    cells.iter().map(|cell| format!("{cell:6} ")).collect::<String>().trim_end().to_owned()
}

const OTHERS: &str = "others";

#[test]
fn a_table_says_which_letters_are_open_and_where_another_differs() {
    let table = Table::read("   a  b\n b hp -\n others *  -");
    assert!(table.is_open("a", "a", 'x') && !table.is_open("a", "b", 'x'));
    assert!(table.is_open("b", "a", 'h') && !table.is_open("b", "a", 'd'));
    let measured = table.measured("hp", |from, to, letter| (from, to) == ("b", "a") && letter == 'h');
    let diff = table.diff(&measured);
    assert!(diff.contains("- ") && diff.contains("hp") && diff.lines().count() == 5, "{diff}");
}
