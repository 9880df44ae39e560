//! Watch: what happens to objects, one JSON object in a line, until the client, the time or the server ends it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde_json::{Value, json};
use store::{Cached, Event, Listing, Object, Store, StoreError, Watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::query::Version;
use crate::read::{selects, wait_for};
use crate::server::Request;
use crate::status::{Reason, Refusal};
use crate::view::{at_revision, present};

/// The stream of a watch request. A revision that cannot be watched from is told as upstream does: by an event `ERROR` of code
/// 410 in the stream, on which clients list anew. Errors: 504 when what should be listed first does not come.
pub(crate) async fn watch(store: &Cached, request: Request, stop: Stop) -> Result<Body, Refusal> {
    let initial = request.options.send_initial_events;
    let (watch, lines) = match request.options.version {
        Version::NotOlderThan(revision) | Version::Exact(revision) if initial != Some(true) => {
            // A revision that never comes is of a store that was put back to an older state.
            wait_for(store, revision).await.ok();
            match store.watch(request.objects.scope(), revision) {
                Ok(watch) => (watch, Vec::new()),
                Err(error) => return Ok(gone(error)),
            }
        }
        version => {
            if let Version::NotOlderThan(revision) | Version::Exact(revision) = version {
                wait_for(store, revision).await?;
            }
            let (listing, watch) = store.subscribe(request.objects.scope());
            let lines = if initial == Some(false) { Vec::new() } else { state(&request, &listing) };
            (watch, lines)
        }
    };
    Ok(body(request, watch, lines, stop))
}

/// A stream that says only that the client has to list anew.
fn gone(error: StoreError) -> Body {
    let refusal = match error {
        StoreError::Future { revision, newest } => Refusal::new(
            Reason::Expired,
            format!("resource version {revision} is ahead of {newest}, the newest of this server; list anew"),
        ),
        error => error.into(),
    };
    let mut lines = Vec::new();
    append(&mut lines, "ERROR", &refusal.status());
    Body::from(lines)
}

/// Turns to true when the server stops.
pub(crate) type Stop = tokio::sync::watch::Receiver<bool>;

/// The objects that are there when a watch begins.
fn state(request: &Request, listing: &Listing) -> Vec<u8> {
    let mut lines = Vec::new();
    for object in listing.objects.iter().filter(|object| selects(&request.options, object)) {
        append(&mut lines, "ADDED", &request.form.one(request.objects.kind, present(object)));
    }
    if request.options.send_initial_events == Some(true) && request.options.bookmarks {
        append(&mut lines, "BOOKMARK", &bookmark(request, listing.revision, true));
    }
    lines
}

fn body(request: Request, watch: Watch, lines: Vec<u8>, stop: Stop) -> Body {
    let lasting = request.options.timeout.unwrap_or(LASTING);
    let mut bookmarks = tokio::time::interval_at(Instant::now() + BOOKMARKS, BOOKMARKS);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + lasting;
    let first = (!lines.is_empty()).then_some(lines);
    let follower = Follower { request, watch, first, bookmarks, end, stop, over: false };
    Body::from_stream(stream::unfold(follower, |mut follower| async {
        let lines = follower.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(lines)), follower))
    }))
}

/// A watch under way.
struct Follower {
    request: Request,
    watch: Watch,
    /// What is sent before anything else.
    first: Option<Vec<u8>>,
    bookmarks: Interval,
    end: Instant,
    stop: Stop,
    over: bool,
}

impl Follower {
    /// The next lines; `None`: the watch is over.
    async fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.over {
            let mut lines = Vec::new();
            tokio::select! {
                news = self.watch.next() => match news {
                    Ok(batch) => batch.events.iter().for_each(|event| self.tell(event, &mut lines)),
                    Err(error) => self.fail(error, &mut lines),
                },
                _ = self.bookmarks.tick(), if self.request.options.bookmarks => {
                    append(&mut lines, "BOOKMARK", &bookmark(&self.request, self.watch.seen(), false));
                }
                () = tokio::time::sleep_until(self.end) => self.over = true,
                () = stopped(&mut self.stop) => self.over = true,
            }
            if !lines.is_empty() {
                return Some(lines);
            }
        }
        None
    }

    /// An object that comes to be selected is added; one that is no longer selected is deleted, and shown as it last was.
    fn tell(&self, event: &Event, lines: &mut Vec<u8>) {
        let selected =
            |object: &Option<Object>| object.clone().filter(|object| selects(&self.request.options, object));
        let (word, shown) = match (selected(&event.previous), selected(&event.object)) {
            (None, None) => return,
            (None, Some(object)) => ("ADDED", present(&object)),
            (Some(_), Some(object)) => ("MODIFIED", present(&object)),
            (Some(previous), None) => ("DELETED", at_revision(&previous.value, event.revision)),
        };
        append(lines, word, &self.request.form.one(self.request.objects.kind, shown));
    }

    fn fail(&mut self, error: StoreError, lines: &mut Vec<u8>) {
        self.over = true;
        if !matches!(error, StoreError::Closed) {
            append(lines, "ERROR", &Refusal::from(error).status());
        }
    }
}

async fn stopped(stop: &mut Stop) {
    // An error is the end of the API, which is a reason to stop too.
    stop.wait_for(|stopping| *stopping).await.ok();
}

/// An object of the kind that has nothing but a revision.
fn bookmark(request: &Request, revision: u64, ends_initial: bool) -> Value {
    let known = request.objects.kind.descriptor();
    let mut metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
    if ends_initial {
        metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    let bare = json!({ "apiVersion": known.api_version(), "kind": known.kind, "metadata": metadata });
    request.form.one(request.objects.kind, bare)
}

fn append(lines: &mut Vec<u8>, word: &str, object: &Value) {
    serde_json::to_writer(&mut *lines, &json!({ "type": word, "object": object }))
        .expect("JSON into memory never fails");
    lines.push(b'\n');
}

/// How long a watch lasts whose client names no time.
const LASTING: Duration = Duration::from_secs(30 * 60);

/// How often a quiet watch tells how far it has come, if the client likes that.
const BOOKMARKS: Duration = Duration::from_secs(60);
