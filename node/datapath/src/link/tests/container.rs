use std::io;
use std::time::Instant;

use super::*;

#[test]
fn a_container_gets_the_interface_that_was_planned() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        let link = dual(0x2a, &inner);
        let attached = links.attach(&link, content).unwrap();
        assert_eq!(attached.host.name, "sl0000002a");

        let facts = inner.facts("eth0").unwrap().unwrap();
        let expected = Facts {
            inner: attached.inner,
            other_end: Some(attached.host.index),
            mac: Some(link.mac),
            mtu: 1450,
            up: true,
            addresses: link.addresses.clone(),
            gateways: link.gateways.clone(),
        };
        assert_eq!(facts, expected);
        assert_eq!(links.check(&link).unwrap(), []);

        // As another tool reads it.
        let shown = ip_in(&inner, "addr show dev eth0");
        assert!(shown.contains("LOWER_UP") && !shown.contains("tentative"), "{shown}");
        assert!(ip_in(&inner, "link show lo").contains("LOWER_UP"));
        assert!(ip_in(&inner, "route get 198.51.100.1").contains("via 10.1.255.254 dev eth0 src 10.1.0.42"));
        assert!(ip_in(&inner, "route get 2001:db8::1").contains("via fd00:7::ffff:fffe dev eth0"));
        let host = ip("-d link show sl0000002a");
        for part in ["LOWER_UP", "mtu 1450", "alias sealane:0000002a", &GATEWAY_MAC.to_string()] {
            assert!(host.contains(part), "{part} not in\n{host}");
        }
        assert_eq!(ip("addr show dev sl0000002a").matches("inet").count(), 0);
    });
}

#[test]
fn the_host_end_is_down_until_it_is_judged() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        let mut judged = false;
        let attached = links.attach(&dual(1, &inner), |host| {
            judged = true;
            let shown = ip(&format!("link show {}", host.name));
            assert!(
                shown.starts_with(&format!("{}: ", host.index)) && shown.contains("state DOWN"),
                "{shown}"
            );
            // Everything inside is ready by then: what waits is the host end alone.
            assert!(ip_in(&inner, "-4 route show default").contains("10.1.255.254"));
            Ok::<(), io::Error>(())
        });
        assert!(judged);
        assert!(ip(&format!("link show {}", attached.unwrap().host.name)).contains("state UP"));
    });
}

#[test]
fn nothing_is_left_when_the_datapath_refuses() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        let error = links.attach(&dual(1, &inner), |_| Err(io::Error::other("no program"))).unwrap_err();
        assert!(matches!(&error, AttachError::Judge { name, .. } if name == "sl00000001"), "{error:?}");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no program");
        assert_eq!(link_names(), ["lo"]);
        assert_eq!(inner.inside(link_names).unwrap(), ["lo"]);
        links.attach(&dual(1, &inner), content).unwrap();
    });
}

#[test]
fn nothing_is_left_when_the_inner_end_cannot_be_furnished() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        // The network's broadcast address: only the kernel knows that it can be no gateway.
        let link = ContainerLink { gateways: vec![[10, 1, 255, 255].into()], ..dual(1, &inner) };
        let error =
            links.attach(&link, |_| -> Result<(), io::Error> { panic!("judged too early") }).unwrap_err();
        let AttachError::Link(Error::Refused { operation, object, refusal }) = &error else {
            panic!("{error:?}")
        };
        assert_eq!((*operation, object.as_str()), ("add route", "10.1.0.0/16 via 10.1.255.255 on eth0"));
        assert!(refusal.said.as_deref().is_some_and(|said| said.contains("gateway")), "{refusal}");
        assert_eq!(link_names(), ["lo"]);
        assert_eq!(inner.inside(link_names).unwrap(), ["lo"]);
    });
}

#[test]
fn a_name_in_use_inside_is_told_apart_from_an_endpoint_that_has_its_link() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        links.attach(&dual(1, &inner), content).unwrap();

        let error = links.attach(&dual(2, &inner), content).unwrap_err();
        let AttachError::Link(Error::NameTaken { name, .. }) = &error else { panic!("{error:?}") };
        assert_eq!(name, "eth0");

        let link = ContainerLink { name: "eth1".to_owned(), ..dual(1, &inner) };
        let error = links.attach(&link, content).unwrap_err();
        assert!(
            matches!(&error, AttachError::Link(Error::HostEndExists { name }) if name == "sl00000001"),
            "{error:?}"
        );

        ip("link add sl00000009 type veth peer name theirs");
        let link = ContainerLink { name: "eth9".to_owned(), ..dual(9, &inner) };
        let error = links.attach(&link, content).unwrap_err();
        assert!(
            matches!(&error, AttachError::Link(Error::NotOurs { name }) if name == "sl00000009"),
            "{error:?}"
        );
        assert!(matches!(links.detach(LinkId(9)).unwrap_err(), Error::NotOurs { .. }));

        assert_eq!(link_names(), ["lo", "sl00000001", "sl00000009", "theirs"]);
        assert_eq!(inner.inside(link_names).unwrap(), ["eth0", "lo"]);
    });
}

