//! What the API says of itself, to clients of several generations.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use axum::body::Body;
use harness::{Answer, Server, answer};
use hyper::Method;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

/// A release of kubectl, talking to a server.
struct Kubectl {
    program: PathBuf,
    config: PathBuf,
    home: PathBuf,
}

/// Every kubectl that there is: the one on the path, and Debian 12's (1.20), which `scripts/install test` unpacks beside it and
/// which knows OpenAPI 2.0 in protobuf alone.
fn kubectls(server: &Server, path: &str) -> Vec<Kubectl> {
    let debian = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/kubectl/usr/bin/kubectl");
    let programs = [PathBuf::from("kubectl"), debian].into_iter();
    let there = programs.filter(|program| program.components().count() == 1 || program.exists());
    let made = there.enumerate().map(|(index, program)| {
        let home = server.folder.path().join(format!("home{index}{}", path.replace('/', "-")));
        std::fs::create_dir(&home).unwrap();
        let config = home.join("config");
        std::fs::write(&config, server.kubeconfig(path)).unwrap();
        Kubectl { program, config, home }
    });
    made.collect()
}

impl Kubectl {
    /// Whether it went well, and what was said.
    async fn feed(&self, arguments: &str, input: &str) -> (bool, String) {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.config).args(arguments.split_whitespace());
        command.env("HOME", &self.home).env("KUBECACHEDIR", self.home.join("cache")).env_remove("KUBECONFIG");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output());
        let output = output.await.unwrap_or_else(|_| panic!("kubectl {arguments} hangs")).unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    async fn ok(&self, arguments: &str) -> String {
        let (well, said) = self.feed(arguments, "").await;
        assert!(well, "{} {arguments}: {said}", self.program.display());
        said
    }
}

