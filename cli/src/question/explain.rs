//! `sealane explain`: why a packet passes, or does not.

use std::io::Write;

use clap::Args;
use compile::{End, Explanation, SideTold};
use fleet::inspect::NodeJudgement;
use record::inspect::Path;
use record::{Decision, Verdict};
use serde::Deserialize;

use super::protocol;
use crate::client::Query;
use crate::failure::{Failure, printable};
use crate::object::understood;
use crate::output;
use crate::settings::{Format, Settings};
use crate::style::Style;

/// Tell why traffic passes, or does not
///
/// The answer is the datapath's own, asked at the nodes of both ends, beside what the policies ask for; where the two differ,
/// that is told as a fault. It names the object and the rule that decide on each side.
#[derive(Args, Debug)]
#[command(after_help = "\
An end is NAMESPACE/NAME of an endpoint (or NAME, in the namespace of -n), an address, `world`
or `host`. The receiver has a port, and a protocol unless it is TCP; without a port, ICMP is meant.

Examples:
  sealane explain shop/web shop/db:5432        may web reach db's port 5432?
  sealane explain web db:53/UDP -n shop        the same namespace for both
  sealane explain world shop/web:443           from outside
  sealane explain shop/web 192.0.2.7:443       to outside
  sealane explain web db:80 --intent           what the policies ask for, asking no node

The exit code is 0 whether it passes or not; with --check it is 1 if it does not.")]
pub(crate) struct Explain {
    /// Who begins
    from: String,

    /// With whom: END:PORT[/PROTOCOL]
    to: String,

    /// In this network, where the two share several
    #[arg(long, value_name = "NAME")]
    network: Option<String>,

    /// What the policies ask for, without asking any node
    #[arg(long)]
    intent: bool,

    /// End with 1 if it does not pass
    #[arg(long)]
    check: bool,
}

/// The server's answer ([`fleet::inspect::Explained`]), as far as it is shown.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(flatten)]
    explanation: Explanation,
    nodes: (Option<String>, Option<String>),
    datapath: Vec<NodeJudgement>,
    faults: Vec<String>,
}

impl Explain {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let from = end(&self.from, settings)?;
        let (to, port) = receiver(&self.to)?;
        let to = format!("{}{port}", end(to, settings)?);
        let path = settings.place(None).of_fabric("explain");
        let query = Query::default().with("from", &from).with("to", &to);
        let query = query.with_some("network", self.network.as_deref());
        let query = query.with_some("intent", self.intent.then_some("true"));
        let value = settings.client()?.read(&query.on(&path))?;
        let mut out = output::screen();
        let answer: Answer = understood("explain", serde_json::from_value(value.clone()))?;
        match settings.output {
            Format::Json | Format::Yaml => output::document(&mut out, settings.output, &value)?,
            Format::Table | Format::Wide | Format::Name => {
                tell(&mut out, Style::of(&std::io::stdout()), &answer)?
            }
        }
        if self.check && !passes(&answer) { Err(Failure::Code(1)) } else { Ok(()) }
    }
}

/// Splits the receiver's port off: `:PORT[/PROTOCOL]` stays as it is written. IPv6 addresses stand in brackets before a port.
fn receiver(text: &str) -> Result<(&str, &str), Failure> {
    let cut = match text.rfind(']') {
        Some(bracket) => text[bracket..].find(':').map(|colon| bracket + colon),
        None if text.matches(':').count() > 1 => None,
        None => text.rfind(':'),
    };
    let (end, port) = text.split_at(cut.unwrap_or(text.len()));
    let number = port.trim_start_matches(':').split('/').next().unwrap_or_default();
    if !port.is_empty() && number.parse::<u16>().is_err() {
        let message = format!("{number:?} in {text:?} is no port");
        return Err(Failure::usage(
            message,
            "write the receiver as NAMESPACE/NAME:PORT[/PROTOCOL], such as shop/db:5432/TCP",
        ));
    }
    Ok((end, port))
}

/// An end as the server reads it: an endpoint has its namespace.
fn end(text: &str, settings: &Settings) -> Result<String, Failure> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    let stands_alone = matches!(text, "world" | "host") || plain.parse::<std::net::IpAddr>().is_ok();
    match (stands_alone, text.split_once('/')) {
        (_, _) if text.is_empty() => Err(Failure::usage(
            "an end is empty",
            "name an endpoint as NAMESPACE/NAME, an address, world or host",
        )),
        (false, None) => Ok(format!("{}/{text}", settings.namespace())),
        _ => Ok(text.to_owned()),
    }
}

/// Whether it passes: the policies allow it, and no node that was asked says otherwise.
fn passes(answer: &Answer) -> bool {
    answer.explanation.allowed && answer.datapath.iter().all(|told| told.judgement.passes)
}

fn tell(out: &mut dyn Write, style: Style, answer: &Answer) -> Result<(), Failure> {
    let told = &answer.explanation;
    let word = if told.allowed { style.good("ALLOWED") } else { style.bad("DENIED") };
    let port = if told.port == 0 { String::new() } else { format!("{}/", told.port) };
    writeln!(out, "{word} {port}{}: {}", protocol(told.protocol), printable(&told.summary))?;
    if let Some(reason) = told.reason {
        writeln!(out, "  reason    {reason}: {}", reason.meaning())?;
    }
    writeln!(out, "  from      {}", end_in_words(&told.from, answer.nodes.0.as_deref()))?;
    writeln!(out, "  to        {}", end_in_words(&told.to, answer.nodes.1.as_deref()))?;
    let default = if told.default_allow { "allowed" } else { "denied" };
    writeln!(out, "  network   {}; what no policy speaks of is {default}", printable(&told.network))?;
    writeln!(out, "  egress    {}", side_in_words(told.egress.as_ref()))?;
    writeln!(out, "  ingress   {}", side_in_words(told.ingress.as_ref()))?;
    writeln!(out, "  path      {}", path_in_words(told, answer.nodes.1.as_deref()))?;
    for one in &answer.datapath {
        writeln!(out, "  datapath  {}", judgement_in_words(one))?;
    }
    for fault in &answer.faults {
        writeln!(out, "  {}     {}", style.bad("fault"), printable(fault))?;
    }
    Ok(())
}

