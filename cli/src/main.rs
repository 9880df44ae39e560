#![cfg_attr(test, allow(clippy::unwrap_used))]
//! The sealane command: every plane of Sealane in one program.
//!
//! Owns: the command line ([`command`]), how objects are made and shown ([`object`]), tenants as
//! wholes ([`tenant`]), who is let in ([`authority`]), questions to the fabric ([`question`]),
//! what can be written ([`reference`]), endpoints on this host ([`door`]), daemons ([`machine`]), labs ([`lab`]).
//! Promises: the exit code is 0 when it was done, 1 when it failed, 2 when the arguments are wrong, or that of the process
//! that was run; what fails says what to do; colours and progress on a terminal alone.

mod authority;
mod capability;
mod client;
mod command;
mod door;
mod failure;
mod kubeconfig;
mod lab;
mod machine;
mod object;
mod output;
mod question;
mod reference;
mod settings;
mod style;
mod tenant;
mod text;

use std::process::ExitCode;

use clap::Parser;

use command::Sealane;
use style::Style;

fn main() -> ExitCode {
    let sealane = Sealane::parse();
    match sealane.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{}", failure.told(Style::of(&std::io::stderr())));
            ExitCode::from(failure.code())
        }
    }
}
