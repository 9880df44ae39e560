//! Who answers: TCP and UDP probes in bulk, thousands from one thread.
//!
//! A probe opens a socket inside the namespace that it starts from, asks an [`crate::echo::Echo`] and reads its answer. All
//! probes of a source wait together, so a thousand that are dropped cost one time limit.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, setsockopt, socket,
    sockopt::{ReuseAddr, SocketError},
};
use record::Protocol;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::echo;
use crate::error::Result;
use crate::namespace::Namespace;

/// What to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Whom.
    pub to: SocketAddr,
    /// As whom: an address of the prober's, or a port, or both. `None`, an unspecified address and port 0 leave it to the kernel.
    pub from: Option<SocketAddr>,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// The name of whoever answered.
        by: String,
        /// As whom the prober was seen: differs from its own address where that is translated.
        seen: SocketAddr,
    },
    /// Nothing came within the limit.
    Silent,
    /// Connected, but no answer of an echo came within the limit.
    Mute,
    /// The kernel gave up, or somebody on the way said no.
    Failed(ErrorKind),
}

impl Probe {
    /// A probe by TCP.
    pub const fn tcp(address: IpAddr, port: u16) -> Self {
        Self { protocol: Protocol::Tcp, to: SocketAddr::new(address, port), from: None }
    }

    /// A probe by UDP.
    pub const fn udp(address: IpAddr, port: u16) -> Self {
        Self { protocol: Protocol::Udp, to: SocketAddr::new(address, port), from: None }
    }

    /// The same, asked as this address and port.
    pub const fn from(self, address: SocketAddr) -> Self {
        Self { from: Some(address), ..self }
    }

    /// Sends all of them from `namespace` at once and gives each at most `limit`. The outcomes are in the same order. A TCP
    /// handshake is tried again by the kernel after a second; a datagram is sent once.
    pub fn send(probes: &[Self], namespace: &Namespace, limit: Duration) -> Result<Vec<Outcome>> {
        let sweep = |probes: &[Self]| namespace.enter(|| sweep(probes, limit));
        let parts: Result<Vec<Vec<Outcome>>> = probes.chunks(at_once()).map(sweep).collect();
        Ok(parts?.concat())
    }
}

impl Outcome {
    /// Whether this name answered.
    pub fn answered_by(&self, name: &str) -> bool {
        matches!(self, Self::Answered { by, .. } if by == name)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { by, seen } => write!(f, "answered by {by}, seen as {seen}"),
            Self::Silent => f.write_str("silent"),
            Self::Mute => f.write_str("mute"),
            Self::Failed(kind) => write!(f, "{kind}"),
        }
    }
}

/// A probe on its way.
enum Flight {
    Connecting(OwnedFd),
    Reading(TcpStream, String),
    Asked(UdpSocket),
    Over(Outcome),
}

fn sweep(probes: &[Probe], limit: Duration) -> Vec<Outcome> {
    let deadline = Instant::now() + limit;
    let mut flights: Vec<Flight> = probes.iter().map(Flight::launch).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if flights.iter().all(|flight| matches!(flight, Flight::Over(_))) {
            return flights.into_iter().map(Flight::land).collect();
        }
        let ready = ready(&flights, left);
        if ready.is_empty() && left.is_zero() {
            return flights.into_iter().map(Flight::land).collect();
        }
        for index in ready {
            let flight = std::mem::replace(&mut flights[index], Flight::Over(Outcome::Silent));
            flights[index] = flight.advance();
        }
    }
}

