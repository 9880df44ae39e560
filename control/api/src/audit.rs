//! The record of what was changed and what was refused, and by whom.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use axum::http::header;
use axum::http::request::Parts;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::access::{Deed, Verb, What};
use crate::status::Refusal;
use crate::who::Who;

/// One request, answered.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// When it came.
    pub received: SystemTime,
    /// When it was answered.
    pub answered: SystemTime,
    /// Who asked.
    pub who: Who,
    /// What for.
    pub verb: Verb,
    /// The path and query, as asked; empty where a route beside the API's own was refused.
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
    /// The reason and message of a refusal.
    pub refusal: Option<(String, String)>,
}

/// Where audit events go. Called after the answer is known, for every write and every refusal.
pub trait Audit: Send + Sync + 'static {
    /// Takes an event. Must not block for long; what it cannot keep it reports by itself.
    fn note(&self, event: &AuditEvent);
}

impl AuditEvent {
    /// What somebody wants to do, before it is known what comes of it.
    pub(crate) fn of(who: &Who, deed: &Deed<'_>, received: SystemTime) -> Self {
        let mut event = Self {
            received,
            answered: received,
            who: who.clone(),
            verb: deed.verb,
            uri: String::new(),
            user_agent: None,
            tenant: deed.tenant.to_owned(),
            group: String::new(),
            version: String::new(),
            resource: String::new(),
            namespace: None,
            name: None,
            subresource: None,
            code: 0,
            refusal: None,
        };
        if let What::Objects { group, resource, subresource, namespace, name } = deed.what {
            event.group = group.to_owned();
            event.resource = resource.to_owned();
            event.subresource = subresource.map(str::to_owned);
            event.namespace = namespace.map(str::to_owned);
            event.name = name.map(str::to_owned);
        }
        event
    }

    /// The same, asked by this request.
    pub(crate) fn by_request(self, parts: &Parts) -> Self {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        Self { uri: parts.uri.to_string(), user_agent: agent.map(str::to_owned), ..self }
    }

    /// The same, refused just now.
    pub(crate) fn refused(self, refusal: &Refusal) -> Self {
        let told = Some((refusal.word().to_owned(), refusal.to_string()));
        Self { code: refusal.code().as_u16(), refusal: told, answered: SystemTime::now(), ..self }
    }

    /// The event as audit.k8s.io/v1 writes it, at the level `Metadata`.
    pub fn to_json(&self) -> Value {
        let mut status = json!({ "metadata": {}, "code": self.code });
        if let Some((reason, message)) = &self.refusal {
            status["status"] = json!("Failure");
            status["reason"] = json!(reason);
            status["message"] = json!(message);
        }
        let decision = if self.code == 403 { "forbid" } else { "allow" };
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
            "auditID": uuid::Uuid::new_v4().to_string(),
            "requestURI": self.uri, "verb": self.verb.word(),
            "user": { "username": self.who.user, "groups": self.who.groups },
            "sourceIPs": self.who.address().into_iter().collect::<Vec<_>>(),
            "userAgent": self.user_agent,
            "objectRef": self.object(), "responseStatus": status,
            "requestReceivedTimestamp": humantime::format_rfc3339_micros(self.received).to_string(),
            "stageTimestamp": humantime::format_rfc3339_micros(self.answered).to_string(),
            "annotations": { "authorization.k8s.io/decision": decision, "sealane.dev/tenant": self.tenant },
        })
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

/// Audit events in a file, one JSON object in a line. At its bound the file becomes `FILE.1`, in place of the one before.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    bytes_at_most: u64,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl AuditFile {
    /// Opens the file, or makes it, readable to its owner alone. Errors: what the system says.
    pub fn open(path: &Path, bytes_at_most: u64) -> std::io::Result<Self> {
        Ok(Self { path: path.to_owned(), bytes_at_most, open: Mutex::new(Open::at(path)?) })
    }

    fn append(&self, line: &str) -> std::io::Result<()> {
        let mut open = self.open.lock();
        let bytes = line.len() as u64;
        if open.bytes > 0 && open.bytes + bytes > self.bytes_at_most {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            *open = Open::at(&self.path)?;
        }
        open.file.write_all(line.as_bytes())?;
        open.bytes += bytes;
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

impl Audit for AuditFile {
    fn note(&self, event: &AuditEvent) {
        let line = format!("{}\n", event.to_json());
        if let Err(error) = self.append(&line) {
            tracing::error!(path = %self.path.display(), %error, event = line.trim_end(), "cannot write the audit file");
        }
    }
}

/// Keeps no audit.
#[derive(Clone, Copy, Debug)]
pub struct NoAudit;

impl Audit for NoAudit {
    fn note(&self, _: &AuditEvent) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_turns_over_at_its_bound_and_no_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let file = AuditFile::open(&path, 2500).unwrap();
        let event = AuditEvent {
            received: SystemTime::UNIX_EPOCH,
            answered: SystemTime::UNIX_EPOCH,
            who: Who::local(7),
            verb: Verb::Create,
            uri: "/api/v1/namespaces".into(),
            user_agent: None,
            tenant: "default".into(),
            group: String::new(),
            version: "v1".into(),
            resource: "namespaces".into(),
            namespace: None,
            name: Some("shop".into()),
            subresource: None,
            code: 403,
            refusal: Some(("Forbidden".into(), "no".into())),
        };
        (0..20).for_each(|_| file.note(&event));
        for name in ["audit.log", "audit.log.1"] {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(!text.is_empty() && text.len() <= 2500, "{name}: {} bytes", text.len());
            for line in text.lines() {
                let event: Value = serde_json::from_str(line).unwrap();
                assert_eq!(event["user"]["username"], "uid:7");
                assert_eq!(event["responseStatus"]["code"], 403);
                assert_eq!(event["requestReceivedTimestamp"], "1970-01-01T00:00:00.000000Z");
            }
        }
    }
}
