use std::net::UdpSocket;

use nix::mount::{MsFlags, mount};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use super::*;

#[test]
fn a_prepared_host_has_what_the_plan_says_as_another_tool_reads_it() {
    alone(|| {
        let host = Links::open().unwrap().prepare_host(&plan()).unwrap();
        assert_eq!(link_names(), ["lo", "sealane.vx", "sealane0", "sealane1"]);
        let overlay = ip("-d link show sealane.vx");
        for part in [
            "UP",
            "mtu 1430",
            "external",
            "gbp",
            "dstport 4789",
            "nolearning",
            "udp6zerocsumrx",
            "alias sealane",
        ] {
            assert!(overlay.contains(part), "{part} not in\n{overlay}");
        }
        assert!(overlay.contains(&OVERLAY_MAC.to_string()), "{overlay}");
        assert!(overlay.starts_with(&format!("{}: ", host.overlay)), "{overlay}");
        for (name, index, mac) in
            [(LEG_HOST, host.leg_host, LEG_HOST_MAC), (LEG_FABRIC, host.leg_fabric, LEG_FABRIC_MAC)]
        {
            let leg = ip(&format!("-d link show {name}"));
            assert!(leg.starts_with(&format!("{index}: ")), "{leg}");
            for part in ["LOWER_UP", "mtu 1430", "alias sealane", &mac.to_string()] {
                assert!(leg.contains(part), "{part} not in\n{leg}");
            }
        }
        assert_eq!(host.container_mtu, 1430);

        let addresses = ip("-o addr show dev sealane0");
        assert_eq!(addresses.lines().count(), 2, "{addresses}");
        assert!(
            addresses.contains("100.64.0.1/32") && addresses.contains("fd5e:a1a:e::1/128"),
            "{addresses}"
        );
        assert!(!addresses.contains("tentative"), "{addresses}");
        assert_eq!(ip("addr show dev sealane1").matches("inet").count(), 0);
        let route = ip("route show 100.64.0.0/10");
        assert!(route.contains("dev sealane0") && route.contains("src 100.64.0.1"), "{route}");
        let route = ip("-6 route show fd5e:a1a:e::/64");
        assert!(route.contains("dev sealane0") && route.contains("src fd5e:a1a:e::1"), "{route}");
    });
}

#[test]
fn preparing_a_prepared_host_changes_nothing() {
    alone(|| {
        let first = Links::open().unwrap().prepare_host(&plan()).unwrap();
        assert!(first.changes.contains(&Change::Made { link: OVERLAY }), "{:?}", first.changes);
        assert!(first.changes.contains(&Change::Made { link: LEG_HOST }), "{:?}", first.changes);
        // As after a restart: nothing is remembered.
        let second = Links::open().unwrap().prepare_host(&plan()).unwrap();
        assert_eq!(second, Host { changes: Vec::new(), ..first });
    });
}

#[test]
fn what_was_altered_is_set_right_and_nothing_else() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let first = links.prepare_host(&plan()).unwrap();
        ip("link set sealane.vx down");
        ip("link set sealane1 mtu 1300");
        ip("neigh del 169.254.94.161 dev sealane0");
        ip("route del 100.64.0.0/10");
        ip("addr add 192.0.2.9/24 dev sealane0");
        ip("route add 198.51.100.0/24 via 169.254.94.161 dev sealane0 onlink");
        ip("neigh add 192.0.2.5 lladdr 02:00:00:00:00:05 dev sealane0");
        std::fs::write("/proc/sys/net/ipv6/conf/sealane0/accept_ra", "1").unwrap();
        ip("link add bystander type veth peer name bystander2");

        let second = links.prepare_host(&plan()).unwrap();
        let mut told: Vec<String> = second.changes.iter().map(Change::to_string).collect();
        told.sort();
        assert_eq!(
            told,
            [
                "sealane.vx: up",
                "sealane0: accept_ra 0",
                "sealane0: added neighbour 169.254.94.161 at 02:5e:a1:00:00:11",
                "sealane0: added route 100.64.0.0/10 via 169.254.94.161 from 100.64.0.1",
                "sealane0: removed address 192.0.2.9/24",
                "sealane0: removed neighbour 192.0.2.5 at 02:00:00:00:00:05",
                "sealane0: removed route 198.51.100.0/24 via 169.254.94.161",
                "sealane1: mtu 1430",
            ]
        );
        assert_eq!(
            (second.overlay, second.leg_host, second.leg_fabric),
            (first.overlay, first.leg_host, first.leg_fabric)
        );
        assert_eq!(links.prepare_host(&plan()).unwrap().changes, []);
        assert!(link_names().contains(&"bystander".to_owned()));
    });
}

