//! `sealane server`, `sealane agent`: a daemon in the foreground, as a service manager wants it.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::capability;
use crate::failure::Failure;
use crate::output;

/// Run the server in the foreground
///
/// It keeps the objects, compiles them and tells the nodes. It ends on SIGTERM and SIGINT; nodes go on with what they hold.
/// Sockets can be handed over (LISTEN_FDS).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane server                             with /etc/sealane/server.toml if it is there
  sealane server --config server.toml
  sealane server --example > /etc/sealane/server.toml   every setting with its default")]
pub(crate) struct Server {
    /// The settings [default: /etc/sealane/server.toml if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print a file with every setting, its default and what it means
    #[arg(long, conflicts_with = "config")]
    example: bool,
}

impl Server {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.example {
            return Ok(output::screen().write_all(fleet::Config::example().as_bytes())?);
        }
        let config = server_settings(self.config.clone())?;
        log(&config.log, false)?;
        run("server", |shutdown| async { fleet::run(config, shutdown).await.map_err(Failure::Serve) })
    }
}

/// Run the agent of this host in the foreground
///
/// It attaches containers and keeps the kernel as the server says; without a server it goes on with what it holds. It ends on
/// SIGTERM and SIGINT; containers keep their places and their policy.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane agent                              with /etc/sealane/agent.toml if it is there
  sealane agent --config agent.toml
  SEALANE_TOKEN=… sealane agent              the first start at a server over TLS
  sealane agent --example > /etc/sealane/agent.toml   every setting with its default
  sealane agent --purge                      take everything of the agent off this host")]
pub(crate) struct Agent {
    /// The settings [default: /etc/sealane/agent.toml if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print a file with every setting, its default and what it means
    #[arg(long, conflicts_with_all = ["config", "purge"])]
    example: bool,

    /// What lets this host in at a server over TLS, until it has a certificate; others see it in `ps`, but not in the environment
    #[arg(long, env = "SEALANE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,

    /// Remove every link, map and file of the agent, its containers' links too; it must not run
    #[arg(long)]
    purge: bool,
}

impl Agent {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.example {
            return Ok(output::screen().write_all(agent::Config::example().as_bytes())?);
        }
        let file = settings_file(self.config.clone(), "agent");
        if self.purge {
            capability::require(
                "agent --purge",
                &[capability::NAMESPACES, capability::LINKS, capability::PROGRAMS],
            )?;
            return purge(file.as_deref());
        }
        let mut config = agent_settings(file.as_deref())?;
        if let Some(token) = &self.token {
            let wrong = |error: record::join::TokenError| {
                Failure::usage(error.to_string(), "see --token, and SEALANE_TOKEN")
            };
            config.token = Some(token.parse().map_err(wrong)?);
            config.token_file = None;
        }
        log(&config.log.filter, config.log.json)?;
        run("agent", |shutdown| async {
            agent::run(config, shutdown)
                .await
                .map_err(|source| Failure::Agent { operation: "run the agent", source })
        })
    }
}

/// Takes everything of the agent off this host, and tells what that was.
pub(super) fn purge(file: Option<&Path>) -> Result<(), Failure> {
    let config = agent_settings(file)?;
    let failed = |source| Failure::Agent { operation: "take the agent off this host", source };
    let removed = agent::purge(&config).map_err(failed)?;
    let mut out = output::screen();
    for one in &removed {
        writeln!(out, "removed {one}")?;
    }
    if removed.is_empty() {
        writeln!(out, "there was nothing to remove")?;
    }
    Ok(())
}

/// The server's settings, from the file that is named or the one in the usual place.
pub(super) fn server_settings(named: Option<PathBuf>) -> Result<fleet::Config, Failure> {
    match settings_file(named, "server") {
        Some(path) => fleet::Config::read(&path).map_err(Failure::ServerSettings),
        None => Ok(fleet::Config::default()),
    }
}

pub(super) fn agent_settings(file: Option<&Path>) -> Result<agent::Config, Failure> {
    match file {
        Some(path) => agent::Config::read(path).map_err(Failure::AgentSettings),
        None => Ok(agent::Config::default()),
    }
}

/// The file that is named, or the one in the usual place if it is there.
fn settings_file(named: Option<PathBuf>, role: &str) -> Option<PathBuf> {
    named.or_else(|| Some(PathBuf::from(format!("/etc/sealane/{role}.toml"))).filter(|path| path.exists()))
}

/// Logs to the error output, as far as `filter` says.
fn log(filter: &str, json: bool) -> Result<(), Failure> {
    let wrong = |source: tracing_subscriber::filter::ParseError| {
        Failure::usage(
            format!("the setting for the log, {filter:?}, is no filter: {source}"),
            "write it like info or info,fleet=debug",
        )
    };
    let filter = EnvFilter::try_new(filter).map_err(wrong)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(io::stderr().is_terminal()).init();
    }
    Ok(())
}

/// Runs a daemon until it ends, or is asked to end.
fn run<F>(
    role: &'static str,
    daemon: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let failed = |source| Failure::Runtime(role, source);
    let runtime = Runtime::new().map_err(failed)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        daemon(Box::pin(async move { either(&mut terminate, &mut interrupt).await })).await
    })
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
