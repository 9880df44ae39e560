//! podman on a host of a lab: with storage, locks and networks of its own, so that no other podman of the machine is touched.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lab::Host;
use lab::namespace::Namespace;
use serde_json::Value;

use crate::fabric::Fabric;
use crate::image::{self, IMAGE};
use crate::plugin::{self, Network};
use crate::traces::Groups;

/// podman on one host. Its containers go with this value.
pub(crate) struct Podman<'a> {
    fabric: &'a Fabric,
    host: Host<'a>,
    folder: PathBuf,
    /// Namespaces that podman made.
    sandboxes: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Podman<'a> {
    /// On this host, with these networks and the image.
    pub(crate) fn on(fabric: &'a Fabric, node: u16, networks: &[Network<'_>]) -> Self {
        for (program, package) in [("podman", "podman"), ("conmon", "conmon"), ("runc", "runc")] {
            image::program(program, package);
        }
        let host = fabric.node(node);
        let folder = host.folder().join("podman");
        let lists = folder.join("networks");
        fs::create_dir_all(&lists).unwrap();
        for network in networks {
            let list = network.list(fabric, host);
            fs::write(lists.join(format!("{}.conflist", network.name)), list.to_string()).unwrap();
        }
        fs::write(folder.join("containers.conf"), settings(&folder)).unwrap();
        fs::write(folder.join("storage.conf"), storage(&folder)).unwrap();
        let podman = Self { fabric, host, folder, sandboxes: RefCell::default() };
        let archive = image::archive(&podman.folder);
        podman.done(&["load", "--quiet", "--input", archive.to_str().unwrap()]);
        podman
    }

    /// A call of podman that will be made on the host.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.host.command("podman").unwrap();
        command.env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.folder.join("storage.conf"));
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Calls podman.
    pub(crate) fn call(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The same; anything but success is the end of the proof.
    #[track_caller]
    pub(crate) fn done(&self, words: &[&str]) -> String {
        let output = self.call(words);
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            self.fabric.fail(&format!("podman {words:?} on {}: {told}", self.host.name()));
        }
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Starts a container that serves its own name at port 80, and notes its namespace.
    #[track_caller]
    pub(crate) fn serve(&self, name: &str, network: &str, options: &[&str]) {
        let [program, option, script] = image::serving(name);
        self.run(name, network, options, &[&program, &option, &script]);
    }

    /// Starts a container.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, network: &str, options: &[&str], program: &[&str]) {
        let words = self.words(name, network);
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.extend(options.iter().copied().chain([IMAGE]).chain(program.iter().copied()));
        self.done(&words);
        self.note(name);
    }

    /// The beginning of a call that starts a container.
    pub(crate) fn words(&self, name: &str, network: &str) -> Vec<String> {
        let group = Groups::path(&self.fabric.name(), &self.host.name(), "podman");
        // The limits: a process of the machine that may not raise its own cannot give podman's defaults.
        let words = ["run", "--detach", "--name", name, "--network", network, "--cgroup-parent", &group];
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        words.into_iter().chain(limits).map(str::to_owned).collect()
    }

    /// What podman says of a container's place on a network.
    #[track_caller]
    pub(crate) fn place(&self, container: &str, network: &str) -> Value {
        let text = self.done(&["inspect", container]);
        let all: Value = serde_json::from_str(&text).unwrap();
        all[0]["NetworkSettings"]["Networks"][network].clone()
    }

    /// The IPv4 address that podman says a container has.
    #[track_caller]
    pub(crate) fn address(&self, container: &str, network: &str) -> IpAddr {
        let place = self.place(container, network);
        let text = place["IPAddress"].as_str().unwrap_or_default();
        text.parse().unwrap_or_else(|_| panic!("no address of {container}: {place}"))
    }

    /// What a container gets when it asks for a page; `None`: nothing within two seconds.
    pub(crate) fn page(&self, container: &str, address: IpAddr) -> Option<String> {
        let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 80");
        let output = self.call(&["exec", container, "sh", "-c", &script]);
        let answer = String::from_utf8(output.stdout).unwrap();
        answer.split_once("\r\n\r\n").map(|(_, page)| page.trim_end().to_owned())
    }

    /// Notes the namespace of a container that has started again.
    #[track_caller]
    pub(crate) fn note(&self, container: &str) {
        let path = self.done(&["inspect", "--format", "{{.NetworkSettings.SandboxKey}}", container]);
        assert!(path.starts_with("/run/netns/"), "{container} has no namespace: {path:?}");
        self.sandboxes.borrow_mut().insert(path.into());
    }

    /// Removes every container; of none is a namespace left.
    #[track_caller]
    pub(crate) fn empty(&self) {
        self.done(&["rm", "--all", "--force", "--time", "0"]);
        let left = self.left();
        assert!(left.is_empty(), "podman has left {left:?}");
    }

    fn left(&self) -> Vec<PathBuf> {
        self.sandboxes.borrow().iter().filter(|path| path.exists()).cloned().collect()
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let outcome = self.command(&["rm", "--all", "--force", "--time", "0"]).output();
        let left = self.left();
        for path in &left {
            // Only after something else went wrong, which is what the proof tells.
            let _ = Namespace::remove(path);
        }
        if !std::thread::panicking() {
            assert!(outcome.is_ok_and(|output| output.status.success()), "podman removes its containers");
            assert!(left.is_empty(), "podman has left {left:?}");
        }
    }
}

/// `containers.conf(5)`. Events and locks would else be the machine's.
fn settings(folder: &Path) -> String {
    let plugins = plugin::binary().parent().unwrap();
    format!(
        "[network]\nnetwork_backend = \"cni\"\ncni_plugin_dirs = [{plugins:?}]\nnetwork_config_dir = {:?}\n\
         [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nlock_type = \"file\"\n\
         tmp_dir = {:?}\n",
        folder.join("networks"),
        folder.join("tmp"),
    )
}

/// `containers-storage.conf(5)`.
fn storage(folder: &Path) -> String {
    let (root, run) = (folder.join("root"), folder.join("run"));
    format!("[storage]\ndriver = \"vfs\"\ngraphroot = {root:?}\nrunroot = {run:?}\n")
}
