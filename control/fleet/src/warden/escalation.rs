//! Nobody gives what they do not have: writes of roles and bindings, judged.
//!
//! Upstream's rules ("Privilege escalation prevention and bootstrapping"): whoever writes a role holds all its rights, or the
//! verb `escalate` on it; whoever writes a binding holds all rights of its role, or the verb `bind` on it; a role that gathers
//! others is for those who hold everything.

use api::{Objection, Proposal};
use intent::rights::{ALL, Binding, RIGHTS_GROUP, Reach, Role, RoleRef, Rule};
use intent::{Kind, Parsed};
use rights::{On, Question, Rights, missing};
use serde_json::Value;
use store::{Action, Cached, Change, Expect, ObjectKey};

/// Judges a write of a role or a binding. Returns what must still hold when it is carried out. Errors: it gives too much.
pub(crate) fn judge(
    rights: &Rights,
    proposal: &Proposal<'_>,
    new: &Value,
    objects: &Cached,
) -> Result<Vec<Change>, Objection> {
    let old = proposal.old.and_then(|old| intent::parse(proposal.kind, old).ok());
    match (intent::parse(proposal.kind, new), old) {
        (Ok(Parsed::Role(new) | Parsed::ClusterRole(new)), old) => {
            let old = match old {
                Some(Parsed::Role(old) | Parsed::ClusterRole(old)) => Some(old),
                _ => None,
            };
            judge_role(rights, proposal, &new, old.as_ref())
        }
        (Ok(Parsed::RoleBinding(new) | Parsed::ClusterRoleBinding(new)), old) => {
            if let Some(Parsed::RoleBinding(old) | Parsed::ClusterRoleBinding(old)) = old
                && old == new
            {
                return Ok(Vec::new());
            }
            judge_binding(rights, proposal, &new)?;
            Ok(expectation(proposal.key, &new, objects).into_iter().collect())
        }
        _ => Ok(Vec::new()),
    }
}

fn judge_role(
    rights: &Rights,
    proposal: &Proposal<'_>,
    new: &Role,
    old: Option<&Role>,
) -> Result<Vec<Change>, Objection> {
    // Labels count: by them a role is gathered into others.
    let unchanged = old.is_some_and(|old| old == new);
    if unchanged || may(rights, proposal, "escalate", resource(proposal.kind), &new.name) {
        return Ok(Vec::new());
    }
    let held = held(rights, proposal);
    let lacking = missing(&held, &new.rules);
    if !lacking.is_empty() {
        let remedy = format!("hold them first, or the verb escalate on {}", resource(proposal.kind));
        return Err(too_much(proposal, "are not yours to write into a role", &lacking, &remedy));
    }
    let gathers = new.gathers.is_some() || old.is_some_and(|old| old.gathers.is_some());
    if gathers && !missing(&held, &everything()).is_empty() {
        return Err(Objection::Forbidden(
            "aggregationRule gathers whatever others will write: only who holds everything (cluster-admin) may write it"
                .to_owned(),
        ));
    }
    Ok(Vec::new())
}

fn judge_binding(rights: &Rights, proposal: &Proposal<'_>, new: &Binding) -> Result<(), Objection> {
    let plural = match new.role {
        RoleRef::Role(_) => resource(Kind::Role),
        RoleRef::ClusterRole(_) => resource(Kind::ClusterRole),
    };
    if may(rights, proposal, "bind", plural, new.role.name()) {
        return Ok(());
    }
    let given = rights.rules_of(proposal.key.tenant(), new.namespace.as_deref(), &new.role);
    let Some(given) = given else {
        return Err(Objection::Forbidden(format!(
            "there is no {}, so what the binding will give cannot be told: make the role first",
            new.role
        )));
    };
    let lacking = missing(&held(rights, proposal), given);
    if lacking.is_empty() {
        return Ok(());
    }
    let remedy = format!("hold them first, or the verb bind on {plural}");
    Err(too_much(proposal, &format!("are not yours to give by the {}", new.role), &lacking, &remedy))
}

/// The role that was judged is still the same when the binding is written.
fn expectation(binding: &ObjectKey, new: &Binding, objects: &Cached) -> Option<Change> {
    let (kind, namespace) = match &new.role {
        RoleRef::Role(_) => (Kind::Role, binding.namespace()),
        RoleRef::ClusterRole(_) => (Kind::ClusterRole, None),
    };
    let key = ObjectKey::new(binding.tenant(), &kind.descriptor().resource(), namespace, new.role.name());
    let revision = objects.find(&key)?.revision;
    Some(Change { key, expect: Expect::Revision(revision), action: Action::Keep })
}

fn may(rights: &Rights, proposal: &Proposal<'_>, verb: &str, resource: &str, name: &str) -> bool {
    let namespace = proposal.key.namespace();
    let on = On::Objects { group: RIGHTS_GROUP, resource, subresource: None, namespace, name: Some(name) };
    let (user, groups) = (&proposal.who.user, &proposal.who.groups);
    rights.decide(&Question { user, groups, tenant: proposal.key.tenant(), verb, on }).is_some()
}

fn held(rights: &Rights, proposal: &Proposal<'_>) -> Vec<Rule> {
    let key = proposal.key;
    rights.rules(&proposal.who.user, &proposal.who.groups, key.tenant(), key.namespace())
}

fn too_much(proposal: &Proposal<'_>, what: &str, lacking: &[Rule], remedy: &str) -> Objection {
    let told = lacking.iter().take(MOST_TOLD).map(line).collect::<Vec<_>>().join("\n");
    let more = lacking.len().saturating_sub(MOST_TOLD);
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    let (user, groups) = (&proposal.who.user, &proposal.who.groups);
    Objection::Forbidden(format!(
        "user {user:?} (groups={groups:?}) does not hold these rights, which {what}:\n{told}{more}\n{remedy}"
    ))
}

/// A rule on one line, as upstream writes it in such an answer.
fn line(rule: &Rule) -> String {
    match &rule.reach {
        Reach::Paths(paths) => format!("{{NonResourceURLs:{paths:?}, Verbs:{:?}}}", rule.verbs),
        Reach::Resources { groups, resources, names } => {
            let names = if names.is_empty() { String::new() } else { format!(", ResourceNames:{names:?}") };
            format!("{{APIGroups:{groups:?}, Resources:{resources:?}{names}, Verbs:{:?}}}", rule.verbs)
        }
    }
}

fn everything() -> [Rule; 2] {
    let all = || vec![ALL.to_owned()];
    let objects = Reach::Resources { groups: all(), resources: all(), names: Vec::new() };
    [Rule { verbs: all(), reach: objects }, Rule { verbs: all(), reach: Reach::Paths(all()) }]
}

fn resource(kind: Kind) -> &'static str {
    kind.descriptor().plural
}

/// Rights told in one answer.
const MOST_TOLD: usize = 20;
