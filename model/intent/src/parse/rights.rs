//! rbac.authorization.k8s.io/v1: what upstream's validation asks of roles and bindings beyond their schemas.

use serde_json::Value;

use super::Findings;
use super::cursor::Cursor;
use super::metadata::{labels, name, namespace};
use super::selector::selector;
use crate::problem::Fault;
use crate::registry::Kind;
use crate::rights::{ALL, Binding, RIGHTS_GROUP, Reach, Role, RoleRef, Rule, Subject};
use crate::schema::Format;

/// `apiGroup` of the role and of people is the group of these kinds, that of programs is the core group.
pub(super) fn complete_binding(document: &mut Value) {
    if let Some(role) = document.get_mut("roleRef") {
        complete_group(role, RIGHTS_GROUP);
    }
    for subject in document.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        match subject["kind"].as_str() {
            Some("User" | "Group") => complete_group(subject, RIGHTS_GROUP),
            // Nothing is written for the core group: `apiGroup: ""` and none at all are the same.
            Some("ServiceAccount") if subject.get("apiGroup").is_some_and(|group| group == "") => {
                subject.as_object_mut().and_then(|fields| fields.remove("apiGroup"));
            }
            _ => {}
        }
    }
}

fn complete_group(document: &mut Value, group: &str) {
    let Some(fields) = document.as_object_mut() else { return };
    let written = fields.entry("apiGroup").or_insert_with(|| Value::from(group));
    if *written == "" {
        *written = Value::from(group);
    }
}

pub(super) fn role(kind: Kind, document: &Cursor<'_>, findings: &mut Findings) -> Option<Role> {
    let gathering = document.field("aggregationRule");
    let rules = document.field("rules");
    let parsed: Vec<Rule> = rules.elements().iter().filter_map(|at| rule(kind, at, findings)).collect();
    let single: usize = parsed.iter().map(Rule::single_rights).fold(0, usize::saturating_add);
    if single > MOST_RIGHTS {
        let reason = format!(
            "name {single} single rights (verbs × groups × resources × names) and may name {MOST_RIGHTS}"
        );
        findings.problem(
            &rules,
            Fault::TooLong,
            reason,
            "write * where everything is meant, or make several roles",
        );
    }
    let gathers = gathering.is_there().then(|| {
        let selectors = gathering.field("clusterRoleSelectors");
        if selectors.elements().is_empty() {
            let remedy = "add a selector such as matchLabels: {example.com/part-of: security}, or leave aggregationRule out";
            findings.missing(&selectors, "selects no roles", remedy);
        }
        selectors.elements().iter().map(|at| selector(at, findings)).collect()
    });
    if gathers.is_some() && !parsed.is_empty() {
        let remedy = "leave rules out, or give them to a ClusterRole that aggregationRule selects";
        findings.warning(&rules, "do not count beside aggregationRule", remedy);
    }
    let namespace = if kind == Kind::Role { Some(namespace(document)?) } else { None };
    Some(Role { name: name(document)?, namespace, labels: labels(document), rules: parsed, gathers })
}

fn rule(kind: Kind, at: &Cursor<'_>, findings: &mut Findings) -> Option<Rule> {
    let verbs = words(&at.field("verbs"));
    let (groups_at, resources_at, paths_at) =
        (at.field("apiGroups"), at.field("resources"), at.field("nonResourceURLs"));
    let (groups, resources, paths) = (words(&groups_at), words(&resources_at), words(&paths_at));
    let names = words(&at.field("resourceNames"));
    if !paths.is_empty() {
        if kind == Kind::Role {
            let reason = "is given, but a Role is about the objects of its namespace";
            findings.problem(&paths_at, Fault::Forbidden, reason, "write it in a ClusterRole");
        }
        if !(groups.is_empty() && resources.is_empty() && names.is_empty()) {
            let reason = "stands beside apiGroups, resources or resourceNames; a rule is about paths or about resources";
            findings.problem(
                &paths_at,
                Fault::Forbidden,
                reason,
                "make two rules of it, each with its own \"- \"",
            );
        }
        for path in paths_at.elements() {
            check_path(&path, findings);
        }
        return Some(Rule { verbs, reach: Reach::Paths(paths) });
    }
    if groups.is_empty() {
        findings.missing(&groups_at, "is missing, or empty", "name the API groups; [\"\"] is the core group");
    }
    if resources.is_empty() {
        findings.missing(
            &resources_at,
            "is missing, or empty",
            "name the resources, such as [networkpolicies]",
        );
    }
    for resource in resources_at.elements() {
        check_resource(&resource, findings);
    }
    Some(Rule { verbs, reach: Reach::Resources { groups, resources, names } })
}

