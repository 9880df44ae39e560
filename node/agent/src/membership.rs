//! What this host proves itself with to a server over TLS: got with a token, kept, renewed in time.
//!
//! ```text
//!   token ──join──> passport.pem (0600) ──> sessions
//!                       ^──renew── at 30 to 45 hundredths of its life
//! ```
//!
//! Promises: the key is on the disk before it is certified, and the passport before it is used, each file whole or not at all and
//! readable by root alone; a token that has been used here is not used again unless the passport is over, so whoever was
//! revoked does not come back by it; a token given anew is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity::{Key, clock};
use parking_lot::Mutex;
use record::join::Token;
use stream::{Address, ConnectError, Credentials, JoinError, Link, Passport, PassportError};
use tracing::{info, warn};

use crate::config::Config;

/// See the module.
pub(crate) struct Membership {
    server: Address,
    node: String,
    token: Option<Token>,
    token_file: Option<PathBuf>,
    folder: PathBuf,
    held: Mutex<Option<Held>>,
}

#[derive(Clone)]
struct Held {
    credentials: Arc<Credentials>,
    /// The token that it was got with, by its public name.
    token: String,
    /// When to ask for the next one.
    renewal: SystemTime,
}

/// Why this host cannot prove itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MembershipError {
    /// A file cannot be read or written.
    #[error("{operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What was kept cannot be used.
    #[error("use {}: delete it and join again with a new token", path.display())]
    Passport {
        path: PathBuf,
        #[source]
        source: PassportError,
    },
    /// The file of the token holds none.
    #[error("read the token in {}", path.display())]
    Token {
        path: PathBuf,
        #[source]
        source: record::join::TokenError,
    },
    /// It was certified under another name.
    #[error(
        "this host was certified as {held:?}, and its settings say that it is the node {node:?}: set `node` back, or join under the new \
         name with a new token"
    )]
    OtherName { held: String, node: String },
    /// There is nothing to join with.
    #[error(
        "the server at {server} wants a certificate of this host, and there is none in {}: make a token on the server with `sealane token \
         create --for node`, and name it here with `token_file`, `token` or SEALANE_TOKEN", folder.display()
    )]
    NoToken { server: Address, folder: PathBuf },
    /// The server gives no certificate.
    #[error("join with the token {token}")]
    Join {
        token: String,
        #[source]
        source: Box<JoinError>,
    },
    /// No session came about.
    #[error(transparent)]
    Connect(Box<ConnectError>),
}

