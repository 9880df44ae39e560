//! Tokens: what lets a host in that has no certificate yet, and what stands for a person or program that has none.
//!
//! A token is `ID.SECRET.PIN`. The server keeps the id and SHA-256 of the secret: of 256 random bits nobody finds the secret from
//! that, however fast they guess, so a slow hash would only slow the server down. Secrets are compared in constant time.
//!
//! Promises: a token is good until it is deleted, its time is over, or (one for a node, once) a host has joined with it; a host that
//! did not hear the answer may ask again with the same key. What is refused for a wrong secret and for an unknown id reads alike.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::{Request, clock, fingerprint, random};
use record::join::{Credential, Fingerprint, Token, TokenId};
use serde::{Deserialize, Serialize};

use crate::shelf::{Shelf, ShelfError, note};
use crate::{Subject, SubjectError};

/// The tokens of a server.
#[derive(Clone)]
pub struct Tokens {
    shelf: Arc<dyn Shelf>,
}

/// What a token is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// For whom.
    pub grant: Grant,
    /// How long it is good.
    pub life: Duration,
    /// Who asked for it; shown in lists.
    pub by: String,
}

/// For whom a token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "camelCase", deny_unknown_fields)]
pub enum Grant {
    /// A host that joins.
    Node {
        /// The only name that it may have; `None`: any that nobody has.
        name: Option<String>,
        /// Whether a second host may join with it.
        many: bool,
    },
    /// Whoever presents it.
    User {
        /// As whom they act.
        subject: Subject,
    },
}

/// A token as it is kept and listed: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kept {
    /// Its public name.
    pub id: TokenId,
    /// For whom it is.
    pub grant: Grant,
    /// Who asked for it.
    pub by: String,
    /// When it was made: seconds since 1970 UTC.
    pub made: u64,
    /// Until when it is good: seconds since 1970 UTC.
    pub until: u64,
    /// The last host that joined with it.
    pub used: Option<Use>,
    /// SHA-256 of the secret, base64.
    digest: String,
}

/// How a token was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Use {
    /// The node that joined.
    pub node: String,
    /// The fingerprint of the key that it had certified.
    pub key: String,
    /// When: seconds since 1970 UTC.
    pub at: u64,
}

/// A host that wants to join.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// Under which name.
    pub(crate) node: &'a str,
    /// With which key.
    pub(crate) request: &'a Request,
    /// Until when another host holds that name, if one does: only a token for this very name takes it from there.
    pub(crate) taken: Option<u64>,
}

/// Why a token is not made.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// For so long none is made.
    #[error("a token is good for one minute to 366 days, and {} seconds were asked for", .0.as_secs())]
    Life(Duration),
    /// A name cannot be given.
    #[error(transparent)]
    Name(#[from] SubjectError),
    /// It could not be kept.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// Why a token does not let its bearer in.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// No such token, or another secret.
    #[error(
        "the token is not known here: it was deleted, or is of another server; `sealane token create` makes one"
    )]
    Unknown,
    /// Its time is over.
    #[error("the token {id} was good until {}, and the server's clock says {}: `sealane token create` makes one",
        clock::show(clock::time(*until)), clock::show(*now))]
    Expired {
        /// Which.
        id: TokenId,
        /// Until when it was good.
        until: u64,
        /// The server's clock.
        now: SystemTime,
    },
    /// It is for something else.
    #[error("the token {id} is for {for_whom}: {remedy}")]
    OtherUse {
        /// Which.
        id: TokenId,
        /// What it is for.
        for_whom: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Somebody has used it up.
    #[error("the token {id} was used by the node {node} at {}, and is good for one: `sealane token create --for node` makes another",
        clock::show(clock::time(*at)))]
    Used {
        /// Which.
        id: TokenId,
        /// By whom.
        node: String,
        /// When.
        at: u64,
    },
    /// The name is another's.
    #[error(
        "another host holds the name {node} until {}: choose another name; or, if that host is gone, delete the node, or join with a \
         token for this very name (`sealane token create --for node --name {node}`)",
        clock::show(clock::time(*until))
    )]
    Taken {
        /// The name.
        node: String,
        /// Until when.
        until: u64,
    },
    /// It could not be looked up.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

impl Tokens {
    /// The tokens on this shelf.
    pub fn new(shelf: Arc<dyn Shelf>) -> Self {
        Self { shelf }
    }

    /// Makes a token for those who trust the root with this fingerprint. The answer is the only place where the secret is.
    ///
    /// # Errors
    /// Each variant of [`OrderError`].
    pub async fn create(&self, order: Order, pin: Fingerprint, now: SystemTime) -> Result<Token, OrderError> {
        if !(crate::MIN_LIFE..=crate::MAX_LIFE).contains(&order.life) {
            return Err(OrderError::Life(order.life));
        }
        let grant = match order.grant {
            Grant::Node { name: Some(name), many } => {
                Subject::node(&name)?;
                Grant::Node { name: Some(name), many }
            }
            Grant::Node { name: None, many } => Grant::Node { name: None, many },
            Grant::User { subject } => {
                Grant::User { subject: Subject::user(&subject.user, &subject.groups)? }
            }
        };
        let made = clock::seconds(now);
        loop {
            let (id, secret) = (random::word(TokenId::LENGTH), random::word(Credential::SECRET_LENGTH));
            let credential = Credential::new(&id, &secret).expect("chance speaks the token's alphabet");
            let kept = Kept {
                id: credential.id().clone(),
                grant: grant.clone(),
                by: order.by.clone(),
                made,
                until: made.saturating_add(order.life.as_secs()),
                used: None,
                digest: digest_of(&credential),
            };
            // An id that another token has is not taken from it.
            if self.shelf.put(&id, note(&kept), None).await? {
                return Ok(Token { credential, pin });
            }
        }
    }

