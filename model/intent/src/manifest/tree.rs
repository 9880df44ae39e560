//! YAML as a tree of values with their positions: the one module that knows the YAML library.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::{Error, Location, MessageFormatter, Spanned, UserMessageFormatter};

use super::Position;
use crate::problem::Fault;

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) position: Position,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Null,
    Flag(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Why a text is no YAML that is read here.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) position: Option<Position>,
    pub(super) fault: Fault,
    pub(super) reason: String,
    pub(super) remedy: &'static str,
}

/// Reads the documents of a text. JSON is YAML.
pub(super) fn read(text: &str) -> Result<Vec<Node>, Unreadable> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            flow_nesting_limit: DEEPEST,
            max_nodes: MOST_NODES,
            max_aliases: MOST_ALIASES,
            max_anchors: MOST_ALIASES,
            max_merge_keys: MOST_ALIASES,
            max_recorded_anchor_events: MOST_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MOST_REPEATED,
            max_replay_stack_depth: 16,
        },
        emit_comments: false,
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::Reject,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| Unreadable::new(&error))
}

impl Node {
    /// The field of this name, where the value is an object.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        match &self.content {
            Content::Object(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

impl Unreadable {
    fn new(error: &Error) -> Self {
        let mut fault = error;
        while let Error::AliasError { error: inner, .. } = fault {
            fault = inner;
        }
        let place = error.location().filter(|location| location.line() > 0);
        let position = place.map(|location| Position::from(&location));
        let (fault, reason, remedy) = match fault {
            Error::DuplicateMappingKey { key, .. } => {
                let key = key.as_deref().unwrap_or("a key");
                (Fault::Duplicate, format!("{key} is given twice"), "keep one of the two")
            }
            Error::Budget { .. }
            | Error::AliasReplayLimitExceeded { .. }
            | Error::AliasReplayStackDepthExceeded { .. }
            | Error::AliasExpansionLimitExceeded { .. } => {
                let reason = format!(
                    "the document is too large, too deep or repeats itself too much: {}",
                    told(fault)
                );
                (Fault::TooLong, reason, "split it into several documents, and write out what aliases repeat")
            }
            _ => (Fault::Invalid, format!("is no YAML that is understood: {}", told(fault)), REMEDY),
        };
        Self { position, fault, reason, remedy }
    }
}

/// What the library says, without the place, which is told apart.
fn told(error: &Error) -> String {
    UserMessageFormatter.format_message(error).into_owned()
}

impl From<&Location> for Position {
    fn from(location: &Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { content: spanned.value, position: Position::from(&spanned.referenced) })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Content, E> {
        let number = Number::from_f64(value);
        number.map(Content::Number).ok_or_else(|| E::custom("a number without end"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Content::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            fields.push(entry);
        }
        Ok(Content::Object(fields))
    }
}

const REMEDY: &str = "look at the indentation, quotes and brackets there and just before";
/// Objects within lists within objects. Known documents need at most 16; reading recurses, and a level takes up to 40 KiB of
/// stack in a debug build.
const DEEPEST: usize = 24;
const MOST_NODES: usize = 400_000;
const MOST_ALIASES: usize = 1000;
/// What aliases repeat, in nodes: a text of 500 bytes must not cost the time of one of a megabyte.
const MOST_REPEATED: usize = 20_000;
