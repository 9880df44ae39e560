//! The network between hosts, and what happens on it: one family or both, a path that narrows, hosts that come and go, a server
//! that is away, an agent that is killed. Containers keep what they have.
#![allow(clippy::unwrap_used)]

mod fabric;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fabric::ask::{Asker, Question, hold};
use fabric::stream::{Account, Conversation, transfer};
use fabric::{Fabric, PATIENCE};
use lab::container::{Container, INTERFACE, Spec};
use lab::echo::{Echo, Listen};
use lab::link::Links;
use lab::namespace::Namespace;
use lab::probe::Probe;
use lab::{Family, Host, Options, wait_until};

/// A container with its echo.
struct Pod {
    host: u16,
    container: Container,
    _echo: Echo,
}

impl Pod {
    /// On a host, with the label `app` like its name's first part.
    fn start(fabric: &Fabric, host: u16, name: &str) -> Self {
        let app = name.split('-').next().unwrap().to_owned();
        let spec = Spec {
            namespace: Some("shop".to_owned()),
            labels: [("app".to_owned(), app)].into(),
            ..Spec::idle(name)
        };
        let container =
            fabric.node(host).run(&spec).unwrap_or_else(|fault| fabric.fail(&lab::report(&fault)));
        assert!(container.record().attached.judged, "{:?}", container.record());
        let echo = Echo::start(container.namespace(), name, &[Listen::tcp(80), Listen::udp(53)]).unwrap();
        Self { host, container, _echo: echo }
    }

    fn name(&self) -> &str {
        self.container.name()
    }

    fn namespace(&self) -> &Namespace {
        self.container.namespace()
    }

    /// What the link inside carries.
    fn mtu(&self) -> Option<u32> {
        let show = || Command::new("ip").args(["-json", "link", "show", INTERFACE]).output();
        let shown = self.namespace().enter(show).unwrap().unwrap();
        let links: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        links[0]["mtu"].as_u64()?.try_into().ok()
    }

    fn widen(&self, mtu: u16) {
        self.namespace().enter(|| Links::open()?.set_mtu(INTERFACE, mtu.into())).unwrap().unwrap();
    }

    fn at(&self, ipv4: bool, port: u16) -> SocketAddr {
        SocketAddr::new(self.container.address(ipv4).unwrap(), port)
    }
}

/// Holds who reaches whom among these, by both families and protocols: everybody, but that `vault` hears `key` alone.
#[track_caller]
fn hold_matrix(fabric: &Fabric, claim: &str, pods: &[&Pod]) {
    let app = |pod: &Pod| pod.name().split('-').next().unwrap().to_owned();
    let questions = |from: &&Pod| {
        let mut questions = Vec::new();
        for to in pods.iter().filter(|to| to.name() != from.name()) {
            let allowed = app(to) != "vault" || app(from) == "key";
            for ipv4 in [true, false] {
                let address = to.at(ipv4, 0).ip();
                for probe in [Probe::tcp(address, 80), Probe::udp(address, 53)] {
                    let wanted = allowed.then(|| to.name().to_owned());
                    let seen = Some(from.at(ipv4, 0));
                    questions.push(Question { what: to.name().to_owned(), probe, wanted, seen });
                }
            }
        }
        (Asker { name: from.name().to_owned(), namespace: from.namespace().clone() }, questions)
    };
    hold(fabric, claim, &pods.iter().map(questions).collect::<Vec<_>>());
}

fn up(options: Options) -> Fabric {
    let fabric = Fabric::with(options);
    fabric.apply("default", NETWORK);
    fabric.apply("default", POLICY);
    fabric.await_realised("default");
    fabric
}

fn options(lab: &str, nodes: u16) -> Options {
    Options::running(lab, nodes, Path::new(env!("CARGO_BIN_EXE_sealane")))
}

#[test]
fn an_ipv4_underlay_carries_both_families() {
    carry("underlayfour", Family::V4);
}

#[test]
fn an_ipv6_underlay_carries_both_families() {
    carry("underlaysix", Family::V6);
}

