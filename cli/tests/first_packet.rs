//! A container's very first packet is judged right, however new the container, its labels and its group are.
//!
//! Each newcomer is attached and at once sends one packet to another host. The allowed ones ask a `desk` and are answered without
//! a retransmission. The denied ones ask a `vault`, to which nobody else speaks: not one packet reaches it.
#![allow(clippy::unwrap_used)]

mod fabric;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fabric::{Fabric, light};
use lab::container::{Container, Spec};
use lab::echo::{Echo, Listen};
use lab::namespace::Namespace;
use lab::probe::Probe;
use record::Labels;
use record::door::Attached;

/// Why a newcomer may or may not be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// It has a ticket.
    Allowed,
    /// It has none: the receiver's ingress denies.
    WithoutTicket,
    /// It has one, and its own egress denies.
    Confined,
}

/// One container to come.
#[derive(Debug)]
struct Newcomer {
    number: usize,
    case: Case,
    host: u16,
    /// Where it sends its packet: another host.
    to: u16,
}

/// What came of one.
struct Fate {
    attached: Duration,
    /// What is wrong, in words.
    wrong: Option<String>,
}

/// A receiver: the desks and vaults of each host.
struct Receiver {
    container: Container,
    _echo: Echo,
}

#[test]
fn the_first_packet_of_a_thousand_new_containers_is_judged_right() {
    let fabric = Fabric::up("firstpacket", HOSTS);
    fabric.apply("default", NETWORK);
    let receivers: BTreeMap<(u16, &str), Receiver> = (1..=HOSTS)
        .flat_map(|host| ["desk", "vault"].map(|name| ((host, name), receiver(&fabric, host, name))))
        .collect();
    fabric.apply("default", &policies());
    fabric.await_realised("default");
    let newcomers: Vec<Newcomer> = (0..NEWCOMERS).map(Newcomer::of).collect();
    let vaults_before = heard_at_vaults(&receivers);
    let fates = fabric::at_once(&newcomers, AT_ONCE, |newcomer| newcomer.arrive(&fabric, &receivers));

    let wrong: Vec<String> = fates.iter().filter_map(|fate| fate.wrong.clone()).collect();
    let mut took: Vec<Duration> = fates.iter().map(|fate| fate.attached).collect();
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{NEWCOMERS} attached, {median:?} each in the median, {longest:?} at most");
    if !wrong.is_empty() {
        let first = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n  ");
        fabric.fail(&format!("{} of {NEWCOMERS} first packets were judged wrong:\n  {first}", wrong.len()));
    }
    let heard = heard_at_vaults(&receivers);
    if heard != vaults_before {
        fabric.fail(&format!("denied packets reached a vault: {vaults_before:?} before, {heard:?} now"));
    }
    vaults_do_answer_whoever_is_allowed(&fabric, &newcomers, &receivers);
    drop(receivers);
    fabric.down();
}

/// Otherwise their silence would mean nothing.
fn vaults_do_answer_whoever_is_allowed(
    fabric: &Fabric,
    newcomers: &[Newcomer],
    receivers: &BTreeMap<(u16, &str), Receiver>,
) {
    for newcomer in newcomers.iter().filter(|newcomer| newcomer.case == Case::Allowed).take(12) {
        let (probe, name) = newcomer.question(receivers, "vault");
        let namespace = Namespace::open(&newcomer.namespace(fabric)).unwrap();
        let outcome = Probe::send(&[probe], &namespace, PATIENCE).unwrap().remove(0);
        if !outcome.answered_by(&name) {
            fabric.fail(&format!("{newcomer:?} asks {name}: {outcome}"));
        }
    }
}

impl Newcomer {
    /// Half of them are allowed; a quarter each is denied by the receiver and by itself.
    fn of(number: usize) -> Self {
        let case = [Case::Allowed, Case::WithoutTicket, Case::Allowed, Case::Confined][number % 4];
        let host = u16::try_from(number / 4 % 3).unwrap();
        let away = 1 + u16::try_from(number / 12 % 2).unwrap();
        Self { number, case, host: host + 1, to: (host + away) % HOSTS + 1 }
    }

    /// What policies tell apart: a new combination, and so a new group, every few newcomers.
    fn labels(&self) -> Labels {
        let mut labels = Labels::new();
        let mut add = |key: &str| labels.insert(key.to_owned(), "yes".to_owned());
        if self.case != Case::WithoutTicket {
            add("ticket");
        }
        if self.case == Case::Confined {
            add("confined");
        }
        let combination = self.number * (1 << MARKS) / NEWCOMERS;
        for mark in (0..MARKS).filter(|mark| combination >> mark & 1 == 1) {
            add(&format!("mark-{mark}"));
        }
        labels
    }

    fn namespace(&self, fabric: &Fabric) -> PathBuf {
        light::path(&fabric.name(), &format!("new{}", self.number))
    }

    /// Whom it asks and who would answer. Protocols and families take turns.
    fn question(&self, receivers: &BTreeMap<(u16, &str), Receiver>, kind: &'static str) -> (Probe, String) {
        let address =
            receivers[&(self.to, kind)].container.address((self.number / 24).is_multiple_of(2)).unwrap();
        let probe = if (self.number / 48).is_multiple_of(2) {
            Probe::udp(address, 53)
        } else {
            Probe::tcp(address, 80)
        };
        (probe, format!("{kind}-{}", self.to))
    }

