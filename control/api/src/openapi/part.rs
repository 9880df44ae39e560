//! Forms that belong to no kind: what lists and deletions say of themselves, and what refusals are.

use intent::schema::{Definitions, Dialect, Field, Format, Part, Schema, openapi};
use serde_json::json;

/// The name of `Status` among the definitions.
pub(super) const STATUS_NAME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
/// The name of `DeleteOptions` among the definitions.
pub(super) const DELETE_OPTIONS_NAME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
/// The name of `ListMeta` among the definitions.
pub(super) const LIST_META_NAME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Puts the forms among the definitions.
pub(super) fn define(dialect: Dialect, definitions: &mut Definitions) {
    for (schema, kind) in
        [(&LIST_META, None), (&STATUS, Some("Status")), (&DELETE_OPTIONS, Some("DeleteOptions"))]
    {
        openapi(schema, dialect, definitions);
        if let (Some(kind), Some(part)) = (kind, schema.part) {
            let known = json!([{ "group": "", "version": "v1", "kind": kind }]);
            definitions.entry(part.name.to_owned()).or_default()["x-kubernetes-group-version-kind"] = known;
        }
    }
}

const LIST_META: Schema = Schema::object(
    "",
    &[
        Field::optional(
            "resourceVersion",
            Schema::text("The revision that the list shows; a watch goes on from it.", Format::Free),
        ),
        Field::optional(
            "continue",
            Schema::text(
                "Where the next page begins; to be given as ?continue=. Empty: this was the last.",
                Format::Free,
            ),
        ),
        Field::optional(
            "remainingItemCount",
            Schema::number("How many objects come after this page.", 0, i64::MAX),
        ),
    ],
)
.known_as(&Part { name: LIST_META_NAME, about: "What a list says of itself." });

const API_VERSION: Field = Field::optional("apiVersion", Schema::text("v1.", Format::Free));
const KIND: Field = Field::optional("kind", Schema::text("The kind's name.", Format::Free));

const STATUS: Schema = Schema::object(
    "",
    &[
        API_VERSION,
        KIND,
        Field::optional("metadata", Schema::object("Empty.", &[])),
        Field::optional("status", Schema::text("How it went.", Format::OneOf(&["Success", "Failure"]))),
        Field::optional(
            "message",
            Schema::text("What is wrong, for a person: every problem, each with its remedy.", Format::Free),
        ),
        Field::optional("reason", Schema::text("What is wrong, in one word for a program.", Format::Free)),
        Field::optional("code", Schema::number("The HTTP status.", 100, 599)),
        Field::optional("details", DETAILS),
    ],
)
.known_as(&Part { name: STATUS_NAME, about: "How a request went that is not answered with an object." });

const DETAILS: Schema = Schema::object(
    "What it is about.",
    &[
        Field::optional("name", Schema::text("The object's name.", Format::Free)),
        Field::optional("group", Schema::text("The resource's API group.", Format::Free)),
        Field::optional(
            "kind",
            Schema::text("The resource, or the kind where an object is at fault.", Format::Free),
        ),
        Field::optional("uid", Schema::text("The object's uid.", Format::Free)),
        Field::optional("causes", Schema::list("Each problem by itself.", &CAUSE)),
        Field::optional(
            "retryAfterSeconds",
            Schema::number("After how many seconds to try again.", 0, i64::MAX),
        ),
    ],
);

const CAUSE: Schema = Schema::object(
    "One problem.",
    &[
        Field::optional("field", Schema::text("Where it is, such as spec.subnets[0].cidr.", Format::Free)),
        Field::optional("reason", Schema::text("What it is, in one word for a program.", Format::Free)),
        Field::optional(
            "message",
            Schema::text("The value, what is wrong with it, and the remedy.", Format::Free),
        ),
    ],
);

const DELETE_OPTIONS: Schema = Schema::object(
    "",
    &[
        API_VERSION,
        KIND,
        Field::optional("dryRun", Schema::list("All: nothing is deleted, the answer is as if.", &WORD)),
        Field::optional(
            "preconditions",
            Schema::object(
                "What must still hold of the object.",
                &[
                    Field::optional("uid", Schema::text("Its uid.", Format::Free)),
                    Field::optional("resourceVersion", Schema::text("Its revision.", Format::Free)),
                ],
            ),
        ),
        Field::optional("propagationPolicy", Schema::text("What becomes of what it owns.", Format::Free)),
        Field::optional("gracePeriodSeconds", Schema::number("Seconds that it has left.", 0, i64::MAX)),
    ],
)
.known_as(&Part { name: DELETE_OPTIONS_NAME, about: "How an object is to be deleted." });

const WORD: Schema = Schema::text("", Format::Free);
