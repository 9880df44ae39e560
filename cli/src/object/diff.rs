//! `sealane diff`: what `apply` would change, and where two tenants are not the same.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::apply::{apply, warn};
use super::merge::LAST_APPLIED;
use super::source::{Checked, checked};
use super::{likeness, title, unified};
use crate::client::{Client, ClientError, each};
use crate::failure::Failure;
use crate::output;
use crate::settings::{HEADING, Settings};
use crate::style::Style;

/// Show what apply would change, or where two tenants are not the same
///
/// With files: the server says what each object would be, with all defaults, and changes nothing. With two tenants: every object
/// that people write in one is held against the other's of the same name. What the fabric writes is passed over: status, uid,
/// times, a network's VNI; attachments are not compared. The exit code is 0 if nothing differs, 1 if something does, 2 if the
/// arguments are wrong.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane diff -f net.yaml                   before sealane apply -f net.yaml
  sealane diff -f policies/ -n shop && echo nothing to do
  sealane diff --tenant production --tenant staging
  sealane diff --tenant production --tenant staging -o json | jq .different")]
pub(crate) struct Diff {
    /// A file, a folder, or - for the standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The tenant; twice, and without files: the two tenants that are compared
    // It stands in for the setting of the same name, which is given once.
    #[arg(id = "tenant", long = "tenant", value_name = "NAME", help_heading = HEADING)]
    tenants: Vec<String>,
}

impl Diff {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        match (self.tenants.as_slice(), self.files.is_empty()) {
            ([first, second], true) => return likeness::tell(settings, first, second),
            ([] | [_], false) => {}
            _ => {
                let remedy = "give files with -f, or two tenants with --tenant A --tenant B";
                return Err(Failure::usage("it is not clear what is compared", remedy));
            }
        }
        let all = checked(&self.files, settings, "nothing was compared")?;
        warn(&all);
        let mut out = output::screen();
        let style = Style::of(&std::io::stdout());
        let compared = each(&settings.server, &all, |client, document| compare(client, settings, document))?;
        let mut differs = false;
        for (document, compared) in all.iter().zip(compared) {
            let (before, after) = compared?;
            let title = title(document.kind, &document.name);
            let headings = [format!("{title} as it is"), format!("{title} as it would be")];
            differs |= unified::write(&mut out, style, &headings, [&before, &after])?;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_unified_and_leaves_out_what_the_server_writes() {
        let before = json!({"kind": "A", "metadata": {"name": "a", "resourceVersion": "1", "annotations": {LAST_APPLIED: "x"}}, "spec": {"a": 1}});
        let after = json!({"kind": "A", "metadata": {"name": "a", "resourceVersion": "2"}, "spec": {"a": 2}, "status": {"b": 1}});
        let mut out = Vec::new();
        let headings = ["a as it is", "a as it would be"].map(str::to_owned);
        let (before, after) = (readable(&before), readable(&after));
        assert!(unified::write(&mut out, Style::PLAIN, &headings, [&before, &after]).unwrap());
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("--- a as it is\n+++ a as it would be\n@@ "), "{text}");
        assert!(text.contains("\n-  a: 1\n+  a: 2\n"), "{text}");
        assert!(!text.contains("resourceVersion") && !text.contains("status"), "{text}");
        assert!(!unified::write(&mut Vec::new(), Style::PLAIN, &headings, ["x\n", "x\n"]).unwrap());
    }
}
