//! `sealane drops`: what was dropped, why, and by which rule.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use fleet::inspect::{DropList, NamedDropSample};
use serde_json::json;

use super::{bytes, here, peer, tell_unanswered};
use crate::client::Query;
use crate::failure::Failure;
use crate::object::understood;
use crate::output::{self, Columns};
use crate::settings::{Format, Settings};

/// Show what was dropped, and why
///
/// Every drop has a reason; one that policy made names the object and the rule.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane drops                              how much, by reason and rule
  sealane drops --samples                    the latest packets
  sealane drops --watch --tenant acme        packets as they are dropped
  sealane drops --here                       of this host, without asking the server")]
pub(crate) struct Drops {
    /// On this node alone
    #[arg(long, value_name = "NAME", conflicts_with = "here")]
    node: Option<String>,

    /// The latest packets in place of counts
    #[arg(long)]
    samples: bool,

    /// Go on and show packets as they are dropped
    #[arg(short, long)]
    watch: bool,

    /// Ask the agent of this host
    #[arg(long)]
    here: bool,
}

impl Drops {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        if self.watch {
            return self.follow(settings);
        }
        let list = self.ask(settings)?;
        let mut out = output::screen();
        match settings.output {
            Format::Json | Format::Yaml => output::document(&mut out, settings.output, &json!(list))?,
            Format::Table | Format::Wide | Format::Name => {
                let mut columns =
                    if self.samples { samples() } else { counts(&list, settings.output == Format::Wide) };
                if self.samples {
                    fill(&mut columns, &list.samples);
                }
                columns.write(&mut out)?;
                tell_unanswered(&list.unanswered);
            }
        }
        if list.lost > 0 && self.samples {
            eprintln!("{} more packets were not kept for want of room", list.lost);
        }
        Ok(())
    }

    fn ask(&self, settings: &Settings) -> Result<DropList, Failure> {
        if self.here {
            return here::drops(settings);
        }
        let query = Query::default().with_some("tenant", settings.tenant.as_deref());
        let query = query.with_some("node", self.node.as_deref());
        let value = settings.client()?.read(&query.on("/fabric/v1/drops"))?;
        understood("drops", serde_json::from_value(value))
    }

    /// Shows new samples once a second. Nodes keep the latest, so what comes between is theirs to bound.
    fn follow(&self, settings: &Settings) -> Result<(), Failure> {
        let mut out = output::screen();
        let mut known = self.ask(settings)?.samples;
        let mut columns = samples();
        columns.write(&mut out)?;
        loop {
            std::thread::sleep(EVERY);
            let now = self.ask(settings)?.samples;
            let new: Vec<NamedDropSample> =
                now.iter().filter(|sample| !known.contains(sample)).cloned().collect();
            match settings.output {
                Format::Json | Format::Yaml => {
                    new.iter().try_for_each(|one| writeln!(out, "{}", json!(one)))?
                }
                Format::Table | Format::Wide | Format::Name => {
                    fill(&mut columns, &new);
                    columns.write_rows(&mut out)?;
                }
            }
            out.flush()?;
            known = now;
        }
    }
}

fn counts(list: &DropList, wide: bool) -> Columns {
    let plain = ["node", "tenant", "network", "reason", "packets", "bytes", "rule"];
    let mut columns = Columns::new(plain.into_iter().chain(wide.then_some("meaning")));
    for count in &list.counts {
        let cells = [
            count.node.clone(),
            count.tenant.clone().unwrap_or_default(),
            count.network.clone().unwrap_or_default(),
            count.reason.to_string(),
            count.traffic.packets.to_string(),
            bytes(count.traffic.bytes),
            count.rule.clone().unwrap_or_default(),
        ];
        columns.row(cells.into_iter().chain(wide.then(|| count.meaning.clone())));
    }
    columns
}

fn samples() -> Columns {
    Columns::new(["time", "node", "network", "protocol", "from", "to", "reason", "side", "rule"])
}

fn fill(columns: &mut Columns, samples: &[NamedDropSample]) {
    for sample in samples {
        columns.row([
            time(sample.time_ms),
            sample.node.clone(),
            sample.network.clone().unwrap_or_default(),
            sample.protocol.clone(),
            peer(&sample.source, false),
            peer(&sample.destination, false),
            sample.reason.to_string(),
            sample.direction.map(|side| side.to_string()).unwrap_or_default(),
            sample.rule.clone().unwrap_or_default(),
        ]);
    }
}

/// The time of day in UTC, to the millisecond.
fn time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{:03}Z", milliseconds % 1000)
}

const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_names_its_reason_and_its_rule() {
        let list: DropList = serde_json::from_value(json!({"lost": 0, "unanswered": [],
            "counts": [{"node": "n1", "tenant": "default", "network": "blue", "reason": "policy-denied", "meaning": "m",
                "rule": "NetworkPolicy shop/db ingress", "traffic": {"packets": 4, "bytes": 240}}],
            "samples": [{"node": "n1", "timeMs": 3_723_004u64, "tenant": "default", "network": "blue",
                "source": {"address": "10.0.0.2", "port": 4000, "endpoint": "shop/x"},
                "destination": {"address": "10.0.0.3", "port": 5432, "endpoint": "shop/db"}, "protocol": "TCP",
                "groups": [256, 257], "reason": "policy-denied", "rule": "NetworkPolicy shop/db ingress", "direction": "Ingress"}]})).unwrap();
        let text = |mut columns: Columns| {
            let mut out = Vec::new();
            columns.write(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let counted = text(counts(&list, true));
        assert!(
            counted.contains("policy-denied   4         240 B   NetworkPolicy shop/db ingress"),
            "{counted}"
        );
        let mut latest = samples();
        fill(&mut latest, &list.samples);
        let sampled = text(latest);
        assert!(sampled.contains("01:02:03.004Z"), "{sampled}");
        assert!(sampled.contains("shop/x:4000   shop/db:5432   policy-denied   ingress"), "{sampled}");
    }
}