#[test]
fn a_hundred_containers_made_and_removed_leave_nothing() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner: Vec<Namespace> = (0..100).map(|_| fresh()).collect();
        let start = Instant::now();
        for (id, namespace) in (1..).zip(&inner) {
            links.attach(&dual(id, namespace), content).unwrap();
        }
        let made = start.elapsed();
        let held = links.inventory().unwrap();
        assert_eq!(held.iter().map(|link| link.id.0).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
        assert!(held.iter().all(|link| link.up && link.name == link.id.host_end()));

        let start = Instant::now();
        for link in held {
            assert!(links.detach(link.id).unwrap());
            assert!(!links.detach(link.id).unwrap(), "the second removal finds nothing");
        }
        println!("100 links made in {made:?}, removed in {:?}", start.elapsed());
        assert_eq!(links.inventory().unwrap(), []);
        assert_eq!(link_names(), ["lo"]);
        for namespace in &inner {
            assert_eq!(namespace.facts("eth0").unwrap(), None);
        }
    });
}

#[test]
fn a_link_ends_with_its_containers_namespace() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        links.attach(&dual(1, &inner), content).unwrap();
        drop(inner);
        for _ in 0..500 {
            if links.inventory().unwrap().is_empty() {
                assert!(!links.detach(LinkId(1)).unwrap());
                return;
            }
            thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("still there: {:?}", links.inventory().unwrap());
    });
}

#[test]
fn the_inventory_knows_half_made_links_and_none_of_others() {
    alone(|| {
        let mut links = Links::open().unwrap();
        links.prepare_host(&plan()).unwrap();
        ip("link add sl00000005 type veth peer name theirs");
        ip("link add vethabc type veth peer name vethdef");
        // As a process that dies right after the creation leaves it.
        let (other, inner) = (fresh(), fresh());
        links.netlink.create_device(dual(6, &other).pair()).unwrap();
        links.attach(&dual(7, &inner), content).unwrap();

        let held: Vec<(u32, bool)> =
            links.inventory().unwrap().iter().map(|link| (link.id.0, link.up)).collect();
        assert_eq!(held, [(6, false), (7, true)]);
        assert!(links.detach(LinkId(6)).unwrap());
        links.purge().unwrap();
        assert_eq!(link_names(), ["lo", "sl00000005", "theirs", "vethabc", "vethdef"]);
    });
}

#[test]
fn a_link_found_after_a_restart_is_judged_before_it_is_up_and_stays_if_that_fails() {
    alone(|| {
        let inner = fresh();
        let attached = Links::open().unwrap().attach(&dual(1, &inner), content).unwrap();
        ip("link set sl00000001 down");
        let down = || ip("link show sl00000001").contains("state DOWN");

        let mut links = Links::open().unwrap();
        let error = links.adopt(LinkId(1), |_| Err(io::Error::other("no program"))).unwrap_err();
        assert!(matches!(&error, AttachError::Judge { name, .. } if name == "sl00000001"), "{error:?}");
        assert!(down());
        let mut judged_down = false;
        let judge = |_: &HostEnd| -> Result<(), io::Error> {
            judged_down = down();
            Ok(())
        };
        assert_eq!(links.adopt(LinkId(1), judge).unwrap(), Some(attached.host));
        assert!(judged_down && !down());
        assert_eq!(links.check(&dual(1, &inner)).unwrap(), []);

        assert_eq!(links.adopt(LinkId(2), content).unwrap(), None);
        ip("link add sl00000003 type veth peer name theirs");
        let error = links.adopt(LinkId(3), content).unwrap_err();
        assert!(matches!(error, AttachError::Link(Error::NotOurs { .. })), "{error:?}");
    });
}

