//! The command line itself: help, wrong arguments, wrong files, no server.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn sealane(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealane"));
    for name in ["SEALANE_SERVER", "SEALANE_AGENT", "SEALANE_TENANT", "SEALANE_NAMESPACE"] {
        command.env_remove(name);
    }
    command.args(words).stdin(Stdio::null()).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn assert_fails(words: &[&str], code: i32, parts: &[&str]) {
    let output = sealane(words);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}\n{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "colours where there is no terminal: {text:?}");
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const NOWHERE: &str = "unix:/run/sealane-nobody/server.sock";

#[test]
fn help_names_every_subcommand_and_gives_examples() {
    let help = sealane(&["--help"]);
    assert!(help.status.success());
    let text = shown(&help);
    for word in [
        "up",
        "down",
        "server",
        "agent",
        "lab",
        "run",
        "attach",
        "detach",
        "apply",
        "get",
        "describe",
        "delete",
        "diff",
        "explain",
        "flows",
        "drops",
        "audit",
        "status",
        "cni",
        "version",
        "completion",
    ] {
        assert!(text.contains(&format!("\n  {word} ")), "{word} is not in\n{text}");
        let own = sealane(&[word, "--help"]);
        assert!(own.status.success() && shown(&own).contains("Examples:"), "{word}");
    }
    assert!(sealane(&["-h"]).status.success());
}

#[test]
fn wrong_arguments_end_with_2_and_say_what_is_meant() {
    assert_fails(&[], 2, &["Usage"]);
    assert_fails(&["aply"], 2, &["apply"]);
    assert_fails(&["get", "netpoll"], 2, &["\"netpoll\" is no kind of object", "did you mean netpol?"]);
    assert_fails(&["get", "pods"], 2, &["the kinds are", "networkpolicies"]);
    assert_fails(&["get", "ns", "-A", "-n", "shop"], 2, &["cannot be used with"]);
    assert_fails(&["get", "ns", "--server", "server"], 2, &["neither unix:PATH nor https://HOST:PORT"]);
    assert_fails(&["get", "ns", "-o", "xml"], 2, &["xml", "yaml"]);
    assert_fails(&["apply"], 2, &["--filename"]);
    assert_fails(&["delete", "netpol", "--server", NOWHERE], 2, &["no networkpolicy is named"]);
    assert_fails(&["explain", "shop/web", "shop/db:http"], 2, &["is no port", "shop/db:5432/TCP"]);
    assert_fails(&["attach", "--name", "web", "--netns", "x", "-l", "app"], 2, &["KEY=VALUE"]);
    assert_fails(
        &["run", "--name", "web", "--port-name", "http=0", "--", "true"],
        2,
        &["no port from 1 to 65535"],
    );
    assert_fails(&["lab", "up", "--nodes", "0"], 2, &["1..=4000"]);
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_do() {
    assert_fails(
        &["get", "ns", "--server", NOWHERE],
        1,
        &["cannot reach the server at unix:", "No such file", "try: start it with `sealane up`"],
    );
    assert_fails(
        &["get", "ns", "--server", "http://127.0.0.1:1"],
        1,
        &["cannot reach the server at http://127.0.0.1:1", "refused"],
    );
    let version = sealane(&["version", "--server", NOWHERE]);
    assert!(version.status.success());
    assert!(shown(&version).contains("server not reached"), "{}", shown(&version));
}

#[test]
fn an_agent_that_is_not_there_is_told() {
    let words = ["attach", "--name", "web", "--pid", "self", "--agent", "/run/sealane-nobody/agent.sock"];
    assert_fails(&words, 2, &["self"]);
    let own = std::process::id().to_string();
    let words = ["attach", "--name", "web", "--pid", &own, "--agent", "/run/sealane-nobody/agent.sock"];
    assert_fails(&words, 1, &["/run/sealane-nobody/agent.sock"]);
    assert_fails(
        &["attach", "--name", "web", "--netns", "/nowhere/ns"],
        1,
        &["cannot find the network namespace /nowhere/ns"],
    );
}

#[test]
fn every_problem_of_every_file_is_told_with_its_line_and_nothing_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let bad = "\
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: blue}
spec:
  subnets:
    - cidr: 10.0.0.0/33
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {}
  ingres: []
---
kind: [
";
    let bad = write(folder.path(), "bad.yaml", bad);
    let worse = write(folder.path(), "worse.json", "{\"apiVersion\": \"v1\", \"kind\": \"Namespce\"}");
    let words = ["apply", "-f", &bad, "-f", &worse, "--server", NOWHERE];
    let parts = [
        format!("{bad}:6:13: spec.subnets[0].cidr: \"10.0.0.0/33\": has a length of 33"),
        format!("{bad}:13:11: spec.ingres: []: is no known field — did you mean ingress?"),
        format!("{bad}:1"),
        format!("{worse}:1:"),
        "did you mean Namespace?".to_owned(),
        "error: 4 problems, nothing was applied".to_owned(),
    ];
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    assert_fails(&words, 1, &parts);
    assert_fails(&["diff", "-f", &bad, "--server", NOWHERE], 1, &["3 problems, nothing was compared"]);
}

#[test]
fn files_that_cannot_be_used_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let empty = write(folder.path(), "empty.yaml", "# nothing\n---\n");
    assert_fails(
        &["apply", "-f", "/nowhere/net.yaml"],
        1,
        &["cannot read /nowhere/net.yaml", "No such file"],
    );
    assert_fails(&["apply", "-f", &empty], 2, &["there is no document in"]);
    assert_fails(&["apply", "-f", "-"], 2, &["there is no document in standard input"]);
    let twice = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
    let twice = write(folder.path(), "twice.yaml", &format!("{twice}---\n{twice}"));
    assert_fails(
        &["apply", "-f", &twice],
        1,
        &["twice.yaml:7:18", "a second time; the first is at", "twice.yaml:3:18"],
    );
    let other = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {}\n";
    let other = write(folder.path(), "other.yaml", other);
    assert_fails(
        &["apply", "-f", &other, "-n", "c"],
        1,
        &["other.yaml:3:32: metadata.namespace", "is not c, which -n names"],
    );
}

#[test]
fn completion_scripts_know_the_words() {
    for shell in ["bash", "zsh", "fish"] {
        let script = sealane(&["completion", shell]);
        assert!(script.status.success());
        assert!(shown(&script).contains("explain"), "{shell}");
    }
}

#[test]
fn version_is_told_without_a_server_and_for_programs() {
    let version = sealane(&["version", "--client", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&version.stdout).unwrap();
    assert_eq!(value["client"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(shown(&sealane(&["--version"])).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let script = format!("{} completion bash | head -n 1", env!("CARGO_BIN_EXE_sealane"));
    let output = Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap();
    assert!(told(&output).is_empty(), "{}", told(&output));
}
