//! The loads: request and response, new connections, a stream. Each by two threads, one for each end, for a short window.
//!
//! Promises: every system gets the very same threads, sizes and processors; a path that carries nothing is an error after
//! [`PATIENCE`], never a wait without end and never a rate of zero.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use lab::namespace::Namespace;
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

use crate::fault::{Context, Fault, Result};
use crate::pin::{Processors, settle};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One byte each way, again and again on one connection. Counted: answers.
    Requests,
    /// Connect, one byte each way, close. Counted: connections.
    Connections,
    /// As much as goes, one way. Counted: bits that arrived.
    Stream,
}

/// Two ends between which a load runs.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// What joins them.
    pub(crate) system: &'static str,
    /// Where the client runs.
    pub(crate) client: Namespace,
    /// Where the server runs.
    pub(crate) server: Namespace,
    /// The server's address.
    pub(crate) address: IpAddr,
}

impl Load {
    /// What a window's rate is in.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Requests => "requests/s",
            Self::Connections => "connections/s",
            Self::Stream => "Gbit/s",
        }
    }

    /// Runs for `length` after a warm-up of a quarter of that, and returns the rate in [`Load::unit`].
    pub(crate) fn window(self, ends: &Ends, processors: Processors, length: Duration) -> Result<f64> {
        let over = AtomicBool::new(false);
        let (ready, listening) = mpsc::channel();
        let (client_on, server_on) = match self {
            Self::Stream => (processors.first, processors.second),
            _ => (processors.second, processors.second),
        };
        let serve = || {
            settle(server_on)?;
            let listener = listen()?;
            // Nobody waits any more if the client has failed.
            let _ = ready.send(());
            self.serve(&listener, &over, length)
        };
        let ask = || {
            settle(client_on)?;
            let asked = self.ask(SocketAddr::new(ends.address, PORT), length);
            over.store(true, Ordering::Relaxed);
            asked
        };
        let (counted, arrived) = thread::scope(|scope| {
            let server = scope.spawn(|| ends.server.enter(serve));
            // It fails if the server has ended before it listened: its own fault says why.
            let started = listening.recv_timeout(PATIENCE).is_ok();
            let counted = if started { ends.client.enter(ask) } else { Ok(Ok(0.0)) };
            over.store(true, Ordering::Relaxed);
            wake(&ends.server);
            (counted, server.join().unwrap_or_else(|fault| panic::resume_unwind(fault)))
        });
        let (counted, arrived) = (counted??, arrived??);
        let rate = if self == Self::Stream { arrived } else { counted };
        if rate > 0.0 {
            return Ok(rate);
        }
        Err(Fault::Unfair { system: ends.system.to_owned(), reason: "carried nothing".to_owned() })
    }

    fn ask(self, server: SocketAddr, length: Duration) -> Result<f64> {
        match self {
            Self::Requests => {
                let mut stream = connect(server)?;
                count(length, || exchange(&mut stream))
            }
            Self::Connections => count(length, || exchange(&mut connect(server)?)),
            Self::Stream => {
                let mut stream = connect(server)?;
                let block = vec![0u8; BLOCK];
                // The server counts; it reads to the end, so the client stops a little later.
                let end = Instant::now() + length + length / 2;
                while Instant::now() < end {
                    match stream.write(&block) {
                        Ok(_) => {}
                        // The server has seen enough.
                        Err(fault) if hung_up(fault.kind()) => break,
                        Err(fault) => return Err(fault).context("send to", server),
                    }
                }
                Ok(0.0)
            }
        }
    }

    fn serve(self, listener: &TcpListener, over: &AtomicBool, length: Duration) -> Result<f64> {
        loop {
            let (mut stream, client) = listener.accept().context("accept at port", PORT)?;
            // The last connection is the one that wakes a server which waits in `accept`.
            if over.load(Ordering::Relaxed) {
                return Ok(0.0);
            }
            limit(&stream)?;
            if self == Self::Stream {
                let mut block = vec![0u8; BLOCK];
                let mut bytes = || stream.read(&mut block).context("hear", client);
                return Ok(count_up(length, || Ok(bytes()? as f64))? * 8.0 / 1e9);
            }
            let mut byte = [0u8];
            while stream.read(&mut byte).context("hear", client)? == 1 {
                stream.write_all(&byte).context("answer", client)?;
            }
        }
    }
}

/// Whether a new connection to a port that no policy allows is dropped, as it must be where policy is in force.
pub(crate) fn is_denied(ends: &Ends) -> Result<bool> {
    let target = SocketAddr::new(ends.address, FORBIDDEN);
    let limit = Duration::from_millis(300);
    let fault = ends.client.enter(|| TcpStream::connect_timeout(&target, limit).err())?;
    // Where nothing listens, an allowed connection is refused at once.
    Ok(fault.is_some_and(|fault| fault.kind() == ErrorKind::TimedOut))
}

/// Calls `event` for the warm-up and the window; returns how many a second fell into the window.
fn count(length: Duration, mut event: impl FnMut() -> Result<()>) -> Result<f64> {
    count_up(length, || event().map(|()| 1.0))
}

/// The same, where an event can be worth more than one.
fn count_up(length: Duration, mut event: impl FnMut() -> Result<f64>) -> Result<f64> {
    let start = Instant::now() + length / 4;
    while Instant::now() < start {
        event()?;
    }
    let start = Instant::now();
    let mut counted = 0.0;
    while start.elapsed() < length {
        counted += event()?;
    }
    Ok(counted / start.elapsed().as_secs_f64())
}

fn exchange(stream: &mut TcpStream) -> Result<()> {
    let mut byte = [1u8];
    stream.write_all(&byte).context("ask", "the server")?;
    stream.read_exact(&mut byte).context("hear", "the server")
}

fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE).context("connect to", server)?;
    limit(&stream)?;
    Ok(stream)
}

fn limit(stream: &TcpStream) -> Result<()> {
    let set = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))
    };
    set().context("set the limits of", "a connection")
}

fn listen() -> Result<TcpListener> {
    let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT);
    let listener = TcpListener::bind(address).context("listen at", address)?;
    // `accept` keeps to it too (socket(7)).
    let patience = TimeVal::new(PATIENCE.as_secs() as i64, 0);
    setsockopt(&listener, ReceiveTimeout, &patience).context("limit the wait at", address)?;
    Ok(listener)
}

/// Lets a server that waits for a client see that it is over.
fn wake(server: &Namespace) {
    let own = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
    // Refused if the server has ended already.
    let _ = server.enter(|| TcpStream::connect_timeout(&own, PATIENCE).map(drop));
}

fn hung_up(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// The port that policy allows.
pub(crate) const PORT: u16 = 7000;
/// A port that it does not.
const FORBIDDEN: u16 = 7001;
/// What a stream writes and reads at once, in bytes.
const BLOCK: usize = 128 << 10;
/// How long anything may stand still.
const PATIENCE: Duration = Duration::from_secs(5);
