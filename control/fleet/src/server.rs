//! The server as a whole: opens what it needs, starts its parts in order, stops them in reverse.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use api::{Api, Audit, AuditFile, ListenError, Listener, NoAudit};
use intent::object::DEFAULT_TENANT;
use listenfd::ListenFd;
use record::Prefix;
use store::{Cached, Expect, FileStore, ObjectKey, Retention, Scope, Store, StoreError, Transaction};
use tokio::task::JoinSet;

use crate::admission::{FabricAdmission, network_of_tenant};
use crate::config::Config;
use crate::document;
use crate::engine::Engine;
use crate::fleet::{Fleet, RestoreError, Settings};
use crate::inspect::{State, routes};
use crate::security::entry::{self, Entry};
use crate::security::{Security, SecurityError};
use crate::warden::{Warden, ready};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The store cannot be used.
    #[error("open the store {}", path.display())]
    Store {
        /// Its file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: StoreError,
    },
    /// What the store holds cannot be used.
    #[error("restore the fabric from its store")]
    Restore(#[from] RestoreError),
    /// The audit's file cannot be written.
    #[error("open the audit {}", path.display())]
    Audit {
        /// Its file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be made.
    #[error("make the folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// TLS is wanted and cannot be had.
    #[error("make the server's doors secure")]
    Security(#[from] SecurityError),
    /// A door cannot be opened.
    #[error("open the server's doors")]
    Listen(#[from] ListenError),
    /// A socket was handed over that is none.
    #[error("take over an inherited socket")]
    Inherited(#[source] io::Error),
    /// Nobody could reach it.
    #[error("there is nothing to listen on: set `socket` or `listen`, or hand over a socket (LISTEN_FDS)")]
    Nowhere,
}

/// Runs the server until `shutdown` comes. Returns when everything is stopped; nodes go on with what they hold.
///
/// Doors: the config's socket and addresses, and sockets handed over by whoever started the process (`LISTEN_FDS`).
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerError> {
    let began = Instant::now();
    let mut listeners = listen(&config).await?;
    let store = open_store(&config).await?;
    let failed = |source| ServerError::Store { path: config.store.clone(), source };
    bootstrap(&store, &config.default_subnets).await.map_err(failed)?;
    ready::repair(&store, &config.rights).await.map_err(failed)?;
    // In a set, so that it ends with this function.
    let mut chores = JoinSet::new();
    let mut entry = None;
    if let Some(security) = Security::open(&config, &store).await? {
        listeners = listeners.into_iter().map(|listener| listener.secured(&security.tls)).collect();
        chores.spawn(security.upkeep.keep());
        entry = Some(security.entry);
    }
    let audit = audit(&config)?;
    let warden = Arc::new(Warden::new(Arc::clone(&store)));
    let default_subnets = config.default_subnets;
    let admission = Arc::new(FabricAdmission { warden: Arc::clone(&warden), default_subnets });
    let settings = api::Settings {
        authorizer: warden,
        authenticate: entry.as_ref().map(Entry::bearers),
        limits: api::Limits::default(),
        admission,
        audit,
    };
    let api = Api::start(Arc::clone(&store), settings).await.map_err(failed)?;

    let (listing, watch) = store.subscribe(Scope::all());
    let settings = Settings { rest: config.rest_seconds };
    let fleet = Fleet::restore(&listing.objects, settings, 0, SystemTime::now())?;
    let (engine, handle) = Engine::new(fleet, Arc::clone(&store), watch, began);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // In a set, so that whoever drops this function's future leaves no engine behind.
    let mut parts = JoinSet::new();
    parts.spawn(engine.run(async {
        // Dropped or sent: both mean stop.
        stopped.await.ok();
    }));
    let routes = routes(Arc::new(State { handle, store: Arc::clone(&store), api: Arc::clone(&api) }))
        .merge(entry::routes(entry, Arc::clone(&api)));
    tracing::info!(revision = listing.revision, objects = listing.objects.len(), "the server is up");
    let ending = async move {
        shutdown.await;
        // Streams end when the engine lets them go; the doors wait for that.
        drop(stop);
    };
    api::serve(api, listeners, routes, ending).await;
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "the engine did not end in good order");
        }
    }
    tracing::info!("the server has stopped; nodes go on with what they hold");
    Ok(())
}

async fn listen(config: &Config) -> Result<Vec<Listener>, ServerError> {
    let mut listeners = Vec::new();
    let mut inherited = ListenFd::from_env();
    for index in 0..inherited.len() {
        let descriptor = match inherited.take_unix_listener(index) {
            Ok(socket) => socket.map(Into::into),
            Err(_) => inherited.take_tcp_listener(index).map_err(ServerError::Inherited)?.map(Into::into),
        };
        listeners.extend(descriptor.map(Listener::inherited).transpose()?);
    }
    if let Some(socket) = &config.socket {
        make_folder(socket)?;
        listeners.push(Listener::unix(socket)?);
    }
    for address in &config.listen {
        listeners.push(Listener::tcp(*address).await?);
    }
    if listeners.is_empty() { Err(ServerError::Nowhere) } else { Ok(listeners) }
}

async fn open_store(config: &Config) -> Result<Arc<Cached>, ServerError> {
    make_folder(&config.store)?;
    let failed = |source| ServerError::Store { path: config.store.clone(), source };
    let home = FileStore::open(&config.store, Retention::default()).map_err(failed)?;
    Ok(Arc::new(Cached::start(Arc::new(home)).await.map_err(failed)?))
}

fn audit(config: &Config) -> Result<Arc<dyn Audit>, ServerError> {
    let Some(path) = &config.audit else { return Ok(Arc::new(NoAudit)) };
    make_folder(path)?;
    let file = AuditFile::open(path, config.keep);
    Ok(Arc::new(file.map_err(|source| ServerError::Audit { path: path.clone(), source })?))
}

fn make_folder(file: &std::path::Path) -> Result<(), ServerError> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|source| ServerError::Folder { path: folder.to_owned(), source })
}

/// The tenant that requests without one mean, with its network; its namespace is the API's business.
async fn bootstrap(store: &Cached, subnets: &[Prefix]) -> Result<(), StoreError> {
    let key = ObjectKey::new(ObjectKey::SYSTEM, document::TENANTS, None, DEFAULT_TENANT);
    if store.find(&key).is_some() {
        return Ok(());
    }
    let created = document::stamp(SystemTime::now());
    let tenant = document::plain("sealane.dev/v1alpha1", "Tenant", DEFAULT_TENANT, None, &created);
    let mut transaction = Transaction::put(key, Expect::Absent, tenant);
    let network = network_of_tenant(DEFAULT_TENANT, subnets);
    if store.find(&network.key).is_none() {
        transaction.changes.push(network);
    }
    store.write(transaction).await?;
    Ok(())
}
