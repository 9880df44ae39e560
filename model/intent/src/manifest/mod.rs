//! Files of documents: YAML or JSON, several in one file, lists expanded; each knows where in the file its values are.
//!
//! Promises: a document that cannot be read does not hide the others' problems; the work for a file is bounded, whatever is
//! in it.
//!
//! ```text
//! text --split at ----> chunks --tree--> values with places --expand List--> documents
//! ```

mod chunk;
mod tree;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::problem::{Fault, Place, Problem, Problems, below, element};
use tree::{Content, Node};

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it says.
    pub value: Value,
    file: String,
    places: BTreeMap<String, Position>,
}

/// What is in a file: the documents that could be read, and what stood in the way of the others.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// In the order of the file.
    pub documents: Vec<Document>,
    /// Each with its place.
    pub problems: Vec<Problem>,
}

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    line: u64,
    column: u64,
}

/// The largest file that is read, in bytes.
pub const LARGEST_FILE: usize = 16 << 20;

/// The largest number of documents in a file, those in lists counted.
pub const MOST_DOCUMENTS: usize = 20_000;

/// Reads all documents of a file. Empty ones are passed over.
///
/// # Errors
/// Every document that cannot be read, each with its place.
pub fn read(text: &str, file: &str) -> Result<Vec<Document>, Vec<Problem>> {
    let manifest = scan(text, file);
    if manifest.problems.is_empty() { Ok(manifest.documents) } else { Err(manifest.problems) }
}

/// Reads what can be read of a file, and says what cannot.
pub fn scan(text: &str, file: &str) -> Manifest {
    let mut reading = Reading { file, documents: Vec::new(), problems: Problems::default(), full: false };
    if text.len() > LARGEST_FILE {
        let reason = format!("the file has {} bytes, and {LARGEST_FILE} are read", text.len());
        reading.refuse(Position { line: 1, column: 1 }, Fault::TooLong, reason, "split it");
    } else {
        for chunk in chunk::split(text) {
            if reading.full {
                break;
            }
            match tree::read(chunk.text) {
                Ok(nodes) => nodes.into_iter().for_each(|node| reading.take(&node, chunk.first_line)),
                Err(error) => {
                    let position = error.position.map(|position| position.moved(chunk.first_line));
                    let position = position.unwrap_or(Position { line: chunk.first_line, column: 1 });
                    reading.refuse(position, error.fault, error.reason, error.remedy);
                }
            }
        }
    }
    Manifest { documents: reading.documents, problems: reading.problems.into_vec() }
}

impl Document {
    /// Where the value with this path is; where it is missing, what it is missing from.
    pub fn place(&self, path: &str) -> Place {
        let mut path = path;
        let position = loop {
            if let Some(position) = self.places.get(path) {
                break *position;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => break self.places.get("").copied().unwrap_or(Position { line: 1, column: 1 }),
            }
        };
        Place { file: self.file.clone(), line: position.line, column: position.column }
    }

    /// The problems with their places in the file.
    pub fn locate(&self, problems: Vec<Problem>) -> Vec<Problem> {
        let place = |problem: Problem| Problem { place: Some(self.place(&problem.path)), ..problem };
        problems.into_iter().map(place).collect()
    }
}

impl Position {
    /// As seen from the file, for a chunk that begins at this line.
    fn moved(self, first_line: u64) -> Self {
        Self { line: self.line + first_line - 1, column: self.column }
    }
}

/// A file as it is read.
struct Reading<'a> {
    file: &'a str,
    documents: Vec<Document>,
    problems: Problems,
    /// Whether there were more documents than are read: it is said once, and the rest is not looked at.
    full: bool,
}

impl Reading<'_> {
    /// Takes a document, or the items of a list.
    fn take(&mut self, node: &Node, first_line: u64) {
        match &node.content {
            Content::Null => {}
            Content::Object(_) => match items(node) {
                Some(items) => items.iter().for_each(|item| self.take(item, first_line)),
                None => self.add(node, first_line),
            },
            _ => {
                let reason = "a document is an object with apiVersion, kind and metadata";
                let remedy = "begin it with apiVersion: and kind:, and separate documents by a line ---";
                self.refuse(node.position.moved(first_line), Fault::TypeInvalid, reason, remedy);
            }
        }
    }

    fn add(&mut self, node: &Node, first_line: u64) {
        if self.full {
            return;
        }
        if self.documents.len() == MOST_DOCUMENTS {
            self.full = true;
            let reason = format!("the file has more than {MOST_DOCUMENTS} documents");
            self.refuse(node.position.moved(first_line), Fault::TooLong, reason, "split it");
            return;
        }
        let mut places = BTreeMap::new();
        let value = unfold(node, String::new(), first_line, &mut places);
        self.documents.push(Document { value, file: self.file.to_owned(), places });
    }

    fn refuse(&mut self, at: Position, fault: Fault, reason: impl Into<String>, remedy: impl Into<String>) {
        let place = Place { file: self.file.to_owned(), line: at.line, column: at.column };
        let (path, value) = (String::new(), String::new());
        let (reason, remedy) = (reason.into(), remedy.into());
        self.problems.push(Problem { path, value, fault, reason, remedy, place: Some(place) });
    }
}

/// The items of a `v1` `List`, or of a list of one kind such as `NetworkPolicyList`.
fn items(node: &Node) -> Option<&[Node]> {
    let Content::Text(kind) = &node.field("kind")?.content else { return None };
    let Content::List(items) = &node.field("items")?.content else { return None };
    kind.ends_with("List").then_some(items)
}

/// The plain value of a node, with the places of all that is in it.
fn unfold(node: &Node, path: String, first_line: u64, places: &mut BTreeMap<String, Position>) -> Value {
    let value = match &node.content {
        Content::Null => Value::Null,
        Content::Flag(flag) => Value::from(*flag),
        Content::Number(number) => Value::Number(number.clone()),
        Content::Text(text) => Value::from(text.as_str()),
        Content::List(items) => {
            let unfolded = |(index, item)| unfold(item, element(&path, index), first_line, places);
            Value::Array(items.iter().enumerate().map(unfolded).collect())
        }
        Content::Object(fields) => {
            let mut object = serde_json::Map::new();
            for (name, field) in fields {
                object.insert(name.clone(), unfold(field, below(&path, name), first_line, places));
            }
            Value::Object(object)
        }
    };
    places.insert(path, node.position.moved(first_line));
    value
}

#[cfg(test)]
mod tests;
