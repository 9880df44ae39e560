//! Another reading of NetworkPolicy, made from upstream's text, agrees with what the compiler makes of the same documents.
//!
//! `SEALANE_CASES` says how many packets are judged at least; there are always at least [`CASES`].

#![allow(clippy::unwrap_used)]

#[path = "upstream/fabric.rs"]
mod fabric;
#[path = "upstream/oracle.rs"]
mod oracle;
#[path = "upstream/world.rs"]
mod world;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use compile::{Compiler, Flow, Inquiry, Numbers, Party, verdict};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use record::{NodeId, RuleId};
use serde_json::{Value, json};

use fabric::{Held, TENANT, group, held, judges, words};
use oracle::{Direction, End, Packet, Word, Words, allowed};
use world::{ContainerPort, Namespace, Pod, SCTP, TCP, UDP, World};

/// Packets that are judged by each of the random tests.
const CASES: u64 = 100_000;

/// Judged of each world, about: of a large one some, so that there is time for many; of one that shrinking has made small, all.
const PACKETS_OF_A_WORLD: usize = 500;

/// Worlds made between two looks at how many packets they had.
const WORLDS_AT_ONCE: u32 = 32;

fn cases() -> u64 {
    let asked = std::env::var("SEALANE_CASES").ok();
    let asked = asked.map(|text| text.parse().expect("SEALANE_CASES is a number of packets"));
    asked.unwrap_or(CASES).max(CASES)
}

/// What was judged: how often the two sides said what, so that a test which asks nothing is found out.
#[derive(Default)]
struct Tally {
    judged: Cell<u64>,
    said: RefCell<BTreeMap<(&'static str, &'static str), u64>>,
}

impl Tally {
    fn add(&self, words: Words) {
        self.judged.set(self.judged.get() + 1);
        *self.said.borrow_mut().entry((name(words.egress), name(words.ingress))).or_default() += 1;
    }

    /// Every pair of words came up often.
    fn assert_wide(&self) {
        let said = self.said.borrow();
        println!("{} packets judged (egress, ingress): {said:?}", self.judged.get());
        let least = self.judged.get() / 200;
        assert!(said.len() == 9 && said.values().all(|times| *times >= least), "too much alike: {said:?}");
    }
}

fn name(word: Word) -> &'static str {
    match word {
        Word::Silent => "silent",
        Word::Allowed => "allowed",
        Word::Denied => "denied",
    }
}

/// Judges worlds until there were enough packets; the smallest world that fails is printed.
fn run<S: Strategy>(
    strategy: &S,
    print: impl Fn(&S::Value) -> String,
    judge: impl Fn(&S::Value, &Tally) -> Result<(), TestCaseError>,
) where
    S::Value: Debug,
{
    let tally = Tally::default();
    while tally.judged.get() < cases() {
        let mut runner = TestRunner::new(Config {
            cases: WORLDS_AT_ONCE,
            max_shrink_iters: 4000,
            failure_persistence: None,
            ..Config::default()
        });
        match runner.run(strategy, |value| judge(&value, &tally)) {
            Ok(()) => {}
            Err(TestError::Fail(reason, value)) => panic!("{reason}\n{}", print(&value)),
            Err(error) => panic!("{error}"),
        }
    }
    tally.assert_wide();
}

fn fail(packet: &Packet<'_>, what: impl Display) -> TestCaseError {
    TestCaseError::fail(format!("{packet:?}: {what}"))
}

/// Everything that is compiled of one world says the same as the oracle.
fn agree(compiler: &Compiler, world: &World, tally: &Tally) -> Result<(), TestCaseError> {
    let held = held(compiler);
    let packets = fabric::packets(world, &fabric::ports(&[world]));
    for packet in fabric::some(packets, PACKETS_OF_A_WORLD) {
        let truth = allowed(world, &packet);
        tally.add(truth);
        records_say(compiler, &held, world, &packet, truth)?;
    }
    for (from, to) in fabric::pairs(world) {
        explanation_says(compiler, world, &Packet { from, to, protocol: TCP, port: 80 })?;
    }
    Ok(())
}

