//! The options of a request's query, parsed.
//!
//! Promises: an option that is understood is valid; one that is not known is ignored, as upstream does.

use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;

use crate::selector::{FieldSelector, LabelSelector};
use crate::status::Refusal;

/// Everything that a query may ask for. Each verb looks at its own part.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) version: Version,
    /// Items in one page; `None`: all.
    pub(crate) limit: Option<usize>,
    pub(crate) continue_token: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    pub(crate) dry_run: bool,
    /// `propagationPolicy` of a deletion, as it was given.
    pub(crate) propagation: Option<String>,
    /// `orphanDependents` of a deletion: the same in the old form.
    pub(crate) orphan: Option<bool>,
    pub(crate) validation: Validation,
    pub(crate) include_object: IncludeObject,
}

/// Which revision a read is about (the table of `resourceVersion` and `resourceVersionMatch` in the API concepts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    /// The newest.
    #[default]
    Newest,
    /// Any: `0`.
    Any,
    /// This one or a newer.
    NotOlderThan(u64),
    /// This one and no other.
    Exact(u64),
}

/// What happens to unknown and repeated fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Validation {
    /// They are dropped.
    Ignore,
    /// They are dropped with a `Warning` header: what requests without the option mean.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

/// What each row of a table carries beside its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    #[default]
    Metadata,
    Object,
    None,
}

impl Options {
    pub(crate) fn parse(uri: &Uri) -> Result<Self, Refusal> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(pairs) = pairs.map_err(|error| Refusal::bad_request(format!("read the query: {error}")))?;
        let mut options = Self::default();
        let mut version = None;
        let mut matching = None;
        for (name, value) in &pairs {
            match name.as_str() {
                "watch" => options.watch = flag(name, value)?,
                "allowWatchBookmarks" => options.bookmarks = flag(name, value)?,
                "sendInitialEvents" => options.send_initial_events = Some(flag(name, value)?),
                "timeoutSeconds" => options.timeout = seconds(name, value)?,
                "resourceVersion" if !value.is_empty() => version = Some(number(name, value)?),
                "resourceVersionMatch" if !value.is_empty() => matching = Some(value.as_str()),
                "limit" => options.limit = Some(number(name, value)? as usize).filter(|limit| *limit > 0),
                "continue" if !value.is_empty() => options.continue_token = Some(value.clone()),
                "labelSelector" => options.labels = LabelSelector::parse(value)?,
                "fieldSelector" => options.fields = FieldSelector::parse(value)?,
                "dryRun" => options.dry_run = dry_run(value)?,
                "propagationPolicy" if !value.is_empty() => options.propagation = Some(value.clone()),
                "orphanDependents" => options.orphan = Some(flag(name, value)?),
                "fieldValidation" => options.validation = validation(value)?,
                "includeObject" => options.include_object = include_object(value)?,
                _ => {}
            }
        }
        if options.watch {
            check_watch(matching, options.send_initial_events)?;
        } else if options.send_initial_events.is_some() {
            return Err(Refusal::bad_request(
                "sendInitialEvents is forbidden for list: it is an option of watch",
            ));
        } else if matching.is_some() {
            check_match(version, &options)?;
        }
        options.version =
            self::version(version, matching, options.continue_token.is_some() && !options.watch)?;
        Ok(options)
    }
}

