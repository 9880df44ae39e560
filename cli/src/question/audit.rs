//! `sealane audit`: who changed what, and who was refused.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use fleet::inspect::AuditList;
use serde_json::{Value, json};

use crate::client::{Client, Query};
use crate::failure::Failure;
use crate::object::understood;
use crate::output::{self, Columns};
use crate::settings::{Format, Settings};

/// Show who changed what, and who was refused
///
/// Every write and every refusal is told once, newest last, from all files that the server keeps: who, from where, what, what came
/// of it, and what it changed. With --tenant it is asked of that tenant, for its administrators and auditors; without, of all. JSON
/// and YAML give the events whole (audit.k8s.io/v1).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane audit                              the newest hundred
  sealane audit --since 1h --refused         who was refused in the last hour, and why
  sealane audit --object netpol/shop/db      what became of a policy, and by whom
  sealane audit --user alice --tenant acme -o json
  sealane audit -f                           go on as it happens")]
pub(crate) struct Audit {
    /// By this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// About this object: NAME, KIND/NAME, NAMESPACE/NAME or KIND/NAMESPACE/NAME
    #[arg(long, value_name = "OBJECT")]
    object: Option<String>,

    /// With this verb: create, update, patch, delete, connect, …
    #[arg(long, value_name = "VERB")]
    verb: Option<String>,

    /// Since this time: 30m, 1h, 7days ago, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Refusals alone
    #[arg(long)]
    refused: bool,

    /// The newest so many, up to 1000
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    limit: u32,

    /// Go on and show what happens
    #[arg(short, long)]
    follow: bool,
}

impl Audit {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let client = settings.client()?;
        let list = self.ask(settings, &client, self.since.as_deref(), self.limit)?;
        let mut out = output::screen();
        if self.follow {
            return self.go_on(settings, &client, &list.events, &mut out);
        }
        match settings.output {
            Format::Json | Format::Yaml => output::document(&mut out, settings.output, &json!(list))?,
            Format::Table | Format::Wide | Format::Name => {
                let mut columns = columns();
                list.events.iter().for_each(|event| columns.row(row(event)));
                columns.write(&mut out)?;
            }
        }
        if list.more {
            eprintln!("there are older ones: ask for more with --limit, or for less");
        }
        if list.unreadable > 0 {
            eprintln!("{} lines of the audit's files cannot be read", list.unreadable);
        }
        Ok(())
    }

    fn ask(
        &self,
        settings: &Settings,
        client: &Client,
        since: Option<&str>,
        limit: u32,
    ) -> Result<AuditList, Failure> {
        let query = Query::default()
            .with_some("tenant", settings.tenant.as_deref())
            .with_some("user", self.user.as_deref())
            .with_some("object", self.object.as_deref())
            .with_some("verb", self.verb.as_deref())
            .with_some("since", since)
            .with("refused", self.refused.to_string())
            .with("limit", limit.to_string());
        understood("events", serde_json::from_value(client.read(&query.on("/fabric/v1/audit"))?))
    }

    /// Asks once a second for what was noted since the newest that was shown, that one's instant included.
    fn go_on(
        &self,
        settings: &Settings,
        client: &Client,
        first: &[Value],
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let mut columns = columns();
        let table = !matches!(settings.output, Format::Json | Format::Yaml);
        if table {
            columns.write(out)?;
        }
        let mut shown: BTreeSet<String> = BTreeSet::new();
        let mut since = self.since.clone();
        let mut events = first.to_vec();
        loop {
            for event in events.iter().filter(|event| !shown.contains(&event.to_string())) {
                if table { columns.row(row(event)) } else { writeln!(out, "{event}")? }
            }
            columns.write_rows(out)?;
            out.flush()?;
            if let Some(newest) = events.last().and_then(|event| event["stageTimestamp"].as_str()) {
                since = Some(newest.to_owned());
                shown = events.iter().map(Value::to_string).collect();
            }
            std::thread::sleep(EVERY);
            let list = self.ask(settings, client, since.as_deref(), MOST)?;
            if list.more {
                eprintln!("more has happened than is told at once: ask for less, or see the server's files");
            }
            events = list.events;
        }
    }
}

fn columns() -> Columns {
    Columns::new(["time", "who", "from", "verb", "object", "outcome", "what changed"])
}

fn row(event: &Value) -> [String; 7] {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let time = text("/stageTimestamp");
    let from = match text("/sourceIPs/0") {
        none if none.is_empty() => "the socket".to_owned(),
        address => address,
    };
    let seconds = time.split_once('.').map_or(time.as_str(), |(seconds, _)| seconds);
    [
        format!("{seconds}Z"),
        text("/user/username"),
        from,
        text("/verb"),
        object(event),
        outcome(event),
        change(event),
    ]
}

