//! What has to be done for trust while the server runs: renewing its certificate and the admin's, forgetting what is over, dismissing
//! nodes that are deleted.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authority::{FileError, ServerIdentity, ServerNames};
use intent::object::{DEFAULT_TENANT, SYSTEM_TENANT};
use store::{Cached, Scope, StoreError, Watch};
use tokio::time::{Instant, sleep_until};

use super::entry::Entry;
use crate::document::{NODES, TENANTS};

/// See the module.
pub(crate) struct Upkeep {
    pub(super) entry: Entry,
    pub(super) store: Arc<Cached>,
    pub(super) identity: Arc<ServerIdentity>,
    pub(super) names: ServerNames,
    pub(super) kubeconfig: Option<Kubeconfig>,
}

/// The admin's kubeconfig.
pub(super) struct Kubeconfig {
    path: PathBuf,
    server: String,
}

impl Kubeconfig {
    /// Beside the root, for the first address listened on; `None`: there is none that a file could name.
    pub(super) fn new(path: PathBuf, listen: &[SocketAddr]) -> Option<Self> {
        let address = *listen.iter().find(|address| address.port() != 0)?;
        let ip = match address.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Some(Self { path, server: format!("https://{}", SocketAddr::new(ip, address.port())) })
    }
}

impl Upkeep {
    /// Goes on until the store is closed.
    pub(crate) async fn keep(self) {
        let mut due = Instant::now() + HOUR;
        let (mut nodes, mut deletions) = self.follow_nodes();
        let (_, mut tenants) = self.store.subscribe(Scope::resource(TENANTS));
        loop {
            let news = tokio::select! {
                () = sleep_until(due) => {
                    self.renew().await;
                    due = Instant::now() + HOUR;
                    continue;
                }
                batch = deletions.next() => batch.map(|batch| {
                    for event in &batch.events {
                        nodes.insert(event.key.name().to_owned());
                    }
                }),
                batch = tenants.next() => batch.map(|_| self.write_kubeconfig()),
            };
            match news {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                // What was missed is found by what is there no more.
                Err(error) => {
                    tracing::info!(%error, "following nodes and tenants anew");
                    deletions = self.follow_nodes().1;
                    tenants = self.store.subscribe(Scope::resource(TENANTS)).1;
                    self.write_kubeconfig();
                }
            }
            let there: BTreeSet<String> = self.nodes();
            for gone in nodes.difference(&there) {
                self.dismiss(gone).await;
            }
            nodes = there;
        }
    }

    fn follow_nodes(&self) -> (BTreeSet<String>, Watch) {
        let (listing, watch) = self.store.subscribe(Scope::resource(NODES));
        (listing.objects.iter().map(|object| object.key.name().to_owned()).collect(), watch)
    }

    fn nodes(&self) -> BTreeSet<String> {
        let listing = self.store.objects(&Scope::resource(NODES));
        listing.objects.iter().map(|object| object.key.name().to_owned()).collect()
    }

    async fn dismiss(&self, node: &str) {
        match self.entry.registrar.dismiss(node, "the node was deleted", SystemTime::now()).await {
            Ok(()) => tracing::info!(node, "a deleted node's certificates are revoked; its name is free"),
            Err(error) => tracing::error!(
                node,
                %error,
                "a deleted node's certificates are refused until the server ends; `sealane certificate revoke` makes that last"
            ),
        }
    }

    async fn renew(&self) {
        let now = SystemTime::now();
        match self.identity.refresh(&self.names, now) {
            Ok(true) => tracing::info!("the server has a new certificate"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "cannot renew the server's certificate; trying again in an hour")
            }
        }
        self.write_kubeconfig();
        let swept = match self.entry.tokens.sweep(now).await {
            Ok(()) => self.entry.revocations.sweep(now).await,
            failed => failed,
        };
        if let Err(error) = swept {
            tracing::warn!(%error, "tokens and revocations that are over are kept for another hour");
        }
    }

    fn write_kubeconfig(&self) {
        if let Err(error) = self.kubeconfig_now() {
            tracing::error!(%error, "the admin's kubeconfig is not what it should be");
        }
    }

    /// Writes the admin's kubeconfig if it is not there, is about to end, or lacks a tenant. Errors: the file's.
    pub(super) fn kubeconfig_now(&self) -> Result<(), FileError> {
        let Some(Kubeconfig { path, server }) = &self.kubeconfig else { return Ok(()) };
        let listing = self.store.objects(&Scope::resource(TENANTS));
        let made = listing.objects.iter().map(|object| object.key.name());
        let others = made.filter(|name| ![DEFAULT_TENANT, SYSTEM_TENANT].contains(name)).take(MOST_CONTEXTS);
        let tenants: Vec<&str> = [DEFAULT_TENANT, SYSTEM_TENANT].into_iter().chain(others).collect();
        if authority::admin(&self.entry.authority, path, server, &tenants, SystemTime::now())? {
            tracing::info!(path = %path.display(), "the admin's kubeconfig is written");
        }
        Ok(())
    }
}

const HOUR: Duration = Duration::from_hours(1);

/// So many tenants have a context in the admin's kubeconfig: it is a file for people.
const MOST_CONTEXTS: usize = 100;
