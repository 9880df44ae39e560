//! What a fleet is: hosts that reach one another and the world, and nothing left of it afterwards.
#![allow(clippy::unwrap_used)]

mod ground;

use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};

use ground::{apart, assert_unchanged, name};
use lab::echo::{Echo, Listen};
use lab::inventory::{Inventory, Kind};
use lab::probe::{Outcome, Probe};
use lab::reach::{Reach, Source, Target};
use lab::{Family, Host, Lab, Options, Underlay};
use record::Protocol;

/// For those who answer: a busy machine may take long.
const PATIENCE: Duration = Duration::from_secs(20);
/// For those who do not.
const LIMIT: Duration = Duration::from_millis(500);

fn echo(host: Host<'_>) -> Echo {
    Echo::start(&host.namespace().unwrap(), &host.name(), &[Listen::tcp(80), Listen::udp(53)]).unwrap()
}

fn source(host: Host<'_>) -> Source {
    Source { name: host.name(), namespace: host.namespace().unwrap() }
}

fn targets<'a>(hosts: impl Iterator<Item = Host<'a>>) -> Vec<Target> {
    let ports = [(Protocol::Tcp, 80), (Protocol::Udp, 53)];
    let mut all = Vec::new();
    for host in hosts {
        for ((protocol, port), ipv4) in ports.into_iter().flat_map(|port| [(port, true), (port, false)]) {
            all.push(Target { name: host.name(), address: host.address(ipv4), protocol, port });
        }
    }
    all
}

#[test]
fn three_hosts_and_the_world_reach_one_another_in_both_families() {
    apart(|| {
        let lab = Lab::up(Options::bare(&name(), 3)).unwrap();
        let hosts: Vec<Host<'_>> = lab.nodes().chain([lab.server(), lab.world()]).collect();
        let _echoes: Vec<Echo> = hosts.iter().map(|host| echo(*host)).collect();
        let sources: Vec<Source> = hosts.iter().map(|host| source(*host)).collect();
        let start = Instant::now();
        let reach = Reach::measure(&sources, &targets(hosts.into_iter()), PATIENCE).unwrap();
        reach.check(|_, _| true).unwrap();
        assert!(start.elapsed() < PATIENCE, "answers are waited for no longer than they take");
    });
}

#[test]
fn every_outside_address_is_the_worlds_and_a_host_reaches_it_as_itself() {
    apart(|| {
        let lab = Lab::up(Options::bare(&name(), 1)).unwrap();
        let world = lab.world().namespace().unwrap();
        let outside = [true, false].map(|ipv4| Underlay::outside(ipv4).nth(77).unwrap());
        let listens = outside.map(|address| Listen { address: Some(address), ..Listen::udp(53) });
        let _echo = Echo::start(&world, "world", &[listens[0], listens[1], Listen::tcp(80)]).unwrap();
        let host = lab.node(1);
        for address in outside {
            let probes = [Probe::tcp(address, 80), Probe::udp(address, 53)];
            let outcomes = Probe::send(&probes, &host.namespace().unwrap(), PATIENCE).unwrap();
            for outcome in outcomes {
                let Outcome::Answered { by, seen } = &outcome else { panic!("{address}: {outcome}") };
                assert_eq!((by.as_str(), seen.ip()), ("world", host.address(address.is_ipv4())));
            }
        }
    });
}

#[test]
fn a_probe_is_seen_as_the_address_and_port_it_was_asked_from() {
    apart(|| {
        let lab = Lab::up(Options::bare(&name(), 2)).unwrap();
        let _echo = echo(lab.node(2));
        let namespace = lab.node(1).namespace().unwrap();
        for ipv4 in [true, false] {
            let from = SocketAddr::new(lab.node(1).address(ipv4), 40_000);
            let to = lab.node(2).address(ipv4);
            let probes = [Probe::tcp(to, 80).from(from), Probe::udp(to, 53).from(from)];
            for outcome in Probe::send(&probes, &namespace, PATIENCE).unwrap() {
                assert_eq!(outcome, Outcome::Answered { by: "n2".to_owned(), seen: from });
            }
        }
    });
}

