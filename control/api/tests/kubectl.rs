//! The stock `kubectl` against this API: whichever is on the path, from Debian 12's 1.20 on. More is asked where it knows more.
#![allow(clippy::unwrap_used)]

mod harness;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use harness::{NETWORKS, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

struct Kubectl {
    config: PathBuf,
    home: PathBuf,
    /// Its release: the 20 of 1.20.
    minor: u32,
}

#[derive(Debug)]
struct Said {
    well: bool,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn ok(self) -> String {
        assert!(self.well, "{}\n{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn fails(self) -> String {
        assert!(!self.well, "{}\n{}", self.out, self.err);
        self.err
    }
}

impl Kubectl {
    fn new(server: &Server, name: &str, path: &str) -> Self {
        let home = server.folder.path().join(name);
        std::fs::create_dir(&home).unwrap();
        let config = home.join("config");
        std::fs::write(&config, server.kubeconfig(path)).unwrap();
        Self { config, home, minor: minor() }
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.config).args(arguments.split_whitespace());
        command.env("HOME", &self.home).env("KUBECACHEDIR", self.home.join("cache")).env_remove("KUBECONFIG");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &str) -> Said {
        self.feed(arguments, "").await
    }

    async fn feed(&self, arguments: &str, input: &str) -> Said {
        let mut child = self.command(arguments).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output());
        let output = output.await.unwrap_or_else(|_| panic!("kubectl {arguments} hangs")).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { well: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// The release of the kubectl on the path.
fn minor() -> u32 {
    let output = std::process::Command::new("kubectl").args(["version", "--client", "-o", "json"]).output();
    let told: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let minor = told["clientVersion"]["minor"].as_str().unwrap();
    minor.trim_end_matches(|other: char| !other.is_ascii_digit()).parse().unwrap()
}

const POLICY: &str = r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
spec:
  podSelector:
    matchLabels: {app: web}
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector:
        matchLabels: {role: front}
    ports:
    - {protocol: TCP, port: 80}
";

const NETWORK: &str = r"
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata:
  name: red
spec:
  subnets:
  - cidr: 10.1.0.0/16
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_works_on_upstream_and_own_kinds() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server, "default", "");

    let kinds = kubectl.run("api-resources").await.ok();
    for line in ["namespaces", "networkpolicies", "virtualnetworks", "endpoints", "tenants", "nodes"] {
        assert!(kinds.contains(line), "{kinds}");
    }
    assert!(kubectl.run("api-versions").await.ok().contains("networking.k8s.io/v1"));
    let version: Value = serde_json::from_str(&kubectl.run("version -o json").await.ok()).unwrap();
    assert!(version["serverVersion"]["gitVersion"].as_str().unwrap().starts_with("v1.32"), "{version}");
    assert!(kubectl.run("get --raw /readyz").await.ok().contains("ok"));

    assert!(kubectl.run("create namespace shop").await.ok().contains("namespace/shop created"));
    assert!(kubectl.run("create namespace shop").await.fails().contains("AlreadyExists"));
    let shown = kubectl.run("get ns").await.ok();
    assert!(shown.contains("STATUS") && shown.contains("shop") && shown.contains("Active"), "{shown}");

    assert!(
        kubectl.feed("apply -f -", POLICY).await.ok().contains("networkpolicy.networking.k8s.io/web created")
    );
    assert!(kubectl.feed("apply -f -", POLICY).await.ok().contains("unchanged"));
    let changed = POLICY.replace("port: 80", "port: 8080").replace("role: front", "role: back");
    assert!(kubectl.feed("diff -f -", &changed).await.out.contains("8080"));
    assert!(kubectl.feed("apply -f -", &changed).await.ok().contains("configured"));
    let yaml = kubectl.run("get netpol -n shop web -o yaml").await.ok();
    assert!(
        yaml.contains("port: 8080") && !yaml.contains("port: 80\n") && yaml.contains("generation: 2"),
        "{yaml}"
    );
    let table = kubectl.run("get netpol -A").await.ok();
    assert!(table.contains("POD-SELECTOR") && table.contains("app=web"), "{table}");
    let described = kubectl.run("describe netpol -n shop web").await.ok();
    assert!(described.contains("role=back") && described.contains("8080/TCP"), "{described}");

    assert!(
        kubectl.feed("apply -f -", NETWORK).await.ok().contains("virtualnetwork.sealane.dev/red created")
    );
    let grown = format!("{NETWORK}  - cidr: 10.2.0.0/16\n");
    assert!(kubectl.feed("apply -f -", &grown).await.ok().contains("configured"));
    let table = kubectl.run("get vnet").await.ok();
    assert!(table.contains("10.1.0.0/16,10.2.0.0/16"), "{table}");
    assert!(kubectl.run("describe vnet red").await.ok().contains("10.1.0.0/16"));
    assert!(kubectl.run("explain virtualnetwork.spec").await.ok().contains("subnets"));

