//! What a container is to be: the endpoint it stands for and the program it runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use record::door::{Attach, Door, Publish};
use record::{Labels, NamedPort};

use super::INTERFACE;
use crate::error::{Error, Result};
use crate::spawn::Bind;

/// What to run, and as which endpoint.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// The tenant; `None`: `default`.
    pub tenant: Option<String>,
    /// The namespace; `None`: `default`.
    pub namespace: Option<String>,
    /// The endpoint's name, and the container's host name.
    pub name: String,
    /// The virtual network; `None`: the namespace's.
    pub network: Option<String>,
    /// The endpoint's labels.
    pub labels: Labels,
    /// Its named ports.
    pub ports: Vec<NamedPort>,
    /// Addresses it must have; empty: any of the network's.
    pub addresses: Vec<IpAddr>,
    /// Ports of the host that lead to it.
    pub publish: Vec<Publish>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables beside the caller's own.
    pub environment: BTreeMap<String, String>,
    /// Files of the host that it sees elsewhere.
    pub binds: Vec<Bind>,
    /// Where its output goes.
    pub output: Sink,
}

/// Where a container's output goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sink {
    /// The caller's terminal or pipes, input too.
    Inherit,
    /// The end of the container's log, [`Record::log`]; no input.
    #[default]
    Log,
}

impl Spec {
    /// An endpoint of the default tenant and namespace that sleeps until it is stopped.
    pub fn idle(name: &str) -> Self {
        let command = ["sleep", "infinity"].map(str::to_owned).to_vec();
        Self { name: name.to_owned(), command, ..Self::default() }
    }

    /// See [`identity`].
    pub fn id(&self) -> Result<String> {
        identity(self.tenant.as_deref(), self.namespace.as_deref(), &self.name)
    }

    /// What to ask the agent for.
    pub(super) fn attach(&self, id: &str, netns: &Path) -> Attach {
        Attach {
            door: Door::Run,
            tenant: self.tenant.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            network: self.network.clone(),
            labels: self.labels.clone(),
            ports: self.ports.clone(),
            netns: netns.to_owned(),
            interface: INTERFACE.to_owned(),
            container: id.to_owned(),
            pod: None,
            addresses: self.addresses.clone(),
            mac: None,
            publish: self.publish.clone(),
        }
    }
}

/// A container's identity on its host: tenant, namespace and name (`None`: `default`), joined by a sign that none of them
/// can hold.
pub fn identity(tenant: Option<&str>, namespace: Option<&str>, name: &str) -> Result<String> {
    let part = |kind, part: &str| {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let inner = part.bytes().all(|byte| letter(byte) || b"-.".contains(&byte));
        let ends = |byte: Option<&u8>| byte.is_some_and(|byte| letter(*byte));
        let sound =
            inner && part.len() <= 63 && ends(part.as_bytes().first()) && ends(part.as_bytes().last());
        let rule = "at most 63 of a-z, 0-9, '-' and '.', a letter or digit at both ends";
        if sound { Ok(part.to_owned()) } else { Err(Error::Name { kind, name: part.to_owned(), rule }) }
    };
    let tenant = part("tenant", tenant.unwrap_or("default"))?;
    let namespace = part("namespace", namespace.unwrap_or("default"))?;
    Ok(format!("{tenant}_{namespace}_{}", part("container", name)?))
}
