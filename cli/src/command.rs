//! The command line.

use clap::{CommandFactory, Parser, Subcommand};

use crate::authority::certificate::Certificate;
use crate::authority::token::Token;
use crate::door::attach::{Attach, Detach};
use crate::door::run::Run;
use crate::failure::Failure;
use crate::lab::LabArgs;
use crate::machine::{Agent, Backup, Cni, Down, Restore, Server, Up};
use crate::object::apply::Apply;
use crate::object::delete::Delete;
use crate::object::describe::Describe;
use crate::object::diff::Diff;
use crate::object::get::Get;
use crate::question::audit::Audit;
use crate::question::drops::Drops;
use crate::question::explain::Explain;
use crate::question::flows::Flows;
use crate::question::status::Status;
use crate::question::version::Version;
use crate::reference::Reference;
use crate::settings::Settings;
use crate::tenant::Tenant;
use crate::text::{COMPLETION_EXAMPLES, EXAMPLES};

/// One network and security fabric for containers
///
/// Sealane puts the containers of many tenants on virtual networks, judges every packet by policy about groups, and can say
/// why. It speaks the API of Kubernetes: kubectl works too.
#[derive(Debug, Parser)]
#[command(name = "sealane", version, propagate_version = true, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Sealane {
    #[command(flatten)]
    settings: Settings,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(Up),
    Down(Down),
    Server(Server),
    Agent(Agent),
    Backup(Backup),
    Restore(Restore),
    Lab(LabArgs),
    Token(Token),
    Certificate(Certificate),
    Run(Run),
    Attach(Attach),
    Detach(Detach),
    Apply(Apply),
    Get(Get),
    Describe(Describe),
    Delete(Delete),
    Diff(Diff),
    Tenant(Tenant),
    Explain(Explain),
    Flows(Flows),
    Drops(Drops),
    Audit(Audit),
    Status(Status),
    Reference(Reference),
    Cni(Cni),
    Version(Version),
    /// Print a script that completes sealane's words in a shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Whether it asks the server, as far as a kubeconfig has a say in it.
    fn asks(&self) -> bool {
        !matches!(
            self,
            Self::Up(_)
                | Self::Down(_)
                | Self::Server(_)
                | Self::Agent(_)
                | Self::Restore(_)
                | Self::Lab(_)
                | Self::Run(_)
                | Self::Attach(_)
                | Self::Detach(_)
                | Self::Reference(_)
                | Self::Cni(_)
                | Self::Completion { .. }
        )
    }
}

impl Sealane {
    /// Does what the command line asks for.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let settings = &self.settings.resolved(self.command.asks())?;
        match &self.command {
            Command::Up(up) => up.run(settings),
            Command::Down(down) => down.run(settings),
            Command::Server(server) => server.run(),
            Command::Agent(agent) => agent.run(),
            Command::Backup(backup) => backup.run(settings),
            Command::Restore(restore) => restore.run(),
            Command::Token(token) => token.run(settings),
            Command::Certificate(certificate) => certificate.run(settings),
            Command::Lab(lab) => lab.run(settings),
            Command::Run(run) => run.run(settings),
            Command::Attach(attach) => attach.run(settings),
            Command::Detach(detach) => detach.run(settings),
            Command::Apply(apply) => apply.run(settings),
            Command::Get(get) => get.run(settings),
            Command::Describe(describe) => describe.run(settings),
            Command::Delete(delete) => delete.run(settings),
            Command::Diff(diff) => diff.run(settings),
            Command::Tenant(tenant) => tenant.run(settings),
            Command::Explain(explain) => explain.run(settings),
            Command::Flows(flows) => flows.run(settings),
            Command::Drops(drops) => drops.run(settings),
            Command::Audit(audit) => audit.run(settings),
            Command::Status(status) => status.run(settings),
            Command::Reference(reference) => reference.run(),
            Command::Cni(cni) => cni.run(settings),
            Command::Version(version) => version.run(settings),
            Command::Completion { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut Self::command(), "sealane", &mut script);
                Ok(std::io::Write::write_all(&mut crate::output::screen(), &script)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Sealane::command().debug_assert();
    }

    #[test]
    fn every_subcommand_teaches_by_example() {
        fn check(command: &clap::Command, path: &str) {
            for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
                let path = format!("{path} {}", inner.get_name());
                let help = inner.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(
                    help.contains("Examples:") && help.contains(&path),
                    "{path} has no example of itself"
                );
                assert!(inner.get_about().is_some(), "{path} does not say what it does");
                check(inner, &path);
            }
        }
        check(&Sealane::command(), "sealane");
    }
}
