//! What the server says when it says no: `Status` (meta.k8s.io/v1).

use std::fmt;

use http::StatusCode;
use intent::Problem;
use intent::problem::Fault;
use serde::Deserialize;

/// The server's refusal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    /// The HTTP status.
    pub(crate) code: u16,
    /// Why, in one word: `NotFound`, `Conflict`, `Invalid`.
    pub(crate) reason: String,
    /// Why, for a person.
    pub(crate) message: String,
    details: Details,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    causes: Vec<Cause>,
    retry_after_seconds: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
    field: String,
}

impl Status {
    /// Reads it from a body that may be anything.
    pub(super) fn read(code: StatusCode, path: &str, body: &[u8]) -> Self {
        let mut status: Self = serde_json::from_slice(body).unwrap_or_default();
        status.code = code.as_u16();
        if status.message.is_empty() {
            let text = String::from_utf8_lossy(body);
            let text: String = text.trim().chars().take(LONGEST_TEXT).collect();
            let text = if text.is_empty() { String::new() } else { format!(": {text}") };
            status.message = format!("the server answered {path} with {code}{text}");
        }
        status
    }

    /// The problems of a document, as the server told them.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let problem = |cause: &Cause| Problem {
            path: cause.field.clone(),
            value: String::new(),
            fault: serde_json::from_value(cause.reason.as_str().into()).unwrap_or(Fault::Invalid),
            reason: cause.message.clone(),
            remedy: String::new(),
            place: None,
        };
        self.details.causes.iter().map(problem).collect()
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> Option<String> {
        match (self.code, self.details.retry_after_seconds) {
            (_, Some(seconds)) => Some(format!("try again in {seconds} s")),
            // Otherwise it is the state of things that forbids it, and the message says what.
            (403, _) if self.message.contains("is forbidden: User") => Some(
                "ask as root over the unix socket, or ask whoever runs the server for the right".to_owned(),
            ),
            (409, _) if self.reason == "Conflict" => {
                Some("somebody changed it meanwhile: read it again and repeat the change".to_owned())
            }
            (503 | 504, _) => Some("try again; `sealane status` tells how the server is".to_owned()),
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

const LONGEST_TEXT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_causes_and_anything_else_is_told_as_it_came() {
        let body = br#"{"kind":"Status","code":422,"reason":"Invalid","message":"m",
            "details":{"causes":[{"reason":"FieldValueRequired","message":"is missing","field":"spec.a"}]}}"#;
        let status = Status::read(StatusCode::UNPROCESSABLE_ENTITY, "/a", body);
        let problems = status.problems();
        assert_eq!((problems[0].path.as_str(), problems[0].fault), ("spec.a", Fault::Required));
        let html = Status::read(StatusCode::BAD_GATEWAY, "/a", b"<h1>no</h1>");
        assert_eq!(html.to_string(), "the server answered /a with 502 Bad Gateway: <h1>no</h1>");
    }
}
