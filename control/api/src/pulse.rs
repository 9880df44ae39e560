//! What a connection is doing, so that one which does nothing, or does not read, can be told from one at work.
//!
//! ```text
//!     request body  -> Arriving: an error when it is not whole in time (until the answer begins)
//!     answer's body -> Leaving:  in pieces of CHUNK, and since when the next piece waits to be asked for
//! ```
//!
//! A sender asks a body for more when what it has is on its way: a peer that does not read, be it the socket or an HTTP/2
//! stream, shows in that nobody asks.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

use crate::limits::{CHUNK, Limits};

/// What a connection is doing.
pub(crate) struct Pulse(Mutex<State>);

struct State {
    /// Requests whose answer is not whole yet.
    requests: usize,
    /// Requests so far.
    served: u64,
    /// Since when there is no request.
    rested: Instant,
    /// Answers of which a piece was taken and no more was asked for since.
    waiting: HashMap<u64, Instant>,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is asked; nobody is hurt by its end.
    Idle,
    /// An answer is not read.
    Stalled,
}

/// A request from its header to the end of its answer.
pub(crate) struct Turn {
    pulse: Arc<Pulse>,
    number: u64,
}

/// A request's body was not whole in time.
#[derive(Debug)]
pub(crate) struct TooSlow(Duration);

/// A request's body.
struct Arriving {
    body: Body,
    bound: Duration,
    deadline: Pin<Box<Sleep>>,
    answered: Arc<AtomicBool>,
}

/// An answer's body.
struct Leaving {
    body: Body,
    rest: Bytes,
    turn: Turn,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        let (requests, served, rested) = (0, 0, Instant::now());
        Self(Mutex::new(State { requests, served, rested, waiting: HashMap::new() }))
    }

    /// A request has come.
    pub(crate) fn begin(self: &Arc<Self>) -> Turn {
        let mut state = self.0.lock();
        state.requests += 1;
        state.served += 1;
        Turn { pulse: Arc::clone(self), number: state.served }
    }

    /// Whether the connection is to end.
    pub(crate) fn fault(&self, limits: &Limits) -> Option<Fault> {
        let state = self.0.lock();
        if state.waiting.values().any(|since| since.elapsed() > limits.stall) {
            return Some(Fault::Stalled);
        }
        let bound = if state.served == 0 { limits.header } else { limits.idle };
        (state.requests == 0 && state.rested.elapsed() > bound).then_some(Fault::Idle)
    }
}

impl Turn {
    /// The answer's body, which ends the turn.
    pub(crate) fn answer(self, body: Body) -> Body {
        Body::new(Leaving { body, rest: Bytes::new(), turn: self })
    }

    fn waits(&self) {
        self.pulse.0.lock().waiting.insert(self.number, Instant::now());
    }

    fn goes_on(&self) {
        self.pulse.0.lock().waiting.remove(&self.number);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.pulse.0.lock();
        state.waiting.remove(&self.number);
        state.requests -= 1;
        state.rested = Instant::now();
    }
}

/// A request's body that fails when it is not whole within `bound`, unless `answered` is set before.
pub(crate) fn arriving(body: hyper::body::Incoming, bound: Duration, answered: Arc<AtomicBool>) -> Body {
    let deadline = Box::pin(tokio::time::sleep(bound));
    Body::new(Arriving { body: Body::new(body), bound, deadline, answered })
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.answered.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        ready!(self.deadline.as_mut().poll(cx));
        // The answer may have begun while the deadline was waited for.
        if self.answered.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(TooSlow(self.bound).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.turn.goes_on();
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(CHUNK);
        let piece = self.rest.split_to(length);
        self.turn.waits();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it was not whole within {} seconds", self.0.as_secs_f32())
    }
}

impl std::error::Error for TooSlow {}
