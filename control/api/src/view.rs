//! How objects are shown: whole, as their metadata alone, or as rows of a table (meta.k8s.io/v1 `Table`).

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, header};
use intent::Kind;
use intent::registry::{Cells, Column};
use serde_json::{Map, Value, json};
use store::Object;

use crate::jsonpath;
use crate::query::IncludeObject;
use crate::status::{Reason, Refusal};

/// The form that a client asked for by `Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Metadata,
    Table(IncludeObject),
}

/// What a list says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListMeta {
    pub(crate) revision: u64,
    pub(crate) continue_token: Option<String>,
    pub(crate) remaining: Option<usize>,
}

impl Form {
    /// The first form in `Accept` that can be given. Errors: 406.
    pub(crate) fn negotiate(headers: &HeaderMap, include: IncludeObject) -> Result<Self, Refusal> {
        let mut accepted = headers.get_all(header::ACCEPT).iter().peekable();
        if accepted.peek().is_none() {
            return Ok(Self::Whole);
        }
        let ranges = accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        ranges.filter_map(|range| Self::of(range, include)).next().ok_or_else(|| {
            let message = "only the following media types can be given: application/json, \
                           application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
            Refusal::new(Reason::NotAcceptable, message)
        })
    }

    fn of(range: &str, include: IncludeObject) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let parameter = |name: &str| {
            let mut parameters = range.split(';').skip(1).filter_map(|part| part.trim().split_once('='));
            parameters.find(|(found, _)| *found == name).map(|(_, value)| value.trim())
        };
        match (parameter("as"), parameter("g"), parameter("v")) {
            (None, _, _) => Some(Self::Whole),
            (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Some(Self::Table(include)),
            (
                Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
                Some("meta.k8s.io"),
                Some("v1"),
            ) => Some(Self::Metadata),
            _ => None,
        }
    }

    /// One object in this form.
    pub(crate) fn one(self, kind: Kind, object: Value) -> Value {
        match self {
            Self::Whole => object,
            Self::Metadata => metadata_of(&object),
            Self::Table(include) => {
                let revision = object["metadata"]["resourceVersion"].clone();
                table(kind, vec![object], include, json!({ "resourceVersion": revision }))
            }
        }
    }

    /// A list in this form.
    pub(crate) fn many(self, kind: Kind, objects: Vec<Value>, meta: &ListMeta) -> Value {
        let known = kind.descriptor();
        let (version, name, items) = match self {
            Self::Table(include) => return table(kind, objects, include, meta.to_json()),
            Self::Whole => (known.api_version(), format!("{}List", known.kind), objects),
            Self::Metadata => {
                let items = objects.iter().map(metadata_of).collect();
                ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned(), items)
            }
        };
        json!({ "apiVersion": version, "kind": name, "metadata": meta.to_json(), "items": items })
    }
}

impl ListMeta {
    fn to_json(&self) -> Value {
        let mut meta = json!({ "resourceVersion": self.revision.to_string() });
        if let Some(token) = &self.continue_token {
            meta["continue"] = json!(token);
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = json!(remaining);
        }
        meta
    }
}

/// A stored object as clients see it: with its revision in the metadata.
pub(crate) fn present(object: &Object) -> Value {
    at_revision(&object.value, object.revision)
}

/// A document as of a revision.
pub(crate) fn at_revision(document: &Value, revision: u64) -> Value {
    let mut shown = document.clone();
    if let Some(metadata) = shown.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
    }
    shown
}

fn metadata_of(object: &Value) -> Value {
    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"] })
}

fn table(kind: Kind, objects: Vec<Value>, include: IncludeObject, meta: Value) -> Value {
    let columns = kind.descriptor().columns;
    let now = SystemTime::now();
    let rows: Vec<_> = objects
        .into_iter()
        .map(|object| {
            let mut row = Map::new();
            row.insert("cells".to_owned(), cells(columns, &object, now));
            match include {
                IncludeObject::Metadata => row.insert("object".to_owned(), metadata_of(&object)),
                IncludeObject::Object => row.insert("object".to_owned(), object),
                IncludeObject::None => None,
            };
            Value::Object(row)
        })
        .collect();
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "Table", "metadata": meta,
        "columnDefinitions": definitions(columns), "rows": rows,
    })
}

fn definitions(columns: &[Column]) -> Vec<Value> {
    let define = |name: &str, cells: &str, format: &str, about: &str, priority: u8| json!({ "name": name, "type": cells, "format": format, "description": about, "priority": priority });
    let name = define("Name", "string", "name", "The object's name, unique in its namespace", 0);
    let age = define("Age", "string", "", "The time since it was created", 0);
    let own = columns
        .iter()
        .map(|column| define(column.name, column.cells.type_name(), "", column.about, column.priority));
    std::iter::once(name).chain(own).chain([age]).collect()
}

