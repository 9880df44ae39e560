//! The registry of kinds: what each is called, where it lives, and how it is shown.

use crate::rights::RIGHTS_GROUP;
use crate::schema::{Definitions, Dialect, Format, Schema, openapi};
use crate::wire;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `sealane.dev/v1alpha1`, at the provider's level.
    Tenant,
    /// `sealane.dev/v1alpha1`, at the provider's level.
    Node,
    /// `v1`.
    Namespace,
    /// `sealane.dev/v1alpha1`.
    VirtualNetwork,
    /// `sealane.dev/v1alpha1`.
    Endpoint,
    /// `networking.k8s.io/v1`.
    NetworkPolicy,
    /// `rbac.authorization.k8s.io/v1`.
    Role,
    /// `rbac.authorization.k8s.io/v1`.
    ClusterRole,
    /// `rbac.authorization.k8s.io/v1`.
    RoleBinding,
    /// `rbac.authorization.k8s.io/v1`.
    ClusterRoleBinding,
}

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In the tenant `system` alone, in no namespace.
    Provider,
    /// In a tenant, in no namespace.
    Tenant,
    /// In a tenant or at the provider's level, in no namespace.
    Level,
    /// In a namespace of a tenant.
    Namespaced,
}

/// What is known of a kind.
#[derive(Debug)]
pub struct Descriptor {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version within the group.
    pub version: &'static str,
    /// The kind's name: `NetworkPolicy`.
    pub kind: &'static str,
    /// The resource's name in paths: `networkpolicies`.
    pub plural: &'static str,
    /// One object of it: `networkpolicy`.
    pub singular: &'static str,
    /// What people type: `netpol`.
    pub short: &'static [&'static str],
    /// Groups of kinds it is listed with: `all`.
    pub categories: &'static [&'static str],
    /// Where its objects live.
    pub scope: Scope,
    /// Whether people write it; otherwise the fabric alone does.
    pub writable: bool,
    /// The syntax of its objects' names.
    pub name: Format,
    /// The form of its documents.
    pub schema: &'static Schema,
    /// What a table of its objects shows between name and age.
    pub columns: &'static [Column],
}

/// A column of a table (apiextensions.k8s.io/v1 `CustomResourceColumnDefinition`).
#[derive(Debug)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// What its cells are.
    pub cells: Cells,
    /// Where the value is: a simple JSONPath, `.spec.subnets[*].cidr` or `.status.conditions[?(@.type=="Ready")].status`.
    pub path: &'static str,
    /// What it tells.
    pub about: &'static str,
    /// 0: always shown; 1: in wide tables alone.
    pub priority: u8,
}

/// What the cells of a column are, in the words of table columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells {
    /// Text.
    Text,
    /// Whole numbers.
    Number,
    /// Moments, shown as ages.
    Date,
}

impl Cells {
    /// The type that a table's column definition names.
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Number => "integer",
            Self::Date => "date",
        }
    }
}

impl Kind {
    /// All of them, those that others live in first.
    pub const ALL: [Self; 10] = [
        Self::Tenant,
        Self::Node,
        Self::Namespace,
        Self::VirtualNetwork,
        Self::Endpoint,
        Self::NetworkPolicy,
        Self::Role,
        Self::ClusterRole,
        Self::RoleBinding,
        Self::ClusterRoleBinding,
    ];

    /// What is known of it.
    pub const fn descriptor(self) -> &'static Descriptor {
        match self {
            Self::Tenant => &TENANT,
            Self::Node => &NODE,
            Self::Namespace => &NAMESPACE,
            Self::VirtualNetwork => &VIRTUAL_NETWORK,
            Self::Endpoint => &ENDPOINT,
            Self::NetworkPolicy => &NETWORK_POLICY,
            Self::Role => &ROLE,
            Self::ClusterRole => &CLUSTER_ROLE,
            Self::RoleBinding => &ROLE_BINDING,
            Self::ClusterRoleBinding => &CLUSTER_ROLE_BINDING,
        }
    }

    /// The kind that a document with these two fields is of.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.descriptor().kind == kind && known.descriptor().api_version() == api_version)
    }

    /// The kind that a path names. The core group is empty.
    pub fn at(group: &str, version: &str, plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| {
            let known = known.descriptor();
            known.group == group && known.version == version && known.plural == plural
        })
    }

    /// The kind that a person means: any of its names, in any case, or `plural.group`.
    pub fn named(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        Self::ALL.into_iter().find(|known| {
            let known = known.descriptor();
            known.names().any(|name| name == text) || known.resource() == text
        })
    }

    /// The kinds of a category, such as `all`.
    pub fn in_category(category: &str) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |known| known.descriptor().categories.contains(&category))
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.descriptor().kind)
    }
}

