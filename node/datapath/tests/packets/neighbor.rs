//! ARP and neighbor discovery: the gateway's MAC for every address, and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use record::{DropReason, Mac};

use crate::frame::{Ends, echo, icmp, read};
use crate::ground::{GATEWAY, LEG_MAC, MAC_A, MAC_B, REDIRECT, families, on_ground};

fn arp(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr, operation: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac.0);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(mac.0);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

fn v4(address: IpAddr) -> Ipv4Addr {
    if let IpAddr::V4(address) = address { address } else { panic!("{address}") }
}

fn solicitation(mac: Mac, source: IpAddr, target: Ipv6Addr, option: bool) -> Vec<u8> {
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    if option {
        message.extend([1, 1]);
        message.extend(mac.0);
    }
    let group = format!("ff02::1:ff{:02x}:{:04x}", target.octets()[13], target.segments()[7]);
    icmp(mac, Ends::new(source, 0, group.parse().unwrap(), 0), message)
}

#[test]
fn arp_for_any_other_address_is_answered_with_the_gateways_mac() {
    on_ground(|ground| {
        let [family, _] = families();
        for asked in [v4(family.gateway), v4(family.b), Ipv4Addr::new(10, 1, 200, 200)] {
            let out = ground.a_sends(&arp(MAC_A, v4(family.a), asked, 1));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            assert_ne!(out.mark, 0, "its own egress program must let the answer pass");
            let mut expected = Vec::from(MAC_A.0);
            expected.extend(GATEWAY.0);
            expected.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
            expected.extend(GATEWAY.0);
            expected.extend(asked.octets());
            expected.extend(MAC_A.0);
            expected.extend(v4(family.a).octets());
            assert_eq!(out.frame, expected);
        }
    });
}

#[test]
fn arp_from_another_address_or_mac_is_spoofed_and_probes_go_unanswered() {
    on_ground(|ground| {
        let [family, _] = families();
        let (a, b) = (v4(family.a), v4(family.b));
        ground.assert_drops(DropReason::SourceSpoofed, |ground| {
            ground.a_sends(&arp(MAC_A, b, v4(family.gateway), 1))
        });
        ground.assert_drops(DropReason::SourceSpoofed, |ground| ground.a_sends(&arp(MAC_B, a, b, 1)));
        let unanswered = [
            arp(MAC_A, Ipv4Addr::UNSPECIFIED, a, 1),
            arp(MAC_A, a, a, 1),
            arp(MAC_A, a, v4(family.gateway), 2),
        ];
        for frame in unanswered {
            ground.assert_drops(DropReason::MulticastUnsupported, |ground| ground.a_sends(&frame));
        }
        let whole = arp(MAC_A, a, b, 1);
        ground.assert_drops(DropReason::HeaderMalformed, |ground| ground.a_sends(&whole[..whole.len() - 1]));
    });
}

#[test]
fn a_neighbor_solicitation_is_answered_with_the_gateways_mac() {
    on_ground(|ground| {
        let [_, family] = families();
        let link_local: IpAddr = "fe80::a".parse().unwrap();
        for (source, option) in [(family.a, true), (family.a, false), (link_local, true)] {
            let IpAddr::V6(target) = family.gateway else { panic!() };
            let out = ground.a_sends(&solicitation(MAC_A, source, target, option));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!((seen.to, seen.from, seen.ttl), (MAC_A, GATEWAY, 255));
            assert_eq!((seen.ends.source, seen.ends.destination), (family.gateway, source));
            let mut expected = vec![136, 0, seen.transport[2], seen.transport[3], 0x60, 0, 0, 0];
            expected.extend(target.octets());
            expected.extend([2, 1]);
            expected.extend(GATEWAY.0);
            assert_eq!(seen.transport, expected);
        }
    });
}

#[test]
fn duplicate_address_detection_and_router_solicitations_go_unanswered() {
    on_ground(|ground| {
        let [_, family] = families();
        let IpAddr::V6(own) = family.a else { panic!() };
        let IpAddr::V6(other) = family.b else { panic!() };
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        for frame in [
            solicitation(MAC_A, any, own, false),
            solicitation(MAC_A, any, other, false),
            solicitation(MAC_A, family.a, own, true),
            icmp(
                MAC_A,
                Ends::new(family.a, 0, "ff02::2".parse().unwrap(), 0),
                vec![133, 0, 0, 0, 0, 0, 0, 0],
            ),
        ] {
            ground.assert_drops(DropReason::MulticastUnsupported, |ground| ground.a_sends(&frame));
        }
        let spoofed = solicitation(MAC_A, family.b, own, true);
        let spoofed_target = solicitation(MAC_A, family.b, other, true);
        ground.assert_drops(DropReason::SourceSpoofed, |ground| ground.a_sends(&spoofed_target));
        ground.assert_drops(DropReason::MulticastUnsupported, |ground| ground.a_sends(&spoofed));
    });
}

#[test]
fn the_gateway_answers_echo_requests_in_place() {
    on_ground(|ground| {
        for family in families() {
            let out = ground.a_sends(&echo(MAC_A, Ends::new(family.a, 77, family.gateway, 0), false));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!((seen.to, seen.from), (MAC_A, GATEWAY));
            assert_eq!(seen.ends, Ends::new(family.gateway, 0, family.a, 77));
            assert_eq!(&seen.transport[8..], b"ping");
        }
        assert!(ground.datapath.flows(&Default::default()).unwrap().is_empty());
    });
}

#[test]
fn the_host_stack_finds_the_gateways_mac_on_its_leg() {
    on_ground(|ground| {
        let [v4_family, v6_family] = families();
        let out = ground.host_sends(&arp(LEG_MAC, v4(v4_family.host), v4(v4_family.shadow_a), 1));
        assert_eq!((out.action, &out.frame[22..28]), (REDIRECT, &GATEWAY.0[..]));
        let IpAddr::V6(shadow) = v6_family.shadow_a else { panic!() };
        let out = ground.host_sends(&solicitation(LEG_MAC, v6_family.host, shadow, true));
        assert_eq!((out.action, read(&out.frame).transport[0]), (REDIRECT, 136));
    });
}
