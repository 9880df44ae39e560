//! Documents from files, checked before anything is done with them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use intent::manifest::{Document, scan};
use intent::{Admitted, Kind, Problem, UnknownFields, admit, kind_of};
use serde_json::Value;

use crate::client::Status;
use crate::failure::Failure;
use crate::settings::Settings;

/// A document that is right by itself.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    /// As it was written, with its namespace.
    pub(super) written: Value,
    /// With all defaults.
    pub(super) admitted: Admitted,
    document: Document,
}

/// A document that says no more than which object it is about.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

impl Checked {
    /// The server's problems with it, with their places in the file.
    pub(super) fn locate(&self, status: &Status) -> Vec<Problem> {
        self.document.locate(status.problems())
    }
}

/// Reads and checks the documents of all files, those that others live in first.
///
/// # Errors
/// All problems of all files; `outcome` says what has not been done.
pub(super) fn checked(
    files: &[PathBuf],
    settings: &Settings,
    outcome: &str,
) -> Result<Vec<Checked>, Failure> {
    let (documents, mut problems) = documents(files)?;
    let mut all = Vec::new();
    for document in documents {
        match check(document, settings) {
            Ok(checked) => all.push(checked),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(doubles(&all));
    if !problems.is_empty() {
        return Err(Failure::Documents { problems, outcome: outcome.to_owned() });
    }
    all.sort_by_key(|checked| checked.kind);
    Ok(all)
}

/// Reads which objects the documents of all files are about; the rest of them is not looked at.
pub(super) fn named(files: &[PathBuf], settings: &Settings, outcome: &str) -> Result<Vec<Named>, Failure> {
    let (documents, mut problems) = documents(files)?;
    let mut all = Vec::new();
    for document in documents {
        let name = super::text(&document.value, &["metadata", "name"]).to_owned();
        match (kind_of(&document.value), name.is_empty()) {
            (Ok(kind), false) => {
                let given = super::text(&document.value, &["metadata", "namespace"]);
                let namespace = if given.is_empty() { settings.namespace() } else { given };
                let namespace = super::namespace_of(kind, namespace).map(str::to_owned);
                all.push(Named { kind, name, namespace });
            }
            (Ok(_), true) => {
                problems.extend(document.locate(vec![Problem::missing(
                    "metadata.name",
                    "is missing",
                    "add it",
                )]));
            }
            (Err(found), _) => problems.extend(document.locate(found)),
        }
    }
    if problems.is_empty() {
        Ok(all)
    } else {
        Err(Failure::Documents { problems, outcome: outcome.to_owned() })
    }
}

fn documents(files: &[PathBuf]) -> Result<(Vec<Document>, Vec<Problem>), Failure> {
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        for path in expanded(file)? {
            let manifest = scan(&read(&path)?, &shown(&path));
            documents.extend(manifest.documents);
            problems.extend(manifest.problems);
        }
    }
    if documents.is_empty() && problems.is_empty() {
        let names: Vec<String> = files.iter().map(|file| shown(file)).collect();
        let remedy = "name a file with at least one document, or - for the standard input";
        return Err(Failure::usage(format!("there is no document in {}", names.join(", ")), remedy));
    }
    Ok((documents, problems))
}

/// A folder stands for the `.yaml`, `.yml` and `.json` files in it, in the order of their names.
fn expanded(file: &Path) -> Result<Vec<PathBuf>, Failure> {
    if file == Path::new("-") || !file.is_dir() {
        return Ok(vec![file.to_owned()]);
    }
    let failed = |source| Failure::File { operation: "list", path: file.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(file).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let known = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if known && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String, Failure> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    text.map_err(|source| Failure::File { operation: "read", path: path.to_owned(), source })
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn check(document: Document, settings: &Settings) -> Result<Checked, Vec<Problem>> {
    let kind = kind_of(&document.value).map_err(|problems| document.locate(problems))?;
    let mut written = document.value.clone();
    let mut problems = place_in_namespace(kind, &mut written, settings);
    match admit(kind, written.clone(), UnknownFields::Refuse) {
        Ok(mut admitted) if problems.is_empty() => {
            admitted.warnings = document.locate(admitted.warnings);
            let name = super::text(&written, &["metadata", "name"]).to_owned();
            let namespace = super::text(&written, &["metadata", "namespace"]);
            let namespace = super::namespace_of(kind, namespace).map(str::to_owned);
            Ok(Checked { kind, name, namespace, written, admitted, document })
        }
        Ok(_) => Err(document.locate(problems)),
        Err(found) => {
            problems.extend(found);
            Err(document.locate(problems))
        }
    }
}

/// A namespaced document without a namespace is put into the command's own. One with another than the command names is wrong.
fn place_in_namespace(kind: Kind, document: &mut Value, settings: &Settings) -> Vec<Problem> {
    if !kind.descriptor().namespaced() {
        return Vec::new();
    }
    let given = super::text(document, &["metadata", "namespace"]);
    match (&settings.namespace, given) {
        (Some(wanted), given) if !given.is_empty() && given != wanted => {
            let reason = format!("is not {wanted}, which -n names");
            let remedy = "leave out one of the two";
            let given = Value::from(given);
            vec![Problem::new("metadata.namespace", &given, intent::problem::Fault::Invalid, reason, remedy)]
        }
        (_, "") => {
            if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("namespace".to_owned(), settings.namespace().into());
            }
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Objects that are described twice: which of the two is meant cannot be known.
fn doubles(all: &[Checked]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, checked) in all.iter().enumerate() {
        let same = |other: &&Checked| {
            (other.kind, &other.name, &other.namespace) == (checked.kind, &checked.name, &checked.namespace)
        };
        if let Some(first) = all[..index].iter().find(same) {
            let reason = format!(
                "describes {} a second time; the first is at {}",
                super::title(checked.kind, &checked.name),
                first.document.place("metadata.name")
            );
            let name = Value::from(checked.name.as_str());
            let fault = intent::problem::Fault::Duplicate;
            let problem = Problem::new("metadata.name", &name, fault, reason, "keep one of the two");
            problems.extend(checked.document.locate(vec![problem]));
        }
    }
    problems
}
