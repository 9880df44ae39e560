//! `sealane up`: server and agent of this host, in the background.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::bpffs;
use super::daemon::{Daemon, LOGS};
use super::serve::agent_settings;
use crate::capability;
use crate::client::Address;
use crate::failure::Failure;
use crate::output;
use crate::settings::Settings;

/// Start the server and the agent of this host
///
/// What runs already is left alone. Each is up when it answers at its socket (--server, --agent). Where a service manager runs them, start
/// `sealane server` and `sealane agent` from it instead.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane up                                 both, with /etc/sealane/{server,agent}.toml if they are there
  sealane up --agent-only                    a host whose agent.toml names a server elsewhere
  sealane up --config-dir ./etc              configs of one's own")]
pub(crate) struct Up {
    /// Start the agent alone
    #[arg(long, conflicts_with = "server_only")]
    agent_only: bool,

    /// Start the server alone
    #[arg(long)]
    server_only: bool,

    /// Where server.toml and agent.toml are
    #[arg(long, default_value = "/etc/sealane", value_name = "FOLDER")]
    config_dir: PathBuf,

    /// Where their logs go
    #[arg(long, default_value = LOGS, value_name = "FOLDER")]
    log_dir: PathBuf,
}

impl Up {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        if !self.server_only {
            capability::require("up", &[capability::NAMESPACES, capability::LINKS, capability::PROGRAMS])?;
        }
        let mut out = output::screen();
        for daemon in daemons(settings, &self.log_dir, self.server_only, self.agent_only)? {
            if daemon.answers() {
                writeln!(out, "{} runs already; it answers at {}", daemon.role, daemon.socket.display())?;
                continue;
            }
            let config = self.config_dir.join(format!("{}.toml", daemon.role));
            if daemon.role == "agent" {
                bpffs::mount(
                    &agent_settings(Some(&config).filter(|file| file.exists()).map(PathBuf::as_path))?
                        .pin_dir,
                )?;
            }
            let process = daemon.start(config.exists().then_some(config.as_path()))?;
            writeln!(
                out,
                "{} is up as process {}; it answers at {}",
                daemon.role,
                process.pid,
                daemon.socket.display()
            )?;
        }
        Ok(())
    }
}

/// The daemons that are meant, in the order in which they start.
pub(super) fn daemons(
    settings: &Settings,
    logs: &Path,
    server_only: bool,
    agent_only: bool,
) -> Result<Vec<Daemon>, Failure> {
    let mut all = Vec::new();
    if !agent_only {
        all.push(Daemon::new("server", server_socket(settings)?, logs));
    }
    if !server_only {
        all.push(Daemon::new("agent", &settings.agent, logs));
    }
    Ok(all)
}

fn server_socket(settings: &Settings) -> Result<&Path, Failure> {
    match &settings.server {
        Address::Unix(path) => Ok(path),
        Address::Tcp { .. } | Address::Tls { .. } => Err(Failure::usage(
            format!("{} is no socket of this host", settings.server),
            "leave --server and SEALANE_SERVER out, or use --agent-only",
        )),
    }
}
