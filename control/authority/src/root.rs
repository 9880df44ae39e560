//! The root: the key that everybody in the fabric is certified by, and its files.
//!
//! ```text
//!   FOLDER/ca.key   the root's key, for its owner alone        written first
//!   FOLDER/ca.crt   the roots that are trusted, PEM            written second: with it the root exists
//! ```
//!
//! Promises: a root is made once, also when programs begin at the same moment or die in between: until `ca.crt` is there nobody
//! was certified, and a key that is there alone is taken up. Whoever is certified lives no longer than the root.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use identity::{Bundle, BundleError, Certificate, Key, KeyError, Request, Validity, clock};
use record::join::Fingerprint;

use crate::Subject;
use crate::draft::{Draft, Purpose, ServerName, Signer};
use crate::file::{self, FileError, Readers};

/// Certifies. Cheap to share by reference; it never changes while it is open.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    key: Key,
    root: Certificate,
    bundle: Bundle,
}

/// Why there is no authority to open.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The root's certificate is there and its key is gone.
    #[error(
        "{} is there and {} is not: restore the key from a backup; or move the folder away to begin anew, and let every \
         node and user join again",
        certificate.display(), key.display()
    )]
    KeyLost {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// The key's file holds no key.
    #[error("read {}: restore it from a backup", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The certificates' file holds none.
    #[error("read {}: restore it from a backup", path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BundleError,
    },
    /// No certificate is the key's.
    #[error("{} certifies no root with the key in {}: restore the two from one backup", certificate.display(), key.display())]
    Strangers {
        /// The certificates' file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// There is no root yet, and the clock has not been set.
    #[error("make the fabric's root: this host's clock says {}; set it first (chrony, systemd-timesyncd), for the root begins then",
        clock::show(*now))]
    Unset {
        /// This host's clock.
        now: SystemTime,
    },
    /// The root's time is over, has not come, or the clock is wrong.
    #[error(
        "the root in {} is valid {validity}, and this host's clock says {}: set the clock if it is wrong; otherwise move \
         the folder away to begin anew",
        path.display(), clock::show(*now)
    )]
    Time {
        /// The certificates' file.
        path: PathBuf,
        /// When it is valid.
        validity: Validity,
        /// This host's clock.
        now: SystemTime,
    },
}

/// Why a certificate is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// It would live too long, or not at all.
    #[error("a certificate for {} is not given: from {} to {} are", shorten(*asked), shorten(MIN_LIFE), shorten(MAX_LIFE))]
    Life {
        /// How long was asked for.
        asked: Duration,
    },
    /// A name of a server that no certificate can hold.
    #[error("{name:?} is no name of a server: write a DNS name or an address")]
    Name {
        /// Which.
        name: String,
    },
}

/// How long a root is valid. The one thing that must be renewed by hand: see the design note.
pub const ROOT_LIFE: Duration = Duration::from_hours(24 * 3653);

/// How long a server's own certificate is valid. The server renews it by itself.
pub const SERVER_LIFE: Duration = Duration::from_hours(24 * 90);

/// How long a node's certificate is valid unless the server says otherwise.
pub const NODE_LIFE: Duration = Duration::from_hours(24 * 7);

/// How long the admin's certificate is valid. The server renews it by itself.
pub const ADMIN_LIFE: Duration = Duration::from_hours(24 * 365);

/// The longest life of a certificate that says who calls.
pub const MAX_LIFE: Duration = Duration::from_hours(24 * 366);

/// The shortest.
pub const MIN_LIFE: Duration = Duration::from_mins(1);