/// The records of each node that judges the packet, and those of the whole fabric.
fn records_say(
    compiler: &Compiler,
    held: &Held,
    world: &World,
    packet: &Packet<'_>,
    truth: Words,
) -> Result<(), TestCaseError> {
    let (sender, receiver) = (group(compiler, &packet.from), group(compiler, &packet.to));
    let flow = Flow { tenant: TENANT, sender, receiver, protocol: packet.protocol, port: packet.port };
    let whole = verdict(compiler, flow);
    let own_node = matches!(packet.from, End::OwnNode) || matches!(packet.to, End::OwnNode);
    let passes = whole.outcome(world.default_allow).is_ok();
    if whole.unknown.is_some() || passes != (own_node || truth.pass(world.default_allow)) {
        return Err(fail(packet, format!("upstream {truth:?}, compiled {whole:?} in {flow:?}")));
    }
    for node in judges(packet) {
        let here = verdict(&held[&node], flow);
        if here != whole {
            return Err(fail(packet, format!("node {node} has {here:?} of {whole:?} in {flow:?}")));
        }
    }
    if own_node {
        return Ok(());
    }
    if words(&whole) != truth {
        return Err(fail(packet, format!("upstream {truth:?}, compiled {whole:?} in {flow:?}")));
    }
    for (rule, word, direction) in [
        (whole.egress.decision.rule, truth.egress, Direction::Egress),
        (whole.ingress.decision.rule, truth.ingress, Direction::Ingress),
    ] {
        if !fabric::rule_does(compiler, world, packet, (rule, word), direction) {
            return Err(fail(packet, format!("{direction:?} is {word:?}, by rule {rule}?")));
        }
    }
    Ok(())
}

fn explanation_says(compiler: &Compiler, world: &World, packet: &Packet<'_>) -> Result<(), TestCaseError> {
    let party = |end: &End<'_>| fabric::address(end).map_or(Party::Host, Party::Address);
    let inside = |end: &End<'_>| {
        let subnets = ["10.1.0.0/16", "fd01::/64"].map(|text| text.parse::<record::Prefix>().unwrap());
        matches!(end, End::Outside(address) if subnets.iter().any(|subnet| subnet.contains(*address)))
    };
    let two_outside = matches!((packet.from, packet.to), (End::Outside(_), End::Outside(_)));
    if two_outside || inside(&packet.from) || inside(&packet.to) {
        return Ok(());
    }
    let inquiry = Inquiry {
        tenant: TENANT,
        network: Some(fabric::vni()),
        from: party(&packet.from),
        to: party(&packet.to),
        protocol: packet.protocol,
        port: packet.port,
    };
    let told = compiler.explain(&inquiry).map_err(|error| fail(packet, error))?;
    let truth = allowed(world, packet).pass(world.default_allow);
    let (rule, reason) = (told.rule.as_ref().map(|rule| &rule.id), told.reason);
    if told.allowed != truth || reason.is_some() == truth || rule == Some(&RuleId(0)) {
        return Err(fail(packet, format!("upstream {truth}, explained {told:?}")));
    }
    Ok(())
}

fn compiled(world: &World) -> Compiler {
    let mut compiler = Compiler::new(Numbers::new(0));
    compiler.apply(fabric::changes(world));
    compiler
}

#[test]
fn what_is_compiled_says_what_upstream_says() {
    run(&world::worlds(), World::to_string, |world, tally| agree(&compiled(world), world, tally));
}

#[test]
fn policies_that_change_say_what_upstream_says_of_those_they_have_become() {
    let print = |(before, after): &(World, World)| format!("# before\n{before}\n# after\n{after}");
    run(&world::moves(), print, |(before, after), tally| {
        let mut compiler = compiled(before);
        compiler.apply(fabric::policy_changes(before, after));
        agree(&compiler, after, tally)
    });
}

