//! networking.k8s.io/v1 `NetworkPolicy`.

use super::meta::{API_VERSION, KIND, METADATA, SELECTOR_FIELDS, STATUS};
use crate::schema::{Absent, Field, Format, Schema};

/// networking.k8s.io/v1 `NetworkPolicy`.
pub const NETWORK_POLICY: Schema = Schema::object(
    "What traffic the selected endpoints of a namespace allow. An endpoint that some policy selects is isolated; what any of them allows is allowed.",
    &[API_VERSION, KIND, METADATA, Field::required("spec", Schema::object("The policy.", SPEC)), STATUS],
);

const SPEC: &[Field] = &[
    Field::preset(
        "podSelector",
        Schema::object("The endpoints of this namespace that it is about; empty: all.", SELECTOR_FIELDS),
        Absent::EmptyObject,
    ),
    Field::optional(
        "policyTypes",
        Schema::list_of(
            "The directions it isolates; left out: Ingress, and Egress if there are egress rules.",
            &POLICY_TYPE,
            0,
            2,
        ),
    ),
    Field::optional("ingress", Schema::list("What may reach the endpoints; each rule adds.", &INGRESS_RULE)),
    Field::optional("egress", Schema::list("What the endpoints may reach; each rule adds.", &EGRESS_RULE)),
];

const POLICY_TYPE: Schema = Schema::text("A direction.", Format::OneOf(&["Ingress", "Egress"]));

const INGRESS_RULE: Schema = Schema::object(
    "Traffic from any of these peers to any of these ports.",
    &[
        Field::optional("from", Schema::list("The senders; left out or empty: everybody.", &PEER)),
        Field::optional("ports", Schema::list("The ports; left out or empty: all.", &PORT)),
    ],
);

const EGRESS_RULE: Schema = Schema::object(
    "Traffic to any of these peers on any of these ports.",
    &[
        Field::optional("to", Schema::list("The receivers; left out or empty: everybody.", &PEER)),
        Field::optional("ports", Schema::list("The ports; left out or empty: all.", &PORT)),
    ],
);

const PEER: Schema = Schema::object(
    "Endpoints by labels, or addresses; never both.",
    &[
        Field::optional(
            "podSelector",
            Schema::object(
                "Endpoints with these labels, in the policy's namespace or those that namespaceSelector selects.",
                SELECTOR_FIELDS,
            ),
        ),
        Field::optional(
            "namespaceSelector",
            Schema::object("Endpoints of namespaces with these labels.", SELECTOR_FIELDS),
        ),
        Field::optional(
            "ipBlock",
            Schema::object(
                "Addresses, whoever has them.",
                &[
                    Field::required("cidr", Schema::text("The range, such as 192.0.2.0/24.", Format::Range)),
                    Field::optional("except", Schema::list("Ranges inside it that are not meant.", &EXCEPT)),
                ],
            ),
        ),
    ],
);

const EXCEPT: Schema = Schema::text("A range inside the block's.", Format::Range);

const PORT: Schema = Schema::object(
    "A port, a range of ports, or all ports of a protocol.",
    &[
        Field::preset(
            "protocol",
            Schema::text("The protocol.", Format::OneOf(&["TCP", "UDP", "SCTP"])),
            Absent::Text("TCP"),
        ),
        Field::optional(
            "port",
            Schema::number_or_text(
                "The port, or the name that the receiving endpoint has given it; left out: all.",
                1,
                65_535,
                Format::PortName,
            ),
        ),
        Field::optional(
            "endPort",
            Schema::number("The last port of a range that begins with port.", 1, 65_535),
        ),
    ],
);
