//! Attachments that cannot be: the reason and the remedy are told, and no link, address or port is taken.

use lab::container::Spec;
use lab::{Host, wait_until};

use crate::fabric::{Fabric, PATIENCE, at_once};
use crate::{InForce, fails, network};

/// On which host, how it is asked for, and the words by which it is refused.
const REFUSED: &[(u16, &[&str], &str)] = &[
    (
        1,
        &["--network", "nowhere"],
        "there is no network \"nowhere\" in the tenant default (create the network first)",
    ),
    (
        1,
        &["-n", "nowhere"],
        "there is no namespace \"nowhere\" in the tenant default (create the namespace first)",
    ),
    (
        2,
        &["--network", "tiny"],
        "every address of the network default/tiny (10.30.0.0/30) is leased to a node (add a subnet",
    ),
    (2, &["--network", "six"], "every address of the network default/six (fd03::/126) is"),
    (
        1,
        &["--network", "good", "--address", "10.8.0.9"],
        "10.8.0.9 is no endpoint's address in network good (10.7.0.0/16) (choose an address inside",
    ),
    (
        1,
        &["--network", "good", "--address", "10.7.0.1"],
        "10.7.0.1 is no endpoint's address in network good (10.7.0.0/16) (choose an address inside",
    ),
    (
        1,
        &["--network", "good", "--address", "10.7.255.255"],
        "10.7.255.255 is no endpoint's address in network good (10.7.0.0/16) (choose an address inside",
    ),
    (
        1,
        &["--network", "good", "--address", "10.7.0.9"],
        "10.7.0.9 of network good is endpoint default/taken's (choose another",
    ),
    (
        2,
        &["--network", "good", "--address", "10.7.0.9"],
        "10.7.0.9 is that of the endpoint default/taken on the node n1 (choose",
    ),
    (
        1,
        &["--network", "good", "--publish", "8080:80"],
        "port 8080/TCP of the node leads to endpoint default/public (publish another",
    ),
    (1, &["--network", "good", "--publish", "4789:80/UDP"], "0.0.0.0:4789 has it (publish another port"),
    (1, &["--network", "good", "--label", "a=b", "--label", "a=c"], "the label a is given twice"),
    (
        1,
        &[
            "--network",
            "good",
            "--label",
            "a=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ],
        "is no label value: at most 63",
    ),
    (1, &["--network", "good", "--port-name", "a=1", "--port-name", "a=2"], "is used once a protocol"),
];

#[test]
fn every_attach_that_cannot_be_says_why_and_takes_nothing() {
    let fabric = Fabric::up("badattach", 2);
    let networks = [
        network("tiny", "subnets: [{cidr: 10.30.0.0/30}]"),
        network("good", "subnets: [{cidr: 10.7.0.0/16}]"),
        network("small", "subnets: [{cidr: 10.33.0.0/24}], mtu: 576"),
        network("six", "subnets: [{cidr: 'fd03::/126'}]"),
    ];
    fabric.apply("default", &networks.concat());
    fabric.await_realised("default");
    let of = |name: &str, network: &str| Spec { network: Some(network.to_owned()), ..Spec::idle(name) };
    let host = fabric.node(1);
    let _only = host.run(&of("only", "tiny")).unwrap();
    let taken = Spec { addresses: vec!["10.7.0.9".parse().unwrap()], ..of("taken", "good") };
    let _taken = host.run(&taken).unwrap();
    let small = host.run(&of("small", "small")).unwrap();
    let mtu = small.exec(&["cat", "/sys/class/net/eth0/mtu"]).unwrap();
    assert_eq!(String::from_utf8_lossy(&mtu.stdout).trim(), "576", "less than IPv6 needs is enough for IPv4");
    let _six = [host.run(&of("six-a", "six")).unwrap(), fabric.node(2).run(&of("six-b", "six")).unwrap()];
    let published =
        run(&fabric, host, &["--network", "good", "--name", "public", "--publish", "8080:80", "-d"]);
    assert!(published.is_ok(), "{published:?}");
    fabric.settle();
    let before = InForce::of(&fabric);

    for (number, words, told) in REFUSED {
        let words = [words, &["--name", "refused", "-d"][..]].concat();
        let fault = run(&fabric, fabric.node(*number), &words).unwrap_err();
        assert!(fault.contains(told), "{words:?} on n{number}\nwanted: {told}\ntold: {fault}");
        assert_eq!(
            fault.matches("refused to attach").count(),
            usize::from(fault.contains("refused to attach")),
            "earlier starts are not told again: {fault}"
        );
    }
    for (name, told) in [
        ("UPPER", "cannot name a container"),
        ("../../etc", "cannot name a container"),
        ("\u{1b}[31m", "\\u{1b}[31m"),
    ] {
        let fault = run(&fabric, host, &["--name", name, "-d"]).unwrap_err();
        assert!(fault.contains(told) && !fault.contains('\u{1b}'), "{fault}");
    }
    let taken = run(&fabric, host, &["--network", "good", "--name", "public", "-d"]).unwrap_err();
    assert!(taken.contains("is there already: stop it, or use another name"), "{taken}");
    let elsewhere =
        run(&fabric, fabric.node(2), &["--network", "good", "--name", "public", "-d"]).unwrap_err();
    assert!(
        elsewhere.contains("the endpoint default/public is attached on the node n1 (give it another name"),
        "{elsewhere}"
    );
    for words in [&["delete", "vnet", "good"], &["delete", "ns", "default"]] {
        assert!(fails(&fabric, words, "").contains("forbidden"), "{words:?}");
    }
    before.stays(&fabric);
    fabric.down();
}

#[test]
fn containers_started_all_at_once_all_have_a_place_and_one_of_two_with_one_name_is_told() {
    let fabric = Fabric::up("badatonce", 1);
    let names: Vec<String> =
        (0..12).flat_map(|number| [format!("c{number}"), format!("c{number}")]).collect();
    let host = fabric.node(1);
    let outcomes = at_once(&names, 8, |name| run(&fabric, host, &["--name", name, "-dl", "a=b"]));
    let refused: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 12, "one of each two: {refused:#?}");
    assert!(refused.iter().all(|fault| fault.contains("is there already")), "{refused:#?}");
    assert_eq!(fabric.attachments(host).len(), 12, "nobody's place was swept by another's start");
    assert_eq!(host.runtime().unwrap().list().unwrap().len(), 12);
    fabric.down();
}

