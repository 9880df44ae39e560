//! Objects through the whole command, against a server of the real API.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A server on a unix socket of its own.
struct Server {
    folder: TempDir,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (socket, file) = (folder.path().join("server.sock"), folder.path().join("store.redb"));
        runtime.block_on(async {
            let home = store::FileStore::open(&file, store::Retention::default()).unwrap();
            let store = Arc::new(store::Cached::start(Arc::new(home)).await.unwrap());
            let settings = api::Settings {
                authorizer: Arc::new(api::Rights::default()),
                authenticate: None,
                limits: api::Limits::default(),
                admission: Arc::new(api::AdmitAll),
                audit: Arc::new(api::NoAudit),
            };
            let api = api::Api::start(store, settings).await.unwrap();
            let listener = api::Listener::unix(&socket).unwrap();
            let stopped = async {
                let _ = stopped.await;
            };
            tokio::spawn(api::serve(api, vec![listener], axum::Router::new(), stopped));
        });
        Self { folder, runtime: Some(runtime), stop: Some(stop) }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealane"));
        command
            .args(words)
            .env("SEALANE_SERVER", format!("unix:{}", self.folder.path().join("server.sock").display()));
        command.env_remove("SEALANE_TENANT").env_remove("SEALANE_NAMESPACE").stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The output of a command that succeeds.
    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The error output of a command that ends with this code.
    #[track_caller]
    fn fails(&self, code: i32, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stderr).unwrap()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
    }
}

const SHOP: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop, labels: {tier: data}}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: blue}
spec: {subnets: [{cidr: 10.1.0.0/16}]}
";

#[test]
fn apply_creates_changes_and_leaves_alone() {
    let server = Server::start();
    let file = server.file("shop.yaml", SHOP);
    let names = ["namespace/shop", "virtualnetwork.sealane.dev/blue", "networkpolicy.networking.k8s.io/db"];
    let lines = |word: &str| names.map(|name| format!("{name} {word}\n")).concat();
    let dry = server.fails(1, &["apply", "-f", &file, "--dry-run"]);
    assert!(dry.contains("shop"), "a policy of a namespace that is not there cannot be tried: {dry}");
    assert_eq!(server.done(&["apply", "-f", &file]), lines("created"));
    assert_eq!(server.done(&["apply", "-f", &file]), lines("unchanged"));
    assert_eq!(server.done(&["apply", "-f", &file, "--dry-run"]), lines("unchanged (dry run)"));

    let changed = SHOP.replace("labels: {tier: data}", "annotations: {note: x}").replace("5432", "5433");
    let changed = server.file("shop.yaml", &changed);
    let outcome = server.done(&["apply", "-f", &changed]);
    assert_eq!(outcome, lines("unchanged").replace("db unchanged", "db configured"));
    let policy = server.done(&["get", "netpol", "db", "-n", "shop", "-o", "json"]);
    let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
    assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"], 5433);
    assert_eq!(policy["metadata"]["labels"]["tier"], serde_json::Value::Null);
    assert_eq!(policy["metadata"]["annotations"]["note"], "x");
}

#[test]
fn what_others_have_set_stays_and_kubectl_and_sealane_share_an_object() {
    let server = Server::start();
    let file =
        server.file("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: one}}\n");
    server.done(&["apply", "-f", &file]);
    let other = server.file(
        "other.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: one, b: two}}\n",
    );
    server.done(&["apply", "-f", &other]);
    let back = server.done(&["apply", "-f", &file]);
    assert_eq!(back, "namespace/shop configured\n");
    let namespace = server.done(&["get", "ns/shop", "-o", "yaml"]);
    assert!(namespace.contains("a: one") && !namespace.contains("b: two"), "{namespace}");
    assert!(namespace.contains("kubernetes.io/metadata.name: shop"), "{namespace}");
}

#[test]
fn the_servers_problems_point_into_the_file_too() {
    let server = Server::start();
    let first = "apiVersion: sealane.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {name: blue}\nspec:\n  vni: 7\n  subnets:\n  - cidr: 10.1.0.0/16\n";
    let file = server.file("net.yaml", first);
    server.done(&["apply", "-f", &file]);
    let file = server.file("net.yaml", &first.replace("vni: 7", "vni: 8").replace("10.1.", "10.2."));
    let told = server.fails(1, &["apply", "-f", &file]);
    assert!(told.contains("net.yaml:5:8: spec.vni"), "{told}");
    assert!(told.contains("net.yaml:7:5: spec.subnets"), "{told}");
    assert!(told.contains("2 problems, nothing was applied"), "{told}");
}

