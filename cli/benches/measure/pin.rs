//! Where a measuring thread runs: on which processor, and before whom.

use std::fs;
use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::fault::{Context, Fault, Result};

/// The processors that measurements use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processors {
    /// One end of a stream.
    pub(crate) first: usize,
    /// The other end of a stream, and both ends of everything else.
    pub(crate) second: usize,
}

impl Processors {
    /// The last two that this process may use: interrupts tend to go to the first of a machine.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(CALLER).context("ask for", "the processors")?;
        let usable: Vec<usize> =
            (0..CpuSet::count()).filter(|one| allowed.is_set(*one).unwrap_or(false)).collect();
        match usable[..] {
            [.., first, second] => Ok(Self { first, second }),
            _ => Err(Fault::Machine { reason: "a stream needs two processors", found: usable.len() }),
        }
    }
}

/// Keeps the calling thread on one processor and puts it before ordinary work there: what else the machine does would be
/// measured too.
pub(crate) fn settle(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor).context("name", "a processor")?;
    sched_setaffinity(CALLER, &set).context("stay on processor", processor)?;
    // For Linux "this process" is the calling thread (setpriority(2), C library differences).
    rustix::process::setpriority_process(None, FOREMOST).context("raise the priority on processor", processor)
}

/// The priority of our login session among others, raised until this is dropped. Where the kernel groups processes by session
/// (sched(7), "The autogroup feature"), a thread's own priority counts within its session alone.
pub(crate) struct Foremost {
    /// What to restore; `None`: the kernel does not group.
    before: Option<String>,
}

impl Foremost {
    /// Raises it.
    pub(crate) fn raise() -> Result<Self> {
        raise(OWN).map(|before| Self { before })
    }
}

impl Drop for Foremost {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(fault) = fs::write(OWN, before)
        {
            eprintln!("cannot restore {OWN} to {before}: {fault}");
        }
    }
}

/// The same for the session of another process, for good: it must have one of its own, as daemons have.
pub(crate) fn prefer(process: u32) -> Result<()> {
    raise(&format!("/proc/{process}/autogroup")).map(drop)
}

/// Returns what it was.
fn raise(path: &str) -> Result<Option<String>> {
    let told = match fs::read_to_string(path) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        told => told.context("read", path)?,
    };
    // "/autogroup-25 nice 0"; a process outside any session has none.
    let before = told.split_whitespace().last().map(str::to_owned);
    if before.is_some() {
        fs::write(path, FOREMOST.to_string()).context("write", path)?;
    }
    Ok(before)
}

const OWN: &str = "/proc/self/autogroup";
/// The calling thread.
const CALLER: Pid = Pid::from_raw(0);
const FOREMOST: i32 = -20;
