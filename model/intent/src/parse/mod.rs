//! The one room in which documents become parsed objects.
//!
//! ```text
//! document --schema--> fields, types, syntax, presets --complete--> canonical document --read--> parsed form
//! ```
//!
//! Promises: all problems of a document at once; a canonical document is admitted again unchanged.

mod cursor;
mod fabric;
mod metadata;
mod network;
mod policy;
mod rights;
mod selector;

use serde_json::Value;

use crate::nearest::nearest;
use crate::object::{Endpoint, Namespace, Node, Tenant, VirtualNetwork};
use crate::policy::NetworkPolicy;
use crate::problem::{Fault, Problem, Problems};
use crate::registry::Kind;
use crate::rights::{Binding, Role};
use crate::schema::check;
use cursor::Cursor;

/// A document that is right, in its three forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// Canonical: defaults filled in, nothing unknown, no `null`.
    pub document: Value,
    /// What it means.
    pub parsed: Parsed,
    /// What was accepted but is hardly meant.
    pub warnings: Vec<Problem>,
}

/// What a document means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A tenant.
    Tenant(Tenant),
    /// A host of the fabric.
    Node(Node),
    /// A namespace.
    Namespace(Namespace),
    /// A virtual network.
    VirtualNetwork(VirtualNetwork),
    /// An attachment.
    Endpoint(Endpoint),
    /// A policy.
    NetworkPolicy(NetworkPolicy),
    /// A role of a namespace.
    Role(Role),
    /// A role of a tenant.
    ClusterRole(Role),
    /// Who has a role in a namespace.
    RoleBinding(Binding),
    /// Who has a role in a tenant.
    ClusterRoleBinding(Binding),
}

/// What becomes of fields that a kind does not have (the API's `fieldValidation`). In any case they are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// They are problems: `Strict`.
    #[default]
    Refuse,
    /// They are warnings: `Warn`.
    Warn,
    /// They are passed over: `Ignore`.
    Ignore,
}

impl Parsed {
    /// Which kind it is of.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Tenant(_) => Kind::Tenant,
            Self::Node(_) => Kind::Node,
            Self::Namespace(_) => Kind::Namespace,
            Self::VirtualNetwork(_) => Kind::VirtualNetwork,
            Self::Endpoint(_) => Kind::Endpoint,
            Self::NetworkPolicy(_) => Kind::NetworkPolicy,
            Self::Role(_) => Kind::Role,
            Self::ClusterRole(_) => Kind::ClusterRole,
            Self::RoleBinding(_) => Kind::RoleBinding,
            Self::ClusterRoleBinding(_) => Kind::ClusterRoleBinding,
        }
    }
}

/// Admits a document of a kind: checks it, fills in what is not written, and says what it means.
///
/// # Errors
/// Every problem of the document, at most about a hundred.
pub fn admit(kind: Kind, mut document: Value, unknown: UnknownFields) -> Result<Admitted, Vec<Problem>> {
    let checked = check(kind.descriptor().schema, &mut document);
    let mut findings = Findings { problems: checked.problems, warnings: Problems::default() };
    for problem in checked.unknown.into_vec() {
        match unknown {
            UnknownFields::Refuse => findings.problems.push(problem),
            UnknownFields::Warn => findings.warnings.push(problem),
            UnknownFields::Ignore => {}
        }
    }
    metadata::check(kind, Cursor::root(&document), &mut findings);
    complete(kind, &mut document);
    let parsed = read(kind, Cursor::root(&document), &mut findings);
    match parsed {
        Some(parsed) if findings.problems.is_empty() => {
            Ok(Admitted { document, parsed, warnings: findings.warnings.into_vec() })
        }
        _ => Err(findings.problems.into_vec()),
    }
}

/// What a document of a kind means. Fields that the kind does not have are passed over, so that what a newer version has
/// stored is still read.
///
/// # Errors
/// Every problem of the document, as [`admit`] tells them.
pub fn parse(kind: Kind, document: &Value) -> Result<Parsed, Vec<Problem>> {
    admit(kind, document.clone(), UnknownFields::Ignore).map(|admitted| admitted.parsed)
}

