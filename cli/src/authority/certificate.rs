//! `sealane certificate`: which nodes are certified, and what is believed no longer.

use std::io::Write;

use clap::{Args, Subcommand};
use fleet::ledger::{Ledger, Revoke};
use http::Method;
use serde_json::json;

use super::time;
use crate::client::{Ask, JSON};
use crate::failure::Failure;
use crate::object::understood;
use crate::output::{self, Columns};
use crate::settings::{Format, Settings};

/// List the nodes' certificates, and revoke what is to be believed no longer
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane certificate list
  sealane certificate revoke n2 --reason 'stolen'")]
pub(crate) struct Certificate {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the newest certificate of each node, and what is revoked
    #[command(after_help = "Examples:\n  sealane certificate list\n  sealane certificate list -o json")]
    List,
    Revoke(RevokeArgs),
}

/// Revoke certificates: their holders are cut off at once
///
/// A node that is cut off keeps forwarding what it holds, under the policy that was last in force, and hears of nothing new. It comes back
/// with a new token.
#[derive(Args, Debug)]
#[command(
    name = "revoke",
    after_help = "\
Examples:
  sealane certificate revoke n2 --reason 'stolen'
  sealane certificate revoke --user alice
  sealane certificate revoke --serial 1f8a…"
)]
struct RevokeArgs {
    /// A node: all that it has been certified for until now
    #[arg(required_unless_present_any = ["user", "serial"], conflicts_with_all = ["user", "serial"])]
    node: Option<String>,

    /// A user: all that they have been certified for until now
    #[arg(long, value_name = "NAME", conflicts_with = "serial")]
    user: Option<String>,

    /// One certificate, by its number
    #[arg(long, value_name = "NUMBER")]
    serial: Option<String>,

    /// Why; whoever is refused is told
    #[arg(long, value_name = "TEXT", default_value = "revoked by an operator")]
    reason: String,
}

impl Certificate {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        match &self.command {
            Command::List => list(settings),
            Command::Revoke(revoke) => revoke.run(settings),
        }
    }
}

impl RevokeArgs {
    fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let reason = self.reason.clone();
        let (revoke, what) = match (&self.node, &self.user, &self.serial) {
            (_, _, Some(serial)) => {
                (Revoke::Serial { serial: serial.clone(), reason }, format!("certificate {serial}"))
            }
            (_, Some(user), _) => (Revoke::User { name: user.clone(), reason }, format!("user {user}")),
            (node, ..) => {
                let node = node.as_deref().unwrap_or_default();
                (Revoke::User { name: format!("system:node:{node}"), reason }, format!("node {node}"))
            }
        };
        let body = json!(revoke);
        settings.client()?.ask(&Ask::act(Method::POST, REVOKE.to_owned(), Some((JSON, &body))))?;
        Ok(writeln!(output::screen(), "{what} revoked")?)
    }
}

fn list(settings: &Settings) -> Result<(), Failure> {
    let value = settings.client()?.read(LIST)?;
    let mut out = output::screen();
    if matches!(settings.output, Format::Json | Format::Yaml) {
        return output::document(&mut out, settings.output, &value);
    }
    let ledger: Ledger = understood("the list of certificates", serde_json::from_value(value))?;
    if settings.output == Format::Name {
        return Ok(ledger.certificates.iter().try_for_each(|one| writeln!(out, "{}", one.node))?);
    }
    let mut columns = Columns::new(["node", "serial", "issued", "until", "revoked"]);
    for one in &ledger.certificates {
        let revoked = one.revoked.clone().unwrap_or_default();
        columns.row([&one.node, &one.serial, &time(one.issued), &time(one.until), &revoked]);
    }
    columns.write(&mut out)?;
    if !ledger.revocations.is_empty() {
        writeln!(out)?;
        let mut columns = Columns::new(["revoked", "at", "reason"]);
        for one in &ledger.revocations {
            columns.row([&one.of, &time(one.at), &one.reason]);
        }
        columns.write(&mut out)?;
    }
    Ok(())
}

const LIST: &str = "/fabric/v1/certificates";
const REVOKE: &str = "/fabric/v1/revocations";
