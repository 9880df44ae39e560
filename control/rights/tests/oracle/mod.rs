//! A second evaluator, written from the text of the upstream documentation ("Using RBAC Authorization") and from nothing of
//! the first one. It is slow and keeps no index: it goes through every binding of the world for each question.

use intent::rights::{Binding, Reach, Role, RoleRef, Rule, Subject};
use rights::{On, Question};

/// Every object, with its tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) roles: Vec<(String, Role)>,
    pub(crate) bindings: Vec<(String, Binding)>,
}

impl World {
    /// Whether it is allowed.
    pub(crate) fn allows(&self, question: &Question<'_>) -> bool {
        let has_group = |name: &str| question.groups.contains(&name.to_string());
        // "system:masters" is the super-user group.
        if has_group("system:masters") {
            return true;
        }
        if has_group("system:nodes") {
            return node_allows(question);
        }
        for (tenant, binding) in &self.bindings {
            if !self.counts(tenant, binding, question)
                || !binding.subjects.iter().any(|s| is_caller(s, question))
            {
                continue;
            }
            let mut rules = Vec::new();
            self.collect(tenant, binding, &mut rules);
            for rule in rules {
                if grants(&rule, question) {
                    return true;
                }
            }
        }
        false
    }

    /// A RoleBinding grants within its namespace; a ClusterRoleBinding cluster-wide. The provider's reach everywhere.
    fn counts(&self, tenant: &str, binding: &Binding, question: &Question<'_>) -> bool {
        let namespace = match question.on {
            On::Objects { namespace, .. } => namespace,
            On::Path(_) => None,
        };
        match &binding.namespace {
            None => tenant == question.tenant || tenant == "system",
            Some(own) => tenant == question.tenant && namespace == Some(own.as_str()),
        }
    }

    fn collect(&self, tenant: &str, binding: &Binding, rules: &mut Vec<Rule>) {
        for (home, role) in &self.roles {
            let named = match &binding.role {
                RoleRef::Role(name) => {
                    role.namespace.is_some() && role.namespace == binding.namespace && role.name == *name
                }
                RoleRef::ClusterRole(name) => role.namespace.is_none() && role.name == *name,
            };
            if home == tenant && named {
                self.rules_of(tenant, role, &mut Vec::new(), rules);
            }
        }
    }

    /// An aggregated ClusterRole has the union of the rules of those that its selectors match.
    fn rules_of(&self, tenant: &str, role: &Role, seen: &mut Vec<String>, rules: &mut Vec<Rule>) {
        if seen.contains(&role.name) {
            return;
        }
        seen.push(role.name.clone());
        match &role.gathers {
            None => rules.extend(role.rules.clone()),
            Some(selectors) => {
                for (home, other) in &self.roles {
                    let cluster_role = home == tenant && other.namespace.is_none();
                    if cluster_role && selectors.iter().any(|selector| selector.matches(&other.labels)) {
                        self.rules_of(tenant, other, seen, rules);
                    }
                }
            }
        }
    }
}

/// A node: its own stream and its own object, at the provider's level.
fn node_allows(question: &Question<'_>) -> bool {
    let Some(node) = question.user.strip_prefix("system:node:") else { return false };
    let On::Objects { group, resource: "nodes", subresource, name, .. } = question.on else { return false };
    let own = question.tenant == "system" && !node.is_empty() && name == Some(node);
    own && match (question.verb, group) {
        ("connect", "fabric.sealane.dev") => subresource.is_none(),
        ("get", "sealane.dev") => matches!(subresource, None | Some("status")),
        _ => false,
    }
}

fn is_caller(subject: &Subject, question: &Question<'_>) -> bool {
    match subject {
        Subject::User(name) => name == question.user,
        Subject::Group(name) => question.groups.contains(name),
        // Service accounts have names prefixed with system:serviceaccount:
        Subject::ServiceAccount { namespace, name } => {
            question.user == format!("system:serviceaccount:{namespace}:{name}")
        }
    }
}

fn grants(rule: &Rule, question: &Question<'_>) -> bool {
    let any =
        |list: &[String], word: &str| list.contains(&"*".to_string()) || list.contains(&word.to_string());
    if !any(&rule.verbs, question.verb) {
        return false;
    }
    match (&question.on, &rule.reach) {
        (On::Path(path), Reach::Paths(urls)) => {
            // "*" at the end of a non-resource URL is a suffix glob match.
            urls.iter().any(|url| match url.find('*') {
                Some(star) if star + 1 == url.len() => path.len() >= star && path[..star] == url[..star],
                _ => url == path,
            })
        }
        (
            On::Objects { group, resource, subresource, name, .. },
            Reach::Resources { groups, resources, names },
        ) => {
            // A subresource is named with a slash: pods/log. A rule for pods is none for pods/log.
            let full = match subresource {
                Some(part) => format!("{resource}/{part}"),
                None => (*resource).to_string(),
            };
            let every = subresource.map(|part| format!("*/{part}"));
            let resource_fits =
                any(resources, &full) || every.is_some_and(|every| resources.contains(&every));
            // Requests without a name (create, list) cannot be restricted by resourceName.
            let name_fits = names.is_empty() || name.is_some_and(|name| names.contains(&name.to_string()));
            any(groups, group) && resource_fits && name_fits
        }
        _ => false,
    }
}