/// The words of a text, whatever the lines.
fn flowing(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kubectl_explains_every_field() {
    let server = Server::start().await;
    for kubectl in kubectls(&server, "") {
        let spec = flowing(&kubectl.ok("explain virtualnetwork.spec").await);
        for told in [
            "subnets <[]Object> -required-",
            "The address ranges that endpoints get addresses of",
            "mtu <integer> The largest packet of an endpoint in bytes",
            "One of Allow, Deny. Default: Allow.",
            "The VXLAN network identifier (RFC 7348), unique in the fabric",
        ] {
            assert!(spec.contains(told), "{}: {told}\n{spec}", kubectl.program.display());
        }
        let deep =
            flowing(&kubectl.ok("explain netpol.spec.ingress.from.namespaceSelector.matchLabels").await);
        assert!(deep.contains("Labels that must be there with these values."), "{deep}");
        let all = kubectl.ok("explain endpoints --recursive").await;
        for field in ["ownerReferences", "underlay", "addresses", "hostAddresses", "observedGeneration"] {
            assert_eq!(all.contains(field), field != "underlay", "{field}: {all}");
        }
        assert!(kubectl.ok("explain ns").await.contains("sealane.dev/network"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kubectl_shows_the_field_that_is_wrong() {
    let server = Server::start().await;
    let network = "apiVersion: sealane.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {name: red}\n\
                   spec:\n  colour: blue\n  subnets: [{cidr: 10.1.0.0/16}]\n";
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {generateName: web-, namespace: default}\n\
                  spec:\n  podSelector: {}\n  ingress: [{ports: [{port: http}, {port: 80}]}]\n";
    for kubectl in kubectls(&server, "") {
        let (well, told) = kubectl.feed("create -f -", network).await;
        assert!(!well && told.contains("colour") && told.contains("spec"), "{told}");
        let (well, told) = kubectl.feed("create -f -", &network.replace("  colour: blue\n", "")).await;
        assert!(well, "{told}");
        let (well, told) = kubectl.feed("create -f -", &network.replace("subnets", "subnet")).await;
        assert!(!well && told.contains("subnets") && told.contains("colour"), "all at once: {told}");
        let (well, told) = kubectl.feed("create -f -", policy).await;
        assert!(well, "names and numbers of ports, and no name: {told}");
        let (well, told) =
            kubectl.feed("apply -f -", &policy.replace("generateName: web-", "name: web")).await;
        assert!(well, "{told}");
        kubectl.ok("delete vnet red").await;
        kubectl.ok("delete netpol --all").await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kubectl_knows_the_kinds_by_all_their_names() {
    let server = Server::start().await;
    for kubectl in kubectls(&server, "") {
        let shown = flowing(&kubectl.ok("api-resources").await);
        for row in [
            "virtualnetworks vnet,vnets sealane.dev/v1alpha1 false VirtualNetwork",
            "networkpolicies netpol networking.k8s.io/v1 true NetworkPolicy",
            "namespaces ns v1 false Namespace",
        ] {
            assert!(shown.contains(row), "{shown}");
        }
        for name in ["vnet", "virtualnetwork", "VirtualNetworks", "sealane"] {
            kubectl.ok(&format!("get {name}")).await;
        }
    }
    let acme = server.post(harness::TENANTS, &harness::tenant("acme")).await;
    acme.expect(201);
    for kubectl in kubectls(&server, "/clusters/acme") {
        let shown = kubectl.ok("api-resources").await;
        assert!(shown.contains("virtualnetworks") && !shown.contains("tenants"), "{shown}");
        assert!(kubectl.ok("explain vnet.spec.world").await.contains("outside the"));
        assert!(!kubectl.feed("explain tenants", "").await.0, "a tenant's API does not offer tenants");
    }
    server.stop().await;
}

async fn asked(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = server.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(server.send(request.body(Body::empty()).unwrap()).await).await
}

/// `(group, version, resource, kind, verbs)` of all that discovery of old tells.
async fn classic(server: &Server) -> BTreeSet<String> {
    let mut places = vec![("".to_owned(), "v1".to_owned(), "/api/v1".to_owned())];
    for group in server.get("/apis").await.body["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        for version in group["versions"].as_array().unwrap() {
            let version = version["version"].as_str().unwrap();
            places.push((name.to_owned(), version.to_owned(), format!("/apis/{name}/{version}")));
        }
    }
    let mut told = BTreeSet::new();
    for (group, version, path) in places {
        for resource in server.get(&path).await.body["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let names = [&resource["shortNames"], &resource["categories"], &resource["namespaced"]];
            let names = if name.contains('/') { String::new() } else { format!("{names:?}") };
            told.insert(format!(
                "{group} {version} {name} {} {} {names}",
                resource["kind"], resource["verbs"]
            ));
        }
    }
    told
}

#[tokio::test]
async fn aggregated_discovery_tells_what_the_classic_one_tells() {
    let server = Server::start().await;
    let expected = classic(&server).await;
    assert!(expected.len() > 10, "{expected:?}");
    for version in ["v2", "v2beta1"] {
        let accept = format!(
            "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList,application/json"
        );
        let mut told = BTreeSet::new();
        for path in ["/api", "/apis"] {
            let found = asked(&server, path, &[("accept", &accept)]).await.expect(200);
            assert_eq!(found.body["kind"], "APIGroupDiscoveryList");
            assert_eq!(found.body["apiVersion"], format!("apidiscovery.k8s.io/{version}"));
            let media = found.headers["content-type"].to_str().unwrap();
            assert_eq!(media, accept.split(',').next().unwrap());
            for group in found.body["items"].as_array().unwrap() {
                told.extend(resources(group));
            }
        }
        assert_eq!(told, expected);
    }
    let plain = asked(&server, "/apis", &[("accept", "application/json")]).await;
    assert_eq!(plain.body["kind"], "APIGroupList");
    server.stop().await;
}

/// The resources of a group in aggregated discovery, in the words of [`classic`].
fn resources(group: &Value) -> Vec<String> {
    let mut told = Vec::new();
    for version in group["versions"].as_array().unwrap() {
        let place = format!(
            "{} {}",
            group["metadata"]["name"].as_str().unwrap(),
            version["version"].as_str().unwrap()
        );
        for resource in version["resources"].as_array().unwrap() {
            let name = resource["resource"].as_str().unwrap();
            let namespaced = Value::from(resource["scope"] == "Namespaced");
            let names = [&resource["shortNames"], &resource["categories"], &namespaced];
            let kind = &resource["responseKind"]["kind"];
            told.push(format!("{place} {name} {kind} {} {names:?}", resource["verbs"]));
            for inner in resource["subresources"].as_array().into_iter().flatten() {
                let inner_name = inner["subresource"].as_str().unwrap();
                told.push(format!("{place} {name}/{inner_name} {kind} {} ", inner["verbs"]));
            }
        }
    }
    told
}

#[tokio::test]
async fn a_document_is_sent_once_to_whoever_keeps_it() {
    let server = Server::start().await;
    for path in ["/openapi/v2", "/openapi/v3", "/apis", "/clusters/acme/openapi/v3/apis/sealane.dev/v1alpha1"]
    {
        let first = asked(&server, path, &[]).await.expect(200);
        let tag = first.headers["etag"].to_str().unwrap();
        let again = asked(&server, path, &[("if-none-match", tag)]).await.expect(304);
        assert_eq!(again.body, "", "{path}");
        asked(&server, path, &[("if-none-match", "\"another\"")]).await.expect(200);
    }
    let index = server.get("/clusters/acme/openapi/v3").await.expect(200);
    let places = index.body["paths"].as_object().unwrap();
    assert!(places.len() >= 3, "{places:?}");
    for place in places.values() {
        let url = place["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with("/clusters/acme/openapi/v3/"), "{url}");
        let by_hash = asked(&server, url, &[]).await.expect(200);
        assert!(by_hash.headers["cache-control"].to_str().unwrap().contains("immutable"));
        let stale = asked(&server, &format!("{}?hash=0", url.split('?').next().unwrap()), &[]).await;
        assert!(!stale.headers["cache-control"].to_str().unwrap().contains("immutable"));
    }
    server.stop().await;
}

#[tokio::test]
async fn openapi_of_old_comes_in_json_and_in_protobuf() {
    let server = Server::start().await;
    let json = asked(&server, "/openapi/v2", &[("accept", "application/json")]).await.expect(200);
    assert_eq!(json.body["swagger"], "2.0");
    assert!(json.body["definitions"]["dev.sealane.v1alpha1.VirtualNetwork"].is_object());
    for media in [
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    ] {
        let binary = asked(&server, "/openapi/v2", &[("accept", media)]).await.expect(200);
        let told = binary.headers["content-type"].to_str().unwrap();
        assert_eq!(told, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
        assert_ne!(binary.headers["etag"], json.headers["etag"]);
    }
    server.stop().await;
}

/// Every file of Rust below a folder.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_row_of_the_conventions_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/conventions.md")).unwrap();
    let mut known = Vec::new();
    for folder in ["control/api", "model/intent"] {
        ["src", "tests"].iter().for_each(|inner| sources(&root.join(folder).join(inner), &mut known));
    }
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 15, "{rows:?}");
    for row in rows {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let names: Vec<_> = cell.split('`').skip(1).step_by(2).filter(|name| !name.contains('/')).collect();
        assert!(!names.is_empty(), "no test is named: {row}");
        for name in names {
            let claim = format!("fn {name}(");
            assert!(known.iter().any(|source| source.contains(&claim)), "there is no test {name}");
        }
    }
}
