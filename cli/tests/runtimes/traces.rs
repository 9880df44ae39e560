//! What runtimes leave on a machine beside what a lab removes with itself.

use std::path::PathBuf;

use lab::cgroup::Cgroup;
use lab::link::Links;
use lab::mount::Mount;
use lab::{Host, wait_until};
use record::door::TOMBSTONES;

use crate::fabric::{Fabric, PATIENCE, own};

/// A fabric on whose hosts a runtime's containers come and go. Its parts go in their order: no process is left in the groups then.
pub(crate) struct Ground {
    pub(crate) fabric: Fabric,
    before: Emptiness,
    groups: Groups,
}

impl Ground {
    /// With so many hosts.
    pub(crate) fn up(proof: &str, nodes: u16) -> Self {
        let groups = Groups::of(proof);
        let fabric = Fabric::up(proof, nodes);
        Self { before: Emptiness::of(&fabric), fabric, groups }
    }

    /// Waits until nothing of the containers is left.
    #[track_caller]
    pub(crate) fn await_empty(&self) {
        self.before.await_same(&self.fabric);
    }

    /// Ends it; nothing is left.
    #[track_caller]
    pub(crate) fn down(self) {
        let Self { fabric, groups, .. } = self;
        fabric.down();
        drop(groups);
    }
}

/// The control groups that runtimes made for a lab's containers. Those of the unified hierarchy go with the lab; on hosts that
/// keep the old controllers beside it, runc makes the same path in each of theirs. Removed with this value, which must
/// outlive the lab: then no process is left in them.
pub(crate) struct Groups {
    lab: String,
}

impl Groups {
    /// Of this proof's lab. What runs that were killed have left is removed.
    pub(crate) fn of(proof: &str) -> Self {
        for folder in Self::folders() {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let labs = lab::Lab::all();
            let is_left = |path: &PathBuf| {
                path.is_dir()
                    && !labs.iter().any(|lab| path.file_name().is_some_and(|name| name == lab.as_str()))
            };
            for left in entries.map(|entry| entry.path()).filter(is_left) {
                // Whoever else is at it may have been quicker.
                let _ = Cgroup::at(&left).remove();
            }
        }
        Self { lab: own(proof) }
    }

    /// The path of a host's container in every hierarchy.
    pub(crate) fn path(lab: &str, host: &str, runtime: &str) -> String {
        format!("/sealane-lab/{lab}/{host}/{runtime}")
    }

    fn all(&self) -> Vec<PathBuf> {
        Self::folders().map(|folder| folder.join(&self.lab)).filter(|path| path.exists()).collect()
    }

    /// The folder of all labs in each of the old hierarchies.
    fn folders() -> impl Iterator<Item = PathBuf> {
        let old = Mount::list().unwrap().into_iter().filter(|mount| mount.kind == "cgroup");
        old.map(|mount| mount.point.join("sealane-lab"))
    }

    fn remove(&self) {
        for path in self.all() {
            Cgroup::at(&path).remove().unwrap();
            // Another lab's groups may be beside it: then it stays.
            let _ = std::fs::remove_dir(path.parent().unwrap());
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // A panic here while another unwinds would end the other proofs too.
        if std::thread::panicking() {
            for path in self.all() {
                let _ = Cgroup::at(&path).remove();
            }
        } else {
            self.remove();
            assert_eq!(self.all(), [] as [PathBuf; 0], "control groups of lab {} are left", self.lab);
        }
    }
}

/// Hosts without containers: which links they have, to be compared with when the containers are gone.
pub(crate) struct Emptiness {
    links: Vec<Vec<String>>,
}

impl Emptiness {
    /// As the hosts are now.
    pub(crate) fn of(fabric: &Fabric) -> Self {
        Self { links: fabric.nodes().map(links).collect() }
    }

    /// Waits until it is so again: no attachment, no link, no endpoint, and no word left for the agents.
    #[track_caller]
    pub(crate) fn await_same(&self, fabric: &Fabric) {
        let look = || {
            for (host, before) in fabric.nodes().zip(&self.links) {
                let attachments = fabric.attachments(host);
                if !attachments.is_empty() {
                    return Err(format!("{} has {attachments:?}", host.name()));
                }
                let now = links(host);
                if now != *before {
                    return Err(format!("{} has the links {now:?}, and had {before:?}", host.name()));
                }
                let words = words(host);
                if !words.is_empty() {
                    return Err(format!("{} has not read {words:?}", host.name()));
                }
            }
            let endpoints = fabric.objects("system", "tenants").into_iter().flat_map(|tenant| {
                fabric.objects(tenant["metadata"]["name"].as_str().unwrap_or_default(), "endpoints")
            });
            let endpoints: Vec<String> = endpoints.map(|one| one["metadata"]["name"].to_string()).collect();
            if endpoints.is_empty() { Ok(()) } else { Err(format!("endpoints {endpoints:?}")) }
        };
        let outcome = wait_until(PATIENCE, "nothing of the containers is left", look);
        outcome.unwrap_or_else(|late| fabric.fail(&late));
    }
}

fn links(host: Host<'_>) -> Vec<String> {
    host.namespace().unwrap().enter(|| Links::open().unwrap().names().unwrap()).unwrap()
}

/// Files that doors left for the host's agent.
pub(crate) fn words(host: Host<'_>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(host.folder().join(TOMBSTONES)).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
