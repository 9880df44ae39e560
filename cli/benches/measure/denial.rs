//! How soon a new deny is in force on three hosts.
//!
//! A client asks a server on each host by UDP, once a millisecond on a flow that stays. A policy that forbids it is applied by
//! the command line; counted is the time from the start of that command until the first question after which nobody was
//! answered any more, on the slowest host.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::container::{Container, Spec};
use lab::namespace::Namespace;

use crate::fault::{Context, Fault, Result};
use crate::ground::{Ground, SYSTEM};

/// The containers between which is asked.
pub(crate) struct Crowd<'a> {
    ground: &'a Ground,
    client: Container,
    servers: Vec<Container>,
}

/// Questions to one server.
struct Asker {
    socket: UdpSocket,
    /// When each question was sent.
    sent: Vec<Instant>,
    /// The last question that was answered.
    answered: Option<usize>,
}

impl<'a> Crowd<'a> {
    /// A client on the first host and a server on each.
    pub(crate) fn new(ground: &'a Ground) -> Result<Self> {
        let spec = |name: &str, role: &str| {
            let labels = [("denial".to_owned(), role.to_owned())].into();
            Spec { labels, ..Spec::idle(name) }
        };
        let client = ground.lab.node(1).run(&spec("denial-client", "client"))?;
        let servers = ground.sealane().map(|host| {
            let name = format!("denial-{}", host.name());
            Ok(host.run(&spec(&name, "server"))?)
        });
        let servers = servers.collect::<Result<_>>()?;
        Ok(Self { ground, client, servers })
    }

    /// Applies the deny, and takes it away again. Returns the time until it was in force everywhere, in ms.
    pub(crate) fn sample(&self) -> Result<f64> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for server in &self.servers {
                let socket = bind(server.namespace(), PORT)?;
                scope.spawn(|| answer(socket, &over));
            }
            let took = self.deny();
            over.store(true, Ordering::Relaxed);
            // Taken away also after a fault, or the next sample would begin denied.
            let freed = self.ground.sealane_says(&["delete", "-f", "-"], DENY);
            self.ground.sealane_says(&["status", "--wait"], "")?;
            freed?;
            took
        })
    }

    fn deny(&self) -> Result<f64> {
        let mut askers = Vec::new();
        for server in &self.servers {
            let address = server.address(true).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            askers.push(Asker::new(self.client.namespace(), SocketAddr::new(address, PORT))?);
        }
        let warm = Instant::now() + SETTLED;
        while Instant::now() < warm || askers.iter().any(|asker| asker.answered.is_none()) {
            if Instant::now() > warm + PATIENCE {
                return Err(late("did not answer while nothing forbade it"));
            }
            ask(&mut askers)?;
        }
        let start = Instant::now();
        thread::scope(|scope| {
            let command = scope.spawn(|| self.ground.sealane_says(&["apply", "-f", "-"], DENY));
            while !(command.is_finished() && askers.iter().all(Asker::is_silent)) {
                if start.elapsed() > PATIENCE {
                    return Err(late("went on answering although a policy forbids it"));
                }
                ask(&mut askers)?;
            }
            command.join().unwrap_or_else(|fault| std::panic::resume_unwind(fault)).map(drop)
        })?;
        let denied = askers.iter().filter_map(Asker::denied_at).max().unwrap_or(start);
        Ok(denied.saturating_duration_since(start).as_secs_f64() * 1e3)
    }
}

impl Asker {
    fn new(client: &Namespace, server: SocketAddr) -> Result<Self> {
        let socket = bind(client, 0)?;
        let ready = || {
            socket.connect(server)?;
            socket.set_nonblocking(true)
        };
        ready().context("ask", server)?;
        Ok(Self { socket, sent: Vec::new(), answered: None })
    }

    fn ask(&mut self) -> Result<()> {
        let mut number = [0u8; 8];
        while let Ok(length) = self.socket.recv(&mut number) {
            let known = (length == number.len()).then(|| usize::from_le_bytes(number));
            self.answered = self.answered.max(known);
        }
        let number = self.sent.len().to_le_bytes();
        self.sent.push(Instant::now());
        match self.socket.send(&number) {
            // A packet that is dropped on the way out is a denied one.
            Err(fault) if fault.kind() != ErrorKind::PermissionDenied => {
                Err(fault).context("ask", "a server")
            }
            _ => Ok(()),
        }
    }

    /// The first question that was never answered, nor any after it.
    fn denied_at(&self) -> Option<Instant> {
        self.sent.get(self.answered.map_or(0, |last| last + 1)).copied()
    }

    fn is_silent(&self) -> bool {
        self.denied_at().is_some_and(|first| first.elapsed() > SILENCE)
    }
}

fn ask(askers: &mut [Asker]) -> Result<()> {
    askers.iter_mut().try_for_each(Asker::ask)?;
    thread::sleep(PACE);
    Ok(())
}

fn answer(socket: UdpSocket, over: &AtomicBool) {
    let mut number = [0u8; 8];
    while !over.load(Ordering::Relaxed) {
        // A time limit brings it back to the flag; whoever asked in vain asks again.
        if let Ok((length, asker)) = socket.recv_from(&mut number) {
            let _ = socket.send_to(&number[..length], asker);
        }
    }
}

fn bind(namespace: &Namespace, port: u16) -> Result<UdpSocket> {
    let bind = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        Ok::<_, std::io::Error>(socket)
    };
    namespace.enter(bind)?.context("open a socket in", namespace.path().display())
}

fn late(reason: &str) -> Fault {
    Fault::Unfair { system: SYSTEM.to_owned(), reason: reason.to_owned() }
}

const DENY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: bench-deny}
spec:
  podSelector: {matchLabels: {denial: server}}
  policyTypes: [Ingress]
";
const PORT: u16 = 7100;
/// The time between two questions to a server.
const PACE: Duration = Duration::from_millis(1);
/// How long a flow is asked before the deny.
const SETTLED: Duration = Duration::from_millis(200);
/// How long nobody must have answered.
const SILENCE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(15);