fn check_path(at: &Cursor<'_>, findings: &mut Findings) {
    let Some(path) = at.text() else { return };
    if path != ALL && !path.starts_with('/') {
        findings.warning(at, "meets no path: every path begins with /", format!("write /{path}"));
    } else if path.trim_end_matches('*').contains('*') {
        findings.warning(at, "has a * inside, which stands for itself", "write * at the end alone");
    }
}

/// What is no resource of any API yet may be one later; what never can be is told.
fn check_resource(at: &Cursor<'_>, findings: &mut Findings) {
    let Some(resource) = at.text() else { return };
    let (plural, sub) = resource.split_once('/').unwrap_or((resource, ""));
    let starred = |part: &str| part.contains('*') && part != ALL;
    if starred(plural) || sub.contains('*') {
        findings.warning(
            at,
            "meets no resource: * stands for a whole name, before the / alone",
            "write * for everything, or */status for that subresource of everything",
        );
    } else if let Some(kind) = Kind::ALL.into_iter().map(Kind::descriptor).find(|known| {
        known.plural != resource && (known.kind == resource || known.names().any(|name| name == resource))
    }) {
        let reason = "meets no resource: resources are named by their plural";
        findings.warning(at, reason, format!("write {}", kind.plural));
    }
}

pub(super) fn binding(kind: Kind, document: &Cursor<'_>, findings: &mut Findings) -> Option<Binding> {
    let own = if kind == Kind::RoleBinding { namespace(document) } else { None };
    let subjects = document.field("subjects").elements();
    let subjects = subjects.iter().filter_map(|at| subject(at, own.as_deref(), findings)).collect();
    let at = document.field("roleRef");
    check_group(&at.field("apiGroup"), "a role", findings);
    let (role_kind, role_name) = (at.field("kind"), at.field("name"));
    if kind == Kind::ClusterRoleBinding && role_kind.text() == Some("Role") {
        let reason = "is a role of one namespace, and this binding is about the whole tenant";
        findings.problem(
            &role_kind,
            Fault::NotSupported,
            reason,
            "name a ClusterRole, or make a RoleBinding",
        );
    }
    if kind == Kind::RoleBinding && own.is_none() {
        return None;
    }
    let role = role_name.text().map(str::to_owned);
    let role = match role_kind.text()? {
        "Role" => RoleRef::Role(role?),
        _ => RoleRef::ClusterRole(role?),
    };
    Some(Binding { name: name(document)?, namespace: own, role, subjects })
}

fn subject(at: &Cursor<'_>, own: Option<&str>, findings: &mut Findings) -> Option<Subject> {
    let (name_at, group_at, namespace_at) = (at.field("name"), at.field("apiGroup"), at.field("namespace"));
    let name = name_at.text()?;
    if name.is_empty() {
        findings.missing(&name_at, "is empty", "give the name that is meant");
        return None;
    }
    let kind = at.field("kind").text()?;
    if kind != "ServiceAccount" {
        check_group(&group_at, "a User or a Group", findings);
        if namespace_at.is_there() {
            let reason = format!("is given, but a {kind} is in no namespace");
            findings.problem(&namespace_at, Fault::Forbidden, reason, "leave it out");
        }
        let name = name.to_owned();
        return Some(if kind == "User" { Subject::User(name) } else { Subject::Group(name) });
    }
    if group_at.text().is_some_and(|group| !group.is_empty()) {
        let reason = "is given, but a ServiceAccount is of the core group";
        findings.problem(&group_at, Fault::NotSupported, reason, "leave it out");
    }
    if let Err(misfit) = Format::Subdomain.check(name) {
        findings.problem(&name_at, misfit.fault, misfit.reason, misfit.remedy);
    }
    let Some(namespace) = namespace_at.text().or(own) else {
        findings.missing(&namespace_at, "is missing", "add the namespace of the ServiceAccount");
        return None;
    };
    Some(Subject::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
}

fn check_group(at: &Cursor<'_>, what: &str, findings: &mut Findings) {
    if at.text().is_some_and(|group| group != RIGHTS_GROUP) {
        let reason = format!("is not the group of {what}");
        findings.problem(at, Fault::NotSupported, reason, format!("write {RIGHTS_GROUP}, or leave it out"));
    }
}

fn words(list: &Cursor<'_>) -> Vec<String> {
    list.elements().iter().filter_map(|at| at.text().map(str::to_owned)).collect()
}

/// So many that every real role fits, and so few that comparing two roles right by right takes milliseconds.
const MOST_RIGHTS: usize = 20_000;
