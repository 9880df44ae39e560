//! Everything on the machine that a lab, an agent or a container could leave behind, so that a test can hold that it is
//! the same before and after.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cgroup::Cgroup;
use crate::error::{Context, Result};
use crate::link::Links;
use crate::mount::Mount;

/// What was found at one moment, from the caller's namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    items: BTreeSet<Item>,
}

/// One thing on the machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its name, path or text.
    pub name: String,
}

/// What an [`Item`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A link of the caller's network namespace.
    Link,
    /// An address of one of those links.
    Address,
    /// A route.
    Route,
    /// A rule that chooses a routing table.
    Rule,
    /// A line of the nftables rule set; counters are left out.
    Firewall,
    /// A named network namespace.
    Namespace,
    /// A mount.
    Mount,
    /// A pinned BPF object.
    Pin,
    /// A control group of the unified hierarchy.
    Cgroup,
    /// A file or folder of a lab.
    File,
}

/// What differs between two inventories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Only in the later one.
    pub added: Vec<Item>,
    /// Only in the earlier one.
    pub removed: Vec<Item>,
}

impl Inventory {
    /// Takes it now.
    pub fn take() -> Result<Self> {
        let mut items = BTreeSet::new();
        let mut add =
            |kind, names: Vec<String>| items.extend(names.into_iter().map(|name| Item { kind, name }));
        let links = Links::open()?;
        add(Kind::Link, links.names()?);
        add(Kind::Address, links.addresses()?);
        add(Kind::Route, links.routes()?);
        add(Kind::Rule, links.rules()?);
        add(Kind::Firewall, firewall());
        add(Kind::Namespace, names(Path::new(crate::underlay::NETNS)));
        let mounts = Mount::list()?;
        for mount in mounts.iter().filter(|mount| mount.kind == "bpf") {
            add(Kind::Pin, files(&mount.point)?);
        }
        add(
            Kind::Mount,
            mounts.into_iter().map(|mount| format!("{} ({})", mount.point.display(), mount.kind)).collect(),
        );
        let root = Cgroup::root()?;
        add(Kind::Cgroup, groups(&root));
        add(Kind::File, crate::state::labs());
        Ok(Self { items })
    }

    /// Everything found, by kind and name.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// What has come and gone from here to `later`.
    pub fn diff(&self, later: &Self) -> Difference {
        Difference {
            added: later.items.difference(&self.items).cloned().collect(),
            removed: self.items.difference(&later.items).cloned().collect(),
        }
    }

    /// What names something of this lab: empty once it is down, whatever else goes on on the machine.
    pub fn of_lab(&self, lab: &str) -> Vec<Item> {
        let (namespace, folder) = (crate::underlay::namespace_prefix(lab), format!("sealane-lab/{lab}"));
        let ours = |item: &&Item| {
            let inside = item
                .name
                .split_once(&folder)
                .is_some_and(|(_, rest)| !rest.starts_with(char::is_alphanumeric));
            inside || item.name.contains(&namespace) || (item.kind == Kind::File && item.name == lab)
        };
        self.items.iter().filter(ours).cloned().collect()
    }
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// The part of it that matters, on a machine where others are at work.
    pub fn only(mut self, matters: impl Fn(&Item) -> bool) -> Self {
        self.added.retain(&matters);
        self.removed.retain(&matters);
        self
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.added.iter().try_for_each(|item| writeln!(f, "+ {item}"))?;
        self.removed.iter().try_for_each(|item| writeln!(f, "- {item}"))
    }
}

/// Without the `nft` program there is no rule set that a test could have made by it.
fn firewall() -> Vec<String> {
    let Ok(output) = Command::new("nft").args(["--stateless", "list", "ruleset"]).output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut table = String::new();
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "}") {
        if line.starts_with("table ") {
            table = line.trim_end_matches(" {").to_owned();
        }
        lines.push(format!("{table}: {line}"));
    }
    lines
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The paths of everything below a folder. What goes while it is walked is left out.
fn files(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context("list", folder.display())?,
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        found.push(path.display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&path)?);
        }
    }
    Ok(found)
}

fn groups(group: &Cgroup) -> Vec<String> {
    let children = group.children();
    let mut found: Vec<String> = children.iter().map(|child| child.path().display().to_string()).collect();
    found.extend(children.iter().flat_map(groups));
    found
}