/// Probes, 10 MB both ways at once, and the same again when the path has become narrower than the containers' links.
fn carry(lab: &str, family: Family) {
    let fabric = up(Options { family, ..options(lab, 2) });
    let (one, two) = (Pod::start(&fabric, 1, "key-1"), Pod::start(&fabric, 2, "vault-2"));
    hold_matrix(&fabric, "as the underlay is", &[&one, &two]);
    transfer_all(&fabric, &one, &two, "as the underlay is");
    let link = one.container.record().attached.mtu;
    let narrow = 1400;
    fabric.set_mtu(narrow).unwrap();
    for pod in [&one, &two] {
        let followed = || pod.mtu().filter(|mtu| *mtu < narrow).ok_or_else(|| format!("{:?}", pod.mtu()));
        let outcome = wait_until(PATIENCE, "the container's link is as narrow as the path", followed);
        outcome.unwrap_or_else(|late| fabric.fail(&late));
    }
    transfer_all(&fabric, &one, &two, "on links that became narrow with the path");
    // Whoever is root in a container may widen its link again: then it is told. The agent puts links right every few seconds, so
    // that this may take a second attempt.
    let attempt = || {
        [&one, &two].into_iter().for_each(|pod| pod.widen(link));
        let before = told_too_big(one.namespace());
        transfer_all(&fabric, &one, &two, "on a path narrower than the containers' links");
        let after = told_too_big(one.namespace());
        let told = after.0 > before.0 && after.1 > before.1;
        if told { Ok(()) } else { Err(format!("{before:?} before, {after:?} after")) }
    };
    let outcome = wait_until(PATIENCE, "by both families it is told that its packets are too big", attempt);
    outcome.unwrap_or_else(|late| fabric.fail(&late));
    let late = Pod::start(&fabric, 1, "key-late");
    let own = late.container.record().attached.mtu;
    assert!(own < link && u32::from(own) < narrow, "the new one's link is as narrow as the path: {own}");
    transfer_all(&fabric, &late, &two, "from a link that is narrow itself");
    drop((one, two, late));
    fabric.down();
}

#[track_caller]
fn transfer_all(fabric: &Fabric, from: &Pod, to: &Pod, when: &str) {
    for ipv4 in [true, false] {
        let address = to.at(ipv4, 7000);
        if let Err(fault) = transfer(from.namespace(), to.namespace(), address, LARGE) {
            fabric.fail(&format!("{LARGE} bytes between {} and {address}, {when}: {fault}", from.name()));
        }
    }
}

/// How often a namespace was told that a packet was too big, by IPv4 (with others that are unreachable) and IPv6.
fn told_too_big(namespace: &Namespace) -> (u64, u64) {
    let read = |file| fs::read_to_string(Path::new("/proc/thread-self/net").join(file)).unwrap();
    let (four, six) = namespace.enter(|| (read("snmp"), read("snmp6"))).unwrap();
    let mut icmp = four.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, values) = (icmp.next().unwrap(), icmp.next().unwrap());
    let place = names.split(' ').position(|name| name == "InDestUnreachs").unwrap();
    let six = six.lines().find_map(|line| line.strip_prefix("Icmp6InPktTooBigs")).unwrap();
    (values.split(' ').nth(place).unwrap().parse().unwrap(), six.trim().parse().unwrap())
}

#[test]
fn a_host_that_joins_late_is_a_member_and_one_that_leaves_leaves_nothing() {
    let fabric = Fabric::with_absent(options("underlayjoin", 3), 3);
    fabric.apply("default", NETWORK);
    fabric.apply("default", POLICY);
    fabric.await_realised("default");
    let (one, two) = (Pod::start(&fabric, 1, "key-1"), Pod::start(&fabric, 2, "vault-2"));
    for round in ["joins", "joins again after it was taken out"] {
        fabric.node(3).start().unwrap();
        fabric.await_ready(PATIENCE).unwrap();
        let pods = [Pod::start(&fabric, 3, "key-3"), Pod::start(&fabric, 3, "other-3")];
        let all = [&one, &two, &pods[0], &pods[1]];
        hold_matrix(&fabric, &format!("the third host {round}"), &all);
        drop(pods);
        fabric.node(3).stop().unwrap();
        take_out(&fabric, "n3");
        fabric.settle();
        let nodes: Vec<_> =
            fabric.objects("default", "endpoints").iter().map(|one| one["spec"]["node"].clone()).collect();
        assert!(nodes.len() == 2 && nodes.iter().all(|node| node != "n3"), "{nodes:?}\n{}", fabric.story());
        hold_matrix(&fabric, "the third host has left", &[&one, &two]);
    }
    drop((one, two));
    fabric.down();
}

