//! Who is let in: joining, renewing, tokens, what is certified and what is revoked, as routes beside the API's own.
//!
//! Promises: whoever asks to join shows a token and nothing else counts; all else is asked of the API's rights, as `tokens`,
//! `certificates` and `revocations` of `fabric.sealane.dev` at the provider's level; what is changed or refused is in the audit; a
//! token's secret is in the answer that makes it and nowhere else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{Api, Authenticate, Deed, Identity, Reason, Refusal, Verb, What, Who};
use authority::{
    Authority, Grant, Order, OrderError, Registrar, RegistrarError, Revocations, Revoked, Subject,
    TokenRefusal, Tokens,
};
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use identity::{Certificate, Serial};
use intent::object::SYSTEM_TENANT;
use record::join::{Credential, JOIN_PATH, JoinRequest, MAX_BODY, RENEW_PATH, TokenId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ledger::{
    CertificateEntry, Ledger, MadeToken, RevocationEntry, Revoke, TokenEntry, TokenOrder, Whom,
};

/// Those who decide who is let in.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(super) authority: Arc<Authority>,
    pub(super) tokens: Tokens,
    pub(super) revocations: Arc<Revocations>,
    pub(super) registrar: Registrar,
}

/// What the routes need. `entry` is there if the settings name a folder for the root.
struct Door {
    entry: Option<Entry>,
    api: Arc<Api>,
}

/// The routes. Without an [`Entry`] each says what is missing.
pub(crate) fn routes(entry: Option<Entry>, api: Arc<Api>) -> Router {
    Router::new()
        .route(JOIN_PATH, post(join))
        .route(RENEW_PATH, post(renew))
        .route("/fabric/v1/tokens", get(tokens).post(create))
        .route("/fabric/v1/tokens/{id}", delete(remove))
        .route("/fabric/v1/certificates", get(certificates))
        .route("/fabric/v1/revocations", post(revoke))
        .layer(Extension(Arc::new(Door { entry, api })))
}

/// Knows the users that tokens stand for.
struct Bearers(Tokens);

impl Entry {
    /// Whose bearer tokens are.
    pub(crate) fn bearers(&self) -> Arc<dyn Authenticate> {
        Arc::new(Bearers(self.tokens.clone()))
    }
}

impl Authenticate for Bearers {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Option<Identity>> {
        async move {
            let credential: Credential = token.parse().ok()?;
            match self.0.bearer(&credential, SystemTime::now()).await {
                Ok(Subject { user, groups }) => Some(Identity { user, groups }),
                Err(TokenRefusal::Shelf(error)) => {
                    tracing::error!(error = chain(&error), "a token cannot be looked up");
                    None
                }
                Err(_) => None,
            }
        }
        .boxed()
    }
}

type Shared = Extension<Arc<Door>>;
type Caller = Extension<Who>;

async fn join(Extension(door): Shared, Extension(who): Caller, body: Body) -> Response<Body> {
    let received = SystemTime::now();
    let mut node = None;
    let outcome = async {
        let entry = door.entry()?;
        let asked: JoinRequest = read(body).await?;
        node = Some(asked.node.chars().take(LONGEST_NAME).collect::<String>());
        entry.registrar.join(&asked, SystemTime::now()).await.map_err(|error| refused(&error))
    };
    let outcome = outcome.await;
    door.answer(&who, &deed(Verb::Create, "certificates", node.as_deref()), received, StatusCode::OK, outcome)
}

async fn renew(
    Extension(door): Shared,
    Extension(who): Caller,
    certificate: Option<Extension<Arc<Certificate>>>,
    body: Body,
) -> Response<Body> {
    let received = SystemTime::now();
    let outcome = async {
        let entry = door.entry()?;
        let nobody = || {
            Refusal::new(
                Reason::Forbidden,
                "a node renews with the certificate that it has, over TLS: show it",
            )
        };
        let Extension(peer) = certificate.ok_or_else(nobody)?;
        let asked = read(body).await?;
        entry.registrar.renew(&peer, &asked, SystemTime::now()).await.map_err(|error| refused(&error))
    };
    let outcome = outcome.await;
    door.answer(&who, &deed(Verb::Update, "certificates", who.node()), received, StatusCode::OK, outcome)
}

async fn tokens(Extension(door): Shared, Extension(who): Caller) -> Response<Body> {
    let listed = async {
        door.api.authorize(&who, &deed(Verb::List, "tokens", None))?;
        let kept = door.entry()?.tokens.list().await.map_err(|error| failed(&error))?;
        let now = SystemTime::now();
        Ok(kept.iter().map(|kept| TokenEntry::of(kept, now)).collect::<Vec<_>>())
    };
    answered(StatusCode::OK, listed.await)
}

async fn create(Extension(door): Shared, Extension(who): Caller, body: Body) -> Response<Body> {
    let received = SystemTime::now();
    if let Err(refusal) = door.api.authorize(&who, &deed(Verb::Create, "tokens", None)) {
        return refusal.response();
    }
    let outcome = async {
        let entry = door.entry()?;
        let TokenOrder { whom, seconds } = read(body).await?;
        let grant = match whom {
            Whom::Node { name, many } => Grant::Node { name, many },
            Whom::User { name, groups } => Grant::User { subject: Subject { user: name, groups } },
        };
        let order = Order { grant, life: Duration::from_secs(seconds), by: who.user.clone() };
        let now = SystemTime::now();
        let made = entry.tokens.create(order, entry.authority.fingerprint(), now).await;
        let token = made.map_err(|error| match error {
            OrderError::Shelf(error) => failed(&error),
            wrong => Refusal::bad_request(wrong.to_string()),
        })?;
        let until = identity::clock::seconds(now).saturating_add(seconds);
        Ok(MadeToken { id: token.credential.id().to_string(), token: token.reveal(), until })
    };
    let outcome = outcome.await;
    let id = outcome.as_ref().ok().map(|made: &MadeToken| made.id.clone());
    door.answer(&who, &deed(Verb::Create, "tokens", id.as_deref()), received, StatusCode::CREATED, outcome)
}