    /// Is attached, and sends its first packet at once.
    fn arrive(&self, fabric: &Fabric, receivers: &BTreeMap<(u16, &str), Receiver>) -> Fate {
        let namespace = Namespace::create(&self.namespace(fabric)).unwrap();
        let began = Instant::now();
        let name = format!("new-{}", self.number);
        let attached = light::attach(fabric.node(self.host), &namespace, "hall", &name, self.labels());
        let took = began.elapsed();
        let wrong = match attached {
            Ok(attached) => self.first_packet(&namespace, &attached, receivers),
            Err(fault) => Some(lab::report(&fault)),
        };
        Fate { attached: took, wrong: wrong.map(|wrong| format!("{self:?}, attached in {took:?}: {wrong}")) }
    }

    fn first_packet(
        &self,
        namespace: &Namespace,
        attached: &Attached,
        receivers: &BTreeMap<(u16, &str), Receiver>,
    ) -> Option<String> {
        let allowed = self.case == Case::Allowed;
        let (probe, name) = self.question(receivers, if allowed { "desk" } else { "vault" });
        let limit = if allowed { PATIENCE } else { DENIED_FOR };
        let outcome = Probe::send(&[probe], namespace, limit).unwrap().remove(0);
        let answered = outcome.answered_by(&name);
        let again = counters(namespace)["Tcp RetransSegs"];
        let protocol = probe.protocol;
        match (allowed, answered) {
            (true, false) => Some(format!("asked {name} by {protocol}: {outcome}")),
            (true, true) if again != 0 => Some(format!("{name} answered only after {again} retransmissions")),
            (false, true) => Some(format!("was answered by {name} over {protocol}")),
            _ if !attached.judged => Some("was attached before its group was known".to_owned()),
            _ => None,
        }
    }
}

fn receiver(fabric: &Fabric, host: u16, kind: &str) -> Receiver {
    let name = format!("{kind}-{host}");
    let labels = [("kind".to_owned(), "receiver".to_owned())].into();
    let spec = Spec { namespace: Some("hall".to_owned()), labels, ..Spec::idle(&name) };
    let container = fabric.node(host).run(&spec).unwrap();
    let echo = Echo::start(container.namespace(), &name, &[Listen::tcp(80), Listen::udp(53)]).unwrap();
    Receiver { container, _echo: echo }
}

/// Segments and datagrams that have come to the vaults.
fn heard_at_vaults(receivers: &BTreeMap<(u16, &str), Receiver>) -> BTreeMap<String, u64> {
    let mut heard = BTreeMap::new();
    for ((host, _), receiver) in receivers.iter().filter(|((_, kind), _)| *kind == "vault") {
        let counters = counters(receiver.container.namespace());
        for name in ["Tcp InSegs", "Udp InDatagrams", "Udp NoPorts", "Udp6InDatagrams", "Udp6NoPorts"] {
            heard.insert(format!("vault-{host} {name}"), counters[name]);
        }
    }
    heard
}

/// The kernel's counters of a namespace: `GROUP NAME` of `/proc/net/snmp`, `NAME` of `/proc/net/snmp6`. TCP's are of both families.
fn counters(namespace: &Namespace) -> BTreeMap<String, u64> {
    let read = |file| fs::read_to_string(Path::new("/proc/thread-self/net").join(file));
    let (both, six) = namespace.enter(|| (read("snmp").unwrap(), read("snmp6").unwrap())).unwrap();
    let mut counters = BTreeMap::new();
    let lines: Vec<&str> = both.lines().collect();
    for pair in lines.chunks_exact(2) {
        let (group, names) = pair[0].split_once(": ").unwrap();
        let (_, values) = pair[1].split_once(": ").unwrap();
        for (name, value) in names.split(' ').zip(values.split(' ')) {
            // Some are no counts, such as Tcp MaxConn, which is -1.
            counters.insert(format!("{group} {name}"), value.parse().unwrap_or(0));
        }
    }
    for line in six.lines() {
        let (name, value) = line.split_once(char::is_whitespace).unwrap();
        counters.insert(name.to_owned(), value.trim().parse().unwrap());
    }
    counters
}

/// The receivers hear those with a ticket alone, the confined are let out to nobody, and each mark is a selector of its own.
fn policies() -> String {
    let policy = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: hall}}\nspec: {spec}\n"
        )
    };
    let holders = "ingress: [{from: [{podSelector: {matchLabels: {ticket: 'yes'}}}]}]";
    let mut text =
        policy("receivers", &format!("{{podSelector: {{matchLabels: {{kind: receiver}}}}, {holders}}}"));
    text += &policy("confined", "{podSelector: {matchLabels: {confined: 'yes'}}, policyTypes: [Egress]}");
    for mark in 0..MARKS {
        let spec = format!("{{podSelector: {{matchLabels: {{mark-{mark}: 'yes'}}}}, {holders}}}");
        text += &policy(&format!("mark-{mark}"), &spec);
    }
    text
}

const NETWORK: &str = "
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: wide}
spec:
  subnets: [{cidr: 10.50.0.0/16}, {cidr: 'fd00:50::/64'}]
---
apiVersion: v1
kind: Namespace
metadata: {name: hall, annotations: {sealane.dev/network: wide}}
";

const HOSTS: u16 = 3;
const NEWCOMERS: usize = 1000;
/// Containers that are attached at a time.
const AT_ONCE: usize = 4;
/// Labels that policies select by beside the two that decide: 32 combinations, three cases each.
const MARKS: usize = 5;
/// Not a limit on the packet, which is sent once, but on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a denied one listens. What matters is what the vaults hear.
const DENIED_FOR: Duration = Duration::from_millis(20);