/// Deletes a node, which the server allows once it has seen that the agent is gone.
#[track_caller]
fn take_out(fabric: &Fabric, node: &str) {
    let delete = || {
        let output = fabric.sealane("default", &["delete", "node", node], "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(told) }
    };
    let outcome = wait_until(PATIENCE, "the node can be deleted", delete);
    outcome.unwrap_or_else(|late| fabric.fail(&late));
}

#[test]
fn while_the_server_is_gone_everything_goes_on_and_after_it_is_back_all_is_level() {
    let fabric = up(options("underlayserver", 3));
    let mut pods = vec![
        Pod::start(&fabric, 1, "key-1"),
        Pod::start(&fabric, 2, "vault-2"),
        Pod::start(&fabric, 3, "other-3"),
        Pod::start(&fabric, 1, "other-1"),
    ];
    let talk = converse(&pods[0], &pods[1]);
    fabric.server().kill().unwrap();
    hold_matrix(&fabric, "the server was killed", &pods.iter().collect::<Vec<_>>());
    pods.push(Pod::start(&fabric, 1, "key-new"));
    pods.push(Pod::start(&fabric, 3, "other-new"));
    pods.remove(3).container.stop().unwrap();
    hold_matrix(&fabric, "containers came and went without a server", &pods.iter().collect::<Vec<_>>());
    // An agent that starts without a server goes by what it holds.
    fabric.node(2).restart().unwrap();
    hold_matrix(&fabric, "an agent started without a server", &pods.iter().collect::<Vec<_>>());
    assert!(talk.is_alive());
    fabric.server().start().unwrap();
    await_level(&fabric, &pods);
    hold_matrix(&fabric, "the server is back", &pods.iter().collect::<Vec<_>>());
    fabric.done("default", &["delete", "networkpolicy", "vault", "-n", "shop"], "");
    fabric.apply("default", POLICY);
    fabric.await_realised("default");
    hold_matrix(&fabric, "policy goes on from where it was", &pods.iter().collect::<Vec<_>>());
    end(&fabric, talk);
    drop(pods);
    fabric.down();
}

#[test]
fn a_killed_agent_leaves_its_containers_alone_and_its_successor_takes_them_over() {
    let fabric = up(options("underlayagent", 2));
    let mut pods = vec![
        Pod::start(&fabric, 1, "key-1"),
        Pod::start(&fabric, 2, "vault-2"),
        Pod::start(&fabric, 1, "other-1"),
    ];
    let talk = converse(&pods[0], &pods[1]);
    let before = (links(fabric.node(1)), pins(&fabric.node(1).pins()));
    for round in 1..=3 {
        fabric.node(1).kill().unwrap();
        hold_matrix(&fabric, &format!("the agent was killed, {round}"), &pods.iter().collect::<Vec<_>>());
        fabric.node(1).start().unwrap();
        assert_eq!((links(fabric.node(1)), pins(&fabric.node(1).pins())), before, "{}", fabric.story());
        hold_matrix(&fabric, &format!("its successor runs, {round}"), &pods.iter().collect::<Vec<_>>());
    }
    fabric.node(1).kill().unwrap();
    fabric.node(2).kill().unwrap();
    hold_matrix(&fabric, "no agent runs at all", &pods.iter().collect::<Vec<_>>());
    fabric.start().unwrap();
    fabric.await_ready(PATIENCE).unwrap();
    pods.push(Pod::start(&fabric, 1, "key-new"));
    await_level(&fabric, &pods);
    hold_matrix(&fabric, "and another came", &pods.iter().collect::<Vec<_>>());
    // Nothing of a running connection waits for an agent.
    end(&fabric, talk);
    drop(pods);
    fabric.down();
}

/// A connection that policy allows, across two hosts.
fn converse(from: &Pod, to: &Pod) -> Conversation {
    assert_ne!(from.host, to.host);
    Conversation::open(from.namespace(), to.namespace(), to.at(true, 0).ip(), 9000).unwrap()
}

#[track_caller]
fn end(fabric: &Fabric, talk: Conversation) {
    match talk.end() {
        Ok(Account { words, longest }) if words > 0 && longest < UNDISTURBED => {}
        other => fabric.fail(&format!("the connection did not go on undisturbed: {other:?}")),
    }
}

/// Waits until the server knows exactly these endpoints and every node holds what it should.
#[track_caller]
fn await_level(fabric: &Fabric, pods: &[Pod]) {
    let wanted: BTreeSet<String> = pods.iter().map(|pod| pod.name().to_owned()).collect();
    let look = || {
        let all = fabric.objects("default", "endpoints");
        let known: BTreeSet<String> =
            all.iter().map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        if known == wanted { Ok(()) } else { Err(format!("{known:?}")) }
    };
    let outcome = wait_until(PATIENCE, "the server knows the endpoints that run", look);
    outcome.unwrap_or_else(|late| fabric.fail(&late));
    fabric.settle();
}

/// The names and numbers of a host's links.
fn links(host: Host<'_>) -> BTreeSet<String> {
    let output = host.exec(&["ip", "-oneline", "link", "show"]).unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// The pinned objects below a folder. An object that is pinned anew has another inode.
fn pins(folder: &Path) -> BTreeSet<(String, u64)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let data = entry.metadata().unwrap();
        if data.is_dir() {
            found.extend(pins(&entry.path()));
        } else {
            found.insert((entry.path().display().to_string(), data.ino()));
        }
    }
    found
}

const NETWORK: &str = "
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: wide}
spec:
  subnets: [{cidr: 10.60.0.0/16}, {cidr: 'fd00:60::/64'}]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {sealane.dev/network: wide}}
";

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: vault, namespace: shop}
spec:
  podSelector: {matchLabels: {app: vault}}
  ingress: [{from: [{podSelector: {matchLabels: {app: key}}}]}]
";

const LARGE: usize = 10_000_000;
/// The longest silence of a connection that nothing but a busy machine disturbs.
const UNDISTURBED: Duration = Duration::from_secs(10);
