//! How long and how much a connection may.

use std::time::Duration;

/// The bounds of the doors. [`Limits::default`] is what a server runs with; tests make them short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a request's header, from the connection's beginning or the end of the request before; over HTTP/1.1 this is also
    /// how long a connection may lie idle.
    pub header: Duration,
    /// For a request's body, unless its answer has begun before (a node's stream goes on for as long as it likes).
    pub body: Duration,
    /// For an HTTP/2 connection without a request.
    pub idle: Duration,
    /// For a reader to take the next [`CHUNK`] of an answer that is ready.
    pub stall: Duration,
    /// How often an HTTP/2 peer is asked whether it is there, and how long it has to say so. TCP asks as often.
    pub ping: Duration,
    /// Connections of one user of this host.
    pub of_user: usize,
    /// Connections of one address (an IPv6 network of 64 bits counts as one), which may stand for many people.
    pub of_address: usize,
    /// Connections in all. Root of this host comes in nevertheless.
    pub in_all: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
}

/// Bytes of an answer that are handed on at once.
pub const CHUNK: usize = 64 << 10;

/// What one HTTP/2 request may send ahead of whoever reads it, in bytes.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;

/// The same for all requests of a connection.
pub(crate) const CONNECTION_WINDOW: u32 = 2 << 20;

/// All the headers of a request, in bytes.
pub(crate) const HEADERS: u32 = 32 << 10;

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            body: Duration::from_secs(60),
            idle: Duration::from_secs(150),
            stall: Duration::from_secs(60),
            ping: Duration::from_secs(20),
            of_user: 128,
            of_address: 512,
            in_all: 4096,
            streams: 250,
        }
    }
}

impl Limits {
    /// How often a connection is looked at: often enough that no bound is passed by more than a quarter.
    pub(crate) fn look(&self) -> Duration {
        let shortest = self.header.min(self.idle).min(self.stall);
        (shortest / 4).max(Duration::from_millis(10))
    }
}
