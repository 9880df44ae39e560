//! `sealane tenant delete`: a tenant with all that is in it.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use http::Method;
use intent::Kind;
use serde_json::Value;

use crate::client::{Ask, Client, Place, Query};
use crate::failure::{Failure, count};
use crate::object::content::{Content, is_given};
use crate::object::{text, title};
use crate::output::{self, Progress};
use crate::settings::Settings;

/// Delete a tenant with all that is in it
///
/// Shows what would go, and asks on a terminal if there is anything. While containers are attached to its networks it is refused,
/// and they are named.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane tenant delete staging              shows what goes, and asks
  sealane tenant delete staging --dry-run    shows what would go
  sealane tenant delete staging --yes        for scripts")]
pub(super) struct Delete {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// Wait until it is gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    wait: bool,

    /// Show what would go, ask the server whether it could be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Delete {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let client = settings.client()?;
        let content = Content::read(&client, settings, &self.name)?;
        let endpoints = endpoints(&client, &self.name)?;
        let path = Place { tenant: None, namespace: None }.of(Kind::Tenant, &self.name);
        let delete = |query: Query| client.ask(&Ask::act(Method::DELETE, query.on(&path), None)).map(drop);
        let written = summary(&content);
        if !written.is_empty() {
            eprintln!("the tenant {} holds {written}", self.name);
        }
        if !endpoints.is_empty() {
            let message = format!(
                "the tenant {} has {} attached: {}",
                self.name,
                count(endpoints.len(), "container"),
                some(&endpoints)
            );
            let remedy = "end them first; `sealane detach` ends what no runtime does".to_owned();
            return Err(Failure::Held { message, remedy });
        }
        // Whoever may not is told before being asked.
        delete(Query::default().with("dryRun", "All"))?;
        if !self.dry_run {
            if !written.is_empty() && !self.yes {
                self.ask()?;
            }
            delete(Query::default())?;
            if self.wait {
                self.await_gone(&client, &path)?;
            }
        }
        let word = match (self.dry_run, self.wait) {
            (true, _) => "deleted (dry run)",
            (false, true) => "deleted",
            (false, false) => "is being deleted",
        };
        Ok(writeln!(output::screen(), "{} {word}", title(Kind::Tenant, &self.name))?)
    }

    /// Has the name typed on a terminal.
    fn ask(&self) -> Result<(), Failure> {
        if !std::io::stdin().is_terminal() {
            let message =
                format!("the tenant {} is not empty, and there is no terminal to ask on", self.name);
            return Err(Failure::usage(message, "say --yes if all of it may go; --dry-run shows it"));
        }
        eprint!("all of it goes. Type the tenant's name to go on: ");
        let mut typed = String::new();
        std::io::stdin().read_line(&mut typed)?;
        if typed.trim() == self.name {
            return Ok(());
        }
        Err(Failure::Held {
            message: format!("{:?} is not {}: nothing was deleted", typed.trim(), self.name),
            remedy: "type the name as it is, or say --yes".to_owned(),
        })
    }

    fn await_gone(&self, client: &Client, path: &str) -> Result<(), Failure> {
        let began = Instant::now();
        let mut progress = Progress::new();
        let what = format!("the end of {}", title(Kind::Tenant, &self.name));
        while let Some(object) = client.find(path)? {
            if text(&object, &["metadata", "deletionTimestamp"]).is_empty() {
                // Somebody has made it again.
                break;
            }
            let held = holders(client, &self.name)?;
            if began.elapsed() > GONE_WITHIN {
                let remedy = match held.as_slice() {
                    [] => format!("it goes on; see `sealane get tenant {}`", self.name),
                    held => format!("it goes on as soon as these have gone: {}", some(held)),
                };
                return Err(Failure::Late { what, seconds: GONE_WITHIN.as_secs(), remedy });
            }
            let holds = if held.is_empty() { String::new() } else { format!(", held by {}", some(&held)) };
            progress.show(&format!("waiting for {what}{holds}"));
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// What people have made in it, counted by kind; empty: no more than every tenant has.
fn summary(content: &Content) -> String {
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for (identity, _) in content.objects.iter().filter(|(identity, object)| !is_given(identity, object)) {
        *counts.entry(identity.kind).or_default() += 1;
    }
    let counted = |(kind, number): (&Kind, &usize)| {
        let known = kind.descriptor();
        format!("{number} {}", if *number == 1 { known.singular } else { known.plural })
    };
    counts.iter().map(counted).collect::<Vec<_>>().join(", ")
}

/// What keeps a tenant that is being deleted: attachments, and objects with finalizers.
fn holders(client: &Client, tenant: &str) -> Result<Vec<String>, Failure> {
    let Some(content) = Content::find(client, tenant)? else { return Ok(Vec::new()) };
    let is_held = |object: &Value| {
        object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
    };
    let held = content.objects.iter().filter(|(_, object)| is_held(object));
    let mut holders = endpoints(client, tenant)?;
    holders.extend(held.map(|(identity, _)| format!("{} (finalizers)", identity.shown())));
    Ok(holders)
}

/// The attachments of a tenant, as people know them.
fn endpoints(client: &Client, tenant: &str) -> Result<Vec<String>, Failure> {
    let list = client.read(&Place { tenant: Some(tenant), namespace: None }.of_all(Kind::Endpoint))?;
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = |item: &Value| {
        let at = |path: &[&str]| text(item, path).to_owned();
        let (namespace, name) = (at(&["metadata", "namespace"]), at(&["metadata", "name"]));
        format!("{namespace}/{name} on {}", at(&["spec", "node"]))
    };
    Ok(items.iter().map(shown).collect())
}

/// The first few, and how many there are besides.
fn some(all: &[String]) -> String {
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {}", count(more, "other")),
    }
}

const GONE_WITHIN: Duration = Duration::from_secs(60);
/// How many holders a message names.
const SHOWN: usize = 10;
