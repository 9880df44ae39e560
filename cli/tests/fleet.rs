//! A lab through the whole command: containers, policy, and what the fabric says about both.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A lab of two hosts; removed at the end, however that comes.
struct Lab {
    name: String,
    server: String,
}

impl Lab {
    fn up(suffix: &str) -> Self {
        let name = format!("cli{}{suffix}", std::process::id());
        // From here on it is removed, also when it does not come up.
        let mut lab = Self { name, server: String::new() };
        let told = lab.done(&["lab", "up", "--nodes", "2"]);
        let address = told.split_whitespace().find(|word| word.starts_with("unix:"));
        lab.server = address.unwrap_or_else(|| panic!("no address in {told}")).to_owned();
        lab
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealane"));
        for name in ["SEALANE_AGENT", "SEALANE_TENANT", "SEALANE_NAMESPACE"] {
            command.env_remove(name);
        }
        command.env("SEALANE_SERVER", &self.server).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        if self.server.is_empty() {
            command.env_remove("SEALANE_SERVER");
        }
        // `--lab` is the lab's own.
        let (first, rest) = words.split_first().unwrap();
        command.arg(first);
        if *first == "lab" {
            command.args(["--lab", &self.name]);
        }
        command.args(rest).output().unwrap()
    }

    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn agent(&self, node: &str) -> String {
        format!("/run/sealane-lab/{}/{node}/agent.sock", self.name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let removed = self.run(&["lab", "down"]);
        if !std::thread::panicking() {
            assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
        }
    }
}

const POLICY: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
";

#[test]
fn containers_of_a_lab_are_judged_by_policy_and_the_fabric_says_why() {
    let lab = Lab::up("a");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, POLICY).unwrap();
    lab.done(&["apply", "-f", file.to_str().unwrap()]);
    let run = |node: &str, name: &str, command: &[&str]| {
        let label = format!("app={name}");
        let words = ["lab", "run", node, "-n", "shop", "--name", name, "-l", &label, "-d", "--"];
        lab.done(&[&words[..], command].concat())
    };
    assert!(run("n1", "web", &["sleep", "300"]).contains("default_shop_web runs as process "));
    run("n2", "db", &["socat", "TCP-LISTEN:5432,fork,reuseaddr", "SYSTEM:echo ahoy"]);
    run("n2", "other", &["sleep", "300"]);
    lab.done(&["status", "--wait"]);

    let endpoint: Value =
        serde_json::from_str(&lab.done(&["get", "ep", "db", "-n", "shop", "-o", "json"])).unwrap();
    assert_eq!(endpoint["spec"]["node"], "n2");
    let target = format!("TCP:{}:5432", endpoint["spec"]["addresses"][0].as_str().unwrap());
    let reaches = |name: &str, limit: &str| {
        let container = format!("shop/{name}");
        lab.run(&["lab", "exec", &container, "--", "timeout", limit, "socat", "-", &target])
    };
    let told = lab.done(&["explain", "shop/web", "shop/db:5432"]);
    assert!(told.starts_with("ALLOWED 5432/TCP"), "{told}");
    assert!(told.contains("datapath  n2: it passes") && told.contains("over the overlay to n2"), "{told}");
    // It is told that socat runs, not that it listens already.
    let listens = || {
        let output = reaches("web", "20");
        if output.stdout == b"ahoy\n" { Ok(()) } else { Err(format!("{output:?}")) }
    };
    lab::wait_until(PATIENCE, "the db answers", listens).unwrap();
    let told = lab.done(&["explain", "other", "db:5432", "-n", "shop"]);
    assert!(told.starts_with("DENIED 5432/TCP") && told.contains("NetworkPolicy shop/db"), "{told}");
    assert!(
        told.contains("datapath  n2: it is dropped (policy-denied)") && !told.contains("\n  fault"),
        "{told}"
    );
    assert_eq!(lab.run(&["explain", "other", "db:5432", "-n", "shop", "--check"]).status.code(), Some(1));
    assert_eq!(reaches("other", "2").status.code(), Some(124));

    let told = lab.done(&["explain", "world", "shop/db:5432"]);
    assert!(
        told.starts_with("DENIED") && told.contains("datapath  n2: it is dropped (policy-denied)"),
        "{told}"
    );
    let told = lab.done(&["explain", "shop/web", "world:443"]);
    assert!(told.starts_with("ALLOWED") && told.contains("datapath  n1: it passes"), "{told}");
    assert!(!told.contains("\n  fault"), "{told}");