#[test]
fn a_partitioned_host_is_silent_until_it_is_healed() {
    apart(|| {
        let lab = Lab::up(Options::bare(&name(), 2)).unwrap();
        let _echo = echo(lab.node(2));
        let probe = Probe::tcp(lab.node(2).address(true), 80);
        let from = lab.node(1).namespace().unwrap();
        let ask = |limit| Probe::send(&[probe], &from, limit).unwrap().remove(0);
        let before = ask(PATIENCE);
        assert!(before.answered_by("n2"), "{before}");
        lab.node(2).partition().unwrap();
        assert_eq!(ask(LIMIT), Outcome::Silent);
        lab.node(2).heal().unwrap();
        let after = ask(PATIENCE);
        assert!(after.answered_by("n2"), "{after}");
    });
}

#[test]
fn a_lab_of_one_family_has_no_address_of_the_other() {
    apart(|| {
        for (family, absent) in [(Family::V4, "fd00:31"), (Family::V6, "172.31")] {
            let lab = Lab::up(Options { family, ..Options::bare(&name(), 1) }).unwrap();
            let addresses =
                lab.node(1).namespace().unwrap().enter(|| lab::link::Links::open()?.addresses()).unwrap();
            let addresses = addresses.unwrap();
            assert!(!addresses.iter().any(|address| address.contains(absent)), "{addresses:?}");
            let present = addresses.iter().filter(|address| address.contains("of eth0")).count();
            assert!(present >= 1, "{addresses:?}");
        }
    });
}

#[test]
fn every_host_has_the_mtu_that_was_asked_for() {
    apart(|| {
        let lab = Lab::up(Options { mtu: 1400, ..Options::bare(&name(), 2) }).unwrap();
        let mtu = |host: Host<'_>| {
            let output = host.exec(&["ip", "-o", "link", "show", "eth0"]).unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(mtu(lab.node(2)).contains("mtu 1400"), "{}", mtu(lab.node(2)));
        lab.set_mtu(9000).unwrap();
        for host in lab.nodes().chain([lab.world()]) {
            assert!(mtu(host).contains("mtu 9000"), "{}", mtu(host));
        }
    });
}

#[test]
fn a_command_on_a_host_sees_its_links_and_runs_in_its_control_group() {
    apart(|| {
        let name = name();
        let lab = Lab::up(Options::bare(&name, 1)).unwrap();
        let output = lab
            .node(1)
            .exec(&["sh", "-c", "cat /proc/self/cgroup; ls /proc/self/net/dev_snmp6; exit 7"])
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert!(text.contains(&format!("/sealane-lab/{name}/n1/system")), "{text}");
        assert!(text.contains("eth0"), "{text}");
        assert!(lab.host("n9").unwrap_err().to_string().contains("n9"));
    });
}

#[test]
fn the_machine_is_the_same_before_and_after() {
    apart(|| {
        let name = name();
        let before = Inventory::take().unwrap();
        let lab = Lab::up(Options::bare(&name, 3)).unwrap();
        std::fs::create_dir(lab.node(2).pins().join("maps")).unwrap();
        let kinds: Vec<Kind> =
            Inventory::take().unwrap().of_lab(&name).into_iter().map(|item| item.kind).collect();
        for kind in [Kind::Namespace, Kind::Mount, Kind::Pin, Kind::Cgroup, Kind::File] {
            assert!(kinds.contains(&kind), "the inventory sees no {kind:?} of a lab that is up: {kinds:?}");
        }
        lab.down().unwrap();
        assert_unchanged(&before, &[&name]);
    });
}

#[test]
fn a_namespace_that_somebody_else_names_in_the_meantime_is_left_alone() {
    apart(|| {
        let (first, second) = (name(), name());
        let before = Inventory::take().unwrap();
        let ip =
            |words: &[&str]| assert!(Command::new("ip").args(words).status().unwrap().success(), "{words:?}");
        let lab = Lab::up(Options::bare(&first, 1)).unwrap();
        ip(&["netns", "add", "other"]);
        lab.down().unwrap();
        ip(&["netns", "exec", "other", "true"]);
        ip(&["netns", "del", "other"]);
        // The folder of names was a lab's own doing: the next lab that goes takes it along.
        Lab::up(Options::bare(&second, 1)).unwrap().down().unwrap();
        assert_unchanged(&before, &[&first, &second]);
    });
}

