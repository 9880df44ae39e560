//! Where requests come in, and who is at the other end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};

use crate::tls::Tls;

/// An open door of the server.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket; the kernel says who is at the other end.
    Unix {
        /// The socket.
        socket: UnixListener,
        /// The file to remove at the end, if this process made it.
        file: Option<PathBuf>,
    },
    /// A TCP socket without TLS.
    Tcp(TcpListener),
    /// A TCP socket with TLS.
    Tls {
        /// The socket.
        socket: TcpListener,
        /// What is shown and believed there.
        tls: Arc<Tls>,
    },
}

/// Why a door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody answers there already.
    #[error("listen on {}: another server answers there", path.display())]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// What is there is no socket, and is left alone.
    #[error("listen on {}: there is a file that is no socket; move it away", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused the unix socket.
    #[error("listen on {}", path.display())]
    Unix {
        /// The socket's path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The system refused the address.
    #[error("listen on {address}")]
    Tcp {
        /// The address and port.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// An inherited descriptor is no listening unix or TCP socket.
    #[error("listen on an inherited descriptor")]
    Inherited {
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Listener {
    /// Opens a unix socket that every user of the host can connect to. A socket that nobody answers on is replaced.
    pub fn unix(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Unix { path: path.to_owned(), source };
        match std::fs::symlink_metadata(path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
            Err(other) => return Err(failed(other)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ListenError::NoSocket { path: path.to_owned() });
            }
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Err(dead) if dead.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Err(other) => return Err(failed(other)),
                Ok(_) => return Err(ListenError::InUse { path: path.to_owned() }),
            },
        }
        let socket = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
        Ok(Self::Unix { socket, file: Some(path.to_owned()) })
    }

    /// Opens a TCP address; port 0: any that is free.
    pub async fn tcp(address: SocketAddr) -> Result<Self, ListenError> {
        let socket =
            TcpListener::bind(address).await.map_err(|source| ListenError::Tcp { address, source })?;
        Ok(Self::Tcp(socket))
    }

    /// Takes over a listening socket, unix or TCP, that whoever started this process has opened.
    pub fn inherited(descriptor: OwnedFd) -> Result<Self, ListenError> {
        Self::take_over(descriptor).map_err(|source| ListenError::Inherited { source })
    }

    fn take_over(descriptor: OwnedFd) -> io::Result<Self> {
        if !rustix::net::sockopt::socket_acceptconn(&descriptor)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"));
        }
        match rustix::net::sockopt::socket_domain(&descriptor)? {
            rustix::net::AddressFamily::UNIX => {
                let socket = std::os::unix::net::UnixListener::from(descriptor);
                socket.set_nonblocking(true)?;
                Ok(Self::Unix { socket: UnixListener::from_std(socket)?, file: None })
            }
            rustix::net::AddressFamily::INET | rustix::net::AddressFamily::INET6 => {
                let socket = std::net::TcpListener::from(descriptor);
                socket.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(socket)?))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket is neither unix nor TCP")),
        }
    }

    /// The same door, with TLS if it is a TCP one.
    #[must_use]
    pub fn secured(self, tls: &Arc<Tls>) -> Self {
        match self {
            Self::Tcp(socket) => Self::Tls { socket, tls: Arc::clone(tls) },
            other => other,
        }
    }

    /// The address that a TCP door really has.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix { .. } => None,
            Self::Tcp(socket) | Self::Tls { socket, .. } => socket.local_addr().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = Listener::unix(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert!(matches!(Listener::unix(&path), Err(ListenError::InUse { .. })));
        drop(live);
        let file = folder.path().join("notes");
        std::fs::write(&file, "mine").unwrap();
        assert!(matches!(Listener::unix(&file), Err(ListenError::NoSocket { .. })));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    }

    #[tokio::test]
    async fn inherited_sockets_are_known_by_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let unix = std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap();
        assert!(matches!(Listener::inherited(unix.into()), Ok(Listener::Unix { file: None, .. })));
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(Listener::inherited(tcp.into()), Ok(Listener::Tcp(_))));
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(matches!(Listener::inherited(udp.into()), Err(ListenError::Inherited { .. })));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(Listener::inherited(file.into()), Err(ListenError::Inherited { .. })));
    }
}
