//! The image that the containers are made from: busybox alone, in an archive that podman and containerd both read. No registry
//! of images is asked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

/// The image's name.
pub(crate) const IMAGE: &str = "localhost/box:latest";

/// Makes the archive in this folder (the format of `docker save`).
pub(crate) fn archive(folder: &Path) -> PathBuf {
    let root = folder.join("image");
    for part in ["bin", "www", "tmp", "etc"] {
        fs::create_dir_all(root.join(part)).unwrap();
    }
    let busybox = program("busybox", "busybox-static");
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in ["sh", "sleep", "nc", "httpd"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let parts = folder.join("parts");
    fs::create_dir_all(&parts).unwrap();
    let layer = parts.join("layer.tar");
    tar(&layer, &root, &["."]);
    let sum = done(Command::new("sha256sum").arg(&layer));
    let sum = sum.split_whitespace().next().unwrap();
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": machine, "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{sum}")] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }]);
    fs::write(parts.join("config.json"), config.to_string()).unwrap();
    fs::write(parts.join("manifest.json"), manifest.to_string()).unwrap();
    let archive = folder.join("image.tar");
    tar(&archive, &parts, &["config.json", "layer.tar", "manifest.json"]);
    archive
}

/// What a container runs that serves this text as its page at port 80.
pub(crate) fn serving(text: &str) -> [String; 3] {
    let script = format!("echo {text} > /www/index.html; exec httpd -f -p 80 -h /www");
    ["sh".to_owned(), "-c".to_owned(), script]
}

/// Where a program is; a proof that lacks one says which package has it.
#[track_caller]
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    let found = folders.into_iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed: this proof needs the package {package}"))
}

fn tar(archive: &Path, folder: &Path, names: &[&str]) {
    done(Command::new("tar").arg("-C").arg(folder).arg("-cf").arg(archive).args(names));
}

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
