//! containerd on a host of a lab, with folders and sockets of its own, and `ctr`, which calls the plugin itself.
//!
//! `ctr` of this version knows one place for network configs and one for plugins, `/etc/cni/net.d` and `/opt/cni/bin`. Both
//! processes have a mount namespace of their own, in which these and containerd's folders under `/run` and `/var/lib` are
//! empty file systems: the machine's are neither read nor written.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use lab::{Host, wait_until};

use crate::fabric::{Fabric, PATIENCE};
use crate::image::{self, IMAGE};
use crate::plugin::{self, Network};
use crate::traces::Groups;

/// containerd on one host. Its containers go with this value.
pub(crate) struct Containerd<'a> {
    fabric: &'a Fabric,
    host: Host<'a>,
    folder: PathBuf,
    process: Child,
    /// Folders of the machine that it mounts over and that were not there before.
    made: Vec<PathBuf>,
}

impl<'a> Containerd<'a> {
    /// On this host, with this network and the image.
    pub(crate) fn on(fabric: &'a Fabric, node: u16, network: Network<'_>) -> Self {
        let programs =
            ["containerd", "ctr", "containerd-shim-runc-v2"].map(|program| (program, "containerd"));
        for (program, package) in programs.into_iter().chain([("runc", "runc")]) {
            image::program(program, package);
        }
        let host = fabric.node(node);
        let folder = host.folder().join("containerd");
        fs::create_dir_all(folder.join("plugins")).unwrap();
        fs::create_dir_all(folder.join("networks")).unwrap();
        // A copy could be busy: whatever another test starts meanwhile has it open for writing until its exec.
        std::os::unix::fs::symlink(plugin::binary(), folder.join("plugins/sealane-cni")).unwrap();
        let list = network.list(fabric, host).to_string();
        fs::write(folder.join("networks/10-sealane.conflist"), list).unwrap();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = {:?}\n",
            folder.join("root"),
            folder.join("state"),
            folder.join("containerd.sock"),
            folder.join("opt"),
        );
        fs::write(folder.join("config.toml"), config).unwrap();
        let covered = COVERED.map(PathBuf::from);
        let made = covered.into_iter().filter(|path| !path.exists()).collect();
        let log = fs::File::create(folder.join("containerd.log")).unwrap();
        let mut command = host.command("unshare").unwrap();
        command.args(["--mount", "--propagation", "slave", "sh", "-e", "-c", SCRIPT]).arg(&folder);
        command.args(COVERED).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap();
        let containerd = Self { fabric, host, folder, process, made };
        let ready = || containerd.call(&["version"]).status.success();
        wait_until(PATIENCE, "containerd answers", ready).unwrap_or_else(|late| containerd.fail(&late));
        let archive = image::archive(&containerd.folder);
        containerd.done(&["image", "import", "--snapshotter", "native", archive.to_str().unwrap()]);
        containerd
    }

    /// Calls `ctr`, where containerd is.
    pub(crate) fn call(&self, words: &[&str]) -> Output {
        let mut command = self.host.command("nsenter").unwrap();
        self.inside(&mut command).args(words).stdin(Stdio::null()).output().unwrap()
    }

    /// The same; anything but success is the end of the proof.
    #[track_caller]
    pub(crate) fn done(&self, words: &[&str]) -> String {
        let output = self.call(words);
        if !output.status.success() {
            self.fail(&format!("ctr {words:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs a container on the network; without `--detach` to its end. Returns what it wrote.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, options: &[&str], program: &[&str]) -> String {
        let group = Groups::path(&self.fabric.name(), &self.host.name(), "containerd");
        let group = format!("{group}/{name}");
        let mut words = vec!["run", "--cni", "--snapshotter", "native", "--cgroup", &group];
        words.extend(options.iter().copied().chain([IMAGE, name]).chain(program.iter().copied()));
        self.done(&words)
    }

    /// What a container writes that runs a program beside its own; `None` if that fails.
    pub(crate) fn exec(&self, name: &str, program: &[&str]) -> Option<String> {
        let words = [&["task", "exec", "--exec-id", "asked", name][..], program].concat();
        let output = self.call(&words);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    }

    /// Ends a container and deletes it. `ctr` calls no plugin for one that was detached.
    #[track_caller]
    pub(crate) fn delete(&self, name: &str) {
        self.done(&["task", "kill", "--signal", "SIGKILL", name]);
        let stopped = || self.done(&["task", "ls"]).lines().any(|line| is_stopped(line, name));
        wait_until(PATIENCE, "the task stops", stopped).unwrap_or_else(|late| self.fail(&late));
        // Its exit code is that of the container, which was killed.
        self.call(&["task", "delete", name]);
        self.done(&["container", "delete", name]);
    }

    fn inside<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let socket = self.folder.join("containerd.sock");
        command.arg("--target").arg(self.process.id().to_string()).args(["--mount", "ctr", "--address"]);
        command.arg(socket).args(["--namespace", "proof"])
    }

    #[track_caller]
    fn fail(&self, what: &dyn std::fmt::Display) -> ! {
        let log = fs::read_to_string(self.folder.join("containerd.log")).unwrap_or_default();
        self.fabric.fail(&format!("{what}\n{log}"))
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let names = String::from_utf8_lossy(&self.call(&["container", "ls", "--quiet"]).stdout).into_owned();
        for name in names.lines() {
            self.call(&["task", "delete", "--force", name]);
            self.call(&["container", "delete", name]);
        }
        // It ends without its shims; those that are left are in the lab's group, which ends them.
        let _ = self.process.kill();
        let _ = self.process.wait();
        for path in &self.made {
            let _ = fs::remove_dir(path);
        }
    }
}

fn is_stopped(line: &str, name: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some(name) && words.nth(1) == Some("STOPPED")
}

/// Covered by empty file systems: containerd's and the plugins' folders that cannot be set.
const COVERED: [&str; 4] = ["/etc/cni", "/opt/cni", "/run/containerd", "/var/lib/cni"];

/// `$0` is the folder, the arguments are [`COVERED`].
const SCRIPT: &str = r#"
for folder; do mkdir -p "$folder"; mount -t tmpfs none "$folder"; done
mkdir /etc/cni/net.d /opt/cni/bin
mount --bind "$0/networks" /etc/cni/net.d
mount --bind "$0/plugins" /opt/cni/bin
exec containerd --config "$0/config.toml"
"#;
