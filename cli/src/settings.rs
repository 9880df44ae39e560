//! The settings that every subcommand shares.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::client::{Address, Client, ClientError, Place};

/// Where to ask, about whom, and how to show the answer.
#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    /// The server: unix:PATH or http://HOST:PORT
    #[arg(long, global = true, env = "SEALANE_SERVER", default_value = DEFAULT_SERVER, value_name = "ADDRESS", help_heading = HEADING)]
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

const DEFAULT_SERVER: &str = "unix:/run/sealane/server.sock";
const DEFAULT_AGENT: &str = "/run/sealane/agent.sock";
/// Under which help lists them.
pub(crate) const HEADING: &str = "Where and how";
