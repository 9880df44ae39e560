//! A server's life after its store was made from a backup, and the making.
//!
//! Owns: the mark that a restored store carries, what a backup is to an operator ([`restore`], [`check`]), and the time in which a
//! restored server listens before it says anything ([`Restoration`]).
//!
//! ```text
//!   restore ──mark──> start: numbers leap ──> listen: hear what nodes use, send nothing ──> as ever
//!                                                     LISTEN                numbers leap at each start for a while
//! ```
//!
//! Promises: no number that was given since the backup is given to another name while a node may still know it; see
//! `docs/design/0017-backup.md`.

use std::io::BufRead;

use serde_json::{Value, json};
use store::backup::{BackupError, Header, Reader};
use store::{Action, Object, ObjectKey, RestorationError, Restored};

use crate::config::Config;
use crate::stage::Millis;

/// Where the mark is kept.
const RESOURCE: &str = "restorations.fleet.sealane.dev";

/// How long a restored server listens, in milliseconds. Agents try again after five seconds at most.
pub(crate) const LISTEN: Millis = 15_000;

/// Reads a backup to its end. Errors: why it cannot be used.
pub fn check(input: impl BufRead) -> Result<Header, BackupError> {
    Reader::open(input)?.check()
}

/// Makes the store of a server that does not run what a backup says. `replace`: a store that is there is put aside.
///
/// Errors: [`RestorationError`]; nothing has changed then.
pub fn restore(input: impl BufRead, config: &Config, replace: bool) -> Result<Restored, RestorationError> {
    store::restore(input, &config.store, (key(), json!({})), replace)
}

/// How far a restoration is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restoration {
    /// Nodes are being heard, until this time.
    Listening(Millis),
    /// Numbers of the lost history may be known on nodes until the server has lived so many seconds.
    Remembered(u64),
}

impl Restoration {
    /// How the store says it is, at a start now; `None`: it was not restored.
    pub(crate) fn find(objects: &[Object], now: Millis) -> Option<Self> {
        let mark = key();
        let found = objects.iter().find(|object| *object.key == mark)?;
        let until = found.value.get("until").and_then(Value::as_u64);
        Some(until.map_or(Self::Listening(now + LISTEN), Self::Remembered))
    }

    /// What the store is to be told.
    pub(crate) fn write(restoration: Option<Self>) -> (ObjectKey, Action) {
        let action = match restoration {
            None => Action::Delete,
            Some(Self::Listening(_)) => Action::Put(json!({}).into()),
            Some(Self::Remembered(until)) => Action::Put(json!({ "until": until }).into()),
        };
        (key(), action)
    }
}

fn key() -> ObjectKey {
    ObjectKey::new(ObjectKey::SYSTEM, RESOURCE, None, "last")
}
