//! What a container may send: its own addresses, whole headers, to its own network.

use record::DropReason;

use crate::frame::{Ends, SYN, TCP, a_to, echo, ip, read, tcp, udp, udp_segment};
use crate::ground::{GATEWAY, MAC_A, MAC_B, PASS, REDIRECT, SHOT, families, on_ground};

#[test]
fn a_packet_to_a_neighbor_arrives_under_its_mac_from_the_gateways() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            let out = ground.a_sends(&a_to(ends, b"question"));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!((seen.to, seen.from, seen.ends), (MAC_B, GATEWAY, ends));
            assert_eq!(seen.transport, udp_segment(ends, b"question"));
            let back = ground.b_sends(&udp(MAC_B, ends.back(), b"answer"));
            assert_eq!((back.action, read(&back.frame).to), (REDIRECT, MAC_A));
        }
        let flows = ground.datapath.flows(&Default::default()).unwrap();
        assert_eq!(flows.len(), 2, "one entry serves both directions: {flows:?}");
        for flow in flows {
            assert_eq!((flow.sent.packets, flow.received.packets, flow.source_port), (1, 1, 4000));
        }
    });
}

#[test]
fn a_source_address_or_mac_that_is_not_the_endpoints_is_spoofed() {
    on_ground(|ground| {
        for family in families() {
            let other = Ends::new(family.b, 4000, family.far, 53);
            ground.assert_drops(DropReason::SourceSpoofed, |ground| ground.a_sends(&udp(MAC_A, other, b"")));
            let own = Ends::new(family.a, 4000, family.b, 53);
            ground.assert_drops(DropReason::SourceSpoofed, |ground| ground.a_sends(&udp(MAC_B, own, b"")));
        }
    });
}

#[test]
fn a_frame_of_a_link_without_endpoint_is_dropped() {
    on_ground(|ground| {
        let [family, _] = families();
        let frame = a_to(Ends::new(family.a, 1, family.b, 2), b"");
        ground.assert_drops(DropReason::LinkUnknown, |ground| ground.sends_on("1-in", "up", &frame));
    });
}

#[test]
fn a_frame_cut_short_anywhere_never_passes() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            for whole in [a_to(ends, b""), tcp(MAC_A, ends, SYN), echo(MAC_A, ends, false)] {
                let headers = whole.len() - if whole[23] == TCP || whole[20] == TCP { 4 } else { 0 };
                // Test run itself takes no frame without a whole IP header.
                for length in if family.a.is_ipv6() { 54 } else { 34 }..headers {
                    let out = ground.a_sends(&whole[..length]);
                    assert_eq!(out.action, SHOT, "{length} of {} bytes", whole.len());
                }
                assert_eq!(ground.a_sends(&whole).action, REDIRECT, "{}", ground.story());
            }
        }
        assert!(ground.dropped(DropReason::HeaderMalformed) > 40);
        assert_eq!(ground.dropped(DropReason::PolicyDenied), 0);
    });
}

#[test]
fn headers_that_contradict_themselves_are_malformed() {
    on_ground(|ground| {
        let [v4, v6] = families();
        let good = a_to(Ends::new(v4.a, 1, v4.b, 2), b"x");
        // (offset, value): version, header length, total length below the header, UDP length below its header.
        for (at, value) in [(14, 0x65), (14, 0x44), (14, 0x4f), (17, 10), (39, 7)] {
            let mut bad = good.clone();
            bad[at] = value;
            ground.assert_drops(DropReason::HeaderMalformed, |ground| ground.a_sends(&bad));
        }
        let mut segment = vec![0u8; 20];
        segment[12] = 0x40;
        let short_offset = ip(MAC_A, Ends::new(v4.a, 0, v4.b, 0), TCP, segment, 64);
        ground.assert_drops(DropReason::HeaderMalformed, |ground| ground.a_sends(&short_offset));
        // Extension headers without end.
        let mut chain = Vec::new();
        for _ in 0..9 {
            chain.extend([60u8, 0, 1, 4, 0, 0, 0, 0]);
        }
        let endless = ip(MAC_A, Ends::new(v6.a, 0, v6.b, 0), 60, chain, 64);
        ground.assert_drops(DropReason::HeaderMalformed, |ground| ground.a_sends(&endless));
    });
}