    /// All tokens that are kept, those that are over too until they are swept.
    ///
    /// # Errors
    /// The shelf's.
    pub async fn list(&self) -> Result<Vec<Kept>, ShelfError> {
        let mut kept: Vec<Kept> =
            self.shelf.list().await?.iter().map(|slip| slip.read()).collect::<Result<_, _>>()?;
        kept.sort_by(|one, other| (one.made, &one.id).cmp(&(other.made, &other.id)));
        Ok(kept)
    }

    /// Deletes a token, and answers whether there was one. What it let in stays in: to cut that off is for
    /// [`Revocations`](crate::Revocations).
    ///
    /// # Errors
    /// The shelf's.
    pub async fn delete(&self, id: &TokenId) -> Result<bool, ShelfError> {
        self.shelf.delete(&id.to_string()).await
    }

    /// Deletes the tokens whose time is over.
    ///
    /// # Errors
    /// The shelf's.
    pub async fn sweep(&self, now: SystemTime) -> Result<(), ShelfError> {
        for kept in self.list().await?.iter().filter(|kept| kept.is_over(now)) {
            self.delete(&kept.id).await?;
        }
        Ok(())
    }

    /// As whom the bearer of a token acts.
    ///
    /// # Errors
    /// Each variant of [`TokenRefusal`] but [`Used`](TokenRefusal::Used).
    pub async fn bearer(&self, credential: &Credential, now: SystemTime) -> Result<Subject, TokenRefusal> {
        match self.find(credential, now).await?.0.grant {
            Grant::User { subject } => Ok(subject),
            Grant::Node { .. } => Err(TokenRefusal::OtherUse {
                id: credential.id().clone(),
                for_whom: "a node that joins".to_owned(),
                remedy: "give it to `sealane agent --token`; `sealane token create --for user` makes one for a caller",
            }),
        }
    }

    /// Whether the host may join; a token that is good for one is used up by it.
    ///
    /// # Errors
    /// Each variant of [`TokenRefusal`].
    pub(crate) async fn admit(
        &self,
        credential: &Credential,
        candidate: Candidate<'_>,
        now: SystemTime,
    ) -> Result<(), TokenRefusal> {
        let key = fingerprint(candidate.request.public()).to_string();
        loop {
            let (mut kept, revision) = self.find(credential, now).await?;
            kept.admits(candidate, &key)?;
            kept.used =
                Some(Use { node: candidate.node.to_owned(), key: key.clone(), at: clock::seconds(now) });
            // Somebody else used it meanwhile: then it has to be judged again.
            if self.shelf.put(&kept.id.to_string(), note(&kept), Some(revision)).await? {
                return Ok(());
            }
        }
    }

    async fn find(&self, credential: &Credential, now: SystemTime) -> Result<(Kept, u64), TokenRefusal> {
        let slip = self.shelf.get(&credential.id().to_string()).await?.ok_or(TokenRefusal::Unknown)?;
        let kept: Kept = slip.read()?;
        verify_slices_are_equal(kept.digest.as_bytes(), digest_of(credential).as_bytes())
            .map_err(|_| TokenRefusal::Unknown)?;
        if kept.is_over(now) {
            return Err(TokenRefusal::Expired { id: kept.id, until: kept.until, now });
        }
        Ok((kept, slip.revision))
    }
}

impl Kept {
    /// Whether its time is over.
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.until <= clock::seconds(now)
    }

    fn admits(&self, candidate: Candidate<'_>, key: &str) -> Result<(), TokenRefusal> {
        let Candidate { node, taken, .. } = candidate;
        let other_use = |for_whom, remedy| TokenRefusal::OtherUse { id: self.id.clone(), for_whom, remedy };
        let (name, many) = match &self.grant {
            Grant::User { subject } => {
                let remedy = "a caller presents it as its bearer; `sealane token create --for node` makes one to join with";
                return Err(other_use(format!("the user {}", subject.user), remedy));
            }
            Grant::Node { name, many } => (name.as_deref(), *many),
        };
        match (name, taken, &self.used) {
            (Some(name), ..) if name != node => {
                let remedy = "join under that name, or have a token made for yours";
                Err(other_use(format!("the node {name}"), remedy))
            }
            (_, _, Some(used)) if !many && (used.node != node || used.key != key) => {
                Err(TokenRefusal::Used { id: self.id.clone(), node: used.node.clone(), at: used.at })
            }
            (None, Some(until), _) => Err(TokenRefusal::Taken { node: node.to_owned(), until }),
            _ => Ok(()),
        }
    }
}

fn digest_of(credential: &Credential) -> String {
    STANDARD.encode(digest(&SHA256, credential.secret().as_bytes()))
}
