//! The API as a whole: what it holds, how it starts and stops, and what a request is to those who carry it out.

use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use futures_util::future::join;
use serde_json::Value;
use store::{Cached, ObjectKey, StoreError};
use tokio::sync::watch::Sender;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

use crate::access::{Authorizer, Deed, Verb};
use crate::admission::Admission;
use crate::audit::Audit;
use crate::event::AuditEvent;
use crate::limits::Limits;
use crate::query::Options;
use crate::search::{Found, Search};
use crate::status::{Reason, Refusal};
use crate::target::Objects;
use crate::trail::Trail;
use crate::view::Form;
use crate::who::{Authenticate, Who};
use crate::{collect, note, parent, reap};

/// What an operator chooses.
pub struct Settings {
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// Whose bearer tokens are; `None`: tokens are refused.
    pub authenticate: Option<Arc<dyn Authenticate>>,
    /// How long and how much a connection may.
    pub limits: Limits,
    /// Checks across objects.
    pub admission: Arc<dyn Admission>,
    /// Where the audit goes.
    pub audit: Arc<dyn Audit>,
}

/// The API over a store.
pub struct Api {
    pub(crate) store: Arc<Cached>,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) limits: Limits,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) stopping: Sender<bool>,
    pub(crate) reaper: JoinHandle<((), ())>,
    turns: Vec<Mutex<()>>,
}

/// A request for objects, ready to be carried out.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) who: Who,
    pub(crate) verb: Verb,
    pub(crate) objects: Objects,
    pub(crate) options: Options,
    pub(crate) form: Form,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trail: Arc<Trail>,
}

/// What is answered to a request that was carried out.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Api {
    /// Starts the API: makes the namespace `default` if it is missing, and finishes deletions that are under way.
    ///
    /// Errors: those of the store.
    pub async fn start(store: Arc<Cached>, settings: Settings) -> Result<Arc<Self>, StoreError> {
        parent::ensure_default(&store).await?;
        let Settings { authorizer, authenticate, limits, admission, audit } = settings;
        let collector = collect::follow(Arc::clone(&store), Arc::clone(&admission));
        let reaper = tokio::spawn(join(reap::follow(Arc::clone(&store)), collector));
        let turns = (0..TURNS).map(|_| Mutex::default()).collect();
        let stopping = Sender::new(false);
        Ok(Arc::new(Self {
            store,
            admission,
            limits,
            authorizer,
            authenticate,
            audit,
            stopping,
            reaper,
            turns,
        }))
    }

    /// Whether `who` may do it, for routes beside the API's own. A refusal that is answered is noted. Errors: 403.
    pub fn authorize(&self, who: &Who, deed: &Deed<'_>) -> Result<(), Refusal> {
        self.authorizer.authorize(who, deed).map(drop)
    }

    /// Notes what came of a request on a route beside the API's own that changes something, or of what was asked within a
    /// stream: the status, or the refusal.
    pub fn note(
        &self,
        who: &Who,
        deed: &Deed<'_>,
        received: SystemTime,
        outcome: Result<StatusCode, &Refusal>,
    ) {
        let mut event = AuditEvent::new(who.clone(), received).about(deed);
        match outcome {
            Ok(code) => event.code = code.as_u16(),
            Err(refusal) => event.refuse(refusal),
        }
        note::leave(&*self.audit, event);
    }

    /// What is searched for in the audit. Errors: 404 where no audit is kept, 503 where it cannot be read.
    pub async fn search(&self, search: Search) -> Result<Found, Refusal> {
        let audit = Arc::clone(&self.audit);
        let found = tokio::task::spawn_blocking(move || audit.find(&search)).await;
        found.unwrap_or_else(|end| Err(end.into())).map_err(|error| {
            let none = error.kind() == ErrorKind::Unsupported;
            let reason = if none { Reason::NotFound } else { Reason::ServiceUnavailable };
            Refusal::new(reason, format!("search the audit: {error}"))
        })
    }

    /// Ends every watch, so that connections come to rest.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits for one's turn to change an object. Those who change the same object would only send each other back to the
    /// start; in turn nobody is sent back for ever. Promises no more than that: others write to the store directly.
    pub(crate) async fn turn(&self, key: &ObjectKey) -> MutexGuard<'_, ()> {
        let mut hasher = std::hash::DefaultHasher::new();
        key.hash(&mut hasher);
        self.turns[hasher.finish() as usize % self.turns.len()].lock().await
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.reaper.abort();
    }
}

impl Request {
    /// The key of the object of this name.
    pub(crate) fn key(&self, name: &str) -> ObjectKey {
        self.objects.key(name)
    }

    /// 404 for an object of this request.
    pub(crate) fn not_found(&self, name: &str) -> Refusal {
        self.refuse(Reason::NotFound, name, "not found")
    }

    /// A refusal about an object of this request: `things.group "name" WHAT`.
    pub(crate) fn refuse(&self, reason: Reason, name: &str, what: &str) -> Refusal {
        let known = self.objects.kind.descriptor();
        let message = format!("{} {name:?} {what}", known.resource());
        Refusal::new(reason, message).about(known.plural, known.group, name)
    }
}

impl Answer {
    pub(crate) fn ok(body: Value) -> Self {
        Self { code: StatusCode::OK, body, warnings: Vec::new() }
    }
}

/// Objects that can be changed at the same time.
const TURNS: usize = 256;
