//! Who reaches whom: a truth table, measured and compared with what is expected.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::panic;
use std::thread;
use std::time::Duration;

use record::Protocol;

use crate::error::Result;
use crate::namespace::Namespace;
use crate::probe::{Outcome, Probe, SOURCES_AT_ONCE};

/// A row: somebody who probes.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub namespace: Namespace,
}

/// A column: somebody who is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name by which it must answer.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl Target {
    fn probe(&self) -> Probe {
        Probe { protocol: self.protocol, to: SocketAddr::new(self.address, self.port), from: None }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.address.is_ipv4() { 4 } else { 6 };
        write!(f, "{}:{}/{} v{family}", self.name, self.port, self.protocol)
    }
}

/// A measured truth table.
#[derive(Clone, Debug)]
pub struct Reach {
    sources: Vec<String>,
    targets: Vec<Target>,
    /// A row for each source, a cell for each target.
    rows: Vec<Row>,
}

type Row = Vec<Outcome>;

impl Reach {
    /// Probes every target from every source, all at once, and gives each probe at most `limit`.
    pub fn measure(sources: &[Source], targets: &[Target], limit: Duration) -> Result<Self> {
        let probes: Vec<Probe> = targets.iter().map(Target::probe).collect();
        let mut rows = Vec::with_capacity(sources.len());
        for sources in sources.chunks(SOURCES_AT_ONCE) {
            let measured: Vec<Result<Row>> = thread::scope(|scope| {
                let from = |source: &'_ Source| Probe::send(&probes, &source.namespace, limit);
                let threads: Vec<_> =
                    sources.iter().map(|source| scope.spawn(move || from(source))).collect();
                let joined = threads
                    .into_iter()
                    .map(|one| one.join().unwrap_or_else(|fault| panic::resume_unwind(fault)));
                joined.collect()
            });
            for row in measured {
                rows.push(row?);
            }
        }
        let sources = sources.iter().map(|source| source.name.clone()).collect();
        Ok(Self { sources, targets: targets.to_vec(), rows })
    }

    /// What came of one probe; `None` for a name that is not in the table.
    pub fn outcome(&self, from: &str, to: &Target) -> Option<&Outcome> {
        let row = self.sources.iter().position(|name| name == from)?;
        let column = self.targets.iter().position(|target| target == to)?;
        Some(&self.rows[row][column])
    }

    /// Whether the table is as expected: `expected(from, to)` says whether `to` answers, itself and nobody else. The
    /// error names the cells that differ and shows the table, as far as it fits, of their rows and columns.
    pub fn check(&self, expected: impl Fn(&str, &Target) -> bool) -> Result<(), Mismatch> {
        let mut wrong = Vec::new();
        let (mut rows, mut columns) = (BTreeSet::new(), BTreeSet::new());
        for (row, (from, outcomes)) in self.sources.iter().zip(&self.rows).enumerate() {
            for (column, (to, outcome)) in self.targets.iter().zip(outcomes).enumerate() {
                let wanted = expected(from, to);
                let answered = matches!(outcome, Outcome::Answered { .. });
                if wanted != outcome.answered_by(&to.name) || answered && !wanted {
                    let wanted = if wanted { "reach" } else { "not reach" };
                    wrong.push(format!("{from} should {wanted} {to}; measured: {outcome}"));
                    rows.insert(row);
                    columns.insert(column);
                }
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let rows: Vec<usize> = rows.into_iter().take(SHOWN_ROWS).collect();
        let columns: Vec<usize> = columns.into_iter().take(SHOWN_COLUMNS).collect();
        let count = wrong.len();
        wrong.truncate(SHOWN_CELLS);
        Err(Mismatch { count, wrong, table: self.part(&rows, &columns) })
    }

    /// The cells of these rows and columns as text.
    fn part(&self, rows: &[usize], columns: &[usize]) -> String {
        let cell = |row: usize, column: usize| match &self.rows[row][column] {
            Outcome::Answered { by, .. } if *by == self.targets[column].name => "yes".to_owned(),
            Outcome::Answered { by, .. } => format!("wrong: {by}"),
            Outcome::Silent => "no".to_owned(),
            other => format!("no: {other}"),
        };
        let head = columns.iter().map(|column| self.targets[*column].to_string());
        let mut lines = vec![std::iter::once(String::new()).chain(head).collect::<Vec<_>>()];
        for row in rows {
            let cells = columns.iter().map(|column| cell(*row, *column));
            lines.push(std::iter::once(self.sources[*row].clone()).chain(cells).collect());
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=columns.len()).map(width).collect();
        let line = |line: &Vec<String>| {
            let cells: Vec<String> =
                line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("{}\n", cells.join("  ").trim_end())
        };
        lines.iter().map(line).collect()
    }
}

/// A truth table that is not as expected. `Debug` prints what `Display` does.
#[derive(thiserror::Error)]
#[error("{count} cells differ, the first are:\n{}\n{table}", wrong.join("\n"))]
pub struct Mismatch {
    /// How many cells differ.
    pub count: usize,
    /// The first of them, each with what was expected and what was measured.
    pub wrong: Vec<String>,
    /// The first rows and columns in which a cell differs.
    pub table: String,
}

impl fmt::Debug for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, columns): (Vec<_>, Vec<_>) =
            ((0..self.sources.len()).collect(), (0..self.targets.len()).collect());
        f.write_str(&self.part(&rows, &columns))
    }
}

