//! The CNI plugin's process: variables and stdin in, one JSON object out.

use std::io::{Read, Write};
use std::process::ExitCode;

use cni::{Code, Environment, Fault, Version};
use serde_json::Value;

fn main() -> ExitCode {
    let mut stdin = Vec::new();
    let read = std::io::stdin().lock().take(LONGEST).read_to_end(&mut stdin);
    let (version, outcome) = match read {
        Ok(_) => cni::run(&Environment::of_process(), &stdin),
        Err(error) => {
            let fault = Fault::new(Code::Io, "stdin cannot be read", error.to_string());
            (Version::NEWEST, Err(fault))
        }
    };
    let (answer, code) = match outcome {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(answer)) => (answer, ExitCode::SUCCESS),
        Err(fault) => (fault.json(version), ExitCode::FAILURE),
    };
    if say(&answer) { code } else { ExitCode::FAILURE }
}

fn say(answer: &Value) -> bool {
    writeln!(std::io::stdout().lock(), "{answer}").is_ok()
}

/// Bytes of a config that are read.
const LONGEST: u64 = 16 << 20;
