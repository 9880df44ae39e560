//! `sealane-cni` as a program: where it is, what network configs it is given, and how a runtime calls it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lab::Host;
use lab::namespace::Namespace;
use serde_json::{Value, json};

use crate::fabric::Fabric;

/// The plugin of this build. It is another package's program, so cargo is asked to build it beside `sealane` where it is
/// missing or older than its sources.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let binary = Path::new(env!("CARGO_BIN_EXE_sealane")).with_file_name("sealane-cni");
        if !is_fresh(&binary) {
            build(binary.parent().unwrap());
        }
        binary
    })
}

/// Whether it is younger than everything it is made of, which cargo lists beside it: `BINARY: SOURCE SOURCE ...`.
fn is_fresh(binary: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let Ok(list) = fs::read_to_string(binary.with_extension("d")) else { return false };
    let Some((_, sources)) = list.split_once(": ") else { return false };
    let Some(built) = changed(binary) else { return false };
    sources.split_whitespace().all(|path| changed(Path::new(path)).is_some_and(|source| source < built))
}

/// Without cargo's waiting for others who build, this takes a second.
fn build(folder: &Path) {
    let profile = match folder.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "cni", "--bin", "sealane-cni", "--profile", profile]);
    cargo.arg("--target-dir").arg(folder.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A network of a host's runtime.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Network<'a> {
    /// For the runtime.
    pub(crate) name: &'a str,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) namespace: Option<&'a str>,
    /// The virtual network.
    pub(crate) network: Option<&'a str>,
    pub(crate) labels: &'a [(&'a str, &'a str)],
}

impl Network<'_> {
    /// The config list that `sealane cni config` writes, and in it what it does not ask for: labels, and the folder of an
    /// agent that is elsewhere than usual.
    pub(crate) fn list(&self, fabric: &Fabric, host: Host<'_>) -> Value {
        let socket = host.agent_socket();
        let mut words = vec!["cni", "config", "--name", self.name, "--agent", socket.to_str().unwrap()];
        for (option, value) in [("--namespace", self.namespace), ("--network", self.network)] {
            words.extend(value.into_iter().flat_map(|value| [option, value]));
        }
        let text = fabric.done(self.tenant.unwrap_or("default"), &words, "");
        let mut list: Value = serde_json::from_str(&text).unwrap();
        let plugin = &mut list["plugins"][0];
        plugin["stateDir"] = json!(host.folder());
        if !self.labels.is_empty() {
            plugin["labels"] = self.labels.iter().copied().collect();
        }
        list
    }

    /// The config that a runtime makes of it for one call.
    pub(crate) fn config(&self, fabric: &Fabric, host: Host<'_>, version: &str) -> Value {
        let list = self.list(fabric, host);
        let mut config = list["plugins"][0].clone();
        config["name"] = list["name"].clone();
        config["cniVersion"] = json!(version);
        config
    }
}

/// A container's network namespace without a container.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// The runtime's name for the container.
    pub(crate) id: String,
    pub(crate) namespace: Namespace,
}

impl Sandbox {
    /// The name of the namespace has the lab's in it, so that what is left of it is seen as the lab's.
    pub(crate) fn new(fabric: &Fabric, id: &str) -> Self {
        let path = PathBuf::from(format!("/run/netns/sl-{}-{id}", fabric.name()));
        Self { id: id.to_owned(), namespace: Namespace::create(&path).unwrap() }
    }

    /// The variables of a call about `eth0` of it.
    pub(crate) fn variables(&self) -> [(&str, &str); 4] {
        [
            ("CNI_CONTAINERID", &self.id),
            ("CNI_NETNS", self.namespace.path().to_str().unwrap()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ]
    }

    /// The links and addresses in it.
    pub(crate) fn contents(&self) -> (Vec<String>, Vec<String>) {
        let look = || {
            let links = lab::link::Links::open().unwrap();
            (links.names().unwrap(), links.addresses().unwrap())
        };
        self.namespace.enter(look).unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It is removed with the lab too.
        let _ = Namespace::remove(self.namespace.path());
    }
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) value: Value,
    pub(crate) took: Duration,
}

impl Outcome {
    /// The result of a call that must succeed.
    #[track_caller]
    pub(crate) fn done(self) -> Value {
        assert!(self.success, "{}", self.value);
        self.value
    }

    /// The error's code and message, of a call that must fail.
    #[track_caller]
    pub(crate) fn fault(&self) -> (u64, String) {
        assert!(!self.success, "{}", self.value);
        let text = |key: &str| self.value[key].as_str().unwrap_or_else(|| panic!("no {key}: {}", self.value));
        assert!(!text("cniVersion").is_empty());
        (self.value["code"].as_u64().unwrap(), format!("{}: {}", text("msg"), text("details")))
    }
}

/// Calls the plugin as a runtime does (CNI specification, section "Execution protocol").
pub(crate) fn call(verb: &str, config: &Value, variables: &[(&str, &str)]) -> Outcome {
    call_with(verb, config.to_string().as_bytes(), variables)
}

/// The same with any bytes for a config.
pub(crate) fn call_with(verb: &str, stdin: &[u8], variables: &[(&str, &str)]) -> Outcome {
    let binary = binary();
    let began = Instant::now();
    let mut command = Command::new(binary);
    command.env_clear().env("CNI_COMMAND", verb).envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses its variables may be gone before it reads.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let took = began.elapsed();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let value =
        if output.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&output.stdout).unwrap() };
    Outcome { success: output.status.success(), value, took }
}
