//! `sealane version`: which release this is, and which the server is.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output;
use crate::settings::{Format, Settings};

/// Tell which release this is, and which the server is
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane version
  sealane version --client -o json")]
pub(crate) struct Version {
    /// Do not ask the server
    #[arg(long)]
    client: bool,
}

impl Version {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let own = env!("CARGO_PKG_VERSION");
        let server = if self.client { Value::Null } else { server(settings) };
        let mut out = output::screen();
        match settings.output {
            Format::Json | Format::Yaml => {
                let both = json!({"client": {"version": own}, "server": server});
                output::document(&mut out, settings.output, &both)
            }
            Format::Table | Format::Wide | Format::Name => {
                writeln!(out, "client {own}")?;
                if !self.client {
                    let told = server["gitVersion"]
                        .as_str()
                        .or(server["version"].as_str())
                        .or(server["error"].as_str());
                    writeln!(out, "server {}", told.unwrap_or("of an unknown release"))?;
                }
                Ok(())
            }
        }
    }
}

/// What the server says of itself. That it cannot be asked is an answer too.
fn server(settings: &Settings) -> Value {
    let asked = settings.client().and_then(|client| client.read("/version"));
    asked.unwrap_or_else(|error| json!({"error": format!("not reached: {error}")}))
}
