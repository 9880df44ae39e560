//! The roles that every tenant has from its start, and those of the provider's level.
//!
//! Promises: nobody but `cluster-admin` gets a verb or an API group that does not exist yet; no role that only reads shows
//! what a secret would be kept in.

use intent::rights::{ALL, RIGHTS_GROUP};
use serde_json::{Value, json};

use crate::{AUTHENTICATED, FABRIC_GROUP};

/// The label of every object that the server makes here.
pub const LABEL: &str = "sealane.dev/bootstrapping";
/// Its value.
pub const LABEL_VALUE: &str = "rbac-defaults";
/// The annotation by which the server's start adds what such an object lacks; `"false"`: it is left as it is.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// A ClusterRole.
#[derive(Debug)]
pub struct Ready {
    /// Its name.
    pub name: &'static str,
    /// Whom it is for, and what it gives.
    pub about: &'static str,
    /// Who has it at the provider's level, and so in every tenant, unless somebody decides otherwise.
    pub given_to: &'static [&'static str],
    rules: &'static [Given],
}

/// A rule: verbs on resources of groups, or on paths.
#[derive(Debug)]
enum Given {
    On { verbs: &'static [&'static str], groups: &'static [&'static str], resources: &'static [&'static str] },
    At { paths: &'static [&'static str] },
}

/// In every tenant, and at the provider's level.
pub const EVERYWHERE: &[Ready] = &[
    Ready {
        name: "cluster-admin",
        about: "Everything, also what comes with later versions.",
        given_to: &[],
        rules: &[Given::On { verbs: &[ALL], groups: &[ALL], resources: &[ALL] }, Given::At { paths: &[ALL] }],
    },
    Ready {
        name: "tenant-administrator",
        about: "The tenant's own administrator: every object of the tenant, who may do what, and the audit; hands on what they have themselves.",
        given_to: &[],
        rules: &[
            on(WRITE, CORE, &["namespaces", "namespaces/status"]),
            on(WRITE, NETWORKING, POLICIES),
            on(WRITE, POLICY, ADMIN_POLICIES),
            on(WRITE, SEALANE, NETWORKS),
            on(READ, SEALANE, ENDPOINTS),
            on(WRITE, &[RIGHTS_GROUP], RIGHTS),
            on(CREATE, &["authorization.k8s.io"], &["subjectaccessreviews", "localsubjectaccessreviews"]),
            on(READ, FABRIC, QUESTIONS),
            on(READ, FABRIC, &["audit"]),
        ],
    },
    Ready {
        name: "security",
        about: "The security team: policy of every kind, what was dropped and why, and everything to read, who may do what too.",
        given_to: &[],
        rules: &[
            on(WRITE, NETWORKING, POLICIES),
            on(WRITE, POLICY, ADMIN_POLICIES),
            on(READ, CORE, &["namespaces", "namespaces/status"]),
            on(READ, SEALANE, NETWORKS),
            on(READ, SEALANE, ENDPOINTS),
            on(READ, SEALANE, PROVIDED),
            on(READ, &[RIGHTS_GROUP], RIGHTS),
            on(READ, FABRIC, QUESTIONS),
        ],
    },
    Ready {
        name: "network-operator",
        about: "Whoever runs the fabric: networks, and hosts that are gone; reads what is attached and which policies hold.",
        given_to: &[],
        rules: &[
            on(WRITE, SEALANE, NETWORKS),
            on(READ, SEALANE, ENDPOINTS),
            on(READ, SEALANE, PROVIDED),
            on(&["delete"], SEALANE, &["nodes"]),
            on(READ, CORE, &["namespaces", "namespaces/status"]),
            on(READ, NETWORKING, POLICIES),
            on(READ, POLICY, ADMIN_POLICIES),
            on(READ, FABRIC, QUESTIONS),
            on(READ, FABRIC, &["status", "metrics"]),
        ],
    },
    Ready {
        name: "developer",
        about: "For a RoleBinding in a project's namespace: its policies, what is attached in it, and who may do what there.",
        given_to: &[],
        rules: &[
            on(WRITE, NETWORKING, POLICIES),
            on(READ, SEALANE, ENDPOINTS),
            on(&["get"], CORE, &["namespaces"]),
            on(READ, &[RIGHTS_GROUP], &["roles", "rolebindings"]),
        ],
    },
    Ready {
        name: "auditor",
        about: "Reads everything, who may do what and the audit too; changes nothing.",
        given_to: &[],
        rules: &[
            on(READ, CORE, &["namespaces", "namespaces/status"]),
            on(READ, NETWORKING, POLICIES),
            on(READ, POLICY, ADMIN_POLICIES),
            on(READ, SEALANE, NETWORKS),
            on(READ, SEALANE, ENDPOINTS),
            on(READ, SEALANE, PROVIDED),
            on(READ, &[RIGHTS_GROUP], RIGHTS),
            on(READ, FABRIC, QUESTIONS),
            on(READ, FABRIC, &["status", "metrics", "audit"]),
        ],
    },
    Ready {
        name: "view",
        about: "Reads the objects of a namespace or of the tenant, but not who may do what.",
        given_to: &[],
        rules: &[
            on(READ, CORE, &["namespaces", "namespaces/status"]),
            on(READ, NETWORKING, POLICIES),
            on(READ, POLICY, ADMIN_POLICIES),
            on(READ, SEALANE, NETWORKS),
            on(READ, SEALANE, ENDPOINTS),
            on(READ, FABRIC, &["explanations"]),
        ],
    },
];

