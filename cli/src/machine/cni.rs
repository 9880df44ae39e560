//! `sealane cni`: what container runtimes are given, so that they find Sealane.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::door::workload::{Label, labels_of};
use crate::failure::Failure;
use crate::output;
use crate::settings::Settings;

/// What container runtimes are given, so that they find Sealane
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane cni config > /etc/cni/net.d/10-sealane.conflist")]
pub(crate) struct Cni {
    #[command(subcommand)]
    command: CniCommand,
}

#[derive(Debug, Subcommand)]
enum CniCommand {
    /// Print a network config list (CNI 1.0.0)
    #[command(after_help = "\
Examples:
  sealane cni config > /etc/cni/net.d/10-sealane.conflist
  sealane cni config --name backend --network backend --tenant acme
  sealane cni config --label tier=front --state-dir /srv/sealane")]
    Config {
        /// The network's name for the runtime
        #[arg(long, default_value = "sealane")]
        name: String,

        /// The virtual network [default: the namespace's]
        #[arg(long, value_name = "NAME")]
        network: Option<String>,

        /// A label that every container gets, such as tier=front; may be repeated
        #[arg(short, long = "label", value_name = "KEY=VALUE")]
        labels: Vec<Label>,

        /// The agent's state_dir, where word is left for one that is away [default: /var/lib/sealane]
        #[arg(long, value_name = "FOLDER")]
        state_dir: Option<PathBuf>,
    },
}

impl Cni {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let CniCommand::Config { name, network, labels, state_dir } = &self.command;
        let socket = settings.agent.display().to_string();
        let text = cni::conflist(&cni::Conflist {
            name: name.clone(),
            tenant: settings.tenant.clone(),
            namespace: settings.namespace.clone(),
            network: network.clone(),
            agent_socket: (socket != cni::AGENT_SOCKET).then_some(socket),
            labels: labels_of(labels)?,
            state_dir: state_dir.as_ref().map(|folder| folder.display().to_string()),
        });
        Ok(output::screen().write_all(text.as_bytes())?)
    }
}
