//! `sealane down`: end what `up` has started.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::daemon::{Daemon, LOGS};
use super::serve::purge;
use super::up::daemons;
use crate::failure::Failure;
use crate::output;
use crate::settings::Settings;

/// End the server and the agent of this host
///
/// Containers keep their places and their policy: the kernel goes on with what it has been given. With --purge the agent is
/// taken off this host, its containers' links too; the server's store stays.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane down                               containers run on
  sealane down --agent-only                  the server goes on
  sealane down --purge                       and remove every link, map and file of the agent")]
pub(crate) struct Down {
    /// End the agent alone
    #[arg(long, conflicts_with = "server_only")]
    agent_only: bool,

    /// End the server alone
    #[arg(long)]
    server_only: bool,

    /// Take everything of the agent off this host
    #[arg(long, conflicts_with = "server_only")]
    purge: bool,

    /// With --purge: where agent.toml is
    #[arg(long, default_value = "/etc/sealane", value_name = "FOLDER")]
    config_dir: PathBuf,
}

impl Down {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let mut out = output::screen();
        // The agent first: it takes leave of the server.
        let all = daemons(settings, Path::new(LOGS), self.server_only, self.agent_only)?;
        for daemon in all.iter().rev() {
            let word = if daemon.stop()? { "is down" } else { not_running(daemon) };
            writeln!(out, "{} {word}", daemon.role)?;
        }
        drop(out);
        if self.purge {
            let file = self.config_dir.join("agent.toml");
            purge(Some(file.as_path()).filter(|file| file.exists()))?;
        }
        Ok(())
    }
}

fn not_running(daemon: &Daemon) -> &'static str {
    if daemon.answers() {
        "runs, but `sealane up` has not started it: end it where it was started"
    } else {
        "does not run"
    }
}
