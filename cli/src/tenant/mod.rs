//! Tenants as wholes: create, delete, clone.
//!
//! A tenant is a logical cluster: what it holds is [`crate::object::content`]'s to say, so what `clone` copies is what
//! `diff --tenant A --tenant B` compares.

mod clone;
mod create;
mod delete;
mod plan;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::settings::Settings;

/// Create, delete and clone tenants
///
/// A tenant is a logical cluster with namespaces, networks, policies and roles of its own. `sealane get tenants` lists them, and
/// `sealane diff --tenant A --tenant B` tells where two are not the same.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane tenant create acme --subnet 10.40.0.0/16
  sealane tenant clone production staging    the same networks, addresses, policies and roles
  sealane tenant delete staging              with all that is in it")]
pub(crate) struct Tenant {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Create),
    Delete(delete::Delete),
    Clone(clone::Clone),
}

impl Tenant {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        match &self.command {
            Command::Create(create) => create.run(settings),
            Command::Delete(delete) => delete.run(settings),
            Command::Clone(clone) => clone.run(settings),
        }
    }
}
