//! `sealane get`: show objects, once or as they change.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use intent::Kind;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::table::Table;
use super::{Wanted, place, title, wanted};
use crate::client::{Ask, Client, ClientError, Query};
use crate::failure::Failure;
use crate::output::{self, Columns};
use crate::settings::{Format, Settings};

/// Show objects
///
/// The kinds are tenants, nodes, namespaces (ns), virtualnetworks (vnet), endpoints (ep) and networkpolicies (netpol).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane get vnet                           the tenant's virtual networks
  sealane get ep -A -o wide                  every namespace's endpoints, all columns
  sealane get netpol web -n shop -o yaml     one policy, whole
  sealane get vnet/blue ns/shop              objects of several kinds
  sealane get ep -l app=web -w               endpoints with a label, and then whatever becomes of them")]
pub(crate) struct Get {
    /// KIND[,KIND...] [NAME...], or KIND/NAME...
    #[arg(value_name = "KIND", required = true)]
    words: Vec<String>,

    /// In every namespace of the tenant
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,

    /// Only objects with these labels, such as app=web,tier!=db
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    labels: Option<String>,

    /// Go on and show what changes
    #[arg(short, long)]
    watch: bool,
}

impl Get {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let all = wanted(&self.words)?;
        let client = settings.client()?;
        if self.watch {
            return match all.as_slice() {
                [one] if one.names.len() <= 1 => self.watch(&client, settings, one),
                _ => Err(Failure::usage(
                    "several things cannot be watched at once",
                    "name one kind, or one object",
                )),
            };
        }
        match settings.output {
            Format::Table | Format::Wide => self.tables(&client, settings, &all),
            Format::Json | Format::Yaml | Format::Name => self.documents(&client, settings, &all),
        }
    }

    fn namespace<'a>(&self, kind: Kind, settings: &'a Settings) -> Option<&'a str> {
        if self.all_namespaces { None } else { super::namespace_of(kind, settings.namespace()) }
    }

    /// The path of all objects of a kind, narrowed to labels and a name.
    fn path(&self, kind: Kind, name: Option<&str>, settings: &Settings) -> (String, Query) {
        let path = settings.place(self.namespace(kind, settings)).of_all(kind);
        let field = name.map(|name| format!("metadata.name={name}"));
        let query = Query::default().with_some("labelSelector", self.labels.as_deref());
        (path, query.with_some("fieldSelector", field.as_deref()))
    }

    fn with_namespace(&self, kind: Kind) -> bool {
        self.all_namespaces && kind.descriptor().namespaced()
    }

    fn tables(&self, client: &Client, settings: &Settings, all: &[Wanted]) -> Result<(), Failure> {
        let mut out = output::screen();
        let wide = settings.output == Format::Wide;
        let (mut shown, mut missing) = (0, Vec::new());
        for one in all {
            let with_namespace = self.with_namespace(one.kind);
            let mut columns: Option<Columns> = None;
            for table in self.pages(client, settings, one, &mut missing)? {
                let columns = columns.get_or_insert_with(|| table.columns(with_namespace, wide));
                table.fill(columns, with_namespace, wide);
            }
            let Some(mut columns) = columns.filter(|columns| !columns.is_empty()) else { continue };
            if shown > 0 {
                writeln!(out)?;
            }
            columns.write(&mut out)?;
            shown += 1;
        }
        if shown == 0 && missing.is_empty() {
            let searched = match (&settings.namespace, self.all_namespaces) {
                (_, true) => "in any namespace".to_owned(),
                (named, false) => format!("in namespace {}", named.as_deref().unwrap_or("default")),
            };
            let namespaced = all.iter().any(|one| one.kind.descriptor().namespaced());
            self.check_place(client, settings, all)?;
            eprintln!("nothing found{}", if namespaced { format!(" {searched}") } else { String::new() });
        }
        self.told_missing(client, settings, (missing, all))
    }

    /// Whether what was asked about can be anywhere: nothing was found.
    fn check_place(&self, client: &Client, settings: &Settings, all: &[Wanted]) -> Result<(), Failure> {
        let namespace = all.iter().find_map(|one| self.namespace(one.kind, settings));
        place::check(client, settings, namespace)
    }

    fn told_missing(
        &self,
        client: &Client,
        settings: &Settings,
        (missing, all): (Vec<ClientError>, &[Wanted]),
    ) -> Result<(), Failure> {
        if !missing.is_empty() {
            self.check_place(client, settings, all)?;
        }
        told_missing(missing, all)
    }

    /// The rows of a kind: all of them page by page, or those of the names.
    fn pages(
        &self,
        client: &Client,
        settings: &Settings,
        one: &Wanted,
        missing: &mut Vec<ClientError>,
    ) -> Result<Vec<Table>, Failure> {
        if !one.names.is_empty() && !self.all_namespaces {
            let home = settings.place(self.namespace(one.kind, settings));
            let paths = one.names.iter().map(|name| home.of(one.kind, name));
            let found = paths.map(|path| ask_table(client, &path));
            return sorted(found, missing);
        }
        let mut tables = Vec::new();
        for name in names_or_all(one) {
            let (path, query) = self.path(one.kind, name, settings);
            tables.extend(paged(client, &path, &query)?);
        }
        Ok(tables)
    }

    fn documents(&self, client: &Client, settings: &Settings, all: &[Wanted]) -> Result<(), Failure> {
        let mut out = output::screen();
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for one in all {
            let home = settings.place(self.namespace(one.kind, settings));
            if one.names.is_empty() || self.all_namespaces {
                for name in names_or_all(one) {
                    let (path, query) = self.path(one.kind, name, settings);
                    let list = client.read(&query.on(&path))?;
                    let known = one.kind.descriptor();
                    let items = list["items"].as_array().cloned().unwrap_or_default();
                    found.extend(
                        items
                            .into_iter()
                            .map(|item| (one.kind, typed(item, &known.api_version(), known.kind))),
                    );
                }
            } else {
                let paths = one.names.iter().map(|name| home.of(one.kind, name));
                let objects = sorted(paths.map(|path| client.read(&path)), &mut missing)?;
                found.extend(objects.into_iter().map(|object| (one.kind, object)));
            }
        }
        if found.is_empty() && missing.is_empty() {
            self.check_place(client, settings, all)?;
        }
        if settings.output == Format::Name {
            for (kind, object) in &found {
                writeln!(out, "{}", title(*kind, super::text(object, &["metadata", "name"])))?;
            }
        } else {
            let single = matches!(all, [one] if one.names.len() == 1) && found.len() == 1;
            let mut objects: Vec<Value> = found.into_iter().map(|(_, object)| object).collect();
            let document = match objects.pop() {
                Some(object) if single => object,
                last => {
                    objects.extend(last);
                    json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": objects})
                }
            };
            if missing.is_empty() || !single {
                output::document(&mut out, settings.output, &document)?;
            }
        }
        self.told_missing(client, settings, (missing, all))
    }

    /// Shows what is there and then every change. When the server has forgotten where this stands, it begins anew.
    fn watch(&self, client: &Client, settings: &Settings, one: &Wanted) -> Result<(), Failure> {
        let name = one.names.first().map(String::as_str);
        let (path, query) = self.path(one.kind, name, settings);
        let wide = settings.output == Format::Wide;
        let with_namespace = self.with_namespace(one.kind);
        let mut out = output::screen();
        let first = ask_table(client, &query.on(&path))?;
        let mut columns = first.columns(with_namespace, wide);
        first.fill(&mut columns, with_namespace, wide);
        let tabular = matches!(settings.output, Format::Table | Format::Wide);
        if first.rows.is_empty() {
            self.check_place(client, settings, std::slice::from_ref(one))?;
        }
        if tabular {
            columns.write(&mut out)?;
        }
        let mut revision = first.metadata.resource_version.clone();
        loop {
            let query = query.clone().with("watch", "true").with("allowWatchBookmarks", "true");
            let watched = query.with("resourceVersion", &revision).on(&path);
            let ask = if tabular { Ask::table(&watched) } else { Ask::read(&watched) };
            let mut lines = match client.follow(&ask) {
                Err(error) if error.is_expired() => {
                    revision = ask_table(client, &path)?.metadata.resource_version;
                    continue;
                }
                lines => lines?,
            };
            while let Some(line) = lines.next()? {
                let event: Value = understood("watch", serde_json::from_slice(&line))?;
                let object = &event["object"];
                match super::text(&event, &["type"]) {
                    "ERROR" => {
                        revision = ask_table(client, &path)?.metadata.resource_version;
                        break;
                    }
                    "BOOKMARK" => remember(object, &mut revision),
                    kind if tabular => {
                        let mut table: Table = understood("watch", serde_json::from_value(object.clone()))?;
                        table.continue_from(&first);
                        remember(object, &mut revision);
                        table.rows.iter().for_each(|row| row.remember(&mut revision));
                        if kind == "DELETED" {
                            table.rows.iter_mut().for_each(super::table::Row::mark_deleted);
                        }
                        table.fill(&mut columns, with_namespace, wide);
                        columns.write_rows(&mut out)?;
                    }
                    _ => {
                        remember(object, &mut revision);
                        self.changed(&mut out, settings.output, one.kind, object)?;
                    }
                }
            }
            std::thread::sleep(BEFORE_AGAIN);
        }
    }

    fn changed(
        &self,
        out: &mut dyn Write,
        format: Format,
        kind: Kind,
        object: &Value,
    ) -> Result<(), Failure> {
        match format {
            Format::Name => writeln!(out, "{}", title(kind, super::text(object, &["metadata", "name"])))?,
            Format::Yaml => {
                writeln!(out, "---")?;
                output::document(out, format, object)?;
            }
            _ => writeln!(out, "{object}")?,
        }
        Ok(out.flush()?)
    }
}

