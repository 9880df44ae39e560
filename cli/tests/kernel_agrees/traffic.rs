//! The packets of a world, the ways by which they come to the programs, and what everybody says of them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use compile::{Compiler, Flow, Inquiry, Judged, Party, verdict};
use proptest::test_runner::TestCaseError;
use record::inspect::{Judgement, Packet as Question};
use record::{DropReason, Group, Mac, Prefix, RuleId};

use crate::Counts;
use crate::fabric::{self, GRE, ICMP, ICMPV6, TENANT, vni};
use crate::frame::{ACK, Frame, SYN};
use crate::ground::{Drops, Ground, LEG_MAC, REDIRECT, ROUTER, SHOT};
use crate::oracle::{End, Packet, allowed};
use crate::world::{Pod, TCP, UDP, World};

/// A packet with the way that it takes. Ends are kept by name: the world's policies change, its pods do not.
pub(crate) struct Case {
    from: Name,
    to: Name,
    protocol: u8,
    port: u16,
    way: Way,
    /// Unlike that of any other case.
    source_port: u16,
    /// Whether its first packet was sent.
    begun: Cell<bool>,
    /// Whether its last packet passed, so that there is a flow.
    live: Cell<bool>,
    /// Whether the initiator's own node has a flow too, where that is another.
    sent: Cell<bool>,
}

#[derive(Clone, Debug)]
enum Name {
    Pod(String, IpAddr),
    Outside(IpAddr),
    OwnNode,
}

/// How a packet comes to a node's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Between two pods of the node.
    Local,
    /// From a pod of another node, with its group in the tag.
    Overlay,
    /// To the world.
    Out,
    /// From the world to a published port, this one of the node.
    Published(u16),
    /// To the node's own stack.
    ToHost,
    /// From it.
    FromHost,
}

/// Sent or asked about in each round, about.
const PACKETS_OF_A_ROUND: usize = 160;
/// Of a pod of another node.
const PEER_MAC: Mac = Mac([2, 0, 0, 0, 2, 0]);
const FIRST_SOURCE_PORT: u16 = 20_000;
const FIRST_PUBLISHED_PORT: u16 = 31_000;

/// Some of the packets that can be sent between the pods of two worlds that differ in policies alone.
pub(crate) fn cases(ground: &mut Ground, before: &World, after: &World) -> Vec<Case> {
    let ports = fabric::ports(&[before, after]);
    let packets = fabric::packets(before, &ports);
    let ways: Vec<_> = packets.iter().filter_map(|packet| Some((packet, way(packet)?))).collect();
    let chosen = fabric::some(ways, PACKETS_OF_A_ROUND).zip(0u16..);
    let case = |((packet, way), number): ((&Packet<'_>, Way), u16)| Case {
        from: Name::of(&packet.from),
        to: Name::of(&packet.to),
        protocol: packet.protocol,
        port: packet.port,
        way: if way == Way::Published(0) { Way::Published(FIRST_PUBLISHED_PORT + number) } else { way },
        source_port: FIRST_SOURCE_PORT + number,
        begun: Cell::new(false),
        live: Cell::new(false),
        sent: Cell::new(false),
    };
    let cases: Vec<Case> = chosen.map(case).collect();
    for case in &cases {
        if let (Way::Published(port), Name::Pod(pod, address)) = (case.way, &case.to) {
            let (_, node) = node_of(ground, pod);
            node.publish(node.underlay(*address), case.protocol, port, (pod, case.port));
        }
    }
    cases
}

/// The way that a packet can take here; `None`: it would be refused for another reason than policy.
fn way(packet: &Packet<'_>) -> Option<Way> {
    let address = [packet.from, packet.to].iter().find_map(fabric::address)?;
    match packet.protocol {
        ICMP if address.is_ipv6() => return None,
        ICMPV6 if address.is_ipv4() => return None,
        _ => {}
    }
    let has_echo = matches!(packet.protocol, TCP | UDP | ICMP | ICMPV6);
    match (packet.from, packet.to) {
        // Flows without ports are one between two ends, whoever began it.
        (End::Pod(one, _), End::Pod(other, _)) if packet.protocol == GRE && one.name > other.name => None,
        (End::Pod(one, _), End::Pod(other, _)) if one.node == other.node => Some(Way::Local),
        (End::Pod(..), End::Pod(..)) => Some(Way::Overlay),
        (End::Pod(..), End::Outside(to)) => (is_world(to) && packet.protocol != GRE).then_some(Way::Out),
        (End::Outside(from), End::Pod(..)) => {
            let translated = matches!(packet.protocol, TCP | UDP);
            (is_world(from) && translated && packet.port != 0).then_some(Way::Published(0))
        }
        (End::Pod(..), End::OwnNode) => has_echo.then_some(Way::ToHost),
        (End::OwnNode, End::Pod(..)) => has_echo.then_some(Way::FromHost),
        (End::Outside(_), _) | (End::OwnNode, _) => None,
    }
}

/// Whether an address is not of the network's own subnets, where nobody has it.
fn is_world(address: IpAddr) -> bool {
    let subnets = ["10.1.0.0/16", "fd01::/64"].map(|text| text.parse::<Prefix>().unwrap());
    !subnets.iter().any(|subnet| subnet.contains(address))
}

fn node_of<'a>(ground: &'a mut Ground, pod: &str) -> (u32, &'a mut crate::ground::Node) {
    let found = ground.nodes.iter_mut().find(|(_, node)| node.endpoints.contains_key(pod));
    let (number, node) = found.expect("every pod is attached");
    (*number, node)
}

