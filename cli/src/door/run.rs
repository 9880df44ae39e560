//! `sealane run`: a process in a namespace of its own, with a place on a virtual network.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::process::Command;

use clap::Args;
use lab::container::{Runtime, Sink, Spec};
use lab::spawn::Place;

use super::agent;
use super::workload::Workload;
use crate::capability;
use crate::failure::Failure;
use crate::output::{self, Progress};
use crate::settings::Settings;

/// Run a command with a place on a virtual network
///
/// The command gets a network, mount, host-name and IPC namespace of its own and starts when it has its address. Its exit code
/// is this command's; when it ends, the place is given back.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Examples:
  sealane run --name web -l app=web --port-name http=80 -- nginx -g 'daemon off;'
  sealane run -n shop -- bash
  sealane run --name db --network backend -p 5432:5432 --detach -- postgres")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) workload: Workload,

    /// The endpoint's name, unique in the namespace [default: the command's, with some letters behind it]
    #[arg(long)]
    name: Option<String>,

    /// A variable beside this command's own; may be repeated
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    environment: Vec<(String, String)>,

    /// Return when it runs; its output goes to a log
    #[arg(short, long)]
    detach: bool,

    /// What `--detach` adds to its own command line for the process that looks after the container
    #[arg(long, hide = true)]
    foreground: bool,

    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        capability::require("run", &[capability::NAMESPACES])?;
        let runtime = Runtime::of_this_host(agent(settings))?;
        runtime.sweep()?;
        self.start(settings, &runtime, Place::default)
    }

    /// Runs it in this runtime: here, or behind the back of a caller who goes on. `place` is where what looks after it runs.
    pub(crate) fn start(
        &self,
        settings: &Settings,
        runtime: &Runtime,
        place: impl FnOnce() -> Place,
    ) -> Result<(), Failure> {
        let name = self.name.clone().unwrap_or_else(|| name_after(&self.command[0]));
        let spec = self.spec(settings, name)?;
        if !self.detach || self.foreground {
            return match runtime.run(&spec)? {
                0 => Ok(()),
                code => Err(Failure::Code(code)),
            };
        }
        let id = spec.id()?;
        let mut progress = Progress::new();
        progress.show(&format!("starting {}", spec.name));
        let record = runtime.start_in_background(&id, in_foreground(&spec.name)?, place())?;
        drop(progress);
        let mut out = output::screen();
        match record {
            Some(record) => {
                let addresses: Vec<String> =
                    record.attached.addresses.iter().map(|one| one.address.to_string()).collect();
                let (pid, log) = (record.process.pid, record.log.display());
                writeln!(
                    out,
                    "{id} runs as process {pid} with {}; its output goes to {log}",
                    addresses.join(", ")
                )?;
            }
            None => writeln!(out, "{id} has ended already, and well")?,
        }
        Ok(())
    }

    fn spec(&self, settings: &Settings, name: String) -> Result<Spec, Failure> {
        Ok(Spec {
            tenant: settings.tenant.clone(),
            namespace: settings.namespace.clone(),
            name,
            network: self.workload.network.clone(),
            labels: self.workload.labels()?,
            ports: self.workload.ports(),
            addresses: self.workload.addresses.clone(),
            publish: self.workload.publish(),
            command: self.command.clone(),
            environment: self.environment.iter().cloned().collect(),
            binds: Vec::new(),
            output: Sink::Inherit,
        })
    }
}

/// A name for an endpoint that was given none: its command's, as far as a name may have it (RFC 1123), and five letters that
/// tell it from others.
fn name_after(command: &str) -> String {
    let base = command.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let fit: String =
        base.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '-' }).take(40).collect();
    let fit = fit.trim_matches('-');
    // The hasher's keys are the process' own and random.
    let random = RandomState::new().hash_one(std::process::id()) & 0xf_ffff;
    format!("{}-{random:05x}", if fit.is_empty() { "run" } else { fit })
}

/// This very command line under this name, whose wish to return early does not count.
fn in_foreground(name: &str) -> Result<Command, Failure> {
    let this = std::env::current_exe().map_err(|source| Failure::Process {
        operation: "find",
        object: "this program".to_owned(),
        source,
    })?;
    let mut command = Command::new(this);
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (own, theirs) = words.split_at(end);
    command.args(own).arg("--foreground");
    if !own.iter().any(|word| word == "--name" || word.as_encoded_bytes().starts_with(b"--name=")) {
        command.args(["--name", name]);
    }
    command.args(theirs);
    Ok(command)
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nameless_endpoint_is_named_after_its_command_and_never_twice_the_same() {
        for (command, start) in [("/usr/sbin/nginx", "nginx-"), ("./My_App.sh", "my-app-sh-"), ("/", "run-")]
        {
            let name = name_after(command);
            assert!(name.starts_with(start) && name.len() == start.len() + 5, "{name}");
            assert!(intent::schema::Format::Label.accepts(&name), "{name}");
        }
        assert_ne!(name_after("nginx"), name_after("nginx"));
    }
}