impl Descriptor {
    /// `group/version`, or `version` in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The resource's full name, `networkpolicies.networking.k8s.io`; in the core group the plural alone.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Every name that people type for it, in lower case.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.plural, self.singular].into_iter().chain(self.short.iter().copied())
    }

    /// Whether its objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether it has a status, which is read and written at a path of its own.
    pub fn has_status(&self) -> bool {
        self.schema.field("status").is_some()
    }

    /// Whether people may delete its objects: those that they write, and hosts that are gone for good.
    pub fn deletable(&self) -> bool {
        self.writable || self.kind == NODE.kind
    }

    /// What can be done with its objects.
    pub fn verbs(&self) -> &'static [&'static str] {
        if self.writable {
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
        } else if self.deletable() {
            &["delete", "get", "list", "watch"]
        } else {
            &["get", "list", "watch"]
        }
    }

    /// The form of its documents as a structural schema (apiextensions.k8s.io/v1): it refers to nothing outside.
    pub fn structural(&self) -> serde_json::Value {
        openapi(self.schema, Dialect::Structural, &mut Definitions::new())
    }
}

/// The API group of the kinds that upstream lacks.
pub const GROUP: &str = "sealane.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";

const TENANT: Descriptor = Descriptor {
    group: GROUP,
    version: VERSION,
    kind: "Tenant",
    plural: "tenants",
    singular: "tenant",
    short: &[],
    categories: &["sealane"],
    scope: Scope::Provider,
    writable: true,
    name: Format::Label,
    schema: &wire::TENANT,
    columns: &[],
};

const NODE: Descriptor = Descriptor {
    group: GROUP,
    version: VERSION,
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short: &["no"],
    categories: &["sealane"],
    scope: Scope::Provider,
    writable: false,
    name: Format::Subdomain,
    schema: &wire::NODE,
    columns: &[
        text("Ready", ".status.conditions[?(@.type==\"Ready\")].status", "Whether the server hears from it"),
        text("Underlay", ".spec.underlay[*]", "Its addresses on the network between hosts"),
        number("Held", ".status.generationHeld", "The generation in its kernel"),
        number("Wanted", ".status.generationWanted", "The generation that it should hold"),
        wide("Behind", ".status.behindBecause", "Why the two differ"),
        wide("Kernel", ".status.kernel", "Its kernel's version"),
        wide("Software", ".status.software", "Its agent's version"),
    ],
};

const NAMESPACE: Descriptor = Descriptor {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short: &["ns"],
    categories: &[],
    scope: Scope::Tenant,
    writable: true,
    name: Format::Label,
    schema: &wire::NAMESPACE,
    columns: &[
        text("Status", ".status.phase", "Active, or Terminating while its content goes"),
        wide("Network", ".metadata.annotations.sealane\\.dev/network", "The network of its endpoints"),
    ],
};

const VIRTUAL_NETWORK: Descriptor = Descriptor {
    group: GROUP,
    version: VERSION,
    kind: "VirtualNetwork",
    plural: "virtualnetworks",
    singular: "virtualnetwork",
    short: &["vnet", "vnets"],
    categories: &["sealane"],
    scope: Scope::Tenant,
    writable: true,
    name: Format::Label,
    schema: &wire::VIRTUAL_NETWORK,
    columns: &[
        text("Subnets", ".spec.subnets[*].cidr", "Its address ranges"),
        number("VNI", ".status.vni", "Its number on the wire"),
        text("Default", ".spec.defaultVerdict", "What holds where no policy speaks"),
        text("World", ".spec.world", "Whether endpoints may leave the fabric"),
        text(
            "Realised",
            ".status.conditions[?(@.type==\"Realised\")].status",
            "Whether every node concerned has it",
        ),
        wide("MTU", ".spec.mtu", "The largest packet in bytes"),
    ],
};

const ENDPOINT: Descriptor = Descriptor {
    group: GROUP,
    version: VERSION,
    kind: "Endpoint",
    plural: "endpoints",
    singular: "endpoint",
    short: &["ep"],
    categories: &["sealane", "all"],
    scope: Scope::Namespaced,
    writable: false,
    name: Format::Subdomain,
    schema: &wire::ENDPOINT,
    columns: &[
        text("Network", ".spec.network", "The virtual network"),
        text("Addresses", ".spec.addresses[*]", "Its addresses"),
        text("Node", ".spec.node", "Where it is"),
        wide("MAC", ".spec.mac", "Its Ethernet address"),
        wide("Ports", ".spec.ports[*].name", "Its named ports"),
        wide("Host-Addresses", ".status.hostAddresses[*]", "By which processes of its node reach it"),
    ],
};

