//! Claims about the rules of `NetworkPolicy`.

use super::*;

fn policy(spec: &Value) -> Value {
    document(Kind::NetworkPolicy, spec)
}

/// Asserts the problems of one ingress rule with this one peer.
fn assert_peer(peer: &Value, expected: &[(&str, &str)]) {
    let problems = refused(Kind::NetworkPolicy, policy(&json!({"ingress": [{"from": [peer]}]})));
    let expected: Vec<(String, &str)> =
        expected.iter().map(|(path, words)| (format!("spec.ingress[0].from[0]{path}"), *words)).collect();
    let expected: Vec<(&str, &str)> = expected.iter().map(|(path, words)| (path.as_str(), *words)).collect();
    assert_problems(&problems, &expected);
}

fn assert_port(port: &Value, expected: &[(&str, &str)]) {
    let problems = refused(Kind::NetworkPolicy, policy(&json!({"egress": [{"ports": [port]}]})));
    let expected: Vec<(String, &str)> =
        expected.iter().map(|(path, words)| (format!("spec.egress[0].ports[0].{path}"), *words)).collect();
    let expected: Vec<(&str, &str)> = expected.iter().map(|(path, words)| (path.as_str(), *words)).collect();
    assert_problems(&problems, &expected);
}

#[test]
fn policy_types_follow_from_the_rules() {
    for (spec, types, isolates) in [
        (json!({}), json!(["Ingress"]), (true, false)),
        (json!({"policyTypes": []}), json!(["Ingress"]), (true, false)),
        (json!({"egress": []}), json!(["Ingress"]), (true, false)),
        (json!({"egress": [{}]}), json!(["Ingress", "Egress"]), (true, true)),
        (json!({"policyTypes": ["Egress"]}), json!(["Egress"]), (false, true)),
        (json!({"policyTypes": ["Egress", "Ingress"]}), json!(["Egress", "Ingress"]), (true, true)),
    ] {
        let admitted = admitted(Kind::NetworkPolicy, policy(&spec));
        assert_eq!(admitted.document["spec"]["policyTypes"], types, "{spec}");
        let Parsed::NetworkPolicy(parsed) = admitted.parsed else { panic!("another kind") };
        assert_eq!((parsed.ingress.is_some(), parsed.egress.is_some()), isolates, "{spec}");
    }
    let wrong = policy(&json!({"policyTypes": ["ingress", "Egress", "Egress"]}));
    let expected = [("spec.policyTypes", "may have 2"), ("spec.policyTypes[0]", "write Ingress")];
    assert_problems(&refused(Kind::NetworkPolicy, wrong), &expected);
}

#[test]
fn rules_of_a_direction_that_is_not_isolated_are_warned_of() {
    let admitted =
        admitted(Kind::NetworkPolicy, policy(&json!({"policyTypes": ["Ingress"], "egress": [{}]})));
    assert_problems(&admitted.warnings, &[("spec.egress", "Egress is not among policyTypes")]);
}

#[test]
fn a_peer_is_addresses_or_endpoints() {
    assert_peer(&json!({}), &[("", "selects nothing")]);
    assert_peer(&json!({"podSelector": null}), &[("", "selects nothing")]);
    let both = json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}});
    assert_peer(&both, &[(".ipBlock", "stands beside podSelector")]);
    let both = json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "namespaceSelector": {}});
    assert_peer(&both, &[(".ipBlock", "stands beside namespaceSelector")]);
    assert_peer(&json!(null), &[("", "is nothing where an object is wanted"), ("", "selects nothing")]);
}

