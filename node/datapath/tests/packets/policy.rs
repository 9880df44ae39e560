//! Policy at every hook, and what a flip of the generation does.

use record::inspect::{Packet, Side};
use record::record::{AddressClass, Key, Members, Peer, Record};
use record::{Decision, DropReason, Group, RuleId, RuleSetId, Verdict, Vni};

use crate::frame::{Ends, SYN, TCP, UDP, a_to, b_to, echo, tcp};
use crate::ground::{
    GROUP_A, GROUP_B, GROUP_FAR, MAC_A, REDIRECT, TENANT, families, group, network, on_ground, row,
};

const OTHER: Group = Group(300);

fn open_network(allow: bool) -> Record {
    network(Vni::new(100).unwrap(), TENANT, allow, true)
}

#[test]
fn a_deny_names_its_rule_and_wins_from_either_side() {
    on_ground(|ground| {
        // B's ingress: UDP 53 allowed by rule 11, all else denied by rule 12.
        let ingress =
            [(0, 0, Verdict::Deny, 12), (UDP, 53, Verdict::Allow, 11), (UDP, 54, Verdict::Deny, 12)];
        ground.apply(&[row(1, Peer::Group(GROUP_A), &ingress), group(TENANT, GROUP_B, 1, 0)]);
        for family in families() {
            let to = |port| Ends::new(family.a, 4000, family.b, port);
            assert_eq!(ground.a_sends(&a_to(to(53), b"")).action, REDIRECT, "{}", ground.story());
            for frame in [a_to(to(52), b""), a_to(to(54), b""), tcp(MAC_A, to(53), SYN)] {
                ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&frame));
            }
        }
        let rules: Vec<_> =
            ground.datapath.drops().unwrap().into_iter().map(|drop| (drop.reason, drop.rule)).collect();
        assert_eq!(rules, [(DropReason::PolicyDenied, RuleId(12))]);
        // A's egress denies what B's ingress allows.
        ground.apply(&[
            row(2, Peer::Group(GROUP_B), &[(0, 0, Verdict::Deny, 21)]),
            group(TENANT, GROUP_A, 0, 2),
        ]);
        for family in families() {
            let frame = a_to(Ends::new(family.a, 4001, family.b, 53), b"");
            ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&frame));
        }
        assert!(ground.datapath.drops().unwrap().iter().any(|drop| drop.rule == RuleId(21)));
    });
}

#[test]
fn a_peer_without_a_row_of_its_own_has_the_default_row() {
    on_ground(|ground| {
        ground.apply(&[
            row(1, Peer::Others, &[(0, 0, Verdict::Deny, 5)]),
            row(1, Peer::Group(GROUP_A), &[(0, 0, Verdict::Allow, 6)]),
            group(TENANT, GROUP_B, 1, 0),
        ]);
        for family in families() {
            let from_a = a_to(Ends::new(family.a, 1, family.b, 2), b"");
            assert_eq!(ground.a_sends(&from_a).action, REDIRECT);
            let from_far = a_to(Ends::new(family.far, 1, family.b, 2), b"");
            ground.assert_drops(DropReason::PolicyDenied, |ground| {
                ground.overlay_brings(100, "192.0.2.2", GROUP_FAR.0, &from_far)
            });
        }
    });
}

#[test]
fn a_rule_set_without_a_row_denies_by_no_rule_from_either_side() {
    on_ground(|ground| {
        // The network's default is to allow; the groups are isolated, and what they allow has not been heard of.
        for (of_a, of_b, denies_egress) in [((0, 0), (7, 0), false), ((0, 7), (0, 0), true)] {
            ground.apply(&[group(TENANT, GROUP_A, of_a.0, of_a.1), group(TENANT, GROUP_B, of_b.0, of_b.1)]);
            for family in families() {
                let frame = a_to(Ends::new(family.a, 1, family.b, 2), b"");
                ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&frame));
                let vni = Vni::new(100).unwrap();
                let question = Packet {
                    vni,
                    source: family.a,
                    destination: family.b,
                    tag: None,
                    protocol: UDP,
                    port: 2,
                };
                let said = ground.datapath.explain(&question).unwrap();
                assert_eq!((said.passes, said.reason), (false, Some(DropReason::PolicyDenied)), "{said:?}");
                let side = if denies_egress { said.egress } else { said.ingress };
                let denial = Decision { verdict: Verdict::Deny, rule: RuleId(0) };
                assert_eq!(side, Some(Side { rule_set: RuleSetId(7), decision: denial }), "{said:?}");
            }
        }
        assert!(ground.datapath.drops().unwrap().iter().all(|drop| drop.rule == RuleId(0)));
        // A row that comes, for this peer or for all others, speaks for itself.
        for peer in [Peer::Group(GROUP_B), Peer::Others] {
            ground.apply(&[row(7, peer, &[(0, 0, Verdict::Allow, 9)])]);
            for family in families() {
                let frame = a_to(Ends::new(family.a, 1, family.b, 2), b"");
                assert_eq!(ground.a_sends(&frame).action, REDIRECT, "{}", ground.story());
            }
            ground.remove(&[Key::Row(TENANT, RuleSetId(7), peer)]);
        }
    });
}

