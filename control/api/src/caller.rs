//! From a connection and a request's headers to [`Who`].
//!
//! Promises: a certificate and a bearer token are asked about in every request, and a bad one is 401 whatever the other says;
//! of both the token counts, as it was put into this very request;
//! nobody acts as somebody else by a header; who has shown nothing gets health and version, may ask to join, and 401 for all else.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, header};
use axum::middleware::Next;
use identity::Certificate;
use record::join::JOIN_PATH;

use crate::status::{Reason, Refusal};
use crate::target::Target;
use crate::tls::Shown;
use crate::who::{Authenticate, Identity, Origin, UNAUTHENTICATED, Who};

/// What a connection says of who is at its other end.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// A unix socket.
    Unix { uid: u32 },
    /// TCP without TLS.
    Plain { address: IpAddr },
    /// TCP with TLS.
    Secured { address: IpAddr, shown: Option<Shown> },
}

/// Puts [`Who`] into the request's extensions, or refuses it.
pub(crate) async fn identify(
    State(authenticate): State<Option<Arc<dyn Authenticate>>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    match who(&peer, request.headers(), authenticate.as_deref()).await {
        Ok(who) if who.is_in(UNAUTHENTICATED) && !is_open(request.uri().path()) => {
            unauthorized("show a client certificate or a bearer token").response()
        }
        Ok(who) => {
            if let Some(certificate) = peer.certificate() {
                request.extensions_mut().insert(certificate);
            }
            request.extensions_mut().insert(who.clone());
            let mut response = next.run(request).await;
            response.extensions_mut().insert(who);
            response
        }
        Err(refusal) => refusal.response(),
    }
}

async fn who(
    peer: &Peer,
    headers: &HeaderMap,
    authenticate: Option<&dyn Authenticate>,
) -> Result<Who, Refusal> {
    if let Some(name) = headers.keys().find(|name| name.as_str().starts_with("impersonate-")) {
        let message = format!(
            "{name}: this server lets nobody act as somebody else; leave the header out (kubectl: --as)"
        );
        return Err(Refusal::new(Reason::Forbidden, message));
    }
    if let Some(fault) = peer.fault() {
        return Err(unauthorized(&format!("the client certificate is not believed: {fault}")));
    }
    let Some(token) = bearer(headers)? else { return Ok(peer.who()) };
    let owner = match authenticate {
        Some(authenticate) => authenticate.authenticate(token).await,
        None => None,
    };
    let owner = owner.ok_or_else(|| unauthorized("the bearer token is unknown, expired or withdrawn"))?;
    Ok(Who::identified(owner, peer.origin()))
}

/// The bearer token of a request, if it has one (RFC 6750, section 2.1). Errors: 401 for credentials of another kind.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let wrong = || unauthorized("the header Authorization is not understood: write one \"Bearer TOKEN\"");
    let text = first.to_str().ok().filter(|_| given.next().is_none()).ok_or_else(wrong)?;
    let (scheme, token) = text.split_once(' ').ok_or_else(wrong)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(wrong());
    }
    Ok(Some(token))
}

/// Whether a path is answered to everybody. Who joins shows a token in the body, as nobody else does.
fn is_open(path: &str) -> bool {
    path == JOIN_PATH || matches!(Target::parse(path), Some(Target::Health(_) | Target::Version))
}

fn unauthorized(remedy: &str) -> Refusal {
    Refusal::new(Reason::Unauthorized, format!("Unauthorized: {remedy}"))
}

impl Peer {
    /// Why the certificate of the connection holds no longer, if it does not.
    pub(crate) fn fault(&self) -> Option<String> {
        match self {
            Self::Secured { shown: Some(shown), .. } => shown.fault(),
            Self::Unix { .. } | Self::Plain { .. } | Self::Secured { shown: None, .. } => None,
        }
    }

    /// The certificate that the other end has proven to be its own.
    fn certificate(&self) -> Option<Arc<Certificate>> {
        match self {
            Self::Secured { shown: Some(shown), .. } => Some(Arc::clone(&shown.certificate)),
            Self::Unix { .. } | Self::Plain { .. } | Self::Secured { shown: None, .. } => None,
        }
    }

    fn who(&self) -> Who {
        match self {
            Self::Unix { uid } => Who::local(*uid),
            Self::Plain { address } => Who::plain(*address),
            Self::Secured { shown: None, .. } => Who::anonymous(self.origin()),
            Self::Secured { shown: Some(shown), .. } => {
                let (user, groups) = (shown.certificate.user.clone(), shown.certificate.groups.clone());
                Who::identified(Identity { user, groups }, self.origin())
            }
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::Unix { uid } => Origin::Unix { uid: *uid },
            Self::Plain { address } | Self::Secured { address, .. } => Origin::Address(*address),
        }
    }
}
