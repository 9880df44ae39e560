//! The agent's tasks: what runs, how often, and that each runs again should it fail.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::cause::chain;
use crate::door::Socket;
use crate::kernel::News;
use crate::node::{Node, blocking};

/// The running tasks. Dropping it ends them where they stand.
pub(crate) struct Tasks {
    stop: watch::Sender<bool>,
    doors: JoinSet<()>,
    others: JoinSet<()>,
}

impl Tasks {
    /// Starts all of them.
    pub(crate) fn start(node: &Arc<Node>, socket: Socket, metrics: Option<tokio::net::TcpListener>) -> Self {
        let stop = watch::Sender::new(false);
        let mut tasks = Self { doors: JoinSet::new(), others: JoinSet::new(), stop };
        tasks.doors.spawn(socket.serve(Arc::clone(node), tasks.stop.subscribe()));
        tasks.supervise(node, "sync", Node::stay_in_sync);
        tasks.supervise(node, "certificate", Node::stay_certified);
        tasks.supervise(node, "watch", Node::watch_links);
        tasks.supervise(node, "tidy", Node::keep_tidy);
        tasks.supervise(node, "flows", Node::keep_sweeping);
        tasks.supervise(node, "samples", Node::keep_sampling);
        if let Some(listener) = metrics {
            let router = metrics_router(node);
            tasks.others.spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "/metrics is served no more");
                }
            });
        }
        tasks
    }

    /// Lets the doors end what is under way, then ends everything.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.doors.join_next().await.is_some() {}
        self.others.shutdown().await;
    }

    fn supervise<F>(&mut self, node: &Arc<Node>, name: &'static str, work: fn(Arc<Node>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let node = Arc::clone(node);
        self.others.spawn(async move {
            loop {
                // A set of one: it is ended with this task.
                let mut one = JoinSet::new();
                one.spawn(work(Arc::clone(&node)));
                match one.join_next().await {
                    Some(Err(error)) => {
                        tracing::error!(task = name, %error, "a task failed and is begun anew")
                    }
                    _ => tracing::warn!(task = name, "a task ended and is begun anew"),
                }
                sleep(AGAIN).await;
            }
        });
    }
}

impl Node {
    /// Releases what belonged to containers that are gone, and follows the underlay.
    async fn watch_links(self: Arc<Self>) {
        let mut news = match self.kernel.watch() {
            Ok(news) => news,
            Err(error) => {
                tracing::error!(error = chain(&error), "links are not watched");
                return;
            }
        };
        // What vanished before the watch stood.
        self.tidy().await;
        while let Some(told) = news.recv().await {
            match told {
                News::Gone(number) => {
                    let node = Arc::clone(&self);
                    // Each waits for its own container, and no container for another.
                    tokio::spawn(async move { node.release(number).await });
                }
                News::Underlay => self.fit().await,
                News::Lost => self.tidy().await,
            }
        }
    }

    async fn keep_tidy(self: Arc<Self>) {
        let mut ticks = every(TIDY);
        loop {
            ticks.tick().await;
            self.tidy().await;
            self.release_blocks(Instant::now()).await;
        }
    }

    async fn keep_sweeping(self: Arc<Self>) {
        let mut ticks = every(SWEEP);
        loop {
            ticks.tick().await;
            if let Err(error) = self.in_kernel(|kernel| kernel.sweep()).await {
                tracing::error!(error = chain(&error), "flows that are over are not forgotten");
            }
        }
    }

    async fn keep_sampling(self: Arc<Self>) {
        loop {
            match self.in_kernel(|kernel| kernel.samples(SAMPLING)).await {
                Ok((samples, lost)) => self.samples.add(samples, lost),
                Err(error) => {
                    tracing::error!(error = chain(&error), "dropped packets cannot be sampled");
                    return;
                }
            }
        }
    }
}

/// Opens the port of `/metrics`.
pub(crate) async fn metrics_listener(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(address).await
}

fn metrics_router(node: &Arc<Node>) -> Router {
    let node = Arc::clone(node);
    let scrape = move || {
        let node = Arc::clone(&node);
        async move {
            let text = blocking(move || node.scrape()).await;
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
        }
    };
    Router::new().route("/metrics", get(scrape))
}

/// Ticks after each period; one that comes late is not made up for.
fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A task that failed is begun anew after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How often kernel and book are compared.
const TIDY: Duration = Duration::from_secs(10);
/// How often flows that are over are looked for.
const SWEEP: Duration = Duration::from_secs(2);
/// How long one wait for dropped packets lasts: a stopping agent waits for it.
const SAMPLING: Duration = Duration::from_millis(250);
