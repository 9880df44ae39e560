//! To the world and back, and from the world to published ports.

use datapath::Published;
use record::record::{Peer, Record};
use record::{DropReason, Mac, Protocol, Verdict, Vni};

use crate::frame::{ACK, Ends, SYN, TCP, a_to, echo, read, tcp, tcp_with, udp, udp_segment};
use crate::ground::{
    GATEWAY, GROUP_A, GROUP_B, Ground, MAC_A, MAC_B, NEXT, REDIRECT, TENANT, families, group, network,
    on_ground, on_ground_with, row,
};

const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);

/// What the remote sees of a frame that A sends out.
fn outside(ground: &Ground, frame: &[u8]) -> Ends {
    let out = ground.a_sends(frame);
    assert_eq!(out.action, REDIRECT, "{}", ground.story());
    read(&out.frame).ends
}

#[test]
fn a_way_to_the_world_is_under_the_nodes_address_and_leads_back() {
    on_ground(|ground| {
        for family in families() {
            for (port, kept) in [(20_000, true), (40_000, false)] {
                let ends = Ends::new(family.a, port, family.world, 443);
                let seen = outside(ground, &tcp(MAC_A, ends, SYN));
                assert_eq!(
                    (seen.source, seen.destination, seen.destination_port),
                    (family.node, family.world, 443)
                );
                assert!((16_384..=29_999).contains(&seen.source_port), "{seen:?}");
                assert_eq!(seen.source_port == port, kept);
                let out = ground.uplink_gets(&tcp(ROUTER, seen.back(), SYN | ACK));
                assert_eq!(out.action, REDIRECT, "{}", ground.story());
                let back = read(&out.frame);
                assert_eq!((back.to, back.from, back.ends), (MAC_A, GATEWAY, ends.back()));
            }
        }
    });
}

#[test]
fn echo_to_the_world_has_its_identifier_translated() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 7, family.world, 0);
            let seen = outside(ground, &echo(MAC_A, ends, false));
            assert!(seen.source == family.node && (16_384..=29_999).contains(&seen.source_port), "{seen:?}");
            let out = ground.uplink_gets(&echo(ROUTER, seen.back(), true));
            assert_eq!((out.action, read(&out.frame).ends), (REDIRECT, ends.back()), "{}", ground.story());
        }
    });
}

#[test]
fn a_udp_datagram_without_checksum_keeps_having_none() {
    on_ground(|ground| {
        let [family, _] = families();
        let ends = Ends::new(family.a, 40_000, family.world, 53);
        let mut segment = udp_segment(ends, b"q");
        segment[6..8].fill(0);
        let out = ground.a_sends(&crate::frame::ip(MAC_A, ends, 17, segment, 64));
        assert_eq!((out.action, &out.frame[40..42]), (REDIRECT, &[0, 0][..]));
    });
}

#[test]
fn two_containers_with_one_address_have_two_ways_to_the_same_remote() {
    on_ground(|ground| {
        for family in families() {
            let frame = udp(MAC_A, Ends::new(family.a, 20_000, family.world, 53), b"");
            let first = outside(ground, &frame);
            let second = ground.sends_on("3-in", "twin_a", &frame);
            assert_eq!(second.action, REDIRECT, "{}", ground.story());
            let second = read(&second.frame).ends;
            assert_eq!(first.source_port, 20_000);
            assert_ne!(second.source_port, first.source_port, "the port is taken");
        }
    });
}

#[test]
fn when_no_port_is_free_it_is_said() {
    on_ground_with(
        |config| config.nat_ports = 20_000..=20_001,
        |ground| {
            let [family, _] = families();
            let mut passed = 0;
            for port in 1..40 {
                let out = ground.a_sends(&a_to(Ends::new(family.a, port, family.world, 53), b""));
                passed += u64::from(out.action == REDIRECT);
            }
            assert!((1..=2).contains(&passed), "{passed}");
            assert_eq!(ground.dropped(DropReason::NatExhausted), 39 - passed);
            assert_eq!(ground.datapath.flows(&Default::default()).unwrap().len() as u64, passed);
        },
    );
}

#[test]
fn what_the_fabric_does_not_know_is_the_hosts() {
    on_ground(|ground| {
        for family in families() {
            for frame in [
                tcp(ROUTER, Ends::new(family.world, 443, family.node, 22), SYN),
                udp(ROUTER, Ends::new(family.world, 443, family.node, 4789), b"vxlan"),
                echo(ROUTER, Ends::new(family.world, 5, family.node, 0), false),
                udp(ROUTER, Ends::new(family.world, 443, family.node, 20_000), b""),
            ] {
                let out = ground.uplink_gets(&frame);
                assert_eq!((out.action, out.frame), (NEXT, frame), "it is not even touched");
            }
        }
        let mut arp = vec![0xff; 42];
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(ground.uplink_gets(&arp).action, NEXT);
        assert!(ground.datapath.drops().unwrap().is_empty());
    });
}