const SHOWN_CELLS: usize = 20;
const SHOWN_ROWS: usize = 20;
const SHOWN_COLUMNS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn table(outcome: Outcome) -> (Reach, Target) {
        let to = Target {
            name: "shop".to_owned(),
            address: IpAddr::from([10, 0, 0, 1]),
            protocol: Protocol::Tcp,
            port: 80,
        };
        (Reach { sources: vec!["web".to_owned()], targets: vec![to.clone()], rows: vec![vec![outcome]] }, to)
    }

    #[test]
    fn an_answer_by_somebody_else_is_wrong_whatever_is_expected() {
        let seen = "10.0.0.2:1".parse().unwrap();
        let (reach, _) = table(Outcome::Answered { by: "thief".to_owned(), seen });
        for expected in [true, false] {
            let fault = format!("{:?}", reach.check(|_, _| expected).unwrap_err());
            assert!(fault.contains("wrong: thief") && fault.contains("shop:80/TCP v4"), "{fault}");
        }
    }

    #[test]
    fn a_large_table_that_differs_is_shown_in_part() {
        let (reach, to) = table(Outcome::Silent);
        let targets: Vec<Target> = (0..300).map(|port| Target { port, ..to.clone() }).collect();
        let reach = Reach { rows: vec![vec![Outcome::Silent; 300]], targets, ..reach };
        let fault = reach.check(|_, to| to.port != 7).unwrap_err();
        let text = fault.to_string();
        assert_eq!(fault.count, 299);
        assert!(text.contains("web should reach shop:0/TCP v4; measured: silent"), "{text}");
        assert!(!text.contains("shop:7/TCP") && text.len() < 4000, "{text}");
    }

    #[test]
    fn the_table_says_yes_no_and_why() {
        let seen = "10.0.0.2:1".parse().unwrap();
        let (reach, to) = table(Outcome::Answered { by: "shop".to_owned(), seen });
        assert_eq!(reach.to_string(), "     shop:80/TCP v4\nweb  yes\n");
        reach.check(|_, _| true).unwrap();
        reach.check(|_, _| false).unwrap_err();
        assert!(reach.outcome("web", &to).is_some() && reach.outcome("nobody", &to).is_none());
        let (reach, _) = table(Outcome::Failed(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(reach.to_string(), "     shop:80/TCP v4\nweb  no: connection refused\n");
        reach.check(|_, _| false).unwrap();
    }
}
