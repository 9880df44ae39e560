//! The server as a daemon, and the questions that it answers.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server in a process of its own.
struct Server {
    folder: TempDir,
    process: Child,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = write(
            folder.path(),
            "server.toml",
            &format!(
                "store = {:?}\nsocket = {:?}\naudit = {:?}\nlog = \"warn\"\n",
                folder.path().join("server.redb"),
                folder.path().join("server.sock"),
                folder.path().join("audit.log")
            ),
        );
        let process = sealane().args(["server", "--config", &config]).spawn().unwrap();
        let server = Self { folder, process };
        server.ready();
        server
    }

    /// Kills it without a word, and starts it on what it left.
    fn kill_and_start(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let config = self.folder.path().join("server.toml");
        self.process = sealane().args(["server", "--config"]).arg(config).spawn().unwrap();
        self.ready();
    }

    fn ready(&self) {
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "the server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("server.sock")
    }

    fn run(&self, words: &[&str]) -> Output {
        sealane()
            .args(words)
            .env("SEALANE_SERVER", format!("unix:{}", self.socket().display()))
            .output()
            .unwrap()
    }

    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ends what `up` has started, also when a claim fails.
struct Ended<'a>(&'a str);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        // There may be nothing to end.
        let _ = sealane().args(["down", "--server-only", "--server", self.0]).output();
    }
}

fn sealane() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealane"));
    for name in ["SEALANE_SERVER", "SEALANE_AGENT", "SEALANE_TENANT", "SEALANE_NAMESPACE"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_new_server_has_the_default_tenant_and_answers_questions() {
    let mut server = Server::start();
    assert!(server.done(&["get", "tenants"]).contains("default"));
    assert!(server.done(&["get", "vnet"]).contains("default"));
    let status = server.done(&["status"]);
    assert!(status.starts_with("1 tenant, 1 network, 0 endpoints, 0 nodes; revision "), "{status}");
    let status: serde_json::Value =
        serde_json::from_str(&server.done(&["status", "--wait", "-o", "json"])).unwrap();
    assert_eq!(status["nodes"], serde_json::json!([]));
    assert!(server.done(&["flows"]).starts_with("NETWORK"));
    assert!(server.done(&["drops"]).starts_with("NODE"));
    assert!(server.done(&["drops", "--samples"]).starts_with("TIME"));
    assert!(server.done(&["version"]).contains("server v1."));

    let unknown = server.run(&["explain", "shop/web", "shop/db:5432", "--intent"]);
    assert_eq!(unknown.status.code(), Some(1));
    let told = String::from_utf8_lossy(&unknown.stderr);
    assert!(told.contains("no endpoint is named shop/web"), "{told}");
    let node = server.run(&["flows", "--node", "nobody"]);
    assert_eq!(node.status.code(), Some(1), "{}", String::from_utf8_lossy(&node.stdout));
    assert!(String::from_utf8_lossy(&node.stderr).contains("nobody"));

    let pid = i32::try_from(server.process.id()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert!(server.process.wait().unwrap().success());
    assert!(!server.socket().exists());
}

#[test]
fn who_changed_what_and_who_was_refused_is_told_also_after_the_server_was_killed() {
    let mut server = Server::start();
    let policy = |port: u16| {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: db}}\nspec:\n  podSelector: {{}}\n  \
             ingress: [{{ports: [{{port: {port}}}]}}]\n"
        );
        write(server.folder.path(), "policy.yaml", &text)
    };
    server.done(&["apply", "-f", &policy(80)]);
    server.done(&["apply", "-f", &policy(443)]);
    let network = write(
        server.folder.path(),
        "endpoint.yaml",
        "apiVersion: sealane.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {name: default}\nspec: {subnets: [{cidr: 10.1.0.0/16}], vni: 0}\n",
    );
    assert!(!server.run(&["apply", "-f", &network]).status.success());
    assert!(!server.run(&["delete", "ns", "default"]).status.success());
    server.kill_and_start();

    let told = server.done(&["audit"]);
    let lines: Vec<&str> = told.lines().filter(|line| line.contains("networkpolicies/default/db")).collect();
    assert!(told.starts_with("TIME") && lines.len() >= 2, "{told}");
    let of = |words: &[&str]| lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(of(&["root", "create", "201", "new"]), "{told}");
    assert!(of(&["root", "patch", "200", "   spec.ingress[0].ports[0].port: 80 → 443"]), "{told}");
    let refused = server.done(&["audit", "--refused", "--object", "ns/default", "--since", "1h"]);
    assert_eq!(refused.lines().count(), 2, "{refused}");
    assert!(refused.contains("403 Forbidden") && refused.contains("may not be deleted"), "{refused}");
    let whole: serde_json::Value =
        serde_json::from_str(&server.done(&["audit", "--verb", "create", "-o", "json"])).unwrap();
    assert_eq!(whole["events"][0]["apiVersion"], "audit.k8s.io/v1");
    assert_eq!(server.done(&["audit", "--user", "nobody"]).lines().count(), 1);
    assert_eq!(server.done(&["audit", "--tenant", "acme"]).lines().count(), 1);
    let wrong = server.run(&["audit", "--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("write 30m, 1h"), "{wrong:?}");
}

#[test]
fn settings_that_cannot_be_used_are_told_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = write(folder.path(), "server.toml", "stor = \"x\"\nrest_seconds = \"long\"\n");
    let output = sealane().args(["server", "--config", &wrong]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("server.toml") && told.contains("store") && told.contains("rest_seconds"),
        "{told}"
    );
    let wrong = write(folder.path(), "agent.toml", "nod = \"n1\"\n");
    let output = sealane().args(["agent", "--config", &wrong]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("node"), "{told}");
    let missing = sealane().args(["server", "--config", "/nowhere/server.toml"]).output().unwrap();
    assert!(String::from_utf8_lossy(&missing.stderr).contains("No such file"));
}