#[test]
fn what_no_policy_speaks_of_falls_to_the_networks_default() {
    on_ground(|ground| {
        ground.apply(&[open_network(false)]);
        for family in families() {
            let frame = a_to(Ends::new(family.a, 1, family.b, 2), b"");
            ground.assert_drops(DropReason::DefaultDenied, |ground| ground.a_sends(&frame));
        }
        // A row that says Default here leaves it to the network; one that says Allow does not.
        ground.apply(&[
            row(
                1,
                Peer::Others,
                &[(0, 0, Verdict::Default, 0), (TCP, 80, Verdict::Allow, 3), (TCP, 81, Verdict::Default, 0)],
            ),
            group(TENANT, GROUP_B, 1, 0),
        ]);
        for family in families() {
            assert_eq!(
                ground.a_sends(&tcp(MAC_A, Ends::new(family.a, 1, family.b, 80), SYN)).action,
                REDIRECT
            );
            let frame = tcp(MAC_A, Ends::new(family.a, 1, family.b, 81), SYN);
            ground.assert_drops(DropReason::DefaultDenied, |ground| ground.a_sends(&frame));
        }
    });
}

#[test]
fn a_group_that_the_node_has_not_heard_of_fails_closed() {
    on_ground(|ground| {
        for family in families() {
            let own = record_address(family.a, OTHER);
            ground.datapath.regroup(1, &[own]).unwrap();
            let frame = a_to(Ends::new(family.a, 1, family.b, 2), b"");
            ground.assert_drops(DropReason::GroupUnknown, |ground| ground.a_sends(&frame));
            let from_far = a_to(Ends::new(family.far, 1, family.b, 2), b"");
            ground.assert_drops(DropReason::GroupUnknown, |ground| {
                ground.overlay_brings(100, "192.0.2.2", OTHER.0, &from_far)
            });
        }
        ground.apply(&[group(TENANT, OTHER, 0, 0)]);
        for family in families() {
            let frame = a_to(Ends::new(family.a, 1, family.b, 2), b"");
            assert_eq!(ground.a_sends(&frame).action, REDIRECT);
        }
    });
}

#[test]
fn a_network_that_the_node_does_not_hold_is_unknown() {
    on_ground(|ground| {
        ground.remove(&[Key::Network(Vni::new(100).unwrap())]);
        for family in families() {
            let frame = a_to(Ends::new(family.a, 1, family.b, 2), b"");
            ground.assert_drops(DropReason::NetworkUnknown, |ground| ground.a_sends(&frame));
            let from_far = a_to(Ends::new(family.far, 1, family.b, 2), b"");
            ground.assert_drops(DropReason::NetworkUnknown, |ground| {
                ground.overlay_brings(100, "192.0.2.2", GROUP_FAR.0, &from_far)
            });
        }
    });
}

#[test]
fn a_flip_judges_established_flows_anew_in_their_initiators_direction() {
    on_ground(|ground| {
        let ends = families().map(|family| Ends::new(family.a, 4000, family.b, 53));
        for ends in ends {
            assert_eq!(ground.a_sends(&a_to(ends, b"")).action, REDIRECT);
            assert_eq!(ground.b_sends(&b_to(ends.back(), b"")).action, REDIRECT);
        }
        // B may not begin anything to A: the flows that A began are not concerned.
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 1)]), group(TENANT, GROUP_A, 1, 0)]);
        for ends in ends {
            assert_eq!(ground.b_sends(&b_to(ends.back(), b"")).action, REDIRECT, "{}", ground.story());
            assert_eq!(ground.a_sends(&a_to(ends, b"")).action, REDIRECT);
        }
        // Now B admits nobody: an answer is cut like a question, and the flow is gone.
        ground.apply(&[row(2, Peer::Others, &[(0, 0, Verdict::Deny, 2)]), group(TENANT, GROUP_B, 2, 0)]);
        for ends in ends {
            ground.assert_drops(DropReason::PolicyDenied, |ground| ground.b_sends(&b_to(ends.back(), b"")));
        }
        assert!(ground.datapath.flows(&Default::default()).unwrap().is_empty());
        for ends in ends {
            ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&a_to(ends, b"")));
        }
    });
}

