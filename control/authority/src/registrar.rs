//! Joining and renewing: what the server does with the two requests of [`record::join`].
//!
//! Promises: a certificate is signed for a name that the token allows and that no other host holds; nothing in a request but its key
//! is taken over; a host whose clock is off learns both clocks instead of a certificate that it could not use.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity::{Certificate, Request, RequestError, Serial, clock, fingerprint};
use record::join::{JoinAnswer, JoinRequest, RenewRequest};
use serde::{Deserialize, Serialize};

use crate::shelf::{Shelf, ShelfError, note};
use crate::token::Candidate;
use crate::{
    Authority, IssueError, Revocation, Revocations, Revoked, Subject, SubjectError, TokenRefusal, Tokens,
};

/// Lets nodes in.
#[derive(Clone)]
pub struct Registrar {
    authority: Arc<Authority>,
    tokens: Tokens,
    revocations: Arc<Revocations>,
    holders: Arc<dyn Shelf>,
    life: Duration,
}

/// The host that holds a node's name: the newest certificate that was signed for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Holder {
    /// The node.
    pub node: String,
    /// The certificate's number.
    pub serial: Serial,
    /// The fingerprint of its key.
    pub key: String,
    /// When it was signed: seconds since 1970 UTC.
    pub issued: u64,
    /// Until when it is valid: seconds since 1970 UTC.
    pub until: u64,
}

/// Why a host gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum RegistrarError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] SubjectError),
    /// The request is not granted.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The token does not allow it.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// The clocks lie too far apart.
    #[error(
        "the node's clock says {}, the server's {}: they may lie {} minutes apart; set the one that is wrong (chrony, \
         systemd-timesyncd) and try again",
        clock::show(clock::time(*node)), clock::show(*server), clock::SKEW.as_secs() / 60
    )]
    Clock {
        /// The node's, in seconds since 1970 UTC.
        node: u64,
        /// The server's.
        server: SystemTime,
    },
    /// Another host asked for the name at the same moment.
    #[error("another host asked for the name {node} at the same moment: try again, or choose another name")]
    Contested {
        /// The name.
        node: String,
    },
    /// Only nodes renew.
    #[error("{user} is no node: a node renews its certificate with the one that it has, over TLS")]
    NoNode {
        /// Who asked.
        user: String,
    },
    /// What it would renew is not believed.
    #[error(transparent)]
    Refused(#[from] CertificateRefusal),
    /// Its life is not allowed.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The home of tokens failed.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// Why a certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// It is revoked.
    #[error(
        "the certificate of {user} is revoked since {} ({}): join again with a new token",
        clock::show(clock::time(revocation.at)), revocation.reason
    )]
    Revoked {
        /// Whose.
        user: String,
        /// By what.
        revocation: Revocation,
    },
    /// Its time is over or has not come.
    #[error("the certificate of {user} is valid {validity}, and the clock here says {}: {}", clock::show(*now),
        if *now > validity.until { "join again with a new token" } else { "set the clock that is wrong" })]
    Time {
        /// Whose.
        user: String,
        /// When it is valid.
        validity: identity::Validity,
        /// The clock.
        now: SystemTime,
    },
}

impl Registrar {
    /// Who lets nodes in. `holders` is a shelf of its own. `life`: how long a node's certificate is valid, [`crate::NODE_LIFE`] as
    /// a rule.
    pub fn new(
        authority: Arc<Authority>,
        tokens: Tokens,
        revocations: Arc<Revocations>,
        holders: Arc<dyn Shelf>,
        life: Duration,
    ) -> Self {
        Self { authority, tokens, revocations, holders, life }
    }

    /// Answers [`JOIN_PATH`](record::join::JOIN_PATH): anyone may ask, over TLS.
    ///
    /// # Errors
    /// Each variant of [`RegistrarError`] but [`NoNode`](RegistrarError::NoNode).
    pub async fn join(&self, asked: &JoinRequest, now: SystemTime) -> Result<JoinAnswer, RegistrarError> {
        check_clock(asked.clock, now)?;
        let subject = Subject::node(&asked.node)?;
        let request = Request::read(&asked.request)?;
        let slip = self.holders.get(&shelf_name(&asked.node)).await?;
        let holder = slip.as_ref().map(crate::Slip::read::<Holder>).transpose()?;
        let held = holder.filter(|holder| self.holds(holder, &request, now));
        let taken = held.as_ref().map(|holder| holder.until);
        let candidate = Candidate { node: &asked.node, request: &request, taken };
        self.tokens.admit(&asked.token, candidate, now).await?;
        let certificate =
            self.certify(&subject, &asked.node, &request, slip.map(|slip| slip.revision), now).await?;
        if let Some(former) = held {
            self.depose(&former, now).await?;
        }
        Ok(self.answer(&certificate, now))
    }