    let flows = lab.done(&["flows", "--all", "--node", "n2"]);
    assert!(flows.contains("shop/db:5432") && flows.contains("NetworkPolicy shop/db"), "{flows}");
    let here = lab.done(&["flows", "--all", "--here", "--agent", &lab.agent("n2")]);
    assert!(here.contains(":5432") && here.contains("VNI"), "{here}");
    let drops = lab.done(&["drops"]);
    assert!(
        drops.lines().any(|line| line.contains("policy-denied") && line.contains("NetworkPolicy shop/db")),
        "{drops}"
    );
    assert!(lab.done(&["drops", "--samples"]).contains("shop/db:5432"));
    let status = lab.done(&["status", "--here", "--agent", &lab.agent("n2")]);
    assert!(status.contains("with 2 attachments") && status.contains("shop/other"), "{status}");
    let shown = lab.done(&["lab", "show"]);
    assert!(shown.contains("default_shop_db default_shop_other"), "{shown}");
}

#[test]
fn what_runs_in_a_lab_ends_with_its_own_code_and_kubectl_and_sealane_share_objects() {
    let lab = Lab::up("b");
    let output = lab.run(&["lab", "run", "n1", "--name", "brief", "--", "sh", "-c", "hostname; exit 7"]);
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()),
        (Some(7), "brief\n")
    );
    assert_eq!(lab.done(&["get", "ep", "-A", "-o", "name"]), "");
    assert_eq!(lab.run(&["lab", "host", "n2", "--", "sh", "-c", "exit 3"]).status.code(), Some(3));
    let unknown = lab.run(&["lab", "run", "n9", "--name", "a", "--", "true"]);
    let told = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.status.code() == Some(1) && told.contains("n1, n2"), "{told}");
    let refused = lab.run(&["lab", "run", "n1", "--name", "a", "--network", "nosuch", "--", "true"]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && told.contains("nosuch"), "{told}");
    assert!(lab.done(&["lab", "kubeconfig"]).contains("server: http://127.0.0.1:"));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("lab.conf");
    std::fs::write(&config, lab.done(&["lab", "kubeconfig"])).unwrap();
    let write = |labels: &str| {
        let path = folder.path().join("shop.yaml");
        let text =
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{{labels}}}}}\n");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let kubectl = |file: &str| {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(&config).args(["--cache-dir", folder.path().to_str().unwrap()]);
        let output = command.args(["apply", "-f", file]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(kubectl(&write("a: one, b: two")), "namespace/shop created\n");
    let file = write("a: one");
    assert_eq!(lab.done(&["apply", "-f", &file]), "namespace/shop configured\n");
    assert!(!lab.done(&["get", "ns", "shop", "-o", "yaml"]).contains("b: two"));
    assert_eq!(kubectl(&file), "namespace/shop unchanged\n");
    assert_eq!(lab.done(&["apply", "-f", &file]), "namespace/shop unchanged\n");
}

const ROOM: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: red}
spec: {vni: 4242, subnets: [{cidr: 10.77.0.0/24}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all, namespace: shop}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}
";

