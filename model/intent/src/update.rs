//! What an update may change.

use record::record::Subnet;
use serde_json::{Value, json};

use crate::object::VirtualNetwork;
use crate::parse::Parsed;
use crate::problem::{Fault, Problem};
use crate::rights::Binding;

/// Checks an update of one object from `old` to `new`.
///
/// # Errors
/// Every change that cannot be made to an object in use, with what to do instead.
pub fn check_update(old: &Parsed, new: &Parsed) -> Result<(), Vec<Problem>> {
    let problems = match (old, new) {
        (Parsed::VirtualNetwork(old), Parsed::VirtualNetwork(new)) => network(old, new),
        (Parsed::RoleBinding(old), Parsed::RoleBinding(new))
        | (Parsed::ClusterRoleBinding(old), Parsed::ClusterRoleBinding(new)) => binding(old, new),
        _ => Vec::new(),
    };
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn network(old: &VirtualNetwork, new: &VirtualNetwork) -> Vec<Problem> {
    let mut problems = Vec::new();
    if old.vni != new.vni {
        let (reason, remedy) = match (old.vni, new.vni) {
            (Some(old), Some(_)) => (
                format!("cannot be changed from {old}: packets on the wire carry it"),
                format!("write {old}"),
            ),
            (Some(old), None) => {
                (format!("cannot be taken away: the network has {old}"), format!("write {old}"))
            }
            (None, _) => (
                "cannot be chosen later: the server gave the network one when it was made".to_owned(),
                "leave it out".to_owned(),
            ),
        };
        problems.push(Problem::new(
            "spec.vni",
            &json!(new.vni),
            Fault::Forbidden,
            reason,
            format!("{remedy}, or make another network"),
        ));
    }
    for subnet in &old.subnets {
        problems.extend(lost(subnet, new));
    }
    problems
}

/// Who may hand out a role is judged when the binding is made: another role is another binding.
fn binding(old: &Binding, new: &Binding) -> Vec<Problem> {
    if old.role == new.role {
        return Vec::new();
    }
    let role = json!({"kind": new.role.kind(), "name": new.role.name()});
    let reason = format!("cannot be changed from the {}", old.role);
    let remedy = "delete the binding and make it anew";
    vec![Problem::new("roleRef", &role, Fault::Invalid, reason, remedy)]
}

/// What becomes of a subnet that endpoints may have addresses of.
fn lost(old: &Subnet, new: &VirtualNetwork) -> Option<Problem> {
    let Some(index) = new.subnets.iter().position(|subnet| subnet.prefix == old.prefix) else {
        let reason =
            format!("lacks {}, which the network has: endpoints may hold addresses of it", old.prefix);
        let subnets: Vec<Value> = new.subnets.iter().map(|subnet| json!(subnet.prefix)).collect();
        let remedy = "put it back beside the others, or make another network";
        return Some(Problem::new("spec.subnets", &Value::from(subnets), Fault::Forbidden, reason, remedy));
    };
    let gateway = new.subnets[index].gateway;
    (gateway != old.gateway).then(|| {
        let reason = format!("cannot be changed from {}: endpoints have it as their next hop", old.gateway);
        let remedy = format!("write {}", old.gateway);
        Problem::new(
            format!("spec.subnets[{index}].gateway"),
            &json!(gateway),
            Fault::Forbidden,
            reason,
            remedy,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, parse};

    fn network(spec: &Value) -> Parsed {
        let document = json!({"apiVersion": "sealane.dev/v1alpha1", "kind": "VirtualNetwork",
            "metadata": {"name": "a"}, "spec": spec});
        parse(Kind::VirtualNetwork, &document).unwrap()
    }

    fn paths(old: &Value, new: &Value) -> Vec<String> {
        let result = check_update(&network(old), &network(new));
        result.err().into_iter().flatten().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_network_may_grow_and_change_its_verdicts() {
        let old = json!({"subnets": [{"cidr": "10.0.0.0/24"}], "vni": 7});
        let new = json!({"subnets": [{"cidr": "10.1.0.0/24"}, {"cidr": "10.0.0.0/24"}], "vni": 7,
            "defaultVerdict": "Deny", "world": "Deny", "mtu": 1400});
        assert_eq!(paths(&old, &old), Vec::<String>::new());
        assert_eq!(paths(&old, &new), Vec::<String>::new());
    }

    #[test]
    fn a_binding_changes_its_subjects_and_never_its_role() {
        let binding = |role: &str, user: &str| {
            let document = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": "a"}, "roleRef": {"kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "User", "name": user}]});
            parse(Kind::ClusterRoleBinding, &document).unwrap()
        };
        assert_eq!(check_update(&binding("view", "a"), &binding("view", "b")), Ok(()));
        let problems = check_update(&binding("view", "a"), &binding("edit", "a")).unwrap_err();
        assert_eq!(problems[0].path, "roleRef");
    }

    #[test]
    fn what_packets_and_endpoints_rely_on_stays() {
        let old = json!({"subnets": [{"cidr": "10.0.0.0/24"}, {"cidr": "10.1.0.0/24"}], "vni": 7});
        let new = json!({"subnets": [{"cidr": "10.0.0.0/24", "gateway": "10.0.0.9"}, {"cidr": "10.1.0.0/25"}], "vni": 8});
        assert_eq!(paths(&old, &new), ["spec.vni", "spec.subnets[0].gateway", "spec.subnets"]);
        let without = json!({"subnets": [{"cidr": "10.0.0.0/24"}]});
        let with = json!({"subnets": [{"cidr": "10.0.0.0/24"}], "vni": 7});
        assert_eq!(paths(&without, &with), ["spec.vni"]);
        assert_eq!(paths(&with, &without), ["spec.vni"]);
    }
}
