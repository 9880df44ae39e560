//! What a list of allow rules says of one peer, as intervals over (protocol, port).

use std::collections::BTreeSet;

use intent::policy::{PortMatch, Ports};
use record::record::PortInterval;
use record::{Decision, NamedPort, RuleId, Verdict};

/// The intervals of a row: `allows` in order of precedence, `otherwise` where none of them speaks. Canonical: neighbours differ.
///
/// `receiver` are the named ports of whoever receives the traffic: they give the names in rules their numbers.
pub(crate) fn intervals<'a>(
    allows: impl IntoIterator<Item = (RuleId, &'a Ports)>,
    receiver: &BTreeSet<NamedPort>,
    otherwise: Decision,
) -> Vec<PortInterval> {
    let mut edges = Vec::new();
    let mut rules = Vec::new();
    for (order, (rule, ports)) in allows.into_iter().enumerate() {
        rules.push(rule);
        for span in spans(ports, receiver) {
            edges.push(Edge { at: span.first, closes: false, order });
            edges.push(Edge { at: span.end, closes: true, order });
        }
    }
    edges.sort_unstable();
    let mut row = vec![interval(0, otherwise)];
    // A rule may cover a place more than once: its count of open spans.
    let mut open = std::collections::BTreeMap::<usize, usize>::new();
    let mut edges = edges.into_iter().peekable();
    while let Some(at) = edges.peek().map(|edge| edge.at) {
        while let Some(edge) = edges.next_if(|edge| edge.at == at) {
            let count = open.entry(edge.order).or_default();
            *count = if edge.closes { *count - 1 } else { *count + 1 };
            if *count == 0 {
                open.remove(&edge.order);
            }
        }
        let first = open.keys().next().map(|order| rules[*order]);
        let decision = first.map_or(otherwise, |rule| Decision { verdict: Verdict::Allow, rule });
        extend(&mut row, at, decision);
    }
    row
}

/// Where a span of ports begins or ends. Begins sort before ends at the same place, so that no count falls below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    at: u32,
    closes: bool,
    order: usize,
}

fn extend(row: &mut Vec<PortInterval>, at: u32, decision: Decision) {
    if at >= END {
        return;
    }
    if row.last().is_some_and(|last| *last == interval(at, last.decision)) {
        row.pop();
    }
    if row.last().is_none_or(|last| last.decision != decision) {
        row.push(interval(at, decision));
    }
}

/// Places are (protocol << 16 | port), `end` not included.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u32,
    end: u32,
}

/// Behind the last port of the last protocol.
const END: u32 = 256 << 16;

fn spans(ports: &Ports, receiver: &BTreeSet<NamedPort>) -> Vec<Span> {
    let Ports::These(ports) = ports else { return vec![Span { first: 0, end: END }] };
    let span = |protocol: record::Protocol, first: u16, last: u16| {
        let base = u32::from(protocol.number()) << 16;
        Span { first: base + u32::from(first), end: base + u32::from(last) + 1 }
    };
    let mut spans = Vec::new();
    for port in ports {
        match port {
            PortMatch::Protocol(protocol) => spans.push(span(*protocol, 0, u16::MAX)),
            PortMatch::Range { protocol, first, last } => spans.push(span(*protocol, *first, *last)),
            PortMatch::Named { protocol, name } => {
                let known = receiver.iter().filter(|own| own.protocol == *protocol && own.name == *name);
                spans.extend(known.map(|own| span(*protocol, own.port, own.port)));
            }
        }
    }
    spans
}

fn interval(at: u32, decision: Decision) -> PortInterval {
    PortInterval {
        protocol: u8::try_from(at >> 16).expect("places end before protocol 256"),
        port: (at & 0xffff) as u16,
        decision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use record::Protocol;
    use record::record::{Peer, Row};
    use record::{RuleSetId, TenantId};

    const DENY: Decision = Decision { verdict: Verdict::Deny, rule: RuleId(99) };

    fn port_match() -> impl Strategy<Value = PortMatch> {
        let protocol = prop::sample::select(Protocol::ALL.to_vec());
        let port = prop_oneof![1u16..12, 65_530..=65_535u16];
        prop_oneof![
            protocol.clone().prop_map(PortMatch::Protocol),
            (protocol.clone(), port.clone(), port).prop_map(|(protocol, one, other)| PortMatch::Range {
                protocol,
                first: one.min(other),
                last: one.max(other),
            }),
            (protocol, prop::sample::select(vec!["web", "dns"]))
                .prop_map(|(protocol, name)| PortMatch::Named { protocol, name: name.to_owned() }),
        ]
    }

    fn ports() -> impl Strategy<Value = Ports> {
        prop_oneof![
            1 => Just(Ports::All),
            6 => prop::collection::btree_set(port_match(), 1..4).prop_map(Ports::These),
        ]
    }

    /// The same question asked of the rules one by one.
    fn asked(ports: &Ports, receiver: &BTreeSet<NamedPort>, protocol: u8, port: u16) -> bool {
        let Ports::These(ports) = ports else { return true };
        ports.iter().any(|entry| match entry {
            PortMatch::Protocol(own) => own.number() == protocol,
            PortMatch::Range { protocol: own, first, last } => {
                own.number() == protocol && (*first..=*last).contains(&port)
            }
            PortMatch::Named { protocol: own, name } => {
                own.number() == protocol
                    && receiver.contains(&NamedPort { name: name.clone(), protocol: *own, port })
            }
        })
    }

    proptest! {
        #[test]
        fn a_row_says_what_its_rules_say_one_by_one(lists in prop::collection::vec(ports(), 0..6)) {
            let receiver = BTreeSet::from([
                NamedPort { name: "web".into(), protocol: Protocol::Tcp, port: 5 },
                NamedPort { name: "web".into(), protocol: Protocol::Tcp, port: 9 },
                NamedPort { name: "dns".into(), protocol: Protocol::Udp, port: 5 },
            ]);
            let allows = lists.iter().enumerate().map(|(index, ports)| (RuleId(index as u32 + 1), ports));
            let row = Row {
                tenant: TenantId(1),
                rule_set: RuleSetId(1),
                peer: Peer::Others,
                ports: intervals(allows, &receiver, DENY),
            };
            prop_assert_eq!((row.ports[0].protocol, row.ports[0].port), (0, 0));
            for pair in row.ports.windows(2) {
                prop_assert!((pair[0].protocol, pair[0].port) < (pair[1].protocol, pair[1].port));
                prop_assert_ne!(pair[0].decision, pair[1].decision, "neighbours differ");
            }
            for protocol in [0, 1, 5, 6, 7, 17, 18, 58, 131, 132, 133, 255] {
                for port in (0..14).chain(65_528..=65_535) {
                    let first = lists.iter().position(|ports| asked(ports, &receiver, protocol, port));
                    let expected = first.map_or(DENY, |index| Decision {
                        verdict: Verdict::Allow,
                        rule: RuleId(index as u32 + 1),
                    });
                    prop_assert_eq!(row.decision(protocol, port), expected, "{}/{} in {:?}", protocol, port, row);
                }
            }
        }
    }
}