#[test]
fn a_new_plan_changes_what_it_says_and_makes_again_only_what_it_must() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let first = links.prepare_host(&plan()).unwrap();
        let moved = HostPlan {
            port: 8472,
            shadow4: "100.96.0.0/11".parse().unwrap(),
            underlay: Underlay { mtu: 9000, ipv6: false },
            ..plan()
        };
        let second = links.prepare_host(&moved).unwrap();
        assert!(
            second.changes.contains(&Change::Remade { link: OVERLAY, differs: "port" }),
            "{:?}",
            second.changes
        );
        assert_ne!(second.overlay, first.overlay);
        assert_eq!((second.leg_host, second.leg_fabric), (first.leg_host, first.leg_fabric));
        assert!(ip("-d link show sealane.vx").contains("dstport 8472"));
        assert!(ip("link show sealane0").contains("mtu 8950"));
        let leg = ip("-4 -o addr show dev sealane0");
        assert!(leg.contains("100.96.0.1/32") && leg.lines().count() == 1, "{leg}");
        assert_eq!(ip("route show dev sealane0").lines().count(), 1);
        assert_eq!(links.prepare_host(&moved).unwrap().changes, []);
    });
}

#[test]
fn an_overlay_of_another_making_is_made_again_whatever_differs() {
    for (making, differs) in [
        ("type veth", "kind"),
        ("type vxlan external gbp dstport 4788 nolearning udp6zerocsumrx", "port"),
        ("type vxlan id 9 gbp dstport 4789 nolearning udp6zerocsumrx", "metadata mode"),
        ("type vxlan external dstport 4789 nolearning udp6zerocsumrx", "group policy extension"),
        ("type vxlan external gbp dstport 4789 learning udp6zerocsumrx", "learning"),
        ("type vxlan external gbp dstport 4789 nolearning", "rule on checksums"),
    ] {
        alone(|| {
            ip(&format!("link add sealane.vx group {} {making}", mark::GROUP));
            let mut links = Links::open().unwrap();
            let host = links.prepare_host(&plan()).unwrap();
            assert!(
                host.changes.contains(&Change::Remade { link: OVERLAY, differs }),
                "{differs}: {:?}",
                host.changes
            );
            assert_eq!(links.prepare_host(&plan()).unwrap().changes, []);
        });
    }
}

#[test]
fn a_leg_of_two_ends_that_do_not_belong_together_is_made_again() {
    alone(|| {
        for (name, other) in [(LEG_HOST, "x"), (LEG_FABRIC, "y")] {
            ip(&format!("link add {name} group {} type veth peer name {other}", mark::GROUP));
        }
        let mut links = Links::open().unwrap();
        let host = links.prepare_host(&plan()).unwrap();
        assert!(
            host.changes.contains(&Change::Remade { link: LEG_HOST, differs: "other end" }),
            "{:?}",
            host.changes
        );
        assert_eq!(link_names(), ["lo", "sealane.vx", "sealane0", "sealane1"]);
    });
}

#[test]
fn a_torn_leg_is_made_again() {
    alone(|| {
        let mut links = Links::open().unwrap();
        links.prepare_host(&plan()).unwrap();
        let elsewhere = fresh();
        ip(&format!("link set sealane1 netns {}", path_of(&elsewhere)));
        let host = links.prepare_host(&plan()).unwrap();
        assert!(
            host.changes.contains(&Change::Remade { link: LEG_HOST, differs: "other end" }),
            "{:?}",
            host.changes
        );
        assert_eq!(elsewhere.inside(link_names).unwrap(), ["lo"]);
        assert_eq!(links.prepare_host(&plan()).unwrap().changes, []);
    });
}

#[test]
fn a_host_half_prepared_by_a_process_that_died_is_finished() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let first = links.prepare_host(&plan()).unwrap();
        // The state before the alias was set: the group alone tells whose it is.
        ip("link set sealane.vx down");
        std::fs::write("/sys/class/net/lo/ifalias", "").ok();
        let overlay = links.netlink.device_named(OVERLAY).unwrap().unwrap();
        let none = LinkAttribute::IfAlias(String::new());
        links.netlink.set_device(&overlay, none).unwrap();
        assert_eq!(links.netlink.device_named(OVERLAY).unwrap().unwrap().alias, None);
        let second = links.prepare_host(&plan()).unwrap();
        let told: Vec<String> = second.changes.iter().map(Change::to_string).collect();
        assert_eq!(told, ["sealane.vx: alias sealane", "sealane.vx: up"]);
        assert_eq!(second.overlay, first.overlay);
    });
}