#[test]
fn a_network_without_egress_has_no_way_out() {
    on_ground(|ground| {
        ground.apply(&[network(Vni::new(100).unwrap(), TENANT, true, false)]);
        for family in families() {
            for address in [family.world, family.node] {
                let frame = a_to(Ends::new(family.a, 1, address, 53), b"");
                ground.assert_drops(DropReason::EgressOff, |ground| ground.a_sends(&frame));
            }
        }
    });
}

#[test]
fn egress_policy_speaks_of_the_world() {
    on_ground(|ground| {
        ground.apply(&[
            row(
                1,
                Peer::Others,
                &[(0, 0, Verdict::Deny, 3), (TCP, 443, Verdict::Allow, 4), (TCP, 444, Verdict::Deny, 3)],
            ),
            group(TENANT, GROUP_A, 0, 1),
        ]);
        for family in families() {
            assert_eq!(
                ground.a_sends(&tcp(MAC_A, Ends::new(family.a, 1, family.world, 443), SYN)).action,
                REDIRECT
            );
            let frame = tcp(MAC_A, Ends::new(family.a, 1, family.world, 80), SYN);
            ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&frame));
        }
        // The answer to what was allowed is cut once the rule is gone.
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 3)])]);
        for family in families() {
            let frame = tcp(MAC_A, Ends::new(family.a, 1, family.world, 443), ACK);
            ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&frame));
        }
    });
}

#[test]
fn the_time_to_live_counts_down_to_an_error() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 20_000, family.world, 443);
            let out = ground.a_sends(&tcp_with(MAC_A, ends, SYN, 2, b""));
            assert_eq!((out.action, read(&out.frame).ttl), (REDIRECT, 1));
            let last = tcp_with(MAC_A, ends, SYN, 1, b"");
            let out = ground.a_sends(&last);
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!((seen.to, seen.ends.source, seen.ends.destination), (MAC_A, family.gateway, family.a));
            assert_eq!(seen.transport[0], if family.a.is_ipv6() { 3 } else { 11 });
        }
        assert_eq!(ground.dropped(DropReason::TtlExceeded), 2);
    });
}

#[test]
fn a_packet_larger_than_the_uplink_is_answered_with_its_mtu() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 20_000, family.world, 443);
            let out = ground.a_sends(&tcp_with(MAC_A, ends, SYN, 64, &[0; 1500]));
            let seen = read(&out.frame);
            assert_eq!((out.action, seen.to), (REDIRECT, MAC_A), "{}", ground.story());
            assert_eq!(&seen.transport[4..8], &1500u32.to_be_bytes());
        }
        assert_eq!(ground.dropped(DropReason::TooBig), 2);
    });
}

fn publish(ground: &mut Ground, address: std::net::IpAddr) {
    let published = Published { address, protocol: Protocol::Tcp, port: 8080, endpoint: 2, target: 80 };
    ground.datapath.publish(&published).unwrap();
}

#[test]
fn a_published_port_leads_to_its_endpoint_and_back() {
    on_ground(|ground| {
        for family in families() {
            let any: std::net::IpAddr = if family.a.is_ipv6() { "::" } else { "0.0.0.0" }.parse().unwrap();
            for address in [family.node, any] {
                publish(ground, address);
                let client = Ends::new(family.world, 5555, family.node, 8080);
                let out = ground.uplink_gets(&tcp(ROUTER, client, SYN));
                assert_eq!(out.action, REDIRECT, "{}", ground.story());
                let seen = read(&out.frame);
                assert_eq!(seen.to, MAC_B);
                assert_eq!(
                    seen.ends,
                    Ends::new(family.world, 5555, family.b, 80),
                    "the client's address is kept"
                );
                let out = ground.b_sends(&tcp(MAC_B, seen.ends.back(), SYN | ACK));
                assert_eq!(
                    (out.action, read(&out.frame).ends),
                    (REDIRECT, client.back()),
                    "{}",
                    ground.story()
                );
                ground.datapath.unpublish(address, Protocol::Tcp, 8080).unwrap();
                let other = Ends::new(family.world, 5556, family.node, 8080);
                assert_eq!(ground.uplink_gets(&tcp(ROUTER, other, SYN)).action, NEXT);
                let end = record::inspect::FlowFilter::default();
                assert_eq!(
                    ground.datapath.flows(&end).unwrap().len(),
                    if family.a.is_ipv6() { 2 } else { 1 }
                );
            }
        }
    });
}

#[test]
fn the_overlays_own_packets_are_nobody_elses() {
    on_ground(|ground| {
        for family in families() {
            for (port, action) in [(4788, REDIRECT), (4789, NEXT)] {
                let published = Published {
                    address: family.node,
                    protocol: Protocol::Udp,
                    port,
                    endpoint: 2,
                    target: 80,
                };
                ground.datapath.publish(&published).unwrap();
                let frame = udp(ROUTER, Ends::new(family.world, 5555, family.node, port), b"vxlan");
                assert_eq!(ground.uplink_gets(&frame).action, action, "{}", ground.story());
            }
            let published = Published {
                address: family.node,
                protocol: Protocol::Tcp,
                port: 4789,
                endpoint: 2,
                target: 80,
            };
            ground.datapath.publish(&published).unwrap();
            let frame = tcp(ROUTER, Ends::new(family.world, 5555, family.node, 4789), SYN);
            assert_eq!(ground.uplink_gets(&frame).action, REDIRECT, "the overlay speaks UDP alone");
        }
    });
}

