//! `Tenant`, `Namespace`, `Endpoint`, `Node`.

use super::meta::{API_VERSION, CONDITIONS, KIND, METADATA, STATUS, status};
use crate::schema::{Absent, Field, Format, Rule, Schema};

/// `sealane.dev/v1alpha1` `Tenant`.
pub const TENANT: Schema = Schema::object(
    "A tenant: a logical cluster with namespaces, networks and policies of its own, served under /clusters/NAME.",
    &[
        API_VERSION,
        KIND,
        METADATA,
        Field::optional(
            "spec",
            Schema::object("Nothing is set here; the tenant's own objects say what it holds.", &[]),
        ),
        STATUS,
    ],
)
.held_to(&[Rule {
    expression: "!has(self.metadata.name) || self.metadata.name != 'system'",
    message: "the name system is the provider's own level",
}]);

/// `v1` `Namespace`.
pub const NAMESPACE: Schema = Schema::object(
    "A namespace: a project within a tenant. The annotation sealane.dev/network names the network of its endpoints; without it \
     they are on the network default.",
    &[
        API_VERSION,
        KIND,
        METADATA,
        Field::optional(
            "spec",
            Schema::object(
                "How the namespace ends.",
                &[Field::optional(
                    "finalizers",
                    Schema::set("Who must agree before it goes; kept, and not waited for.", &FINALIZER),
                )],
            ),
        ),
        status(&[
            CONDITIONS,
            Field::optional(
                "phase",
                Schema::text(
                    "Active, or Terminating while what is in it goes.",
                    Format::OneOf(&["Active", "Terminating"]),
                ),
            ),
        ]),
    ],
);

const FINALIZER: Schema = Schema::text("The name of a finalizer.", Format::QualifiedName);

/// `sealane.dev/v1alpha1` `Endpoint`.
pub const ENDPOINT: Schema = Schema::object(
    "One attachment of one workload to one virtual network; written by the fabric.",
    &[API_VERSION, KIND, METADATA, Field::required("spec", ATTACHMENT), ENDPOINT_STATUS],
);

const ATTACHMENT: Schema = Schema::object(
    "The attachment.",
    &[
        Field::required(
            "attachment",
            Schema::text("The attachment's identity in the fabric, given by the node.", Format::Free),
        ),
        Field::required(
            "network",
            Schema::text("The name of the virtual network in the same tenant.", Format::Label),
        ),
        Field::required(
            "node",
            Schema::text("The name of the node that it is attached on.", Format::Subdomain),
        ),
        Field::required(
            "addresses",
            Schema::list_of("Its addresses, at most one of each family.", &ADDRESS, 1, 2)
                .held_to(ONE_OF_EACH_FAMILY),
        ),
        Field::optional("mac", Schema::text("Its Ethernet address.", Format::Mac)),
        Field::optional(
            "ports",
            Schema::list_by("The ports that policies can name.", &NAMED_PORT, &["name", "protocol"]),
        ),
    ],
);

const ENDPOINT_STATUS: Field = status(&[
    CONDITIONS,
    Field::optional(
        "hostAddresses",
        Schema::list("The addresses by which processes of its node reach it, one of each family.", &ADDRESS),
    ),
]);

const ADDRESS: Schema = Schema::text("An IPv4 or IPv6 address.", Format::Address);

const ONE_OF_EACH_FAMILY: &[Rule] = &[Rule {
    expression: "self.all(a, self.exists_one(b, a.contains(':') == b.contains(':')))",
    message: "at most one address of each family",
}];

const NAMED_PORT: Schema = Schema::object(
    "A port that the workload has given a name.",
    &[
        Field::required("name", Schema::text("The name that policies use.", Format::PortName)),
        Field::required("port", Schema::number("The port's number.", 1, 65_535)),
        Field::preset(
            "protocol",
            Schema::text("The protocol it is served by.", Format::OneOf(&["TCP", "UDP", "SCTP"])),
            Absent::Text("TCP"),
        ),
    ],
);

/// `sealane.dev/v1alpha1` `Node`.
pub const NODE: Schema = Schema::object(
    "A host of the fabric; written by the fabric.",
    &[
        API_VERSION,
        KIND,
        METADATA,
        Field::required(
            "spec",
            Schema::object("The host.", &[Field::required(
                "underlay",
                Schema::list_of(
                    "Its addresses on the network between hosts, at most one of each family, preferred first.",
                    &ADDRESS,
                    1,
                    2,
                )
                .held_to(ONE_OF_EACH_FAMILY),
            )]),
        ),
        NODE_STATUS,
    ],
);

const NODE_STATUS: Field = status(&[
    CONDITIONS,
    Field::optional(
        "generationWanted",
        Schema::number("The number of the state that it should hold.", 0, i64::MAX),
    ),
    Field::optional(
        "generationHeld",
        Schema::number(
            "The number of the state that it has acknowledged: what its kernel enforces.",
            0,
            i64::MAX,
        ),
    ),
    Field::optional(
        "behindBecause",
        Schema::text("Why the two differ; empty where they do not.", Format::Free),
    ),
    Field::optional("kernel", Schema::text("The release of its kernel.", Format::Free)),
    Field::optional("software", Schema::text("The release of its agent.", Format::Free)),
    Field::optional("mtu", Schema::number("The largest packet of its underlay in bytes.", 0, i64::MAX)),
]);