#[test]
fn a_link_of_anothers_that_bears_our_name_is_left_alone() {
    for (name, make) in [
        (OVERLAY, "link add sealane.vx type vxlan id 5 dstport 4789"),
        (LEG_HOST, "link add sealane0 type veth peer name x"),
        (LEG_FABRIC, "link add x type veth peer name sealane1"),
    ] {
        alone(|| {
            ip(make);
            let mut links = Links::open().unwrap();
            let error = links.prepare_host(&plan()).unwrap_err();
            assert!(matches!(&error, Error::NotOurs { name: found } if found == name), "{error:?}");
            links.purge().unwrap();
            assert!(link_names().contains(&name.to_owned()), "{name} was purged");
        });
    }
}

#[test]
fn a_route_of_anothers_to_a_shadow_range_is_left_alone() {
    for (range, add) in [
        ("100.64.0.0/10", "route add 100.64.0.0/10 dev x"),
        ("fd5e:a1a:e::/64", "-6 route add fd5e:a1a:e::/64 dev x"),
    ] {
        alone(|| {
            ip("link add x up type veth peer name y");
            ip(add);
            let error = Links::open().unwrap().prepare_host(&plan()).unwrap_err();
            assert!(matches!(&error, Error::RouteTaken { to, .. } if to.to_string() == range), "{error:?}");
            assert!(ip(&add.replace("add", "show")).contains(range));
        });
    }
}

#[test]
fn a_port_that_another_has_is_named() {
    alone(|| {
        ip("link set lo up");
        let _holder = UdpSocket::bind("0.0.0.0:4789").unwrap();
        let error = Links::open().unwrap().prepare_host(&plan()).unwrap_err();
        assert!(matches!(error, Error::PortTaken { port: 4789, .. }), "{error:?}");
    });
    for modes in ["external", "external gbp"] {
        alone(|| {
            ip(&format!("link add other up type vxlan dstport 4789 {modes}"));
            let error = Links::open().unwrap().prepare_host(&plan()).unwrap_err();
            assert!(matches!(error, Error::PortTaken { port: 4789, .. }), "{modes}: {error:?}");
        });
    }
}

#[test]
fn one_overlay_device_listens_for_ipv4_and_ipv6() {
    alone(|| {
        Links::open().unwrap().prepare_host(&plan()).unwrap();
        for table in ["udp", "udp6"] {
            let sockets = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
            assert!(sockets.contains(":12B5 "), "nobody has port 4789 in {table}:\n{sockets}");
        }
    });
}