#[test]
fn a_check_finds_each_thing_that_is_missing() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        let link = dual(1, &inner);
        let other_mac = Mac([2, 0, 0, 0, 0, 9]);
        for (harm, difference) in [
            (
                "addr del 10.1.0.1/16 dev eth0",
                vec![Difference::NoAddress(link.addresses[0]), Difference::NoRoute(link.gateways[0])],
            ),
            ("-6 addr del fd00:7::1/64 dev eth0", vec![Difference::NoAddress(link.addresses[1])]),
            ("-6 route del default", vec![Difference::NoRoute(link.gateways[1])]),
            ("link set eth0 mtu 1400", vec![Difference::Mtu(1400)]),
            ("link set eth0 address 02:00:00:00:00:09", vec![Difference::Mac(Some(other_mac))]),
            ("addr add 192.0.2.1/32 dev eth0", vec![]),
            ("link set eth0 name eth5", vec![Difference::NoInterface]),
            ("link del eth0", vec![Difference::NoInterface, Difference::NoHostEnd]),
        ] {
            links.attach(&link, content).unwrap();
            ip_in(&inner, harm);
            assert_eq!(links.check(&link).unwrap(), difference, "after ip {harm}");
            links.detach(link.id).unwrap();
        }
        links.attach(&link, content).unwrap();
        ip("link set sl00000001 down");
        assert_eq!(links.check(&link).unwrap(), [Difference::Down]);
        ip("link set sl00000001 up");
        ip_in(&inner, "link set eth0 name eth5");
        let look_alike = format!("link add eth0 address {} mtu 1450 type veth peer name other", link.mac);
        ip_in(&inner, &look_alike);
        assert!(links.check(&link).unwrap().contains(&Difference::NotConnected));
        links.detach(link.id).unwrap();
        assert!(links.check(&link).unwrap().contains(&Difference::NoHostEnd));
    });
}

#[test]
fn a_gateway_outside_the_prefix_and_an_address_alone_do() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        let link = ContainerLink {
            addresses: vec![
                InterfaceAddress::alone([10, 1, 0, 1].into()),
                InterfaceAddress::alone("fd00:7::1".parse().unwrap()),
            ],
            gateways: vec![[169, 254, 1, 1].into(), "fe80::1".parse().unwrap()],
            ..dual(1, &inner)
        };
        links.attach(&link, content).unwrap();
        assert_eq!(links.check(&link).unwrap(), []);
        assert!(ip_in(&inner, "route get 198.51.100.1").contains("via 169.254.1.1 dev eth0 src 10.1.0.1"));
        assert!(ip_in(&inner, "route get 2001:db8::1").contains("via fe80::1 dev eth0"));
    });
}

#[test]
fn a_container_has_its_gateways_for_neighbours_and_nobody_else() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        links.attach(&dual(1, &inner), content).unwrap();
        for (family, peer, gateway) in
            [("-4", "10.1.0.99", "10.1.255.254"), ("-6", "fd00:7::99", "fd00:7::ffff:fffe")]
        {
            // The peer lies in the container's own network.
            let way = ip_in(&inner, &format!("route get {peer}"));
            assert!(way.contains(&format!("via {gateway} dev eth0")), "{way}");
            let known = ip_in(&inner, &format!("{family} neigh show dev eth0"));
            let expected = format!("{gateway} lladdr {GATEWAY_MAC}");
            assert!(known.contains(&expected) && known.contains("PERMANENT"), "{known}");
            assert_eq!(known.lines().count(), 1, "{known}");
        }
    });
}

#[test]
fn an_ipv6_address_receives_as_soon_as_the_attach_returns() {
    alone(|| {
        let mut links = Links::open().unwrap();
        for number in 1..=20 {
            let inner = fresh();
            links.attach(&dual(number, &inner), content).unwrap();
            let table = ip_in(&inner, "-6 route show table local type local");
            assert!(table.contains("fd00:7::"), "{table}");
        }
    });
}

#[test]
fn a_second_interface_leaves_the_firsts_default_routes_alone() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        let first = dual(1, &inner);
        links.attach(&first, content).unwrap();
        for [address, gateway] in [["10.2.0.1", "10.2.0.254"], ["fd00:8::1", "fd00:8::fe"]] {
            let address = InterfaceAddress { address: address.parse().unwrap(), length: 24 };
            let gateway = gateway.parse().unwrap();
            let second =
                || ContainerLink { name: "eth1".to_owned(), addresses: vec![address], ..dual(2, &inner) };
            let greedy = ContainerLink { gateways: vec![gateway], ..second() };
            let error = links.attach(&greedy, content).unwrap_err();
            assert!(
                matches!(&error, AttachError::Link(Error::RouteTaken { gateway: found, .. }) if *found == gateway),
                "{error:?}"
            );
            assert_eq!(links.check(&first).unwrap(), []);
            let modest = ContainerLink { gateways: Vec::new(), ..second() };
            links.attach(&modest, content).unwrap();
            assert_eq!((links.check(&first).unwrap(), links.check(&modest).unwrap()), (vec![], vec![]));
            links.detach(LinkId(2)).unwrap();
        }
    });
}

#[test]
fn ipv6_works_where_the_runtime_switched_it_off_for_new_interfaces() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        let off = || std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        inner.inside(off).unwrap();
        let link = dual(1, &inner);
        links.attach(&link, content).unwrap();
        assert_eq!(links.check(&link).unwrap(), []);
    });
}

