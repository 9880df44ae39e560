//! What is searched for in the audit, and how it is found: by reading, newest file first.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

/// What is searched for; what is empty matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// By this user.
    pub user: Option<String>,
    /// With this verb.
    pub verb: Option<String>,
    /// About these objects.
    pub object: Option<Subject>,
    /// Answered at this time or later.
    pub since: Option<SystemTime>,
    /// Refusals alone.
    pub refused: bool,
    /// The newest so many.
    pub limit: usize,
}

/// Objects that are searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `NAME`
    Named(String),
    /// `RESOURCE/NAME` or `NAMESPACE/NAME`
    Within(String, String),
    /// `RESOURCE/NAMESPACE/NAME`
    Exactly(String, String, String),
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The events, newest last.
    pub events: Vec<Value>,
    /// Whether there are older ones that match.
    pub more: bool,
    /// Lines that are no events.
    pub unreadable: u64,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            tenant: None,
            user: None,
            verb: None,
            object: None,
            since: None,
            refused: false,
            limit: Self::MOST,
        }
    }
}

impl Search {
    /// The largest limit.
    pub const MOST: usize = 1_000;

    /// Reads a time: `2026-01-31T12:00:00Z`, or how long ago: `1h`, `2days`. Errors: what would be one.
    pub fn time(text: &str, now: SystemTime) -> Result<SystemTime, String> {
        let ago = |age: Duration| now.checked_sub(age);
        humantime::parse_rfc3339_weak(text)
            .ok()
            .or_else(|| humantime::parse_duration(text).ok().and_then(ago))
            .ok_or_else(|| format!("{text:?} is no time: write 30m, 1h, 7days or 2026-01-31T12:00:00Z"))
    }

    /// The newest events of these files, newest file first, that match. Errors: what the system says.
    pub(crate) fn through(&self, files: Vec<File>) -> io::Result<Found> {
        let mut found = Found::default();
        let mut newest: VecDeque<Value> = VecDeque::new();
        let mut room = MOST_BYTES;
        for file in files {
            let matching = self.of_file(file, &mut found, self.limit.saturating_sub(newest.len()), room)?;
            for (line, size) in matching.into_iter().rev() {
                room = room.saturating_sub(size);
                newest.push_front(line);
            }
            if found.more {
                break;
            }
        }
        found.events = newest.into();
        Ok(found)
    }

    /// The newest `limit` events of a file that match, oldest first, with their sizes.
    fn of_file(
        &self,
        file: File,
        found: &mut Found,
        limit: usize,
        room: usize,
    ) -> io::Result<VecDeque<(Value, usize)>> {
        let mut matching = VecDeque::new();
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let (mut line, mut held) = (Vec::new(), 0);
        while reader.read_until(b'\n', &mut line)? > 0 {
            match serde_json::from_slice::<Head<'_>>(&line) {
                Ok(head) if self.matches(&head) => match serde_json::from_slice(&line) {
                    Ok(event) => {
                        matching.push_back((event, line.len()));
                        held += line.len();
                    }
                    Err(_) => found.unreadable += 1,
                },
                Ok(_) => {}
                Err(_) => found.unreadable += u64::from(line != b"\n"),
            }
            while matching.len() > limit || held > room {
                let Some((_, size)) = matching.pop_front() else { break };
                held -= size;
                found.more = true;
            }
            line.clear();
        }
        Ok(matching)
    }

    fn matches(&self, event: &Head<'_>) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        is(&self.user, &event.user.username)
            && is(&self.verb, &event.verb)
            && is(&self.tenant, &event.annotations.tenant)
            && self.object.as_ref().is_none_or(|subject| subject.is(event.object.as_ref()))
            && (!self.refused || event.status.as_ref().is_some_and(|status| status.code >= 400))
            && self.since.is_none_or(|since| {
                humantime::parse_rfc3339(&event.at).is_ok_and(|answered| answered >= since)
            })
    }
}

impl Subject {
    /// Reads `NAME`, `RESOURCE/NAME`, `NAMESPACE/NAME` or `RESOURCE/NAMESPACE/NAME`. Errors: what would be one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let own = |part: &str| part.to_owned();
        match parts[..] {
            [name] if !name.is_empty() => Ok(Self::Named(own(name))),
            [within, name] => Ok(Self::Within(resource(within), own(name))),
            [kind, namespace, name] => Ok(Self::Exactly(resource(kind), own(namespace), own(name))),
            _ => Err(format!(
                "{text:?} is no object: write NAME, KIND/NAME, NAMESPACE/NAME or KIND/NAMESPACE/NAME"
            )),
        }
    }

    fn is(&self, object: Option<&Object<'_>>) -> bool {
        let Some(object) = object else { return false };
        match self {
            Self::Named(name) => *name == object.name,
            Self::Within(place, name) => {
                *name == object.name && (*place == object.resource || *place == object.namespace)
            }
            Self::Exactly(resource, namespace, name) => {
                *resource == object.resource && *namespace == object.namespace && *name == object.name
            }
        }
    }
}

/// The resource that a word means: its plural, singular, kind or a short name; a word that means none stays.
fn resource(word: &str) -> String {
    intent::Kind::named(word).map_or_else(|| word.to_owned(), |kind| kind.descriptor().plural.to_owned())
}

/// What an event is found by.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    user: User<'a>,
    #[serde(borrow)]
    verb: Text<'a>,
    #[serde(borrow, rename = "stageTimestamp")]
    at: Text<'a>,
    #[serde(borrow, rename = "objectRef")]
    object: Option<Object<'a>>,
    #[serde(rename = "responseStatus")]
    status: Option<Status>,
    #[serde(borrow, default)]
    annotations: Annotations<'a>,
}

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    username: Text<'a>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    resource: Text<'a>,
    #[serde(borrow, default)]
    namespace: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

#[derive(Default, Deserialize)]
struct Annotations<'a> {
    #[serde(borrow, default, rename = "sealane.dev/tenant")]
    tenant: Text<'a>,
}

type Text<'a> = std::borrow::Cow<'a, str>;

/// Bytes of one answer, so that large objects do not fill the memory.
const MOST_BYTES: usize = 16 << 20;
