//! A policy in words.

use intent::policy::{NetworkPolicy, Peers, PortMatch, Ports, Rule};
use record::selector::{LabelSelector, Namespaces, Operator, Selector};

/// What a policy says, line by line.
pub(super) fn words(policy: &NetworkPolicy) -> Vec<String> {
    let mut lines = vec![format!("About {} of namespace {}", endpoints(&policy.subject), policy.namespace)];
    side(&mut lines, "Ingress", "from", policy.ingress.as_deref());
    side(&mut lines, "Egress", "to", policy.egress.as_deref());
    lines
}

fn side(lines: &mut Vec<String>, direction: &str, way: &str, rules: Option<&[Rule]>) {
    match rules {
        None => lines.push(format!("{direction}: not isolated by this policy")),
        Some([]) => lines.push(format!("{direction}: isolated; allows nothing")),
        Some(rules) => {
            lines.push(format!("{direction}: isolated; allows"));
            for (index, rule) in rules.iter().enumerate() {
                lines.push(format!("  [{index}] {} {way} {}", ports(&rule.ports), peers(&rule.peers)));
            }
        }
    }
}

fn ports(ports: &Ports) -> String {
    let one = |port: &PortMatch| match port {
        PortMatch::Protocol(protocol) => format!("every {protocol} port"),
        PortMatch::Range { protocol, first, last } if first == last => format!("{first}/{protocol}"),
        PortMatch::Range { protocol, first, last } => format!("{first}-{last}/{protocol}"),
        PortMatch::Named { protocol, name } => format!("{name}/{protocol}"),
    };
    match ports {
        Ports::All => "everything".to_owned(),
        Ports::These(ports) => ports.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

fn peers(peers: &Peers) -> String {
    match peers {
        Peers::Anyone => "anyone".to_owned(),
        Peers::These(selectors) => selectors.iter().map(selector).collect::<Vec<_>>().join(", or "),
    }
}

fn selector(selector: &Selector) -> String {
    match selector {
        Selector::Endpoints { namespaces: Namespaces::Named(name), endpoints: labels } => {
            format!("{} of namespace {name}", endpoints(labels))
        }
        Selector::Endpoints { namespaces: Namespaces::Matching(wanted), endpoints: labels }
            if wanted.0.is_empty() =>
        {
            format!("{} of every namespace", endpoints(labels))
        }
        Selector::Endpoints { namespaces: Namespaces::Matching(wanted), endpoints: labels } => {
            format!("{} of namespaces with {}", endpoints(labels), requirements(wanted))
        }
        Selector::Addresses { prefix, except } if except.is_empty() => prefix.to_string(),
        Selector::Addresses { prefix, except } => {
            let holes: Vec<String> = except.iter().map(ToString::to_string).collect();
            format!("{prefix} without {}", holes.join(", "))
        }
    }
}

fn endpoints(labels: &LabelSelector) -> String {
    if labels.0.is_empty() {
        "every endpoint".to_owned()
    } else {
        format!("endpoints with {}", requirements(labels))
    }
}

fn requirements(labels: &LabelSelector) -> String {
    let values =
        |values: &std::collections::BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(", ");
    let one = |requirement: &record::selector::Requirement| {
        let key = &requirement.key;
        match &requirement.operator {
            Operator::In(wanted) if wanted.len() == 1 => format!("{key}={}", values(wanted)),
            Operator::In(wanted) => format!("{key} in ({})", values(wanted)),
            Operator::NotIn(unwanted) => format!("{key} not in ({})", values(unwanted)),
            Operator::Exists => format!("label {key}"),
            Operator::DoesNotExist => format!("no label {key}"),
        }
    };
    labels.0.iter().map(one).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use intent::{Kind, Parsed, parse};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_reads_as_a_sentence() {
        let document = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "db", "namespace": "shop"},
            "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": "web"}}},
                          {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
                 "ports": [{"port": 5432}, {"port": 8000, "endPort": 8010, "protocol": "UDP"}]},
                {"from": [{"namespaceSelector": {}}]}],
              "policyTypes": ["Ingress", "Egress"]}});
        let Parsed::NetworkPolicy(policy) = parse(Kind::NetworkPolicy, &document).unwrap() else {
            panic!("kind")
        };
        assert_eq!(
            words(&policy),
            [
                "About endpoints with app=db of namespace shop",
                "Ingress: isolated; allows",
                "  [0] 5432/TCP, 8000-8010/UDP from endpoints with app=web of namespace shop, or 10.0.0.0/8 without 10.1.0.0/16",
                "  [1] everything from every endpoint of every namespace",
                "Egress: isolated; allows nothing",
            ]
        );
    }
}
