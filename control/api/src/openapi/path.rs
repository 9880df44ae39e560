//! What can be done at which path, as OpenAPI says it.

use intent::Kind;
use intent::schema::Dialect;
use serde_json::{Map, Value, json};

use super::name::{list_name, reference, schema_name};
use super::part::{DELETE_OPTIONS_NAME, STATUS_NAME};

/// What is done with objects of a kind, in the words of `x-kubernetes-action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    List,
    Post,
    Put,
    Patch,
    Delete,
    DeleteCollection,
}

/// A parameter in a query.
type Parameter = (&'static str, &'static str, &'static str);

/// Every path of a kind with what can be done there.
pub(super) fn paths(kind: Kind, dialect: Dialect) -> Map<String, Value> {
    let known = kind.descriptor();
    let root = if known.group.is_empty() { "/api" } else { "/apis" };
    let root = format!("{root}/{}", known.api_version());
    let mut paths = Map::new();
    let mut add = |path: String, within: &[&str], actions: &[Action]| {
        let parameters: Vec<_> = within.iter().map(|name| path_parameter(name, dialect)).collect();
        let mut item = Map::new();
        for action in actions {
            let id = format!("{}{}{}", action.word(), known.kind, place(&path, known.plural));
            item.insert(action.method().to_owned(), operation(kind, *action, &id, dialect));
        }
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), parameters.into());
        }
        paths.insert(path, item.into());
    };
    let (all, within): (String, &[&str]) = if known.namespaced() {
        add(format!("{root}/{}", known.plural), &[], &[Action::List]);
        (format!("{root}/namespaces/{{namespace}}/{}", known.plural), &["name", "namespace"])
    } else {
        (format!("{root}/{}", known.plural), &["name"])
    };
    let (mut many, mut one, mut status) = (vec![Action::List], vec![Action::Get], vec![Action::Get]);
    if known.writable {
        many.extend([Action::Post, Action::DeleteCollection]);
        one.extend([Action::Put, Action::Patch]);
        status.extend([Action::Put, Action::Patch]);
    }
    if known.deletable() {
        one.push(Action::Delete);
    }
    if known.has_status() {
        add(format!("{all}/{{name}}/status"), within, &status);
    }
    add(format!("{all}/{{name}}"), within, &one);
    add(all, &within[1..], &many);
    paths
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Get | Self::List => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete | Self::DeleteCollection => "delete",
        }
    }

    const fn about(self) -> &'static str {
        match self {
            Self::Get => "Read one object.",
            Self::List => "List objects, or with ?watch=true follow what happens to them.",
            Self::Post => "Make an object.",
            Self::Put => "Replace an object.",
            Self::Patch => "Change parts of an object.",
            Self::Delete => "Delete an object.",
            Self::DeleteCollection => "Delete every object that the selectors mean.",
        }
    }

    fn parameters(self) -> Vec<Parameter> {
        match self {
            Self::Get => Vec::new(),
            Self::List => [SELECTORS, PAGES].concat(),
            Self::Post | Self::Put | Self::Patch => WRITES.to_vec(),
            Self::Delete => WRITES[..1].to_vec(),
            Self::DeleteCollection => [SELECTORS, &WRITES[..1]].concat(),
        }
    }

    /// What the answer holds.
    fn answer(self, kind: Kind) -> String {
        match self {
            Self::Get | Self::Post | Self::Put | Self::Patch => schema_name(kind),
            Self::List => list_name(kind),
            Self::Delete | Self::DeleteCollection => STATUS_NAME.to_owned(),
        }
    }

    /// What the body holds: its schema and its media types.
    fn body(self, kind: Kind) -> Option<(Option<String>, &'static [&'static str])> {
        match self {
            Self::Get | Self::List => None,
            Self::Post | Self::Put => Some((Some(schema_name(kind)), JSON)),
            Self::Patch => Some((None, PATCHES)),
            Self::Delete | Self::DeleteCollection => Some((Some(DELETE_OPTIONS_NAME.to_owned()), JSON)),
        }
    }
}

