//! What every document has: meta.k8s.io/v1 `ObjectMeta`, label selectors, conditions.

use crate::schema::{Absent, Field, Format, Part, Rule, Schema};

/// `apiVersion`.
pub(super) const API_VERSION: Field = Field::required(
    "apiVersion",
    Schema::text("Group and version of the kind, such as networking.k8s.io/v1.", Format::Free),
);

/// `kind`.
pub(super) const KIND: Field =
    Field::required("kind", Schema::text("The kind's name, such as NetworkPolicy.", Format::Free));

/// `metadata`.
pub(super) const METADATA: Field = Field::preset(
    "metadata",
    Schema::object(
        "What every object has: its name, its labels, what the server notes of it.",
        METADATA_FIELDS,
    )
    .known_as(&OBJECT_META),
    Absent::EmptyObject,
);

const OBJECT_META: Part = Part {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
    about: "What every object has: its name, its labels, and what the server notes of it.",
};

const METADATA_FIELDS: &[Field] = &[
    Field::served(
        "name",
        Schema::text(
            "The object's name; the kind says its syntax and where it is unique. It never changes.",
            Format::Free,
        ),
    ),
    Field::optional(
        "generateName",
        Schema::text(
            "A prefix from which the server makes a name of its own when none is given; only read on creation.",
            Format::Free,
        ),
    ),
    Field::optional(
        "namespace",
        Schema::text(
            "The namespace that a namespaced object lives in; objects of other kinds have none. It never changes.",
            Format::Label,
        ),
    ),
    Field::optional(
        "labels",
        Schema::map(
            "What selectors match: short words that say what the object is.",
            Format::QualifiedName,
            Format::LabelValue,
        ),
    ),
    Field::optional(
        "annotations",
        Schema::map(
            "Notes for people and tools, which no selector sees; 262144 bytes in all.",
            Format::QualifiedName,
            Format::Free,
        ),
    ),
    Field::optional(
        "finalizers",
        Schema::set(
            "Who must agree before the object goes: a deleted object stays until this list is empty.",
            &FINALIZER,
        ),
    ),
    Field::optional(
        "ownerReferences",
        Schema::list_by("Objects whose deletion deletes this one.", &OWNER, &["uid"]),
    ),
    Field::optional(
        "uid",
        Schema::text("Set by the server: unique among all objects that ever were (RFC 9562).", Format::Free),
    ),
    Field::optional(
        "resourceVersion",
        Schema::text(
            "Set by the server: the revision of this state. An update that carries it is refused (409) if the object has \
             changed since.",
            Format::Free,
        ),
    ),
    Field::optional(
        "generation",
        Schema::number("Set by the server: counts the changes of what is asked for.", 0, i64::MAX),
    ),
    Field::optional(
        "creationTimestamp",
        Schema::text("Set by the server: when the object was made.", Format::Time),
    ),
    Field::optional(
        "deletionTimestamp",
        Schema::text(
            "Set by the server when deletion was asked for; the object goes once its finalizers have agreed.",
            Format::Time,
        ),
    ),
    Field::optional(
        "deletionGracePeriodSeconds",
        Schema::number("Set by the server: the seconds that a deleted object has left.", 0, i64::MAX),
    ),
    Field::optional(
        "managedFields",
        Schema::list("Who set which field; this server keeps no such account.", &ANYTHING),
    ),
    Field::optional("selfLink", Schema::text("Of old clients; without meaning.", Format::Free)),
];

const FINALIZER: Schema = Schema::text("The name of a finalizer.", Format::QualifiedName);

const ANYTHING: Schema = Schema::anything("One manager's fields.");