/// Which of them have something to tell, after waiting at most so long.
fn ready(flights: &[Flight], limit: Duration) -> Vec<usize> {
    let open = flights.iter().enumerate().filter_map(|(index, flight)| Some((index, flight.waits_for()?)));
    let (indices, mut waited): (Vec<usize>, Vec<PollFd<'_>>) =
        open.map(|(index, (file, events))| (index, PollFd::new(file, events))).unzip();
    // Rounded up, or the last millisecond would be spun through; 0 stays 0, a last look.
    let limit = PollTimeout::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
    if poll(&mut waited, limit).is_err() {
        return Vec::new();
    }
    indices
        .into_iter()
        .zip(waited)
        .filter(|(_, one)| one.any().unwrap_or(false))
        .map(|(index, _)| index)
        .collect()
}

impl Flight {
    fn launch(probe: &Probe) -> Self {
        let launched = match probe.protocol {
            Protocol::Tcp => connecting(probe).map(Self::Connecting),
            Protocol::Udp => asked(probe).map(Self::Asked),
            Protocol::Sctp => Err(ErrorKind::Unsupported.into()),
        };
        launched.unwrap_or_else(|fault| Self::Over(Outcome::Failed(fault.kind())))
    }

    fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match self {
            Self::Connecting(file) => Some((file.as_fd(), PollFlags::POLLOUT)),
            Self::Reading(stream, _) => Some((stream.as_fd(), PollFlags::POLLIN)),
            Self::Asked(socket) => Some((socket.as_fd(), PollFlags::POLLIN)),
            Self::Over(_) => None,
        }
    }

    fn advance(self) -> Self {
        match self {
            Self::Connecting(file) => match getsockopt(&file, SocketError) {
                Ok(0) => Self::Reading(TcpStream::from(file), String::new()),
                Ok(fault) => Self::Over(Outcome::Failed(io::Error::from_raw_os_error(fault).kind())),
                Err(fault) => Self::Over(Outcome::Failed(io::Error::from(fault).kind())),
            },
            Self::Reading(stream, text) => read(stream, text),
            Self::Asked(socket) => {
                let mut buffer = [0; 512];
                match socket.recv(&mut buffer) {
                    Ok(length) => Self::Over(outcome(&String::from_utf8_lossy(&buffer[..length]))),
                    Err(fault) if fault.kind() == ErrorKind::WouldBlock => Self::Asked(socket),
                    Err(fault) => Self::Over(Outcome::Failed(fault.kind())),
                }
            }
            over @ Self::Over(_) => over,
        }
    }

    fn land(self) -> Outcome {
        match self {
            Self::Connecting(_) | Self::Asked(_) => Outcome::Silent,
            Self::Reading(..) => Outcome::Mute,
            Self::Over(outcome) => outcome,
        }
    }
}

fn read(mut stream: TcpStream, mut text: String) -> Flight {
    let mut buffer = [0; 512];
    match stream.read(&mut buffer) {
        Ok(0) => Flight::Over(outcome(&text)),
        Ok(length) => {
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
            let over = text.ends_with('\n') || text.len() > LONGEST;
            if over { Flight::Over(outcome(&text)) } else { Flight::Reading(stream, text) }
        }
        Err(fault) if matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Flight::Reading(stream, text)
        }
        Err(fault) => Flight::Over(Outcome::Failed(fault.kind())),
    }
}

fn outcome(answer: &str) -> Outcome {
    echo::parse(answer).map_or(Outcome::Mute, |(by, seen)| Outcome::Answered { by, seen })
}

fn connecting(probe: &Probe) -> io::Result<OwnedFd> {
    let family = if probe.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let file = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(from) = probe.from {
        // The same port may ask several at once.
        setsockopt(&file, ReuseAddr, &true)?;
        bind(file.as_raw_fd(), &SockaddrStorage::from(from))?;
    }
    match connect(file.as_raw_fd(), &SockaddrStorage::from(probe.to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(file),
        Err(fault) => Err(fault.into()),
    }
}

fn asked(probe: &Probe) -> io::Result<UdpSocket> {
    let v4 = probe.to.is_ipv4();
    let any: IpAddr = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let file = socket(family, SockType::Datagram, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    if probe.from.is_some() {
        setsockopt(&file, ReuseAddr, &true)?;
    }
    bind(file.as_raw_fd(), &SockaddrStorage::from(probe.from.unwrap_or(SocketAddr::new(any, 0))))?;
    let socket = UdpSocket::from(file);
    socket.connect(probe.to)?;
    socket.send(b"who?")?;
    Ok(socket)
}

/// How many probes of one source wait together: descriptors are scarce, so this process takes as many as it may have.
fn at_once() -> usize {
    static AT_ONCE: OnceLock<usize> = OnceLock::new();
    *AT_ONCE.get_or_init(|| {
        let limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.unwrap_or(MOST).min(MOST).max(limit.current.unwrap_or(MOST));
        // Refused, it does with what it has.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(MOST);
        let each = allowed.saturating_sub(OTHERS) / SOURCES_AT_ONCE as u64;
        usize::try_from(each).unwrap_or(usize::MAX).clamp(16, 400)
    })
}

/// How many sources of a truth table probe at the same time.
pub(crate) const SOURCES_AT_ONCE: usize = 16;
/// The most descriptors that are asked for.
const MOST: u64 = 16384;
/// Descriptors that the rest of the process may need.
const OTHERS: u64 = 256;
const LONGEST: usize = 512;
