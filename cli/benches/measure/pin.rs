//! Where a measuring thread runs: on which processor, and before whom.

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

/// The calling thread.
const CALLER: Pid = Pid::from_raw(0);
const FOREMOST: i32 = -20;
