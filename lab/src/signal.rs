//! The signals by which somebody asks a foreground process to end, caught while it looks after a container.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Context, Result};

/// While it lives, SIGINT, SIGTERM and SIGHUP do not end this process: they are noted. One at a time in a process.
pub(crate) struct Caught {
    before: Vec<(Signal, SigAction)>,
}

impl Caught {
    /// Notes those signals from now on.
    pub(crate) fn install() -> Result<Self> {
        let note = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
        let mut caught = Self { before: Vec::new() };
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: the handler does nothing but store a number, which is async-signal-safe (signal-safety(7)).
            let before = unsafe { sigaction(signal, &note) }.context("catch", signal)?;
            caught.before.push((signal, before));
        }
        Ok(caught)
    }

    /// The last of them since the last call, by number.
    pub(crate) fn take(&self) -> Option<i32> {
        let number = NOTED.swap(0, Ordering::Relaxed);
        (number != 0).then_some(number)
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: this is what was in force before; its handler, if any, still is part of this program.
            let _ = unsafe { sigaction(*signal, before) };
        }
    }
}

extern "C" fn note(number: i32) {
    NOTED.store(number, Ordering::Relaxed);
}

static NOTED: AtomicI32 = AtomicI32::new(0);
