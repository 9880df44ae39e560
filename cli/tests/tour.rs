//! README's tour, run line by line as it is written there.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_tour_does_what_the_readme_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_sealane")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    // The build of this test stands in for `make build`. A lab and a folder of its own keep it away from whoever is on the tour.
    let lab = format!("tour{}", std::process::id());
    let folder = tempfile::tempdir().unwrap();
    // The folder comes first: what is put in after it may lie under /tmp itself.
    let script = commands(&readme)
        .replace("/tmp", &folder.path().display().to_string())
        .replace("$PWD/target/release", &program.display().to_string())
        .replace("sealane lab ", &format!("sealane lab --lab {lab} "))
        .replace("/sealane-lab/lab/", &format!("/sealane-lab/{lab}/"));
    let output =
        Command::new("bash").args(["-euo", "pipefail", "-c", &script]).current_dir(root).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let told = format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        let _ = Command::new(env!("CARGO_BIN_EXE_sealane")).args(["lab", "--lab", &lab, "down"]).output();
    }
    assert!(output.status.success(), "{told}");
    assert_eq!(said.matches("hello from the fabric").count(), 2, "{told}");
    for part in ["DENIED", "friends-only", "policy-denied", "denied\n"] {
        assert!(said.contains(part), "{part:?} was not said:\n{told}");
    }
}

/// The lines of the blocks between the tour's marks.
fn commands(readme: &str) -> String {
    let (_, tour) = readme.split_once("<!-- tour -->").unwrap();
    let (tour, _) = tour.split_once("<!-- end of tour -->").unwrap();
    let blocks = tour.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0);
    blocks.collect()
}
