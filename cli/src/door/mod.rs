//! Endpoints on this host: run, attach, detach, through the agent's socket.

pub(crate) mod attach;
pub(crate) mod run;
pub(crate) mod workload;

use std::path::Path;

use lab::door::Agent;
use record::door::{Reply, Request};

use crate::failure::Failure;
use crate::settings::Settings;

/// The agent of this host.
pub(crate) fn agent(settings: &Settings) -> Agent {
    Agent::at(&settings.agent, Path::new(STATE))
}

/// What the agent answers; a refusal keeps its remedy.
pub(crate) fn ask(
    settings: &Settings,
    operation: &'static str,
    object: &str,
    request: &Request,
) -> Result<Reply, Failure> {
    match agent(settings).ask(request)? {
        Reply::Refused(refusal) => Err(Failure::Door { operation, object: object.to_owned(), refusal }),
        reply => Ok(reply),
    }
}

/// Where an agent keeps its state unless its config says otherwise: word is left there when it is away.
const STATE: &str = "/var/lib/sealane";