#[test]
fn a_link_that_is_too_small_for_ipv6_is_made_without_it() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let inner = fresh();
        let four = |last| InterfaceAddress { address: [10, 0, 0, last].into(), length: 24 };
        let link = ContainerLink {
            addresses: vec![four(2)],
            gateways: vec![[10, 0, 0, 1].into()],
            mtu: 576,
            ..dual(1, &inner)
        };
        links.attach(&link, content).unwrap();
        assert_eq!(links.check(&link).unwrap(), []);
    });
}

#[test]
fn a_link_that_cannot_be_is_refused_with_every_problem() {
    let inner = fresh();
    let four = |last, length| InterfaceAddress { address: [10, 0, 0, last].into(), length };
    let six: std::net::IpAddr = "fd00::1".parse().unwrap();
    let gateway = |last| std::net::IpAddr::from([10, 0, 0, last]);
    let multicast = InterfaceAddress::alone([224, 0, 0, 1].into());
    let link = ContainerLink {
        name: "eth 0".to_owned(),
        mac: Mac([1, 0, 0, 0, 0, 0]),
        addresses: vec![four(1, 24), four(1, 16), four(2, 33), multicast],
        gateways: vec![gateway(1), gateway(3), six],
        mtu: 40,
        ..dual(1, &inner)
    };
    let expected = [
        Problem::Name { name: "eth 0".to_owned() },
        Problem::Mac { mac: Mac([1, 0, 0, 0, 0, 0]) },
        Problem::Repeated { address: four(1, 16) },
        Problem::Length { address: four(2, 33), bits: 32 },
        Problem::Address { address: multicast },
        Problem::Gateway { gateway: gateway(1) },
        Problem::Second { gateway: gateway(3), first: gateway(1) },
        Problem::Lonely { gateway: six },
        Problem::Mtu { mtu: 40, least: 68 },
    ];
    assert_eq!(link.problems(), expected);
    alone(|| {
        let error = Links::open().unwrap().attach(&link, content).unwrap_err();
        assert!(
            matches!(&error, AttachError::Link(Error::Plan { problems, .. }) if *problems == expected),
            "{error:?}"
        );
        assert_eq!(link_names(), ["lo"]);
    });
    for text in ["fe80::1", "::ffff:10.0.0.1", "::1", "255.255.255.255", "0.0.0.0"] {
        let address = InterfaceAddress::alone(text.parse().unwrap());
        let link = ContainerLink { addresses: vec![address], gateways: Vec::new(), ..dual(1, &inner) };
        assert_eq!(link.problems(), [Problem::Address { address }]);
    }
    for mac in [GATEWAY_MAC, OVERLAY_MAC] {
        assert_eq!(ContainerLink { mac, ..dual(1, &inner) }.problems(), [Problem::Reserved { mac }]);
    }
    for name in ["", "sixteen-bytes-ab", "a/b", "a:b", "a%d", "..", "all", "a\tb"] {
        let link = ContainerLink { name: name.to_owned(), ..dual(1, &inner) };
        assert_eq!(link.problems(), [Problem::Name { name: name.to_owned() }]);
    }
    for name in ["e", "fifteen-bytes-a", "eth0.100", "net_1"] {
        assert_eq!(ContainerLink { name: name.to_owned(), ..dual(1, &inner) }.problems(), []);
    }
}

#[test]
fn the_hosts_own_namespace_is_no_containers() {
    alone(|| {
        let own = Namespace::current().unwrap();
        let error = Links::open().unwrap().attach(&dual(1, &own), content).unwrap_err();
        let AttachError::Link(Error::Plan { problems, .. }) = &error else { panic!("{error:?}") };
        assert_eq!(*problems, [Problem::HostNamespace { namespace: "/proc/thread-self/ns/net".to_owned() }]);
        assert_eq!(link_names(), ["lo"]);
    });
}

#[test]
fn a_process_without_the_right_is_told_which_one() {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    alone(|| {
        let inner = fresh();
        let held = capabilities(None).unwrap();
        let without = |lacking: CapabilitySet| {
            set_capabilities(None, CapabilitySets { effective: held.effective - lacking, ..held }).unwrap();
        };
        without(CapabilitySet::NET_ADMIN);
        let error = Links::open().unwrap().prepare_host(&plan()).unwrap_err();
        assert!(matches!(&error, Error::Incapable { capability: "CAP_NET_ADMIN", .. }), "{error:?}");
        without(CapabilitySet::SYS_ADMIN);
        let error = Links::open_in(&inner).unwrap_err();
        assert!(matches!(&error, Error::NamespaceEnter { .. }), "{error:?}");
        assert!(error.to_string().ends_with("this process lacks CAP_SYS_ADMIN"), "{error}");
    });
}
