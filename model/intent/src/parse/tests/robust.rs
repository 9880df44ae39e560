//! Claims about any document at all.

use proptest::prelude::*;

use super::*;

/// Values that look like parts of documents, mixed with values that do not.
fn any_value() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "",
        "a",
        "In",
        "Exists",
        "TCP",
        "Ingress",
        "Egress",
        "Allow",
        "10.0.0.0/8",
        "10.0.0.1/8",
        "fd00::/64",
        "::/0",
        "10.0.0.1",
        "http",
        "80",
        "shop",
        "v1",
        "NetworkPolicy",
        "02:00:00:00:00:01",
        "ä\u{0}",
        "0.0.0.0/0",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0i64..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(field_name(), inner, 0..7)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn field_name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "metadata",
        "name",
        "namespace",
        "labels",
        "annotations",
        "spec",
        "status",
        "podSelector",
        "matchLabels",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "policyTypes",
        "ingress",
        "egress",
        "from",
        "to",
        "ports",
        "port",
        "endPort",
        "protocol",
        "ipBlock",
        "cidr",
        "except",
        "namespaceSelector",
        "subnets",
        "gateway",
        "vni",
        "mtu",
        "world",
        "defaultVerdict",
        "addresses",
        "underlay",
        "attachment",
        "network",
        "node",
        "mac",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => ".{0,6}"]
}

/// A document whose outer form is right, so that the inner checks are reached.
fn any_document(kind: Kind) -> impl Strategy<Value = Value> {
    any_value().prop_map(move |spec| document(kind, &spec))
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(Kind::ALL.to_vec())
}

fn any_spec_of_a_network() -> impl Strategy<Value = Value> {
    let subnet = (0u32..4, 8u8..31, prop::option::of(0u32..512)).prop_map(|(net, length, gateway)| {
        let address = std::net::Ipv4Addr::from(0x0A00_0000 | (net << 16));
        let mut subnet = json!({"cidr": format!("{address}/{length}")});
        if let Some(offset) = gateway {
            subnet["gateway"] = std::net::Ipv4Addr::from(u32::from(address) + offset).to_string().into();
        }
        subnet
    });
    let verdict = prop::option::of(prop::sample::select(vec!["Allow", "Deny"]));
    (prop::collection::vec(subnet, 1..4), verdict, prop::option::of(1u32..20_000_000)).prop_map(
        |(subnets, verdict, vni)| json!({"subnets": subnets, "defaultVerdict": verdict, "vni": vni}),
    )
}

fn any_spec_of_a_policy() -> impl Strategy<Value = Value> {
    let selector = prop_oneof![
        Just(json!({})),
        Just(json!({"matchLabels": {"a": "b"}})),
        Just(json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]})),
    ];
    let peer = prop_oneof![
        selector.clone().prop_map(|selector| json!({"podSelector": selector})),
        selector.clone().prop_map(|selector| json!({"namespaceSelector": selector, "podSelector": null})),
        Just(json!({"ipBlock": {"cidr": "10.0.0.1/8", "except": ["10.1.0.0/16"]}})),
    ];
    let port = prop_oneof![
        Just(json!({})),
        Just(json!({"port": "http"})),
        (1u16.., 1u16..).prop_map(|(first, last)| json!({"port": first, "endPort": last})),
    ];
    let rule = (prop::collection::vec(peer, 0..3), prop::collection::vec(port, 0..3));
    let rules = prop::collection::vec(rule, 0..3);
    (selector, prop::option::of(rules.clone()), prop::option::of(rules)).prop_map(
        |(subject, ingress, egress)| {
            let rules = |rules: Option<Vec<(Vec<Value>, Vec<Value>)>>, peers: &str| {
                rules.map(|rules| {
                    rules
                        .into_iter()
                        .map(|(who, ports)| json!({peers: who, "ports": ports}))
                        .collect::<Vec<_>>()
                })
            };
            json!({"podSelector": subject, "ingress": rules(ingress, "from"), "egress": rules(egress, "to")})
        },
    )
}

/// What holds for every document: it is refused with reasons, or admitted, and then again unchanged.
fn assert_sound(kind: Kind, document: &Value) {
    match admit(kind, document.clone(), UnknownFields::Warn) {
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.reason.is_empty()));
        }
        Ok(first) => {
            let second = admitted(kind, first.document.clone());
            assert_eq!(second.document, first.document);
            assert_eq!(second.parsed, first.parsed);
            assert_eq!(first.parsed.kind(), kind);
            assert_eq!(parse(kind, document), Ok(first.parsed));
        }
    }
}

proptest! {
    #[test]
    fn no_value_upsets_the_parser((kind, document) in (any_kind(), any_value())) {
        assert_sound(kind, &document);
        let _ = kind_of(&document);
    }

    #[test]
    fn no_spec_upsets_the_parser((kind, document) in any_kind().prop_flat_map(|kind| (Just(kind), any_document(kind)))) {
        assert_sound(kind, &document);
    }

    #[test]
    fn an_admitted_network_is_admitted_unchanged(spec in any_spec_of_a_network()) {
        assert_sound(Kind::VirtualNetwork, &document(Kind::VirtualNetwork, &spec));
    }

    #[test]
    fn an_admitted_policy_is_admitted_unchanged(spec in any_spec_of_a_policy()) {
        assert_sound(Kind::NetworkPolicy, &document(Kind::NetworkPolicy, &spec));
    }
}
