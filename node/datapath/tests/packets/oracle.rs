//! The kernel's verdict against one written apart: random rows, random packets.

use record::inspect::{Packet, Path};
use record::record::{Peer, Record, Row};
use record::{Decision, DropReason, Group, RuleId, Verdict, Vni};

use crate::frame::{Ends, SYN, TCP, UDP, tcp, udp};
use crate::ground::{
    GROUP_A, GROUP_B, GROUP_FAR, MAC_A, REDIRECT, SHOT, TENANT, families, group, network, on_ground, row,
};

/// Numerical Recipes' generator: the same packets in every run.
struct Dice(u32);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % limit
    }
}

fn random_row(dice: &mut Dice, set: u32, peer: Peer) -> Record {
    let mut starts: Vec<(u8, u16)> = (0..dice.below(12))
        .map(|_| ([1, TCP, UDP, 58, 132][dice.below(5) as usize], dice.below(40) as u16))
        .collect();
    starts.push((0, 0));
    starts.sort_unstable();
    starts.dedup();
    let verdicts = [Verdict::Default, Verdict::Allow, Verdict::Deny];
    let ports: Vec<_> = starts
        .into_iter()
        .map(|(protocol, port)| (protocol, port, verdicts[dice.below(3) as usize], dice.below(1000)))
        .collect();
    row(set, peer, &ports)
}

/// A deny of either side wins, then an allow of either, then the network.
fn expected(egress: Option<Decision>, ingress: Option<Decision>, default_allow: bool) -> Option<DropReason> {
    let says = |verdict| [egress, ingress].iter().flatten().any(|decision| decision.verdict == verdict);
    if says(Verdict::Deny) {
        Some(DropReason::PolicyDenied)
    } else if says(Verdict::Allow) || default_allow {
        None
    } else {
        Some(DropReason::DefaultDenied)
    }
}

/// Of two rules that allow it the receiver's is told; 0 where the network's default does.
fn allowing(egress: Option<Decision>, ingress: Option<Decision>) -> RuleId {
    let sides = [ingress, egress].into_iter().flatten();
    sides
        .filter(|decision| decision.verdict == Verdict::Allow)
        .map(|decision| decision.rule)
        .next()
        .unwrap_or_default()
}

/// A rule set without a row for the peer or for all others denies.
fn look_up(rows: &[Row], set: u32, peer: Group, protocol: u8, port: u16) -> Option<Decision> {
    let unheard_of = Decision { verdict: Verdict::Deny, rule: RuleId(0) };
    let find = |peer| rows.iter().find(|row| row.rule_set.0 == set && row.peer == peer);
    (set != 0).then(|| {
        find(Peer::Group(peer))
            .or_else(|| find(Peer::Others))
            .map_or(unheard_of, |row| row.decision(protocol, port))
    })
}

