//! What is answered when a request is not carried out: a `Status` (meta.k8s.io/v1) with the code and reason that Kubernetes
//! clients act on.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use intent::Problem;
use serde_json::{Map, Value, json};
use store::StoreError;

/// Why a request was not carried out. Its text is the `message` of the `Status`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    code: StatusCode,
    reason: Reason,
    message: String,
    details: Box<Details>,
}

/// The reasons of a `Status` that this API gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 400: the request makes no sense.
    BadRequest,
    /// 401: who asks has not shown who they are.
    Unauthorized,
    /// 403: who asks may not, or the object may not be treated so.
    Forbidden,
    /// 404: there is no such object or path.
    NotFound,
    /// 405: the path does not do that.
    MethodNotAllowed,
    /// 406: nothing that the client accepts can be given.
    NotAcceptable,
    /// 408: the body did not come in time.
    RequestTimeout,
    /// 409: an object of this name exists.
    AlreadyExists,
    /// 409: the object changed meanwhile, or is not the one that was meant.
    Conflict,
    /// 410: the revision asked for is forgotten.
    Expired,
    /// 413: the body is too large.
    RequestEntityTooLarge,
    /// 415: the body is of a type that is not understood.
    UnsupportedMediaType,
    /// 422: the object breaks rules of its kind.
    Invalid,
    /// 500: the server is at fault.
    InternalError,
    /// 503: the store cannot be written now.
    ServiceUnavailable,
    /// 504: what was waited for did not come.
    Timeout,
}

/// Which object is meant, and what is wrong with which of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Details {
    name: String,
    group: String,
    /// The resource, or the kind where the object is at fault.
    kind: String,
    causes: Vec<Cause>,
    retry_after_seconds: Option<u32>,
    /// With what an expired list can go on.
    continue_token: Option<String>,
    asked: Option<Asked>,
}

/// What somebody wanted to do who may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) verb: &'static str,
    pub(crate) tenant: String,
    pub(crate) group: String,
    pub(crate) resource: String,
}

/// One cause of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    reason: String,
    message: String,
    field: String,
}

impl Reason {
    /// The word in the `Status`.
    const fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::Invalid => "Invalid",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::RequestTimeout | Self::Timeout => "Timeout",
        }
    }

    const fn code(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::AlreadyExists | Self::Conflict => StatusCode::CONFLICT,
            Self::Expired => StatusCode::GONE,
            Self::RequestEntityTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl Refusal {
    /// A refusal with a message alone.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { code: reason.code(), reason, message: message.into(), details: Box::default() }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// 404 for a path that this server does not have.
    pub fn no_such_path() -> Self {
        Self::new(Reason::NotFound, "the server could not find the requested resource")
    }

    /// 422 for an object that breaks rules: every problem is one of the causes.
    pub fn invalid(kind: &str, group: &str, name: &str, problems: &[Problem]) -> Self {
        let listed: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let listed = if let [one] = &listed[..] { one.clone() } else { format!("[{}]", listed.join(", ")) };
        let mut refusal =
            Self::new(Reason::Invalid, format!("{} {name:?} is invalid: {listed}", qualified(kind, group)));
        refusal.details.causes = problems.iter().map(Cause::from).collect();
        refusal.about(kind, group, name)
    }

    /// The same, about an object of a resource.
    #[must_use]
    pub fn about(mut self, resource: &str, group: &str, name: &str) -> Self {
        self.details.name = name.to_owned();
        self.details.group = group.to_owned();
        self.details.kind = resource.to_owned();
        self
    }

    /// The same, of somebody who wanted to do this.
    #[must_use]
    pub(crate) fn of(mut self, asked: Asked) -> Self {
        self.details.asked = Some(asked);
        self
    }

    /// What somebody wanted to do who may not.
    pub(crate) fn asked(&self) -> Option<&Asked> {
        self.details.asked.as_ref()
    }

    /// The name of the object that it is about, if it is about one.
    pub(crate) fn name(&self) -> Option<&str> {
        Some(&*self.details.name).filter(|name| !name.is_empty())
    }

    /// The same, with one more cause.
    #[must_use]
    pub fn because(mut self, reason: &str, message: &str, field: &str) -> Self {
        self.details.causes.push(Cause {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        });
        self
    }

    /// The same, with the advice to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.retry_after_seconds = Some(seconds);
        self
    }

    /// The same, with a token by which a list that expired goes on all the same.
    #[must_use]
    pub fn continued(mut self, token: String) -> Self {
        self.details.continue_token = Some(token);
        self
    }

    /// The HTTP status.
    pub fn code(&self) -> StatusCode {
        self.code
    }

    /// Why, in one word.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The word of [`Self::reason`] as a `Status` carries it.
    pub fn word(&self) -> &'static str {
        self.reason.word()
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let metadata = self.details.continue_token.as_ref();
        let metadata = metadata.map_or_else(|| json!({}), |token| json!({ "continue": token }));
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "reason": self.reason.word(), "details": self.details.to_json(),
            "code": self.code.as_u16(),
        })
    }

    /// The whole answer.
    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.status().to_string()));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        if self.reason == Reason::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.details.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // The audit tells what was refused and why.
        response.extensions_mut().insert(self.clone());
        response
    }
}

impl From<StoreError> for Refusal {
    /// Conflicts are for whoever knows what the client expected; here they are what remains after retries.
    fn from(error: StoreError) -> Self {
        let told = chain(&error);
        match error {
            StoreError::Conflict { .. } | StoreError::Repeated { .. } => {
                Self::new(Reason::Conflict, told).retry_after(1)
            }
            StoreError::Compacted { revision, compacted } => Self::new(
                Reason::Expired,
                format!(
                    "too old resource version: {revision} (history up to {compacted} is compacted); list anew"
                ),
            ),
            StoreError::Future { revision, newest } => {
                let message = format!("Too large resource version: {revision}, current: {newest}");
                Self::new(Reason::Timeout, message.clone())
                    .because("ResourceVersionTooLarge", "Too large resource version", "")
                    .retry_after(1)
            }
            StoreError::Locked { .. }
            | StoreError::Newer { .. }
            | StoreError::Older { .. }
            | StoreError::Regressed { .. }
            | StoreError::Repaired { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Damaged { .. }
            | StoreError::Failed { .. }
            | StoreError::Thread { .. }
            | StoreError::Closed => Self::new(Reason::ServiceUnavailable, told).retry_after(1),
        }
    }
}

impl From<&Problem> for Cause {
    fn from(problem: &Problem) -> Self {
        Self {
            reason: problem.fault.code().to_owned(),
            message: problem.message(),
            field: problem.path.clone(),
        }
    }
}

impl Details {
    fn to_json(&self) -> Value {
        let mut details = Map::new();
        for (field, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind)] {
            if !text.is_empty() {
                details.insert(field.to_owned(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter();
            let causes = causes.map(
                |cause| json!({ "reason": cause.reason, "message": cause.message, "field": cause.field }),
            );
            details.insert("causes".to_owned(), causes.collect());
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        Value::Object(details)
    }
}

/// `networkpolicies.networking.k8s.io`, or `namespaces` in the group without a name.
pub(crate) fn qualified(word: &str, group: &str) -> String {
    if group.is_empty() { word.to_owned() } else { format!("{word}.{group}") }
}

/// An error with its causes, each after a colon.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
