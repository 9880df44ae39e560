//! Links in a real kernel: each test in fresh network namespaces, on threads of its own, gone with the test.
#![allow(clippy::unwrap_used)]

mod container;
mod host;
mod namespace;
mod watch;
mod wire;

use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use record::{Mac, Vni};

use super::*;

/// Runs a test in a namespace of its own.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let body = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("the tests of links need CAP_SYS_ADMIN");
        work()
    };
    thread::scope(|scope| scope.spawn(body).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// A namespace without a thread in it: it ends when the value is dropped.
fn fresh() -> Namespace {
    alone(|| Namespace::current().unwrap())
}

/// Runs `ip` in the thread's namespace; it must succeed.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {arguments}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `ip` inside.
fn ip_in(namespace: &Namespace, arguments: &str) -> String {
    namespace.inside(|| ip(arguments)).unwrap()
}

/// A path by which another process of this test can open the namespace.
fn path_of(namespace: &Namespace) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd())
}

/// The names of all links in the thread's namespace, sorted.
fn link_names() -> Vec<String> {
    let listed = ip("-o link show");
    let name = |line: &str| line.split(": ").nth(1).unwrap().split('@').next().unwrap().to_owned();
    let mut names: Vec<String> = listed.lines().map(name).collect();
    names.sort();
    names
}

/// Packets that the link has received, by the kernel's count for the thread's namespace.
fn received(link: &str) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix(link)?.strip_prefix(':'));
    row.unwrap_or_else(|| panic!("no {link} in\n{table}")).split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A link for a container with an address of each family.
fn dual(id: u32, namespace: &Namespace) -> ContainerLink<'_> {
    let [high, low] = [(id >> 8) as u8, id as u8];
    let address = InterfaceAddress { address: [10, 1, high, low].into(), length: 16 };
    ContainerLink {
        id: LinkId(id),
        namespace,
        name: "eth0".to_owned(),
        mac: derived_mac(Vni::new(7).unwrap(), address.address),
        addresses: vec![
            address,
            InterfaceAddress { address: format!("fd00:7::{id:x}").parse().unwrap(), length: 64 },
        ],
        gateways: vec![[10, 1, 255, 254].into(), "fd00:7::ffff:fffe".parse().unwrap()],
        mtu: 1450,
    }
}

/// A datapath that is content.
fn content(_: &HostEnd) -> Result<(), std::io::Error> {
    Ok(())
}

/// A host whose underlay carries packets of 1500 bytes, by IPv4 and IPv6.
fn plan() -> HostPlan {
    HostPlan::on(Underlay { mtu: 1500, ipv6: true })
}
