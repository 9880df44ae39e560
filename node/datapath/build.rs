//! Compiles the eBPF programs with clang into one object, which the crate embeds.
//!
//! `CLANG` names another compiler. libbpf's headers come from `libbpf-sys`, so the programs and the loader agree.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-changed=tests/bpf");
    println!("cargo::rerun-if-changed=../../model/record/include");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let clang = clang();
    compile(&clang, Path::new("bpf/sealane.bpf.c"), &out.join("sealane.bpf.o"));
    let tunnel = out.join("tunnel.bpf.o");
    compile(&clang, Path::new("tests/bpf/tunnel.bpf.c"), &tunnel);
    println!("cargo::rustc-env=SEALANE_TEST_TUNNEL_OBJECT={}", tunnel.display());
}

/// The first of `$CLANG`, `clang-19` and `clang` that runs.
fn clang() -> String {
    let named = std::env::var("CLANG").ok();
    let candidates = named.into_iter().chain(["clang-19".to_owned(), "clang".to_owned()]);
    let runs =
        |name: &String| Command::new(name).arg("--version").output().is_ok_and(|done| done.status.success());
    candidates
        .into_iter()
        .find(runs)
        .expect("clang 15 or later compiles the eBPF programs: install it, or set CLANG")
}

fn compile(clang: &str, source: &Path, object: &Path) {
    let headers = std::env::var("DEP_BPF_INCLUDE").expect("libbpf-sys tells where its headers are");
    let machine = std::env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target's architecture");
    let status = Command::new(clang)
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-std=gnu11"])
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-address-of-packed-member"])
        .arg(format!("-I{headers}"))
        .args(["-Ibpf", "-I../../model/record/include"])
        .arg(format!("-I/usr/include/{machine}-linux-gnu"))
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object)
        .status()
        .unwrap_or_else(|fault| panic!("run {clang}: {fault}"));
    assert!(status.success(), "{clang} refused {}: its messages are above", source.display());
}
