//! The settings that every subcommand shares.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::client::{Address, Client, ClientError, Place};
use crate::failure::Failure;
use crate::kubeconfig;

/// Where to ask, about whom, and how to show the answer.
#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    /// The server: unix:PATH or https://HOST:PORT [default: the kubeconfig's, or else unix:/run/sealane/server.sock]
    #[arg(long = "server", global = true, env = "SEALANE_SERVER", value_name = "ADDRESS", help_heading = HEADING)]
    pub(crate) named: Option<Address>,

    /// The file that says where the server is, whom to believe and who asks [default: KUBECONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig [default: its current one]
    #[arg(long, global = true, value_name = "NAME", help_heading = HEADING)]
    pub(crate) context: Option<String>,

    /// The server that is meant after all.
    #[arg(skip = usual())]
    pub(crate) server: Address,

    /// The agent's socket on this host
    #[arg(long, global = true, env = "SEALANE_AGENT", default_value = DEFAULT_AGENT, value_name = "PATH", help_heading = HEADING)]
    pub(crate) agent: PathBuf,

    /// The tenant [default: default]
    #[arg(long, global = true, env = "SEALANE_TENANT", value_name = "NAME", help_heading = HEADING)]
    pub(crate) tenant: Option<String>,

    /// The namespace [default: default]
    #[arg(short, long, global = true, env = "SEALANE_NAMESPACE", value_name = "NAME", help_heading = HEADING)]
    pub(crate) namespace: Option<String>,

    /// How the answer is shown
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT", help_heading = HEADING)]
    pub(crate) output: Format,
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Kind and name alone.
    Name,
}

impl Settings {
    /// With the server, and the tenant and namespace that a kubeconfig says, where a command `asks` a server.
    pub(crate) fn resolved(&self, asks: bool) -> Result<Self, Failure> {
        let mut settings = self.clone();
        settings.server = self.named.clone().unwrap_or_else(usual);
        let plain = matches!(self.named, Some(Address::Unix(_) | Address::Tcp { .. }));
        let given = self.kubeconfig.is_some() || self.context.is_some();
        if plain && given {
            let server = &settings.server;
            return Err(Failure::usage(
                format!("--server or SEALANE_SERVER says {server}, where a kubeconfig says nothing"),
                "leave out the one or the other",
            ));
        }
        if asks
            && !plain
            && let Some(path) = self.file()?
        {
            let found = kubeconfig::read(&path, self.context.as_deref())?;
            settings.server = match (&self.named, found.server) {
                (Some(Address::Tls { host, port, .. }), Address::Tls { account, .. }) => {
                    Address::Tls { host: host.clone(), port: *port, account }
                }
                (_, server) => server,
            };
            settings.tenant = self.tenant.clone().or(found.tenant);
            settings.namespace = self.namespace.clone().or(found.namespace);
        }
        Ok(settings)
    }

    /// The kubeconfig that is meant, if one is.
    fn file(&self) -> Result<Option<PathBuf>, Failure> {
        if let Some(path) = &self.kubeconfig {
            return Ok(Some(path.clone()));
        }
        let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
        let mut paths = std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty());
        match (paths.next(), paths.next()) {
            (Some(_), Some(_)) => Err(Failure::usage(
                format!("KUBECONFIG names several files: {}", named.display()),
                "name the one that is meant with --kubeconfig",
            )),
            (None, _) if self.context.is_some() => Err(Failure::usage(
                "--context is of a kubeconfig, and there is none",
                "name it with --kubeconfig or KUBECONFIG",
            )),
            (path, _) => Ok(path),
        }
    }

    /// The server.
    pub(crate) fn client(&self) -> Result<Client, ClientError> {
        Client::new(&self.server)
    }

    /// The namespace that commands about one namespace mean.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(intent::object::DEFAULT)
    }

    /// Objects of the tenant in this namespace.
    pub(crate) fn place<'a>(&'a self, namespace: Option<&'a str>) -> Place<'a> {
        Place { tenant: self.tenant.as_deref(), namespace }
    }
}

/// The socket of this host's server.
fn usual() -> Address {
    Address::Unix(DEFAULT_SERVER.into())
}

const DEFAULT_SERVER: &str = "/run/sealane/server.sock";
const DEFAULT_AGENT: &str = "/run/sealane/agent.sock";
/// Under which help lists them.
pub(crate) const HEADING: &str = "Where and how";
