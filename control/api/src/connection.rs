//! One connection, from its first byte to its end.
//!
//! Promises: whatever the other end does or leaves, the connection ends: by its [`Limits`] when nothing is asked or an answer is
//! not read, when the certificate that it came with holds no longer, and when the server stops, after the answers under way.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, MissedTickBehavior};
use tower::ServiceExt;

use crate::caller::Peer;
use crate::limits::{CONNECTION_WINDOW, HEADERS, Limits, STREAM_WINDOW};
use crate::pulse::{Fault, Pulse, arriving};

/// Serves HTTP/1.1, and HTTP/2 with prior knowledge or as agreed in the handshake, until either side is done or `stopping` says true.
pub(crate) async fn serve<S>(
    stream: S,
    peer: Peer,
    router: Router,
    limits: Limits,
    mut stopping: Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pulse = Arc::new(Pulse::new());
    let service = hyper::service::service_fn(|request| answer(request, &peer, &router, &pulse, &limits));
    let builder = builder(&limits);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut look = tokio::time::interval(limits.look());
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<Instant> = None;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(?peer, error, "a connection ended");
                }
                return;
            }
            // An error is the end of the server, which is a reason to stop too.
            _ = stopping.wait_for(|stopping| *stopping), if told.is_none() => {
                told = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => {
                if let Some(fault) = peer.fault() {
                    return tracing::info!(?peer, fault, "a connection is cut: its certificate holds no longer");
                }
                match pulse.fault(&limits) {
                Some(Fault::Idle) if told.is_none() => {
                    told = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                }
                // Asked to end, and nothing is under way: a peer that does not say good-bye is not waited for.
                Some(Fault::Idle) if told.is_some_and(|told| told.elapsed() > limits.header) => return,
                Some(Fault::Stalled) => return tracing::info!(?peer, "a connection is cut: nobody reads its answer"),
                Some(Fault::Idle) | None => {}
                }
            }
        }
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header).max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.ping)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER);
    builder
}

fn answer(
    request: Request<Incoming>,
    peer: &Peer,
    router: &Router,
    pulse: &Arc<Pulse>,
    limits: &Limits,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static {
    let turn = pulse.begin();
    let answered = Arc::new(AtomicBool::new(false));
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(peer.clone());
    let body = arriving(body, limits.body, Arc::clone(&answered));
    let answer = router.clone().oneshot(Request::from_parts(parts, body));
    async move {
        let response = answer.await?;
        answered.store(true, Ordering::Relaxed);
        Ok(response.map(|body| turn.answer(body)))
    }
}

/// Bytes of a connection, or of an HTTP/2 request, that are kept for a peer which is slow to read.
const BUFFER: usize = 256 << 10;
