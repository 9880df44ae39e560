//! TLS on a TCP listener.
//!
//! Promises: the handshake is given so much time and no more; what is shown and believed can be exchanged while the server runs,
//! from the next connection on; a client certificate that stops to hold ends what goes on under it, in the next request and
//! on an open connection within seconds.

use std::fmt;
use std::io;
use std::sync::Arc;

use identity::Certificate;
use parking_lot::RwLock;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Knows whether a certificate that was good in the handshake is so still.
pub trait Standing: Send + Sync + 'static {
    /// Why it holds no longer (it has expired, it was revoked), in words for whoever shows it; `None`: it holds. Asked in each
    /// request and every few seconds: must be quick and never block.
    fn fault(&self, certificate: &Certificate) -> Option<String>;
}

/// What the server shows in a handshake, whom it believes, and for how long.
pub struct Tls {
    current: RwLock<Arc<ServerConfig>>,
    standing: Arc<dyn Standing>,
}

/// A client certificate that was verified in the handshake, and who knows whether it still holds.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) certificate: Arc<Certificate>,
    tls: Arc<Tls>,
}

impl Tls {
    /// TLS as `config` says: its verifier is to believe the right authorities, and to let in who shows no certificate. It must not
    /// resume sessions, which would bring certificates that nobody has looked at again.
    pub fn new(config: Arc<ServerConfig>, standing: Arc<dyn Standing>) -> Arc<Self> {
        Arc::new(Self { current: RwLock::new(config), standing })
    }

    /// Takes another config from the next connection on.
    pub fn reload(&self, config: Arc<ServerConfig>) {
        *self.current.write() = config;
    }

    /// The handshake. Errors: the peer speaks no TLS, or shows what is not believed.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        mut stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Shown>)> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
            tell_of_tls(&mut stream).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer speaks no TLS"));
        }
        let config = Arc::clone(&self.current.read());
        let stream = match TlsAcceptor::from(config).accept(stream).into_fallible().await {
            Ok(stream) => stream,
            Err((error, stream)) => {
                linger(stream).await;
                return Err(error);
            }
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = chain.first().map(|der| Certificate::new(der.clone().into_owned())).transpose();
        let certificate = certificate.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let shown = certificate
            .map(|certificate| Shown { certificate: Arc::new(certificate), tls: Arc::clone(self) });
        Ok((stream, shown))
    }
}

impl Shown {
    /// Why the certificate does not stand for its holder, if it does not.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.certificate.user.is_empty() {
            return Some("it names no user (CN)".to_owned());
        }
        self.tls.standing.fault(&self.certificate)
    }
}

/// The peer has been sent the reason. In TLS 1.3 it may speak already, and a connection that is closed over unread bytes takes
/// the reason along: so they are read, until the peer is done or the handshake's time is over.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let mut unheard = [0; 4096];
        while stream.read(&mut unheard).await.is_ok_and(|length| length > 0) {}
    }
}

/// Whoever opens an http:// address where TLS is spoken is told so in their own tongue.
async fn tell_of_tls(stream: &mut TcpStream) -> io::Result<()> {
    // What was sent is taken off first: a connection that is closed over unread bytes takes the answer along.
    stream.try_read(&mut [0; 16 << 10])?;
    stream.write_all(NO_TLS.as_bytes()).await?;
    stream.shutdown().await
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("user", &self.certificate.user).finish_non_exhaustive()
    }
}

/// The first byte of whoever speaks TLS: a handshake record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

const NO_TLS: &str = "HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
                      TLS is spoken here: write https:// instead of http://\n";
