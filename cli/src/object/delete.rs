//! `sealane delete`: take objects away.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use http::Method;
use intent::Kind;

use super::source::{Named, named};
use super::{Wanted, place, text, title, wanted};
use crate::client::{Ask, Client, Query, each};
use crate::failure::{Failure, printable};
use crate::output::{self, Progress};
use crate::settings::Settings;

/// Take objects away
///
/// A namespace takes all that is in it along. By default the command ends when the objects are gone.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane delete netpol web -n shop          one policy
  sealane delete -f policies/                what the files describe, those that others live in last
  sealane delete netpol -n shop -l tier=db   policies by label
  sealane delete ns shop --wait=false        a namespace with all that is in it, without waiting")]
pub(crate) struct Delete {
    /// KIND NAME..., or KIND/NAME...
    #[arg(value_name = "KIND", required_unless_present = "files")]
    words: Vec<String>,

    /// A file, a folder, or - for the standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with_all = ["words", "labels", "all"])]
    files: Vec<PathBuf>,

    /// Objects with these labels
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    labels: Option<String>,

    /// Every object of the kind in the namespace
    #[arg(long, conflicts_with = "labels")]
    all: bool,

    /// Succeed when there is no such object
    #[arg(long)]
    ignore_not_found: bool,

    /// Wait until they are gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    wait: bool,

    /// Ask the server whether it could be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Delete {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let client = settings.client()?;
        let mut all = if self.files.is_empty() {
            self.selected(&client, settings)?
        } else {
            named(&self.files, settings, "nothing was deleted")?
        };
        // Those that others live in come last, so that each is told by its own name.
        all.sort_by_key(|one| std::cmp::Reverse(one.kind));
        let mut out = output::screen();
        let (mut failed, mut paths) = (0, Vec::new());
        let path = |one: &Named| settings.place(one.namespace.as_deref()).of(one.kind, &one.name);
        let query = Query::default().with_some("dryRun", self.dry_run.then_some("All"));
        for kind in all.chunk_by(|one, next| one.kind == next.kind) {
            let answers = each(&settings.server, kind, |client, one| {
                client.ask(&Ask::act(Method::DELETE, query.on(&path(one)), None))
            })?;
            for (one, answer) in kind.iter().zip(answers) {
                match answer {
                    Ok(_) => {
                        let note = if self.dry_run { " (dry run)" } else { "" };
                        writeln!(out, "{} deleted{note}", title(one.kind, &one.name))?;
                        paths.push((one, path(one)));
                    }
                    Err(error) if error.is_missing() && self.ignore_not_found => {}
                    Err(error) if all.len() > 1 => {
                        failed += 1;
                        eprintln!("{}: {}", title(one.kind, &one.name), printable(&error.to_string()));
                    }
                    Err(error) => {
                        if error.is_missing() {
                            place::check(&client, settings, one.namespace.as_deref())?;
                        }
                        return Err(error.into());
                    }
                }
            }
        }
        if self.wait && !self.dry_run {
            await_gone(&client, &paths)?;
        }
        if failed == 0 { Ok(()) } else { Err(Failure::Partly { failed, all: all.len() }) }
    }

    fn selected(&self, client: &Client, settings: &Settings) -> Result<Vec<Named>, Failure> {
        let mut all = Vec::new();
        for one in wanted(&self.words)? {
            let names = self.names(client, settings, &one)?;
            let namespace = super::namespace_of(one.kind, settings.namespace());
            let named = |name| Named { kind: one.kind, name, namespace: namespace.map(str::to_owned) };
            all.extend(names.into_iter().map(named));
        }
        Ok(all)
    }

    fn names(&self, client: &Client, settings: &Settings, one: &Wanted) -> Result<Vec<String>, Failure> {
        match (one.names.is_empty(), self.all || self.labels.is_some()) {
            (false, false) => return Ok(one.names.clone()),
            (false, true) => {
                return Err(Failure::usage("names are given beside --all or -l", "keep one of the two"));
            }
            (true, false) => {
                let message = format!("no {} is named", one.kind.descriptor().singular);
                return Err(Failure::usage(
                    message,
                    "name the objects, or select them with -l LABELS or --all",
                ));
            }
            (true, true) => {}
        }
        let home = settings.place(super::namespace_of(one.kind, settings.namespace()));
        let query = Query::default().with_some("labelSelector", self.labels.as_deref());
        let list = client.read(&query.on(&home.of_all(one.kind)))?;
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        if items.is_empty() {
            place::check(client, settings, home.namespace)?;
        }
        Ok(items.iter().map(|item| text(item, &["metadata", "name"]).to_owned()).collect())
    }
}

/// Waits until none of the objects is there any more.
fn await_gone(client: &Client, paths: &[(&Named, String)]) -> Result<(), Failure> {
    let began = Instant::now();
    let mut progress = Progress::new();
    for (one, path) in paths {
        while let Some(object) = client.find(path)? {
            if text(&object, &["metadata", "deletionTimestamp"]).is_empty() {
                // Somebody has made it again.
                break;
            }
            let what = format!("the end of {}", title(one.kind, &one.name));
            if began.elapsed() > GONE_WITHIN {
                let remedy = remedy(one.kind, &one.name);
                return Err(Failure::Late { what, seconds: GONE_WITHIN.as_secs(), remedy });
            }
            progress.show(&format!("waiting for {what}"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

fn remedy(kind: Kind, name: &str) -> String {
    format!("it goes on; see what holds it with `sealane describe {} {name}`", kind.descriptor().singular)
}

const GONE_WITHIN: Duration = Duration::from_secs(60);
