//! Claims about documents: every rule, the well-known policies, and what no document can do.

mod network;
mod policy;
mod recipes;
mod rights;
mod robust;

use serde_json::{Value, json};

use super::{Admitted, Parsed, UnknownFields, admit, kind_of, parse};
use crate::Kind;
use crate::object::{NAMESPACE_NAME_LABEL, NETWORK_ANNOTATION};
use crate::problem::{Fault, Problem};

/// A document of a kind, named `a`, in the namespace `shop` if it is in one.
fn document(kind: Kind, spec: &Value) -> Value {
    let known = kind.descriptor();
    let mut metadata = json!({"name": "a"});
    if known.namespaced() {
        metadata["namespace"] = "shop".into();
    }
    let mut document = json!({"apiVersion": known.api_version(), "kind": known.kind, "metadata": metadata});
    if !spec.is_null() {
        document["spec"] = spec.clone();
    }
    document
}

fn admitted(kind: Kind, document: Value) -> Admitted {
    match admit(kind, document, UnknownFields::Refuse) {
        Ok(admitted) => admitted,
        Err(problems) => panic!("refused:\n{}", listed(&problems)),
    }
}

fn refused(kind: Kind, document: Value) -> Vec<Problem> {
    match admit(kind, document, UnknownFields::Refuse) {
        Ok(admitted) => panic!("admitted:\n{:#}", admitted.document),
        Err(problems) => problems,
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Asserts that exactly these paths have problems, in this order, each with a reason and a remedy that contain these words.
fn assert_problems(problems: &[Problem], expected: &[(&str, &str)]) {
    let found: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    let wanted: Vec<&str> = expected.iter().map(|(path, _)| *path).collect();
    assert_eq!(found, wanted, "\n{}", listed(problems));
    for (problem, (_, words)) in problems.iter().zip(expected) {
        assert!(problem.message().contains(words), "{words:?} is not in\n{problem}");
    }
}

#[test]
fn every_problem_of_a_document_is_told_at_once() {
    let problems = refused(
        Kind::VirtualNetwork,
        json!({"apiVersion": "sealane.dev/v1", "kind": "VirtualNetwork",
            "metadata": {"name": "My_Net", "namespace": "shop", "labels": {"a b": "c", "app": 1}},
            "spec": {"subnets": [{"cidr": "10.0.0.0/33"}, {"gateway": "x"}], "vni": 0, "mtu": "1400", "default": 1}}),
    );
    assert_problems(
        &problems,
        &[
            ("metadata.labels[a b]", "as a key is no qualified name"),
            ("metadata.labels.app", "put it in quotes: \"1\""),
            ("spec.subnets[0].cidr", "give 0–32 after the /"),
            ("spec.subnets[1].cidr", "is missing"),
            ("spec.subnets[1].gateway", "is no IPv4 or IPv6 address"),
            ("spec.mtu", "write 1400 without quotes"),
            ("spec.vni", "0: is no whole number within 1–16777215"),
            ("spec.default", "known here: subnets"),
            ("apiVersion", "write sealane.dev/v1alpha1"),
            ("metadata.name", "write my-net"),
            ("metadata.namespace", "leave it out"),
        ],
    );
}

#[test]
fn unknown_fields_are_refused_warned_of_or_passed_over_and_never_kept() {
    let given = document(Kind::Tenant, &json!({"quota": 3}));
    let problems = refused(Kind::Tenant, given.clone());
    assert_problems(&problems, &[("spec.quota", "nothing can be set here")]);
    assert_eq!(problems[0].fault, Fault::UnknownField);
    let warned = admit(Kind::Tenant, given.clone(), UnknownFields::Warn).unwrap();
    assert_problems(&warned.warnings, &[("spec.quota", "is no known field")]);
    let ignored = admit(Kind::Tenant, given, UnknownFields::Ignore).unwrap();
    assert!(ignored.warnings.is_empty());
    for admitted in [warned, ignored] {
        assert_eq!(admitted.document["spec"], json!({}));
    }
}

#[test]
fn an_unknown_field_comes_with_the_nearest_known_one() {
    let given = document(Kind::NetworkPolicy, &json!({"podselector": {}, "ingress": [{"form": []}]}));
    let expected =
        [("spec.podselector", "did you mean podSelector?"), ("spec.ingress[0].form", "did you mean from?")];
    assert_problems(&refused(Kind::NetworkPolicy, given), &expected);
}

#[test]
fn a_namespace_carries_its_name_and_names_its_network() {
    let plain = admitted(Kind::Namespace, document(Kind::Namespace, &Value::Null));
    assert_eq!(plain.document["metadata"]["labels"], json!({NAMESPACE_NAME_LABEL: "a"}));
    let Parsed::Namespace(namespace) = plain.parsed else { panic!("another kind") };
    assert_eq!((namespace.name.as_str(), namespace.network.as_str()), ("a", "default"));
    assert_eq!(namespace.labels[NAMESPACE_NAME_LABEL], "a");

    let mut own = document(Kind::Namespace, &Value::Null);
    own["metadata"]["annotations"] = json!({NETWORK_ANNOTATION: "blue"});
    own["metadata"]["labels"] = json!({NAMESPACE_NAME_LABEL: "other", "team": "x"});
    let own = admitted(Kind::Namespace, own);
    let Parsed::Namespace(namespace) = own.parsed else { panic!("another kind") };
    assert_eq!(namespace.network, "blue");
    assert_eq!(own.document["metadata"]["labels"], json!({NAMESPACE_NAME_LABEL: "a", "team": "x"}));

    let mut wrong = document(Kind::Namespace, &Value::Null);
    wrong["metadata"]["annotations"] = json!({NETWORK_ANNOTATION: "Blue"});
    let path = "metadata.annotations[sealane.dev/network]";
    assert_problems(&refused(Kind::Namespace, wrong), &[(path, "write blue")]);
}

#[test]
fn the_providers_own_level_is_no_tenant() {
    let mut system = document(Kind::Tenant, &Value::Null);
    system["metadata"]["name"] = "system".into();
    assert_problems(&refused(Kind::Tenant, system), &[("metadata.name", "provider's own level")]);
}

#[test]
fn an_endpoint_and_a_node_have_at_most_one_address_of_each_family() {
    let spec = json!({"attachment": "u-1", "network": "default", "node": "n1.example",
        "addresses": ["10.0.0.2", "fd00::2"], "mac": "02:00:00:00:00:01",
        "ports": [{"name": "http", "port": 80}, {"name": "http", "port": 80, "protocol": "UDP"}]});
    let Parsed::Endpoint(endpoint) = admitted(Kind::Endpoint, document(Kind::Endpoint, &spec)).parsed else {
        panic!("another kind")
    };
    assert_eq!((endpoint.namespace.as_str(), endpoint.uid.as_str()), ("shop", "u-1"));
    assert_eq!(endpoint.addresses.len(), 2);
    assert_eq!(endpoint.ports.len(), 2);
    assert_eq!(endpoint.mac.unwrap().to_string(), "02:00:00:00:00:01");

    let spec = json!({"attachment": "u-1", "network": "default", "node": "n1", "addresses": ["10.0.0.2", "10.0.0.3"],
        "ports": [{"name": "http", "port": 80}, {"name": "http", "port": 81}, {"name": "80", "port": 0}]});
    let expected = [
        ("spec.ports[2].name", "write 80 without quotes"),
        ("spec.ports[2].port", "give one from 1 to 65535"),
        ("spec.addresses[1]", "second IPv4 address beside 10.0.0.2"),
        ("spec.ports[1].name", "names TCP port 81, and 80 before"),
    ];
    assert_problems(&refused(Kind::Endpoint, document(Kind::Endpoint, &spec)), &expected);

    let node = document(Kind::Node, &json!({"underlay": ["192.0.2.1", "2001:db8::1"]}));
    let Parsed::Node(node) = parse(Kind::Node, &node).unwrap() else { panic!("another kind") };
    assert_eq!(node.underlay.len(), 2);
    let none = document(Kind::Node, &json!({"underlay": []}));
    assert_problems(&refused(Kind::Node, none), &[("spec.underlay", "needs at least 1")]);
}

#[test]
fn a_namespaced_document_needs_its_namespace() {
    let mut policy = document(Kind::NetworkPolicy, &json!({}));
    policy["metadata"].as_object_mut().unwrap().remove("namespace");
    assert_problems(&refused(Kind::NetworkPolicy, policy), &[("metadata.namespace", "namespace: default")]);
}

#[test]
fn annotations_are_bounded_together() {
    let mut tenant = document(Kind::Tenant, &Value::Null);
    tenant["metadata"]["annotations"] = json!({"note": "x".repeat(300_000)});
    assert_problems(&refused(Kind::Tenant, tenant), &[("metadata.annotations", "262144")]);
}

#[test]
fn what_kind_a_document_is_of_is_told_or_taught() {
    let wrong = |document: Value| kind_of(&document).unwrap_err();
    assert_eq!(kind_of(&json!({"apiVersion": "v1", "kind": "Namespace"})), Ok(Kind::Namespace));
    assert_problems(&wrong(json!({})), &[("apiVersion", "is missing"), ("kind", "is missing")]);
    let version = wrong(json!({"apiVersion": "extensions/v1beta1", "kind": "NetworkPolicy"}));
    assert_problems(&version, &[("apiVersion", "write networking.k8s.io/v1")]);
    let kind = wrong(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolices"}));
    assert_problems(&kind, &[("kind", "did you mean NetworkPolicy?")]);
    assert_problems(&wrong(json!([1])), &[("apiVersion", "is missing"), ("kind", "is missing")]);
}
