//! A store as one stream of lines: what a backup is.
//!
//! ```text
//!     {"kind":"sealane backup","format":1,"schema":1,"revision":R,"objects":N,"taken":"…","release":"…"}
//!     ["RESOURCE","TENANT","NAMESPACE or empty","NAME",REVISION,CREATED,VALUE]      N times, by key
//!     {"end":N,"checksum":"XXH3 of all bytes before this line, 128 bits in hexadecimal"}
//! ```
//!
//! Promises: the objects are those of one revision; the history is not in it. [`Reader`] gives an object only while all before it
//! was in order, and ends without a fault only if every byte is what was written. The checksum finds damage, not forgery.

use std::io::{self, BufRead};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use crate::{Listing, Object, ObjectKey, SCHEMA};

/// The form of backups that this release writes and reads.
pub const FORMAT: u32 = 1;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`KIND`].
    kind: String,
    /// [`FORMAT`].
    pub format: u32,
    /// The schema of the store that it was taken from.
    pub schema: u64,
    /// The revision that it is the state of.
    pub revision: u64,
    /// How many objects follow.
    pub objects: u64,
    /// When it was taken (RFC 3339).
    pub taken: String,
    /// The release that took it.
    pub release: String,
}

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("it is no backup of Sealane's; take one with `sealane backup`")]
    Foreign,
    /// A newer release wrote it.
    #[error(
        "its {what} {found} is newer than {known}, the newest that this release reads; use the release {release} or a newer one"
    )]
    Newer {
        /// `format` or `schema`.
        what: &'static str,
        /// The version in it.
        found: u64,
        /// The newest that this release reads.
        known: u64,
        /// Who wrote it.
        release: String,
    },
    /// Its last line is not there.
    #[error("it is cut off after {objects} of {expected} objects; use another copy of it")]
    Truncated {
        /// Objects that are there.
        objects: u64,
        /// Objects that should be.
        expected: u64,
    },
    /// A line is not what was written.
    #[error("its line {line} is damaged; use another copy of it")]
    Damaged {
        /// Counted from 1.
        line: u64,
    },
    /// The lines are in order and are not what was written.
    #[error("its checksum is not that of its content: it is damaged; use another copy of it")]
    Checksum,
    /// Something follows the last line.
    #[error("something follows its last line; use another copy of it")]
    Trailing,
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
}

/// The lines of a backup of a listing of everything, each with its line break. Encodes one at a time.
pub fn lines(listing: Listing, taken: String, release: &str) -> impl Iterator<Item = Vec<u8>> + Send {
    let objects = listing.objects.len() as u64;
    let header = Header {
        kind: KIND.to_owned(),
        format: FORMAT,
        schema: SCHEMA,
        revision: listing.revision,
        objects,
        taken,
        release: release.to_owned(),
    };
    let mut hasher = Xxh3::new();
    let mut rest = listing.objects.into_iter();
    let mut header = Some(header);
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let line = match (header.take(), rest.next()) {
            (Some(header), first) => {
                let mut line = encode(&header);
                line.extend(first.iter().flat_map(encode_object));
                line
            }
            (None, Some(object)) => encode_object(&object),
            (None, None) => {
                ended = true;
                return Some(encode(&End { end: objects, checksum: words(&hasher) }));
            }
        };
        hasher.update(&line);
        Some(line)
    })
}

/// A backup that is being read: its objects in order, then the end or why it cannot be used.
pub struct Reader<R> {
    input: R,
    header: Header,
    hasher: Xxh3,
    line: u64,
    before: Option<Arc<ObjectKey>>,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Begins to read. Errors: [`BackupError::Foreign`], [`BackupError::Newer`], [`BackupError::Read`].
    pub fn open(mut input: R) -> Result<Self, BackupError> {
        let mut bytes = Vec::new();
        // What is no backup may be one endless line.
        io::Read::take(&mut input, HEADER).read_until(b'\n', &mut bytes)?;
        let claim: Claim = serde_json::from_slice(&bytes).map_err(|_| BackupError::Foreign)?;
        if claim.kind != KIND {
            return Err(BackupError::Foreign);
        }
        let newer = |what, found, known| BackupError::Newer {
            what,
            found,
            known,
            release: claim.release.clone().unwrap_or_else(|| "that wrote it".to_owned()),
        };
        if claim.format > u64::from(FORMAT) {
            return Err(newer("format", claim.format, FORMAT.into()));
        }
        let header: Header = serde_json::from_slice(&bytes).map_err(|_| BackupError::Damaged { line: 1 })?;
        if header.schema > SCHEMA {
            return Err(newer("schema", header.schema, SCHEMA));
        }
        let mut hasher = Xxh3::new();
        hasher.update(&bytes);
        Ok(Self { input, header, hasher, line: 1, before: None, ended: false })
    }

    /// What it says of itself; not to be believed before everything is read.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads to the end and keeps nothing. Errors: the first fault.
    pub fn check(mut self) -> Result<Header, BackupError> {
        while self.read()?.is_some() {}
        Ok(self.header)
    }

    /// The next object; `None`: that was all, and all of it is as it was written.
    pub fn read(&mut self) -> Result<Option<Object>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let objects = self.line - 1;
        let mut bytes = Vec::new();
        self.input.read_until(b'\n', &mut bytes)?;
        if bytes.last() != Some(&b'\n') {
            return Err(BackupError::Truncated { objects, expected: self.header.objects });
        }
        self.line += 1;
        let damaged = || BackupError::Damaged { line: self.line };
        if objects == self.header.objects {
            let end: End = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
            if end.end != objects || end.checksum != words(&self.hasher) {
                return Err(BackupError::Checksum);
            }
            if !self.input.fill_buf()?.is_empty() {
                return Err(BackupError::Trailing);
            }
            self.ended = true;
            return Ok(None);
        }
        let (resource, tenant, namespace, name, revision, created, value): Row =
            serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        let key = Arc::new(ObjectKey::from_parts((&resource, &tenant, &namespace, &name)));
        let in_order = self.before.as_ref().is_none_or(|before| *before < key);
        if !in_order || created > revision || revision > self.header.revision {
            return Err(damaged());
        }
        self.hasher.update(&bytes);
        self.before = Some(Arc::clone(&key));
        Ok(Some(Object { key, value: Arc::new(value), revision, created }))
    }
}

/// An object's line.
type Row = (String, String, String, String, u64, u64, Value);

/// As much of a header as every format has.
#[derive(Deserialize)]
struct Claim {
    kind: String,
    format: u64,
    release: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: u64,
    checksum: String,
}

fn encode_object(object: &Object) -> Vec<u8> {
    let (resource, tenant, namespace, name) = object.key.parts();
    encode(&(resource, tenant, namespace, name, object.revision, object.created, &*object.value))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("JSON values with text keys always encode");
    line.push(b'\n');
    line
}

fn words(hasher: &Xxh3) -> String {
    format!("{:032x}", hasher.digest128())
}

const KIND: &str = "sealane backup";

/// Bytes of a header at most.
const HEADER: u64 = 64 << 10;

#[cfg(test)]
mod tests;
