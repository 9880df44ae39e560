//! Claims about `VirtualNetwork`.

use super::*;

fn network(spec: &Value) -> Value {
    document(Kind::VirtualNetwork, spec)
}

#[test]
fn a_network_needs_subnets_alone() {
    let admitted = admitted(
        Kind::VirtualNetwork,
        network(&json!({"subnets": [{"cidr": "10.1.0.0/16"}, {"cidr": "fd00:1::/64"}]})),
    );
    let spec = json!({"subnets": [{"cidr": "10.1.0.0/16", "gateway": "10.1.0.1"}, {"cidr": "fd00:1::/64", "gateway": "fd00:1::1"}],
        "defaultVerdict": "Allow", "world": "Allow"});
    assert_eq!(admitted.document["spec"], spec);
    let Parsed::VirtualNetwork(network) = admitted.parsed else { panic!("another kind") };
    assert_eq!((network.vni, network.mtu, network.default_allow, network.world), (None, None, true, true));
    assert_eq!(network.subnets[1].gateway.to_string(), "fd00:1::1");
}

#[test]
fn everything_that_is_written_is_meant() {
    let spec = json!({"subnets": [{"cidr": "10.1.0.0/30", "gateway": "10.1.0.2"}], "vni": 16_777_215, "mtu": 576,
        "defaultVerdict": "Deny", "world": "Deny"});
    let Parsed::VirtualNetwork(parsed) = parse(Kind::VirtualNetwork, &network(&spec)).unwrap() else {
        panic!("another kind")
    };
    assert_eq!(parsed.vni.unwrap().value(), 16_777_215);
    assert_eq!((parsed.mtu, parsed.default_allow, parsed.world), (Some(576), false, false));
    assert_eq!(parsed.subnets[0].gateway.to_string(), "10.1.0.2");
}

#[test]
fn overlapping_subnets_are_told_with_both() {
    let spec =
        json!({"subnets": [{"cidr": "10.1.0.0/16"}, {"cidr": "10.2.0.0/16"}, {"cidr": "10.1.4.0/24"}]});
    let problems = refused(Kind::VirtualNetwork, network(&spec));
    assert_problems(
        &problems,
        &[("spec.subnets[2].cidr", "\"10.1.4.0/24\": overlaps 10.1.0.0/16 of spec.subnets[0].cidr")],
    );
}

#[test]
fn a_gateway_is_an_address_that_a_host_could_have() {
    for (cidr, gateway, words) in [
        ("10.1.0.0/24", "10.1.1.1", "is not inside 10.1.0.0/24"),
        ("10.1.0.0/24", "10.1.0.0", "the network's own address"),
        ("10.1.0.0/24", "10.1.0.255", "the broadcast address"),
        ("10.1.0.0/24", "fd00::1", "is not inside"),
        ("fd00:1::/64", "fd00:1::", "subnet-router anycast"),
    ] {
        let spec = json!({"subnets": [{"cidr": cidr, "gateway": gateway}]});
        assert_problems(
            &refused(Kind::VirtualNetwork, network(&spec)),
            &[("spec.subnets[0].gateway", words)],
        );
    }
}

#[test]
fn a_subnet_is_canonical_usable_and_of_a_sane_size() {
    for (cidr, words) in [
        ("10.1.0.1/16", "write 10.1.0.0/16"),
        ("10.1.0.0", "write 10.1.0.0/32"),
        ("10.0.0.0/7", "too large"),
        ("10.0.0.0/31", "too small"),
        ("fd00::/16", "too large"),
        ("fd00::/127", "too small"),
        ("127.0.0.0/24", "loopback"),
        ("169.254.0.0/24", "link-local"),
        ("224.0.0.0/24", "multicast"),
        ("fe80::/64", "link-local"),
        ("0.0.0.0/0", "too large"),
    ] {
        let spec = json!({"subnets": [{"cidr": cidr}]});
        assert_problems(&refused(Kind::VirtualNetwork, network(&spec)), &[("spec.subnets[0].cidr", words)]);
    }
    let spec = json!({"subnets": []});
    assert_problems(&refused(Kind::VirtualNetwork, network(&spec)), &[("spec.subnets", "needs at least 1")]);
    let none = network(&Value::Null);
    assert_problems(&refused(Kind::VirtualNetwork, none), &[("spec", "is missing")]);
}

#[test]
fn the_mtu_is_what_the_families_need() {
    let spec = |cidr: &str, mtu: i64| json!({"subnets": [{"cidr": cidr}], "mtu": mtu});
    for (cidr, mtu, fits) in [
        ("10.1.0.0/16", 576, true),
        ("10.1.0.0/16", 575, false),
        ("10.1.0.0/16", 65_535, true),
        ("10.1.0.0/16", 65_536, false),
        ("fd00::/64", 1280, true),
        ("fd00::/64", 1279, false),
    ] {
        let result = parse(Kind::VirtualNetwork, &network(&spec(cidr, mtu)));
        assert_eq!(result.is_ok(), fits, "{cidr} {mtu}: {result:?}");
        if let Err(problems) = result {
            assert_problems(&problems, &[("spec.mtu", "give")]);
        }
    }
}

#[test]
fn a_verdict_is_allow_or_deny() {
    let spec = json!({"subnets": [{"cidr": "10.1.0.0/16"}], "defaultVerdict": "deny", "world": true, "vni": 16_777_216});
    let expected = [
        ("spec.defaultVerdict", "write Deny"),
        ("spec.world", "is a boolean where a text is wanted"),
        ("spec.vni", "1–16777215"),
    ];
    assert_problems(&refused(Kind::VirtualNetwork, network(&spec)), &expected);
}
