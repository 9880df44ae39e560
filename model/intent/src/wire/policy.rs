//! networking.k8s.io/v1 `NetworkPolicy`.

use super::meta::{API_VERSION, KIND, METADATA, STATUS, selector};
use crate::schema::{Absent, Field, Format, Rule, Schema};

/// networking.k8s.io/v1 `NetworkPolicy`.
pub const NETWORK_POLICY: Schema = Schema::object(
    "What traffic the selected endpoints of a namespace allow. An endpoint that some policy selects is isolated in that policy's \
     directions; what any of them allows is allowed, whatever their order. Answers to allowed traffic pass by themselves.",
    &[API_VERSION, KIND, METADATA, Field::required("spec", Schema::object("The policy.", SPEC)), STATUS],
);

const SPEC: &[Field] = &[
    Field::preset(
        "podSelector",
        selector("The endpoints of this namespace that the policy is about. Empty: all of them."),
        Absent::EmptyObject,
    ),
    Field::optional(
        "policyTypes",
        Schema::list_of(
            "The directions in which the endpoints are isolated. Left out or empty: Ingress, and Egress if there are egress rules.",
            &POLICY_TYPE,
            0,
            2,
        ),
    ),
    Field::optional(
        "ingress",
        Schema::list(
            "What may reach the endpoints; each rule adds. None, and Ingress among policyTypes: nothing may.",
            &INGRESS_RULE,
        ),
    ),
    Field::optional(
        "egress",
        Schema::list(
            "What the endpoints may reach; each rule adds. None, and Egress among policyTypes: nothing.",
            &EGRESS_RULE,
        ),
    ),
];

const POLICY_TYPE: Schema =
    Schema::text("A direction, as the endpoint sees it.", Format::OneOf(&["Ingress", "Egress"]));

const INGRESS_RULE: Schema = Schema::object(
    "Traffic from any of these peers to any of these ports.",
    &[
        Field::optional("from", Schema::list("The senders. Left out or empty: everybody.", &PEER)),
        Field::optional("ports", Schema::list("The endpoint's ports. Left out or empty: all.", &PORT)),
    ],
);

const EGRESS_RULE: Schema = Schema::object(
    "Traffic to any of these peers on any of these ports.",
    &[
        Field::optional("to", Schema::list("The receivers. Left out or empty: everybody.", &PEER)),
        Field::optional("ports", Schema::list("The receiver's ports. Left out or empty: all.", &PORT)),
    ],
);

const PEER: Schema = Schema::object("Endpoints by labels, or addresses; never both.", &[
    Field::optional(
        "podSelector",
        selector("Endpoints with these labels, in the namespaces of namespaceSelector; without that, in the policy's own."),
    ),
    Field::optional(
        "namespaceSelector",
        selector("Endpoints of namespaces with these labels: all of them, or those that podSelector selects. Empty: of every namespace."),
    ),
    Field::optional(
        "ipBlock",
        Schema::object("Addresses, whoever has them.", &[
            Field::required("cidr", Schema::text("The range, such as 192.0.2.0/24 or 2001:db8::/32.", Format::Range)),
            Field::optional("except", Schema::list("Smaller ranges inside it that are not meant.", &EXCEPT)),
        ]),
    ),
])
.held_to(&[Rule {
    expression: "has(self.ipBlock) ? !has(self.podSelector) && !has(self.namespaceSelector) : \
                 has(self.podSelector) || has(self.namespaceSelector)",
    message: "a peer is an ipBlock, or a podSelector, a namespaceSelector or both",
}]);

const EXCEPT: Schema = Schema::text("A range inside the block's.", Format::Range);

const PORT: Schema = Schema::object("A port, a range of ports, or all ports of a protocol.", &[
    Field::preset(
        "protocol",
        Schema::text("The protocol.", Format::OneOf(&["TCP", "UDP", "SCTP"])),
        Absent::Text("TCP"),
    ),
    Field::optional(
        "port",
        Schema::number_or_text(
            "The port's number, or the name that the receiving endpoint has given it. Left out: all ports of the protocol.",
            1,
            65_535,
            Format::PortName,
        ),
    ),
    Field::optional(
        "endPort",
        Schema::number("The last port of a range that begins with port, which is then a number.", 1, 65_535),
    ),
])
.held_to(&[Rule {
    expression: "!has(self.endPort) || (has(self.port) && type(self.port) == int && self.endPort >= self.port)",
    message: "endPort needs port, a number that is not larger",
}]);