fn cells(columns: &[Column], object: &Value, now: SystemTime) -> Value {
    let name = object["metadata"]["name"].clone();
    let age = age(&object["metadata"]["creationTimestamp"], now);
    let own = columns.iter().map(|column| cell(column, &jsonpath::find(object, column.path), now));
    std::iter::once(name).chain(own).chain([Value::String(age)]).collect()
}

/// Nothing found is `null`, which clients show as `<none>`.
fn cell(column: &Column, found: &[&Value], now: SystemTime) -> Value {
    match (column.cells, found) {
        (_, []) => Value::Null,
        (Cells::Number, [number, ..]) => (*number).clone(),
        (Cells::Date, [moment, ..]) => Value::String(age(moment, now)),
        (Cells::Text, found) => found.iter().map(|value| text(value)).collect::<Vec<_>>().join(",").into(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(selector)
            if selector.keys().all(|key| matches!(key.as_str(), "matchLabels" | "matchExpressions")) =>
        {
            selector_text(selector)
        }
        // A binding's role, as people name objects.
        Value::Object(role) if role.len() == 3 && role.contains_key("apiGroup") => {
            let part = |field: &str| role.get(field).and_then(Value::as_str).unwrap_or_default();
            format!("{}/{}", part("kind"), part("name"))
        }
        other => other.to_string(),
    }
}

/// A label selector as people type it.
fn selector_text(selector: &Map<String, Value>) -> String {
    let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    let expressions = expressions.map(|expression| {
        let key = expression["key"].as_str().unwrap_or_default();
        let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let values = values.collect::<Vec<_>>().join(",");
        match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        }
    });
    let text = labels.chain(expressions).collect::<Vec<_>>().join(",");
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// How long ago a moment is, in the short form that clients expect: `37s`, `4m10s`, `3h`, `2d5h`, `1y40d`.
fn age(moment: &Value, now: SystemTime) -> String {
    let moment = moment.as_str().and_then(|text| humantime::parse_rfc3339(text).ok());
    moment.map_or("<unknown>".to_owned(), |moment| short(now.duration_since(moment).unwrap_or_default()))
}

fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large}{large_unit}")
        } else {
            format!("{large}{large_unit}{small}{small_unit}")
        }
    };
    match (minutes, hours, days) {
        (..2, _, _) => format!("{seconds}s"),
        (..10, _, _) => two(minutes, "m", seconds % 60, "s"),
        (_, ..3, _) => format!("{minutes}m"),
        (_, ..8, _) => two(hours, "h", minutes % 60, "m"),
        (_, ..48, _) => format!("{hours}h"),
        (_, _, ..8) => two(days, "d", hours % 24, "h"),
        (_, _, ..730) => format!("{days}d"),
        (_, _, ..2920) => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (3599, "59m"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600 + 60, "8h"),
            (48 * 3600, "2d"),
            (53 * 3600, "2d5h"),
            (9 * 86_400, "9d"),
            (800 * 86_400, "2y70d"),
            (3650 * 86_400, "10y"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(age(&Value::Null, SystemTime::now()), "<unknown>");
    }

    #[test]
    fn a_client_gets_the_first_form_that_can_be_given() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let form = |accept: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            Form::negotiate(&headers, IncludeObject::Metadata).map_err(|refusal| refusal.reason())
        };
        assert_eq!(form(&format!("{table},application/json")), Ok(Form::Table(IncludeObject::Metadata)));
        assert_eq!(form(&format!("application/json;as=Table;v=v1beta1;g=meta.k8s.io, {table}")), form(table));
        assert_eq!(form("application/vnd.kubernetes.protobuf, */*"), Ok(Form::Whole));
        assert_eq!(
            form("application/json;g=meta.k8s.io;v=v1;as=PartialObjectMetadataList"),
            Ok(Form::Metadata)
        );
        assert_eq!(form("application/vnd.kubernetes.protobuf"), Err(Reason::NotAcceptable));
        assert_eq!(Form::negotiate(&HeaderMap::new(), IncludeObject::None).unwrap(), Form::Whole);
    }

    #[test]
    fn selectors_are_shown_as_people_type_them() {
        let selector = json!({ "matchLabels": { "app": "web" }, "matchExpressions": [
            { "key": "tier", "operator": "In", "values": ["a", "b"] }, { "key": "old", "operator": "DoesNotExist" }] });
        assert_eq!(text(&selector), "app=web,tier in (a,b),!old");
        assert_eq!(text(&json!({})), "<none>");
    }
}