/// `TENANT: RESOURCE/NAMESPACE/NAME`, or the path where it is about no object.
fn object(event: &Value) -> String {
    let reference = &event["objectRef"];
    let parts = ["resource", "namespace", "name", "subresource"];
    let parts: Vec<&str> = parts.iter().filter_map(|part| reference[*part].as_str()).collect();
    let tenant = event["annotations"]["sealane.dev/tenant"].as_str();
    match (parts.is_empty(), tenant) {
        (true, _) => event["requestURI"].as_str().unwrap_or_default().to_owned(),
        (false, Some(tenant)) => format!("{tenant}: {}", parts.join("/")),
        (false, None) => parts.join("/"),
    }
}

fn outcome(event: &Value) -> String {
    let status = &event["responseStatus"];
    match (status["code"].as_u64(), status["reason"].as_str()) {
        (Some(code), Some(reason)) => format!("{code} {reason}"),
        (Some(code), None) => code.to_string(),
        (None, _) => "about to happen".to_owned(),
    }
}

/// What a write changed, field by field, as far as a line has room; of a refusal, why.
fn change(event: &Value) -> String {
    if let Some(message) = event["responseStatus"]["message"].as_str() {
        return message.to_owned();
    }
    let annotation = event["annotations"]["sealane.dev/before"].as_str();
    let before: Option<Value> = annotation.and_then(|text| serde_json::from_str(text).ok());
    let after = event.get("responseObject").filter(|after| !after.is_null());
    if let Some(left_out) = event["annotations"]["sealane.dev/left-out"].as_str() {
        return format!("too large to keep: {left_out}");
    }
    match (before, after) {
        (None, None) if event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=")) => {
            "nothing: a dry run".to_owned()
        }
        (None, None) => "-".to_owned(),
        (None, Some(_)) => "new".to_owned(),
        (Some(_), None) => "gone".to_owned(),
        (Some(before), Some(after)) => {
            let mut changes = Vec::new();
            compare("", &before, after, &mut changes);
            let more = changes.len().saturating_sub(SHOWN);
            changes.truncate(SHOWN);
            let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
            format!("{}{rest}", changes.join(", "))
        }
    }
}

fn compare(path: &str, before: &Value, after: &Value, changes: &mut Vec<String>) {
    match (before, after) {
        (one, other) if one == other || OF_THE_SERVER.contains(&path) => {}
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned();
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&inner, &of(one).unwrap_or_default(), &of(other).unwrap_or_default(), changes);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}[{index}]"), one, other, changes);
            }
        }
        (one, other) => changes.push(format!("{path}: {} → {}", short(one), short(other))),
    }
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What every write changes, and what `apply` keeps of the same change.
const OF_THE_SERVER: &[&str] = &[
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.annotations.kubectl.kubernetes.io/last-applied-configuration",
    "apiVersion",
    "kind",
];
/// Fields that a line tells.
const SHOWN: usize = 3;
/// Characters of a value that a line tells.
const LONGEST: usize = 60;
const EVERY: Duration = Duration::from_secs(1);
const MOST: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_who_did_what_and_what_it_changed() {
        let policy = |port: u16| json!({ "metadata": { "resourceVersion": port.to_string() }, "spec": { "ports": [{ "port": port }] } });
        let event = json!({
            "stageTimestamp": "2026-01-31T12:00:00.123456Z", "user": { "username": "alice" },
            "sourceIPs": ["192.0.2.7"], "verb": "patch", "requestURI": "/x", "responseStatus": { "code": 200 },
            "objectRef": { "resource": "networkpolicies", "namespace": "shop", "name": "db" },
            "annotations": { "sealane.dev/tenant": "acme", "sealane.dev/before": policy(80).to_string() },
            "responseObject": policy(443),
        });
        let expected = [
            "2026-01-31T12:00:00Z",
            "alice",
            "192.0.2.7",
            "patch",
            "acme: networkpolicies/shop/db",
            "200",
            "spec.ports[0].port: 80 → 443",
        ];
        assert_eq!(row(&event), expected);
    }

    #[test]
    fn a_refusal_tells_why_and_a_path_stands_for_itself() {
        let event = json!({
            "stageTimestamp": "2026-01-31T12:00:00.123456Z", "user": { "username": "system:anonymous" },
            "sourceIPs": [], "verb": "get", "requestURI": "/../etc", "objectRef": null,
            "responseStatus": { "code": 401, "reason": "Unauthorized", "message": "show a certificate" },
            "annotations": {},
        });
        let row = row(&event);
        assert_eq!(row[2..], ["the socket", "get", "/../etc", "401 Unauthorized", "show a certificate"]);
    }

    #[test]
    fn many_changes_are_counted_and_long_ones_cut() {
        let before = json!({ "a": 1, "b": 1, "c": 1, "d": "x".repeat(99), "e": 1 });
        let after = json!({ "a": 2, "b": 2, "c": 2, "d": 1, "e": 2 });
        let mut changes = Vec::new();
        compare("", &before, &after, &mut changes);
        assert_eq!(changes.len(), 5);
        assert!(changes[3].len() < 80 && changes[3].ends_with("… → 1"), "{}", changes[3]);
        let event =
            json!({ "annotations": { "sealane.dev/before": before.to_string() }, "responseObject": after });
        assert_eq!(change(&event), "a: 1 → 2, b: 1 → 2, c: 1 → 2, and 2 more");
    }
}