#[test]
fn a_new_group_of_an_endpoint_judges_its_flows_anew() {
    on_ground(|ground| {
        ground.apply(&[
            row(1, Peer::Group(OTHER), &[(0, 0, Verdict::Deny, 9)]),
            row(1, Peer::Others, &[(0, 0, Verdict::Allow, 8)]),
            group(TENANT, GROUP_B, 1, 0),
            group(TENANT, OTHER, 0, 0),
        ]);
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            assert_eq!(ground.a_sends(&a_to(ends, b"")).action, REDIRECT);
            ground.datapath.regroup(1, &[record_address(family.a, OTHER)]).unwrap();
            ground.assert_drops(DropReason::PolicyDenied, |ground| ground.b_sends(&b_to(ends.back(), b"")));
        }
    });
}

#[test]
fn icmp_is_judged_as_port_zero() {
    on_ground(|ground| {
        ground.apply(&[
            row(
                1,
                Peer::Others,
                &[
                    (0, 0, Verdict::Allow, 1),
                    (1, 0, Verdict::Deny, 2),
                    (2, 0, Verdict::Allow, 1),
                    (58, 0, Verdict::Deny, 3),
                    (59, 0, Verdict::Allow, 1),
                ],
            ),
            group(TENANT, GROUP_B, 1, 0),
        ]);
        for family in families() {
            assert_eq!(ground.a_sends(&a_to(Ends::new(family.a, 1, family.b, 2), b"")).action, REDIRECT);
            let ping = echo(MAC_A, Ends::new(family.a, 9, family.b, 0), false);
            ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&ping));
        }
    });
}

#[test]
fn an_ipv6_class_means_no_ipv4_address_however_wide_it_is() {
    on_ground(|ground| {
        let (everything, tenant) = (Group(400), TENANT);
        let mut outside = group(TENANT, everything, 0, 0);
        if let Record::Group(group) = &mut outside {
            group.members = Members::Addresses;
        }
        let class = AddressClass { tenant, prefix: "::/0".parse().unwrap(), group: everything };
        ground.apply(&[
            outside,
            Record::AddressClass(class),
            row(1, Peer::Group(everything), &[(0, 0, Verdict::Allow, 8)]),
            row(1, Peer::Others, &[(0, 0, Verdict::Deny, 9)]),
            group(TENANT, GROUP_A, 0, 1),
        ]);
        let [ipv4, ipv6] = families().map(|family| a_to(Ends::new(family.a, 1, family.world, 443), b""));
        assert_eq!(ground.a_sends(&ipv6).action, REDIRECT, "{}", ground.story());
        ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&ipv4));
    });
}

#[test]
fn an_outside_address_has_the_group_of_its_longest_class() {
    on_ground(|ground| {
        let class = |prefix: &str, number| {
            Record::AddressClass(AddressClass {
                tenant: TENANT,
                prefix: prefix.parse().unwrap(),
                group: number,
            })
        };
        let (wide, narrow) = (Group(400), Group(401));
        let mut groups = [group(TENANT, wide, 0, 0), group(TENANT, narrow, 0, 0)];
        for record in &mut groups {
            if let Record::Group(group) = record {
                group.members = Members::Addresses;
            }
        }
        ground.apply(&groups);
        ground.apply(&[
            class("198.51.0.0/16", wide),
            class("198.51.100.0/24", narrow),
            class("2001:db8:ff00::/40", wide),
            class("2001:db8:ffff::/48", narrow),
            row(1, Peer::Group(narrow), &[(0, 0, Verdict::Deny, 7)]),
            row(1, Peer::Group(wide), &[(0, 0, Verdict::Allow, 8)]),
            row(1, Peer::Others, &[(0, 0, Verdict::Deny, 9)]),
            group(TENANT, GROUP_A, 0, 1),
        ]);
        for (family, elsewhere) in families().into_iter().zip(["203.0.113.1", "2001:db8:1::1"]) {
            let to = |address| a_to(Ends::new(family.a, 1, address, 443), b"");
            ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&to(family.world)));
            ground.assert_drops(DropReason::PolicyDenied, |ground| {
                ground.a_sends(&to(elsewhere.parse().unwrap()))
            });
        }
        // Without the narrow class the wide one shows.
        ground.remove(&[
            Key::AddressClass(TENANT, "198.51.100.0/24".parse().unwrap()),
            Key::AddressClass(TENANT, "2001:db8:ffff::/48".parse().unwrap()),
        ]);
        for family in families() {
            let out = ground.a_sends(&a_to(Ends::new(family.a, 1, family.world, 443), b""));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
        }
        let rules: Vec<_> = ground.datapath.drops().unwrap().into_iter().map(|drop| drop.rule.0).collect();
        assert!(rules.contains(&7) && rules.contains(&9), "{rules:?}");
    });
}

fn record_address(address: std::net::IpAddr, group: Group) -> datapath::EndpointAddress {
    datapath::EndpointAddress { address, group }
}
