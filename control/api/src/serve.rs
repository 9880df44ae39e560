//! Serving on listeners until told to stop.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch::{Receiver, Sender};
use tokio::task::JoinSet;

use crate::caller::Peer;
use crate::connection;
use crate::crowd::{Crowd, Party, Place};
use crate::limits::Limits;
use crate::listen::Listener;
use crate::server::Api;
use crate::tls::Tls;
use crate::who::Origin;

/// Serves the API, and `extra_routes` beside it, on every listener (HTTP/1.1, and HTTP/2 with prior knowledge) until `stop`
/// comes. Then no connection is taken any more, watches end, and requests under way have ten seconds. Socket files that
/// this process made are removed.
pub async fn serve(
    api: Arc<Api>,
    listeners: Vec<Listener>,
    extra_routes: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let limits = api.limits;
    let stopping = Sender::new(false);
    let door = Door {
        router: api.router(extra_routes),
        limits,
        crowd: Arc::new(Crowd::new(&limits)),
        stopping: stopping.subscribe(),
    };
    let mut tasks = JoinSet::new();
    let mut files: Vec<PathBuf> = Vec::new();
    for listener in listeners {
        match listener {
            Listener::Unix { socket, file } => {
                files.extend(file);
                tasks.spawn(door.clone().run(socket));
            }
            Listener::Tcp(socket) => {
                tasks.spawn(door.clone().run(socket));
            }
            Listener::Tls { socket, tls } => {
                tasks.spawn(door.clone().run(Secured { socket, tls }));
            }
        }
    }
    stop.await;
    api.stop();
    stopping.send_replace(true);
    let rest = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, rest).await.is_err() {
        tracing::warn!("connections are still busy and are cut");
    }
    for file in files {
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::warn!(path = %file.display(), %error, "cannot remove the socket");
        }
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Door {
    router: Router,
    limits: Limits,
    crowd: Arc<Crowd>,
    stopping: Receiver<bool>,
}

/// A socket that connections come from.
trait Socket: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn take(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Who is at the other end, and a place for it; `None`: there is none left.
    fn admit(door: &Door, stream: &Self::Stream) -> io::Result<Option<(Peer, Place)>>;

    /// Serves the connection to its end.
    fn serve(
        &self,
        door: Door,
        stream: Self::Stream,
        peer: Peer,
    ) -> impl Future<Output = ()> + Send + 'static {
        connection::serve(stream, peer, door.router, door.limits, door.stopping)
    }
}

/// A TCP socket with TLS.
struct Secured {
    socket: TcpListener,
    tls: Arc<Tls>,
}

impl Socket for UnixListener {
    type Stream = UnixStream;

    async fn take(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }

    fn admit(door: &Door, stream: &UnixStream) -> io::Result<Option<(Peer, Place)>> {
        let uid = stream.peer_cred()?.uid();
        Ok(door.enter(Party::User(uid)).map(|place| (Peer::Unix { uid }, place)))
    }
}

impl Socket for TcpListener {
    type Stream = TcpStream;

    async fn take(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }

    fn admit(door: &Door, stream: &TcpStream) -> io::Result<Option<(Peer, Place)>> {
        let address = stream.peer_addr()?.ip().to_canonical();
        let place = door.enter(Party::of(address));
        place.map(|place| door.tune(stream).map(|()| (Peer::Plain { address }, place))).transpose()
    }
}

impl Socket for Secured {
    type Stream = TcpStream;

    async fn take(&self) -> io::Result<TcpStream> {
        self.socket.take().await
    }

    fn admit(door: &Door, stream: &TcpStream) -> io::Result<Option<(Peer, Place)>> {
        TcpListener::admit(door, stream)
    }

    fn serve(&self, door: Door, stream: TcpStream, peer: Peer) -> impl Future<Output = ()> + Send + 'static {
        let tls = Arc::clone(&self.tls);
        async move {
            let Origin::Address(address) = peer.origin() else { return };
            match tokio::time::timeout(door.limits.handshake, tls.accept(stream)).await {
                Ok(Ok((stream, shown))) => {
                    let peer = Peer::Secured { address, shown };
                    connection::serve(stream, peer, door.router, door.limits, door.stopping).await;
                }
                Ok(Err(error)) => tracing::info!(%address, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
            }
        }
    }
}

impl Door {
    /// Takes connections until told to stop, then waits for those that are open.
    async fn run<S: Socket>(self, socket: S) {
        let mut connections = JoinSet::new();
        let mut stopping = self.stopping.clone();
        loop {
            let taken = tokio::select! {
                // An error is the end of whoever serves, which is a reason to stop too.
                _ = stopping.wait_for(|stopping| *stopping) => break,
                Some(_) = connections.join_next() => continue,
                taken = socket.take() => taken,
            };
            match taken.and_then(|stream| Ok(S::admit(&self, &stream)?.map(|admitted| (stream, admitted)))) {
                Ok(Some((stream, (peer, place)))) => {
                    let connection = socket.serve(self.clone(), stream, peer);
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Ok(None) => {}
                Err(error) if is_of_the_peer(&error) => {
                    tracing::debug!(%error, "a connection was gone at once")
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection; trying again in a second");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        drop(socket);
        while connections.join_next().await.is_some() {}
    }

    fn enter(&self, party: Party) -> Option<Place> {
        let place = Crowd::enter(&self.crowd, party);
        if place.is_none() {
            tracing::debug!(?party, "too many connections are held; one more is closed");
        }
        place
    }

    /// A peer that is gone without a word is noticed by the kernel, whatever is spoken above.
    fn tune(&self, stream: &TcpStream) -> io::Result<()> {
        use rustix::net::sockopt;
        stream.set_nodelay(true)?;
        let seconds = |duration: Duration| duration.max(Duration::from_secs(1));
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, seconds(self.limits.ping))?;
        sockopt::set_tcp_keepintvl(stream, seconds(self.limits.ping / 4))?;
        sockopt::set_tcp_keepcnt(stream, 4)?;
        let unacknowledged = u32::try_from(self.limits.stall.as_millis()).unwrap_or(u32::MAX);
        Ok(sockopt::set_tcp_user_timeout(stream, unacknowledged)?)
    }
}

/// Whether taking a connection failed for the peer's sake alone, so that the next may come at once.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected)
}

/// What requests under way have at the end.
const PATIENCE: Duration = Duration::from_secs(10);
