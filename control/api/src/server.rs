//! The API as a whole: what every request passes, in order, and how the server starts and stops.
//!
//! ```text
//!     identity (connection, token) -> target (path) -> authorize -> options (query) -> read, watch, write or delete -> audit
//! ```

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use futures_util::future::join;
use intent::Kind;
use serde_json::Value;
use store::{Cached, ObjectKey, StoreError};
use tokio::sync::watch::Sender;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

use crate::access::{Authorizer, Deed, Verb, What};
use crate::admission::Admission;
use crate::audit::{Audit, AuditEvent};
use crate::identity::identify;
use crate::limits::Limits;
use crate::query::Options;
use crate::status::{Reason, Refusal};
use crate::target::{Discovery, Health, Objects, Target};
use crate::view::Form;
use crate::who::{Authenticate, Who};
use crate::{collect, discovery, document, offer, parent, read, reap, remove, watch, write};

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
    authorizer: Arc<dyn Authorizer>,
    authenticate: Option<Arc<dyn Authenticate>>,
    audit: Arc<dyn Audit>,
    stopping: Sender<bool>,
    reaper: JoinHandle<((), ())>,
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
        Ok(Arc::new(Self { store, admission, limits, authorizer, authenticate, audit, stopping, reaper, turns }))
    }

    /// The API's routes, as the fallback of `extra`: what `extra` has of its own goes first. Handlers there find
    /// `Extension<Who>` and ask [`Api::authorize`]. Web pages and who has not shown who they are get an answer from neither.
    pub fn router(self: &Arc<Self>, extra: Router) -> Router {
        let routes = extra.fallback_service(Router::new().fallback(handle).with_state(Arc::clone(self)));
        let authenticate = self.authenticate.clone();
        routes
            .layer(axum::middleware::from_fn_with_state(authenticate, identify))
            .layer(axum::middleware::from_fn(refuse_web_pages))
    }

    /// Whether `who` may do it, for routes beside the API's own. A refusal is noted. Errors: 403.
    pub fn authorize(&self, who: &Who, deed: &Deed<'_>) -> Result<(), Refusal> {
        let received = SystemTime::now();
        self.authorizer.authorize(who, deed).inspect_err(|refusal| {
            self.audit.note(&AuditEvent::of(who, deed, received).refused(refusal));
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

    async fn answer(&self, who: Who, request: axum::extract::Request) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let target = Target::parse(parts.uri.path());
        match target {
            None => Refusal::no_such_path().response(),
            Some(Target::Objects(objects)) => self.objects(who, objects, &parts, body).await,
            Some(Target::Health(health)) => self.health(health),
            Some(Target::Version) => json_response(StatusCode::OK, &discovery::version()),
            Some(Target::Discovery { tenant, document }) => self.discovery(&who, &tenant, &document, &parts),
        }
    }

    async fn objects(&self, who: Who, objects: Objects, parts: &Parts, body: Body) -> Response<Body> {
        let received = SystemTime::now();
        let options = Options::parse(&parts.uri);
        let watching = options.as_ref().is_ok_and(|options| options.watch);
        let verb = match verb(&parts.method, &objects, watching) {
            Ok(verb) => verb,
            Err(refusal) => return refusal.response(),
        };
        let known = objects.kind.descriptor();
        let deed = Deed {
            verb,
            tenant: &objects.tenant,
            what: What::Objects {
                group: known.group,
                resource: known.plural,
                subresource: objects.status.then_some("status"),
                namespace: objects.namespace.as_deref(),
                name: objects.name.as_deref(),
            },
        };
        let mut note = AuditEvent::of(&who, &deed, received).by_request(parts);
        note.version = known.version.to_owned();
        let asked = self.authorizer.authorize(&who, &deed).and(options).and_then(|mut options| {
            if let (Verb::Watch, Some(name)) = (verb, &objects.name) {
                options.fields = options.fields.named(name);
            }
            let form = Form::negotiate(&parts.headers, options.include_object)?;
            let (objects, headers) = (objects.clone(), parts.headers.clone());
            Ok(Request { who, verb, objects, options, form, headers, body: Bytes::new() })
        });
        let outcome = match asked {
            Ok(request) => self.carry_out(request, body).await,
            Err(refusal) => Err(refusal),
        };
        let response = outcome.unwrap_or_else(|refusal| {
            note.refusal = Some((refusal.word().to_owned(), refusal.to_string()));
            refusal.response()
        });
        if verb.writes() || note.refusal.is_some() {
            note.code = response.status().as_u16();
            note.name =
                note.name.or_else(|| response.extensions().get::<MadeName>().map(|made| made.0.clone()));
            note.answered = SystemTime::now();
            self.audit.note(&note);
        }
        response
    }

    async fn carry_out(&self, mut request: Request, body: Body) -> Result<Response<Body>, Refusal> {
        if request.verb.writes() {
            request.body = document::read(body).await?;
        }
        let name = request.objects.name.clone().unwrap_or_default();
        let answer = match request.verb {
            Verb::Get => Answer::ok(read::get(&self.store, &request, &name).await?),
            Verb::List => Answer::ok(read::list(&self.store, &request).await?),
            Verb::Watch => {
                let body = watch::watch(&self.store, request, self.stopping.subscribe()).await?;
                return Ok(with_headers(Response::new(body)));
            }
            Verb::Create => write::create(self, &request).await?,
            Verb::Update | Verb::Patch => write::update(self, &request, &name).await?,
            Verb::Delete => remove::delete(self, &request, &name).await?,
            Verb::DeleteCollection => remove::delete_all(self, &request).await?,
            Verb::Connect => return Err(Refusal::no_such_path()),
        };
        Ok(answer.response())
    }

    fn discovery(&self, who: &Who, tenant: &str, document: &Discovery, parts: &Parts) -> Response<Body> {
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return not_allowed(&parts.method).response();
        }
        let path = parts.uri.path();
        let path = path.strip_prefix(&format!("/clusters/{tenant}")).unwrap_or(path);
        let deed =
            Deed { verb: Verb::Get, tenant, what: What::Path(if path.is_empty() { "/" } else { path }) };
        if let Err(refusal) = self.authorizer.authorize(who, &deed) {
            let note = AuditEvent::of(who, &deed, SystemTime::now()).by_request(parts);
            self.audit.note(&note.refused(&refusal));
            return refusal.response();
        }
        offer::answer(tenant, document, parts)
    }

    /// Alive is whoever answers; ready is who holds a store that is followed.
    fn health(&self, health: Health) -> Response<Body> {
        let well = match health {
            Health::Live => true,
            Health::Ready => !*self.stopping.borrow() && !self.reaper.is_finished(),
        };
        let (code, text) =
            if well { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "stopping") };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = code;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
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

    fn response(self) -> Response<Body> {
        let mut response = json_response(self.code, &self.body);
        for warning in self.warnings.iter().take(MOST_WARNINGS) {
            let plain: String = warning.chars().filter(|symbol| !symbol.is_control()).collect();
            let text = format!("299 - \"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""));
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                response.headers_mut().append(header::WARNING, value);
            }
        }
        if let Some(name) = self.body["metadata"]["name"].as_str() {
            response.extensions_mut().insert(MadeName(name.to_owned()));
        }
        response
    }
}