/// At the provider's level alone.
pub const PROVIDER: &[Ready] = &[
    Ready {
        name: "system:discovery",
        about: "Which kinds there are, and how they are written.",
        given_to: &[AUTHENTICATED],
        rules: &[Given::At {
            paths: &[
                "/",
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/openapi",
                "/openapi/*",
                "/version",
                "/version/",
            ],
        }],
    },
    Ready {
        name: "system:basic-user",
        about: "What everybody may ask about themselves.",
        given_to: &[AUTHENTICATED],
        rules: &[
            on(CREATE, &["authorization.k8s.io"], &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
            on(CREATE, &["authentication.k8s.io"], &["selfsubjectreviews"]),
        ],
    },
    Ready {
        name: READER,
        about: "Reads everything of every kind; for users of the server's own host, where the settings say so.",
        given_to: &[],
        rules: &[Given::On { verbs: READ, groups: &[ALL], resources: &[ALL] }, Given::At { paths: &[ALL] }],
    },
    Ready {
        name: CONNECTOR,
        about: "Takes a node's place on the stream, whichever node it is; for hosts that are trusted without a certificate.",
        given_to: &[],
        rules: &[on(&["connect"], FABRIC, &["nodes"])],
    },
];

/// The role that reads everything.
pub const READER: &str = "sealane:reader";
/// The role of hosts that are trusted without a certificate.
pub const CONNECTOR: &str = "sealane:connector";
/// The role that does everything.
pub const ADMINISTRATOR: &str = "cluster-admin";

impl Ready {
    /// The ClusterRole as it is written.
    pub fn role(&self) -> Value {
        let rules: Vec<_> = self.rules.iter().map(Given::document).collect();
        let mut role = labelled("ClusterRole", self.name);
        role["metadata"]["annotations"]["sealane.dev/about"] = self.about.into();
        role["rules"] = rules.into();
        role
    }

    /// The ClusterRoleBinding by which it is given; `None`: it is given to nobody.
    pub fn binding(&self) -> Option<Value> {
        (!self.given_to.is_empty()).then(|| bound(self.name, self.name, self.given_to))
    }
}

/// A ClusterRoleBinding of a role to groups, as it is written.
pub fn bound(name: &str, role: &str, groups: &[&str]) -> Value {
    let subjects: Vec<_> = groups
        .iter()
        .map(|group| json!({ "apiGroup": RIGHTS_GROUP, "kind": "Group", "name": group }))
        .collect();
    let mut binding = labelled("ClusterRoleBinding", name);
    binding["roleRef"] = json!({ "apiGroup": RIGHTS_GROUP, "kind": "ClusterRole", "name": role });
    binding["subjects"] = subjects.into();
    binding
}

fn labelled(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("{RIGHTS_GROUP}/v1"), "kind": kind,
        "metadata": { "name": name, "labels": { LABEL: LABEL_VALUE }, "annotations": { AUTOUPDATE: "true" } },
    })
}

