//! Certificates that are no longer believed, whatever their time: one by its serial number, or all of a name until now.
//!
//! Promises: what [`Revocations::revoke`] acknowledged holds in this process from then on and after every restart; asking costs a
//! look into a map, so each request and each handshake can ask. A name that was revoked can be certified anew: what is signed
//! later than the revocation is believed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use identity::{Certificate, Serial, clock};
use serde::{Deserialize, Serialize};

use crate::root::MAX_LIFE;
use crate::shelf::{Shelf, ShelfError, note};

/// What is no longer believed.
pub struct Revocations {
    shelf: Arc<dyn Shelf>,
    held: ArcSwap<Held>,
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revocation {
    /// Of what.
    pub of: Revoked,
    /// Since when: seconds since 1970 UTC. Of a name: what was signed until then.
    pub at: u64,
    /// Why; shown to whoever is refused.
    pub reason: String,
}

/// What a revocation names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Revoked {
    /// One certificate.
    Serial(Serial),
    /// Every certificate of this user: `alice`, `system:node:NAME`.
    User(String),
}

#[derive(Clone, Debug, Default)]
struct Held(BTreeMap<Revoked, Revocation>);

impl Revocations {
    /// The revocations on this shelf. Errors: the shelf's.
    pub async fn open(shelf: Arc<dyn Shelf>) -> Result<Self, ShelfError> {
        let revocations = Self { shelf, held: ArcSwap::default() };
        revocations.reload().await?;
        Ok(revocations)
    }

    /// Reads the shelf again, for what others wrote there. Errors: the shelf's; then what was known stays in force.
    pub async fn reload(&self) -> Result<(), ShelfError> {
        let mut held = Held::default();
        for slip in self.shelf.list().await? {
            let revocation: Revocation = slip.read()?;
            held.add(revocation);
        }
        // What was revoked here while the shelf was read is kept: a revocation is never lost to a race.
        self.held.rcu(|now| {
            let mut held = held.clone();
            now.0.values().cloned().for_each(|revocation| held.add(revocation));
            held
        });
        Ok(())
    }

    /// Revokes: from the answer on the certificates are refused. Errors: the shelf's; then it is in force until the process ends,
    /// and is to be asked for again.
    pub async fn revoke(&self, of: Revoked, reason: &str, now: SystemTime) -> Result<(), ShelfError> {
        let revocation = Revocation { of, at: clock::seconds(now), reason: reason.to_owned() };
        self.held.rcu(|held| {
            let mut held = Held::clone(held);
            held.add(revocation.clone());
            held
        });
        let name = revocation.of.shelf_name();
        loop {
            let there = self.shelf.get(&name).await?;
            let written = there.as_ref().map(crate::Slip::read::<Revocation>).transpose()?;
            if written.is_some_and(|written| written.at >= revocation.at) {
                return Ok(());
            }
            if self.shelf.put(&name, note(&revocation), there.map(|slip| slip.revision)).await? {
                return Ok(());
            }
        }
    }

    /// The revocation that the certificate falls under, if any.
    pub fn find(&self, certificate: &Certificate) -> Option<Revocation> {
        self.of(&certificate.serial, &certificate.user, clock::seconds(certificate.issued()))
    }

    /// The same for what is known of a certificate: its number, its user, and when it was signed.
    pub(crate) fn of(&self, serial: &Serial, user: &str, issued: u64) -> Option<Revocation> {
        let held = self.held.load();
        let serial = held.0.get(&Revoked::Serial(serial.clone()));
        let user = held.0.get(&Revoked::User(user.to_owned()));
        // Seconds are the grain of both: what was signed in the second of the revocation is refused too.
        serial.or(user.filter(|revocation| issued <= revocation.at)).cloned()
    }

    /// All of them.
    pub fn list(&self) -> Vec<Revocation> {
        self.held.load().0.values().cloned().collect()
    }

    /// Forgets those that every certificate they were meant for has outlived. Errors: the shelf's.
    pub async fn sweep(&self, now: SystemTime) -> Result<(), ShelfError> {
        for revocation in self.list() {
            if revocation.at.saturating_add((MAX_LIFE + clock::SKEW).as_secs()) < clock::seconds(now) {
                self.shelf.delete(&revocation.of.shelf_name()).await?;
                self.held.rcu(|held| {
                    let mut held = Held::clone(held);
                    if held.0.get(&revocation.of) == Some(&revocation) {
                        held.0.remove(&revocation.of);
                    }
                    held
                });
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Revocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Revocations").field(&self.held.load().0.len()).finish()
    }
}

impl Held {
    fn add(&mut self, revocation: Revocation) {
        match self.0.get(&revocation.of) {
            Some(there) if there.at >= revocation.at => {}
            _ => drop(self.0.insert(revocation.of.clone(), revocation)),
        }
    }
}

impl Revoked {
    /// Users' names are longer and freer than a shelf's.
    fn shelf_name(&self) -> String {
        match self {
            Self::Serial(serial) => format!("serial-{serial}"),
            Self::User(user) => format!("user-{}", &identity::fingerprint(user.as_bytes()).to_string()[..40]),
        }
    }
}
