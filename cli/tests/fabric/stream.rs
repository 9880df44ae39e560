//! Connections between containers: one that goes on while other things happen, and large transfers.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lab::namespace::Namespace;

/// A connection on which numbered words go to and fro until it is ended.
pub(crate) struct Conversation {
    over: Arc<AtomicBool>,
    client: JoinHandle<io::Result<Account>>,
}

/// How a conversation went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    /// Words that came back.
    pub(crate) words: u64,
    /// The longest time that one took.
    pub(crate) longest: Duration,
}

impl Conversation {
    /// Opens one from a namespace to a port of an address in another.
    pub(crate) fn open(from: &Namespace, to: &Namespace, address: IpAddr, port: u16) -> io::Result<Self> {
        let (server, client) = connected(from, to, SocketAddr::new(address, port))?;
        thread::spawn(move || echo(server));
        let over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&over);
        Ok(Self { over, client: thread::spawn(move || talk(client, &end)) })
    }

    /// Whether it still goes on.
    pub(crate) fn is_alive(&self) -> bool {
        !self.client.is_finished()
    }

    /// Ends it and tells how it went.
    pub(crate) fn end(self) -> io::Result<Account> {
        self.over.store(true, Ordering::Relaxed);
        self.client.join().unwrap_or_else(|fault| std::panic::resume_unwind(fault))
    }
}

/// Sends `length` bytes both ways at the same time, and compares them.
pub(crate) fn transfer(
    from: &Namespace,
    to: &Namespace,
    address: SocketAddr,
    length: usize,
) -> io::Result<()> {
    let (server, client) = connected(from, to, address)?;
    let data: Vec<u8> = (0..length).map(|place| (place ^ place >> 8) as u8).collect();
    let (out, back) = (&data[..], &data[..]);
    thread::scope(|scope| {
        let sending = [scope.spawn(|| (&client).write_all(out)), scope.spawn(|| (&server).write_all(back))];
        let receiving = [scope.spawn(|| receive(&server, out)), scope.spawn(|| receive(&client, back))];
        sending
            .into_iter()
            .chain(receiving)
            .try_for_each(|one| one.join().unwrap_or_else(|fault| std::panic::resume_unwind(fault)))
    })
}

fn receive(mut stream: &TcpStream, wanted: &[u8]) -> io::Result<()> {
    let mut buffer = vec![0; wanted.len()];
    stream.read_exact(&mut buffer)?;
    if buffer == wanted { Ok(()) } else { Err(io::Error::other("other bytes came than were sent")) }
}

fn connected(from: &Namespace, to: &Namespace, address: SocketAddr) -> io::Result<(TcpStream, TcpStream)> {
    let listener = listen(to, address)?;
    let client = from.enter(|| TcpStream::connect_timeout(&address, LIMIT)).map_err(io::Error::other)??;
    let (server, _) = listener.accept()?;
    for stream in [&server, &client] {
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
    }
    Ok((server, client))
}

/// Listens. Between its fork and its exec, a program that another test starts holds a copy of every open descriptor, also of a
/// listener that is closed here by now: then the address is in use a moment longer.
fn listen(namespace: &Namespace, address: SocketAddr) -> io::Result<TcpListener> {
    let end = Instant::now() + LIMIT;
    loop {
        match namespace.enter(|| TcpListener::bind(address)).map_err(io::Error::other)? {
            Err(fault) if fault.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 || stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn talk(mut stream: TcpStream, over: &AtomicBool) -> io::Result<Account> {
    let mut account = Account { words: 0, longest: Duration::ZERO };
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let word = account.words.to_be_bytes();
        let mut back = [0; 8];
        stream.write_all(&word)?;
        stream.read_exact(&mut back)?;
        if back != word {
            return Err(io::Error::other("another word came back"));
        }
        account.words += 1;
        account.longest = account.longest.max(began.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    Ok(account)
}

/// For one read or write, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);
