//! `sealane explain`: why a packet passes, or does not.

use std::io::Write;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

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
An end is NAMESPACE/NAME of an endpoint (or NAME, in the namespace of -n), an address, `world` or `host`; the receiver has
a port, and a protocol unless it is TCP.

Examples:
  sealane explain shop/web shop/db:5432        may web reach db's port 5432?
  sealane explain web db:53/UDP -n shop        the same namespace for both
  sealane explain world shop/web:443           from outside
  sealane explain shop/web 192.0.2.7:443       to outside
  sealane explain shop/web shop/db:5432 --intent   what the policies ask for, without asking any node

The exit code is 0 whether it passes or not; with --check it is 1 if it does not.")]
pub(crate) struct Explain {
    /// Who begins
    from: String,

    /// With whom: END:PORT[/PROTOCOL]
    to: String,

    /// What the policies ask for, without asking any node
    #[arg(long)]
    intent: bool,

    /// End with 1 if it does not pass
    #[arg(long)]
    check: bool,
}

/// The server's answer, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    summary: String,
    allowed: bool,
    reason: Option<String>,
    network: String,
    default_allow: bool,
    from: End,
    to: End,
    egress: Option<Side>,
    ingress: Option<Side>,
    path: Value,
    faults: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct End {
    name: String,
    endpoint: Option<String>,
    address: Option<String>,
    node: Value,
    group: u16,
    group_is: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Side {
    verdict: String,
    words: String,
}

impl Explain {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let from = end(&self.from, settings)?;
        let (to, port) = receiver(&self.to)?;
        let to = format!("{}{port}", end(to, settings)?);
        let path = settings.place(None).of_fabric("explain");
        let query = Query::default()
            .with("from", &from)
            .with("to", &to)
            .with_some("intent", self.intent.then_some("true"));
        let value = settings.client()?.read(&query.on(&path))?;
        let mut out = output::screen();
        let answer: Answer = understood("explain", serde_json::from_value(value.clone()))?;
        match settings.output {
            Format::Json | Format::Yaml => output::document(&mut out, settings.output, &value)?,
            Format::Table | Format::Wide | Format::Name => {
                answer.tell(&mut out, Style::of(&std::io::stdout()))?
            }
        }
        if self.check && !answer.allowed { Err(Failure::Code(1)) } else { Ok(()) }
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

impl Answer {
    fn tell(&self, out: &mut dyn Write, style: Style) -> Result<(), Failure> {
        let word = if self.allowed { style.good("ALLOWED") } else { style.bad("DENIED") };
        writeln!(out, "{word} {}", printable(&self.summary))?;
        if let Some(reason) = &self.reason {
            writeln!(out, "  reason   {}", printable(reason))?;
        }
        writeln!(out, "  from     {}", self.from.words())?;
        writeln!(out, "  to       {}", self.to.words())?;
        let default = if self.default_allow { "allowed" } else { "denied" };
        writeln!(out, "  network  {}; what no policy speaks of is {default}", printable(&self.network))?;
        for (name, side) in [("egress", &self.egress), ("ingress", &self.ingress)] {
            let words = match side {
                None => "no endpoint of the fabric, so no policy".to_owned(),
                Some(side) if side.words.is_empty() => side.verdict.clone(),
                Some(side) => side.words.clone(),
            };
            writeln!(out, "  {name:<8} {}", printable(&words))?;
        }
        writeln!(out, "  path     {}", printable(&path_in_words(&self.path)))?;
        for fault in &self.faults {
            writeln!(out, "  {} {}", style.bad("fault   "), printable(&fault_in_words(fault)))?;
        }
        Ok(())
    }
}

impl End {
    fn words(&self) -> String {
        let mut words = self.endpoint.clone().unwrap_or_else(|| self.name.clone());
        if let Some(address) = self.address.as_ref().filter(|address| **address != words) {
            words.push_str(&format!(" ({address})"));
        }
        match &self.node {
            Value::String(node) => words.push_str(&format!(" on {node}")),
            Value::Number(node) => words.push_str(&format!(" on node {node}")),
            _ => {}
        }
        printable(&format!("{words}; group {}: {}", self.group, self.group_is))
    }
}

fn path_in_words(path: &Value) -> String {
    match path {
        Value::String(word) => match word.as_str() {
            "local" => "to an endpoint of the same node".to_owned(),
            "world" => "to the world, source-translated".to_owned(),
            "host" => "to the node itself".to_owned(),
            "nowhere" => "nowhere".to_owned(),
            other => other.to_owned(),
        },
        Value::Object(fields) => match fields.get("node") {
            Some(Value::String(name)) => format!("over the overlay to {name}"),
            Some(number) => format!("over the overlay to node {number}"),
            None => path.to_string(),
        },
        other => other.to_string(),
    }
}

fn fault_in_words(fault: &Value) -> String {
    fault.as_str().or(fault["message"].as_str()).map_or_else(|| fault.to_string(), str::to_owned)
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
    fn an_answer_tells_each_side_and_every_fault() {
        let answer: Answer = serde_json::from_value(json!({
            "summary": "shop/web to shop/db port 5432/TCP is denied", "allowed": false, "reason": "policy-denied",
            "network": "default", "defaultAllow": true,
            "from": {"name": "shop/web", "endpoint": "shop/web", "address": "10.0.0.2", "node": 1, "group": 256, "groupIs": "app=web"},
            "to": {"name": "shop/db", "endpoint": "shop/db", "node": "n2", "group": 257, "groupIs": "app=db"},
            "egress": {"verdict": "Default", "words": "no policy isolates it"},
            "ingress": {"verdict": "Deny", "words": "denied by NetworkPolicy shop/db"},
            "path": {"node": 2}, "faults": ["n2 says otherwise: allow"]})).unwrap();
        let mut out = Vec::new();
        answer.tell(&mut out, Style::PLAIN).unwrap();
        let expected = "\
DENIED shop/web to shop/db port 5432/TCP is denied
  reason   policy-denied
  from     shop/web (10.0.0.2) on node 1; group 256: app=web
  to       shop/db on n2; group 257: app=db
  network  default; what no policy speaks of is allowed
  egress   no policy isolates it
  ingress  denied by NetworkPolicy shop/db
  path     over the overlay to node 2
  fault    n2 says otherwise: allow
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
