//! Python's `kubernetes` package: what `client/package.py` claims, carried out by the package that the distribution has.
#![allow(clippy::unwrap_used)]

mod harness;

use std::time::Duration;

use harness::Server;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_package_lists_watches_patches_and_deletes() {
    let server = Server::start().await;
    let kubeconfig = |name: &str, path: &str| {
        let file = server.folder.path().join(name);
        std::fs::write(&file, server.kubeconfig(path)).unwrap();
        file
    };
    let python = std::env::var_os("SEALANE_TEST_PYTHON").unwrap_or_else(|| "/usr/bin/python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client/package.py");
    let mut command = Command::new(python);
    command.args(["-B", script]).args([kubeconfig("default", ""), kubeconfig("acme", "/clusters/acme")]);
    let said = tokio::time::timeout(Duration::from_secs(120), command.kill_on_drop(true).output());
    let said = said.await.expect("the script ends within two minutes").unwrap();
    let told = [said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(said.status.success(), "{told}\n(`scripts/install test` brings the package)");
    assert!(told.contains("every claim holds"), "{told}");
    server.stop().await;
}
