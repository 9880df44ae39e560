//! Light containers: a namespace and its attachment, without a process.

use std::path::{Path, PathBuf};

use lab::Host;
use lab::namespace::Namespace;
use record::Labels;
use record::door::{Attach, Attached, Detach, Door};

/// The namespace's file. It is named as the lab's own are, so that it goes with the lab.
pub(crate) fn path(lab: &str, name: &str) -> PathBuf {
    Path::new("/run/netns").join(format!("sl-{lab}-{name}"))
}

/// Attaches a namespace as the endpoint `name`.
pub(crate) fn attach(
    host: Host<'_>,
    netns: &Namespace,
    namespace: &str,
    name: &str,
    labels: Labels,
) -> lab::Result<Attached> {
    let request = Attach {
        door: Door::Attach,
        tenant: None,
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
        network: None,
        labels,
        ports: Vec::new(),
        netns: netns.path().to_owned(),
        interface: "eth0".to_owned(),
        container: name.to_owned(),
        pod: None,
        addresses: Vec::new(),
        mac: None,
        publish: Vec::new(),
    };
    host.runtime()?.agent.attach(&request)
}

/// Takes it away again. An agent that is away is left word.
pub(crate) fn detach(host: Host<'_>, name: &str) -> lab::Result<()> {
    let request = Detach { door: Door::Attach, container: name.to_owned(), interface: None };
    host.runtime()?.agent.detach(&request)
}