/// Of a node, as others see it.
fn underlay(node: u32) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, node as u8)
}

impl Case {
    /// The pod at whose node the packet is judged, with its address.
    fn judge(&self) -> (&str, IpAddr) {
        let local = if self.way == Way::Local { &self.from } else { &self.to };
        local.pod().or(self.from.pod()).expect("one end is a pod")
    }

    /// The underlay address and the group with which another node sends it.
    fn tag(&self, ground: &mut Ground) -> Option<(Ipv4Addr, Group)> {
        let (Way::Overlay, Name::Pod(pod, address)) = (self.way, &self.from) else { return None };
        let (number, node) = node_of(ground, pod);
        Some((underlay(number), node.group(pod, *address)))
    }
}

impl Name {
    fn of(end: &End<'_>) -> Self {
        match end {
            End::Pod(pod, address) => Self::Pod(pod.name.clone(), *address),
            End::Outside(address) => Self::Outside(*address),
            End::OwnNode => Self::OwnNode,
        }
    }

    fn end<'a>(&self, world: &'a World) -> End<'a> {
        match self {
            Self::Pod(name, address) => {
                let pod: Option<&Pod> = world.pods.iter().find(|pod| pod.name == *name);
                End::Pod(pod.expect("both worlds have the same pods"), *address)
            }
            Self::Outside(address) => End::Outside(*address),
            Self::OwnNode => End::OwnNode,
        }
    }

    fn pod(&self) -> Option<(&str, IpAddr)> {
        match self {
            Self::Pod(name, address) => Some((name, *address)),
            Self::Outside(_) | Self::OwnNode => None,
        }
    }
}

/// One packet of each case at one moment.
pub(crate) struct Round<'a> {
    pub(crate) ground: &'a mut Ground,
    pub(crate) compiler: &'a Compiler,
    /// With the policies that hold now.
    pub(crate) world: &'a World,
    pub(crate) cases: &'a [Case],
    /// Whether the nodes have all that the compiler has said, so that numbers are the same too.
    pub(crate) settled: bool,
    pub(crate) counts: &'a mut Counts,
}

/// What is known of a case at one moment.
struct Known<'a> {
    case: &'a Case,
    packet: Packet<'a>,
    judged: Judged,
    outcome: Result<RuleId, (DropReason, RuleId)>,
    when: &'a str,
}