#[test]
fn a_document_that_the_server_refuses_keeps_all_others_from_being_applied() {
    let server = Server::start();
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
        apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: good, namespace: shop}\nspec: {podSelector: {}}\n---\n\
        apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: bad, namespace: nowhere}\nspec: {podSelector: {}}\n";
    let file = server.file("shop.yaml", text);
    let told = server.fails(1, &["apply", "-f", &file]);
    assert!(told.contains("shop.yaml:12:18: namespaces \"nowhere\" not found"), "{told}");
    assert!(told.contains("1 problem, nothing was applied"), "{told}");
    assert!(server.fails(1, &["get", "ns", "shop"]).contains("not found"));
    let file = server.file("shop.yaml", &text.replace("nowhere", "shop"));
    assert_eq!(
        server.done(&["apply", "-f", &file]).lines().count(),
        3,
        "a namespace and what lives in it at once"
    );
}

#[test]
fn a_file_that_is_no_text_or_not_there_is_told_beside_the_problems_of_others() {
    let server = Server::start();
    let wrong = server.file("wrong.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: A}\n");
    let binary = server.folder.path().join("binary.yaml");
    std::fs::write(&binary, b"apiVersion: v1\nkind: \xff\xfe\n").unwrap();
    let told = server.fails(1, &["apply", "-f", binary.to_str().unwrap(), "-f", &wrong]);
    assert!(told.contains("binary.yaml:2:7: is no text: these bytes are no UTF-8"), "{told}");
    assert!(told.contains("wrong.yaml:3:18: metadata.name"), "{told}");
    assert!(told.contains("2 problems, nothing was applied"), "{told}");
    let folder = server.folder.path().join("net");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("link.yaml")).unwrap();
    let told = server.fails(1, &["apply", "-f", folder.to_str().unwrap()]);
    assert!(told.contains("link.yaml"), "a link that leads nowhere is not passed over: {told}");
}

#[test]
fn get_shows_tables_documents_and_names() {
    let server = Server::start();
    let file = server.file("shop.yaml", SHOP);
    server.done(&["apply", "-f", &file]);
    let table = server.done(&["get", "vnet"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAME   SUBNETS       VNI"), "{table}");
    assert!(lines[1].starts_with("blue   10.1.0.0/16"), "{table}");
    assert!(!lines[0].contains("MTU"));
    assert!(server.done(&["get", "vnet", "-o", "wide"]).contains("MTU"));
    let all = server.done(&["get", "netpol", "-A"]);
    assert!(all.starts_with("NAMESPACE   NAME") && all.contains("\nshop        db     app=db"), "{all}");
    assert_eq!(
        server.done(&["get", "netpol,vnet", "-n", "shop", "-o", "name"]),
        "networkpolicy.networking.k8s.io/db\nvirtualnetwork.sealane.dev/blue\n"
    );
    let both: serde_json::Value =
        serde_json::from_str(&server.done(&["get", "ns/shop", "vnet/blue", "-o", "json"])).unwrap();
    assert_eq!(both["kind"], "List");
    assert_eq!(both["items"][1]["kind"], "VirtualNetwork");
    let yaml = server.done(&["get", "vnet", "blue", "-o", "yaml"]);
    let again = server.file("again.yaml", &yaml);
    assert_eq!(server.done(&["diff", "-f", &again]), "");
    assert_eq!(
        server.done(&["get", "netpol", "-n", "shop", "-l", "tier=data", "-o", "name"]).lines().count(),
        1
    );
    let none = server.run(&["get", "netpol", "-n", "shop", "-l", "tier=web"]);
    assert!(
        none.status.success()
            && String::from_utf8_lossy(&none.stderr).contains("nothing found in namespace shop")
    );
    for words in [&["get", "netpol", "-n", "shpo"][..], &["get", "netpol", "db", "-n", "shpo", "-o", "json"]]
    {
        let told = server.fails(2, words);
        assert!(told.contains("no namespace \"shpo\"") && told.contains("did you mean shop?"), "{told}");
    }
    for words in [&["get", "vnet"][..], &["describe", "vnet", "blue"], &["delete", "vnet", "blue"]] {
        let told = server.fails(2, &[words, &["--tenant", "defualt"]].concat());
        assert!(told.contains("no tenant \"defualt\"") && told.contains("did you mean default?"), "{told}");
    }
    assert!(server.fails(1, &["get", "vnet", "red"]).contains("\"red\" not found"));
    let partly = server.run(&["get", "vnet", "blue", "red", "green"]);
    assert_eq!(partly.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&partly.stdout).contains("blue"));
}

#[test]
fn tenants_are_apart_and_the_providers_kinds_are_found_from_everywhere() {
    let server = Server::start();
    let tenant =
        server.file("acme.yaml", "apiVersion: sealane.dev/v1alpha1\nkind: Tenant\nmetadata: {name: acme}\n");
    server.done(&["apply", "-f", &tenant]);
    assert!(server.done(&["get", "tenants", "--tenant", "acme"]).contains("acme"));
    let network = "apiVersion: sealane.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {name: blue}\nspec: {subnets: [{cidr: 10.1.0.0/16}]}\n";
    let network = server.file("net.yaml", network);
    server.done(&["apply", "-f", &network, "--tenant", "acme"]);
    assert!(server.done(&["get", "vnet", "--tenant", "acme"]).contains("blue"));
    assert_eq!(server.done(&["get", "vnet", "-o", "name"]), "");
}

#[test]
fn diff_is_unified_and_ends_with_1_when_something_would_change() {
    let server = Server::start();
    let file = server.file("shop.yaml", SHOP);
    let new = server.run(&["diff", "-f", &file]);
    assert_eq!(new.status.code(), Some(1), "{}", String::from_utf8_lossy(&new.stderr));
    let text = String::from_utf8(new.stdout).unwrap();
    assert!(
        text.contains("+++ networkpolicy.networking.k8s.io/db as it would be")
            && text.contains("+kind: NetworkPolicy"),
        "{text}"
    );
    server.done(&["apply", "-f", &file]);
    assert_eq!(server.done(&["diff", "-f", &file]), "");
    let changed = server.file("shop.yaml", &SHOP.replace("5432", "5433"));
    let changed = server.run(&["diff", "-f", &changed]);
    assert_eq!((changed.status.code(), String::from_utf8_lossy(&changed.stderr).as_ref()), (Some(1), ""));
    let text = String::from_utf8(changed.stdout).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(['+', '-'])).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[2].contains("5432") && lines[3].contains("5433"), "{text}");
}

