//! TLS as the server's settings want it: the fabric's own root, the server's certificate, who is let in, what is revoked.

pub(crate) mod entry;
pub mod ledger;
mod upkeep;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use api::{Standing, Tls};
use authority::{
    Authority, AuthorityError, ClientVerifier, FileError, IssueError, NODE_LIFE, Registrar, Revocations,
    ServerIdentity, ServerNames, ShelfError, Tokens,
};
use identity::Certificate;
use store::Cached;

use crate::config::Config;
use crate::shelf::{HOLDERS, REVOCATIONS, StoreShelf, TOKENS};
use entry::Entry;
use upkeep::{Kubeconfig, Upkeep};

/// Why there is no TLS though the settings want it.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The root cannot be used.
    #[error("open the fabric's root in {}", path.display())]
    Root {
        /// Its folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<AuthorityError>,
    },
    /// A name of the settings cannot be in a certificate.
    #[error("certify the server for its names")]
    Names(#[from] IssueError),
    /// The server's certificate cannot be made or kept.
    #[error("certify the server")]
    Certificate(#[from] authority::ServerError),
    /// What is revoked is not known.
    #[error("read what is revoked")]
    Revocations(#[from] ShelfError),
    /// The admin's kubeconfig cannot be written.
    #[error("write the admin's kubeconfig")]
    Kubeconfig(#[from] FileError),
    /// TLS takes the root or the certificate not.
    #[error("configure TLS")]
    Config(#[source] rustls::Error),
}

/// What the listeners speak, who lets callers in, and what has to be done for it while the server runs.
pub(crate) struct Security {
    pub(crate) tls: Arc<Tls>,
    pub(crate) entry: Entry,
    pub(crate) upkeep: Upkeep,
}

/// Certificates hold within their time and until they are revoked.
struct Judge(Arc<Revocations>);

impl Standing for Judge {
    fn fault(&self, certificate: &Certificate) -> Option<String> {
        authority::check(certificate, &self.0, SystemTime::now()).err().map(|refusal| refusal.to_string())
    }
}

impl Security {
    /// What the settings want; `None`: no TLS.
    pub(crate) async fn open(config: &Config, store: &Arc<Cached>) -> Result<Option<Self>, SecurityError> {
        let Some(pki) = &config.pki else { return Ok(None) };
        let now = SystemTime::now();
        let root = |source| SecurityError::Root { path: pki.clone(), source: Box::new(source) };
        let authority = Arc::new(Authority::open(pki, now).map_err(root)?);
        let names = names(config, host_name(Path::new("/proc/sys/kernel/hostname")).ok())?;
        let identity = Arc::new(ServerIdentity::open(Arc::clone(&authority), names.clone(), now)?);
        let shelf = |resource| Arc::new(StoreShelf::new(Arc::clone(store), resource));
        let revocations = Arc::new(Revocations::open(shelf(REVOCATIONS)).await?);
        let tls = ClientVerifier::new(authority.bundle(), Arc::clone(&revocations))
            .and_then(|verifier| authority::server_config(Arc::clone(&identity), verifier))
            .map_err(SecurityError::Config)?;
        let tls = Tls::new(Arc::new(tls), Arc::new(Judge(Arc::clone(&revocations))));
        tracing::info!(root = %authority.fingerprint(), "TCP listeners speak TLS");
        let tokens = Tokens::new(shelf(TOKENS));
        let (bundle, kept) = (Arc::clone(&authority), Arc::clone(&revocations));
        let registrar = Registrar::new(bundle, tokens.clone(), kept, shelf(HOLDERS), NODE_LIFE);
        let entry = Entry { authority, tokens, revocations, registrar };
        let kubeconfig = Kubeconfig::new(pki.join(KUBECONFIG), &config.listen);
        let upkeep = Upkeep { entry: entry.clone(), store: Arc::clone(store), identity, names, kubeconfig };
        upkeep.kubeconfig_now()?;
        Ok(Some(Self { tls, entry, upkeep }))
    }
}

/// The names of the settings, the addresses listened on, and the host's name if a certificate can hold it.
fn names(config: &Config, host: Option<String>) -> Result<ServerNames, IssueError> {
    let addresses = config.listen.iter().map(SocketAddr::ip).filter(|address| !address.is_unspecified());
    let addresses: Vec<String> = addresses.map(|address| address.to_string()).collect();
    let host = host.filter(|host| ServerNames::new([host.as_str()]).is_ok());
    let told = config.names.iter().chain(&addresses).chain(&host);
    ServerNames::new(told.map(String::as_str))
}

fn host_name(path: &Path) -> io::Result<String> {
    Ok(std::fs::read_to_string(path)?.trim().to_owned())
}

/// What the server keeps in the folder of its root.
pub(crate) const FILES: [&str; 5] = ["ca.key", "ca.crt", "server.pem", KUBECONFIG, "lock"];

const KUBECONFIG: &str = "admin.kubeconfig";