/// Pods `front` (app: front) and `back` (app: back, TCP `web` 8080) in `shop`, `other` (app: front) in `lab`, an address outside.
fn street(policies: &[Value]) -> World {
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let pod = |name: &str, namespace: &str, app: &str, last: u8| Pod {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        labels: labels(&[("app", app)]),
        addresses: vec![
            format!("10.1.1.{last}").parse().unwrap(),
            format!("fd01::1:{last:x}").parse().unwrap(),
        ],
        ports: [(TCP, 8080), (UDP, 53)]
            .map(|(protocol, number)| ContainerPort { name: "web".into(), protocol, number })
            .into_iter()
            .filter(|_| name == "back")
            .collect(),
        node: 1,
    };
    let document = |(number, policy): (usize, &Value)| {
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": format!("p{number}"), "namespace": policy["namespace"].as_str().unwrap_or("shop")},
            "spec": policy["spec"],
        })
    };
    World {
        namespaces: [("shop", "a"), ("lab", "b")]
            .map(|(name, team)| Namespace { name: name.into(), labels: labels(&[("team", team)]) })
            .into(),
        pods: vec![
            pod("front", "shop", "front", 4),
            pod("back", "shop", "back", 5),
            pod("other", "lab", "front", 10),
        ],
        outside: vec!["198.51.100.7".parse().unwrap(), "2001:db8:1::7".parse().unwrap()],
        policies: policies.iter().enumerate().map(document).collect(),
        default_allow: true,
    }
}

/// Holds both readings against what a person reads in upstream's text.
fn assert_reads(spec: Value, expected: &[(&str, &str, u8, u16, bool)]) {
    let world = street(&[json!({"spec": spec})]);
    let compiler = compiled(&world);
    for (from, to, protocol, port, passes) in expected {
        for ipv4 in [true, false] {
            let end = |name: &str| {
                let pods = world.pods.iter().filter(|pod| pod.name == name);
                let found =
                    pods.flat_map(|pod| pod.addresses.iter().map(move |address| End::Pod(pod, *address)));
                let outside = world.outside.iter().map(|address| End::Outside(*address));
                let node = (name == "node").then_some(End::OwnNode);
                let mut ends = found.chain(outside.filter(|_| name == "outside")).chain(node);
                ends.find(|end| fabric::address(end).is_none_or(|address| address.is_ipv4() == ipv4)).unwrap()
            };
            let packet = Packet { from: end(from), to: end(to), protocol: *protocol, port: *port };
            let truth = allowed(&world, &packet);
            assert_eq!(truth.pass(true), *passes, "the oracle reads of {spec}: {packet:?} {truth:?}");
            records_say(&compiler, &held(&compiler), &world, &packet, truth).unwrap();
        }
    }
}

#[test]
fn a_policy_without_rules_isolates_those_it_selects_and_nobody_else() {
    assert_reads(
        json!({"podSelector": {"matchLabels": {"app": "back"}}}),
        &[
            ("front", "back", TCP, 80, false),
            ("outside", "back", TCP, 80, false),
            ("node", "back", TCP, 80, true),
            ("back", "front", TCP, 80, true),
            ("front", "other", TCP, 80, true),
        ],
    );
}

#[test]
fn no_selector_is_every_pod_of_the_namespace() {
    assert_reads(json!({}), &[("other", "front", TCP, 80, false), ("front", "other", TCP, 80, true)]);
    assert_reads(json!({"podSelector": null}), &[("other", "back", SCTP, 80, false)]);
}

#[test]
fn egress_rules_bring_isolation_of_egress_and_an_empty_list_of_them_does_not() {
    let rules = json!([{"ports": [{"port": 443}]}]);
    assert_reads(
        json!({"egress": rules}),
        &[("front", "outside", TCP, 443, true), ("front", "outside", TCP, 80, false)],
    );
    assert_reads(json!({"egress": []}), &[("front", "outside", TCP, 80, true)]);
    assert_reads(
        json!({"policyTypes": ["Egress"]}),
        &[("front", "other", TCP, 80, false), ("other", "front", TCP, 80, true)],
    );
    assert_reads(
        json!({"policyTypes": ["Ingress"], "egress": rules}),
        &[("front", "outside", TCP, 80, true)],
    );
}

