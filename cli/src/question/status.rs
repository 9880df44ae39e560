//! `sealane status`: how the fabric is, node by node.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use fleet::inspect::{FabricStatus, NodeStatus};
use record::inspect::MapFill;
use serde_json::json;

use super::{duration, here};
use crate::failure::{Failure, count, printable};
use crate::object::understood;
use crate::output::{self, Columns, Progress};
use crate::settings::{Format, Settings};
use crate::style::Style;

/// Tell how the fabric is
///
/// For every node: whether its agent is connected, which generation of its state it should hold and which it holds, and why
/// the two differ; and what is in force there, but not as somebody wished.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane status
  sealane status --wait                      until every connected node holds what it should
  sealane status -o wide                     kernels, versions, how full the maps are
  sealane status --here                      this host's agent, without asking the server")]
pub(crate) struct Status {
    /// Wait until every connected node holds what it should
    #[arg(short, long, conflicts_with = "here")]
    wait: bool,

    /// With --wait: at most so long, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,

    /// Ask the agent of this host
    #[arg(long)]
    here: bool,
}

impl Status {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        if self.here {
            return here_status(settings);
        }
        let status = if self.wait { self.settled(settings)? } else { ask(settings)? };
        let mut out = output::screen();
        match settings.output {
            Format::Json | Format::Yaml => output::document(&mut out, settings.output, &json!(status)),
            Format::Name => Ok(status.nodes.iter().try_for_each(|node| writeln!(out, "{}", node.name))?),
            Format::Table | Format::Wide => {
                tell(&mut out, Style::of(&std::io::stdout()), &status, settings.output == Format::Wide)
            }
        }
    }

    fn settled(&self, settings: &Settings) -> Result<FabricStatus, Failure> {
        let began = Instant::now();
        let mut progress = Progress::new();
        loop {
            let status = ask(settings)?;
            let behind: Vec<&str> =
                status.nodes.iter().filter(|node| lags(node)).map(|node| node.name.as_str()).collect();
            if behind.is_empty() && status.changes_under_way == 0 {
                return Ok(status);
            }
            if began.elapsed() > Duration::from_secs(self.timeout) {
                let what = "that every connected node holds what it should".to_owned();
                let remedy = "`sealane status` says which does not, and why".to_owned();
                return Err(Failure::Late { what, seconds: self.timeout, remedy });
            }
            progress.show(&format!(
                "waiting for {}",
                if behind.is_empty() { "changes".to_owned() } else { behind.join(", ") }
            ));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn ask(settings: &Settings) -> Result<FabricStatus, Failure> {
    let value = settings.client()?.read("/fabric/v1/status")?;
    understood("status", serde_json::from_value(value))
}

fn lags(node: &NodeStatus) -> bool {
    node.connected && node.generation_held != node.generation_wanted
}

fn tell(out: &mut dyn Write, style: Style, status: &FabricStatus, wide: bool) -> Result<(), Failure> {
    writeln!(
        out,
        "{}, {}, {}, {}; revision {}",
        count(status.tenants, "tenant"),
        count(status.networks, "network"),
        count(status.endpoints, "endpoint"),
        count(status.nodes.len(), "node"),
        status.revision
    )?;
    if status.changes_under_way + status.policies_changing > 0 {
        let (changes, policies) = (status.changes_under_way, status.policies_changing);
        let changes = count(changes, "change");
        let policies = count(policies, "tenant");
        writeln!(
            out,
            "{} {changes} under way; policies of {policies} between two states",
            style.odd("changing:")
        )?;
    }
    for problem in &status.problems {
        writeln!(out, "{} {}", style.bad("problem:"), printable(problem))?;
    }
    if !status.nodes.is_empty() {
        writeln!(out)?;
        nodes(status, wide).write(out)?;
    }
    for node in status.nodes.iter().filter(|node| !node.behind_because.is_empty()) {
        writeln!(out, "{} {}: {}", style.odd("behind:"), node.name, printable(&node.behind_because))?;
    }
    for node in &status.nodes {
        for problem in &node.problems {
            writeln!(out, "{} {}: {}", style.odd("unfit:"), node.name, printable(problem))?;
        }
    }
    Ok(())
}

fn nodes(status: &FabricStatus, wide: bool) -> Columns {
    let plain = ["node", "agent", "since", "held", "wanted", "endpoints"];
    let more = ["underlay", "records", "mtu", "kernel", "software", "fullest map"];
    let mut columns = Columns::new(plain.iter().chain(if wide { &more[..] } else { &[] }));
    for node in &status.nodes {
        let cells = [
            node.name.clone(),
            if node.connected { "connected" } else { "away" }.to_owned(),
            duration(node.since_seconds * 1000),
            generation(node.generation_held.0),
            generation(node.generation_wanted.0),
            node.endpoints.to_string(),
        ];
        let underlay: Vec<String> = node.underlay.iter().map(ToString::to_string).collect();
        let more = [
            underlay.join(","),
            node.records.to_string(),
            if node.mtu == 0 { String::new() } else { node.mtu.to_string() },
            node.kernel.clone(),
            node.software.clone(),
            node.fill.iter().max_by_key(|fill| percent(fill)).map(filled).unwrap_or_default(),
        ];
        columns.row(cells.into_iter().chain(more.into_iter().filter(|_| wide)));
    }
    columns
}

/// A generation as `START.COUNT`: the server's start counter and the count within it.
fn generation(number: u64) -> String {
    format!("{}.{}", number >> 32, number & 0xffff_ffff)
}

fn percent(fill: &MapFill) -> u64 {
    fill.used.saturating_mul(100) / fill.capacity.max(1)
}

fn filled(fill: &MapFill) -> String {
    format!("{} {}%", fill.map, percent(fill))
}

fn here_status(settings: &Settings) -> Result<(), Failure> {
    let (state, attachments) = (here::state(settings)?, here::attachments(settings)?);
    let mut out = output::screen();
    let style = Style::of(&std::io::stdout());
    if matches!(settings.output, Format::Json | Format::Yaml) {
        let both = json!({"state": state, "attachments": attachments});
        return output::document(&mut out, settings.output, &both);
    }
    writeln!(
        out,
        "generation {} with {}",
        generation(state.generation.0),
        count(attachments.len(), "attachment")
    )?;
    for problem in &state.problems {
        writeln!(out, "{} {}", style.odd("unfit:"), printable(problem))?;
    }
    if !attachments.is_empty() {
        writeln!(out)?;
        let mut columns =
            Columns::new(["endpoint", "tenant", "network", "addresses", "interface", "container", "judged"]);
        for one in &attachments {
            let addresses: Vec<String> =
                one.addresses.iter().map(|address| address.address.to_string()).collect();
            let judged = if one.judged { "yes" } else { "not yet" };
            columns.row([
                format!("{}/{}", one.namespace, one.name).as_str(),
                &one.tenant,
                &one.network,
                &addresses.join(","),
                &one.host_interface,
                &one.container,
                judged,
            ]);
        }
        columns.write(&mut out)?;
    }
    if settings.output == Format::Wide && !state.fill.is_empty() {
        writeln!(out)?;
        let mut columns = Columns::new(["map", "used", "capacity", "full"]);
        for fill in &state.fill {
            columns.row([
                fill.map.clone(),
                fill.used.to_string(),
                fill.capacity.to_string(),
                format!("{}%", percent(fill)),
            ]);
        }
        columns.write(&mut out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_lags_or_is_unfit_is_told_with_the_reason() {
        let status: FabricStatus = serde_json::from_value(json!({"revision": 9, "tenants": 1, "networks": 1, "endpoints": 2,
            "changesUnderWay": 1, "policiesChanging": 0, "problems": ["p"], "nodes": [{"name": "n1", "number": 1,
            "underlay": ["172.31.0.1"], "connected": true, "sinceSeconds": 5, "generationWanted": 4_294_967_303u64,
            "generationHeld": 4_294_967_302u64, "behindBecause": "it has not acknowledged", "records": 7, "endpoints": 2,
            "kernel": "6.18", "software": "0.1.0", "mtu": 1500, "fill": [{"map": "flows", "used": 5, "capacity": 10}],
            "problems": ["network red has an MTU of 1500"]}]})).unwrap();
        assert!(lags(&status.nodes[0]));
        let mut out = Vec::new();
        tell(&mut out, Style::PLAIN, &status, true).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(
                "1 tenant, 1 network, 2 endpoints, 1 node; revision 9\nchanging: 1 change under way"
            ),
            "{text}"
        );
        assert!(text.contains("n1     connected   5s      1.6    1.7      2"), "{text}");
        assert!(
            text.contains("flows 50%") && text.contains("\nbehind: n1: it has not acknowledged\n"),
            "{text}"
        );
        assert!(text.ends_with("\nunfit: n1: network red has an MTU of 1500\n"), "{text}");
    }
}
