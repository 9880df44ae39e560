//! Fragments: the first one's ports stand for all.

use record::record::Peer;
use record::{DropReason, Verdict};

use crate::frame::{Ends, UDP, fragment, udp_segment};
use crate::ground::{GROUP_B, MAC_A, REDIRECT, TENANT, families, group, on_ground, row};

#[test]
fn later_fragments_pass_by_their_first() {
    on_ground(|ground| {
        ground.apply(&[
            row(
                1,
                Peer::Others,
                &[(0, 0, Verdict::Deny, 1), (UDP, 53, Verdict::Allow, 2), (UDP, 54, Verdict::Deny, 1)],
            ),
            group(TENANT, GROUP_B, 1, 0),
        ]);
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            let datagram = udp_segment(ends, &[7; 40]);
            let part = |from: usize, to: usize, more| {
                fragment(MAC_A, ends, UDP, (from as u16, more), &datagram[from..to])
            };
            ground
                .assert_drops(DropReason::FragmentBeforeFirst, |ground| ground.a_sends(&part(24, 48, false)));
            assert_eq!(ground.a_sends(&part(0, 24, true)).action, REDIRECT, "{}", ground.story());
            assert_eq!(ground.a_sends(&part(24, 48, false)).action, REDIRECT);
            // One that would rewrite what was judged.
            ground.assert_drops(DropReason::FragmentMalformed, |ground| ground.a_sends(&part(8, 48, false)));
        }
        let flows = ground.datapath.flows(&Default::default()).unwrap();
        assert!(flows.len() == 2 && flows.iter().all(|flow| flow.sent.packets == 2), "{flows:?}");
    });
}

#[test]
fn fragments_of_a_denied_datagram_are_denied() {
    on_ground(|ground| {
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 1)]), group(TENANT, GROUP_B, 1, 0)]);
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            let datagram = udp_segment(ends, &[7; 40]);
            for (place, part) in [((0, true), &datagram[..24]), ((24, false), &datagram[24..])] {
                let frame = fragment(MAC_A, ends, UDP, place, part);
                ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&frame));
            }
        }
    });
}

#[test]
fn a_first_fragment_without_its_whole_transport_header_is_malformed() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            let tcp_header = [0x0f, 0xa0, 0, 53, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 2, 0, 0, 0, 0, 0, 0];
            let frame = fragment(MAC_A, ends, 6, (0, true), &tcp_header[..16]);
            ground.assert_drops(DropReason::FragmentMalformed, |ground| ground.a_sends(&frame));
        }
    });
}

#[test]
fn fragments_of_two_networks_are_never_joined() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            let datagram = udp_segment(ends, &[7; 40]);
            let first = fragment(MAC_A, ends, UDP, (0, true), &datagram[..24]);
            let last = fragment(MAC_A, ends, UDP, (24, false), &datagram[24..]);
            assert_eq!(ground.a_sends(&first).action, REDIRECT);
            ground.assert_drops(DropReason::FragmentBeforeFirst, |ground| {
                ground.sends_on("3-in", "twin_a", &last)
            });
        }
    });
}

#[test]
fn fragments_to_the_world_and_back_are_translated_whole() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 20_000, family.world, 53);
            let datagram = udp_segment(ends, &[7; 40]);
            for (place, part) in [((0, true), &datagram[..24]), ((24, false), &datagram[24..])] {
                let out = ground.a_sends(&fragment(MAC_A, ends, UDP, place, part));
                assert_eq!(out.action, REDIRECT, "{}", ground.story());
                assert_eq!(crate::frame::source_of(&out.frame), family.node);
            }
            let back = Ends::new(family.world, 53, family.node, 20_000);
            let datagram = udp_segment(back, &[8; 40]);
            for (place, part) in [((0, true), &datagram[..24]), ((24, false), &datagram[24..])] {
                let out = ground.uplink_gets(&fragment(MAC_A, back, UDP, place, part));
                assert_eq!(out.action, REDIRECT, "{}", ground.story());
                assert_eq!(crate::frame::destination_of(&out.frame), family.a);
            }
        }
    });
}