    /// Answers [`RENEW_PATH`](record::join::RENEW_PATH) for whoever presented `peer` in the connection's handshake.
    ///
    /// # Errors
    /// [`RegistrarError`]'s `NoNode`, `Refused`, `Clock`, `Request`, `Contested`, `Shelf`.
    pub async fn renew(
        &self,
        peer: &Certificate,
        asked: &RenewRequest,
        now: SystemTime,
    ) -> Result<JoinAnswer, RegistrarError> {
        let subject = Subject { user: peer.user.clone(), groups: peer.groups.clone() };
        let Some(node) = subject.node_name().map(str::to_owned) else {
            return Err(RegistrarError::NoNode { user: subject.user });
        };
        check(peer, &self.revocations, now)?;
        check_clock(asked.clock, now)?;
        let request = Request::read(&asked.request)?;
        let slip = self.holders.get(&shelf_name(&node)).await?;
        let certificate = self
            .certify(&Subject::node(&node)?, &node, &request, slip.map(|slip| slip.revision), now)
            .await?;
        Ok(self.answer(&certificate, now))
    }

    /// Every host that was certified and is not known to be gone. Errors: the shelf's.
    pub async fn holders(&self) -> Result<Vec<Holder>, ShelfError> {
        self.holders.list().await?.iter().map(crate::Slip::read).collect()
    }

    /// Revokes every certificate of a node and lets its name go. Errors: the shelf's.
    pub async fn dismiss(&self, node: &str, reason: &str, now: SystemTime) -> Result<(), ShelfError> {
        let user = format!("{}{node}", crate::NODE_PREFIX);
        self.revocations.revoke(Revoked::User(user), reason, now).await?;
        self.holders.delete(&shelf_name(node)).await.map(drop)
    }

    /// What a name's former host holds is no longer believed: what was signed before this second by the name, for this second's may be
    /// the next host's, and its newest certificate by the serial.
    async fn depose(&self, former: &Holder, now: SystemTime) -> Result<(), ShelfError> {
        let reason = format!("another host joined as {} with a token for that name", former.node);
        let user = Revoked::User(format!("{}{}", crate::NODE_PREFIX, former.node));
        self.revocations.revoke(user, &reason, now - Duration::from_secs(1)).await?;
        self.revocations.revoke(Revoked::Serial(former.serial.clone()), &reason, now).await
    }

    fn holds(&self, holder: &Holder, request: &Request, now: SystemTime) -> bool {
        let user = format!("{}{}", crate::NODE_PREFIX, holder.node);
        let other = holder.key != fingerprint(request.public()).to_string();
        other
            && clock::seconds(now) < holder.until
            && self.revocations.of(&holder.serial, &user, holder.issued).is_none()
    }

    async fn certify(
        &self,
        subject: &Subject,
        node: &str,
        request: &Request,
        expected: Option<u64>,
        now: SystemTime,
    ) -> Result<Certificate, RegistrarError> {
        let certificate = self.authority.certify(subject, request, self.life, now)?;
        check(&certificate, &self.revocations, now)?;
        let holder = Holder {
            node: node.to_owned(),
            serial: certificate.serial.clone(),
            key: certificate.fingerprint().to_string(),
            issued: clock::seconds(certificate.issued()),
            until: clock::seconds(certificate.validity.until),
        };
        if self.holders.put(&shelf_name(node), note(&holder), expected).await? {
            Ok(certificate)
        } else {
            Err(RegistrarError::Contested { node: node.to_owned() })
        }
    }

    fn answer(&self, certificate: &Certificate, now: SystemTime) -> JoinAnswer {
        JoinAnswer {
            certificate: certificate.pem(),
            authorities: self.authority.bundle().pem(),
            clock: clock::seconds(now),
        }
    }
}

impl RegistrarError {
    /// The HTTP status that says the same.
    pub fn status(&self) -> u16 {
        match self {
            Self::Name(_) | Self::Request(_) | Self::Clock { .. } | Self::Issue(_) => 400,
            Self::Token(TokenRefusal::Shelf(_)) | Self::Shelf(_) => 500,
            Self::Token(TokenRefusal::OtherUse { .. }) | Self::NoNode { .. } => 403,
            Self::Token(TokenRefusal::Taken { .. }) => 409,
            Self::Token(_) | Self::Refused(_) => 401,
            Self::Contested { .. } => 409,
        }
    }
}

/// Whether a certificate that our root signed is believed now.
///
/// # Errors
/// Each variant of [`CertificateRefusal`].
pub fn check(
    certificate: &Certificate,
    revocations: &Revocations,
    now: SystemTime,
) -> Result<(), CertificateRefusal> {
    let user = || certificate.user.clone();
    if !certificate.validity.holds(now) {
        return Err(CertificateRefusal::Time { user: user(), validity: certificate.validity, now });
    }
    match revocations.find(certificate) {
        Some(revocation) => Err(CertificateRefusal::Revoked { user: user(), revocation }),
        None => Ok(()),
    }
}

fn check_clock(node: u64, server: SystemTime) -> Result<(), RegistrarError> {
    if node.abs_diff(clock::seconds(server)) > clock::SKEW.as_secs() {
        return Err(RegistrarError::Clock { node, server });
    }
    Ok(())
}

/// A node's name is longer than a shelf's may be.
fn shelf_name(node: &str) -> String {
    format!("node-{}", &fingerprint(node.as_bytes()).to_string()[..40])
}
