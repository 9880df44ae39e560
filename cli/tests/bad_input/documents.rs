//! Documents: every fault of every document is told at once with its place, value, reason and remedy, and nothing is applied.

use crate::fabric::Fabric;
use crate::{InForce, fails, network};

/// Faults that a document shows by itself, with the place and the words by which each is told.
const ALONE: &[(&str, &str, &str)] = &[
    (
        "subnets: [{cidr: 10.1.0.0/16}, {cidr: 10.1.2.0/24}]",
        "spec.subnets[1].cidr",
        "overlaps 10.1.0.0/16 of spec.subnets[0].cidr — keep the larger",
    ),
    (
        "subnets: [{cidr: 10.1.0.1/16}]",
        "spec.subnets[0].cidr",
        "has bits set behind its length — write 10.1.0.0/16",
    ),
    (
        "subnets: [{cidr: 10.1.0.0/32}]",
        "spec.subnets[0].cidr",
        "leaves no address for an endpoint — give a length from 8 to 30",
    ),
    (
        "subnets: [{cidr: 'fd01::/127'}]",
        "spec.subnets[0].cidr",
        "leaves no address for an endpoint — give a length from 32 to 126",
    ),
    ("subnets: [{cidr: 127.0.0.0/8}]", "spec.subnets[0].cidr", "which is loopback — take a range"),
    ("subnets: [{cidr: 224.0.0.0/8}]", "spec.subnets[0].cidr", "which is multicast — take a range"),
    ("subnets: []", "spec.subnets", "needs at least 1 — add one"),
    ("subnets: [{cidr: 'fd02::/64'}], mtu: 576", "spec.mtu", "is less than IPv6 needs (RFC 8200)"),
    ("subnets: [{cidr: 10.1.0.0/16}], mtu: 12", "spec.mtu", "give one from 576 to 65535"),
    ("subnets: [{cidr: 10.1.0.0/16}], vni: 99999999", "spec.vni", "give one from 1 to 16777215"),
    ("subnets: [{cidr: 10.1.0.0/16}], speed: 9", "spec.speed", "is no known field — known here"),
];

const POLICY: &str = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: wrong, labels: {\"a b\": c}}
spec:
  podSelector: {matchExpressions: [{key: a, operator: Inn}]}
  ingress:
  - ports: [{port: 100, endPort: 50}, {port: 70000}, {protocol: FOO, port: 1}]
    from:
    - ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}
    - {}
";

const OF_POLICY: &[&str] = &[
    "metadata.labels[a b]: \"a b\": as a key is no qualified name",
    "spec.podSelector.matchExpressions[0].operator: \"Inn\": is none of In, NotIn, Exists, DoesNotExist — write In",
    "spec.ingress[0].ports[0].endPort: 50: is before port 100 — give 100 or more",
    "spec.ingress[0].ports[1].port: 70000: is no whole number within 1–65535",
    "spec.ingress[0].ports[2].protocol: \"FOO\": is none of TCP, UDP, SCTP",
    "spec.ingress[0].from[0].ipBlock.except[0]: \"11.0.0.0/8\": is not inside cidr 10.0.0.0/8 — give a range inside it",
    "spec.ingress[0].from[1]: selects nothing — give a podSelector",
];

const OTHERS: &str = "---
apiVersion: v1
kind: Namespace
metadata: {name: twice}
---
apiVersion: v1
kind: Namespace
metadata: {name: twice}
---
apiVersion: v1
kind: Namespace
metadata: {name: \"\\e[31mred\"}
---
apiVersion: v1
kind: Nonsense
metadata: {name: x}
---
just words
---
apiVersion: v1
kind: Namespace
metadata:
\tname: tab
";

const OF_OTHERS: &[&str] = &[
    "describes namespace/twice a second time; the first is at standard input:",
    "\"\\u001b[31mred\": is no DNS label (RFC 1123)",
    "kind: \"Nonsense\": is no known kind — known kinds: Tenant",
    "a document is an object with apiVersion, kind and metadata",
    "tabs disallowed within this context",
];

#[test]
fn every_fault_of_a_file_is_told_at_once_and_nothing_of_it_is_applied() {
    let fabric = Fabric::up("badfiles", 1);
    fabric.apply("default", &network("blue", "subnets: [{cidr: 10.9.0.0/16}], vni: 4242"));
    fabric.await_realised("default");
    let before = InForce::of(&fabric);

    let good = network("good", "subnets: [{cidr: 10.7.0.0/16}]");
    let networks: String =
        ALONE.iter().enumerate().map(|(index, (spec, ..))| network(&format!("n{index}"), spec)).collect();
    let told = fails(&fabric, &["apply", "-f", "-"], &[&good, &networks, POLICY, OTHERS].concat());
    for (index, (_, path, words)) in ALONE.iter().enumerate() {
        // Each network's document has five lines and its spec is the last.
        let place = format!("standard input:{}:", 5 * (index + 2));
        let line = told.lines().find(|line| line.starts_with(&place) && line.contains(&format!(" {path}: ")));
        let line = line.unwrap_or_else(|| panic!("no line tells of {path} at {place}\n{told}"));
        let found = words.split(" — ").all(|words| line.contains(words));
        assert!(found, "{line}\ndoes not say {words:?}");
    }
    for words in [OF_POLICY, OF_OTHERS].concat() {
        assert!(told.contains(words), "not told: {words}\n{told}");
    }
    assert!(told.contains("nothing was applied") && !told.contains('\u{1b}'), "{told}");
    before.stays(&fabric);

    let host = fabric.node(1).address(true);
    let clashing = [
        good,
        network("holder", &format!("subnets: [{{cidr: {host}/32}}]").replace("/32", "/30")),
        network("clash", "subnets: [{cidr: 10.5.0.0/16}], vni: 4242"),
        network("blue", "subnets: [{cidr: 10.77.0.0/16}], vni: 4242"),
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: lost, namespace: nowhere}\nspec: {podSelector: {}}\n".to_owned(),
    ];
    let subnet = record::Prefix::containing(host, 30).unwrap();
    let clashing = clashing.concat().replace(&format!("{host}/30"), &subnet.to_string());
    let told = fails(&fabric, &["apply", "-f", "-"], &clashing);
    for words in [
        format!(
            "standard input:10:25: spec.subnets[0].cidr: \"{subnet}\": holds {host}, the address of the node n1"
        ),
        "spec.vni: 4242: is the VNI of the network blue of the tenant default — choose another".to_owned(),
        "spec.subnets: [\"10.77.0.0/16\"]: lacks 10.9.0.0/16, which the network has".to_owned(),
        "namespaces \"nowhere\" not found".to_owned(),
        "spec.vni: 4242: is also the VNI of virtualnetwork.sealane.dev/clash at standard input:".to_owned(),
        "5 problems, nothing was applied".to_owned(),
    ] {
        assert!(told.contains(&words), "not told: {words}\n{told}");
    }
    before.stays(&fabric);
    fabric.down();
}
