//! One request to the agent.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use record::door::{Detach, MAX_LINE, Reply, Request, TOMBSTONES};

use crate::fault::{Code, Fault};

/// Sends a request and waits at most `patience` for the answer, however slow the agent is to take the connection.
pub(crate) fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Reply, Fault> {
    let unreached = |why: &dyn std::fmt::Display| {
        Fault::new(
            Code::TryAgain,
            format!("the agent at {} does not answer: {why}", socket.display()),
            "see that `sealane agent` runs on this host, and that agentSocket in the network config is its socket",
        )
    };
    let mut line = serde_json::to_vec(request).map_err(|error| unreached(&error))?;
    line.push(b'\n');
    let (sender, answer) = mpsc::sync_channel(1);
    let path = PathBuf::from(socket);
    // On a thread: connecting to a socket whose queue is full waits without a bound.
    std::thread::spawn(move || sender.send(converse(&path, &line, patience)));
    match answer.recv_timeout(patience) {
        Ok(Ok(bytes)) => serde_json::from_slice(&bytes).map_err(|error| {
            let msg = format!("the agent's answer is not understood: {error}");
            Fault::new(Code::Decode, msg, "use the sealane-cni that came with this agent")
        }),
        Ok(Err(error)) => Err(unreached(&error)),
        Err(_) => Err(unreached(&format!("nothing within {} ms", patience.as_millis()))),
    }
}

fn converse(path: &Path, line: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(line)?;
    let mut answer = Vec::new();
    stream.take(MAX_LINE as u64).read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(answer)
}

/// Leaves word for an agent that is away. The file is whole or not there.
pub(crate) fn leave_word(state_dir: &Path, detach: &Detach) -> Result<(), Fault> {
    let folder = state_dir.join(TOMBSTONES);
    let file = folder.join(detach.tombstone());
    let draft = file.with_extension(format!("{}.tmp", std::process::id()));
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        let mut draft_file = std::fs::File::create(&draft)?;
        draft_file.write_all(&serde_json::to_vec(detach)?)?;
        draft_file.sync_all()?;
        std::fs::rename(&draft, &file)
    };
    write().map_err(|error| {
        Fault::new(
            Code::TryAgain,
            format!("the agent is away, and no word can be left for it in {}: {error}", folder.display()),
            "start the agent, or see that stateDir in the network config is its state_dir and can be written",
        )
    })
}
