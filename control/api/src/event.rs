//! One request, answered, in the form of audit.k8s.io/v1.
//!
//! Promises: a write that happened has what the object was and what it became; a refusal has its reason and no body; no event
//! carries a header or a refused body, where secrets are; and none is larger than three [`LARGEST`] bytes and its names.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::access::{Deed, What};
use crate::status::Refusal;
use crate::who::{Origin, Who};

/// One request, answered.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Names the request: its events have it in common.
    pub id: String,
    /// How far the request had come.
    pub stage: Stage,
    /// When it came.
    pub received: SystemTime,
    /// When it was answered.
    pub answered: SystemTime,
    /// Who asked.
    pub who: Who,
    /// What for: the API's verb, or for a path that is about no objects the method, in small letters.
    pub verb: String,
    /// The path and query, as asked.
    pub uri: String,
    /// The `User-Agent`, if there was one.
    pub user_agent: Option<String>,
    /// The tenant.
    pub tenant: String,
    /// The API group of the resource.
    pub group: String,
    /// The version of the group.
    pub version: String,
    /// The resource (plural); empty where the path is about no objects.
    pub resource: String,
    /// The namespace, if there is one.
    pub namespace: Option<String>,
    /// The object, if one is meant.
    pub name: Option<String>,
    /// The part of the object, such as `status`.
    pub subresource: Option<String>,
    /// The HTTP status of the answer.
    pub code: u16,
    /// By what right it was allowed; `None`: it was not, or nobody was asked.
    pub right: Option<String>,
    /// The reason and message of a refusal.
    pub refusal: Option<(String, String)>,
    /// What was sent.
    pub sent: Option<Value>,
    /// The object as it was before.
    pub before: Option<Value>,
    /// The object as it became.
    pub after: Option<Value>,
}

/// How far a request had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is about to be carried out.
    Received,
    /// It was answered.
    Complete,
}

impl AuditEvent {
    /// A request of somebody, about nothing yet.
    pub fn new(who: Who, received: SystemTime) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            stage: Stage::Complete,
            received,
            answered: received,
            who,
            verb: String::new(),
            uri: String::new(),
            user_agent: None,
            tenant: String::new(),
            group: String::new(),
            version: String::new(),
            resource: String::new(),
            namespace: None,
            name: None,
            subresource: None,
            code: 0,
            right: None,
            refusal: None,
            sent: None,
            before: None,
            after: None,
        }
    }

    /// The same, about what somebody wants to do.
    #[must_use]
    pub fn about(mut self, deed: &Deed<'_>) -> Self {
        deed.verb.word().clone_into(&mut self.verb);
        deed.tenant.clone_into(&mut self.tenant);
        if let What::Objects { group, resource, subresource, namespace, name } = deed.what {
            group.clone_into(&mut self.group);
            resource.clone_into(&mut self.resource);
            self.namespace = namespace.map(str::to_owned);
            self.name = name.map(str::to_owned);
            self.subresource = subresource.map(str::to_owned);
        }
        self
    }

    /// What came of it was a refusal.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        self.code = refusal.code().as_u16();
        self.refusal = Some((refusal.word().to_owned(), refusal.to_string()));
        self.name = self.name.take().or_else(|| refusal.name().map(str::to_owned));
    }

    /// The event as audit.k8s.io/v1 writes it: at the level `RequestResponse` where something was written, else `Metadata`.
    pub fn to_json(&self) -> Value {
        let full = self.before.is_some() || self.after.is_some();
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1",
            "level": if full { "RequestResponse" } else { "Metadata" },
            "stage": self.stage.word(), "auditID": self.id,
            "requestURI": self.uri, "verb": self.verb,
            "user": { "username": self.who.user, "groups": self.who.groups },
            "sourceIPs": self.who.address().into_iter().collect::<Vec<_>>(),
            "userAgent": self.user_agent, "objectRef": self.object(),
            "requestReceivedTimestamp": humantime::format_rfc3339_micros(self.received).to_string(),
            "stageTimestamp": humantime::format_rfc3339_micros(self.answered).to_string(),
        });
        if self.stage == Stage::Complete {
            event["responseStatus"] = self.status();
        }
        let mut annotations = self.annotations();
        let mut left_out = Vec::new();
        for (field, value) in [("requestObject", &self.sent), ("responseObject", &self.after)] {
            match value.as_ref().filter(|_| full).map(|value| (value, value.to_string().len())) {
                Some((_, size)) if size > LARGEST => left_out.push(format!("{field} ({size} bytes)")),
                Some((value, _)) => event[field] = value.clone(),
                None => {}
            }
        }
        if let Some(text) = self.before.as_ref().map(ToString::to_string) {
            match text.len() {
                size if size > LARGEST => left_out.push(format!("before ({size} bytes)")),
                _ => drop(annotations.insert(BEFORE.to_owned(), text.into())),
            }
        }
        if !left_out.is_empty() {
            annotations.insert("audit.k8s.io/truncated".to_owned(), "true".into());
            annotations.insert("sealane.dev/left-out".to_owned(), left_out.join(", ").into());
        }
        event["annotations"] = annotations.into();
        event
    }

    fn status(&self) -> Value {
        let mut status = json!({ "metadata": {}, "code": self.code });
        if let Some((reason, message)) = &self.refusal {
            status["status"] = json!("Failure");
            status["reason"] = json!(reason);
            status["message"] = json!(message);
        }
        status
    }

    fn annotations(&self) -> Map<String, Value> {
        let mut annotations = Map::new();
        let mut put = |name: &str, text: &str| annotations.insert(name.to_owned(), text.into());
        match (&self.right, &self.refusal) {
            (Some(right), _) => {
                put("authorization.k8s.io/decision", "allow");
                put("authorization.k8s.io/reason", right);
            }
            (None, Some((_, message))) if self.code == 403 => {
                put("authorization.k8s.io/decision", "forbid");
                put("authorization.k8s.io/reason", message);
            }
            (None, _) => {}
        }
        if !self.tenant.is_empty() {
            put("sealane.dev/tenant", &self.tenant);
        }
        if let Origin::Unix { uid } = self.who.from {
            put("sealane.dev/socket", &format!("uid {uid}"));
        }
        annotations
    }

    fn object(&self) -> Option<Value> {
        if self.resource.is_empty() {
            return None;
        }
        let mut object = json!({ "resource": self.resource, "apiVersion": self.version });
        let parts = [
            ("apiGroup", Some(&self.group).filter(|group| !group.is_empty())),
            ("namespace", self.namespace.as_ref()),
            ("name", self.name.as_ref()),
            ("subresource", self.subresource.as_ref()),
        ];
        for (field, part) in parts {
            if let Some(part) = part {
                object[field] = json!(part);
            }
        }
        Some(object)
    }
}

impl Stage {
    const fn word(self) -> &'static str {
        match self {
            Self::Received => "RequestReceived",
            Self::Complete => "ResponseComplete",
        }
    }
}

/// The annotation that holds, as JSON, what an object was before. Events of this format have no field for it.
pub(crate) const BEFORE: &str = "sealane.dev/before";

/// The largest object that an event holds, in bytes of JSON. A larger one is left out, and the event says so.
pub(crate) const LARGEST: usize = 64 << 10;
