//! The outermost step of every request: what was asked and what came of it becomes audit events.
//!
//! ```text
//!     a write                     noted, an event for each object that it wrote
//!     a refusal (401, 403, …)     noted, also before it is known what the path is about
//!     a read that was answered    not noted; nor is one that was allowed and found nothing (404, 410)
//! ```

use std::cell::RefCell;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use axum::middleware::Next;
use serde_json::Value;

use crate::audit::Audit;
use crate::caller::Peer;
use crate::event::{AuditEvent, Stage};
use crate::status::{Asked, Reason, Refusal};
use crate::target::Target;
use crate::trail::{Left, Trail, Written};
use crate::who::Who;

/// What is known of a request once it is understood; it travels with the answer.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) event: AuditEvent,
    pub(crate) writes: bool,
    pub(crate) trail: Arc<Trail>,
}

/// Lets the request through and notes what came of it.
pub(crate) async fn note(
    State(audit): State<Arc<dyn Audit>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let asked = Line {
        received: SystemTime::now(),
        method: request.method().clone(),
        uri: request.uri().clone(),
        agent: agent(request.headers()),
    };
    let answered = async { (next.run(request).await, LEFT.with(RefCell::take)) };
    let (mut response, left) = LEFT.scope(RefCell::default(), answered).await;
    for event in asked.events(&peer, &mut response, left) {
        // Who keeps events has logged the one that it cannot keep; what is done is done.
        let _ = keep(&audit, event).await;
    }
    response
}

/// Keeps an event, away from others' requests where it may take time. Errors: 503.
pub(crate) async fn keep(audit: &Arc<dyn Audit>, event: AuditEvent) -> Result<(), Refusal> {
    let kept = if audit.is_required() {
        let audit = Arc::clone(audit);
        tokio::task::spawn_blocking(move || audit.note(&event)).await.unwrap_or_else(|end| Err(end.into()))
    } else {
        audit.note(&event)
    };
    kept.map_err(|error| {
        let told = format!("the audit cannot be written, and the settings say that it must be: {error}");
        Refusal::new(Reason::ServiceUnavailable, told).retry_after(10)
    })
}

/// Leaves an event for the end of the request that it is about; where none is under way, it is kept at once.
pub(crate) fn leave(audit: &dyn Audit, event: AuditEvent) {
    let late = LEFT.try_with(|left| *left.borrow_mut() = Some(event.clone())).is_err();
    if late {
        // As above.
        audit.note(&AuditEvent { answered: SystemTime::now(), ..event }).ok();
    }
}

tokio::task_local! {
    /// What a route beside the API's own has said of the request under way.
    static LEFT: RefCell<Option<AuditEvent>>;
}

/// The words of a `User-Agent`.
pub(crate) fn agent(headers: &HeaderMap) -> Option<String> {
    headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::to_owned)
}

impl Note {
    /// A request that was understood.
    pub(crate) fn new(event: AuditEvent, writes: bool, parts: &Parts) -> Self {
        let event = AuditEvent { uri: parts.uri.to_string(), user_agent: agent(&parts.headers), ..event };
        Self { event, writes, trail: Arc::default() }
    }

    /// The event before the request is carried out.
    pub(crate) fn begun(&self) -> AuditEvent {
        AuditEvent { stage: Stage::Received, answered: SystemTime::now(), ..self.event.clone() }
    }
}

/// The first line of a request, and what else is told of it.
struct Line {
    received: SystemTime,
    method: Method,
    uri: Uri,
    agent: Option<String>,
}

impl Line {
    /// `said`: what the route itself has said of the request.
    fn events(self, peer: &Peer, response: &mut Response<Body>, said: Option<AuditEvent>) -> Vec<AuditEvent> {
        let code = response.status();
        let extensions = response.extensions_mut();
        let (note, who) = (extensions.remove::<Note>(), extensions.remove::<Who>());
        let refusal = extensions.remove::<Refusal>();
        if let Some(event) = said {
            let (uri, answered) = (self.uri.to_string(), SystemTime::now());
            return vec![AuditEvent { uri, user_agent: self.agent, answered, ..event }];
        }
        let (writes, allowed) = note.as_ref().map_or((false, false), |n| (n.writes, n.event.right.is_some()));
        let found_nothing = allowed && [StatusCode::NOT_FOUND, StatusCode::GONE].contains(&code);
        if !writes && (!code.is_client_error() || found_nothing) {
            return Vec::new();
        }
        let (mut event, left) = match note {
            Some(Note { event, trail, .. }) => (event, trail.take()),
            None => (self.guess(peer, who, refusal.as_ref()), Left::default()),
        };
        event.code = code.as_u16();
        event.answered = SystemTime::now();
        if let Some(refusal) = refusal {
            event.refuse(&refusal);
        } else if !code.is_success() {
            let word = code.canonical_reason().unwrap_or_default();
            event.refusal = Some((word.replace(' ', ""), format!("the server answered {code}")));
        }
        let Left { sent, written } = left;
        if written.is_empty() {
            let named = sent.as_ref().and_then(|sent| sent["metadata"]["name"].as_str());
            event.name = event.name.or_else(|| named.map(str::to_owned));
            return vec![event];
        }
        written.into_iter().map(|one| of(&event, sent.as_ref(), one)).collect()
    }

    /// What can be told of a request that was refused before it was understood.
    fn guess(self, peer: &Peer, who: Option<Who>, refusal: Option<&Refusal>) -> AuditEvent {
        let who = who.unwrap_or_else(|| Who::anonymous(peer.origin()));
        let mut event = AuditEvent::new(who, self.received);
        event.verb = self.method.as_str().to_ascii_lowercase();
        match Target::parse(self.uri.path()) {
            Some(Target::Objects(objects)) => {
                let known = objects.kind.descriptor();
                event.tenant = objects.tenant;
                known.group.clone_into(&mut event.group);
                known.version.clone_into(&mut event.version);
                known.plural.clone_into(&mut event.resource);
                event.namespace = objects.namespace;
                event.name = objects.name;
                event.subresource = objects.status.then(|| "status".to_owned());
            }
            Some(Target::Review { tenant, .. } | Target::Discovery { tenant, .. }) => event.tenant = tenant,
            Some(Target::Health(_) | Target::Version) | None => {}
        }
        if let Some(Asked { verb, tenant, group, resource }) = refusal.and_then(Refusal::asked) {
            (*verb).clone_into(&mut event.verb);
            tenant.clone_into(&mut event.tenant);
            group.clone_into(&mut event.group);
            resource.clone_into(&mut event.resource);
        }
        event.uri = self.uri.to_string();
        event.user_agent = self.agent;
        event
    }
}

/// The event of one object that a request wrote.
fn of(event: &AuditEvent, sent: Option<&Value>, written: Written) -> AuditEvent {
    AuditEvent {
        namespace: written.key.namespace().map(str::to_owned),
        name: Some(written.key.name().to_owned()),
        sent: sent.cloned(),
        before: written.before.map(|before| (*before).clone()),
        after: written.after,
        ..event.clone()
    }
}
