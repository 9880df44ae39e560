//! Who may do what: the rules of rbac.authorization.k8s.io/v1, evaluated.
//!
//! Owns: the index of roles and bindings ([`Rights`]), what a node may do, what may be handed on ([`missing`]), and the
//! roles that every tenant has ([`ready`]).
//!
//! ```text
//!     question: who, tenant, verb, on what
//!        |
//!        +- system:masters ------------> everything, everywhere
//!        +- system:nodes --------------> the node's own rules, nothing else
//!        +- ClusterRoleBindings of the provider's level   (they hold in every tenant)
//!        +- ClusterRoleBindings of the tenant
//!        +- RoleBindings of the namespace asked about
//! ```
//!
//! Promises: no I/O; what is not given is denied; a decision costs what the caller's own bindings cost, however many others
//! have; an index that followed every change decides as one that was made from the objects at once.

mod cover;
mod index;
mod matching;
mod node;
mod place;
pub mod ready;

pub use cover::missing;
pub use index::{Grant, Rights};
pub use matching::{On, Question};

/// The provider's level: what is bound there holds in every tenant.
pub const SYSTEM: &str = intent::object::SYSTEM_TENANT;
/// Those who may do everything.
pub const MASTERS: &str = "system:masters";
/// The nodes of the fabric.
pub const NODES: &str = "system:nodes";
/// Everybody whose name is vouched for.
pub const AUTHENTICATED: &str = "system:authenticated";
/// What the user name of a program begins with, before `NAMESPACE:NAME`.
pub const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// The API group of what the fabric tells: flows, drops, explanations, its status, the nodes' stream.
pub const FABRIC_GROUP: &str = "fabric.sealane.dev";