#[test]
fn describe_puts_a_policy_into_words() {
    let server = Server::start();
    let file = server.file("shop.yaml", SHOP);
    server.done(&["apply", "-f", &file]);
    let text = server.done(&["describe", "netpol", "db", "-n", "shop"]);
    assert!(text.starts_with("NetworkPolicy db\n  Namespace: shop\n"), "{text}");
    assert!(text.contains("  Labels: tier=data\n"), "{text}");
    assert!(text.contains("    [0] 5432/TCP from endpoints with app=web of namespace shop\n"), "{text}");
    assert!(!text.contains("last-applied"), "{text}");
    assert!(server.done(&["describe", "vnet"]).contains("cidr: 10.1.0.0/16"));
}

#[test]
fn delete_takes_away_by_name_file_and_label() {
    let server = Server::start();
    let file = server.file("shop.yaml", SHOP);
    server.done(&["apply", "-f", &file]);
    assert_eq!(
        server.done(&["delete", "netpol", "-n", "shop", "-l", "tier=data"]),
        "networkpolicy.networking.k8s.io/db deleted\n"
    );
    assert!(server.fails(1, &["delete", "netpol", "db", "-n", "shop"]).contains("not found"));
    assert_eq!(server.done(&["delete", "netpol", "db", "-n", "shop", "--ignore-not-found"]), "");
    assert_eq!(
        server.done(&["delete", "vnet/blue", "--dry-run"]),
        "virtualnetwork.sealane.dev/blue deleted (dry run)\n"
    );
    server.done(&["apply", "-f", &file]);
    let gone = server.done(&["delete", "-f", &file]);
    assert_eq!(gone.lines().count(), 3, "{gone}");
    assert!(gone.starts_with("networkpolicy.networking.k8s.io/db deleted\n"), "{gone}");
    assert_eq!(server.done(&["get", "vnet", "-o", "name"]), "");
    assert!(server.fails(1, &["get", "ns", "shop"]).contains("not found"));
}

#[test]
fn a_watch_shows_what_is_there_and_then_what_changes() {
    let server = Server::start();
    let file = server.file("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    let mut watch = server.command(&["get", "ns", "-w"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("NAME"));
    assert!(lines.next().unwrap().starts_with("default"));
    server.done(&["apply", "-f", &file]);
    assert!(lines.next().unwrap().starts_with("shop"));
    server.done(&["delete", "ns", "shop"]);
    let deleted = lines.find(|line| line.contains("(deleted)")).unwrap();
    assert!(deleted.starts_with("shop (deleted)"), "{deleted}");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn documents_come_from_the_standard_input_and_from_folders() {
    let server = Server::start();
    let mut apply =
        server.command(&["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    apply.stdin.take().unwrap().write_all(SHOP.as_bytes()).unwrap();
    let output = apply.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3);
    let folder = server.folder.path().join("net");
    std::fs::create_dir(&folder).unwrap();
    for (name, network) in [("b.yaml", "two"), ("a.json", "one"), ("c.txt", "three")] {
        let text = format!(
            "{{\"apiVersion\": \"sealane.dev/v1alpha1\", \"kind\": \"VirtualNetwork\", \"metadata\": {{\"name\": \"{network}\"}}, \"spec\": {{\"subnets\": [{{\"cidr\": \"10.1.0.0/16\"}}]}}}}"
        );
        std::fs::write(folder.join(name), text).unwrap();
    }
    let done = server.done(&["apply", "-f", folder.to_str().unwrap()]);
    assert_eq!(done, "virtualnetwork.sealane.dev/one created\nvirtualnetwork.sealane.dev/two created\n");
}
