//! Where the server joins in the decision about a write: what a single document cannot show.

use intent::{Kind, Problem};
use serde_json::Value;
use store::{Cached, Change, ObjectKey};

use crate::access::Verb;
use crate::who::Who;

/// A write that is right by itself.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// Who asks.
    pub who: &'a Who,
    /// How.
    pub verb: Verb,
    /// The object's kind.
    pub kind: Kind,
    /// The object.
    pub key: &'a ObjectKey,
    /// The object until now.
    pub old: Option<&'a Value>,
    /// The object from now on, canonical; `None`: it is to be deleted (at once, or when its content or finalizers are gone).
    pub new: Option<&'a Value>,
}

/// Why a write is not to be.
#[derive(Clone, Debug)]
pub enum Objection {
    /// The object does not fit with others: 422 with all of these.
    Invalid(Vec<Problem>),
    /// The write is not allowed now: 403 with this message.
    Forbidden(String),
}

/// Checks across objects.
pub trait Admission: Send + Sync + 'static {
    /// Judges a write against the objects as they are.
    ///
    /// Returns what must happen with it in the same transaction: companions, and expectations that what was looked at
    /// is still so ([`store::Action::Keep`]). If one of these does not hold, the write is judged again. Called for dry runs
    /// too, and possibly several times for one write: it must change nothing itself.
    fn judge(&self, proposal: &Proposal<'_>, objects: &Cached) -> Result<Vec<Change>, Objection>;
}

/// Lets everything pass.
#[derive(Clone, Copy, Debug)]
pub struct AdmitAll;

impl Admission for AdmitAll {
    fn judge(&self, _: &Proposal<'_>, _: &Cached) -> Result<Vec<Change>, Objection> {
        Ok(Vec::new())
    }
}