fn names_or_all(one: &Wanted) -> Vec<Option<&str>> {
    if one.names.is_empty() { vec![None] } else { one.names.iter().map(|name| Some(name.as_str())).collect() }
}

/// Keeps where a watch stands.
fn remember(object: &Value, revision: &mut String) {
    let now = super::text(object, &["metadata", "resourceVersion"]);
    if !now.is_empty() {
        now.clone_into(revision);
    }
}

fn ask_table(client: &Client, path: &str) -> Result<Table, ClientError> {
    let reply = client.ask(&Ask::table(path))?;
    let strange =
        |source| ClientError::Strange { address: client.address().clone(), path: path.to_owned(), source };
    serde_json::from_value(reply.value).map_err(strange)
}

fn paged(client: &Client, path: &str, query: &Query) -> Result<Vec<Table>, Failure> {
    let query = query.clone().with("limit", PAGE);
    let mut tables = vec![ask_table(client, &query.on(path))?];
    while let Some(more) =
        tables.last().map(|table| table.metadata.more.clone()).filter(|more| !more.is_empty())
    {
        tables.push(ask_table(client, &query.clone().with("continue", more).on(path))?);
    }
    Ok(tables)
}

/// Keeps what was found and what is missing apart; any other error ends it.
fn sorted<T>(
    answers: impl Iterator<Item = Result<T, ClientError>>,
    missing: &mut Vec<ClientError>,
) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    for answer in answers {
        match answer {
            Ok(one) => found.push(one),
            Err(error) if error.is_missing() => missing.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn told_missing(mut missing: Vec<ClientError>, all: &[Wanted]) -> Result<(), Failure> {
    let Some(last) = missing.pop() else { return Ok(()) };
    if missing.is_empty() {
        return Err(last.into());
    }
    let failed = missing.len() + 1;
    for error in missing.iter().chain([&last]) {
        eprintln!("{}", crate::failure::printable(&error.to_string()));
    }
    Err(Failure::Partly { failed, all: all.iter().map(|one| one.names.len()).sum() })
}

/// Items of a list do not say their kind; by themselves they have to.
fn typed(mut item: Value, version: &str, kind: &str) -> Value {
    if let Some(object) = item.as_object_mut() {
        object.entry("apiVersion").or_insert_with(|| version.into());
        object.entry("kind").or_insert_with(|| kind.into());
    }
    item
}

/// An answer in the form that is expected.
pub(crate) fn understood<T: DeserializeOwned>(
    question: &'static str,
    answer: Result<T, serde_json::Error>,
) -> Result<T, Failure> {
    answer.map_err(|source| Failure::Answer { question, source })
}

const PAGE: &str = "500";

/// A server ends a watch now and then; one that ends it at once is not asked at once again.
const BEFORE_AGAIN: Duration = Duration::from_millis(200);
