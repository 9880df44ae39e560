//! ICMP errors: only about flows of their own network, with the quotation as its sender knows it.

use record::{DropReason, Mac};

use crate::frame::{Ends, a_to, b_to, echo, icmp, read, udp, unreachable};
use crate::ground::{GROUP_FAR, LEG_MAC, MAC_A, MAC_B, NEXT, REDIRECT, families, on_ground};

const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);

/// The quoted addresses and ports.
fn quoted(transport: &[u8]) -> Ends {
    let mut frame = vec![0; 14];
    frame.extend(&transport[8..]);
    let source = crate::frame::source_of(&frame);
    let destination = crate::frame::destination_of(&frame);
    let at = transport.len() - 8;
    let word = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
    Ends::new(source, word(at), destination, word(at + 2))
}

#[test]
fn an_error_about_a_local_flow_passes() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            let sent = a_to(ends, b"question");
            assert_eq!(ground.a_sends(&sent).action, REDIRECT);
            let error = unreachable(MAC_B, Ends::new(family.b, 0, family.a, 0), &sent);
            let out = ground.b_sends(&error);
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!((seen.to, quoted(&seen.transport)), (MAC_A, ends));
        }
    });
}

#[test]
fn an_error_about_no_flow_or_anothers_is_unrelated() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            let never = b_to(ends.back(), b"");
            let error = unreachable(MAC_A, Ends::new(family.a, 0, family.b, 0), &never);
            ground.assert_drops(DropReason::IcmpUnrelated, |ground| ground.a_sends(&error));
            // A flow of the twin's is none of this network's.
            let frame = udp(MAC_B, ends.back(), b"");
            assert_eq!(ground.sends_on("4-in", "twin_b", &frame).action, REDIRECT);
            ground.assert_drops(DropReason::IcmpUnrelated, |ground| ground.a_sends(&error));
            // About one's own flow, but to somebody who has no part in it.
            assert_eq!(ground.b_sends(&frame).action, REDIRECT);
            let astray = unreachable(MAC_A, Ends::new(family.a, 0, family.far, 0), &frame);
            ground.assert_drops(DropReason::IcmpUnrelated, |ground| ground.a_sends(&astray));
            assert_eq!(ground.a_sends(&error).action, REDIRECT, "{}", ground.story());
        }
    });
}

#[test]
fn an_error_with_a_quotation_cut_short_is_unrelated() {
    on_ground(|ground| {
        for family in families() {
            let kind = if family.a.is_ipv6() { vec![1, 4] } else { vec![3, 3] };
            let mut message = kind;
            message.extend([0; 6]);
            message.extend([0x45, 0, 0, 40]);
            let frame = icmp(MAC_A, Ends::new(family.a, 0, family.b, 0), message);
            ground.assert_drops(DropReason::IcmpUnrelated, |ground| ground.a_sends(&frame));
        }
    });
}

#[test]
fn an_error_from_another_node_reaches_the_sender() {
    on_ground(|ground| {
        for family in families() {
            let sent = a_to(Ends::new(family.a, 4000, family.far, 53), b"");
            assert_eq!(ground.a_sends(&sent).action, REDIRECT);
            let error = unreachable(MAC_B, Ends::new(family.far, 0, family.a, 0), &sent);
            let out = ground.overlay_brings(100, "192.0.2.2", GROUP_FAR.0, &error);
            assert_eq!((out.action, read(&out.frame).to), (REDIRECT, MAC_A), "{}", ground.story());
            ground.assert_drops(DropReason::IcmpUnrelated, |ground| {
                let mut other = error.clone();
                let port = other.len() - 8;
                other[port..port + 2].copy_from_slice(&4001u16.to_be_bytes());
                ground.overlay_brings(100, "192.0.2.2", GROUP_FAR.0, &other)
            });
        }
    });
}

#[test]
fn an_error_from_a_router_about_a_way_to_the_world_is_translated_back() {
    on_ground(|ground| {
        for (family, router) in families().into_iter().zip(["203.0.113.254", "2001:db8:aaaa::1"]) {
            let ends = Ends::new(family.a, 40_000, family.world, 53);
            let out = ground.a_sends(&a_to(ends, b"question"));
            assert_eq!(out.action, REDIRECT);
            let error =
                unreachable(ROUTER, Ends::new(router.parse().unwrap(), 0, family.node, 0), &out.frame);
            let out = ground.uplink_gets(&error);
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!(seen.to, MAC_A);
            assert_eq!((seen.ends.source, seen.ends.destination), (router.parse().unwrap(), family.a));
            assert_eq!(quoted(&seen.transport), ends, "the container knows what it sent");
            // About a ping.
            let ping = Ends::new(family.a, 7, family.world, 0);
            let out = ground.a_sends(&echo(MAC_A, ping, false));
            let error =
                unreachable(ROUTER, Ends::new(router.parse().unwrap(), 0, family.node, 0), &out.frame);
            let seen = read(&ground.uplink_gets(&error).frame);
            let identifier = seen.transport.len() - 4;
            assert_eq!(&seen.transport[identifier..identifier + 2], &7u16.to_be_bytes());
        }
    });
}

#[test]
fn an_error_about_the_hosts_own_traffic_is_the_hosts() {
    on_ground(|ground| {
        for family in families() {
            let hosts = udp(ROUTER, Ends::new(family.node, 50_000, family.world, 53), b"");
            let error = unreachable(ROUTER, Ends::new(family.world, 0, family.node, 0), &hosts);
            let out = ground.uplink_gets(&error);
            assert_eq!((out.action, out.frame), (NEXT, error));
        }
    });
}

#[test]
fn an_error_from_a_container_about_a_probe_reaches_the_host_as_it_sent_it() {
    on_ground(|ground| {
        for family in families() {
            let probe = Ends::new(family.host, 33_000, family.shadow_a, 53);
            let out = ground.host_sends(&udp(LEG_MAC, probe, b"probe"));
            let inside = read(&out.frame).ends;
            let error = unreachable(MAC_A, Ends::new(family.a, 0, inside.source, 0), &out.frame);
            let out = ground.a_sends(&error);
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!(
                (seen.to, seen.ends.source, seen.ends.destination),
                (LEG_MAC, family.shadow_a, family.host)
            );
            assert_eq!(quoted(&seen.transport), probe);
        }
    });
}

#[test]
fn an_error_from_the_host_about_a_containers_packet_reaches_it() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.node, 9999);
            let out = ground.a_sends(&a_to(ends, b""));
            let error = unreachable(LEG_MAC, Ends::new(family.node, 0, family.shadow_a, 0), &out.frame);
            let out = ground.host_sends(&error);
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!((seen.to, seen.ends.source, seen.ends.destination), (MAC_A, family.node, family.a));
            assert_eq!(quoted(&seen.transport), ends);
        }
    });
}
