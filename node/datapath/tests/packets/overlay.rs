//! Between nodes: who may send what for whom, and how large.

use record::record::{Key, Member, Peer, Record};
use record::{DropReason, Group, NodeId, Verdict, Vni};

use crate::frame::{Ends, SYN, a_to, b_to, read, tcp, tcp_with, udp};
use crate::ground::{
    GATEWAY, GROUP_A, GROUP_B, GROUP_FAR, Ground, MAC_A, MAC_B, REDIRECT, TENANT, families, group, on_ground,
    row,
};

const SENDER: &str = "192.0.2.2";

#[test]
fn what_comes_from_the_holder_of_its_source_is_judged_and_delivered() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.far, 4000, family.b, 53);
            let out = ground.overlay_brings(100, SENDER, GROUP_FAR.0, &udp(MAC_A, ends, b"far"));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!((seen.to, seen.from, seen.ends), (MAC_B, GATEWAY, ends));
            // The answer goes by the entry.
            assert_eq!(ground.b_sends(&b_to(ends.back(), b"near")).action, REDIRECT);
        }
    });
}

#[test]
fn a_vni_leads_to_its_own_network_alone() {
    on_ground(|ground| {
        ground.apply(&[
            row(1, Peer::Others, &[(0, 0, Verdict::Deny, 1)]),
            group(TENANT, crate::ground::GROUP_B, 1, 0),
        ]);
        for family in families() {
            let frame = udp(MAC_A, Ends::new(family.far, 4000, family.b, 53), b"");
            ground.assert_drops(DropReason::PolicyDenied, |ground| {
                ground.overlay_brings(100, SENDER, GROUP_FAR.0, &frame)
            });
            assert_eq!(ground.overlay_brings(200, SENDER, GROUP_FAR.0, &frame).action, REDIRECT);
            ground.assert_drops(DropReason::NetworkUnknown, |ground| {
                ground.overlay_brings(300, SENDER, GROUP_FAR.0, &frame)
            });
        }
    });
}

#[test]
fn a_sender_that_is_no_node_or_not_the_sources_holder_is_refused() {
    on_ground(|ground| {
        for family in families() {
            let frame = udp(MAC_A, Ends::new(family.far, 4000, family.b, 53), b"");
            let from = |sender: &'static str, frame: Vec<u8>| {
                move |ground: &crate::ground::Ground| ground.overlay_brings(100, sender, GROUP_FAR.0, &frame)
            };
            ground.assert_drops(DropReason::SenderUnknown, from("203.0.113.9", frame.clone()));
            // Node 3 is no member, and later a member that does not hold the source.
            ground.assert_drops(DropReason::SenderForeign, from("192.0.2.3", frame.clone()));
            // Node 2 speaks for an address of this node, of nobody, of the world.
            for source in [family.a, family.world] {
                let frame = udp(MAC_A, Ends::new(source, 4000, family.b, 53), b"");
                ground.assert_drops(DropReason::SenderForeign, from(SENDER, frame));
            }
        }
        ground.apply(&[Record::Member(Member { vni: Vni::new(100).unwrap(), node: NodeId(3) })]);
        for family in families() {
            let frame = udp(MAC_A, Ends::new(family.far, 4000, family.b, 53), b"");
            ground.assert_drops(DropReason::SenderForeign, |ground| {
                ground.overlay_brings(100, "192.0.2.3", GROUP_FAR.0, &frame)
            });
        }
    });
}

#[test]
fn a_tag_that_is_missing_or_reserved_is_no_group() {
    on_ground(|ground| {
        for family in families() {
            let frame = udp(MAC_A, Ends::new(family.far, 4000, family.b, 53), b"");
            // 1 would be the host, which is always let in.
            for tag in [None, Some(0), Some(1), Some(2), Some(255)] {
                ground.assert_drops(DropReason::GroupUnknown, |ground| ground.hop(100, SENDER, tag, &frame));
            }
        }
    });
}

#[test]
fn what_is_for_no_endpoint_here_is_dropped() {
    on_ground(|ground| {
        for (family, nobody) in families().into_iter().zip(["10.1.1.99", "fd01::1:99"]) {
            for destination in [nobody.parse().unwrap(), family.gateway, family.world] {
                let frame = udp(MAC_A, Ends::new(family.far, 4000, destination, 53), b"");
                ground.assert_drops(DropReason::RouteUnknown, |ground| {
                    ground.overlay_brings(100, SENDER, GROUP_FAR.0, &frame)
                });
            }
        }
    });
}

#[test]
fn the_receiver_judges_the_senders_egress_too() {
    on_ground(|ground| {
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 4)]), group(TENANT, GROUP_FAR, 0, 1)]);
        for family in families() {
            let frame = udp(MAC_A, Ends::new(family.far, 4000, family.b, 53), b"");
            ground.assert_drops(DropReason::PolicyDenied, |ground| {
                ground.overlay_brings(100, SENDER, GROUP_FAR.0, &frame)
            });
        }
    });
}

#[test]
fn a_sender_leaves_judging_to_the_receiver_and_its_answer_passes() {
    on_ground(|ground| {
        // A's ingress denies the far group: what A began is answered none the less.
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 4)]), group(TENANT, GROUP_A, 1, 0)]);
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.far, 53);
            assert_eq!(ground.a_sends(&a_to(ends, b"")).action, REDIRECT, "{}", ground.story());
            let answer = udp(MAC_B, ends.back(), b"");
            let out = ground.overlay_brings(100, SENDER, GROUP_FAR.0, &answer);
            assert_eq!((out.action, read(&out.frame).to), (REDIRECT, MAC_A), "{}", ground.story());
            let other = udp(MAC_B, Ends::new(family.far, 53, family.a, 4001), b"");
            ground.assert_drops(DropReason::PolicyDenied, |ground| {
                ground.overlay_brings(100, SENDER, GROUP_FAR.0, &other)
            });
        }
    });
}

