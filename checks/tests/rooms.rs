//! The tree is the architecture.

use checks::{packages, rooms, root, tracked};

/// Crates without I/O, clock, environment or randomness.
const PURE: [&str; 4] = ["record", "intent", "compile", "rights"];

/// Packages that bring a runtime, sockets, clocks or randomness with them.
const IMPURE_PACKAGES: [&str; 10] =
    ["tokio", "mio", "socket2", "async-io", "rand", "getrandom", "fastrand", "chrono", "time", "libc"];

/// Words of the standard library that do the same.
const IMPURE_WORDS: [&str; 10] = [
    "std::fs",
    "std::io::stdin",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "SystemTime",
    "Instant::now",
    "std::env",
    "std::thread",
];

#[test]
fn every_crate_is_in_the_table_and_imports_only_what_it_says() {
    let rooms = rooms();
    let packages = packages();
    let mut faults = Vec::new();
    for package in packages.values() {
        let Some(room) = rooms.get(&package.name) else {
            faults.push(format!("{} has no row in ARCHITECTURE.md", package.name));
            continue;
        };
        if room.folder != package.folder {
            faults.push(format!("{} lies in {}, its row says {}", package.name, package.folder, room.folder));
        }
        if let Some(allowed) = &room.imports {
            for import in package.imports.difference(allowed) {
                faults.push(format!("{} imports {import}, which its row does not allow", package.name));
            }
        }
    }
    faults.extend(
        rooms
            .keys()
            .filter(|name| !packages.contains_key(*name))
            .map(|name| format!("{name} has a row and no crate")),
    );
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_pure_crates_link_nothing_that_does_io() {
    let packages = packages();
    let mut faults = Vec::new();
    for name in PURE {
        for impure in IMPURE_PACKAGES {
            if packages[name].closure.contains(impure) {
                faults.push(format!("{name} links {impure}"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_pure_crates_name_no_io_in_their_sources() {
    let packages = packages();
    let mut faults = Vec::new();
    for name in PURE {
        let sources = root().join(&packages[name].folder).join("src");
        let shipped = |path: &std::path::PathBuf| path.starts_with(&sources) && !path.ends_with("tests.rs");
        for path in tracked().into_iter().filter(shipped) {
            let text = std::fs::read_to_string(&path).expect("a source is UTF-8");
            for word in IMPURE_WORDS.iter().filter(|word| text.contains(**word)) {
                faults.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