impl Known<'_> {
    fn fail(&self, what: impl std::fmt::Display) -> TestCaseError {
        let Self { case, packet, outcome, when, .. } = self;
        let (way, begun, live) = (case.way, case.begun.get(), case.live.get());
        TestCaseError::fail(format!(
            "{when}: {packet:?} by {way:?} (begun {begun}, live {live}), compiled {outcome:?}: {what}"
        ))
    }
}

impl Round<'_> {
    /// Everybody says the same of every packet, and what was dropped was counted for the reason and rule that are told.
    pub(crate) fn pass(mut self, when: &str) -> Result<(), TestCaseError> {
        let before = self.drops();
        let mut expected = BTreeMap::new();
        for case in self.cases {
            self.case(case, when, &mut expected)?;
        }
        let mut counted = self.drops();
        for (cause, times) in before {
            *counted.entry(cause).or_default() -= times;
        }
        counted.retain(|_, times| *times > 0);
        if counted != expected {
            let told = format!("{when}: dropped {counted:?}, expected {expected:?}");
            return Err(TestCaseError::fail(told));
        }
        Ok(())
    }

    fn case(&mut self, case: &Case, when: &str, drops: &mut Drops) -> Result<(), TestCaseError> {
        let packet = Packet {
            from: case.from.end(self.world),
            to: case.to.end(self.world),
            protocol: case.protocol,
            port: case.port,
        };
        let [sender, receiver] = [&packet.from, &packet.to].map(|end| fabric::group(self.compiler, end));
        let flow = Flow { tenant: TENANT, sender, receiver, protocol: case.protocol, port: case.port };
        let judged = verdict(self.compiler, flow);
        let outcome = judged.outcome(self.world.default_allow);
        let known = Known { case, packet, judged, outcome, when };
        let truth = allowed(self.world, &packet).pass(self.world.default_allow);
        if truth != outcome.is_ok() {
            return Err(known.fail(format!("upstream says {truth}")));
        }
        self.compiler_explains(&known)?;
        self.kernel_explains(&known, (sender, receiver))?;
        // Every other flow is quiet while numbers move, and its receiver is the first to speak afterwards.
        if !self.settled && case.source_port % 2 == 1 {
            return Ok(());
        }
        self.answer(&known, drops)?;
        self.answer_comes_back(&known, drops)?;
        self.leave(&known)?;
        self.send(&known, drops)
    }

    /// The initiator's next packet: a flow's first, or one that continues it, or that tries again.
    fn send(&mut self, known: &Known<'_>, drops: &mut Drops) -> Result<(), TestCaseError> {
        let case = known.case;
        let action = self.push(case);
        let passes = known.outcome.is_ok();
        self.counts.packets += 1;
        if action != if passes { REDIRECT } else { SHOT } {
            return Err(known.fail(format!("the kernel says {action}; drops {:?}", self.drops())));
        }
        if let Err(cause) = known.outcome {
            self.expect(drops, cause);
            self.counts.dropped += 1;
            self.counts.cut += u64::from(case.live.get());
        } else {
            self.counts.passed += 1;
        }
        case.begun.set(true);
        case.live.set(passes);
        Ok(())
    }

    /// The receiver's answer: it passes as long as there is a flow that policy allows, whatever the receiver itself may begin.
    fn answer(&mut self, known: &Known<'_>, drops: &mut Drops) -> Result<(), TestCaseError> {
        let case = known.case;
        let (Some(from), Some(to)) = (case.from.pod(), case.to.pod()) else { return Ok(()) };
        if case.protocol != TCP || !case.begun.get() {
            return Ok(());
        }
        let (_, node) = node_of(self.ground, to.0);
        let frame = Frame {
            mac: node.endpoints[to.0].mac,
            protocol: TCP,
            from: (to.1, case.port),
            to: (from.1, case.source_port),
            flags: SYN | ACK,
        };
        let action = node.pod_sends(to.0, &frame.bytes());
        self.counts.packets += 1;
        let passes = case.live.get() && known.outcome.is_ok();
        if action != if passes { REDIRECT } else { SHOT } {
            return Err(known.fail(format!("the kernel says {action} of the answer")));
        }
        match known.outcome {
            _ if !case.live.get() => self.expect(drops, (DropReason::FlowMissing, RuleId(0))),
            Err(cause) => {
                self.expect(drops, cause);
                self.counts.cut += 1;
                case.live.set(false);
            }
            Ok(_) => self.counts.answered += 1,
        }
        Ok(())
    }

    /// The answer comes to the node of an initiator elsewhere, which judges it by the tag that it carries.
    fn answer_comes_back(&mut self, known: &Known<'_>, drops: &mut Drops) -> Result<(), TestCaseError> {
        let case = known.case;
        let (Some(from), Some(to)) = (case.from.pod(), case.to.pod()) else { return Ok(()) };
        if case.protocol != TCP || !case.sent.get() {
            return Ok(());
        }
        let (number, node) = node_of(self.ground, to.0);
        let tag = (vni(), node.group(to.0, to.1));
        let frame = Frame {
            mac: PEER_MAC,
            protocol: TCP,
            from: (to.1, case.port),
            to: (from.1, case.source_port),
            flags: SYN | ACK,
        };
        let (_, node) = node_of(self.ground, from.0);
        let action = node.overlay_brings(underlay(number), tag, &frame.bytes());
        self.counts.packets += 1;
        if action != if known.outcome.is_ok() { REDIRECT } else { SHOT } {
            return Err(known.fail(format!("the kernel says {action} of the answer that comes back")));
        }
        match known.outcome {
            Ok(_) => self.counts.answered += 1,
            Err(cause) => {
                self.expect(drops, cause);
                self.counts.cut += 1;
                case.sent.set(false);
            }
        }
        Ok(())
    }

    /// A packet to another node leaves the initiator's, if policy allows it; one that it does not may leave too, unjudged.
    fn leave(&mut self, known: &Known<'_>) -> Result<(), TestCaseError> {
        let case = known.case;
        let (Some(from), Some(to)) = (case.from.pod(), case.to.pod()) else { return Ok(()) };
        if case.way != Way::Overlay || known.outcome.is_err() {
            return Ok(());
        }
        let (_, node) = node_of(self.ground, from.0);
        let frame = Frame {
            mac: node.endpoints[from.0].mac,
            protocol: case.protocol,
            from: (from.1, case.source_port),
            to: (to.1, case.port),
            flags: if case.sent.get() { ACK } else { SYN },
        };
        let action = node.pod_sends(from.0, &frame.bytes());
        self.counts.packets += 1;
        if action != REDIRECT {
            return Err(known.fail(format!("the kernel says {action} of the packet that leaves")));
        }
        case.sent.set(true);
        Ok(())
    }

    /// Pushes the case's packet into the program at which it comes to the node that judges it.
    fn push(&mut self, case: &Case) -> u32 {
        let (pod, address) = case.judge();
        let tag = case.tag(self.ground);
        let (_, node) = node_of(self.ground, pod);
        let (mac, inside) = (node.endpoints[pod].mac, (address, case.port));
        let (mac, from, to) = match (case.way, &case.from, &case.to) {
            (Way::Published(port), Name::Outside(from), _) => (ROUTER, *from, (node.underlay(address), port)),
            (Way::FromHost, ..) => {
                let host = if address.is_ipv4() { "100.64.0.1" } else { "fd5e:a1a::1" };
                (LEG_MAC, host.parse().unwrap(), (node.shadow(pod, address), case.port))
            }
            (Way::ToHost, ..) => (mac, address, (node.underlay(address), case.port)),
            (Way::Overlay, Name::Pod(_, from), _) => (PEER_MAC, *from, inside),
            (_, _, Name::Pod(_, to) | Name::Outside(to)) => (mac, address, (*to, case.port)),
            other => panic!("no packet goes by {:?} to {:?}", other.0, other.2),
        };
        let flags = if case.begun.get() { ACK } else { SYN };
        let frame = Frame { mac, protocol: case.protocol, from: (from, case.source_port), to, flags }.bytes();
        match (case.way, tag) {
            (_, Some((sender, group))) => node.overlay_brings(sender, (vni(), group), &frame),
            (Way::Published(_), _) => node.uplink_gets(&frame),
            (Way::FromHost, _) => node.host_sends(&frame),
            _ => node.pod_sends(pod, &frame),
        }
    }

    /// What the programs tell without sending anything: the verdict, and the same groups, rule sets, decisions and rules.
    fn kernel_explains(
        &mut self,
        known: &Known<'_>,
        (sender, receiver): (Group, Group),
    ) -> Result<(), TestCaseError> {
        let case = known.case;
        if case.way == Way::FromHost {
            // The node's own stack has no address inside to ask by.
            return Ok(());
        }
        let tag = case.tag(self.ground).map(|(_, group)| group);
        let (pod, own) = case.judge();
        let (_, node) = node_of(self.ground, pod);
        let place = |name: &Name| match name {
            Name::Pod(_, address) | Name::Outside(address) => *address,
            Name::OwnNode => node.underlay(own),
        };
        let (source, destination) = (place(&case.from), place(&case.to));
        let question =
            Question { vni: vni(), source, destination, tag, protocol: case.protocol, port: case.port };
        let told = node.datapath.explain(&question).map_err(|error| known.fail(error))?;
        self.counts.explained += 1;
        let passes = known.outcome.is_ok();
        if told.passes != passes || told.reason != known.outcome.err().map(|(reason, _)| reason) {
            return Err(known.fail(format!("the kernel explains {told:?}")));
        }
        let numbers = (told.sender, told.receiver) == (sender, receiver) && same_sides(&told, &known.judged);
        if self.settled && case.way != Way::ToHost && !numbers {
            let compiled = (sender, receiver, &known.judged);
            return Err(known.fail(format!("the kernel explains {told:?}, the compiler {compiled:?}")));
        }
        Ok(())
    }

    fn compiler_explains(&mut self, known: &Known<'_>) -> Result<(), TestCaseError> {
        let party = |name: &Name| match name {
            Name::Pod(_, address) | Name::Outside(address) => Party::Address(*address),
            Name::OwnNode => Party::Host,
        };
        let case = known.case;
        let inquiry = Inquiry {
            tenant: TENANT,
            network: Some(vni()),
            from: party(&case.from),
            to: party(&case.to),
            protocol: case.protocol,
            port: case.port,
        };
        let told = self.compiler.explain(&inquiry).map_err(|error| known.fail(error))?;
        self.counts.explained += 1;
        let rule = told.rule.as_ref().map_or(RuleId(0), |rule| rule.id);
        let outcome = match told.reason {
            None if told.allowed => Ok(rule),
            Some(reason) if !told.allowed => Err((reason, rule)),
            _ => return Err(known.fail(format!("explained {told:?}"))),
        };
        if outcome == known.outcome { Ok(()) } else { Err(known.fail(format!("explained {told:?}"))) }
    }

    /// Between two steps a drop may be by either numbering's word for the rule.
    fn expect(&self, drops: &mut Drops, (reason, rule): (DropReason, RuleId)) {
        *drops.entry((reason, self.rule(rule))).or_default() += 1;
    }

    fn rule(&self, rule: RuleId) -> RuleId {
        if self.settled { rule } else { RuleId(0) }
    }

    /// What both nodes have dropped so far.
    fn drops(&self) -> Drops {
        let mut sum = Drops::new();
        for ((reason, rule), times) in self.ground.nodes.values().flat_map(|node| node.drops()) {
            *sum.entry((reason, self.rule(rule))).or_default() += times;
        }
        sum
    }
}

/// Each side that the node judged says the same.
fn same_sides(told: &Judgement, judged: &Judged) -> bool {
    told.egress.is_none_or(|side| side == judged.egress)
        && told.ingress.is_none_or(|side| side == judged.ingress)
}
