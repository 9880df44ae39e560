//! The unix socket: one line of JSON in, one out.
//!
//! Promises: whatever one client sends or leaves undone, others are served, and no user can keep root out; attaching and detaching is root's (by the peer's
//! credentials, `SO_PEERCRED`), asking is anybody's on this host; a request that was begun is carried out to its end even if the
//! client goes; one whose client went before is not begun, for it may have asked for something else since.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use record::door::{MAX_LINE, Refusal, RefusalCode, Reply, Request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::crowd::{Crowd, Place};
use crate::node::Node;
use crate::refusal::{invalid, refusal};

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    /// Another agent answers there.
    #[error("listen at {}: another agent answers there; stop it, or set another socket", path.display())]
    InUse { path: PathBuf },
    /// What is there is no socket.
    #[error("listen at {}: the file there is no socket; remove it, or set another socket", path.display())]
    NoSocket { path: PathBuf },
    /// The system refused.
    #[error("listen at {}", path.display())]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A listening socket; its file is removed with it.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens. The file of a dead agent's socket is replaced.
    pub(crate) fn listen(path: &Path) -> Result<Self, DoorError> {
        let failed = |source| DoorError::Listen { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => {
                return Err(DoorError::NoSocket { path: path.to_owned() });
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(DoorError::InUse { path: path.to_owned() });
            }
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until `stop` becomes true; requests under way then have [`DRAIN`] to end.
    pub(crate) async fn serve(self, node: Arc<Node>, mut stop: watch::Receiver<bool>) {
        let crowd = Crowd::new();
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&crowd) => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, place)) => {
                    let node = Arc::clone(&node);
                    connections.spawn(async move {
                        converse(&node, stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: others are being given back.
                    tracing::warn!(%error, "a door's connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(self);
        if timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(connections = connections.len(), "stopping although doors have connections open");
        }
    }

    /// The next connection that has a place; those of users who have none left are closed.
    async fn accept(&self, crowd: &Crowd) -> io::Result<(UnixStream, Place)> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            if may_change(uid) {
                return Ok((stream, crowd.enter_as_root().await?));
            }
            match crowd.enter(uid) {
                Some(place) => return Ok((stream, place)),
                None => tracing::debug!(uid, "a user holds too many connections; one more is closed"),
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Gone already: somebody removed it, and nothing is left to do.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One request, one answer.
async fn converse(node: &Arc<Node>, mut stream: UnixStream) {
    let asker = Asker::of(&stream);
    let (mut reader, mut writer) = stream.split();
    let reply = match timeout(LINE_PATIENCE, read_line(&mut reader)).await {
        // It gave up while this agent hung, and left word: its container may have a successor by now.
        Ok(Ok(Some(_))) if is_gone(writer.as_ref()) => return,
        Ok(Ok(Some(line))) => {
            let node = Arc::clone(node);
            // A task of its own: it ends even if this connection does.
            let carried_out = tokio::spawn(async move { node.carry_out(&line, asker).await });
            carried_out.await.unwrap_or_else(|_| {
                Reply::Refused(refusal(
                    RefusalCode::Kernel,
                    "the agent failed in carrying out the request",
                    "its log says where; report it",
                ))
            })
        }
        Ok(Ok(None)) => return,
        Ok(Err(reason)) => Reply::Refused(reason),
        Err(_) => Reply::Refused(invalid(
            format!("no whole line came within {} s", LINE_PATIENCE.as_secs()),
            "send one line of JSON that ends with a newline",
        )),
    };
    let mut answer = line_of(&reply);
    if answer.len() > MAX_LINE {
        let message = format!("the answer is longer than {MAX_LINE} bytes");
        answer = line_of(&Reply::Refused(invalid(message, "ask for less: filter, or set a limit")));
    }
    // A client that has gone does not want the answer.
    let _ = timeout(LINE_PATIENCE, writer.write_all(&answer)).await;
    let _ = writer.shutdown().await;
    // What was sent beyond the line must be taken: closing over it would reset the connection and with it the answer.
    let mut beyond = reader.take(LONGEST_REST);
    let _ = timeout(REST_PATIENCE, tokio::io::copy(&mut beyond, &mut tokio::io::sink())).await;
}

/// Whether the other end is closed, and not for writing alone.
fn is_gone(stream: &UnixStream) -> bool {
    let mut ends = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    // POLLHUP is told unasked.
    poll(&mut ends, PollTimeout::ZERO).is_ok()
        && ends[0].revents().is_some_and(|found| found.contains(PollFlags::POLLHUP))
}

fn line_of(reply: &Reply) -> Vec<u8> {
    let mut line = serde_json::to_vec(reply).expect("a reply is plain data with text keys");
    line.push(b'\n');
    line
}

/// `None`: the client went without a word.
async fn read_line(reader: impl tokio::io::AsyncRead + Unpin) -> Result<Option<Vec<u8>>, Refusal> {
    let mut line = Vec::new();
    let mut limited = BufReader::new(reader.take(MAX_LINE as u64 + 1));
    let unread = |error: io::Error| invalid(format!("the request cannot be read: {error}"), "send it again");
    limited.read_until(b'\n', &mut line).await.map_err(unread)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() > MAX_LINE {
        let message = format!("the request is longer than {MAX_LINE} bytes");
        return Err(invalid(message, "send a shorter one"));
    }
    Ok(Some(line))
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asker {
    pub(crate) is_privileged: bool,
    /// Its process, by the agent's numbers; `None`: the agent does not see it.
    pub(crate) process: Option<i32>,
}

impl Asker {
    fn of(stream: &UnixStream) -> Self {
        let Ok(peer) = stream.peer_cred() else { return Self::default() };
        Self { is_privileged: may_change(peer.uid()), process: peer.pid().filter(|pid| *pid > 0) }
    }

    /// Refuses a path by which this agent would find another file than the asker does, or none: they may live among other mounts and
    /// process numbers.
    fn refuse_other_namespace(self, path: &Path) -> Result<(), Refusal> {
        let Some(process) = self.process.filter(|_| path.is_absolute()) else { return Ok(()) };
        let identity = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        let root = PathBuf::from(format!("/proc/{process}/root"));
        let theirs = identity(&root.join(path.strip_prefix("/").unwrap_or(path)));
        let ours = identity(path);
        let fault = match (theirs, ours) {
            (Some(_), None) => "there for the process that asks, but not for the agent",
            (Some(theirs), Some(ours)) if theirs != ours => {
                "one file for the process that asks, and another for the agent"
            }
            _ => return Ok(()),
        };
        let message = format!(
            "network namespace {} is {fault}: they have other mounts or process numbers (the asking process is {process} to the agent)",
            path.display()
        );
        let remedy = "ask from where the agent runs, or bind the namespace to a file that both see (`mount --bind`), such as one in \
                      /run/netns, and name that";
        Err(invalid(message, remedy))
    }
}

/// Who may attach and detach: root, and whoever runs the agent.
fn may_change(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}

impl Node {
    /// Carries out one request.
    pub(crate) async fn carry_out(self: &Arc<Self>, line: &[u8], asker: Asker) -> Reply {
        let request: Request = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(error) => {
                let remedy = "send one of the requests of this version: attach, detach, check, collect, status, list, ask";
                return Reply::Refused(invalid(format!("the request is not understood: {error}"), remedy));
            }
        };
        let changes = matches!(request, Request::Attach(_) | Request::Detach(_) | Request::Collect(_));
        if changes && !asker.is_privileged {
            let message = "attaching and detaching is root's on this host";
            return Reply::Refused(refusal(RefusalCode::Forbidden, message, "ask as root"));
        }
        if let Request::Attach(attach) = &request
            && let Err(refusal) = asker.refuse_other_namespace(&attach.netns)
        {
            return Reply::Refused(refusal);
        }
        let node = Arc::clone(self);
        let done = |outcome: Result<(), Refusal>| outcome.map_or_else(Reply::Refused, |()| Reply::Done);
        match request {
            Request::Attach(attach) => node
                .attach(*attach)
                .await
                .map_or_else(Reply::Refused, |attached| Reply::Attached(attached.into())),
            Request::Detach(detach) => done(node.detach(detach).await),
            Request::Check(detach) => done(node.check(&detach).await),
            Request::Collect(collect) => done(node.collect(collect).await),
            Request::Status => done(node.ready()),
            Request::List => Reply::Attachments { attachments: node.list() },
            Request::Ask { question } => Reply::Answer { answer: node.answer(question).await },
        }
    }

    /// Whether an attach can succeed: the node holds a block, or the server is there to give one.
    fn ready(&self) -> Result<(), Refusal> {
        let holds_block = self.ledger().held.own_blocks().next().is_some();
        if holds_block || self.outbox.is_open() {
            return Ok(());
        }
        Err(refusal(
            RefusalCode::Unavailable,
            "this node holds no addresses, and the server is not reached",
            format!("see that the server at {} runs and is reachable from this node", self.config.server),
        ))
    }
}

/// Bytes beyond a line that are taken, and for how long.
const LONGEST_REST: u64 = 64 << 20;
const REST_PATIENCE: Duration = Duration::from_secs(1);
/// How long an agent that stops waits for requests under way.
const DRAIN: Duration = Duration::from_secs(5);
/// How long a client may take for its line, and for reading the answer.
const LINE_PATIENCE: Duration = Duration::from_secs(10);