impl Authority {
    /// Opens the root in a folder, or makes it.
    ///
    /// # Errors
    /// Each variant of [`AuthorityError`]. A root that is there is never replaced.
    pub fn open(folder: &Path, now: SystemTime) -> Result<Self, AuthorityError> {
        let (certificates, keys) = (folder.join("ca.crt"), folder.join("ca.key"));
        let _lock = file::lock(folder)?;
        let key = file::read(&keys)?
            .map(|text| Key::read(&text).map_err(|source| AuthorityError::Key { path: keys.clone(), source }))
            .transpose()?;
        let (key, bundle) = match (file::read(&certificates)?, key) {
            (Some(_), None) => return Err(AuthorityError::KeyLost { certificate: certificates, key: keys }),
            (Some(text), Some(key)) => {
                let unreadable = |source| AuthorityError::Bundle { path: certificates.clone(), source };
                (key, Bundle::read(&text).map_err(unreadable)?)
            }
            (None, _) if clock::seconds(now) < YEAR_2026 => return Err(AuthorityError::Unset { now }),
            (None, key) => {
                let key = key.unwrap_or_else(Key::generate);
                file::publish(&keys, &key.pem(), Readers::Nobody)?;
                let root = root(&key, now);
                file::publish(&certificates, &root.pem(), Readers::Everybody)?;
                (key, Bundle::from(root))
            }
        };
        let Some(root) = bundle.roots().iter().find(|root| root.public == key.public()).cloned() else {
            return Err(AuthorityError::Strangers { certificate: certificates, key: keys });
        };
        if !root.validity.holds(now) {
            return Err(AuthorityError::Time { path: certificates, validity: root.validity, now });
        }
        Ok(Self { folder: folder.to_owned(), key, root, bundle })
    }

    /// The roots that everybody is to trust.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The root that signs.
    pub fn root(&self) -> &Certificate {
        &self.root
    }

    /// What tokens pin: the fingerprint of the root that signs.
    pub fn fingerprint(&self) -> Fingerprint {
        self.root.fingerprint()
    }

    /// Where the root's files are, and the server's other secrets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Certifies the key of a request as the subject's.
    ///
    /// # Errors
    /// [`IssueError::Life`].
    pub fn certify(
        &self,
        subject: &Subject,
        request: &Request,
        life: Duration,
        now: SystemTime,
    ) -> Result<Certificate, IssueError> {
        if !(MIN_LIFE..=MAX_LIFE).contains(&life) {
            return Err(IssueError::Life { asked: life });
        }
        let validity = self.validity(life, now);
        let draft = Draft { subject, public: request.public(), validity, purpose: Purpose::Client };
        Ok(draft.sign(Signer::Root(&self.root, &self.key)))
    }

    /// Certifies a key as a server's.
    pub(crate) fn certify_server(&self, key: &Key, names: &[ServerName], now: SystemTime) -> Certificate {
        let subject = Subject { user: "sealane-server".to_owned(), groups: Vec::new() };
        let validity = self.validity(SERVER_LIFE, now);
        Draft { subject: &subject, public: key.public(), validity, purpose: Purpose::Server(names) }
            .sign(Signer::Root(&self.root, &self.key))
    }

    fn validity(&self, life: Duration, now: SystemTime) -> Validity {
        let until = now.checked_add(life).unwrap_or(self.root.validity.until);
        Validity { from: now - clock::SKEW, until: until.min(self.root.validity.until) }
    }
}

/// The name carries a part of the key's fingerprint: readers that look for an issuer by name find the right one of two.
fn root(key: &Key, now: SystemTime) -> Certificate {
    let fingerprint = identity::fingerprint(key.public()).to_string();
    let subject = Subject { user: format!("sealane-ca {}", &fingerprint[..8]), groups: Vec::new() };
    let validity = Validity { from: now - clock::SKEW, until: now + ROOT_LIFE };
    Draft { subject: &subject, public: key.public(), validity, purpose: Purpose::Root }
        .sign(Signer::Itself(key))
}

/// A host without a battery begins at 1970. A root that began then would be over before it is used.
const YEAR_2026: u64 = 1_767_225_600;

fn shorten(life: Duration) -> String {
    let seconds = life.as_secs();
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}
