//! Published ports of the node itself, asked for by its own containers: out by the loop, in by the leg.

use std::net::IpAddr;

use datapath::Published;
use record::record::{AddressClass, Members, Peer, Record};
use record::{DropReason, Group, Mac, Prefix, Protocol, Verdict};

use crate::frame::{ACK, Ends, SYN, read, tcp, udp};
use crate::ground::{
    Family, GROUP_A, GROUP_B, Ground, LEG_MAC, MAC_A, MAC_B, Out, REDIRECT, TENANT, families, group,
    on_ground, row,
};

const PORT: u16 = 8080;

/// The node's port leads to the endpoint's port 80 in both protocols.
fn publish(ground: &mut Ground, address: IpAddr, endpoint: u32) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let published = Published { address, protocol, port: PORT, endpoint, target: 80 };
        ground.datapath.publish(&published).unwrap();
    }
}

fn any(family: Family) -> IpAddr {
    if family.a.is_ipv6() { "::" } else { "0.0.0.0" }.parse().unwrap()
}

fn frame(mac: Mac, ends: Ends, is_tcp: bool, flags: u8) -> Vec<u8> {
    if is_tcp { tcp(mac, ends, flags) } else { udp(mac, ends, b"data") }
}

/// A frame of a container that went out by the loop, received at its other end.
#[track_caller]
fn looped(ground: &Ground, out: &Out) -> Out {
    assert_eq!(out.action, REDIRECT, "{}", ground.story());
    ground.host_sends(&out.frame)
}

#[test]
fn a_container_reaches_a_published_port_of_its_own_node_and_is_answered() {
    on_ground(|ground| {
        for family in families() {
            publish(ground, any(family), 2);
            for is_tcp in [true, false] {
                let asked = Ends::new(family.a, 20_000, family.node, PORT);
                let middle = ground.a_sends(&frame(MAC_A, asked, is_tcp, SYN));
                let between = read(&middle.frame).ends;
                assert_eq!((between.source, between.destination), (family.node, family.node));
                assert_eq!(between.destination_port, PORT);
                let seen = read(&looped(ground, &middle).frame);
                assert_eq!((seen.to, seen.ends.destination), (MAC_B, family.b), "{}", ground.story());
                assert_eq!((seen.ends.source, seen.ends.destination_port), (family.gateway, 80));

                let back = ground.b_sends(&frame(MAC_B, seen.ends.back(), is_tcp, SYN | ACK));
                assert_eq!(read(&back.frame).ends, between.back(), "{}", ground.story());
                let out = looped(ground, &back);
                let seen = read(&out.frame);
                assert_eq!((out.action, seen.to, seen.ends), (REDIRECT, MAC_A, asked.back()));

                // And on: the second packet each way finds what the first entered.
                let flows = ground.datapath.flows(&Default::default()).unwrap().len();
                let on = looped(ground, &ground.a_sends(&frame(MAC_A, asked, is_tcp, ACK)));
                assert_eq!((on.action, read(&on.frame).to), (REDIRECT, MAC_B), "{}", ground.story());
                assert_eq!(ground.datapath.flows(&Default::default()).unwrap().len(), flows);
            }
        }
        assert!(ground.datapath.drops().unwrap().is_empty(), "{}", ground.story());
    });
}

#[test]
fn a_container_reaches_itself_and_another_tenants_by_published_ports() {
    on_ground(|ground| {
        // Endpoint 1 is A itself; 4 is another tenant's, with B's addresses and MAC.
        for (endpoint, hook, link, mac) in [(1, "1-in", "a", MAC_A), (4, "4-in", "twin_b", MAC_B)] {
            for family in families() {
                publish(ground, any(family), endpoint);
                let asked = Ends::new(family.a, 20_000 + endpoint as u16, family.node, PORT);
                let seen = read(&looped(ground, &ground.a_sends(&tcp(MAC_A, asked, SYN))).frame);
                assert_eq!((seen.to, seen.ends.source), (mac, family.gateway), "{}", ground.story());
                let back = ground.sends_on(hook, link, &tcp(mac, seen.ends.back(), SYN | ACK));
                let seen = read(&looped(ground, &back).frame);
                assert_eq!((seen.to, seen.ends), (MAC_A, asked.back()), "{}", ground.story());
            }
        }
    });
}

#[test]
fn the_endpoints_ingress_judges_such_a_client_as_the_nodes_address() {
    on_ground(|ground| {
        let node = Group(300);
        let mut class = group(TENANT, node, 0, 0);
        if let Record::Group(rules) = &mut class {
            rules.members = Members::Addresses;
        }
        // B admits A's group, and not the node's address.
        ground.apply(&[
            class,
            row(1, Peer::Group(GROUP_A), &[(0, 0, Verdict::Allow, 2)]),
            row(1, Peer::Others, &[(0, 0, Verdict::Deny, 3)]),
            group(TENANT, GROUP_B, 1, 0),
        ]);
        for family in families() {
            publish(ground, any(family), 2);
            let asked = tcp(MAC_A, Ends::new(family.a, 20_000, family.node, PORT), SYN);
            let middle = ground.a_sends(&asked);
            ground.assert_drops(DropReason::PolicyDenied, |ground| looped(ground, &middle));
        }
        // Then it admits that address.
        for family in families() {
            let prefix = Prefix::host(family.node);
            ground.apply(&[Record::AddressClass(AddressClass { tenant: TENANT, prefix, group: node })]);
        }
        ground.apply(&[row(1, Peer::Group(node), &[(0, 0, Verdict::Allow, 4)])]);
        for family in families() {
            let asked = tcp(MAC_A, Ends::new(family.a, 20_000, family.node, PORT), SYN);
            let out = looped(ground, &ground.a_sends(&asked));
            assert_eq!(out.action, REDIRECT, "{}", ground.story());
        }
        // And no longer: the flow is cut in its middle.
        ground.apply(&[row(1, Peer::Group(node), &[(0, 0, Verdict::Deny, 5)])]);
        for family in families() {
            let asked = tcp(MAC_A, Ends::new(family.a, 20_000, family.node, PORT), ACK);
            let middle = ground.a_sends(&asked);
            ground.assert_drops(DropReason::PolicyDenied, |ground| looped(ground, &middle));
        }
    });
}

#[test]
fn the_containers_egress_judges_the_port_that_it_names() {
    on_ground(|ground| {
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 3)]), group(TENANT, GROUP_A, 0, 1)]);
        for family in families() {
            let asked = tcp(MAC_A, Ends::new(family.a, 20_000, family.node, PORT), SYN);
            // A port that is not published is the host's, which a container always reaches.
            let out = ground.a_sends(&asked);
            assert_eq!((out.action, read(&out.frame).to), (REDIRECT, LEG_MAC), "{}", ground.story());
            publish(ground, any(family), 2);
            let other = tcp(MAC_A, Ends::new(family.a, 20_001, family.node, PORT), SYN);
            ground.assert_drops(DropReason::PolicyDenied, |ground| ground.a_sends(&other));
        }
    });
}

#[test]
fn what_the_loop_brings_to_no_published_port_goes_nowhere() {
    on_ground(|ground| {
        for family in families() {
            for port in [PORT, 22] {
                let stray = tcp(LEG_MAC, Ends::new(family.node, 20_000, family.node, port), SYN);
                ground.assert_drops(DropReason::RouteUnknown, |ground| ground.host_sends(&stray));
            }
        }
    });
}