#[test]
fn the_folder_of_names_is_left_as_it_was_found() {
    apart(|| {
        let name = name();
        assert!(Command::new("ip").args(["netns", "add", "other"]).status().unwrap().success());
        let before = Inventory::take().unwrap();
        Lab::up(Options::bare(&name, 1)).unwrap().down().unwrap();
        assert_unchanged(&before, &[&name]);
        assert!(Command::new("ip").args(["netns", "exec", "other", "true"]).status().unwrap().success());
    });
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_mute_not_reached() {
    apart(|| {
        let lab = Lab::up(Options::bare(&name(), 2)).unwrap();
        let listen = || TcpListener::bind(("172.31.1.2", 80)).unwrap();
        let _listener = lab.node(2).namespace().unwrap().enter(listen).unwrap();
        let probe = Probe::tcp(lab.node(2).address(true), 80);
        let outcomes = Probe::send(&[probe], &lab.node(1).namespace().unwrap(), LIMIT).unwrap();
        assert_eq!(outcomes, [Outcome::Mute]);
    });
}

#[test]
fn a_lab_and_its_containers_can_be_used_from_many_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Lab>();
    shared::<lab::container::Container>();
    apart(|| {
        let lab = Lab::up(Options::bare(&name(), 4)).unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> = lab.nodes().map(|host| scope.spawn(move || host.exec(&["true"]))).collect();
            assert!(threads.into_iter().all(|thread| thread.join().unwrap().unwrap().status.success()));
        });
        assert!(lab::sweep().unwrap().is_empty(), "the owner lives");
    });
}

#[test]
fn a_test_that_panics_leaves_nothing() {
    apart(|| {
        let name = name();
        let before = Inventory::take().unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let lab = Lab::up(Options::bare(&name, 2)).unwrap();
            let started = lab.node(1).exec(&["sh", "-c", "sleep 600 </dev/null >/dev/null 2>&1 &"]).unwrap();
            assert!(started.status.success());
            panic!("as a failing test does");
        }));
        assert!(panicked.is_err());
        assert_unchanged(&before, &[&name]);
    });
}

#[test]
fn twenty_labs_come_and_go_and_leave_nothing() {
    apart(|| {
        let names: Vec<String> = (0..20).map(|_| name()).collect();
        let before = Inventory::take().unwrap();
        for pair in names.chunks(2) {
            let labs: Vec<Lab> = pair.iter().map(|name| Lab::up(Options::bare(name, 3)).unwrap()).collect();
            assert_eq!(Lab::all().len(), 2);
            drop(labs);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_unchanged(&before, &names);
    });
}

#[test]
fn the_same_name_is_refused_and_the_lab_that_has_it_stays_whole() {
    apart(|| {
        let name = name();
        let lab = Lab::up(Options::bare(&name, 1)).unwrap();
        let fault = Lab::up(Options::bare(&name, 1)).unwrap_err();
        assert!(fault.to_string().contains(&name) && fault.to_string().contains("lab down"), "{fault}");
        assert!(lab.node(1).exec(&["true"]).unwrap().status.success());
        for wrong in ["", "a-b", "A", "../x", "abcdefghijklmnopqrstuvwxyz"] {
            assert!(matches!(Lab::up(Options::bare(wrong, 1)), Err(lab::Error::Name { .. })), "{wrong:?}");
            assert!(matches!(lab::down(wrong), Err(lab::Error::Name { .. })), "{wrong:?}");
        }
    });
}

#[test]
fn a_thousand_silent_probes_cost_few_limits() {
    apart(|| {
        let lab = Lab::up(Options::bare(&name(), 2)).unwrap();
        let _echo = echo(lab.node(2));
        let host = lab.node(2).address(true);
        // The world drops these without a word. Addresses on the underlay that nobody has would do as well, but each would take
        // a place in the neighbour table that all namespaces of the machine share.
        let dropped = lab.world().exec(&["ip", "route", "add", "blackhole", "198.51.100.0/24"]).unwrap();
        assert!(dropped.status.success(), "{dropped:?}");
        let silent = |port| Probe::tcp("198.51.100.1".parse().unwrap(), port);
        let mut probes: Vec<Probe> = (1..=1000).map(silent).collect();
        probes.push(Probe::tcp(host, 80));
        probes.push(Probe::tcp(host, 81));
        let start = Instant::now();
        let outcomes = Probe::send(&probes, &lab.node(1).namespace().unwrap(), LIMIT).unwrap();
        assert!(start.elapsed() < LIMIT * 8, "{:?}", start.elapsed());
        assert!(outcomes[..1000].iter().all(|outcome| *outcome == Outcome::Silent));
        assert!(outcomes[1000].answered_by("n2"), "{}", outcomes[1000]);
        assert_eq!(outcomes[1001], Outcome::Failed(std::io::ErrorKind::ConnectionRefused));
    });
}
