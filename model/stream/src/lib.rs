//! The delta stream's two ends.
//!
//! Owns: how [`NodeMessage`] and [`ServerMessage`] cross a connection: one bidirectional gRPC call ([`PATH`]) over HTTP/2, each
//! message in the records' own encoding (CBOR, [`record::record::encode`]); the node's end ([`connect`]) and the server's
//! ([`accept`]).
//!
//! ```text
//!   node                                   server
//!   connect(address) ── POST PATH, h2 ──>  accept(request, |incoming| outgoing)
//!   Link.outgoing    ── NodeMessage ────>  Streaming<NodeMessage>
//!   Link.incoming    <── ServerMessage ──  Receiver<ServerMessage>
//! ```
//!
//! Over TLS both ends prove who they are: the node by its [`Passport`], which it gets by [`join`] with a token and replaces by
//! [`renew`] while sessions go on ([`Credentials`]); the server by a certificate of a root that the passport, or the token's pin,
//! names.
//!
//! Promises: messages arrive whole, in order, each at most once; a message longer than
//! [`MAX_MESSAGE`](record::delta::MAX_MESSAGE) or one that does not decode ends the call and never the program; a peer that
//! is gone without a word is noticed within [`KEEPALIVE`] and [`KEEPALIVE_TIMEOUT`]. What a message means is the business of
//! [`record::delta`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod codec;
mod join;
mod node;
mod passport;
mod secure;
mod server;
mod trust;

use std::time::Duration;

use record::delta::{NodeMessage, ServerMessage};

pub use address::{Address, AddressError};
pub use join::{JoinError, join, renew};
pub use node::{ConnectError, Link, connect, connect_as};
pub use passport::{Credentials, Passport, PassportError};
pub use secure::{OpenError, Secure, Suspicion, dial};
pub use server::accept;
pub use tonic::{Status, Streaming};
pub use trust::Distrust;

/// The call's path.
pub const PATH: &str = "/sealane.fabric.v1.Fabric/Sync";

/// What one call may have under way to a peer that does not read, in bytes. Both ends set it: HTTP/2's own 64 KiB makes many
/// small frames of a large generation.
pub const STREAM_WINDOW: u32 = 4 << 20;

/// The same for a whole connection. It carries one call, so there is nothing to share out.
pub const CONNECTION_WINDOW: u32 = 8 << 20;

/// How often a node's end asks whether the other is there.
pub const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long it waits for the answer before the connection counts as gone.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages that wait in memory between a program and its connection. Whoever sends more waits: a slow peer holds its
/// own sender back and nobody else.
pub const QUEUE: usize = 64;

type NodeCodec = codec::Cbor<NodeMessage, ServerMessage>;
type ServerCodec = codec::Cbor<ServerMessage, NodeMessage>;
