//! Serving on listeners until told to stop.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::crowd::Counted;
use crate::identity::Peer;
use crate::listen::Listener;
use crate::server::Api;

/// Serves the API, and `extra_routes` beside it, on every listener (HTTP/1.1, and HTTP/2 with prior knowledge) until `stop`
/// comes. Then no connection is taken any more, watches end, and requests under way have ten seconds. Socket files that
/// this process made are removed.
pub async fn serve(
    api: Arc<Api>,
    listeners: Vec<Listener>,
    extra_routes: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let router = api.router(extra_routes);
    let (stopping, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut files: Vec<PathBuf> = Vec::new();
    for listener in listeners {
        let mut stopped = stopped.clone();
        let told = async move {
            // An error is the end of this function, which is a reason to stop too.
            stopped.wait_for(|stopping| *stopping).await.ok();
        };
        let service = router.clone().into_make_service_with_connect_info::<Peer>();
        match listener {
            Listener::Unix { socket, file } => {
                files.extend(file);
                let socket = Counted::new(socket);
                tasks.spawn(async move { axum::serve(socket, service).with_graceful_shutdown(told).await });
            }
            Listener::Tcp(socket) => {
                tasks.spawn(async move { axum::serve(socket, service).with_graceful_shutdown(told).await });
            }
        }
    }
    stop.await;
    api.stop();
    stopping.send_replace(true);
    let rest = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, rest).await.is_err() {
        tracing::warn!("connections are still busy and end with the process");
    }
    for file in files {
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::warn!(path = %file.display(), %error, "cannot remove the socket");
        }
    }
}

/// What requests under way have at the end.
const PATIENCE: Duration = Duration::from_secs(10);
