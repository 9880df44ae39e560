//! `Tenant`, `Namespace`, `Endpoint`, `Node`.

use super::meta::{API_VERSION, CONDITIONS, KIND, METADATA, STATUS};
use crate::schema::{Field, Format, Schema};

/// `sealane.dev/v1alpha1` `Tenant`.
pub const TENANT: Schema = Schema::object(
    "A tenant: a logical cluster with namespaces, networks and policies of its own.",
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
);

/// `v1` `Namespace`.
pub const NAMESPACE: Schema = Schema::object(
    "A namespace: a project within a tenant. The annotation sealane.dev/network names the network of its endpoints.",
    &[
        API_VERSION,
        KIND,
        METADATA,
        Field::optional(
            "spec",
            Schema::object(
                "How the namespace ends.",
                &[Field::optional("finalizers", Schema::list("Who must agree before it goes.", &FINALIZER))],
            ),
        ),
        STATUS,
    ],
);

const FINALIZER: Schema = Schema::text("The name of a finalizer.", Format::QualifiedName);

/// `sealane.dev/v1alpha1` `Endpoint`.
pub const ENDPOINT: Schema = Schema::object(
    "One attachment of one workload to one virtual network; written by the fabric.",
    &[
        API_VERSION,
        KIND,
        METADATA,
        Field::required(
            "spec",
            Schema::object(
                "The attachment.",
                &[
                    Field::required(
                        "attachment",
                        Schema::text("The attachment's identity in the fabric.", Format::Free),
                    ),
                    Field::required("network", Schema::text("The virtual network's name.", Format::Label)),
                    Field::required("node", Schema::text("The node's name.", Format::Subdomain)),
                    Field::required(
                        "addresses",
                        Schema::list_of("Its addresses, at most one of each family.", &ADDRESS, 1, 2),
                    ),
                    Field::optional("mac", Schema::text("Its Ethernet address.", Format::Mac)),
                    Field::optional("ports", Schema::list("Its named ports.", &NAMED_PORT)),
                ],
            ),
        ),
        ENDPOINT_STATUS,
    ],
);

const ENDPOINT_STATUS: Field = Field::optional(
    "status",
    Schema::open(
        "What the server has seen; written by it alone.",
        &[
            CONDITIONS,
            Field::optional(
                "hostAddresses",
                Schema::list("The addresses by which processes of its node reach it.", &ADDRESS),
            ),
        ],
    ),
);

const ADDRESS: Schema = Schema::text("An IPv4 or IPv6 address.", Format::Address);

const NAMED_PORT: Schema = Schema::object(
    "A port that the workload has given a name.",
    &[
        Field::required("name", Schema::text("The name that policies use.", Format::PortName)),
        Field::required("port", Schema::number("The port.", 1, 65_535)),
        Field::preset(
            "protocol",
            Schema::text("The protocol it is served by.", Format::OneOf(&["TCP", "UDP", "SCTP"])),
            crate::schema::Absent::Text("TCP"),
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
            Schema::object(
                "The host.",
                &[Field::required(
                    "underlay",
                    Schema::list_of(
                        "Its addresses on the network between hosts, at most one of each family, preferred first.",
                        &ADDRESS,
                        1,
                        2,
                    ),
                )],
            ),
        ),
        STATUS,
    ],
);
