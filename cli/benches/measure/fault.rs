//! What can go wrong while measuring.

use std::fmt::Display;
use std::io;
use std::process::{Command, Output};

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The lab, a container or an agent refused.
    #[error(transparent)]
    Lab(#[from] lab::Error),
    /// Something did not come to pass.
    #[error(transparent)]
    Late(#[from] lab::Late),
    /// A system call failed.
    #[error("cannot {operation} {object}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A command failed.
    #[error("`{command}` failed: {told}")]
    Command {
        /// The command.
        command: String,
        /// What it said.
        told: String,
    },
    /// The machine is too small.
    #[error("{reason}, and this process may use {found}")]
    Machine {
        /// What is needed.
        reason: &'static str,
        /// What there is.
        found: usize,
    },
    /// Two systems differ where they must be alike, or policy is not in force.
    #[error("{system} {reason}")]
    Unfair {
        /// Which system.
        system: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What measuring gives.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// Says what was tried and on what.
pub(crate) trait Context<T> {
    /// Adds operation and object to a system's fault.
    fn context(self, operation: &'static str, object: impl Display) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, operation: &'static str, object: impl Display) -> Result<T> {
        self.map_err(|fault| Fault::System { operation, object: object.to_string(), source: fault.into() })
    }
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output().context("run", command.get_program().display())?;
    told(command, &output)
}

/// What a command printed, if it succeeded.
pub(crate) fn told(command: &Command, output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let told = [&output.stderr[..], &output.stdout[..]].concat();
    Err(Fault::Command {
        command: format!("{} {}", command.get_program().display(), words.join(" ")),
        told: String::from_utf8_lossy(&told).trim().to_owned(),
    })
}

/// A fault with its causes.
pub(crate) fn report(fault: &Fault) -> String {
    lab::report(fault)
}
