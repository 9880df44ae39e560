//! The size budgets and names of the style. (Functions and parameters of Rust: `clippy.toml`.)

use std::path::Path;

use checks::{root, tracked};

/// A file stops here.
const FILE_LINES: usize = 800;

/// A function of C stops here.
const FUNCTION_LINES: usize = 80;

/// Exceptions, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "core", "helper", "misc"];

#[test]
fn no_source_outgrows_its_budget() {
    let mut faults = Vec::new();
    for path in sources() {
        let name = relative(&path);
        let lines = read(&path).lines().count();
        if lines > FILE_LINES && !LONG_FILES.iter().any(|(file, _)| *file == name) {
            faults.push(format!("{name}: {lines} lines, {FILE_LINES} at most"));
        }
    }
    for (file, _) in LONG_FILES {
        assert!(root().join(file).exists(), "{file} is excepted and does not exist");
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_function_of_the_datapath_outgrows_its_budget() {
    let mut faults = Vec::new();
    let c = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|extension| extension == "c" || extension == "h")
    };
    for path in sources().into_iter().filter(c) {
        let text = read(&path);
        let mut begun: Option<(usize, &str)> = None;
        let mut above = "";
        for (number, line) in text.lines().enumerate() {
            match line {
                "{" => begun = Some((number, above)),
                "}" => {
                    if let Some((first, signature)) = begun.take()
                        && number - first > FUNCTION_LINES
                    {
                        faults.push(format!("{}: {} lines: {signature}", relative(&path), number - first));
                    }
                }
                _ => {}
            }
            above = line;
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let empty = |path: &std::path::PathBuf| {
        path.components().any(|part| {
            let part =
                Path::new(part.as_os_str()).file_stem().unwrap_or_default().to_string_lossy().into_owned();
            EMPTY_NAMES.contains(&part.as_str())
        })
    };
    let faults: Vec<String> = tracked()
        .iter()
        .filter_map(|path| path.strip_prefix(root()).ok().map(Path::to_owned))
        .filter(empty)
        .map(|path| path.display().to_string())
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A module's own tests are exempt: their names are their claims.
#[test]
fn every_source_says_first_what_it_owns() {
    let rust = |path: &std::path::PathBuf| {
        let name = relative(path);
        name.ends_with(".rs")
            && !name.ends_with("/tests.rs")
            && !(name.contains("/src/") && name.contains("/tests/"))
    };
    let silent = |path: &std::path::PathBuf| {
        let text = read(path);
        !text.lines().find(|line| !line.starts_with("#!")).is_some_and(|line| line.starts_with("//!"))
    };
    let faults: Vec<String> =
        sources().into_iter().filter(rust).filter(silent).map(|path| relative(&path)).collect();
    assert!(faults.is_empty(), "no module doc at the top of\n{}", faults.join("\n"));
}

fn sources() -> Vec<std::path::PathBuf> {
    let source = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|extension| ["rs", "c", "h"].iter().any(|known| extension == *known))
    };
    tracked().into_iter().filter(source).collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}
