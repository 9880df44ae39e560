//! Bad input and bad moments: whatever is wrong is told with a remedy, what was in force stays, nothing dies and nothing is left.
//!
//! Needs root. Each proof has a lab of its own and leaves nothing of it.
#![allow(clippy::unwrap_used)]

mod attachments;
mod documents;
#[path = "../fabric/mod.rs"]
mod fabric;
mod moments;
mod sockets;

use fabric::Fabric;
use serde_json::Value;

/// What must be the same before and after input that is refused.
#[derive(Debug, PartialEq)]
struct InForce {
    /// Objects of every kind, with their revisions.
    objects: Vec<Value>,
    /// The daemons of the hosts: none has died and been started again.
    daemons: Vec<Option<u32>>,
    /// Attachments of the hosts, by uid.
    attachments: Vec<String>,
    /// Links of the hosts.
    links: Vec<Vec<String>>,
}

impl InForce {
    fn of(fabric: &Fabric) -> Self {
        let kinds = ["namespaces", "virtualnetworks", "networkpolicies", "endpoints"];
        let objects = kinds.iter().flat_map(|kind| fabric.objects("default", kind)).collect();
        let hosts = || std::iter::once(fabric.server()).chain(fabric.nodes());
        let daemons = hosts().map(|host| host.daemon().filter(|daemon| daemon.alive()).map(|one| one.pid));
        let attachments = fabric.nodes().flat_map(|host| fabric.attachments(host)).map(|one| one.uid);
        let links = fabric.nodes().map(|host| {
            let listed = host.namespace().unwrap().enter(|| lab::link::Links::open()?.names());
            listed.unwrap().unwrap()
        });
        Self {
            objects,
            daemons: daemons.collect(),
            attachments: attachments.collect(),
            links: links.collect(),
        }
    }

    /// Fails unless all is as it was. What is being given back may take a moment.
    #[track_caller]
    fn stays(&self, fabric: &Fabric) {
        let same = || {
            let now = Self::of(fabric);
            if now == *self { Ok(()) } else { Err(format!("was: {self:#?}\nis: {now:#?}")) }
        };
        let outcome = lab::wait_until(fabric::PATIENCE, "what was in force is in force", same);
        outcome.unwrap_or_else(|late| fabric.fail(&late));
    }
}

/// Runs `sealane` in the tenant `default`, which must fail, and gives what it told.
#[track_caller]
fn fails(fabric: &Fabric, words: &[&str], input: &str) -> String {
    let output = fabric.sealane("default", words, input);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "sealane {words:?} succeeded: {told}\n{input}");
    assert!(output.status.code().is_some(), "sealane {words:?} was ended by a signal: {told}");
    told
}

/// A network's document.
fn network(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: sealane.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}
