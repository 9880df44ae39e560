//! `sealane down`: end what `up` has started.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::daemon::{Daemon, LOGS};
use super::purge;
use super::up::daemons;
use crate::capability;
use crate::failure::Failure;
use crate::output;
use crate::settings::Settings;

/// End the server and the agent of this host
///
/// Containers keep their places and their policy: the kernel goes on with what it has been given. With --purge nothing stays:
/// containers of `sealane run` end, and every link, map, pin and file goes, the store with all objects too.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane down                               containers run on
  sealane down --agent-only                  the server goes on
  sealane down --agent-only --purge          a host that leaves the fabric
  sealane down --purge                       as if it had never been here; the settings in /etc stay")]
pub(crate) struct Down {
    /// End the agent alone
    #[arg(long, conflicts_with = "server_only")]
    agent_only: bool,

    /// End the server alone
    #[arg(long)]
    server_only: bool,

    /// Take everything off this host: the agent's, and with it the server's unless --agent-only
    #[arg(long, conflicts_with = "server_only")]
    purge: bool,

    /// With --purge: where server.toml and agent.toml are
    #[arg(long, default_value = "/etc/sealane", value_name = "FOLDER")]
    config_dir: PathBuf,
}

impl Down {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        capability::require("down", &[capability::SIGNALS])?;
        if self.purge {
            capability::require(
                "down --purge",
                &[capability::NAMESPACES, capability::LINKS, capability::PROGRAMS],
            )?;
            purge::containers(settings)?;
        }
        let mut out = output::screen();
        // The agent first: it takes leave of the server.
        let all = daemons(settings, Path::new(LOGS), self.server_only, self.agent_only)?;
        for daemon in all.iter().rev() {
            let word = if daemon.stop()? { "is down" } else { not_running(daemon) };
            writeln!(out, "{} {word}", daemon.role)?;
        }
        drop(out);
        if self.purge { self.purge(&all) } else { Ok(()) }
    }

    fn purge(&self, daemons: &[Daemon]) -> Result<(), Failure> {
        purge::of_agent(&self.config_dir.join("agent.toml"))?;
        if !self.agent_only {
            purge::of_server(&self.config_dir.join("server.toml"))?;
        }
        purge::logs_and_folders(daemons)
    }
}

fn not_running(daemon: &Daemon) -> &'static str {
    if daemon.answers() {
        "runs, but `sealane up` has not started it: end it where it was started"
    } else {
        "does not run"
    }
}