impl Membership {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            server: config.server.clone(),
            node: config.node.clone(),
            token: config.token.clone(),
            token_file: config.token_file.clone(),
            folder: config.state_dir.clone(),
            held: Mutex::default(),
        }
    }

    /// A session with the server, as whom this host is certified; it joins first where it must.
    pub(crate) async fn connect(&self) -> Result<Link, MembershipError> {
        if !matches!(self.server, Address::Https(_)) {
            return stream::connect(&self.server).await.map_err(closed);
        }
        let credentials = self.credentials().await?;
        stream::connect_as(&self.server, &credentials).await.map_err(closed)
    }

    /// Renews the certificate in time, for ever.
    pub(crate) async fn keep(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let held = self.held.lock().clone();
            // In steps: the clock may be set, and the host may join, meanwhile.
            let Some(held) = held.filter(|held| held.renewal <= SystemTime::now()) else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            match self.renew(&held).await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(error) => {
                    warn!(
                        error = crate::cause::chain(&*error),
                        "the certificate is not renewed; it is tried again"
                    );
                    tokio::time::sleep(pause.mul_f64(0.5 + chance() / 2.0)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn renew(&self, held: &Held) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let passport = stream::renew(&self.server, &held.credentials, Key::generate()).await?;
        self.keep_passport(&passport, &held.token)?;
        held.credentials.replace(&passport)?;
        *self.held.lock() = Some(Held { renewal: passport.renewal(chance()), ..held.clone() });
        info!(until = clock::show(passport.certificate.validity.until), "the certificate is renewed");
        Ok(())
    }

    /// What to prove itself with: the passport at hand, the one on the disk, or a new one.
    async fn credentials(&self) -> Result<Arc<Credentials>, MembershipError> {
        let token = self.token()?;
        let held = match self.held.lock().clone() {
            Some(held) => Some(held),
            None => self.read_passport()?,
        };
        let Some(held) = held else {
            let missing =
                || MembershipError::NoToken { server: self.server.clone(), folder: self.folder.clone() };
            return self.join(&token.ok_or_else(missing)?).await;
        };
        let certificate = held.credentials.certificate();
        let until = certificate.as_ref().map(|certificate| certificate.validity.until);
        let over = until.is_some_and(|until| until < SystemTime::now());
        let name = certificate.map(|certificate| certificate.user).unwrap_or_default();
        let named = name.strip_prefix(NODE_PREFIX) == Some(&self.node);
        if let Some(token) = token
            && (over || !named || token.credential.id().to_string() != held.token)
        {
            match self.join(&token).await {
                Ok(credentials) => return Ok(credentials),
                Err(error) if over || !named => return Err(error),
                Err(error) => {
                    warn!(error = crate::cause::chain(&error), "the certificate at hand stays in use");
                }
            }
        }
        if !named {
            let held = name.strip_prefix(NODE_PREFIX).unwrap_or(&name).to_owned();
            return Err(MembershipError::OtherName { held, node: self.node.clone() });
        }
        let credentials = Arc::clone(&held.credentials);
        *self.held.lock() = Some(held);
        Ok(credentials)
    }

    async fn join(&self, token: &Token) -> Result<Arc<Credentials>, MembershipError> {
        let id = token.credential.id().to_string();
        let failed = |source| MembershipError::Join { token: id.clone(), source: Box::new(source) };
        let key = self.next_key()?;
        let passport = stream::join(&self.server, token, &self.node, key).await.map_err(failed)?;
        self.keep_passport(&passport, &id)?;
        let unusable = |source| MembershipError::Passport { path: self.passport(), source };
        let credentials = Arc::new(Credentials::new(&passport).map_err(unusable)?);
        let renewal = passport.renewal(chance());
        *self.held.lock() = Some(Held { credentials: Arc::clone(&credentials), token: id.clone(), renewal });
        // The next one to join gets a key of its own.
        remove(&self.pending())?;
        info!(
            node = self.node, token = id, until = clock::show(passport.certificate.validity.until),
            server = %self.server, "this host has joined"
        );
        Ok(credentials)
    }

    /// The token of the settings, as it stands in its file now.
    fn token(&self) -> Result<Option<Token>, MembershipError> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        match read(path)? {
            None => Ok(None),
            Some(text) => {
                text.parse().map(Some).map_err(|source| MembershipError::Token { path: path.clone(), source })
            }
        }
    }

    /// The key of a join that was begun and whose answer may have been lost, or a new one.
    fn next_key(&self) -> Result<Key, MembershipError> {
        let path = self.pending();
        if let Some(key) = read(&path)?.and_then(|text| Key::read(&text).ok()) {
            return Ok(key);
        }
        let key = Key::generate();
        publish(&path, &key.pem())?;
        Ok(key)
    }

    fn read_passport(&self) -> Result<Option<Held>, MembershipError> {
        let path = self.passport();
        let Some(text) = read(&path)? else { return Ok(None) };
        let unusable = |source| MembershipError::Passport { path: path.clone(), source };
        let passport = Passport::read(&text).map_err(unusable)?;
        let credentials = Arc::new(Credentials::new(&passport).map_err(unusable)?);
        let token = text.lines().next().and_then(|line| line.strip_prefix(TOKEN)).unwrap_or_default();
        Ok(Some(Held { credentials, token: token.to_owned(), renewal: passport.renewal(chance()) }))
    }

    fn keep_passport(&self, passport: &Passport, token: &str) -> Result<(), MembershipError> {
        publish(&self.passport(), &format!("{TOKEN}{token}\n{}", passport.pem()))
    }

    fn passport(&self) -> PathBuf {
        self.folder.join(PASSPORT)
    }

    fn pending(&self) -> PathBuf {
        self.folder.join(PENDING)
    }
}

fn closed(error: ConnectError) -> MembershipError {
    MembershipError::Connect(Box::new(error))
}

/// From 0 to 1.
fn chance() -> f64 {
    let [one, other] = identity::random::bytes::<2>();
    f64::from(u16::from_be_bytes([one, other])) / f64::from(u16::MAX)
}

fn read(path: &Path) -> Result<Option<String>, MembershipError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(MembershipError::File { operation: "read", path: path.to_owned(), source }),
    }
}

/// Puts a file in place that root alone can read, whole or not at all.
fn publish(path: &Path, text: &str) -> Result<(), MembershipError> {
    let failed = |source| MembershipError::File { operation: "write", path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let next = path.with_extension("next");
    remove(&next)?;
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&next).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&next, path).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn remove(path: &Path) -> Result<(), MembershipError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(MembershipError::File { operation: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// The files that are kept in the agent's folder.
pub(crate) const FILES: [&str; 2] = [PASSPORT, PENDING];

const PASSPORT: &str = "passport.pem";
const PENDING: &str = "join.key";
/// Before the PEM in the passport's file: which token it was got with.
const TOKEN: &str = "# got with the token ";
const NODE_PREFIX: &str = "system:node:";
const LOOK: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
