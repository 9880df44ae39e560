//! The parsed forms of rbac.authorization.k8s.io/v1: roles and who has them.

use record::Labels;
use record::selector::LabelSelector;

/// The API group of roles and bindings.
pub const RIGHTS_GROUP: &str = "rbac.authorization.k8s.io";
/// Stands for every verb, group, resource or path.
pub const ALL: &str = "*";

/// A `Role` or a `ClusterRole`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Unique in the namespace, or in the tenant.
    pub name: String,
    /// The namespace of a `Role`; `None`: a `ClusterRole`.
    pub namespace: Option<String>,
    /// Its labels, by which other roles gather it.
    pub labels: Labels,
    /// What is written in it.
    pub rules: Vec<Rule>,
    /// It has the rules of every `ClusterRole` that one of these selects, in place of those written in it.
    pub gathers: Option<Vec<LabelSelector>>,
}

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// At least one; [`ALL`] stands for every verb.
    pub verbs: Vec<String>,
    /// On what.
    pub reach: Reach,
}

/// On what a rule allows its verbs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Resources of the API.
    Resources {
        /// API groups; empty text: the core group; [`ALL`]: every one.
        groups: Vec<String>,
        /// Plurals: `endpoints`, `endpoints/status`, `*/status`, or [`ALL`].
        resources: Vec<String>,
        /// The objects meant; empty: all.
        names: Vec<String>,
    },
    /// Paths that are no resources; `*` at the end stands for any rest.
    Paths(Vec<String>),
}

/// A `RoleBinding` or a `ClusterRoleBinding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Unique in the namespace, or in the tenant.
    pub name: String,
    /// The namespace of a `RoleBinding`; `None`: a `ClusterRoleBinding`.
    pub namespace: Option<String>,
    /// The role whose rights are given.
    pub role: RoleRef,
    /// Who gets them.
    pub subjects: Vec<Subject>,
}

/// The role that a binding gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleRef {
    /// A `Role` of the binding's namespace.
    Role(String),
    /// A `ClusterRole` of the tenant.
    ClusterRole(String),
}

/// Who gets rights.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A user by name.
    User(String),
    /// Everybody in a group.
    Group(String),
    /// A program by its account.
    ServiceAccount {
        /// The account's namespace.
        namespace: String,
        /// The account's name.
        name: String,
    },
}

impl RoleRef {
    /// The role's kind: `Role` or `ClusterRole`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Role(_) => "Role",
            Self::ClusterRole(_) => "ClusterRole",
        }
    }

    /// The role's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Role(name) | Self::ClusterRole(name) => name,
        }
    }
}

impl std::fmt::Display for RoleRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.kind(), self.name())
    }
}

impl Rule {
    /// How many single rights it names: each verb on each resource (or path), each object by name counted apart.
    pub fn single_rights(&self) -> usize {
        let reach = match &self.reach {
            Reach::Resources { groups, resources, names } => {
                groups.len().saturating_mul(resources.len()).saturating_mul(names.len().max(1))
            }
            Reach::Paths(paths) => paths.len(),
        };
        self.verbs.len().saturating_mul(reach)
    }
}