/// The kind that a document says it is of.
///
/// # Errors
/// What is missing or unknown in `apiVersion` and `kind`, with the nearest known one.
pub fn kind_of(document: &Value) -> Result<Kind, Vec<Problem>> {
    let text = |field: &str| document.get(field).and_then(Value::as_str);
    let mut problems = Vec::new();
    for (field, example) in [("apiVersion", "networking.k8s.io/v1"), ("kind", "NetworkPolicy")] {
        if text(field).is_none() {
            let remedy = format!("add it, such as {field}: {example}");
            problems.push(Problem::missing(field, "is missing, or no text", remedy));
        }
    }
    let (Some(version), Some(name)) = (text("apiVersion"), text("kind")) else { return Err(problems) };
    if let Some(kind) = Kind::of(version, name) {
        return Ok(kind);
    }
    let known = |kind: &Kind| kind.descriptor().kind == name;
    if let Some(kind) = Kind::ALL.iter().find(|kind| known(kind)) {
        let remedy = format!("write {}", kind.descriptor().api_version());
        let reason = format!("is not the group and version of {name}");
        return Err(vec![Problem::new("apiVersion", &version.into(), Fault::NotSupported, reason, remedy)]);
    }
    let names = Kind::ALL.iter().map(|kind| kind.descriptor().kind);
    let remedy = match nearest(name, names.clone()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("known kinds: {}", names.collect::<Vec<_>>().join(", ")),
    };
    Err(vec![Problem::new("kind", &name.into(), Fault::NotSupported, "is no known kind", remedy)])
}

/// Problems and warnings as they are found.
struct Findings {
    problems: Problems,
    warnings: Problems,
}

impl Findings {
    fn problem(
        &mut self,
        at: &Cursor<'_>,
        fault: Fault,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem::new(at.path(), at.value_or_null(), fault, reason, remedy));
    }

    fn missing(&mut self, at: &Cursor<'_>, reason: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::missing(at.path(), reason, remedy));
    }

    fn warning(&mut self, at: &Cursor<'_>, reason: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.push(Problem::new(at.path(), at.value_or_null(), Fault::Invalid, reason, remedy));
    }
}

/// Fills in the defaults that follow from other values; those that do not are the schema's.
fn complete(kind: Kind, document: &mut Value) {
    match kind {
        Kind::Namespace => fabric::complete_namespace(document),
        Kind::VirtualNetwork => network::complete(document),
        Kind::NetworkPolicy => policy::complete(document),
        Kind::RoleBinding | Kind::ClusterRoleBinding => rights::complete_binding(document),
        Kind::Tenant | Kind::Node | Kind::Endpoint | Kind::Role | Kind::ClusterRole => {}
    }
}

/// Reads the parsed form and reports what the values are to each other. What the schema has reported is not told again:
/// `None` alone stands for it.
fn read(kind: Kind, document: Cursor<'_>, findings: &mut Findings) -> Option<Parsed> {
    match kind {
        Kind::Tenant => fabric::tenant(&document, findings).map(Parsed::Tenant),
        Kind::Node => fabric::node(&document, findings).map(Parsed::Node),
        Kind::Namespace => fabric::namespace(&document, findings).map(Parsed::Namespace),
        Kind::VirtualNetwork => network::network(&document, findings).map(Parsed::VirtualNetwork),
        Kind::Endpoint => fabric::endpoint(&document, findings).map(Parsed::Endpoint),
        Kind::NetworkPolicy => policy::policy(&document, findings).map(Parsed::NetworkPolicy),
        Kind::Role => rights::role(kind, &document, findings).map(Parsed::Role),
        Kind::ClusterRole => rights::role(kind, &document, findings).map(Parsed::ClusterRole),
        Kind::RoleBinding => rights::binding(kind, &document, findings).map(Parsed::RoleBinding),
        Kind::ClusterRoleBinding => {
            rights::binding(kind, &document, findings).map(Parsed::ClusterRoleBinding)
        }
    }
}

#[cfg(test)]
mod tests;
