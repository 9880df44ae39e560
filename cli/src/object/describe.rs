//! `sealane describe`: all that is known of objects, for people.

use std::io::Write;

use clap::Args;
use intent::{Kind, Parsed, parse};
use serde_json::Value;

use super::merge::LAST_APPLIED;
use super::{Wanted, place, policy, text, wanted};
use crate::client::{Client, ClientError};
use crate::failure::{Failure, printable};
use crate::output::{self, Columns};
use crate::settings::Settings;
use crate::style::Style;

/// Tell all that is known of objects
///
/// A policy is put into words, and every condition says why it holds or does not.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane describe netpol web -n shop        what a policy says, in words, and whether every node has it
  sealane describe vnet blue                 a network's subnets and state
  sealane describe node n1                   why a node lags behind")]
pub(crate) struct Describe {
    /// KIND [NAME...], or KIND/NAME...; without names all of the kind
    #[arg(value_name = "KIND", required = true)]
    words: Vec<String>,
}

impl Describe {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let all = wanted(&self.words)?;
        let client = settings.client()?;
        let mut out = output::screen();
        let style = Style::of(&std::io::stdout());
        let mut first = true;
        for one in &all {
            for object in objects(&client, settings, one)? {
                if !std::mem::take(&mut first) {
                    writeln!(out)?;
                }
                describe(&mut out, style, one.kind, &object)?;
            }
        }
        if first {
            let namespace = all.iter().find_map(|one| super::namespace_of(one.kind, settings.namespace()));
            place::check(&client, settings, namespace)?;
            eprintln!("nothing found");
        }
        Ok(())
    }
}

fn objects(client: &Client, settings: &Settings, one: &Wanted) -> Result<Vec<Value>, Failure> {
    let home = settings.place(super::namespace_of(one.kind, settings.namespace()));
    if one.names.is_empty() {
        let list = client.read(&home.of_all(one.kind))?;
        return Ok(list["items"].as_array().cloned().unwrap_or_default());
    }
    let objects: Result<_, _> = one.names.iter().map(|name| client.read(&home.of(one.kind, name))).collect();
    objects.or_else(|error: ClientError| {
        if error.is_missing() {
            place::check(client, settings, home.namespace)?;
        }
        Err(error.into())
    })
}

fn describe(out: &mut dyn Write, style: Style, kind: Kind, object: &Value) -> Result<(), Failure> {
    let metadata = &object["metadata"];
    writeln!(out, "{} {}", style.bold(&kind.to_string()), printable(text(metadata, &["name"])))?;
    for (heading, field) in [
        ("Namespace", "namespace"),
        ("Created", "creationTimestamp"),
        ("Deleting since", "deletionTimestamp"),
    ] {
        let value = text(metadata, &[field]);
        if !value.is_empty() {
            writeln!(out, "  {heading}: {}", printable(value))?;
        }
    }
    pairs(out, "Labels", &metadata["labels"])?;
    pairs(out, "Annotations", &metadata["annotations"])?;
    let spec = &object["spec"];
    match parse(kind, object) {
        Ok(Parsed::NetworkPolicy(parsed)) => {
            for line in policy::words(&parsed) {
                writeln!(out, "  {line}")?;
            }
        }
        _ if spec.as_object().is_some_and(|spec| !spec.is_empty()) => {
            writeln!(out, "  {}", style.bold("Spec"))?;
            indented(out, spec)?;
        }
        _ => {}
    }
    status(out, style, &object["status"])
}

fn pairs(out: &mut dyn Write, heading: &str, map: &Value) -> Result<(), Failure> {
    let entries = map.as_object().into_iter().flatten().filter(|(key, _)| *key != LAST_APPLIED);
    let lines: Vec<String> = entries
        .map(|(key, value)| printable(&format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    if !lines.is_empty() {
        writeln!(out, "  {heading}: {}", lines.join(", "))?;
    }
    Ok(())
}

fn indented(out: &mut dyn Write, value: &Value) -> Result<(), Failure> {
    for line in output::yaml(value).lines() {
        writeln!(out, "    {}", printable(line))?;
    }
    Ok(())
}

/// What the server has seen: the conditions as a table, the rest as it is.
fn status(out: &mut dyn Write, style: Style, status: &Value) -> Result<(), Failure> {
    let Some(fields) = status.as_object() else { return Ok(()) };
    let mut rest = fields.clone();
    let conditions = rest.remove("conditions");
    if !rest.is_empty() {
        writeln!(out, "  {}", style.bold("Status"))?;
        indented(out, &Value::Object(rest))?;
    }
    let conditions = conditions.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if conditions.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {}", style.bold("Conditions"))?;
    let mut columns = Columns::new(["    type", "status", "since", "reason", "message"]);
    for condition in conditions {
        let name = format!("    {}", text(condition, &["type"]));
        let rest =
            ["status", "lastTransitionTime", "reason", "message"].map(|field| text(condition, &[field]));
        columns.row([name.as_str()].into_iter().chain(rest));
    }
    Ok(columns.write(out)?)
}
