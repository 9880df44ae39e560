//! The host's stack and containers, by shadow addresses.

use record::record::Peer;
use record::{DropReason, Verdict};

use crate::frame::{ACK, Ends, SYN, echo, read, tcp, udp};
use crate::ground::{GATEWAY, GROUP_A, LEG_MAC, MAC_A, REDIRECT, TENANT, families, group, on_ground, row};

#[test]
fn the_host_reaches_an_endpoint_by_its_shadow_and_is_answered() {
    on_ground(|ground| {
        // Even one that admits nobody: probes.
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 1)]), group(TENANT, GROUP_A, 1, 1)]);
        for family in families() {
            let probe = Ends::new(family.host, 33_000, family.shadow_a, 8080);
            let out = ground.host_sends(&tcp(LEG_MAC, probe, SYN));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!((seen.to, seen.from), (MAC_A, GATEWAY));
            assert_eq!(seen.ends, Ends::new(family.gateway, 33_000, family.a, 8080));
            let out = ground.a_sends(&tcp(MAC_A, seen.ends.back(), SYN | ACK));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let back = read(&out.frame);
            assert_eq!((back.to, back.ends), (LEG_MAC, probe.back()));
        }
    });
}

#[test]
fn one_host_socket_tells_two_endpoints_with_the_same_address_apart() {
    on_ground(|ground| {
        for (family, shadow_twin) in families().into_iter().zip(["100.64.0.4", "fd5e:a1a::4"]) {
            let mut insides = Vec::new();
            for (shadow, hook, link) in
                [(family.shadow_a, "1-in", "a"), (shadow_twin.parse().unwrap(), "3-in", "twin_a")]
            {
                let probe = Ends::new(family.host, 33_000, shadow, 53);
                let seen = read(&ground.host_sends(&udp(LEG_MAC, probe, b"who")).frame);
                let back = ground.sends_on(hook, link, &udp(MAC_A, seen.ends.back(), b"me"));
                assert_eq!(read(&back.frame).ends, probe.back(), "{}", ground.story());
                insides.push(seen.ends);
            }
            assert_eq!(insides[0], insides[1], "inside the two look alike");
        }
    });
}

#[test]
fn two_host_addresses_with_one_port_have_two_inside() {
    on_ground(|ground| {
        for (family, other) in families().into_iter().zip(["127.0.0.2", "fd5e:a1a::ffff"]) {
            let mut ports = Vec::new();
            for host in [family.host, other.parse().unwrap()] {
                let probe = Ends::new(host, 33_000, family.shadow_a, 8080);
                let seen = read(&ground.host_sends(&udp(LEG_MAC, probe, b"")).frame).ends;
                let back = ground.a_sends(&udp(MAC_A, seen.back(), b""));
                assert_eq!(read(&back.frame).ends, probe.back(), "{}", ground.story());
                ports.push(seen.source_port);
            }
            assert_eq!(ports[0], 33_000);
            assert_ne!(ports[1], 33_000);
        }
    });
}

#[test]
fn the_host_pings_an_endpoint() {
    on_ground(|ground| {
        for family in families() {
            let probe = Ends::new(family.host, 9, family.shadow_a, 0);
            let out = ground.host_sends(&echo(LEG_MAC, probe, false));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame).ends;
            assert_eq!(seen, Ends::new(family.gateway, 9, family.a, 0));
            let back = ground.a_sends(&echo(MAC_A, seen.back(), true));
            assert_eq!((back.action, read(&back.frame).ends), (REDIRECT, probe.back()), "{}", ground.story());
        }
    });
}

#[test]
fn an_endpoint_reaches_its_own_node_under_its_shadow() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.node, 10_250);
            let out = ground.a_sends(&tcp(MAC_A, ends, SYN));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
            let seen = read(&out.frame);
            assert_eq!(
                (seen.to, seen.ends),
                (LEG_MAC, Ends::new(family.shadow_a, 4000, family.node, 10_250))
            );
            let out = ground.host_sends(&tcp(LEG_MAC, seen.ends.back(), SYN | ACK));
            assert_eq!((out.action, read(&out.frame).ends), (REDIRECT, ends.back()), "{}", ground.story());
        }
    });
}

#[test]
fn a_shadow_of_nobody_and_a_gateways_port_lead_nowhere() {
    on_ground(|ground| {
        for (family, nobody) in families().into_iter().zip(["100.64.9.9", "fd5e:a1a::9:9"]) {
            let probe = Ends::new(family.host, 1, nobody.parse().unwrap(), 2);
            ground.assert_drops(DropReason::RouteUnknown, |ground| {
                ground.host_sends(&udp(LEG_MAC, probe, b""))
            });
            let to_gateway = udp(MAC_A, Ends::new(family.a, 1, family.gateway, 53), b"");
            ground.assert_drops(DropReason::PortUnpublished, |ground| ground.a_sends(&to_gateway));
        }
    });
}
