//! Roles and bindings, found by whom they are for.
//!
//! ```text
//!     tenant -> Level { roles by place, bindings by place, holders: user or group -> bindings by place }
//! ```

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use intent::rights::{ALL, Binding, Reach, Role, RoleRef, Rule, Subject};

use crate::matching::{Question, allows};
use crate::place::Places;
use crate::{ACCOUNT_PREFIX, MASTERS, SYSTEM, node};

/// Every role and binding of every tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    levels: HashMap<String, Level>,
}

/// Those of one tenant, or of the provider's level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Level {
    roles: Places<Known>,
    bindings: Places<Arc<Binding>>,
    /// The ClusterRoles that have the rules of others.
    gatherers: BTreeSet<String>,
    users: HashMap<String, Places<Arc<Binding>>>,
    groups: HashMap<String, Places<Arc<Binding>>>,
}

/// A role, with the rules that count.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    role: Role,
    rules: Vec<Rule>,
}

/// Why something is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant<'r> {
    /// The caller is in [`MASTERS`].
    Masters,
    /// The node's own rules.
    Node,
    /// A role that a binding gives.
    Bound {
        /// Whose binding: the tenant's, or the provider's level's.
        tenant: &'r str,
        /// Which.
        binding: &'r Binding,
    },
}

impl Rights {
    /// A role is there, or is another now.
    pub fn put_role(&mut self, tenant: &str, role: Role) {
        self.levels.entry(tenant.to_owned()).or_default().put_role(role);
    }

    /// A role is gone.
    pub fn remove_role(&mut self, tenant: &str, namespace: Option<&str>, name: &str) {
        let Some(level) = self.levels.get_mut(tenant) else { return };
        level.remove_role(namespace, name);
        self.forget_if_empty(tenant);
    }

    /// A binding is there, or is another now.
    pub fn put_binding(&mut self, tenant: &str, binding: Binding) {
        self.levels.entry(tenant.to_owned()).or_default().put_binding(Arc::new(binding));
    }

    /// A binding is gone.
    pub fn remove_binding(&mut self, tenant: &str, namespace: Option<&str>, name: &str) {
        let Some(level) = self.levels.get_mut(tenant) else { return };
        level.remove_binding(namespace, name);
        self.forget_if_empty(tenant);
    }

    /// Why it is allowed; `None`: it is not.
    pub fn decide(&self, question: &Question<'_>) -> Option<Grant<'_>> {
        let Question { user, groups, tenant, verb, on } = *question;
        if groups.iter().any(|group| group == MASTERS) {
            return Some(Grant::Masters);
        }
        if node::is_node(groups) {
            let own = tenant == SYSTEM && node::rules(user).iter().any(|rule| allows(rule, verb, on));
            return own.then_some(Grant::Node);
        }
        let mut held = self.held(user, groups, tenant, on.namespace());
        let found = held.find(|(_, _, rules)| rules.iter().any(|rule| allows(rule, verb, on)));
        found.map(|(tenant, binding, _)| Grant::Bound { tenant, binding })
    }

    /// Every rule that somebody has in a namespace (`None`: everywhere) of a tenant.
    pub fn rules(&self, user: &str, groups: &[String], tenant: &str, namespace: Option<&str>) -> Vec<Rule> {
        if groups.iter().any(|group| group == MASTERS) {
            return everything();
        }
        if node::is_node(groups) {
            return if tenant == SYSTEM { node::rules(user) } else { Vec::new() };
        }
        let held: BTreeSet<&Rule> = self
            .held(user, groups, tenant, namespace)
            .flat_map(|(_, binding, rules)| {
                // A binding of a namespace is about its objects, and no path is one of them.
                let counts = move |rule: &&Rule| {
                    binding.namespace.is_none() || matches!(rule.reach, Reach::Resources { .. })
                };
                rules.iter().filter(counts)
            })
            .collect();
        held.into_iter().cloned().collect()
    }

    /// The rules of the role that a binding in this namespace (`None`: of the whole tenant) names; `None`: there is none.
    pub fn rules_of(&self, tenant: &str, namespace: Option<&str>, role: &RoleRef) -> Option<&[Rule]> {
        self.levels.get(tenant)?.rules_of(namespace, role)
    }

    /// The bindings that concern somebody in a namespace, those of the provider's level first, with the rules that they give.
    fn held<'r, 'a>(
        &'r self,
        user: &'a str,
        groups: &'a [String],
        tenant: &'a str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'r str, &'r Binding, &'r [Rule])> {
        let above = (tenant != SYSTEM).then_some((SYSTEM, None));
        let inside = namespace.map(|namespace| (tenant, Some(namespace)));
        let places = above.into_iter().chain([(tenant, None)]).chain(inside);
        places.flat_map(move |(tenant, namespace)| {
            let level = self.levels.get_key_value(tenant);
            level.into_iter().flat_map(move |(tenant, level)| {
                level
                    .held(user, groups, namespace)
                    .map(move |(binding, rules)| (tenant.as_str(), binding, rules))
            })
        })
    }

    fn forget_if_empty(&mut self, tenant: &str) {
        let empty = |level: &Level| level.roles.is_empty() && level.bindings.is_empty();
        if self.levels.get(tenant).is_some_and(empty) {
            self.levels.remove(tenant);
        }
    }
}

impl Level {
    fn put_role(&mut self, role: Role) {
        let (namespace, name) = (role.namespace.clone(), role.name.clone());
        let gathers = role.gathers.is_some();
        let rules = if gathers { Vec::new() } else { role.rules.clone() };
        let mut concerned = gathers || self.is_gathered(&role);
        if gathers {
            self.gatherers.insert(name.clone());
        }
        if let Some(old) = self.roles.put(namespace.as_deref(), &name, Known { role, rules }) {
            concerned |= old.role.gathers.is_some() || self.is_gathered(&old.role);
            if !gathers && namespace.is_none() {
                self.gatherers.remove(&name);
            }
        }
        if concerned {
            self.gather();
        }
    }

