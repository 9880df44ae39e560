//! What is going on, for what takes time: on the error output, on one line of a terminal.

use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Tells what is being waited for, and takes it back when it is over.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    began: Instant,
    shown: Option<String>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), began: Instant::now(), shown: None }
    }

    /// Shows a step. A terminal shows it with the seconds it has taken; a file gets each step once.
    pub(crate) fn show(&mut self, step: &str) {
        let mut out = std::io::stderr().lock();
        // Progress that cannot be shown is no fault.
        let _ = if self.terminal {
            write!(out, "\r\u{1b}[K{step} … {} s", self.began.elapsed().as_secs()).and_then(|()| out.flush())
        } else if self.shown.as_deref() == Some(step) {
            Ok(())
        } else {
            writeln!(out, "{step} …")
        };
        self.shown = Some(step.to_owned());
    }

    /// Shows how far a step has come; on a terminal alone.
    pub(crate) fn count(&mut self, step: &str, done: usize, all: usize) {
        if self.terminal {
            self.show(&format!("{step}, {done} of {all}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.shown.is_some() {
            // As above.
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}
