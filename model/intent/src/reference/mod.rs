//! The reference of the kinds, as Markdown: one page for each, one for the metadata that all have, and an index.
//!
//! Promises: every field that a document may have is on a page with its type, default, constraints and meaning, from the same
//! tree that documents are checked against.

mod table;

use std::fmt::Write;

use crate::registry::{Descriptor, Kind, Scope};
use crate::schema::Schema;
use table::Table;

/// Every page: the name of its file, and its text.
pub fn pages() -> Vec<(String, String)> {
    let kinds = Kind::ALL.into_iter().map(|kind| (file(kind), page(kind)));
    [("README.md".to_owned(), index()), (METADATA.to_owned(), metadata())].into_iter().chain(kinds).collect()
}

/// The page of a kind.
pub fn page(kind: Kind) -> String {
    let known = kind.descriptor();
    let mut text = format!("# {}\n\n{}\n\n", known.kind, known.schema.about);
    let short = if known.short.is_empty() { "–".to_owned() } else { coded(known.short) };
    let categories = if known.categories.is_empty() { "–".to_owned() } else { coded(known.categories) };
    let facts = [
        ("apiVersion", format!("`{}`", known.api_version())),
        ("kind", format!("`{}`", known.kind)),
        ("in paths and on the command line", format!("`{}`, `{}`", known.plural, known.singular)),
        ("short names", short),
        ("categories", categories),
        ("where", place(known.scope).to_owned()),
        ("name", sentence_of(&known.name.words())),
        ("written by", if known.writable { "people" } else { "the fabric" }.to_owned()),
        ("verbs", coded(known.verbs())),
        ("path", format!("`{}`", path(known))),
    ];
    let mut table = Table::new(&["", ""]);
    for (what, value) in facts {
        table.row(&[what, &value]);
    }
    text.push_str(&table.to_string());
    write!(text, "\n## Example\n\n```yaml\n{}```\n", example(kind)).expect("a text takes text");
    text.push_str("\n## Fields\n\nWithout a default, a field that is not required is simply not there.\n\n");
    let mut table = Table::of_fields();
    for field in table::top(known.schema) {
        if field.name == "metadata" {
            let link = format!("The object's name, labels and the like: [metadata]({METADATA}).");
            table.row(&["`metadata`", "object", "required", "", &link]);
        } else {
            table.field("", field);
        }
    }
    text.push_str(&table.to_string());
    if !known.columns.is_empty() {
        text.push_str(&columns(known));
    }
    text
}

/// A document of a kind that is right.
pub const fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Tenant => include_str!("examples/tenant.yaml"),
        Kind::Node => include_str!("examples/node.yaml"),
        Kind::Namespace => include_str!("examples/namespace.yaml"),
        Kind::VirtualNetwork => include_str!("examples/virtualnetwork.yaml"),
        Kind::Endpoint => include_str!("examples/endpoint.yaml"),
        Kind::NetworkPolicy => include_str!("examples/networkpolicy.yaml"),
        Kind::Role => include_str!("examples/role.yaml"),
        Kind::ClusterRole => include_str!("examples/clusterrole.yaml"),
        Kind::RoleBinding => include_str!("examples/rolebinding.yaml"),
        Kind::ClusterRoleBinding => include_str!("examples/clusterrolebinding.yaml"),
    }
}

fn index() -> String {
    let mut table = Table::new(&["kind", "group and version", "short names", "where", "what it is"]);
    for kind in Kind::ALL {
        let known = kind.descriptor();
        table.row(&[
            &format!("[{}]({})", known.kind, file(kind)),
            &format!("`{}`", known.api_version()),
            &coded(known.short),
            place(known.scope),
            first_sentence(known.schema),
        ]);
    }
    format!(
        "# Reference of the kinds\n\n{INTRODUCTION}\n\n{table}\nEvery object also has [metadata]({METADATA}).\n"
    )
}

fn metadata() -> String {
    let mut table = Table::of_fields();
    let metadata = Kind::Tenant.descriptor().schema.field("metadata");
    for field in metadata.into_iter().flat_map(|metadata| table::top(&metadata.schema)) {
        table.field("metadata.", field);
    }
    format!(
        "# metadata\n\nWhat every object has, whatever its kind. Most of it the server sets: a client writes `name` (or \
         `generateName`), `namespace` for a namespaced kind, `labels` and `annotations`.\n\n{table}"
    )
}

fn columns(known: &Descriptor) -> String {
    let mut table = Table::new(&["column", "from", "what it tells"]);
    for column in known.columns {
        let shown = if column.priority > 0 { " (with `-o wide`)" } else { "" };
        table.row(&[column.name, &format!("`{}`", column.path), &format!("{}{shown}.", column.about)]);
    }
    format!(
        "\n## Columns\n\nWhat `kubectl get {}` and `sealane get {}` show between name and age.\n\n{table}",
        known.plural, known.plural
    )
}

fn file(kind: Kind) -> String {
    format!("{}.md", kind.descriptor().singular)
}

const fn place(scope: Scope) -> &'static str {
    match scope {
        Scope::Provider => "at the provider's level",
        Scope::Tenant => "in a tenant",
        Scope::Level => "in a tenant, or at the provider's level",
        Scope::Namespaced => "in a namespace of a tenant",
    }
}

fn path(known: &Descriptor) -> String {
    let root = if known.group.is_empty() { "/api" } else { "/apis" };
    let namespace = if known.namespaced() { "/namespaces/NAMESPACE" } else { "" };
    let tenant = if known.scope == Scope::Provider { "/clusters/system" } else { "/clusters/TENANT" };
    format!("{tenant}{root}/{}{namespace}/{}/NAME", known.api_version(), known.plural)
}

fn coded(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn sentence_of(words: &str) -> String {
    if words.is_empty() { "any text".to_owned() } else { words.to_owned() }
}

fn first_sentence(schema: &Schema) -> &'static str {
    schema.about.split_inclusive(". ").next().unwrap_or_default().trim_end()
}

/// The page about metadata.
const METADATA: &str = "metadata.md";

const INTRODUCTION: &str = "\
What can be written, field by field. These pages come from the types that the server checks documents against, and a test holds
them equal: `REWRITE=1 cargo test -p intent --test reference` writes them anew. `kubectl explain KIND` and `sealane reference KIND`
say the same; `sealane reference --crd` prints Sealane's own kinds as custom resource definitions. Which of Kubernetes' API
conventions hold is told in [conventions](../conventions.md).";
