//! `sealane apply`: make objects as files describe them.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use http::Method;
use intent::{Kind, Problem, UnknownFields, admit};
use serde_json::Value;

use super::merge::{annotated, last_applied, patch};
use super::source::{Checked, sifted};
use super::title;
use crate::client::{Ask, Client, ClientError, JSON, MERGE_PATCH, Query, Reply, Status, each};
use crate::failure::{Failure, printable};
use crate::output::{self, Progress};
use crate::settings::{Format, Settings};
use crate::style::Style;

/// Make objects as files describe them
///
/// Every document of every file is checked first, here and by the server. If any has a problem, all problems are listed with
/// their lines, and nothing is applied. An object that is not there is created; one that is there is changed where the file says so: what
/// the file said last time and says no longer goes, what others have set stays.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane apply -f net.yaml                  one file, any number of documents
  sealane apply -f policies/ -n shop         every .yaml, .yml and .json file of a folder
  cat net.yaml | sealane apply -f -          the standard input
  sealane apply -f net.yaml --dry-run        what would happen, checked by the server")]
pub(crate) struct Apply {
    /// A file, a folder, or - for the standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Ask the server what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// `created`, `configured`, `unchanged`.
    pub(super) word: &'static str,
    /// The object as it is now, or would be.
    pub(super) object: Value,
    /// What the server found odd.
    warnings: Vec<String>,
}

impl Apply {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let (all, mut problems) = sifted(&self.files, settings)?;
        warn(&all);
        if !problems.is_empty() || !self.dry_run {
            match try_out(settings, &all) {
                Ok(found) => problems.extend(found),
                // What is known to be wrong is told also by who cannot ask the server.
                Err(_) if !problems.is_empty() => {}
                Err(failure) => return Err(failure),
            }
        }
        if !problems.is_empty() {
            return Err(Failure::Documents { problems, outcome: NOTHING_DONE.to_owned() });
        }
        let mut out = output::screen();
        let (mut failed, mut problems, mut done) = (0, Vec::new(), 0);
        // Kind by kind, for objects live in others; a step at a time, so that what is done is told.
        for step in all.chunk_by(|one, next| one.kind == next.kind).flat_map(|kind| kind.chunks(STEP)) {
            let mut progress = Progress::new();
            progress.count("applying", done, all.len());
            let outcomes = each(&settings.server, step, |client, document| {
                apply(client, settings, document, self.dry_run)
            })?;
            drop(progress);
            done += step.len();
            let mut fault = None;
            for (document, outcome) in step.iter().zip(outcomes) {
                match outcome {
                    Ok(outcome) => {
                        outcome.warn(document);
                        tell(&mut out, settings, document, &outcome, self.dry_run)?;
                    }
                    Err(ClientError::Refused(status)) => {
                        failed += 1;
                        problems.extend(refused(document, status));
                    }
                    Err(error) => fault = fault.or(Some(error)),
                }
            }
            if let Some(fault) = fault {
                return Err(fault.into());
            }
        }
        match (failed, problems.is_empty()) {
            (0, _) => Ok(()),
            (failed, true) => Err(Failure::Partly { failed, all: all.len() }),
            (failed, false) => {
                let outcome =
                    format!("{failed} of {} not applied", crate::failure::count(all.len(), "object"));
                Err(Failure::Documents { problems, outcome })
            }
        }
    }
}

