//! The signals by which somebody asks a foreground process to end, caught while it looks after a container or makes a lab.

use std::time::Duration;

use rustix::process::Signal;
use tokio::runtime::Runtime;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::task::spawn_blocking;

use crate::error::{Context, Result};
use crate::process_id::ProcessId;

/// Once it is made, SIGINT, SIGTERM and SIGHUP no longer end this process: they are told by its methods.
#[derive(Debug)]
pub struct Caught {
    runtime: Runtime,
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

impl Caught {
    /// Catches those signals from now on.
    ///
    /// Errors: the system has no room for handlers.
    pub fn install() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("catch", "signals")?;
        let catch = |kind| {
            let _inside = runtime.enter();
            signal(kind).context("catch", "signals")
        };
        let interrupt = catch(SignalKind::interrupt())?;
        let terminate = catch(SignalKind::terminate())?;
        let hang_up = catch(SignalKind::hangup())?;
        Ok(Self { runtime, interrupt, terminate, hang_up })
    }

    /// Whether one of them has come since it was last asked.
    pub fn pending(&mut self) -> bool {
        let Self { runtime, interrupt, terminate, hang_up } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                _ = hang_up.recv() => true,
                () = tokio::time::sleep(A_MOMENT) => false,
            }
        })
    }

    /// Waits for a signal, for the end of a process or for the limit, whatever comes first; only a signal is told.
    pub(crate) fn wait(&mut self, process: ProcessId, limit: Duration) -> Option<Signal> {
        let Self { runtime, interrupt, terminate, hang_up } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => Some(Signal::INT),
                _ = terminate.recv() => Some(Signal::TERM),
                _ = hang_up.recv() => Some(Signal::HUP),
                _ = spawn_blocking(move || process.wait(limit)) => None,
            }
        })
    }
}

/// Long enough for a signal that has come to be seen.
const A_MOMENT: Duration = Duration::from_millis(1);