#[test]
fn a_namespace_that_is_none_or_goes_while_it_is_attached_leaves_nothing() {
    let fabric = Fabric::up("badnetns", 1);
    let before = InForce::of(&fabric);
    let host = fabric.node(1);
    let socket = host.agent_socket();
    let agent = socket.to_str().unwrap();
    for (netns, told) in [
        ("/etc/passwd", "open network namespace /etc/passwd: no network namespace is there"),
        ("/run/netns/sl-badnetns-none", "cannot find the network namespace"),
    ] {
        let fault = fails(&fabric, &["--agent", agent, "attach", "--name", "z", "--netns", netns], "");
        assert!(fault.contains(told) && fault.contains("try:"), "{fault}");
    }
    let own = host.namespace().unwrap();
    let own = own.path().to_str().unwrap();
    for (words, told) in [
        (&["--netns", own, "--interface", "fresh"][..], "it is the host's own"),
        (&["--netns", own, "--interface", "../x"], "is no name of an interface"),
        (&["--netns", own, "--interface", "a-name-that-is-long"], "at most 15 bytes"),
        (&["--netns", own, "--mac", "ff:ff:ff:ff:ff:ff"], "is not the Ethernet address of one interface"),
    ] {
        let fault = fails(&fabric, &[&["--agent", agent, "attach", "--name", "z"], words].concat(), "");
        assert!(fault.contains(told), "{words:?}: {fault}");
    }
    let rounds: Vec<usize> = (0..12).collect();
    at_once(&rounds, 6, |round| {
        let path = fabric.folder().join(format!("vanishing{round}"));
        let made = lab::namespace::Namespace::create(&path).unwrap();
        let name = format!("v{round}");
        std::thread::scope(|scope| {
            let words = ["--agent", agent, "attach", "--name", &name, "--netns", path.to_str().unwrap()];
            let attaching = scope.spawn(move || fabric_attach(&words));
            std::thread::sleep(std::time::Duration::from_millis(5 * *round as u64));
            lab::namespace::Namespace::remove(made.path()).unwrap();
            drop(made);
            attaching.join().unwrap();
        });
    });
    let gone = || fabric.attachments(host).is_empty();
    wait_until(PATIENCE, "nothing is attached to what is gone", gone).unwrap();
    before.stays(&fabric);
    let told = fabric.done("default", &["--agent", agent, "detach", "--name", "nobody"], "");
    assert!(told.contains("nobody"), "{told}");
    fabric.down();
}

/// Attaches, or not: the namespace may be gone.
fn fabric_attach(words: &[&str]) {
    let attached = std::process::Command::new(env!("CARGO_BIN_EXE_sealane")).args(words).output().unwrap();
    assert!(attached.status.code().is_some_and(|code| code <= 1), "{attached:?}");
}

/// Starts a container that waits, by the command, on a host.
fn run(fabric: &Fabric, host: Host<'_>, words: &[&str]) -> Result<String, String> {
    let (lab, node) = (fabric.name(), host.name());
    let start = ["lab", "--lab", &lab, "run", &node];
    let output = fabric.sealane("default", &[&start, words, &["--", "sleep", "600"]].concat(), "");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(told) } else { Err(told) }
}