#[test]
fn an_except_is_smaller_than_its_range_and_inside() {
    let peer = json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "x", "fd00::/8"]}});
    let expected = [
        (".ipBlock.except[4]", "is not ADDRESS/LENGTH"),
        (".ipBlock.except[1]", "is not inside cidr 10.0.0.0/8"),
        (".ipBlock.except[2]", "takes away all of cidr 10.0.0.0/8"),
        (".ipBlock.except[3]", "is not inside cidr"),
        (".ipBlock.except[5]", "is not inside cidr"),
    ];
    assert_peer(&peer, &expected);
    assert_peer(&json!({"ipBlock": {}}), &[(".ipBlock.cidr", "is missing")]);
    assert_peer(&json!({"ipBlock": {"cidr": "10.0.0.7"}}), &[(".ipBlock.cidr", "write 10.0.0.7/32")]);
}

#[test]
fn host_bits_of_a_block_are_accepted_as_upstream_does_with_a_warning() {
    let admitted = admitted(
        Kind::NetworkPolicy,
        policy(&json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.1.2.3/8"}}]}]})),
    );
    assert_problems(&admitted.warnings, &[("spec.ingress[0].from[0].ipBlock.cidr", "write 10.0.0.0/8")]);
    assert_eq!(admitted.document["spec"]["ingress"][0]["from"][0]["ipBlock"]["cidr"], "10.1.2.3/8");
    assert!(format!("{:?}", admitted.parsed).contains("10.0.0.0/8"));
}

#[test]
fn operators_have_the_values_that_they_need() {
    let selector = |operator: &str, values: Value| json!({"podSelector": {"matchExpressions": [{"key": "tier", "operator": operator, "values": values}]}});
    let at = ".podSelector.matchExpressions[0]";
    let path = |field: &str| format!("{at}.{field}");
    assert_peer(&selector("In", json!([])), &[(&path("values"), "In needs values")]);
    assert_peer(&selector("NotIn", Value::Null), &[(&path("values"), "NotIn needs values")]);
    assert_peer(&selector("Exists", json!(["a"])), &[(&path("values"), "Exists takes no values")]);
    assert_peer(
        &selector("DoesNotExist", json!(["a"])),
        &[(&path("values"), "DoesNotExist takes no values")],
    );
    assert_peer(&selector("in", json!(["a"])), &[(&path("operator"), "write In")]);
    assert_peer(&selector("In", json!(["a b"])), &[(&path("values[0]"), "is no label value")]);
    let bare =
        json!({"podSelector": {"matchExpressions": [{"operator": "Exists"}], "matchLabels": {"-a": "b "}}});
    let expected = [
        (".podSelector.matchLabels[-a]", "as a key"),
        (".podSelector.matchLabels[-a]", "is no label value"),
        (".podSelector.matchExpressions[0].key", "is missing"),
    ];
    assert_peer(&bare, &expected);
}

#[test]
fn ports_are_numbers_names_or_ranges() {
    assert_port(&json!({"port": 0}), &[("port", "within 1–65535")]);
    assert_port(&json!({"port": 65_536}), &[("port", "within 1–65535")]);
    assert_port(&json!({"port": 80.5}), &[("port", "within 1–65535")]);
    assert_port(&json!({"port": "80"}), &[("port", "write 80 without quotes")]);
    assert_port(&json!({"port": "HTTP"}), &[("port", "is no port name")]);
    assert_port(&json!({"port": true}), &[("port", "is a boolean")]);
    assert_port(&json!({"port": 80, "endPort": 79}), &[("endPort", "is before port 80")]);
    assert_port(&json!({"port": "http", "endPort": 90}), &[("endPort", "is the name \"http\"")]);
    assert_port(&json!({"endPort": 90}), &[("endPort", "given without port")]);
    assert_port(&json!({"port": 80, "protocol": "tcp"}), &[("protocol", "write TCP")]);
    assert_port(&json!({"port": 80, "protocol": "ICMP"}), &[("protocol", "write one of TCP, UDP, SCTP")]);
}

#[test]
fn the_protocol_of_a_port_is_tcp_unless_it_is_written() {
    let admitted = admitted(Kind::NetworkPolicy, policy(&json!({"ingress": [{"ports": [{"port": 80}]}]})));
    assert_eq!(admitted.document["spec"]["ingress"][0]["ports"][0]["protocol"], "TCP");
}