const OWNER: Schema = Schema::object(
    "An object that owns this one.",
    &[
        Field::required("apiVersion", Schema::text("The owner's group and version.", Format::Free)),
        Field::required("kind", Schema::text("The owner's kind.", Format::Free)),
        Field::required("name", Schema::text("The owner's name.", Format::Free)),
        Field::required(
            "uid",
            Schema::text("The owner's uid, so that a later object of the same name is none.", Format::Free),
        ),
        Field::optional(
            "controller",
            Schema::flag("Whether the owner manages this object; one owner at most does."),
        ),
        Field::optional(
            "blockOwnerDeletion",
            Schema::flag("Whether the owner, deleted in the foreground, waits for this object to go."),
        ),
    ],
)
.known_as(&Part {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
    about: "An object that owns another, in the same namespace or in none.",
});

/// A meta.k8s.io/v1 `LabelSelector`.
pub(super) const fn selector(about: &'static str) -> Schema {
    Schema::object(about, SELECTOR_FIELDS).known_as(&LABEL_SELECTOR)
}

const LABEL_SELECTOR: Part = Part {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    about: "What labels an object must have: all of matchLabels and all of matchExpressions. An empty selector selects all.",
};

/// The fields of meta.k8s.io/v1 `LabelSelector`.
pub(super) const SELECTOR_FIELDS: &[Field] = &[
    Field::optional(
        "matchLabels",
        Schema::map(
            "Labels that must be there with these values.",
            Format::QualifiedName,
            Format::LabelValue,
        ),
    ),
    Field::optional("matchExpressions", Schema::list("Requirements; all must hold.", &EXPRESSION)),
];

const EXPRESSION: Schema = Schema::object("One requirement on one label.", &[
    Field::required("key", Schema::text("The label's key.", Format::QualifiedName)),
    Field::required(
        "operator",
        Schema::text(
            "How the label is compared: In and NotIn with values (NotIn holds also where the label is missing), Exists and \
             DoesNotExist with the key alone.",
            Format::OneOf(&["In", "NotIn", "Exists", "DoesNotExist"]),
        ),
    ),
    Field::optional(
        "values",
        Schema::list("The values of In and NotIn, at least one; Exists and DoesNotExist take none.", &LABEL_VALUE),
    ),
])
.held_to(&[Rule {
    expression: "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : \
                 !has(self.values) || self.values.size() == 0",
    message: "In and NotIn need values, Exists and DoesNotExist take none",
}])
.known_as(&Part {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement",
    about: "One requirement on one label.",
});

const LABEL_VALUE: Schema = Schema::text("A label's value.", Format::LabelValue);

/// The status of a kind of which there is nothing to say beyond its conditions.
pub(super) const STATUS: Field = status(STATUS_FIELDS);

const STATUS_FIELDS: &[Field] = &[CONDITIONS];

/// A status, which the server writes and which may hold more than is known here.
pub(super) const fn status(fields: &'static [Field]) -> Field {
    Field::optional("status", Schema::open("What the server has seen; written by it alone.", fields))
}

/// What holds of an object, in its status.
pub(super) const CONDITIONS: Field =
    Field::optional("conditions", Schema::list_by("What holds of the object now.", &CONDITION, &["type"]));

const CONDITION: Schema = Schema::open(
    "One thing that holds of the object, or does not.",
    &[
        Field::required(
            "type",
            Schema::text(
                "What it is about, such as Realised (every node concerned has it in force) or Ready.",
                Format::Free,
            ),
        ),
        Field::required(
            "status",
            Schema::text("Whether it holds.", Format::OneOf(&["True", "False", "Unknown"])),
        ),
        Field::optional("reason", Schema::text("Why, in one word for a program.", Format::Free)),
        Field::optional("message", Schema::text("Why, for a person.", Format::Free)),
        Field::optional(
            "lastTransitionTime",
            Schema::text("Since when it holds, or does not.", Format::Time),
        ),
        Field::optional(
            "observedGeneration",
            Schema::number("The metadata.generation that it is about.", 0, i64::MAX),
        ),
    ],
)
.known_as(&Part {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.Condition",
    about: "One thing that holds of an object, or does not.",
});