    fn remove_role(&mut self, namespace: Option<&str>, name: &str) {
        let Some(old) = self.roles.remove(namespace, name) else { return };
        if old.role.gathers.is_some() {
            self.gatherers.remove(name);
        }
        if old.role.gathers.is_some() || self.is_gathered(&old.role) {
            self.gather();
        }
    }

    /// Whether some role has the rules of this one.
    fn is_gathered(&self, role: &Role) -> bool {
        let gatherers = self.gatherers.iter().filter_map(|name| self.roles.find(None, name));
        role.namespace.is_none() && gatherers.into_iter().any(|known| known.selects(role))
    }

    fn put_binding(&mut self, binding: Arc<Binding>) {
        let (namespace, name) = (binding.namespace.as_deref(), binding.name.as_str());
        self.remove_binding(namespace, name);
        self.bindings.put(namespace, name, Arc::clone(&binding));
        for subject in &binding.subjects {
            let (holders, holder) = self.holders(subject);
            holders.entry(holder).or_default().put(namespace, name, Arc::clone(&binding));
        }
    }

    fn remove_binding(&mut self, namespace: Option<&str>, name: &str) {
        let Some(binding) = self.bindings.remove(namespace, name) else { return };
        for subject in &binding.subjects {
            let (holders, holder) = self.holders(subject);
            if let Some(places) = holders.get_mut(&holder) {
                places.remove(namespace, name);
                if places.is_empty() {
                    holders.remove(&holder);
                }
            }
        }
    }

    /// Where the bindings for a subject are noted, and under which name. A program is a user of a long name.
    fn holders(&mut self, subject: &Subject) -> (&mut HashMap<String, Places<Arc<Binding>>>, String) {
        match subject {
            Subject::User(name) => (&mut self.users, name.clone()),
            Subject::Group(name) => (&mut self.groups, name.clone()),
            Subject::ServiceAccount { namespace, name } => {
                (&mut self.users, format!("{ACCOUNT_PREFIX}{namespace}:{name}"))
            }
        }
    }

    fn held<'r, 'a>(
        &'r self,
        user: &'a str,
        groups: &'a [String],
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'r Binding, &'r [Rule])> {
        let own = self.users.get(user);
        let shared = groups.iter().filter_map(|group| self.groups.get(group));
        let bindings = own.into_iter().chain(shared).filter_map(move |places| places.at(namespace));
        bindings.flat_map(|bindings| bindings.values()).filter_map(|binding| {
            Some((&**binding, self.rules_of(binding.namespace.as_deref(), &binding.role)?))
        })
    }

    fn rules_of(&self, namespace: Option<&str>, role: &RoleRef) -> Option<&[Rule]> {
        let known = match role {
            RoleRef::Role(name) => self.roles.find(Some(namespace?), name),
            RoleRef::ClusterRole(name) => self.roles.find(None, name),
        };
        known.map(|known| known.rules.as_slice())
    }

    /// Makes the rules of every role that gathers others: those of all that it reaches, directly or through one that gathers
    /// too.
    fn gather(&mut self) {
        let rules: Vec<_> = self.gatherers.iter().map(|name| (name.clone(), self.gathered(name))).collect();
        for (name, rules) in rules {
            if let Some(known) = self.roles.wide_mut().get_mut(&name) {
                known.rules = rules;
            }
        }
    }

    fn gathered(&self, name: &str) -> Vec<Rule> {
        let Some(roles) = self.roles.at(None) else { return Vec::new() };
        let mut reached = BTreeSet::from([name]);
        let mut open = vec![name];
        let mut rules = BTreeSet::new();
        while let Some(known) = open.pop().and_then(|name| roles.get(name)) {
            if known.role.gathers.is_none() {
                rules.extend(&known.role.rules);
                continue;
            }
            for (name, other) in roles {
                if known.selects(&other.role) && reached.insert(name) {
                    open.push(name);
                }
            }
        }
        rules.into_iter().cloned().collect()
    }
}

impl Known {
    /// Whether it has the rules of the other.
    fn selects(&self, other: &Role) -> bool {
        let mut selectors = self.role.gathers.iter().flatten();
        selectors.any(|selector| selector.matches(&other.labels))
    }
}

impl fmt::Display for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Masters => write!(f, "members of {MASTERS} may do everything"),
            Self::Node => f.write_str("a node may do this for itself"),
            Self::Bound { tenant, binding } => {
                match &binding.namespace {
                    Some(namespace) => {
                        write!(f, "allowed by the RoleBinding {:?}", format!("{namespace}/{}", binding.name))?
                    }
                    None => write!(f, "allowed by the ClusterRoleBinding {:?}", binding.name)?,
                }
                let place = if *tenant == SYSTEM {
                    "the provider's level".to_owned()
                } else {
                    format!("tenant {tenant:?}")
                };
                write!(f, " of {place}, which gives the {}", binding.role)
            }
        }
    }
}

fn everything() -> Vec<Rule> {
    let all = || vec![ALL.to_owned()];
    vec![
        Rule { verbs: all(), reach: Reach::Resources { groups: all(), resources: all(), names: Vec::new() } },
        Rule { verbs: all(), reach: Reach::Paths(all()) },
    ]
}