#[test]
fn ingress_policy_speaks_of_a_published_ports_clients() {
    on_ground(|ground| {
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 6)]), group(TENANT, GROUP_B, 1, 0)]);
        for family in families() {
            publish(ground, family.node);
            let client = Ends::new(family.world, 5555, family.node, 8080);
            ground.assert_drops(DropReason::PolicyDenied, |ground| {
                ground.uplink_gets(&tcp(ROUTER, client, SYN))
            });
        }
    });
}

#[test]
fn a_client_with_an_address_of_the_network_appears_as_the_gateway() {
    on_ground(|ground| {
        for (family, inside) in families().into_iter().zip(["10.1.77.7", "fd01::77:7"]) {
            publish(ground, family.node);
            let client = Ends::new(inside.parse().unwrap(), 20_500, family.node, 8080);
            let out = ground.uplink_gets(&tcp(ROUTER, client, SYN));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!(seen.ends, Ends::new(family.gateway, 20_500, family.b, 80));
            let out = ground.b_sends(&tcp(MAC_B, seen.ends.back(), SYN | ACK));
            assert_eq!((out.action, read(&out.frame).ends), (REDIRECT, client.back()), "{}", ground.story());
        }
    });
}

#[test]
fn two_such_clients_with_one_port_are_told_apart() {
    on_ground(|ground| {
        let [family, _] = families();
        publish(ground, family.node);
        let client = |last: &str| Ends::new(last.parse().unwrap(), 20_500, family.node, 8080);
        let mut ports = Vec::new();
        for last in ["10.1.77.7", "10.1.77.8"] {
            let out = ground.uplink_gets(&tcp(ROUTER, client(last), SYN));
            let seen = read(&out.frame);
            let back = ground.b_sends(&tcp(MAC_B, seen.ends.back(), SYN | ACK));
            assert_eq!(read(&back.frame).ends, client(last).back(), "{}", ground.story());
            ports.push(seen.ends.source_port);
        }
        assert_ne!(ports[0], ports[1]);
    });
}

#[test]
fn a_container_never_speaks_the_overlays_protocol_to_a_node() {
    on_ground(|ground| {
        for (family, peer) in families().into_iter().zip(["192.0.2.2", "2001:db8::2"]) {
            let peer = peer.parse().unwrap();
            let forged = a_to(Ends::new(family.a, 20_000, peer, 4789), b"VXLAN of another tenant");
            ground.assert_drops(DropReason::OverlayForged, |ground| ground.a_sends(&forged));
            // Other ports of a node, and the same port elsewhere, are the world.
            assert_eq!(ground.a_sends(&a_to(Ends::new(family.a, 20_000, peer, 4790), b"")).action, REDIRECT);
            assert_eq!(
                ground.a_sends(&a_to(Ends::new(family.a, 20_000, family.world, 4789), b"")).action,
                REDIRECT
            );
        }
    });
}

#[test]
fn loopback_and_mapped_addresses_lead_nowhere() {
    on_ground(|ground| {
        for (family, nowhere) in families().into_iter().zip([["127.0.0.1", "0.0.0.0"], ["::1", "::"]]) {
            for address in nowhere {
                let frame = a_to(Ends::new(family.a, 1, address.parse().unwrap(), 80), b"");
                ground.assert_drops(DropReason::RouteUnknown, |ground| ground.a_sends(&frame));
            }
        }
        // An IPv6 packet to B's IPv4 address in its mapped form.
        let [_, family] = families();
        let mapped = a_to(Ends::new(family.a, 1, "::ffff:10.1.1.11".parse().unwrap(), 80), b"");
        ground.assert_drops(DropReason::HeaderMalformed, |ground| ground.a_sends(&mapped));
    });
}

#[test]
fn a_subnet_of_every_ipv6_address_holds_no_ipv4_address() {
    on_ground(|ground| {
        let mut wide = network(Vni::new(100).unwrap(), TENANT, true, true);
        if let Record::Network(wide) = &mut wide {
            wide.subnets[1].prefix = "::/0".parse().unwrap();
        }
        ground.apply(&[wide]);
        let [ipv4, ipv6] = families();
        let out = ground.a_sends(&a_to(Ends::new(ipv4.a, 20_000, ipv4.world, 443), b""));
        assert_eq!(out.action, REDIRECT, "{}", ground.story());
        // Every IPv6 address is the network's own, so the world has none.
        let frame = a_to(Ends::new(ipv6.a, 20_000, ipv6.world, 443), b"");
        ground.assert_drops(DropReason::RouteUnknown, |ground| ground.a_sends(&frame));
    });
}
