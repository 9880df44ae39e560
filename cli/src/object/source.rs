//! Documents from files, checked before anything is done with them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use intent::manifest::{Document, scan};
use intent::problem::{Fault, Place};
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

    /// A refusal that is about the whole of it, with its place in the file.
    pub(super) fn refused(&self, status: &Status) -> Problem {
        Problem {
            path: String::new(),
            value: String::new(),
            fault: Fault::Invalid,
            reason: status.message.clone(),
            remedy: status.remedy().unwrap_or_default(),
            place: Some(self.document.place("metadata.name")),
        }
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
    let (all, problems) = sifted(files, settings)?;
    if problems.is_empty() {
        Ok(all)
    } else {
        Err(Failure::Documents { problems, outcome: outcome.to_owned() })
    }
}

/// The documents of all files that are right by themselves, those that others live in first, and all problems of the others and
/// between documents.
pub(super) fn sifted(
    files: &[PathBuf],
    settings: &Settings,
) -> Result<(Vec<Checked>, Vec<Problem>), Failure> {
    let (documents, mut problems) = documents(files)?;
    let mut all = Vec::new();
    for document in documents {
        match check(document, settings) {
            Ok(checked) => all.push(checked),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(doubles(&all));
    problems.extend(clashes(&all));
    all.sort_by_key(|checked| checked.kind);
    Ok((all, problems))
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
            match read(&path)? {
                Ok(text) => {
                    let manifest = scan(&text, &shown(&path));
                    documents.extend(manifest.documents);
                    problems.extend(manifest.problems);
                }
                Err(problem) => problems.push(problem),
            }
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
        // A link that leads nowhere is read too, which says so; folders in it are not gone into.
        if known && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The text of a file, or why it is none.
fn read(path: &Path) -> Result<Result<String, Problem>, Failure> {
    let mut bytes = Vec::new();
    let whole = if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        fs::read(path).map(|read| bytes = read)
    };
    whole.map_err(|source| Failure::File { operation: "read", path: path.to_owned(), source })?;
    Ok(String::from_utf8(bytes).map_err(|fault| {
        let before = &fault.as_bytes()[..fault.utf8_error().valid_up_to()];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let place = Place { file: shown(path), line: line as u64, column: column as u64 };
        Problem {
            path: String::new(),
            value: String::new(),
            fault: Fault::Invalid,
            reason: "is no text: these bytes are no UTF-8".to_owned(),
            remedy: "save the file as UTF-8; a binary file holds no documents".to_owned(),
            place: Some(place),
        }
    }))
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
            vec![Problem::new("metadata.namespace", &given, Fault::Invalid, reason, remedy)]
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
            let fault = Fault::Duplicate;
            let problem = Problem::new("metadata.name", &name, fault, reason, "keep one of the two");
            problems.extend(checked.document.locate(vec![problem]));
        }
    }
    problems
}

/// Networks that ask for one VNI: the server would find that out at the second, when the first is made. Subnets clash with nobody's:
/// every network has addresses of its own.
fn clashes(all: &[Checked]) -> Vec<Problem> {
    let asked = |checked: &Checked| checked.admitted.document.pointer("/spec/vni").and_then(Value::as_u64);
    let networks: Vec<(&Checked, u64)> = all
        .iter()
        .filter(|checked| checked.kind == Kind::VirtualNetwork)
        .filter_map(|checked| Some((checked, asked(checked)?)))
        .collect();
    let mut problems = Vec::new();
    for (index, (checked, vni)) in networks.iter().enumerate() {
        let other = networks[..index].iter().find(|(other, same)| same == vni && other.name != checked.name);
        if let Some((first, _)) = other {
            let reason = format!(
                "is also the VNI of {} at {}",
                super::title(first.kind, &first.name),
                first.document.place("spec.vni")
            );
            let remedy = "choose another for one of the two, or leave it out: the server gives one";
            let problem = Problem::new("spec.vni", &Value::from(*vni), Fault::Duplicate, reason, remedy);
            problems.extend(checked.document.locate(vec![problem]));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Format;

    fn settings() -> Settings {
        Settings {
            named: None,
            kubeconfig: None,
            context: None,
            server: "unix:/nowhere".parse().unwrap(),
            agent: PathBuf::from("/nowhere"),
            tenant: None,
            namespace: None,
            output: Format::Table,
        }
    }

    fn network(name: &str, vni: u32) -> String {
        format!(
            "---\napiVersion: sealane.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {{name: {name}}}\n\
             spec:\n  vni: {vni}\n  subnets: [{{cidr: 10.1.0.0/16}}]\n"
        )
    }

    #[test]
    fn all_faults_between_documents_are_told_at_once_with_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one.yaml"), folder.path().join("two.yaml"));
        fs::write(&one, network("red", 7) + &network("blue", 7) + &network("green", 9)).unwrap();
        fs::write(&two, network("grey", 9) + &network("red", 11) + "---\nkind: Nothing\n").unwrap();
        let Err(Failure::Documents { problems, .. }) = checked(&[one, two], &settings(), "not done") else {
            panic!("not refused")
        };
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        for parts in [
            ["one.yaml:13:", "spec.vni", "is also the VNI of virtualnetwork", "/red at ", "one.yaml:6:"],
            ["two.yaml:6:", "spec.vni", "is also the VNI of virtualnetwork", "/green at ", "one.yaml:20:"],
            ["two.yaml:11:", "metadata.name", "a second time", "/red", "one.yaml:4:"],
            ["two.yaml:16:", "apiVersion", "is missing", "", ""],
        ] {
            let fits = |line: &&String| parts.iter().all(|part| line.contains(part));
            assert!(told.iter().any(|line| fits(&line)), "{parts:?} in\n{}", told.join("\n"));
        }
        assert_eq!(told.len(), 4, "{}", told.join("\n"));
    }

    #[test]
    fn networks_may_overlap() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one.yaml");
        fs::write(&file, network("red", 7) + &network("blue", 8)).unwrap();
        assert_eq!(checked(&[file], &settings(), "not done").unwrap().len(), 2);
    }
}