fn end_in_words(end: &End, node: Option<&str>) -> String {
    let mut words = end.endpoint.clone().unwrap_or_else(|| end.name.clone());
    if let Some(address) = end.address.map(|address| address.to_string()).filter(|address| *address != words)
    {
        words.push_str(&format!(" ({address})"));
    }
    if let Some(range) = end.range {
        words.push_str(&format!(" of {range}"));
    }
    if let Some(node) = node {
        words.push_str(&format!(" on {node}"));
    }
    words.push_str(&match (&end.endpoint, end.selectors.is_empty()) {
        (Some(_), true) => format!("; group {}: endpoints that no policy names", end.group),
        (Some(_), false) => format!("; group {}: {}: {}", end.group, end.group_is, end.selectors.join("; ")),
        (None, _) => format!("; group {}: {}", end.group, end.group_is),
    });
    printable(&words)
}

fn side_in_words(side: Option<&SideTold>) -> String {
    side.map_or_else(|| "no endpoint of the fabric, so no policy".to_owned(), |side| printable(&side.words))
}

fn path_in_words(told: &Explanation, receiver: Option<&str>) -> String {
    match (told.path, receiver) {
        (Path::Local, _) => "to an endpoint of the same node".to_owned(),
        (Path::Node(_), Some(name)) => format!("over the overlay to {name}"),
        (Path::Node(number), None) => format!("over the overlay to node {number}"),
        (Path::World, _) => "to the world, source-translated".to_owned(),
        (Path::Host, _) => "to the node itself".to_owned(),
        (Path::Nowhere, _) => "nowhere".to_owned(),
    }
}

/// What one node's maps say: whether it passes there, and each side that is judged there.
fn judgement_in_words(one: &NodeJudgement) -> String {
    let told = &one.judgement;
    let word = if told.passes { "passes" } else { "is dropped" };
    let reason = told.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let side = |name: &str, decision: Decision| {
        let word = match decision.verdict {
            Verdict::Default => "no policy",
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        format!("; {name}: {word}")
    };
    let egress = told.egress.map(|judged| side("egress", judged.decision)).unwrap_or_default();
    let ingress = told.ingress.map(|judged| side("ingress", judged.decision)).unwrap_or_default();
    printable(&format!("{}: it {word}{reason}{egress}{ingress}", one.node))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_port_is_the_receivers() {
        for (text, expected) in [
            ("shop/db:5432/TCP", ("shop/db", ":5432/TCP")),
            ("db", ("db", "")),
            ("192.0.2.1:53/UDP", ("192.0.2.1", ":53/UDP")),
            ("[fd00::1]:80", ("[fd00::1]", ":80")),
            ("fd00::1", ("fd00::1", "")),
            ("world:443", ("world", ":443")),
        ] {
            assert_eq!(receiver(text).unwrap(), expected);
        }
        assert_eq!(receiver("shop/db:http").unwrap_err().code(), 2);
    }

    #[test]
    fn an_answer_tells_each_side_each_node_and_every_fault() {
        let rule = json!({"tenant": 1, "id": 7, "kind": "NetworkPolicy", "namespace": "shop", "name": "db",
            "direction": "Ingress", "index": null});
        let end = |name: &str, node: u32, group: u16| {
            json!({"name": name, "uid": "u", "endpoint": name, "node": node, "address": "10.0.0.2", "range": null,
                "group": group, "groupIs": "endpoints", "selectors": ["app=web"], "ports": []})
        };
        let judgement = json!({"generation": 3, "sender": 256, "receiver": 257, "egress": null,
            "ingress": {"ruleSet": 4, "decision": {"verdict": "Allow", "rule": 2}}, "path": "local", "passes": true, "reason": null});
        let answer: Answer = serde_json::from_value(json!({
            "tenant": 1, "vni": 9, "network": "blue", "defaultAllow": true, "protocol": 6, "port": 5432,
            "from": end("shop/web", 1, 256), "to": end("shop/db", 2, 257),
            "egress": {"ruleSet": 0, "verdict": "Default", "rule": null, "words": "no policy isolates it"},
            "ingress": {"ruleSet": 4, "verdict": "Deny", "rule": rule, "words": "denied by NetworkPolicy shop/db"},
            "path": {"node": 2}, "allowed": false, "reason": "policy-denied", "rule": rule, "summary": "shop/web may not",
            "nodes": ["n1", "n2"], "datapath": [{"node": "n2", "judgement": judgement}],
            "faults": ["n2 lets it pass"]}))
        .unwrap();
        let mut out = Vec::new();
        tell(&mut out, Style::PLAIN, &answer).unwrap();
        let expected = "\
DENIED 5432/TCP: shop/web may not
  reason    policy-denied: a policy's rule, or a policy's isolation, denies it
  from      shop/web (10.0.0.2) on n1; group 256: endpoints: app=web
  to        shop/db (10.0.0.2) on n2; group 257: endpoints: app=web
  network   blue; what no policy speaks of is allowed
  egress    no policy isolates it
  ingress   denied by NetworkPolicy shop/db
  path      over the overlay to n2
  datapath  n2: it passes; ingress: allow
  fault     n2 lets it pass
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(!passes(&answer));
    }
}
