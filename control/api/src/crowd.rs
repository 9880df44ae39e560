//! How many connections each user of this host may hold at once, so that no one user keeps the others out.
//!
//! Root is not counted: agents and operators come through the same socket.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::serve::Listener;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};

use crate::identity::Peer;

/// A unix socket that closes the connections of a user who holds [`MOST`] already.
pub(crate) struct Counted {
    socket: UnixListener,
    crowd: Arc<Crowd>,
}

/// A connection that counts until it is dropped.
pub(crate) struct Held {
    stream: UnixStream,
    uid: u32,
    _place: Option<Place>,
}

/// Connections by user.
#[derive(Default)]
struct Crowd(Mutex<HashMap<u32, usize>>);

struct Place {
    crowd: Arc<Crowd>,
    uid: u32,
}

impl Counted {
    pub(crate) fn new(socket: UnixListener) -> Self {
        Self { socket, crowd: Arc::default() }
    }
}

impl Held {
    pub(crate) fn peer(&self) -> Peer {
        Peer::Unix { uid: self.uid }
    }
}

impl Listener for Counted {
    type Io = Held;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Held, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.socket).await;
            let uid = match stream.peer_cred() {
                Ok(credentials) => credentials.uid(),
                Err(error) => {
                    tracing::warn!(%error, "cannot read who is at the other end of the socket; it is closed");
                    continue;
                }
            };
            let place = if uid == 0 {
                None
            } else if let Some(place) = Crowd::enter(&self.crowd, uid) {
                Some(place)
            } else {
                tracing::debug!(uid, "a user holds too many connections; one more is closed");
                continue;
            };
            return (Held { stream, uid, _place: place }, address);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.socket.local_addr()
    }
}

impl Crowd {
    fn enter(crowd: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut held = crowd.0.lock();
        let count = held.entry(uid).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Place { crowd: Arc::clone(crowd), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.crowd.0.lock();
        if let Some(count) = held.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.uid);
            }
        }
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Connections that one user may hold.
pub(crate) const MOST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_places_and_others_have_theirs() {
        let crowd = Arc::new(Crowd::default());
        let mut places: Vec<_> = (0..MOST).map(|_| Crowd::enter(&crowd, 1).unwrap()).collect();
        assert!(Crowd::enter(&crowd, 1).is_none());
        let other = Crowd::enter(&crowd, 2).unwrap();
        places.pop();
        places.push(Crowd::enter(&crowd, 1).unwrap());
        assert!(Crowd::enter(&crowd, 1).is_none());
        drop((places, other));
        assert!(crowd.0.lock().is_empty(), "nothing is kept of those who left");
    }
}