impl Given {
    fn document(&self) -> Value {
        match self {
            Self::On { verbs, groups, resources } => {
                json!({ "verbs": verbs, "apiGroups": groups, "resources": resources })
            }
            Self::At { paths } => {
                json!({ "verbs": if *paths == [ALL] { &[ALL] } else { &["get"] }, "nonResourceURLs": paths })
            }
        }
    }
}

const fn on(
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    resources: &'static [&'static str],
) -> Given {
    Given::On { verbs, groups, resources }
}

const READ: &[&str] = &["get", "list", "watch"];
const CREATE: &[&str] = &["create"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

const CORE: &[&str] = &[""];
const NETWORKING: &[&str] = &["networking.k8s.io"];
const POLICY: &[&str] = &["policy.networking.k8s.io"];
const SEALANE: &[&str] = &[intent::registry::GROUP];
const FABRIC: &[&str] = &[FABRIC_GROUP];

const POLICIES: &[&str] = &["networkpolicies", "networkpolicies/status"];
const ADMIN_POLICIES: &[&str] = &["clusternetworkpolicies", "clusternetworkpolicies/status"];
const NETWORKS: &[&str] = &["virtualnetworks", "virtualnetworks/status"];
const ENDPOINTS: &[&str] = &["endpoints", "endpoints/status"];
/// What the provider has for all: at its level alone.
const PROVIDED: &[&str] = &["tenants", "tenants/status", "nodes", "nodes/status"];
const RIGHTS: &[&str] = &["roles", "rolebindings", "clusterroles", "clusterrolebindings"];
/// What the fabric answers about traffic.
const QUESTIONS: &[&str] = &["explanations", "flows", "drops"];

#[cfg(test)]
mod tests {
    use intent::{Kind, Parsed, UnknownFields, admit};

    use super::*;

    #[test]
    fn every_ready_role_and_binding_is_a_right_document() {
        for ready in EVERYWHERE.iter().chain(PROVIDER) {
            let admitted = admit(Kind::ClusterRole, ready.role(), UnknownFields::Refuse)
                .unwrap_or_else(|problems| panic!("{}: {problems:?}", ready.name));
            assert!(admitted.warnings.is_empty(), "{}: {:?}", ready.name, admitted.warnings);
            assert_eq!(admitted.document, ready.role(), "canonical");
            if let Some(binding) = ready.binding() {
                let admitted = admit(Kind::ClusterRoleBinding, binding.clone(), UnknownFields::Refuse);
                let admitted = admitted.unwrap_or_else(|problems| panic!("{problems:?}"));
                assert_eq!(admitted.document, binding, "canonical");
                let Parsed::ClusterRoleBinding(binding) = admitted.parsed else { panic!("another kind") };
                assert_eq!(binding.role.name(), ready.name);
            }
        }
    }

    #[test]
    fn only_the_administrator_and_the_reader_have_stars() {
        for ready in EVERYWHERE.iter().chain(PROVIDER) {
            let stars = ready.role()["rules"].to_string().contains("\"*\"");
            assert_eq!(stars, [ADMINISTRATOR, READER].contains(&ready.name), "{}", ready.name);
        }
    }
}