#[test]
fn an_empty_rule_allows_everybody_on_every_port_and_no_rule_nobody() {
    assert_reads(
        json!({"ingress": [{}]}),
        &[("outside", "back", UDP, 1, true), ("outside", "back", 1, 0, true)],
    );
    assert_reads(json!({"ingress": [{"from": [], "ports": []}]}), &[("outside", "back", SCTP, 9, true)]);
    assert_reads(json!({"ingress": []}), &[("outside", "back", SCTP, 9, false)]);
}

#[test]
fn pods_are_of_the_policys_namespace_unless_namespaces_are_selected() {
    let from =
        |peer: Value| json!({"podSelector": {"matchLabels": {"app": "back"}}, "ingress": [{"from": [peer]}]});
    let front = json!({"matchLabels": {"app": "front"}});
    let lab = json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]});
    let expect = |spec: Value, front: bool, other: bool| {
        assert_reads(
            spec,
            &[
                ("front", "back", TCP, 80, front),
                ("other", "back", TCP, 80, other),
                ("outside", "back", TCP, 80, false),
            ],
        );
    };
    expect(from(json!({"podSelector": front})), true, false);
    expect(from(json!({"podSelector": {}})), true, false);
    expect(from(json!({"namespaceSelector": {}})), true, true);
    expect(from(json!({"namespaceSelector": lab})), false, true);
    expect(
        from(json!({"namespaceSelector": lab, "podSelector": {"matchLabels": {"app": "back"}}})),
        false,
        false,
    );
    expect(
        from(json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "lab"}}})),
        false,
        true,
    );
}

#[test]
fn a_port_without_a_protocol_is_tcp_and_a_range_has_both_its_ends() {
    let ports = json!([{"port": 80, "endPort": 82}, {"protocol": "UDP"}]);
    assert_reads(
        json!({"ingress": [{"ports": ports}]}),
        &[
            ("front", "back", TCP, 79, false),
            ("front", "back", TCP, 80, true),
            ("front", "back", TCP, 82, true),
            ("front", "back", TCP, 83, false),
            ("front", "back", UDP, 9, true),
            ("front", "back", SCTP, 80, false),
            ("front", "back", 1, 0, false),
        ],
    );
}

#[test]
fn a_named_port_is_the_receivers_and_of_the_protocol_that_the_rule_says() {
    let spec = json!({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "web"}]}]});
    assert_reads(
        spec,
        &[
            ("front", "back", TCP, 8080, true),
            ("front", "back", TCP, 8081, false),
            ("front", "back", UDP, 8080, false),
            ("front", "back", TCP, 53, false),
            ("back", "front", TCP, 8080, false),
            ("front", "outside", TCP, 8080, false),
        ],
    );
}

#[test]
fn an_address_block_means_pods_and_others_alike_but_for_its_holes() {
    let blocks = json!([
        {"ipBlock": {"cidr": "10.1.1.9/24", "except": ["10.1.1.4/32"]}},
        {"ipBlock": {"cidr": "::/0", "except": ["fd01::1:4/128", "2001:db8::/32"]}},
    ]);
    assert_reads(
        json!({"ingress": [{"from": blocks}]}),
        &[
            ("front", "back", TCP, 80, false),
            ("other", "back", TCP, 80, true),
            ("outside", "back", TCP, 80, false),
        ],
    );
}

#[test]
fn rules_of_several_policies_add_up() {
    let policy = |port: u16| json!({"spec": {"ingress": [{"ports": [{"port": port}]}]}});
    let world = street(&[policy(80), policy(81), json!({"namespace": "lab", "spec": {"ingress": [{}]}})]);
    let compiler = compiled(&world);
    let ends = [&world.pods[0], &world.pods[1]].map(|pod| End::Pod(pod, pod.addresses[0]));
    for (port, word) in [(80, Word::Allowed), (81, Word::Allowed), (82, Word::Denied)] {
        let packet = Packet { from: ends[0], to: ends[1], protocol: TCP, port };
        let truth = allowed(&world, &packet);
        assert_eq!(truth, Words { egress: Word::Silent, ingress: word });
        records_say(&compiler, &held(&compiler), &world, &packet, truth).unwrap();
    }
    assert!(compiler.records_of(NodeId(1)).len() > 1);
}