/// The name of the object that a request made, for the audit.
#[derive(Clone, Debug)]
struct MadeName(String);

async fn handle(
    State(api): State<Arc<Api>>,
    axum::Extension(who): axum::Extension<Who>,
    request: axum::extract::Request,
) -> Response<Body> {
    api.answer(who, request).await
}

/// A page in somebody's browser must not act with the rights of whoever looks at it. Browsers name the page's origin in
/// every request that could change something; no other client does.
async fn refuse_web_pages(request: axum::extract::Request, next: axum::middleware::Next) -> Response<Body> {
    if request.headers().contains_key(header::ORIGIN) {
        return Refusal::new(Reason::Forbidden, "this API answers no web pages").response();
    }
    next.run(request).await
}

/// What a method asks of these objects. Errors: 405.
fn verb(method: &Method, objects: &Objects, watching: bool) -> Result<Verb, Refusal> {
    let verb = match (method, objects.name.is_some()) {
        (&Method::GET | &Method::HEAD, true) if !watching => Verb::Get,
        (&Method::GET | &Method::HEAD, false) if !watching => Verb::List,
        (&Method::GET, _) if !objects.status => Verb::Watch,
        (&Method::POST, false) => Verb::Create,
        (&Method::PUT, true) => Verb::Update,
        (&Method::PATCH, true) => Verb::Patch,
        (&Method::DELETE, true) if !objects.status => Verb::Delete,
        (&Method::DELETE, false) => Verb::DeleteCollection,
        _ => return Err(not_allowed(method)),
    };
    let known = objects.kind.descriptor();
    if verb.writes() && !known.writable && !(verb == Verb::Delete && is_deletable(objects.kind)) {
        let message = format!(
            "{} {} is not allowed: the fabric alone writes {}",
            verb.word(),
            known.plural,
            known.plural
        );
        return Err(Refusal::new(Reason::MethodNotAllowed, message));
    }
    Ok(verb)
}

/// Whether people may delete objects of a kind: those that they write, and hosts that are gone for good.
pub(crate) fn is_deletable(kind: Kind) -> bool {
    kind.descriptor().deletable()
}

fn not_allowed(method: &Method) -> Refusal {
    Refusal::new(
        Reason::MethodNotAllowed,
        format!("the server does not allow {method} on the requested resource"),
    )
}

fn json_response(code: StatusCode, body: &Value) -> Response<Body> {
    let mut response = with_headers(Response::new(Body::from(body.to_string())));
    *response.status_mut() = code;
    response
}

fn with_headers(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Objects that can be changed at the same time.
const TURNS: usize = 256;

/// `Warning` headers in one answer.
const MOST_WARNINGS: usize = 20;