/// What upstream holds of the options of a watch.
fn check_watch(matching: Option<&str>, initial: Option<bool>) -> Result<(), Refusal> {
    match (initial, matching) {
        (None, Some(_)) => Err(Refusal::bad_request(
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is given",
        )),
        (Some(_), matching) if matching != Some("NotOlderThan") => Err(Refusal::bad_request(
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        _ => Ok(()),
    }
}

/// What upstream holds of `resourceVersionMatch` in a list.
fn check_match(version: Option<u64>, options: &Options) -> Result<(), Refusal> {
    if options.continue_token.is_some() {
        return Err(Refusal::bad_request("resourceVersionMatch is forbidden when continue is provided"));
    }
    if version.is_none() {
        return Err(Refusal::bad_request(
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    Ok(())
}

fn version(version: Option<u64>, matching: Option<&str>, continued: bool) -> Result<Version, Refusal> {
    if continued && version.is_some_and(|version| version > 0) {
        return Err(Refusal::bad_request("specifying resource version is not allowed when using continue"));
    }
    match (version, matching) {
        (None, None | Some("NotOlderThan")) => Ok(Version::Newest),
        (Some(0), None | Some("NotOlderThan")) => Ok(Version::Any),
        (Some(version), None | Some("NotOlderThan")) => Ok(Version::NotOlderThan(version)),
        (Some(version), Some("Exact")) if version > 0 => Ok(Version::Exact(version)),
        (_, Some("Exact")) => {
            Err(Refusal::bad_request("resourceVersionMatch Exact needs a resourceVersion above 0"))
        }
        (_, Some(other)) => Err(Refusal::bad_request(format!(
            "resourceVersionMatch {other:?} is neither Exact nor NotOlderThan"
        ))),
    }
}

/// As upstream reads booleans of a query: an empty value counts as set.
fn flag(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(Refusal::bad_request(format!("{name} {other:?} is neither true nor false"))),
    }
}

fn number(name: &str, value: &str) -> Result<u64, Refusal> {
    value.parse().map_err(|_| Refusal::bad_request(format!("{name} {value:?} is no number of 0 or more")))
}

fn seconds(name: &str, value: &str) -> Result<Option<Duration>, Refusal> {
    Ok(Some(number(name, value)?).filter(|seconds| *seconds > 0).map(Duration::from_secs))
}

fn dry_run(value: &str) -> Result<bool, Refusal> {
    match value {
        "" => Ok(false),
        "All" => Ok(true),
        other => Err(Refusal::bad_request(format!("dryRun {other:?} is not All"))),
    }
}

fn validation(value: &str) -> Result<Validation, Refusal> {
    match value {
        "" | "Warn" => Ok(Validation::Warn),
        "Ignore" => Ok(Validation::Ignore),
        "Strict" => Ok(Validation::Strict),
        other => {
            Err(Refusal::bad_request(format!("fieldValidation {other:?} is none of Ignore, Warn, Strict")))
        }
    }
}

fn include_object(value: &str) -> Result<IncludeObject, Refusal> {
    match value {
        "" | "Metadata" => Ok(IncludeObject::Metadata),
        "Object" => Ok(IncludeObject::Object),
        "None" => Ok(IncludeObject::None),
        other => {
            Err(Refusal::bad_request(format!("includeObject {other:?} is none of Metadata, Object, None")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Options, Refusal> {
        Options::parse(&format!("/x?{query}").parse().unwrap())
    }

    #[test]
    fn versions_mean_what_the_api_concepts_say() {
        let cases = [
            ("", Ok(Version::Newest)),
            ("resourceVersion=", Ok(Version::Newest)),
            ("resourceVersion=0", Ok(Version::Any)),
            ("resourceVersion=7", Ok(Version::NotOlderThan(7))),
            ("resourceVersion=7&resourceVersionMatch=NotOlderThan", Ok(Version::NotOlderThan(7))),
            ("resourceVersion=7&resourceVersionMatch=Exact", Ok(Version::Exact(7))),
            ("resourceVersion=0&resourceVersionMatch=Exact", Err(())),
            ("resourceVersion=7&resourceVersionMatch=Sometimes", Err(())),
            ("resourceVersionMatch=NotOlderThan", Err(())),
            ("continue=8:a/b&resourceVersion=0&resourceVersionMatch=NotOlderThan", Err(())),
            ("sendInitialEvents=true", Err(())),
            ("watch=1&resourceVersion=7&resourceVersionMatch=NotOlderThan", Err(())),
            ("watch=1&sendInitialEvents=true", Err(())),
            ("watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", Ok(Version::Newest)),
            ("resourceVersion=seven", Err(())),
            ("resourceVersion=-1", Err(())),
            ("resourceVersion=7&continue=8:a/b", Err(())),
        ];
        for (query, expected) in cases {
            assert_eq!(parse(query).map(|options| options.version).map_err(|_| ()), expected, "{query}");
        }
    }

    #[test]
    fn what_is_not_known_is_ignored_and_what_is_wrong_is_refused() {
        assert_eq!(parse("pretty=true&fieldManager=kubectl&exact").unwrap(), Options::default());
        for wrong in ["watch=perhaps", "limit=many", "dryRun=Some", "fieldValidation=Lax", "timeoutSeconds=x"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("watch").unwrap().watch);
        assert_eq!(parse("limit=0").unwrap().limit, None);
    }
}
