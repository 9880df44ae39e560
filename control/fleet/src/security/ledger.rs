//! What is told and asked about tokens and certificates on `/fabric/v1/tokens`, `certificates` and `revocations`.

use std::time::SystemTime;

use authority::{Grant, Holder, Kept, Revocation, Revoked};
use serde::{Deserialize, Serialize};

/// Asks for a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenOrder {
    /// For whom.
    pub whom: Whom,
    /// How long it is good.
    pub seconds: u64,
}

/// For whom a token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "camelCase", deny_unknown_fields)]
pub enum Whom {
    /// A host that joins.
    Node {
        /// The only name that it may have; `None`: any that nobody has.
        name: Option<String>,
        /// Whether a second host may join with it.
        #[serde(default)]
        many: bool,
    },
    /// Whoever presents it.
    User {
        /// As whom they act.
        name: String,
        /// The groups that they are in.
        #[serde(default)]
        groups: Vec<String>,
    },
}

/// A token that was made: the one time that its secret is told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeToken {
    /// Its public name.
    pub id: String,
    /// The whole of it.
    pub token: String,
    /// Until when it is good: seconds since 1970 UTC.
    pub until: u64,
}

/// A token as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenEntry {
    /// Its public name.
    pub id: String,
    /// For whom it is.
    pub whom: Whom,
    /// Who asked for it.
    pub by: String,
    /// When it was made: seconds since 1970 UTC.
    pub made: u64,
    /// Until when it is good: seconds since 1970 UTC.
    pub until: u64,
    /// Whether it is good no longer.
    pub over: bool,
    /// The last node that joined with it.
    pub used_by: Option<String>,
    /// When that was: seconds since 1970 UTC.
    pub used_at: Option<u64>,
}

/// What is certified and what is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// The newest certificate of each node.
    pub certificates: Vec<CertificateEntry>,
    /// What is no longer believed.
    pub revocations: Vec<RevocationEntry>,
}

/// A node's newest certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateEntry {
    /// The node.
    pub node: String,
    /// The certificate's number.
    pub serial: String,
    /// When it was signed: seconds since 1970 UTC.
    pub issued: u64,
    /// Until when it is valid: seconds since 1970 UTC.
    pub until: u64,
    /// Why it is revoked, if it is.
    pub revoked: Option<String>,
}

/// What is no longer believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevocationEntry {
    /// A user, all of whose certificates until then are meant, or `serial:NUMBER`.
    pub of: String,
    /// Since when: seconds since 1970 UTC.
    pub at: u64,
    /// Why.
    pub reason: String,
}

/// Asks for a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "camelCase", deny_unknown_fields)]
pub enum Revoke {
    /// Every certificate that a user (`alice`, `system:node:NAME`) has until now.
    User {
        /// The user.
        name: String,
        /// Why; told to whoever is refused.
        reason: String,
    },
    /// One certificate.
    Serial {
        /// Its number.
        serial: String,
        /// Why; told to whoever is refused.
        reason: String,
    },
}

impl std::fmt::Debug for MadeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl TokenEntry {
    pub(super) fn of(kept: &Kept, now: SystemTime) -> Self {
        let whom = match &kept.grant {
            Grant::Node { name, many } => Whom::Node { name: name.clone(), many: *many },
            Grant::User { subject } => {
                Whom::User { name: subject.user.clone(), groups: subject.groups.clone() }
            }
        };
        Self {
            id: kept.id.to_string(),
            whom,
            by: kept.by.clone(),
            made: kept.made,
            until: kept.until,
            over: kept.is_over(now),
            used_by: kept.used.as_ref().map(|used| used.node.clone()),
            used_at: kept.used.as_ref().map(|used| used.at),
        }
    }
}

impl CertificateEntry {
    pub(super) fn of(holder: &Holder, revocations: &[Revocation]) -> Self {
        let user = format!("{}{}", authority::NODE_PREFIX, holder.node);
        let meant = |revocation: &&Revocation| match &revocation.of {
            Revoked::Serial(serial) => *serial == holder.serial,
            Revoked::User(name) => *name == user && holder.issued <= revocation.at,
        };
        Self {
            node: holder.node.clone(),
            serial: holder.serial.to_string(),
            issued: holder.issued,
            until: holder.until,
            revoked: revocations.iter().find(meant).map(|revocation| revocation.reason.clone()),
        }
    }
}

impl RevocationEntry {
    pub(super) fn of(revocation: &Revocation) -> Self {
        let of = match &revocation.of {
            Revoked::Serial(serial) => format!("serial:{serial}"),
            Revoked::User(user) => user.clone(),
        };
        Self { of, at: revocation.at, reason: revocation.reason.clone() }
    }
}
