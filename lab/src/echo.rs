//! A server on many ports that answers with its own name and with the address from which it was asked, so that a probe
//! learns whom it reached and as whom it was seen.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use record::Protocol;

use crate::error::{Context, Result};
use crate::namespace::Namespace;

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct Echo {
    /// Closed to end the thread.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address; `None`: every one, of both families.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Listen {
    /// A TCP port at every address.
    pub const fn tcp(port: u16) -> Self {
        Self { protocol: Protocol::Tcp, address: None, port }
    }

    /// A UDP port at every address. On a host with several, its answers come from the one that routing chooses: name the
    /// address there.
    pub const fn udp(port: u16) -> Self {
        Self { protocol: Protocol::Udp, address: None, port }
    }
}

enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Echo {
    /// Listens inside `namespace` and returns when every port is open. SCTP is refused.
    pub fn start(namespace: &Namespace, name: &str, listens: &[Listen]) -> Result<Self> {
        let open =
            || listens.iter().map(|listen| bind(*listen).context("listen at", describe(*listen))).collect();
        let sockets: Result<Vec<Socket>> = namespace.enter(open)?;
        let sockets = sockets?;
        // A process that inherited the end which stops the thread would keep it from stopping.
        let (closing, stop) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context("make", "a pipe")?;
        let name = name.to_owned();
        // The sockets stay in their namespace, wherever the thread is.
        let thread = std::thread::spawn(move || serve(&name, &sockets, &closing));
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed; there is nothing to undo.
            let _ = thread.join();
        }
    }
}

fn serve(name: &str, sockets: &[Socket], closing: &OwnedFd) {
    let mut buffer = [0; 2048];
    loop {
        let mut waited: Vec<PollFd<'_>> = Vec::with_capacity(sockets.len() + 1);
        waited.push(PollFd::new(closing.as_fd(), PollFlags::POLLIN));
        waited.extend(sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        if poll(&mut waited, PollTimeout::NONE).is_err() {
            continue;
        }
        let ready: Vec<bool> = waited.iter().map(|one| one.any().unwrap_or(false)).collect();
        if ready[0] {
            return;
        }
        for (socket, _) in sockets.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            // What goes wrong with one client is that client's finding, not the server's end.
            let _ = socket.answer(name, &mut buffer);
        }
    }
}

impl Socket {
    fn answer(&self, name: &str, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => {
                let (mut stream, from) = listener.accept()?;
                stream.set_write_timeout(Some(Duration::from_secs(1)))?;
                stream.write_all(reply(name, from).as_bytes())
            }
            Self::Udp(socket) => {
                let (_, from) = socket.recv_from(buffer)?;
                socket.send_to(reply(name, from).as_bytes(), from).map(drop)
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

/// `NAME ADDRESS:PORT`
fn reply(name: &str, from: SocketAddr) -> String {
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    format!("{name} {from}\n")
}

/// The other direction of the same text.
pub(crate) fn parse(answer: &str) -> Option<(String, SocketAddr)> {
    let (name, from) = answer.strip_suffix('\n')?.rsplit_once(' ')?;
    Some((name.to_owned(), from.parse().ok()?))
}

fn bind(listen: Listen) -> io::Result<Socket> {
    // A socket at [::] takes IPv4 too; a namespace without IPv6 has only the other.
    let everywhere = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    let addresses = listen.address.map_or(everywhere.to_vec(), |address| vec![address]);
    let addresses: Vec<SocketAddr> =
        addresses.into_iter().map(|one| SocketAddr::new(one, listen.port)).collect();
    let socket = match listen.protocol {
        Protocol::Tcp => Socket::Tcp(TcpListener::bind(&*addresses)?),
        Protocol::Udp => Socket::Udp(UdpSocket::bind(&*addresses)?),
        Protocol::Sctp => return Err(io::ErrorKind::Unsupported.into()),
    };
    match &socket {
        Socket::Tcp(listener) => listener.set_nonblocking(true)?,
        Socket::Udp(socket) => socket.set_nonblocking(true)?,
    }
    Ok(socket)
}

fn describe(listen: Listen) -> String {
    let address = listen.address.map_or("*".to_owned(), |address| address.to_string());
    format!("{address} port {}/{}", listen.port, listen.protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back_in_both_families() {
        for from in ["10.0.0.1:5", "[fd00::1]:65535"] {
            let from: SocketAddr = from.parse().unwrap();
            assert_eq!(parse(&reply("a b", from)), Some(("a b".to_owned(), from)));
        }
        assert_eq!(parse("cut sho"), None);
    }
}
