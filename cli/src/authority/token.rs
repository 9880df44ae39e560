//! `sealane token`: what lets in a host that has no certificate yet, and what stands for a person or program that has none.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use fleet::ledger::{MadeToken, TokenEntry, TokenOrder, Whom};
use http::Method;
use serde_json::json;

use super::time;
use crate::client::{Ask, JSON};
use crate::failure::Failure;
use crate::object::understood;
use crate::output::{self, Columns};
use crate::settings::{Format, Settings};

/// Make, list and delete tokens
///
/// A token lets a host join as a node, or stands for a user of the API. Its secret is shown once, when it is made.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane token create --for node
  sealane token create --for user alice --group developers --ttl 30d
  sealane token list")]
pub(crate) struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    /// List the tokens, without their secrets
    #[command(after_help = "Examples:\n  sealane token list\n  sealane token list -o json")]
    List,
    /// Delete tokens; what they let in stays in (see `sealane certificate revoke`)
    #[command(after_help = "Examples:\n  sealane token delete abcdefg234")]
    Delete {
        /// Their public names: the part before the first dot
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// Make a token and print it
///
/// It holds the fingerprint of the server's root: a host that joins with it speaks to this server and to nobody in between.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane token create --for node                       for one host, under any name that is free
  sealane token create --for node --name n2             for the node n2 alone, also in place of the host that is n2 now
  sealane token create --for node --many --ttl 10m      for many hosts
  sealane token create --for user alice --group developers --ttl 30d")]
struct Create {
    /// For a host that joins (node), or for a user of the API (user NAME)
    #[arg(long = "for", num_args = 1..=2, required = true, value_names = ["node|user", "NAME"])]
    whom: Vec<String>,

    /// With --for node: the only name that it may have
    #[arg(long, value_name = "NODE")]
    name: Option<String>,

    /// With --for node: more than one host may join with it
    #[arg(long)]
    many: bool,

    /// With --for user: a group that the user is in
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,

    /// How long it is good: 30m, 1h, 7d
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = life)]
    ttl: Duration,
}

impl Token {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        match &self.command {
            Command::Create(create) => create.run(settings),
            Command::List => list(settings),
            Command::Delete { ids } => {
                let client = settings.client()?;
                for id in ids {
                    client.ask(&Ask::act(Method::DELETE, format!("{PATH}/{}", plain(id)?), None))?;
                    writeln!(output::screen(), "token {id} deleted")?;
                }
                Ok(())
            }
        }
    }
}

impl Create {
    fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let order = json!(TokenOrder { whom: self.whom()?, seconds: self.ttl.as_secs() });
        let ask = Ask::act(Method::POST, PATH.to_owned(), Some((JSON, &order)));
        let value = settings.client()?.ask(&ask)?.value;
        let made: MadeToken = understood("the token", serde_json::from_value(value.clone()))?;
        let mut out = output::screen();
        match settings.output {
            Format::Json | Format::Yaml => output::document(&mut out, settings.output, &value),
            Format::Name => Ok(writeln!(out, "{}", made.id)?),
            Format::Table | Format::Wide => Ok(writeln!(out, "{}", made.token)?),
        }
    }

    fn whom(&self) -> Result<Whom, Failure> {
        let words: Vec<&str> = self.whom.iter().map(String::as_str).collect();
        match words[..] {
            ["node"] if self.groups.is_empty() => Ok(Whom::Node { name: self.name.clone(), many: self.many }),
            ["user", name] if self.name.is_none() && !self.many => {
                Ok(Whom::User { name: name.to_owned(), groups: self.groups.clone() })
            }
            ["node"] => Err(Failure::usage("a node is in no group of yours", "leave --group out")),
            ["user", _] => Err(Failure::usage("--name and --many are for nodes", "leave them out")),
            _ => Err(Failure::usage(
                format!("a token is for a node or a user, not for {:?}", self.whom.join(" ")),
                "write --for node, or --for user NAME",
            )),
        }
    }
}

fn list(settings: &Settings) -> Result<(), Failure> {
    let value = settings.client()?.read(PATH)?;
    let mut out = output::screen();
    if matches!(settings.output, Format::Json | Format::Yaml) {
        return output::document(&mut out, settings.output, &value);
    }
    let tokens: Vec<TokenEntry> = understood("the list of tokens", serde_json::from_value(value))?;
    if settings.output == Format::Name {
        return Ok(tokens.iter().try_for_each(|token| writeln!(out, "{}", token.id))?);
    }
    let mut columns = Columns::new(["token", "for", "until", "made by", "last used"]);
    for token in &tokens {
        let whom = match &token.whom {
            Whom::Node { name: Some(name), .. } => format!("node {name}"),
            Whom::Node { name: None, many: true } => "nodes".to_owned(),
            Whom::Node { name: None, many: false } => "a node".to_owned(),
            Whom::User { name, groups } if groups.is_empty() => format!("user {name}"),
            Whom::User { name, groups } => format!("user {name} ({})", groups.join(", ")),
        };
        let until = if token.over { "over".to_owned() } else { time(token.until) };
        let used = token.used_by.as_ref().zip(token.used_at);
        let used = used.map_or(String::new(), |(node, at)| format!("{node} at {}", time(at)));
        columns.row([&token.id, &whom, &until, &token.by, &used]);
    }
    Ok(columns.write(&mut out)?)
}

/// A word that can stand in a path; a whole token in place of its public name is a slip that must not get into logs.
fn plain(id: &str) -> Result<&str, Failure> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(id);
    }
    Err(Failure::usage(
        "that is no token's public name",
        "give the part before the first dot, as `sealane token list` does",
    ))
}

/// `90s`, `30m`, `1h`, `7d`.
fn life(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and s, m, h or d, such as 30m or 7d".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

const PATH: &str = "/fabric/v1/tokens";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(life(text), Ok(Duration::from_secs(seconds)));
        }
        for wrong in ["", "h", "1", "-1h", "1.5h", "1µ", "99999999999999999999d", "9999999999999999999d"] {
            assert!(life(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_whole_token_is_not_sent_where_its_name_is_meant() {
        assert!(plain("abcdefg234").is_ok());
        assert!(plain("abcdefg234.secret.pin").is_err());
        assert!(plain("../x").is_err() && plain("").is_err());
    }
}