#[test]
fn an_answer_that_policy_now_forbids_is_cut_at_the_initiators_node_too() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.far, 53);
            assert_eq!(ground.a_sends(&a_to(ends, b"")).action, REDIRECT);
        }
        // The far group's ingress now denies A: its node cuts the flow, and so does this one.
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 4)]), group(TENANT, GROUP_FAR, 1, 0)]);
        for family in families() {
            let answer = udp(MAC_B, Ends::new(family.far, 53, family.a, 4000), b"");
            ground.assert_drops(DropReason::PolicyDenied, |ground| {
                ground.overlay_brings(100, SENDER, GROUP_FAR.0, &answer)
            });
        }
    });
}

#[test]
fn a_tag_of_another_group_judges_the_flow_anew() {
    on_ground(|ground| {
        ground.apply(&[
            row(1, Peer::Group(GROUP_A), &[(0, 0, Verdict::Deny, 4)]),
            row(1, Peer::Others, &[(0, 0, Verdict::Allow, 5)]),
            group(TENANT, crate::ground::GROUP_B, 1, 0),
        ]);
        for family in families() {
            let frame = udp(MAC_A, Ends::new(family.far, 4000, family.b, 53), b"");
            assert_eq!(ground.overlay_brings(100, SENDER, GROUP_FAR.0, &frame).action, REDIRECT);
            ground.assert_drops(DropReason::PolicyDenied, |ground| {
                ground.overlay_brings(100, SENDER, GROUP_A.0, &frame)
            });
            assert!(ground.datapath.flows(&Default::default()).unwrap().is_empty());
        }
    });
}

#[test]
fn a_quiet_initiator_that_got_another_group_is_answered_and_then_judged_by_it() {
    on_ground(|ground| {
        let moved = Group(301);
        for family in families() {
            ground.apply(&[
                group(TENANT, GROUP_FAR, 0, 0),
                group(TENANT, moved, 0, 0),
                group(TENANT, GROUP_B, 1, 0),
                row(1, Peer::Group(GROUP_FAR), &[(0, 0, Verdict::Allow, 4)]),
                row(1, Peer::Others, &[(0, 0, Verdict::Deny, 5)]),
            ]);
            let ends = Ends::new(family.far, 7, family.b, 8);
            let answer = udp(MAC_B, ends.back(), b"");
            let asks = |ground: &Ground, tag: Group| {
                ground.overlay_brings(100, SENDER, tag.0, &udp(MAC_A, ends, b""))
            };
            assert_eq!(asks(ground, GROUP_FAR).action, REDIRECT, "{}", ground.story());
            // Its old number is taken back before it has spoken with the new one.
            ground.remove(&[Key::Group(TENANT, GROUP_FAR)]);
            assert_eq!(ground.b_sends(&answer).action, REDIRECT, "{}", ground.story());
            ground.assert_drops(DropReason::PolicyDenied, |ground| asks(ground, moved));
        }
    });
}

#[test]
fn an_answerer_whose_own_group_is_not_known_fails_closed() {
    on_ground(|ground| {
        for family in families() {
            ground.apply(&[group(TENANT, GROUP_FAR, 0, 0), group(TENANT, GROUP_B, 0, 0)]);
            let ends = Ends::new(family.far, 7, family.b, 8);
            let frame = udp(MAC_A, ends, b"");
            assert_eq!(ground.overlay_brings(100, SENDER, GROUP_FAR.0, &frame).action, REDIRECT);
            ground.remove(&[Key::Group(TENANT, GROUP_FAR), Key::Group(TENANT, GROUP_B)]);
            ground.assert_drops(DropReason::GroupUnknown, |ground| {
                ground.b_sends(&udp(MAC_B, ends.back(), b""))
            });
        }
    });
}

#[test]
fn a_packet_larger_than_the_overlay_is_answered_with_the_mtu() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.far, 80);
            let header = if family.a.is_ipv6() { 60 } else { 40 };
            let fits = tcp_with(MAC_A, ends, SYN, 64, &vec![1; 1450 - header]);
            assert_eq!(ground.a_sends(&fits).action, REDIRECT, "{}", ground.story());
            let large = tcp_with(MAC_A, ends, SYN, 64, &vec![1; 1451 - header]);
            let out = ground.a_sends(&large);
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            assert_eq!(ground.dropped(DropReason::TooBig), if family.a.is_ipv6() { 2 } else { 1 });
            let seen = read(&out.frame);
            assert_eq!((seen.to, seen.from), (MAC_A, GATEWAY));
            assert_eq!((seen.ends.source, seen.ends.destination), (family.gateway, family.a));
            let expected: &[u8] = if family.a.is_ipv6() { &[2, 0] } else { &[3, 4] };
            assert_eq!(&seen.transport[..2], expected);
            assert_eq!(&seen.transport[4..8], &1450u32.to_be_bytes());
            assert_eq!(&seen.transport[8..], &large[14..14 + header], "it quotes the packet's headers");
        }
    });
}

#[test]
fn an_arp_or_a_frame_without_tunnel_never_enters_by_the_overlay() {
    on_ground(|ground| {
        let [family, _] = families();
        let frame = tcp(MAC_A, Ends::new(family.far, 1, family.b, 2), SYN);
        ground.assert_drops(DropReason::SenderUnknown, |ground| ground.sends_on("overlay", "vx", &frame));
        let mut arp = frame;
        arp[12..14].copy_from_slice(&[8, 6]);
        ground.assert_drops(DropReason::ProtocolUnsupported, |ground| {
            ground.overlay_brings(100, SENDER, GROUP_FAR.0, &arp)
        });
    });
}
