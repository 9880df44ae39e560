//! Real use on one host, as a person at its shell does it: the steps are in `one_host.sh`.
#![allow(clippy::unwrap_used)]

use lab::{Lab, Options};

#[test]
fn a_host_is_as_it_was_after_up_and_run_and_purge() {
    let lab = Lab::up(Options::bare(&format!("onehost{}", std::process::id()), 1)).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/one_host.sh");
    let mut command = lab.node(1).command("unshare").unwrap();
    let output = command.args(["--mount", "bash", script, env!("CARGO_BIN_EXE_sealane")]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("ALL WELL"), "{said}\n{complained}");
}
