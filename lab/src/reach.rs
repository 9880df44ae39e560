//! Who reaches whom: a truth table, measured and compared with what is expected.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::panic;
use std::thread;
use std::time::Duration;

use record::Protocol;

use crate::error::Result;
use crate::namespace::Namespace;
use crate::probe::{Outcome, Probe};

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
        Probe { protocol: self.protocol, to: SocketAddr::new(self.address, self.port) }
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
    /// error is the whole table with the cells that differ.
    pub fn check(&self, expected: impl Fn(&str, &Target) -> bool) -> Result<(), Mismatch> {
        let mut wrong = Vec::new();
        for (from, row) in self.sources.iter().zip(&self.rows) {
            for (to, outcome) in self.targets.iter().zip(row) {
                let wanted = expected(from, to);
                let answered = matches!(outcome, Outcome::Answered { .. });
                if wanted != outcome.answered_by(&to.name) || answered && !wanted {
                    let wanted = if wanted { "reaches" } else { "does not reach" };
                    wrong.push(format!("{from} {wanted} {to}, as expected; measured: {outcome}"));
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Mismatch { wrong, table: self.to_string() }) }
    }
}

/// A truth table that is not as expected. `Debug` prints what `Display` does.
#[derive(thiserror::Error)]
#[error("{} of the cells differ:\n{}\n{table}", wrong.len(), wrong.join("\n"))]
pub struct Mismatch {
    /// The cells, each with what was expected and what was measured.
    pub wrong: Vec<String>,
    /// The whole table.
    pub table: String,
}

impl fmt::Debug for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |to: &Target, outcome: &Outcome| match outcome {
            Outcome::Answered { by, .. } if *by == to.name => "yes".to_owned(),
            Outcome::Answered { by, .. } => format!("wrong: {by}"),
            Outcome::Silent => "no".to_owned(),
            other => format!("no: {other}"),
        };
        let mut lines = vec![vec![String::new()]];
        lines[0].extend(self.targets.iter().map(ToString::to_string));
        for (from, row) in self.sources.iter().zip(&self.rows) {
            let cells = self.targets.iter().zip(row).map(|(to, outcome)| cell(to, outcome));
            lines.push(std::iter::once(from.clone()).chain(cells).collect());
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=self.targets.len()).map(width).collect();
        for line in &lines {
            let cells: Vec<String> =
                line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Each source has a thread and up to 400 descriptors.
const SOURCES_AT_ONCE: usize = 16;

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