#[test]
fn the_example_settings_are_settings_and_a_runtime_gets_its_config() {
    let folder = tempfile::tempdir().unwrap();
    let example = sealane().args(["server", "--example"]).output().unwrap();
    assert!(example.status.success());
    assert!(fleet::Config::parse(std::str::from_utf8(&example.stdout).unwrap()).is_ok());
    let example = sealane().args(["agent", "--example"]).output().unwrap();
    assert!(agent::Config::parse(std::str::from_utf8(&example.stdout).unwrap()).is_ok());
    let socket = folder.path().join("agent.sock");
    let list = sealane()
        .args(["cni", "config", "--network", "blue", "--tenant", "acme", "--agent"])
        .arg(&socket)
        .output()
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let plugin = &list["plugins"][0];
    assert_eq!((plugin["type"].as_str(), plugin["network"].as_str()), (Some("sealane-cni"), Some("blue")));
    assert_eq!(plugin["agentSocket"].as_str(), socket.to_str());
}

#[test]
fn up_starts_what_down_ends_and_both_say_what_they_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let socket = format!("unix:{}", path("server.sock"));
    let text = |name: &str| {
        format!("store = {:?}\nsocket = {:?}\naudit = \"\"\n{name}\n", path("s.redb"), path("server.sock"))
    };
    let run = |words: &[&str]| sealane().args(words).env("SEALANE_SERVER", &socket).output().unwrap();
    let _ended = Ended(&socket);
    let (here, logs) = (path(""), path("log"));
    let up = ["up", "--server-only", "--config-dir", &here, "--log-dir", &logs];
    let down = ["down", "--server-only"];
    let shown = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();

    write(folder.path(), "server.toml", &text("wrong = 1"));
    let output = run(&up);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("its log") && told.contains("wrong: there is no such setting"), "{told}");

    write(folder.path(), "server.toml", &text(""));
    let first = run(&up);
    assert!(shown(&first).starts_with("server is up as process "), "{first:?}");
    assert!(shown(&run(&up)).starts_with("server runs already"), "{first:?}");
    assert!(run(&["get", "ns"]).status.success());
    assert_eq!(shown(&run(&down)), "server is down\n");
    assert_eq!(shown(&run(&down)), "server does not run\n");
    assert!(!folder.path().join("server.process").exists());
    assert!(!folder.path().join("server.sock").exists());

    let elsewhere = sealane().args(["up", "--server", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(elsewhere.status.code(), Some(2));
}