#[test]
fn what_endpoints_are_in_stays_until_they_are_detached_and_then_goes_without_a_trace() {
    let lab = Lab::up("d");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let room = write("room.yaml", ROOM);
    let furnish = |tenant: &str| {
        let text = format!("apiVersion: sealane.dev/v1alpha1\nkind: Tenant\nmetadata: {{name: {tenant}}}\n");
        lab.done(&["apply", "-f", &write("tenant.yaml", &text)]);
        lab.done(&["apply", "--tenant", tenant, "-f", &room])
    };
    let links = |node: &str| lab.done(&["lab", "host", node, "--", "ls", "/sys/class/net"]);
    let held = || -> Value { serde_json::from_str(&lab.done(&["status", "-o", "json"])).unwrap() };
    let sizes = |status: &Value| {
        let nodes = status["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["records"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let (links_before, sizes_before) = ([links("n1"), links("n2")], sizes(&held()));
    furnish("acme");
    let run = |node: &str, name: &str| {
        let place = ["--tenant", "acme", "-n", "shop", "--network", "red"];
        let told = lab.done(
            &[&["lab", "run", node, "--name", name, "-d"], &place[..], &["--", "sleep", "300"]].concat(),
        );
        let process = told.split_once("process ").unwrap().1.split(' ').next().unwrap().to_owned();
        (process, told)
    };
    let ((one, _), (two, told)) = (run("n1", "c1"), run("n2", "c2"));
    let address = told.split_once("with ").unwrap().1.split(';').next().unwrap();
    lab.done(&["status", "--wait"]);

    let objects = [["vnet", "red"], ["ns", "shop"], ["tenant", "acme"]];
    for object in objects {
        let refused = lab.run(&["delete", object[0], object[1], "--tenant", "acme"]);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        let why = "has 2 endpoints attached, first shop/c1 on the node n1: detach them first";
        assert!(told.contains(object[1]) && told.contains(why), "{told}");
        assert!(lab.done(&["describe", object[0], object[1], "--tenant", "acme"]).contains(object[1]));
    }
    assert_eq!(held()["endpoints"], 2);
    lab.done(&["lab", "exec", "--tenant", "acme", "shop/c1", "--", "ping", "-c1", "-w20", address]);

    assert!(Command::new("kill").args([&one, &two]).status().unwrap().success());
    let detached = || match held()["endpoints"].as_u64() {
        Some(0) => Ok(()),
        left => Err(format!("{left:?} endpoints are left")),
    };
    lab::wait_until(PATIENCE, "the endpoints are gone", detached).unwrap();
    for object in objects {
        let told = lab.done(&["delete", object[0], object[1], "--tenant", "acme"]);
        assert!(told.ends_with(&format!("/{} deleted\n", object[1])), "{told}");
    }
    let gone = lab.run(&["get", "ns", "--tenant", "acme"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("there is no tenant \"acme\""), "{gone:?}");
    let swept = || {
        let status = held();
        let counts = [&status["tenants"], &status["networks"], &status["changesUnderWay"]].map(Value::as_u64);
        let gone = counts == [Some(1), Some(1), Some(0)] && sizes(&status) == sizes_before;
        let links = [links("n1"), links("n2")];
        if gone && links == links_before { Ok(()) } else { Err(format!("{status:#}\n{links:?}")) }
    };
    lab::wait_until(PATIENCE, "nodes hold what they held before", swept).unwrap();
    let created = furnish("bravo");
    assert_eq!(created.matches(" created\n").count(), 3, "the VNI is free: {created}");
}

#[test]
fn a_network_that_is_too_wide_for_a_nodes_underlay_is_told_by_the_node_and_by_status() {
    let lab = Lab::up("e");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wide.yaml");
    let wide = "apiVersion: sealane.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {name: wide}\n\
                spec: {mtu: 1500, subnets: [{cidr: 10.77.0.0/24}]}\n";
    std::fs::write(&file, wide).unwrap();
    lab.done(&["apply", "-f", file.to_str().unwrap()]);
    lab.done(&["lab", "run", "n1", "--network", "wide", "--name", "one", "-d", "--", "sleep", "300"]);
    let problem = "network wide has an MTU of 1500, but the underlay of this node leaves its containers 1430";
    let here = lab.done(&["status", "--here", "--agent", &lab.agent("n1")]);
    assert!(here.contains(&format!("unfit: {problem}")), "{here}");
    let told = || {
        let (status, node) = (lab.done(&["status"]), lab.done(&["describe", "node", "n1"]));
        let condition = node.lines().find(|line| line.trim_start().starts_with("Fit "));
        let said = condition.is_some_and(|line| line.contains(" False ") && line.contains(problem));
        let known = status.contains(&format!("unfit: n1: {problem}")) && said;
        if known { Ok(()) } else { Err(format!("{status}\n{node}")) }
    };
    // A node is asked from time to time.
    lab::wait_until(PATIENCE, "the server tells of it", told).unwrap();
    let other = || {
        let node = lab.done(&["describe", "node", "n2"]);
        let condition = node.lines().find(|line| line.trim_start().starts_with("Fit "));
        if condition.is_some_and(|line| line.contains(" True ")) { Ok(()) } else { Err(node) }
    };
    lab::wait_until(PATIENCE, "the other node is fit", other).unwrap();
}

const PATIENCE: Duration = Duration::from_secs(60);
