//! Which process is meant: a number alone is used again by the kernel, with its start time it never is.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// One process, for as long as the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot (`proc_pid_stat(5)`, field 22).
    pub start: u64,
}

impl ProcessId {
    /// The process that has this number now; `None` if none has, or if it has ended and was not waited for.
    pub fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before the closing parenthesis may hold anything, spaces and parentheses too.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, start) = (*fields.first()?, fields.get(19)?.parse().ok()?);
        (!matches!(state, "Z" | "X")).then_some(Self { pid, start })
    }

    /// This process.
    pub fn own() -> Self {
        Self::of(std::process::id()).expect("a process that runs is listed in /proc")
    }

    /// Whether it still runs.
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// A descriptor that stands for this process and no other; `None` if it has ended.
    pub fn open(self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let file = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // The number may have passed to another between the record and the opening.
        self.alive().then_some(file)
    }

    /// Waits until it has ended, at most so long; `true` if it has.
    pub fn wait(self, limit: Duration) -> bool {
        let Some(file) = self.open() else { return true };
        let limit = Timespec::try_from(limit).ok();
        let mut ended = [PollFd::new(&file, PollFlags::IN)];
        poll(&mut ended, limit.as_ref()).is_ok_and(|count| count > 0)
    }

    /// Sends a signal; `false` if it has ended.
    pub fn signal(self, signal: Signal) -> bool {
        self.open().is_some_and(|file| pidfd_send_signal(file, signal).is_ok())
    }

    /// Ends it at once (SIGKILL); `false` if it has ended.
    pub fn kill(self) -> bool {
        self.signal(Signal::KILL)
    }
}

/// Ends the process that has this number now.
pub(crate) fn kill_now(pid: u32) {
    if let Some(process) = ProcessId::of(pid) {
        process.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_not_alive_though_nobody_waited_for_it() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        assert!(process.alive());
        assert!(process.kill());
        let ended = crate::wait::wait_until(std::time::Duration::from_secs(5), "the process ends", || {
            !process.alive()
        });
        ended.unwrap();
        assert!(!process.kill());
        child.wait().unwrap();
    }

    #[test]
    fn another_process_with_the_same_number_is_not_meant() {
        let own = ProcessId::own();
        let other = ProcessId { start: own.start + 1, ..own };
        assert!(own.alive());
        assert!(!other.alive());
        assert!(other.open().is_none());
    }
}
