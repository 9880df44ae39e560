//! The rules of the tree, held by tests: who may import whom, which crates do no I/O, how long a file may be.
//!
//! Promises: the rules are read from where people read them (the table in `ARCHITECTURE.md`), not from a second copy.

pub mod module;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").to_owned()
}

/// The files that git tracks, or would, below the root.
pub fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is there");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listing = String::from_utf8(output.stdout).expect("paths here are UTF-8");
    listing.lines().map(|line| root().join(line)).filter(|path| path.is_file()).collect()
}

/// A package of the workspace, as far as the rules look.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder, from the root.
    pub folder: String,
    /// The workspace's own packages that it imports (not for tests alone).
    pub imports: BTreeSet<String>,
    /// Everything that it links, directly or not.
    pub closure: BTreeSet<String>,
}

/// The workspace as cargo sees it.
pub fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(root())
        .output()
        .expect("cargo is there");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints its own format");
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let edges: BTreeMap<&str, Vec<&str>> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node.normal().collect())).collect();
    let members: BTreeSet<&str> = metadata.workspace_members.iter().map(String::as_str).collect();
    let own = metadata.packages.iter().filter(|package| members.contains(package.id.as_str()));
    own.map(|package| {
        let direct = edges[package.id.as_str()].iter().copied();
        let imports = direct.filter(|id| members.contains(id)).map(|id| names[id].to_owned()).collect();
        let manifest = Path::new(&package.manifest_path).parent().expect("a manifest lies in a folder");
        let folder = manifest.strip_prefix(root()).expect("members lie in the repository");
        let closure = reachable(&package.id, &edges).into_iter().map(|id| names[id].to_owned()).collect();
        let folder = folder.to_string_lossy().into_owned();
        (package.name.clone(), Package { name: package.name.clone(), folder, imports, closure })
    })
    .collect()
}

/// A row of the table of rooms in `ARCHITECTURE.md`.
#[derive(Clone, Debug)]
pub struct Room {
    /// The crate's folder.
    pub folder: String,
    /// What it may import; `None`: all.
    pub imports: Option<BTreeSet<String>>,
}

/// The table of rooms, by package.
pub fn rooms() -> BTreeMap<String, Room> {
    let page =
        std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is at the root");
    let rows = page.lines().skip_while(|line| !line.starts_with("| folder |")).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [folder, package, _, imports] = cells[..] else {
                panic!("a row of the rooms has four cells: {line}")
            };
            let folder = folder.trim_matches('`').to_owned();
            let imports = match imports {
                "all" => None,
                "–" => Some(BTreeSet::new()),
                list => Some(list.split(", ").map(str::to_owned).collect()),
            };
            let package = package.split(' ').next().unwrap_or(package);
            (package.to_owned(), Room { folder, imports })
        })
        .collect()
}

fn reachable<'a>(start: &'a str, edges: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut waiting = edges[start].clone();
    while let Some(id) = waiting.pop() {
        if seen.insert(id) {
            waiting.extend(&edges[id]);
        }
    }
    seen
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

impl Node {
    /// What is linked into the crate itself: neither its build script's nor its tests' dependencies.
    fn normal(&self) -> impl Iterator<Item = &str> {
        let linked = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        self.deps.iter().filter(linked).map(|dependency| dependency.pkg.as_str())
    }
}