#[test]
fn ipv6_extension_headers_are_walked_to_the_ports() {
    on_ground(|ground| {
        let [_, family] = families();
        let ends = Ends::new(family.a, 4000, family.b, 53);
        let mut payload = vec![60u8, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
        payload.extend(udp_segment(ends, b"q"));
        let out = ground.a_sends(&ip(MAC_A, ends, 0, payload, 64));
        assert_eq!(out.action, REDIRECT, "{}", ground.story());
        let flows = ground.datapath.flows(&Default::default()).unwrap();
        assert_eq!((flows[0].protocol, flows[0].destination_port), (17, 53));
    });
}

#[test]
fn what_is_no_ip_and_no_arp_and_multicast_go_nowhere() {
    on_ground(|ground| {
        let [v4, v6] = families();
        let mut other = a_to(Ends::new(v4.a, 1, v4.b, 2), b"");
        other[12..14].copy_from_slice(&[0x88, 0xcc]);
        ground.assert_drops(DropReason::ProtocolUnsupported, |ground| ground.a_sends(&other));
        for (source, group) in [(v4.a, "224.0.0.251"), (v4.a, "255.255.255.255"), (v6.a, "ff02::fb")] {
            let frame = a_to(Ends::new(source, 5353, group.parse().unwrap(), 5353), b"");
            ground.assert_drops(DropReason::MulticastUnsupported, |ground| ground.a_sends(&frame));
        }
        let mut broadcast = a_to(Ends::new(v4.a, 1, v4.b, 2), b"");
        broadcast[..6].fill(0xff);
        ground.assert_drops(DropReason::MulticastUnsupported, |ground| ground.a_sends(&broadcast));
    });
}

#[test]
fn an_address_of_the_network_that_nobody_holds_has_no_route() {
    on_ground(|ground| {
        for (family, nobody) in families().into_iter().zip(["10.1.9.9", "fd01::9:9"]) {
            let frame = a_to(Ends::new(family.a, 1, nobody.parse().unwrap(), 2), b"");
            ground.assert_drops(DropReason::RouteUnknown, |ground| ground.a_sends(&frame));
            // In this node's own block, but not attached.
            let own_block = if family.a.is_ipv4() { "10.1.1.99" } else { "fd01::1:99" };
            let frame = a_to(Ends::new(family.a, 1, own_block.parse().unwrap(), 2), b"");
            ground.assert_drops(DropReason::RouteUnknown, |ground| ground.a_sends(&frame));
        }
    });
}

#[test]
fn the_same_addresses_in_two_networks_never_meet() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            assert_eq!(ground.a_sends(&a_to(ends, b"one")).action, REDIRECT);
            assert_eq!(ground.sends_on("3-in", "twin_a", &a_to(ends, b"two")).action, REDIRECT);
        }
        let flows = ground.datapath.flows(&Default::default()).unwrap();
        assert_eq!(flows.len(), 4, "{flows:?}");
        assert!(flows.iter().all(|flow| flow.sent.packets == 1), "each network has its own flow: {flows:?}");
        // The twin's B goes: the first network does not notice.
        ground.datapath.detach(4).unwrap();
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 53);
            assert_eq!(ground.a_sends(&a_to(ends, b"")).action, REDIRECT);
            ground.assert_drops(DropReason::RouteUnknown, |ground| {
                ground.sends_on("3-in", "twin_a", &a_to(ends, b""))
            });
        }
    });
}

#[test]
fn what_the_host_stack_sends_past_the_fabric_is_dropped() {
    on_ground(|ground| {
        for family in families() {
            let frame = udp(MAC_B, Ends::new(family.b, 1, family.a, 2), b"");
            ground.assert_drops(DropReason::HostUnjudged, |ground| ground.sends_on("1-out", "a", &frame));
            // The mark that the fabric's own programs set.
            let answered = ground.a_sends(&echo(MAC_A, Ends::new(family.a, 7, family.gateway, 0), false));
            let out = ground.with_mark("1-out", "a", &answered.frame, answered.mark);
            assert_eq!((out.action, out.mark), (PASS, 0));
        }
    });
}

#[test]
fn a_detached_endpoint_leaves_nothing() {
    on_ground(|ground| {
        let [family, _] = families();
        let ends = Ends::new(family.a, 4000, family.b, 53);
        assert_eq!(ground.a_sends(&a_to(ends, b"")).action, REDIRECT);
        ground.datapath.detach(2).unwrap();
        ground.datapath.detach(2).unwrap();
        assert!(ground.datapath.flows(&Default::default()).unwrap().is_empty(), "its flows go with it");
        ground.assert_drops(DropReason::RouteUnknown, |ground| ground.a_sends(&a_to(ends, b"")));
        let links: Vec<_> = std::fs::read_dir(ground.config.pin_dir.join("links")).unwrap().collect();
        assert!(
            !links.iter().any(|link| link.as_ref().unwrap().file_name().to_string_lossy().starts_with("2-"))
        );
        let ids: Vec<_> = ground.datapath.endpoints().unwrap().iter().map(|endpoint| endpoint.id).collect();
        assert!(!ids.contains(&2) && ids.len() == 3, "{ids:?}");
    });
}
