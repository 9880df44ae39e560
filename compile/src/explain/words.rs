//! Selectors and rules in words, for a person.

use record::record::{Members, Rule};
use record::selector::{LabelSelector, Namespaces, Operator, Requirement, Selector};
use record::{Direction, Group};

/// Whom a selector means: `endpoints with app=web in namespace shop`.
pub fn selector_in_words(selector: &Selector) -> String {
    match selector {
        Selector::Endpoints { namespaces, endpoints } => {
            let whom = match labels_in_words(endpoints) {
                None => "every endpoint".to_owned(),
                Some(labels) => format!("endpoints with {labels}"),
            };
            format!("{whom} in {}", namespaces_in_words(namespaces))
        }
        Selector::Addresses { prefix, except } => {
            let holes: Vec<String> = except.iter().map(ToString::to_string).collect();
            let holes =
                if holes.is_empty() { String::new() } else { format!(" except {}", holes.join(", ")) };
            format!("addresses in {prefix}{holes}")
        }
    }
}

/// Where a rule is written: `NetworkPolicy shop/web spec.ingress[0]`.
pub fn rule_in_words(rule: &Rule) -> String {
    let object = format!("{} {}/{}", rule.kind, rule.namespace, rule.name);
    match (rule.index, rule.direction) {
        (Some(index), direction) => format!("{object} spec.{direction}[{index}]"),
        (None, Direction::Ingress) => format!("{object}, which isolates whom it selects for ingress"),
        (None, Direction::Egress) => format!("{object}, which isolates whom it selects for egress"),
    }
}

/// What a group is, where it is one of the reserved ones; `None`: its members say it.
pub(super) fn group_in_words(group: Group, members: Option<Members>) -> &'static str {
    match (group, members) {
        (Group::UNKNOWN, _) => "no group yet: denied",
        (Group::HOST, _) => "the node itself",
        (Group::WORLD, _) => "outside addresses that no policy names",
        (Group::GATEWAY, _) => "the network's own gateway",
        (_, Some(Members::Endpoints)) => "endpoints that exactly these selectors match",
        (_, Some(Members::Addresses)) => "outside addresses that exactly these selectors match",
        (_, None) => "a group that is not known",
    }
}

fn namespaces_in_words(namespaces: &Namespaces) -> String {
    match namespaces {
        Namespaces::Named(name) => format!("namespace {name}"),
        Namespaces::Matching(labels) => match labels_in_words(labels) {
            None => "every namespace".to_owned(),
            Some(labels) => format!("namespaces with {labels}"),
        },
    }
}

fn labels_in_words(labels: &LabelSelector) -> Option<String> {
    let words: Vec<String> = labels.0.iter().map(requirement_in_words).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// The notation of `kubectl --selector`.
fn requirement_in_words(Requirement { key, operator }: &Requirement) -> String {
    let list = |values: &std::collections::BTreeSet<String>| {
        values.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    match operator {
        Operator::In(values) if values.len() == 1 => format!("{key}={}", list(values)),
        Operator::In(values) => format!("{key} in ({})", list(values)),
        Operator::NotIn(values) => format!("{key} notin ({})", list(values)),
        Operator::Exists => key.clone(),
        Operator::DoesNotExist => format!("!{key}"),
    }
}