#[test]
fn a_host_started_without_ipv6_is_prepared_for_ipv4() {
    alone(|| {
        // What such a kernel shows: nothing under this folder. The mount is this thread's alone.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, private, none).unwrap();
        mount(Some("none"), "/proc/sys/net/ipv6", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let mut links = Links::open().unwrap();
        links.prepare_host(&plan()).unwrap();
        let addresses = ip("-o addr show dev sealane0 scope global");
        assert!(addresses.contains("100.64.0.1/32") && !addresses.contains("fd5e"), "{addresses}");
        assert_eq!(links.prepare_host(&plan()).unwrap().changes, []);
    });
}

#[test]
fn the_host_stack_sends_to_shadow_addresses_without_resolving_them() {
    alone(|| {
        Links::open().unwrap().prepare_host(&plan()).unwrap();
        let neighbors =
            || ip("neigh show nud all dev sealane0").lines().filter(|line| !line.contains("NOARP")).count();
        assert_eq!(neighbors(), 2);
        let before = received(LEG_FABRIC);
        for number in 1..=50 {
            let four = UdpSocket::bind("0.0.0.0:0").unwrap();
            four.send_to(b"probe", format!("100.64.7.{number}:80")).unwrap();
            assert_eq!(four.local_addr().unwrap().ip().to_string(), "0.0.0.0");
            let six = UdpSocket::bind("[::]:0").unwrap();
            six.send_to(b"probe", format!("[fd5e:a1a:e::7:{number}]:80")).unwrap();
        }
        assert_eq!(received(LEG_FABRIC) - before, 100);
        assert_eq!(neighbors(), 2, "{}", ip("neigh show nud all dev sealane0"));
        let route = ip("route get 100.127.255.254");
        assert!(route.contains("dev sealane0 src 100.64.0.1"), "{route}");
    });
}

#[test]
fn purging_leaves_the_host_as_it_was() {
    alone(|| {
        let mut links = Links::open().unwrap();
        let routes = ip("route show table all");
        links.prepare_host(&plan()).unwrap();
        let inner = fresh();
        links.attach(&dual(3, &inner), content).unwrap();
        assert_eq!(links.purge().unwrap(), ["sl00000003", OVERLAY, LEG_HOST]);
        assert_eq!(link_names(), ["lo"]);
        assert_eq!(ip("route show table all"), routes);
        assert_eq!(inner.inside(link_names).unwrap(), ["lo"]);
        assert_eq!(links.purge().unwrap(), [""; 0]);
    });
}

#[test]
fn a_plan_that_cannot_be_is_refused_with_every_problem() {
    let bad = HostPlan {
        port: 0,
        underlay: Underlay { mtu: 1300, ipv6: true },
        shadow4: "fd00::/64".parse().unwrap(),
        shadow6: "fd00::/127".parse().unwrap(),
    };
    alone(|| {
        let error = Links::open().unwrap().prepare_host(&bad).unwrap_err();
        let Error::Plan { problems, .. } = &error else { panic!("{error:?}") };
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert_eq!(link_names(), ["lo"]);
    });
}

#[test]
fn the_uplink_is_the_default_routes_link_or_the_one_that_has_the_address() {
    alone(|| {
        let mut links = Links::open().unwrap();
        assert!(matches!(links.uplink(None).unwrap_err(), Error::NoUplink));
        for (name, index) in [("up0", 1), ("up1", 2)] {
            ip(&format!("link add {name} mtu 140{index} type veth peer name {name}p"));
            ip(&format!("addr add 192.0.{index}.7/24 dev {name}"));
            ip(&format!("-6 addr add 2001:db8:{index}::7/64 dev {name} nodad"));
            ip(&format!("link set {name} up"));
        }
        ip("route add default via 192.0.1.1 metric 50");
        ip("route add default via 192.0.2.1 metric 20");
        ip("-6 route add default via 2001:db8:2::1");

        let found = links.uplink(None).unwrap();
        assert_eq!((found.name.as_str(), found.mtu), ("up1", 1402));
        let address = |text: &str, length| InterfaceAddress { address: text.parse().unwrap(), length };
        assert_eq!(found.addresses, [address("192.0.2.7", 24), address("2001:db8:2::7", 64)]);
        assert_eq!(
            found.gateways,
            ["192.0.2.1", "2001:db8:2::1"].map(|gateway| gateway.parse::<std::net::IpAddr>().unwrap())
        );

        let found = links.uplink(Some("2001:db8:1::7".parse().unwrap())).unwrap();
        assert_eq!((found.name.as_str(), found.mtu, found.gateways), ("up0", 1401, vec![]));
        let absent = "192.0.9.9".parse().unwrap();
        assert!(
            matches!(links.uplink(Some(absent)).unwrap_err(), Error::NoSuchAddress { address } if address == absent)
        );
    });
}

#[test]
fn an_uplink_of_several_equal_paths_is_the_first() {
    alone(|| {
        ip("link add up0 type veth peer name up0p");
        ip("addr add 192.0.2.7/24 dev up0");
        ip("link set up0 up");
        ip("route add default nexthop via 192.0.2.1 nexthop via 192.0.2.2");
        let found = Links::open().unwrap().uplink(None).unwrap();
        assert_eq!((found.name.as_str(), found.gateways), ("up0", vec![[192, 0, 2, 1].into()]));
    });
}

#[test]
fn a_kernel_without_a_driver_is_told_so() {
    alone(|| {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName("x".to_owned()));
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Other("nosuch".to_owned()))]));
        let fault = Links::open().unwrap().netlink.create_device(message).unwrap_err();
        let error = device::creation(fault, OVERLAY, "vxlan", "CONFIG_VXLAN (module vxlan)");
        assert_eq!(
            error.to_string(),
            "create sealane.vx: this kernel has no vxlan links; it needs CONFIG_VXLAN (module vxlan)"
        );
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            cause,
            "EOPNOTSUPP: Operation not supported on transport endpoint (the kernel says: Unknown device type)"
        );
    });
}