async fn remove(Extension(door): Shared, Extension(who): Caller, Path(id): Path<String>) -> Response<Body> {
    let received = SystemTime::now();
    let deed = deed(Verb::Delete, "tokens", Some(&id));
    if let Err(refusal) = door.api.authorize(&who, &deed) {
        return refusal.response();
    }
    let outcome = async {
        let entry = door.entry()?;
        let missing =
            || Refusal::new(Reason::NotFound, format!("there is no token {id:?}: `sealane token list`"));
        let known: TokenId = id.parse().map_err(|_| missing())?;
        let deleted = entry.tokens.delete(&known).await.map_err(|error| failed(&error))?;
        deleted.then_some(()).ok_or_else(missing)
    };
    door.answer(&who, &deed, received, StatusCode::OK, outcome.await)
}

async fn certificates(Extension(door): Shared, Extension(who): Caller) -> Response<Body> {
    let listed = async {
        door.api.authorize(&who, &deed(Verb::List, "certificates", None))?;
        let entry = door.entry()?;
        let holders = entry.registrar.holders().await.map_err(|error| failed(&error))?;
        let revocations = entry.revocations.list();
        Ok(Ledger {
            certificates: holders.iter().map(|holder| CertificateEntry::of(holder, &revocations)).collect(),
            revocations: revocations.iter().map(RevocationEntry::of).collect(),
        })
    };
    answered(StatusCode::OK, listed.await)
}

async fn revoke(Extension(door): Shared, Extension(who): Caller, body: Body) -> Response<Body> {
    let received = SystemTime::now();
    if let Err(refusal) = door.api.authorize(&who, &deed(Verb::Create, "revocations", None)) {
        return refusal.response();
    }
    let mut name = None;
    let outcome = async {
        let entry = door.entry()?;
        let asked: Revoke = read(body).await?;
        let (of, reason) = match asked {
            Revoke::User { name, reason } => (Revoked::User(name), reason),
            Revoke::Serial { serial, reason } => {
                let serial = serial.parse::<Serial>();
                let serial = serial.map_err(|error| Refusal::bad_request(error.to_string()))?;
                (Revoked::Serial(serial), reason)
            }
        };
        name = Some(match &of {
            Revoked::User(user) => user.chars().take(LONGEST_NAME).collect(),
            Revoked::Serial(serial) => serial.to_string(),
        });
        entry.revocations.revoke(of, &reason, SystemTime::now()).await.map_err(|error| failed(&error))
    };
    let outcome = outcome.await;
    let deed = deed(Verb::Create, "revocations", name.as_deref());
    door.answer(&who, &deed, received, StatusCode::CREATED, outcome)
}

impl Door {
    fn entry(&self) -> Result<&Entry, Refusal> {
        let missing = "this server certifies nobody: set `pki` in its settings to the folder of the fabric's root, and start it anew";
        self.entry.as_ref().ok_or_else(|| Refusal::new(Reason::NotFound, missing))
    }

    /// Says what came of it, to the caller and in the audit.
    fn answer<T: Serialize>(
        &self,
        who: &Who,
        deed: &Deed<'_>,
        received: SystemTime,
        code: StatusCode,
        outcome: Result<T, Refusal>,
    ) -> Response<Body> {
        // A refusal is noted with its answer.
        if outcome.is_ok() {
            self.api.note(who, deed, received, Ok(code));
        }
        answered(code, outcome)
    }
}

fn deed<'a>(verb: Verb, resource: &'a str, name: Option<&'a str>) -> Deed<'a> {
    let group = rights::FABRIC_GROUP;
    let what = What::Objects { group, resource, subresource: None, namespace: None, name };
    Deed { verb, tenant: SYSTEM_TENANT, what }
}

fn answered<T: Serialize>(code: StatusCode, outcome: Result<T, Refusal>) -> Response<Body> {
    match outcome {
        Ok(value) => (code, axum::Json(value)).into_response(),
        Err(refusal) => refusal.response(),
    }
}

/// A bounded body. What does not fit is not repeated: it may be a secret in the wrong place.
async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let bytes = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| {
        Refusal::bad_request(format!("the request broke off, or is longer than {MAX_BODY} bytes"))
    })?;
    serde_json::from_slice(&bytes).map_err(|fault| {
        Refusal::bad_request(format!(
            "the request is not understood from line {}, column {} on: are both ends of one version?",
            fault.line(),
            fault.column()
        ))
    })
}

fn refused(error: &RegistrarError) -> Refusal {
    let reason = match error.status() {
        400 => Reason::BadRequest,
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        409 => Reason::Conflict,
        _ => return failed(error),
    };
    Refusal::new(reason, error.to_string())
}

/// What the server cannot do now: the cause is for its log.
fn failed(error: &(dyn std::error::Error + 'static)) -> Refusal {
    tracing::error!(error = chain(error), "tokens and certificates cannot be read or noted");
    let message =
        "the server cannot read or write what it notes of tokens and certificates: its log says why";
    Refusal::new(Reason::InternalError, message)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Of a name that somebody gave, so much is in the audit.
const LONGEST_NAME: usize = 253;
