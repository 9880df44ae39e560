//! What every request passes, in order.
//!
//! ```text
//!     note ( caller (connection, token) -> target (path) -> authorize -> options (query) -> read, watch, write or delete )
//! ```

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;

use crate::access::{Deed, Verb, What};
use crate::caller::identify;
use crate::event::AuditEvent;
use crate::inquiry::Place;
use crate::note::{self, Note};
use crate::query::Options;
use crate::review::Review;
use crate::server::{Answer, Api, Request};
use crate::status::{Reason, Refusal};
use crate::target::{Discovery, Health, Objects, Target};
use crate::view::Form;
use crate::who::Who;
use crate::{discovery, document, offer, read, remove, watch, write};

impl Api {
    /// The API's routes, as the fallback of `extra`: what `extra` has of its own goes first. Handlers there find
    /// `Extension<Who>`, the caller's `Extension<Arc<Certificate>>` if one was shown, and ask [`Api::authorize`]. Web pages and who has not shown who they are get an answer from neither.
    pub fn router(self: &Arc<Self>, extra: Router) -> Router {
        let routes = extra.fallback_service(Router::new().fallback(handle).with_state(Arc::clone(self)));
        let authenticate = self.authenticate.clone();
        routes
            .layer(axum::middleware::from_fn_with_state(authenticate, identify))
            .layer(axum::middleware::from_fn(refuse_web_pages))
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&self.audit), note::note))
    }

    async fn answer(&self, who: Who, request: axum::extract::Request) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let target = Target::parse(parts.uri.path());
        match target {
            None => Refusal::no_such_path().response(),
            Some(Target::Objects(objects)) => self.objects(who, objects, &parts, body).await,
            Some(Target::Review { tenant, namespace, review }) => {
                let authenticate = self.authenticate.as_deref();
                let (tenant, namespace) = (tenant.as_str(), namespace.as_deref());
                let place = Place { authorizer: &*self.authorizer, authenticate, tenant, namespace };
                let answered = self.review(&who, review, &place, &parts, body).await;
                answered.unwrap_or_else(|refusal| refusal.response())
            }
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
        let mut event = AuditEvent::new(who.clone(), received).about(&deed);
        known.version.clone_into(&mut event.version);
        let mut note = Note::new(event, verb.writes(), parts);
        let right = self.authorizer.authorize(&who, &deed);
        let right = right.map(|right| note.event.right = Some(right));
        let asked = right.and(options).and_then(|mut options| {
            if let (Verb::Watch, Some(name)) = (verb, &objects.name) {
                options.fields = options.fields.named(name);
            }
            let form = Form::negotiate(&parts.headers, options.include_object)?;
            let (objects, headers) = (objects.clone(), parts.headers.clone());
            let trail = Arc::clone(&note.trail);
            Ok(Request { who, verb, objects, options, form, headers, body: Bytes::new(), trail })
        });
        let outcome = match asked {
            Ok(request) => self.carry_out(request, body, &note).await,
            Err(refusal) => Err(refusal),
        };
        let mut response = outcome.unwrap_or_else(|refusal| refusal.response());
        response.extensions_mut().insert(note);
        response
    }

    async fn review(
        &self,
        who: &Who,
        review: Review,
        place: &Place<'_>,
        parts: &Parts,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        if parts.method != Method::POST {
            return Err(not_allowed(&parts.method));
        }
        let known = review.known();
        let what = What::Objects {
            group: known.group,
            resource: known.plural,
            subresource: None,
            namespace: place.namespace,
            name: None,
        };
        self.authorize(who, &Deed { verb: Verb::Create, tenant: place.tenant, what })?;
        let question = document::parse(&parts.headers, &document::read(body).await?)?.value;
        let answer = place.answer(review, who, question).await?;
        Ok(json_response(StatusCode::CREATED, &answer))
    }

    async fn carry_out(
        &self,
        mut request: Request,
        body: Body,
        note: &Note,
    ) -> Result<Response<Body>, Refusal> {
        if request.verb.writes() {
            request.body = document::read(body).await?;
            if self.audit.is_required() {
                note::keep(&self.audit, note.begun()).await?;
            }
            request.trail.sent(document::told(&request.headers, &request.body));
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
        if let Err(refusal) = self.authorize(who, &deed) {
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

impl Answer {
    fn response(self) -> Response<Body> {
        let mut response = json_response(self.code, &self.body);
        for warning in self.warnings.iter().take(MOST_WARNINGS) {
            let plain: String = warning.chars().filter(|symbol| !symbol.is_control()).collect();
            let text = format!("299 - \"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""));
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                response.headers_mut().append(header::WARNING, value);
            }
        }
        response
    }
}

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
    if verb.writes() && !known.writable && !(verb == Verb::Delete && known.deletable()) {
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

/// `Warning` headers in one answer.
const MOST_WARNINGS: usize = 20;