fn operation(kind: Kind, action: Action, id: &str, dialect: Dialect) -> Value {
    let known = kind.descriptor();
    let mut operation = json!({
        "description": action.about(),
        "operationId": id,
        "x-kubernetes-action": action.word(),
        "x-kubernetes-group-version-kind": { "group": known.group, "version": known.version, "kind": known.kind },
    });
    let mut parameters: Vec<_> =
        action.parameters().into_iter().map(|parameter| query_parameter(parameter, dialect)).collect();
    let code = if action == Action::Post { "201" } else { "200" };
    let answer = reference(&action.answer(kind), dialect);
    if dialect == Dialect::V2 {
        operation["produces"] = json!(JSON);
        if let Some((schema, media)) = action.body(kind) {
            let schema = schema.map_or_else(|| json!({ "type": "object" }), |name| reference(&name, dialect));
            let required = !matches!(action, Action::Delete | Action::DeleteCollection);
            parameters.push(json!({ "name": "body", "in": "body", "required": required, "schema": schema }));
            operation["consumes"] = json!(media);
        }
        operation["responses"] = json!({ code: { "description": "Done.", "schema": answer } });
    } else {
        if let Some((schema, media)) = action.body(kind) {
            let schema = schema.map_or_else(|| json!({}), |name| reference(&name, dialect));
            let content: Map<_, _> =
                media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect();
            operation["requestBody"] = json!({ "content": content });
        }
        operation["responses"] =
            json!({ code: { "description": "Done.", "content": { JSON[0]: { "schema": answer } } } });
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    operation
}

/// What tells operations of one kind and action apart.
fn place(path: &str, plural: &str) -> &'static str {
    match (path.contains("{namespace}"), path.ends_with("/status"), path.ends_with(plural)) {
        (_, true, _) => "Status",
        (true, _, true) => "InNamespace",
        (false, _, true) => "All",
        _ => "",
    }
}

fn path_parameter(name: &str, dialect: Dialect) -> Value {
    let about = if name == "name" { "The object's name." } else { "The object's namespace." };
    typed(json!({ "name": name, "in": "path", "description": about, "required": true }), "string", dialect)
}

fn query_parameter((name, kind, about): Parameter, dialect: Dialect) -> Value {
    typed(json!({ "name": name, "in": "query", "description": about }), kind, dialect)
}

fn typed(mut parameter: Value, kind: &str, dialect: Dialect) -> Value {
    if dialect == Dialect::V2 {
        parameter["type"] = kind.into();
    } else {
        parameter["schema"] = json!({ "type": kind });
    }
    parameter
}

const JSON: &[&str] = &["application/json"];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

const SELECTORS: &[Parameter] = &[
    ("labelSelector", "string", "Which labels the objects must have, such as app=web,tier!=db."),
    ("fieldSelector", "string", "Which fields the objects must have, such as metadata.name=web."),
];

const PAGES: &[Parameter] = &[
    ("limit", "integer", "How many objects a page holds at most."),
    ("continue", "string", "Where the page begins: what the page before gave in metadata.continue."),
    ("resourceVersion", "string", "The revision that the list, or the watch's beginning, is about."),
    ("resourceVersionMatch", "string", "How the revision is meant: Exact or NotOlderThan."),
    ("watch", "boolean", "Whether to follow what happens to the objects."),
    ("allowWatchBookmarks", "boolean", "Whether a watch tells now and then how far it is."),
    ("sendInitialEvents", "boolean", "Whether a watch begins with the objects that there are."),
    ("timeoutSeconds", "integer", "After how many seconds a watch ends."),
];

/// The first is for deletions too.
const WRITES: &[Parameter] = &[
    ("dryRun", "string", "All: nothing is kept, the answer is as if."),
    ("fieldManager", "string", "Who writes; not kept."),
    (
        "fieldValidation",
        "string",
        "What becomes of unknown and repeated fields: Strict refuses, Warn (the default) warns, Ignore drops them.",
    ),
];