/// Asks the server what it thinks of every document, so that one that it refuses keeps the others from being applied: all
/// problems that the server has with them.
fn try_out(settings: &Settings, all: &[Checked]) -> Result<Vec<Problem>, Failure> {
    let mut problems = Vec::new();
    for step in all.chunks(STEP) {
        let outcomes =
            each(&settings.server, step, |client, document| apply(client, settings, document, true))?;
        for (document, outcome) in step.iter().zip(outcomes) {
            match outcome {
                Ok(_) => {}
                // It cannot be tried before its namespace or tenant is there, which these documents make.
                Err(error) if error.is_missing() && is_made(all, document, settings) => {}
                Err(ClientError::Refused(status)) => {
                    let found = document.locate(&status);
                    problems.extend(if found.is_empty() { vec![document.refused(&status)] } else { found });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(problems)
}

/// Whether these documents make the namespace or the tenant that one of them is in.
fn is_made(all: &[Checked], document: &Checked, settings: &Settings) -> bool {
    let makes = |kind: Kind, name: Option<&str>| {
        all.iter().any(|maker| maker.kind == kind && Some(maker.name.as_str()) == name)
    };
    makes(Kind::Namespace, document.namespace.as_deref()) || makes(Kind::Tenant, settings.tenant.as_deref())
}

/// The server's problems with a document; a refusal without any is told at once.
fn refused(document: &Checked, status: Box<Status>) -> Vec<Problem> {
    let problems = document.locate(&status);
    if problems.is_empty() {
        let title = title(document.kind, &document.name);
        let error = Failure::from(ClientError::Refused(status));
        eprint!("{title}: {}", error.told(Style::of(&std::io::stderr())));
    }
    problems
}

impl Outcome {
    /// Tells what the server found odd, unless this side has told it already.
    fn warn(&self, document: &Checked) {
        if document.admitted.warnings.is_empty() {
            let style = Style::of(&std::io::stderr());
            let title = title(document.kind, &document.name);
            self.warnings
                .iter()
                .for_each(|text| eprintln!("{} {title}: {}", style.odd("warning:"), printable(text)));
        }
    }
}

/// Tells what was accepted but is hardly meant.
pub(super) fn warn(all: &[Checked]) {
    let style = Style::of(&std::io::stderr());
    for problem in all.iter().flat_map(|document| &document.admitted.warnings) {
        eprintln!("{} {}", style.odd("warning:"), printable(&problem.to_string()));
    }
}

fn tell(
    out: &mut dyn Write,
    settings: &Settings,
    document: &Checked,
    outcome: &Outcome,
    dry_run: bool,
) -> Result<(), Failure> {
    let note = if dry_run { " (dry run)" } else { "" };
    match settings.output {
        Format::Json => output::document(out, Format::Json, &outcome.object),
        Format::Yaml => {
            writeln!(out, "---")?;
            output::document(out, Format::Yaml, &outcome.object)
        }
        Format::Name => Ok(writeln!(out, "{}", title(document.kind, &document.name))?),
        Format::Table | Format::Wide => {
            Ok(writeln!(out, "{} {}{note}", title(document.kind, &document.name), outcome.word)?)
        }
    }
}

/// Brings one object to what its document says.
pub(super) fn apply(
    client: &Client,
    settings: &Settings,
    document: &Checked,
    dry_run: bool,
) -> Result<Outcome, ClientError> {
    let place = settings.place(document.namespace.as_deref());
    let query = Query::default().with("fieldManager", "sealane").with("fieldValidation", "Strict");
    let query = query.with_some("dryRun", dry_run.then_some("All"));
    let path = place.of(document.kind, &document.name);
    let sent = annotated(&document.written);
    let Some(live) = client.find(&path)? else {
        let create = Ask::act(Method::POST, query.on(&place.of_all(document.kind)), Some((JSON, &sent)));
        return match client.ask(&create) {
            Ok(Reply { value, warnings }) => Ok(Outcome { word: "created", object: value, warnings }),
            Err(ClientError::Refused(status)) if status.reason == "AlreadyExists" => {
                // Somebody was faster; what is there now is changed instead.
                let live = client.read(&path)?;
                change(client, document, &live, &query.on(&path))
            }
            Err(error) => Err(error),
        };
    };
    change(client, document, &live, &query.on(&path))
}

fn change(client: &Client, document: &Checked, live: &Value, path: &str) -> Result<Outcome, ClientError> {
    let sent = annotated(&document.written);
    let patch = patch(last_applied(live).as_ref(), &sent, live);
    if is_without_effect(document, &patch, live) {
        return Ok(Outcome { word: "unchanged", object: live.clone(), warnings: Vec::new() });
    }
    let reply = client.ask(&Ask::act(Method::PATCH, path.to_owned(), Some((MERGE_PATCH, &patch))))?;
    let same = reply.value["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"];
    let same = same && without_revision(&reply.value) == without_revision(live);
    let word = if same { "unchanged" } else { "configured" };
    Ok(Outcome { word, object: reply.value, warnings: reply.warnings })
}

/// Whether the object would be the same after the patch, defaults in lists considered.
fn is_without_effect(document: &Checked, patch: &Value, live: &Value) -> bool {
    let mut merged = live.clone();
    json_patch::merge(&mut merged, patch);
    let canonical =
        |object: Value| admit(document.kind, object, UnknownFields::Ignore).map(|admitted| admitted.document);
    match (canonical(merged), canonical(live.clone())) {
        (Ok(merged), Ok(live)) => merged == live,
        _ => false,
    }
}

fn without_revision(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    object
}

const NOTHING_DONE: &str = "nothing was applied";

/// After so many objects it is told what was done.
const STEP: usize = 100;
