//! Claims about roles and bindings.

use super::*;
use crate::rights::{Reach, RoleRef, Subject};

fn role(kind: Kind, rules: &Value) -> Value {
    let mut role = document(kind, &Value::Null);
    role["rules"] = rules.clone();
    role
}

fn binding(kind: Kind, role: &Value, subjects: &Value) -> Value {
    let mut binding = document(kind, &Value::Null);
    binding["roleRef"] = role.clone();
    binding["subjects"] = subjects.clone();
    binding
}

#[test]
fn a_role_means_its_rules() {
    let rules = json!([
        {"verbs": ["get"], "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["shop"]},
        {"verbs": ["*"], "nonResourceURLs": ["/metrics", "/fabric/*"]},
    ]);
    let Parsed::ClusterRole(parsed) = admitted(Kind::ClusterRole, role(Kind::ClusterRole, &rules)).parsed
    else {
        panic!("another kind")
    };
    assert_eq!((parsed.namespace, parsed.gathers), (None, None));
    let Reach::Resources { groups, resources, names } = &parsed.rules[0].reach else { panic!("paths") };
    assert_eq!((groups[0].as_str(), resources[0].as_str(), names[0].as_str()), ("", "namespaces", "shop"));
    assert_eq!(parsed.rules[1].reach, Reach::Paths(vec!["/metrics".into(), "/fabric/*".into()]));

    let mut named = role(Kind::ClusterRole, &Value::Null);
    named["metadata"]["name"] = "system:node-Reader 1".into();
    named["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"part-of": "x"}}]});
    let Parsed::ClusterRole(gathering) = admitted(Kind::ClusterRole, named).parsed else {
        panic!("another kind")
    };
    assert_eq!(gathering.gathers.unwrap().len(), 1);
    let Parsed::Role(empty) = admitted(Kind::Role, document(Kind::Role, &Value::Null)).parsed else {
        panic!("another kind")
    };
    assert_eq!((empty.namespace.as_deref(), empty.rules.len()), (Some("shop"), 0));
}

#[test]
fn every_problem_of_a_role_is_told_at_once() {
    let rules = json!([
        {"apiGroups": [""], "resources": ["namespaces"]},
        {"verbs": [], "resources": ["endpoints"]},
        {"verbs": ["get"]},
        {"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["nodes"]},
    ]);
    let mut wrong = role(Kind::Role, &rules);
    wrong["metadata"]["name"] = "a/b".into();
    let expected = [
        ("rules[0].verbs", "is missing"),
        ("rules[1].verbs", "needs at least 1"),
        ("metadata.name", "write a:b"),
        ("rules[1].apiGroups", "[\"\"] is the core group"),
        ("rules[2].apiGroups", "is missing"),
        ("rules[2].resources", "[networkpolicies]"),
        ("rules[3].nonResourceURLs", "write it in a ClusterRole"),
        ("rules[3].nonResourceURLs", "make two rules of it"),
    ];
    assert_problems(&refused(Kind::Role, wrong), &expected);
    let mut gathers_nothing = role(Kind::ClusterRole, &Value::Null);
    gathers_nothing["aggregationRule"] = json!({});
    let expected = [("aggregationRule.clusterRoleSelectors", "selects no roles")];
    assert_problems(&refused(Kind::ClusterRole, gathers_nothing), &expected);
}

#[test]
fn a_role_of_boundless_lists_is_refused() {
    let many = |count: usize| (0..count).map(|number| json!(format!("x{number}"))).collect::<Vec<_>>();
    let rules = json!([{"verbs": many(100), "apiGroups": many(100), "resources": many(100), "resourceNames": many(100)}]);
    let expected = [("rules", "name 100000000 single rights")];
    assert_problems(&refused(Kind::ClusterRole, role(Kind::ClusterRole, &rules)), &expected);
}

#[test]
fn what_a_rule_hardly_means_is_warned_of() {
    let rules = json!([
        {"verbs": ["get"], "apiGroups": ["*"], "resources": ["netpol", "NetworkPolicy", "pods/*", "*/status", "*"]},
        {"verbs": ["get"], "nonResourceURLs": ["metrics", "/a*b", "*"]},
    ]);
    let admitted = admitted(Kind::ClusterRole, role(Kind::ClusterRole, &rules));
    let expected = [
        ("rules[0].resources[0]", "write networkpolicies"),
        ("rules[0].resources[1]", "write networkpolicies"),
        ("rules[0].resources[2]", "*/status"),
        ("rules[1].nonResourceURLs[0]", "write /metrics"),
        ("rules[1].nonResourceURLs[1]", "at the end alone"),
    ];
    assert_problems(&admitted.warnings, &expected);
}

#[test]
fn groups_of_roles_and_subjects_are_filled_in() {
    let subjects = json!([
        {"kind": "User", "name": "ann"},
        {"kind": "Group", "name": "ops", "apiGroup": ""},
        {"kind": "ServiceAccount", "name": "bot", "apiGroup": ""},
        {"kind": "ServiceAccount", "name": "bot", "namespace": "ci"},
    ]);
    let given = binding(Kind::RoleBinding, &json!({"kind": "ClusterRole", "name": "view"}), &subjects);
    let admitted = admitted(Kind::RoleBinding, given);
    let group = "rbac.authorization.k8s.io";
    assert_eq!(admitted.document["roleRef"]["apiGroup"], group);
    assert_eq!(admitted.document["subjects"][0]["apiGroup"], group);
    assert_eq!(admitted.document["subjects"][1]["apiGroup"], group);
    assert_eq!(admitted.document["subjects"][2].get("apiGroup"), None);
    let Parsed::RoleBinding(parsed) = admitted.parsed else { panic!("another kind") };
    assert_eq!(parsed.role, RoleRef::ClusterRole("view".into()));
    let bot = |namespace: &str| Subject::ServiceAccount { namespace: namespace.into(), name: "bot".into() };
    let expected = [Subject::User("ann".into()), Subject::Group("ops".into()), bot("shop"), bot("ci")];
    assert_eq!(parsed.subjects, expected);
}

#[test]
fn every_problem_of_a_binding_is_told_at_once() {
    let subjects = json!([
        {"kind": "Robot", "name": "a"},
        {"kind": "User", "name": "a", "namespace": "x", "apiGroup": "v1"},
        {"kind": "ServiceAccount", "name": "A", "apiGroup": "apps"},
        {"kind": "Group", "name": ""},
    ]);
    let role = json!({"kind": "Role", "name": "a", "apiGroup": "apps"});
    let wrong = binding(Kind::ClusterRoleBinding, &role, &subjects);
    let expected = [
        ("subjects[0].kind", "User, Group, ServiceAccount"),
        ("subjects[1].apiGroup", "rbac.authorization.k8s.io"),
        ("subjects[1].namespace", "leave it out"),
        ("subjects[2].apiGroup", "leave it out"),
        ("subjects[2].name", "write a"),
        ("subjects[2].namespace", "is missing"),
        ("subjects[3].name", "is empty"),
        ("roleRef.apiGroup", "rbac.authorization.k8s.io"),
        ("roleRef.kind", "name a ClusterRole"),
    ];
    assert_problems(&refused(Kind::ClusterRoleBinding, wrong), &expected);
    let none = document(Kind::RoleBinding, &Value::Null);
    assert_problems(&refused(Kind::RoleBinding, none), &[("roleRef", "is missing")]);
}