const NETWORK_POLICY: Descriptor = Descriptor {
    group: "networking.k8s.io",
    version: "v1",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short: &["netpol"],
    categories: &["sealane"],
    scope: Scope::Namespaced,
    writable: true,
    name: Format::Subdomain,
    schema: &wire::NETWORK_POLICY,
    columns: &[
        text("Pod-Selector", ".spec.podSelector", "Whom it is about"),
        text("Types", ".spec.policyTypes[*]", "The directions it isolates"),
        text(
            "Realised",
            ".status.conditions[?(@.type==\"Realised\")].status",
            "Whether every node concerned has it",
        ),
    ],
};

const ROLE: Descriptor = Descriptor {
    group: RIGHTS_GROUP,
    version: "v1",
    kind: "Role",
    plural: "roles",
    singular: "role",
    short: &[],
    categories: &[],
    scope: Scope::Namespaced,
    writable: true,
    name: Format::PathSegment,
    schema: &wire::ROLE,
    columns: &[CREATED_AT],
};

const CLUSTER_ROLE: Descriptor = Descriptor {
    group: RIGHTS_GROUP,
    version: "v1",
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    short: &[],
    categories: &[],
    scope: Scope::Level,
    writable: true,
    name: Format::PathSegment,
    schema: &wire::CLUSTER_ROLE,
    columns: &[CREATED_AT],
};

const ROLE_BINDING: Descriptor = Descriptor {
    group: RIGHTS_GROUP,
    version: "v1",
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    short: &[],
    categories: &[],
    scope: Scope::Namespaced,
    writable: true,
    name: Format::PathSegment,
    schema: &wire::ROLE_BINDING,
    columns: BINDING_COLUMNS,
};

const CLUSTER_ROLE_BINDING: Descriptor = Descriptor {
    group: RIGHTS_GROUP,
    version: "v1",
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    short: &[],
    categories: &[],
    scope: Scope::Level,
    writable: true,
    name: Format::PathSegment,
    schema: &wire::CLUSTER_ROLE_BINDING,
    columns: BINDING_COLUMNS,
};

const CREATED_AT: Column = text("Created At", ".metadata.creationTimestamp", "When it was made");

const BINDING_COLUMNS: &[Column] = &[
    text("Role", ".roleRef", "The role whose rights it gives"),
    wide("Users", ".subjects[?(@.kind==\"User\")].name", "The users who get them"),
    wide("Groups", ".subjects[?(@.kind==\"Group\")].name", "The groups that get them"),
    wide("ServiceAccounts", ".subjects[?(@.kind==\"ServiceAccount\")].name", "The programs that get them"),
];

const fn text(name: &'static str, path: &'static str, about: &'static str) -> Column {
    Column { name, cells: Cells::Text, path, about, priority: 0 }
}

const fn number(name: &'static str, path: &'static str, about: &'static str) -> Column {
    Column { name, cells: Cells::Number, path, about, priority: 0 }
}

const fn wide(name: &'static str, path: &'static str, about: &'static str) -> Column {
    Column { name, cells: Cells::Text, path, about, priority: 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_of_a_kind_leads_to_it_and_to_no_other() {
        let mut seen = BTreeSet::new();
        for kind in Kind::ALL {
            let known = kind.descriptor();
            for name in known.names() {
                assert!(seen.insert(name), "{name} names two kinds");
                assert_eq!(Kind::named(name), Some(kind));
            }
            assert_eq!(Kind::named(known.kind), Some(kind));
            assert_eq!(Kind::named(&known.resource()), Some(kind));
            assert_eq!(Kind::of(&known.api_version(), known.kind), Some(kind));
            assert_eq!(Kind::at(known.group, known.version, known.plural), Some(kind));
        }
        assert_eq!(Kind::named("pods"), None);
        assert_eq!(Kind::of("v1", "NetworkPolicy"), None);
    }

    #[test]
    fn every_schema_says_its_fields_and_what_is_required() {
        let schema = Kind::VirtualNetwork.descriptor().structural();
        let spec = &schema["properties"]["spec"];
        assert_eq!(spec["required"], serde_json::json!(["subnets"]));
        assert_eq!(spec["properties"]["defaultVerdict"]["default"], "Allow");
        assert_eq!(spec["properties"]["subnets"]["items"]["properties"]["cidr"]["format"], "cidr");
        for kind in Kind::ALL {
            let schema = kind.descriptor().structural();
            assert!(!schema["description"].as_str().unwrap().is_empty(), "{kind}");
            assert_eq!(schema["properties"]["metadata"]["properties"]["labels"]["type"], "object", "{kind}");
        }
    }
}