    assert!(kubectl.run("label vnet red tier=gold").await.ok().contains("labeled"));
    assert!(kubectl.run("annotate netpol -n shop web note=x").await.ok().contains("annotated"));
    assert!(
        kubectl.run("get vnet -l tier=gold -o name").await.ok().contains("virtualnetwork.sealane.dev/red")
    );
    assert_eq!(kubectl.run("get vnet -l tier!=gold -o name").await.ok(), "");
    assert!(kubectl.run("get vnet --field-selector metadata.name=red -o name").await.ok().contains("red"));
    let patched = kubectl
        .run(r#"patch netpol -n shop web -p {"spec":{"policyTypes":["Ingress","Egress"]}}"#)
        .await
        .ok();
    assert!(patched.contains("patched"), "{patched}");
    let patched = kubectl
        .run(r#"patch vnet red --type=json -p [{"op":"add","path":"/spec/mtu","value":1400}]"#)
        .await
        .ok();
    assert!(patched.contains("patched"), "{patched}");
    assert!(kubectl.run("get vnet red -o jsonpath={.spec.mtu}").await.ok().contains("1400"));
    let replaced = kubectl.run("get netpol -n shop web -o json").await.ok();
    let other_port = replaced.replace(r#""port": 8080"#, r#""port": 9090"#);
    assert_ne!(other_port, replaced);
    assert!(kubectl.feed("replace -f -", &other_port).await.ok().contains("replaced"));
    assert!(kubectl.feed("replace -f -", &replaced).await.fails().contains("Conflict"));

    assert!(kubectl.run("delete vnet red").await.ok().contains("deleted"));
    assert!(kubectl.run("get vnet red").await.fails().contains("NotFound"));
    assert!(kubectl.run("delete ns shop").await.ok().contains("deleted"));
    assert_eq!(kubectl.run("get netpol -A -o name").await.ok(), "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_shows_what_is_wrong_with_a_document() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server, "default", "");
    // Until 1.25 kubectl judges fields itself, by the server's schema, and tells both problems in its own words.
    let (both, warn) = match kubectl.minor {
        ..25 => ([r#"unknown field "subnet""#, r#"missing required field "subnets""#], "--validate=false"),
        _ => (["spec.subnet:", "spec.subnets"], "--validate=warn"),
    };
    let told = kubectl.feed("apply -f -", &NETWORK.replace("subnets", "subnet")).await.fails();
    assert!(both.iter().all(|problem| told.contains(problem)), "both problems at once: {told}");
    let told = kubectl.feed("create -f -", &NETWORK.replace("10.1.0.0/16", "10.1.0.1/16")).await.fails();
    assert!(told.contains("spec.subnets[0].cidr"), "{told}");
    let told = kubectl.feed("apply -f -", POLICY).await.fails();
    assert!(told.contains("namespaces \"shop\" not found"), "{told}");
    assert!(
        kubectl.feed("apply --dry-run=server -f -", NETWORK).await.ok().contains("created (server dry run)")
    );
    assert_eq!(kubectl.run("get vnet -o name").await.ok(), "");
    let coloured = NETWORK.replace("spec:", "spec:\n  colour: red");
    let warned = kubectl.feed(&format!("create {warn} -f -"), &coloured).await;
    assert!(warned.err.contains("Warning") && warned.err.contains("colour"), "{warned:?}");
    warned.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_reaches_tenants_under_their_paths() {
    let server = Server::start().await;
    let root = Kubectl::new(&server, "root", "");
    let tenant = "apiVersion: sealane.dev/v1alpha1\nkind: Tenant\nmetadata: {name: acme}\n";
    assert!(root.feed("apply -f -", tenant).await.ok().contains("tenant.sealane.dev/acme created"));
    let system = Kubectl::new(&server, "system", "/clusters/system");
    assert!(system.run("get tenants").await.ok().contains("acme"));
    assert!(!system.run("api-resources").await.ok().contains("networkpolicies"));

    let acme = Kubectl::new(&server, "acme", "/clusters/acme");
    assert!(acme.run("get ns").await.ok().contains("default"));
    for kubectl in [&root, &acme] {
        kubectl.run("create ns shop").await.ok();
        kubectl.feed("apply -f -", POLICY).await.ok();
    }
    acme.run("delete netpol -n shop web").await.ok();
    assert!(root.run("get netpol -n shop").await.ok().contains("web"), "the other tenant's is untouched");
    assert!(acme.run("explain netpol.spec.podSelector").await.ok().contains("matchLabels"));
    assert!(!acme.run("api-resources").await.ok().contains("tenants"));
    root.run("delete tenant acme").await.ok();
    assert!(acme.run("create ns again").await.fails().contains("tenants.sealane.dev \"acme\" not found"));
    assert_eq!(acme.run("get ns -o name").await.ok(), "");
    server.stop().await;
}

/// The next line of a command under way.
async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let next = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
    next.expect("a line within a minute").unwrap().expect("the command goes on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_watches() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server, "default", "");
    let mut names = kubectl.command("get vnet -w -o name").spawn().unwrap();
    let mut table = kubectl.command("get vnet -w").spawn().unwrap();
    let mut name_lines = BufReader::new(names.stdout.take().unwrap()).lines();
    let mut table_lines = BufReader::new(table.stdout.take().unwrap()).lines();
    let waited = async {
        if kubectl.minor >= 31 {
            let waited = kubectl.run("wait --for=create vnet/red --timeout=30s").await;
            assert!(waited.ok().contains("condition met"));
        }
    };
    let ((), made) = tokio::join!(waited, kubectl.feed("apply -f -", NETWORK));
    made.ok();
    // Nobody knows when kubectl has begun to watch: something happens until it has seen enough.
    let happens = async {
        for count in 0.. {
            let label = json!({ "metadata": { "labels": { "count": count.to_string() } } });
            server.merge(&format!("{NETWORKS}/red"), &label).await.expect(200);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let seen = async {
        for _ in 0..3 {
            assert_eq!(line(&mut name_lines).await, "virtualnetwork.sealane.dev/red");
        }
        let heading = line(&mut table_lines).await;
        assert!(heading.contains("NAME") && heading.contains("SUBNETS"), "{heading}");
        for _ in 0..3 {
            let row = line(&mut table_lines).await;
            assert!(row.contains("red") && row.contains("10.1.0.0/16"), "{row}");
        }
    };
    tokio::select! {
        () = happens => panic!("it never ends by itself"),
        () = seen => {}
    }
    names.kill().await.unwrap();
    table.kill().await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_makes_roles_and_asks_about_rights() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server, "rights", "");
    kubectl.run("create ns shop").await.ok();
    for (command, made) in [
        (
            "create role dev -n shop --verb=get,list --resource=networkpolicies --resource-name=web",
            "role.rbac",
        ),
        (
            "create rolebinding dev -n shop --role=dev --user=ann --group=ops --serviceaccount=shop:bot",
            "rolebinding",
        ),
        ("create clusterrole paths --verb=get --non-resource-url=/metrics,/fabric/*", "clusterrole"),
        ("create clusterrole all --aggregation-rule=part-of=x", "clusterrole"),
        ("create clusterrolebinding paths --clusterrole=paths --user=bob", "clusterrolebinding"),
    ] {
        let said = kubectl.run(command).await.ok();
        assert!(said.contains(made) && said.contains("created"), "{said}");
    }
    let role = kubectl.run("describe role dev -n shop").await.ok();
    assert!(role.contains("networkpolicies.networking.k8s.io") && role.contains("[web]"), "{role}");
    let bindings = kubectl.run("get rolebindings -n shop -o wide").await.ok();
    for words in ["ROLE", "SERVICEACCOUNTS", "Role/dev", "ann", "ops", "bot"] {
        assert!(bindings.contains(words), "{bindings}");
    }
    assert!(kubectl.run("get clusterrole all -o yaml").await.ok().contains("part-of: x"));
    let roles = kubectl.run("get role,clusterrole -A").await.ok();
    assert!(roles.contains("CREATED AT") && roles.contains("paths"), "{roles}");
    assert!(kubectl.run("explain clusterrole.aggregationRule").await.ok().contains("clusterRoleSelectors"));

    assert_eq!(kubectl.run("auth can-i create networkpolicies -n shop").await.ok().trim(), "yes");
    assert_eq!(kubectl.run("auth can-i get /metrics").await.ok().trim(), "yes");
    let listed = kubectl.run("auth can-i --list").await.ok();
    assert!(listed.contains("*.*"), "{listed}");
    if kubectl.minor >= 28 {
        let whoami = kubectl.run("auth whoami").await.ok();
        assert!(whoami.contains("loopback") && whoami.contains("sealane:loopback"), "{whoami}");
    }
    let review = "apiVersion: authorization.k8s.io/v1\nkind: SubjectAccessReview\n\
                  spec: {user: ann, resourceAttributes: {verb: get, resource: namespaces}}\n";
    let answer = kubectl.feed("create -o yaml -f -", review).await.ok();
    assert!(answer.contains("allowed: false"), "{answer}");

    let wanted = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: dev, namespace: shop}\n\
                  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: paths}\n\
                  subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}]\n";
    let told = kubectl.feed("apply -f -", wanted).await.fails();
    assert!(told.contains("roleRef") && told.contains("delete the binding and make it anew"), "{told}");
    let reconciled = kubectl.feed("auth reconcile -f -", wanted).await.ok();
    assert!(reconciled.contains("reconciled"), "{reconciled}");
    let binding = kubectl.run("get rolebinding dev -n shop -o wide").await.ok();
    assert!(binding.contains("ClusterRole/paths") && binding.contains("eve"), "{binding}");
    server.stop().await;
}
