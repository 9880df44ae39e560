//! No two modules of a crate import one another, directly or round about.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use checks::module::{Imports, Tree, circles};
use checks::{packages, root};

/// Crates whose circles are known, each with its reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

#[test]
fn no_modules_of_a_crate_import_one_another_in_a_circle() {
    let mut faults = Vec::new();
    for package in packages().values() {
        let sources = root().join(&package.folder).join("src");
        let roots = ["lib.rs", "main.rs"].map(|name| sources.join(name));
        let of_root = |root: &PathBuf| circles(&relative(&Tree::read(root).imports(), &sources));
        let found: Vec<_> = roots.iter().filter(|root| root.exists()).flat_map(of_root).collect();
        if EXCEPTIONS.iter().any(|(excepted, _)| *excepted == package.name) {
            if found.is_empty() {
                faults
                    .push(format!("{} has no circle any more: strike it from the exceptions", package.name));
            }
            continue;
        }
        faults.extend(found.iter().map(|circle| format!("{}/src:{}", package.folder, told(circle))));
    }
    assert!(faults.is_empty(), "no module may import itself round about:\n{}", faults.join("\n"));
}

#[test]
fn a_circle_is_found_through_names_that_are_handed_on() {
    let circle = circles_of(&[
        ("lib.rs", "mod sail; mod harbour; pub use harbour::Pier;"),
        ("sail.rs", "use crate::Pier; pub struct Sail(Pier);"),
        ("harbour/mod.rs", "mod pier; pub use pier::Pier;"),
        ("harbour/pier.rs", "pub struct Pier; fn f() { println!(\"{}\", crate::sail::COUNT); }"),
    ]);
    assert_eq!(circle, ["\n    harbour/pier.rs imports crate::sail::COUNT\n    sail.rs imports crate::Pier"]);
}

#[test]
fn a_way_back_over_three_modules_is_a_circle_and_one_that_ends_is_none() {
    let files = |last: &'static str| {
        let all = "mod a; mod b; mod c;";
        [
            ("lib.rs", all),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "pub struct B(crate::c::C);"),
            ("c.rs", last),
        ]
    };
    assert_eq!(circles_of(&files("pub struct C;")), Vec::<String>::new());
    let found = circles_of(&files("use super::a; pub struct C(a::A);"));
    assert!(matches!(&found[..], [one] if one.lines().count() == 4), "{found:?}");
}

#[test]
fn a_module_and_its_children_are_one_whole_and_tests_do_not_count() {
    let found = circles_of(&[
        ("lib.rs", "mod ship; mod crew;"),
        (
            "ship.rs",
            "mod mast; use mast::Mast; pub struct Ship(Mast); #[cfg(test)] mod tests { use crate::crew::Crew; }",
        ),
        ("ship/mast.rs", "use super::Ship; pub struct Mast; impl Mast { fn of(_: &Ship) {} }"),
        ("crew.rs", "use crate::ship::Ship; pub struct Crew(Ship);"),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

/// The circles of a crate of these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let imports = Tree::read(&folder.path().join("lib.rs")).imports();
    circles(&relative(&imports, folder.path())).iter().map(|circle| told(circle)).collect()
}

/// The same with the files as seen from the folder.
fn relative(imports: &Imports, folder: &Path) -> Imports {
    let short = |file: &PathBuf| file.strip_prefix(folder).unwrap().to_owned();
    let row = |(file, all): (&PathBuf, &std::collections::BTreeMap<PathBuf, String>)| {
        (short(file), all.iter().map(|(file, words)| (short(file), words.clone())).collect())
    };
    imports.iter().map(row).collect()
}

fn told(circle: &[(PathBuf, String)]) -> String {
    circle.iter().map(|(file, words)| format!("\n    {} imports {words}", file.display())).collect()
}
