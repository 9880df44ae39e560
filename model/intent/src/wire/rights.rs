//! rbac.authorization.k8s.io/v1 `Role`, `ClusterRole`, `RoleBinding`, `ClusterRoleBinding`.

use super::meta::{API_VERSION, KIND, METADATA, SELECTOR_FIELDS};
use crate::schema::{Field, Format, Schema};

/// rbac.authorization.k8s.io/v1 `Role`.
pub const ROLE: Schema = Schema::object(
    "Rights within one namespace. A role by itself gives nothing to anybody: a RoleBinding does.",
    &[API_VERSION, KIND, METADATA, RULES],
);

/// rbac.authorization.k8s.io/v1 `ClusterRole`.
pub const CLUSTER_ROLE: Schema = Schema::object(
    "Rights that a ClusterRoleBinding gives in the whole tenant, and a RoleBinding in its namespace.",
    &[
        API_VERSION,
        KIND,
        METADATA,
        RULES,
        Field::optional(
            "aggregationRule",
            Schema::object(
                "Makes the rules out of other ClusterRoles; the rules written here do not count then.",
                &[Field::optional(
                    "clusterRoleSelectors",
                    Schema::list("The rules of every ClusterRole that any of these selects.", &SELECTOR),
                )],
            ),
        ),
    ],
);

/// rbac.authorization.k8s.io/v1 `RoleBinding`.
pub const ROLE_BINDING: Schema = Schema::object(
    "Gives the rights of a Role, or of a ClusterRole, within this namespace alone.",
    &[API_VERSION, KIND, METADATA, SUBJECTS, ROLE_REF],
);

/// rbac.authorization.k8s.io/v1 `ClusterRoleBinding`.
pub const CLUSTER_ROLE_BINDING: Schema = Schema::object(
    "Gives the rights of a ClusterRole in the whole tenant; at the provider's level, in every tenant.",
    &[API_VERSION, KIND, METADATA, SUBJECTS, ROLE_REF],
);

const RULES: Field = Field::optional("rules", Schema::list("What is allowed; each rule adds.", &RULE));

const RULE: Schema = Schema::object(
    "Verbs on resources, or on paths that are no resources.",
    &[
        Field::required(
            "verbs",
            Schema::list_of(
                "What may be done: get, list, watch, create, update, patch, delete, deletecollection; * for everything.",
                &WORD,
                1,
                usize::MAX,
            ),
        ),
        Field::optional(
            "apiGroups",
            Schema::list("The API groups of the resources: \"\" for the core group, * for all.", &WORD),
        ),
        Field::optional(
            "resources",
            Schema::list(
                "Plural names, such as networkpolicies; endpoints/status for a subresource alone, */status for that of all, * for everything.",
                &WORD,
            ),
        ),
        Field::optional(
            "resourceNames",
            Schema::list("The objects that are meant; left out or empty: all.", &WORD),
        ),
        Field::optional(
            "nonResourceURLs",
            Schema::list(
                "Paths that are no resources, such as /healthz; a * at the end stands for any rest.",
                &WORD,
            ),
        ),
    ],
);

const WORD: Schema = Schema::text("A name, or *.", Format::Free);

const SELECTOR: Schema = Schema::object("ClusterRoles with these labels.", SELECTOR_FIELDS);

const SUBJECTS: Field =
    Field::optional("subjects", Schema::list("Who gets the rights; empty: nobody.", &SUBJECT));

const SUBJECT: Schema = Schema::object(
    "A person, a group of people, or a program.",
    &[
        Field::required(
            "kind",
            Schema::text("What it is.", Format::OneOf(&["User", "Group", "ServiceAccount"])),
        ),
        Field::optional(
            "apiGroup",
            Schema::text(
                "Left out: rbac.authorization.k8s.io for User and Group, the core group for ServiceAccount.",
                Format::Free,
            ),
        ),
        Field::required("name", Schema::text("Its name, as certificates and tokens tell it.", Format::Free)),
        Field::optional("namespace", Schema::text("The namespace of a ServiceAccount.", Format::Label)),
    ],
);

const ROLE_REF: Field = Field::required(
    "roleRef",
    Schema::object(
        "The role whose rights are given; it cannot be changed later.",
        &[
            Field::optional("apiGroup", Schema::text("Left out: rbac.authorization.k8s.io.", Format::Free)),
            Field::required(
                "kind",
                Schema::text("What the role is.", Format::OneOf(&["Role", "ClusterRole"])),
            ),
            Field::required("name", Schema::text("The role's name.", Format::PathSegment)),
        ],
    ),
);
