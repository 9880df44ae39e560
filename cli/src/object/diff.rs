//! `sealane diff`: what `apply` would change.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::apply::{apply, warn};
use super::merge::LAST_APPLIED;
use super::source::{Checked, checked};
use super::title;
use crate::client::{Client, ClientError, each};
use crate::failure::{Failure, printable};
use crate::output;
use crate::settings::Settings;
use crate::style::Style;

/// Show what apply would change
///
/// The server says what each object would be, with all defaults, and changes nothing. The exit code is 0 if nothing would
/// change, 1 if something would, 2 if the arguments are wrong.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane diff -f net.yaml                   before sealane apply -f net.yaml
  sealane diff -f policies/ -n shop && echo nothing to do")]
pub(crate) struct Diff {
    /// A file, a folder, or - for the standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Diff {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let all = checked(&self.files, settings, "nothing was compared")?;
        warn(&all);
        let mut out = output::screen();
        let style = Style::of(&std::io::stdout());
        let compared = each(&settings.server, &all, |client, document| compare(client, settings, document))?;
        let mut differs = false;
        for (document, compared) in all.iter().zip(compared) {
            let (before, after) = compared?;
            differs |= write(&mut out, style, &title(document.kind, &document.name), &before, &after)?;
        }
        if differs { Err(Failure::Code(1)) } else { Ok(()) }
    }
}

/// The object as it is and as it would be.
fn compare(client: &Client, settings: &Settings, document: &Checked) -> Result<(String, String), Failure> {
    let path = settings.place(document.namespace.as_deref()).of(document.kind, &document.name);
    let live = client.find(&path)?;
    let before = live.as_ref().map(readable).unwrap_or_default();
    Ok((before, would_be(client, settings, document)?))
}

/// What the object would be. A new object in a namespace that is new too cannot be tried on the server: then it is the
/// document itself.
fn would_be(client: &Client, settings: &Settings, document: &Checked) -> Result<String, Failure> {
    match apply(client, settings, document, true) {
        Ok(outcome) => Ok(readable(&outcome.object)),
        Err(error) if error.is_missing() => Ok(readable(&document.admitted.document)),
        Err(ClientError::Refused(status)) if !document.locate(&status).is_empty() => {
            let problems = document.locate(&status);
            Err(Failure::Documents { problems, outcome: "nothing was compared".to_owned() })
        }
        Err(error) => Err(error.into()),
    }
}

/// A document without what the server writes into it.
fn readable(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "selfLink"]
        {
            metadata.remove(name);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    output::yaml(&object)
}

/// Writes the difference of two texts; whether there is any.
fn write(out: &mut dyn Write, style: Style, title: &str, before: &str, after: &str) -> Result<bool, Failure> {
    if before == after {
        return Ok(false);
    }
    let diff = TextDiff::from_lines(before, after);
    writeln!(out, "{}", style.bold(&format!("--- {title} as it is")))?;
    writeln!(out, "{}", style.bold(&format!("+++ {title} as it would be")))?;
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        writeln!(out, "{}", style.dim(&hunk.header().to_string()))?;
        for change in hunk.iter_changes() {
            let line = printable(change.value().trim_end_matches('\n'));
            let line = match change.tag() {
                ChangeTag::Delete => style.bad(&format!("-{line}")),
                ChangeTag::Insert => style.good(&format!("+{line}")),
                ChangeTag::Equal => format!(" {line}"),
            };
            writeln!(out, "{line}")?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_unified_and_leaves_out_what_the_server_writes() {
        let before = json!({"kind": "A", "metadata": {"name": "a", "resourceVersion": "1", "annotations": {LAST_APPLIED: "x"}}, "spec": {"a": 1}});
        let after = json!({"kind": "A", "metadata": {"name": "a", "resourceVersion": "2"}, "spec": {"a": 2}, "status": {"b": 1}});
        let mut out = Vec::new();
        assert!(write(&mut out, Style::PLAIN, "a", &readable(&before), &readable(&after)).unwrap());
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("--- a as it is\n+++ a as it would be\n@@ "), "{text}");
        assert!(text.contains("\n-  a: 1\n+  a: 2\n"), "{text}");
        assert!(!text.contains("resourceVersion") && !text.contains("status"), "{text}");
        assert!(!write(&mut Vec::new(), Style::PLAIN, "a", "x\n", "x\n").unwrap());
    }
}