#[test]
fn explain_the_packets_and_the_model_agree() {
    on_ground(|ground| {
        let mut dice = Dice(2026);
        let vni = Vni::new(100).unwrap();
        for round in 0..40 {
            let default_allow = dice.below(2) == 0;
            let sets = [GROUP_A, GROUP_B, GROUP_FAR].map(|number| (number, dice.below(4), dice.below(4)));
            let mut records = vec![network(vni, TENANT, default_allow, true)];
            for set in 1..4 {
                for peer in [Peer::Others, Peer::Group(GROUP_A), Peer::Group(GROUP_B), Peer::Group(GROUP_FAR)]
                {
                    if dice.below(if peer == Peer::Others { 10 } else { 3 }) > 0 {
                        records.push(random_row(&mut dice, set, peer));
                    }
                }
            }
            records.extend(sets.map(|(number, ingress, egress)| group(TENANT, number, ingress, egress)));
            let kept: Vec<_> = records.clone();
            let rows: Vec<Row> = kept
                .into_iter()
                .filter_map(|record| if let Record::Row(row) = record { Some(row) } else { None })
                .collect();
            ground.generation += 1;
            let mut whole = crate::ground::world();
            whole.extend(records);
            ground.datapath.resync(&whole, record::Generation(ground.generation)).unwrap();
            for attempt in 0..30u16 {
                let family = families()[dice.below(2) as usize];
                let (protocol, port) = ([TCP, UDP][dice.below(2) as usize], dice.below(42) as u16);
                let far = dice.below(2) == 0;
                let (source, sender) = if far { (family.far, GROUP_FAR) } else { (family.a, GROUP_A) };
                let set_of = |wanted| sets.iter().find(|(number, ..)| *number == wanted).unwrap();
                let egress = look_up(&rows, set_of(sender).2, GROUP_B, protocol, port);
                let ingress = look_up(&rows, set_of(GROUP_B).1, sender, protocol, port);
                let reason = expected(egress, ingress, default_allow);

                let tag = far.then_some(sender);
                let question = Packet { vni, source, destination: family.b, tag, protocol, port };
                let said = ground.datapath.explain(&question).unwrap();
                let world = format!("{question:?}\n{said:?}\n{egress:?} {ingress:?} {default_allow}");
                assert_eq!(said.reason, reason, "{world}");
                assert_eq!((said.passes, said.path), (reason.is_none(), Path::Local), "{world}");
                assert_eq!((said.sender, said.receiver), (sender, GROUP_B), "{world}");
                assert_eq!(
                    said.egress.map(|side| side.decision).unwrap_or_default(),
                    egress.unwrap_or_default(),
                    "{world}"
                );
                assert_eq!(
                    said.ingress.map(|side| side.decision).unwrap_or_default(),
                    ingress.unwrap_or_default()
                );

                let ends = Ends::new(source, round * 100 + attempt + 1, family.b, port);
                let frame = if protocol == TCP { tcp(MAC_A, ends, SYN) } else { udp(MAC_A, ends, b"") };
                let out = if far {
                    ground.overlay_brings(100, "192.0.2.2", sender.0, &frame)
                } else {
                    ground.a_sends(&frame)
                };
                assert_eq!(out.action, if reason.is_none() { REDIRECT } else { SHOT }, "{world}");
                let flows = ground.datapath.flows(&Default::default()).unwrap();
                let mine = flows
                    .iter()
                    .find(|flow| flow.source_port == ends.source_port && flow.protocol == protocol);
                let told = reason.is_none().then(|| allowing(egress, ingress));
                assert_eq!(mine.map(|flow| flow.rule), told, "{world}");
            }
        }
    });
}

#[test]
fn explain_names_the_way_and_leaves_no_trace() {
    on_ground(|ground| {
        let vni = Vni::new(100).unwrap();
        for family in families() {
            let ask = |destination| {
                let question =
                    Packet { vni, source: family.a, destination, tag: None, protocol: TCP, port: 80 };
                ground.datapath.explain(&question).unwrap()
            };
            assert_eq!(ask(family.b).path, Path::Local);
            assert_eq!(ask(family.far).path, Path::Node(record::NodeId(2)));
            assert_eq!((ask(family.world).path, ask(family.world).receiver), (Path::World, Group::WORLD));
            assert_eq!((ask(family.node).path, ask(family.node).receiver), (Path::Host, Group::HOST));
            let nowhere = if family.a.is_ipv6() { "fd01::9:9" } else { "10.1.9.9" }.parse().unwrap();
            assert_eq!(
                (ask(nowhere).path, ask(nowhere).reason),
                (Path::Nowhere, Some(DropReason::RouteUnknown))
            );
        }
        for family in families() {
            // A client of a published port is judged as its address' class, by ingress alone.
            let question = Packet {
                vni,
                source: family.world,
                destination: family.b,
                tag: None,
                protocol: TCP,
                port: 80,
            };
            let said = ground.datapath.explain(&question).unwrap();
            assert_eq!((said.sender, said.receiver, said.passes), (Group::WORLD, GROUP_B, true), "{said:?}");
            assert!(said.egress.is_none() && said.ingress.is_some(), "{said:?}");
            // A tag that is no group is refused as on the wire.
            for tag in [Group::UNKNOWN, Group::HOST, Group::WORLD] {
                let question = Packet { tag: Some(tag), source: family.far, ..question.clone() };
                let said = ground.datapath.explain(&question).unwrap();
                assert_eq!(said.reason, Some(DropReason::GroupUnknown), "{said:?}");
            }
        }
        assert!(ground.datapath.flows(&Default::default()).unwrap().is_empty());
        assert!(ground.datapath.drops().unwrap().is_empty());
    });
}
