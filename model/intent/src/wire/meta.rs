//! What every document has: meta.k8s.io/v1 `ObjectMeta`, label selectors, conditions.

use crate::schema::{Absent, Field, Format, Schema};

/// `apiVersion`.
pub(super) const API_VERSION: Field =
    Field::required("apiVersion", Schema::text("group and version of the kind", Format::Free));

/// `kind`.
pub(super) const KIND: Field = Field::required("kind", Schema::text("the kind's name", Format::Free));

/// `metadata`.
pub(super) const METADATA: Field =
    Field::preset("metadata", Schema::object("What every object has.", METADATA_FIELDS), Absent::EmptyObject);

const METADATA_FIELDS: &[Field] = &[
    Field::required(
        "name",
        Schema::text("The object's name; the kind says its syntax and where it is unique.", Format::Free),
    ),
    Field::optional(
        "generateName",
        Schema::text("A prefix from which the server makes a name when none is given.", Format::Free),
    ),
    Field::optional("namespace", Schema::text("The namespace of a namespaced object.", Format::Label)),
    Field::optional(
        "labels",
        Schema::map("What selectors match.", Format::QualifiedName, Format::LabelValue),
    ),
    Field::optional(
        "annotations",
        Schema::map("Notes for people and tools.", Format::QualifiedName, Format::Free),
    ),
    Field::optional("finalizers", Schema::list("Who must agree before the object goes.", &FINALIZER)),
    Field::optional("ownerReferences", Schema::list("Objects whose deletion deletes this one.", &OWNER)),
    Field::optional("uid", Schema::text("Set by the server: unique in space and time.", Format::Free)),
    Field::optional(
        "resourceVersion",
        Schema::text("Set by the server: the revision of this state.", Format::Free),
    ),
    Field::optional(
        "generation",
        Schema::number("Set by the server: counts changes of the spec.", 0, i64::MAX),
    ),
    Field::optional("creationTimestamp", Schema::text("Set by the server.", Format::Time)),
    Field::optional(
        "deletionTimestamp",
        Schema::text("Set by the server when deletion was asked for.", Format::Time),
    ),
    Field::optional(
        "deletionGracePeriodSeconds",
        Schema::number("Set by the server: seconds before it goes.", 0, i64::MAX),
    ),
    Field::optional("managedFields", Schema::list("Who set which field.", &ANYTHING)),
    Field::optional("selfLink", Schema::text("Of old clients; without meaning.", Format::Free)),
];

const FINALIZER: Schema = Schema::text("The name of a finalizer.", Format::QualifiedName);

const ANYTHING: Schema = Schema::anything("");

const OWNER: Schema = Schema::object(
    "An object that owns this one.",
    &[
        Field::required("apiVersion", Schema::text("The owner's group and version.", Format::Free)),
        Field::required("kind", Schema::text("The owner's kind.", Format::Free)),
        Field::required("name", Schema::text("The owner's name.", Format::Free)),
        Field::required("uid", Schema::text("The owner's uid.", Format::Free)),
        Field::optional("controller", Schema::flag("Whether the owner manages this object.")),
        Field::optional("blockOwnerDeletion", Schema::flag("Whether the owner waits for this object to go.")),
    ],
);

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

const EXPRESSION: Schema = Schema::object(
    "One requirement on one label.",
    &[
        Field::required("key", Schema::text("The label's key.", Format::QualifiedName)),
        Field::required(
            "operator",
            Schema::text(
                "How the label is compared.",
                Format::OneOf(&["In", "NotIn", "Exists", "DoesNotExist"]),
            ),
        ),
        Field::optional("values", Schema::list("The values of In and NotIn.", &LABEL_VALUE)),
    ],
);

const LABEL_VALUE: Schema = Schema::text("A label's value.", Format::LabelValue);

/// The status of a kind whose every part the server writes.
pub(super) const STATUS: Field =
    Field::optional("status", Schema::open("What the server has seen; written by it alone.", STATUS_FIELDS));

const STATUS_FIELDS: &[Field] = &[CONDITIONS];

/// What holds of an object, in its status.
pub(super) const CONDITIONS: Field =
    Field::optional("conditions", Schema::list("What holds of the object now.", &CONDITION));

const CONDITION: Schema = Schema::open(
    "One thing that holds of the object, or does not (meta.k8s.io/v1).",
    &[
        Field::required("type", Schema::text("What it is about.", Format::Free)),
        Field::required(
            "status",
            Schema::text("Whether it holds.", Format::OneOf(&["True", "False", "Unknown"])),
        ),
        Field::optional("reason", Schema::text("Why, for a program.", Format::Free)),
        Field::optional("message", Schema::text("Why, for a person.", Format::Free)),
    ],
);
