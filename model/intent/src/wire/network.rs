//! `VirtualNetwork`.

use record::Vni;

use super::meta::{API_VERSION, CONDITIONS, KIND, METADATA, status};
use crate::schema::{Absent, Field, Format, Rule, Schema};

/// `sealane.dev/v1alpha1` `VirtualNetwork`.
pub const VIRTUAL_NETWORK: Schema = Schema::object(
    "A virtual network: address ranges of a tenant's own, which may overlap any other network's.",
    &[API_VERSION, KIND, METADATA, Field::required("spec", SPEC), STATUS],
);

const SPEC: Schema = Schema::object("What is asked for.", &[
    Field::required(
        "subnets",
        Schema::list_of(
            "The address ranges that endpoints get addresses of; none overlaps another. Ranges can be added later and never \
             taken away.",
            &SUBNET,
            1,
            16,
        ),
    ),
    Field::preset(
        "defaultVerdict",
        Schema::text("What holds for traffic between its endpoints that no policy speaks of.", VERDICT),
        Absent::Text("Allow"),
    ),
    Field::preset(
        "world",
        Schema::text(
            "Whether endpoints may reach addresses outside the fabric. They leave with their node's address as source.",
            VERDICT,
        ),
        Absent::Text("Allow"),
    ),
    Field::optional(
        "mtu",
        Schema::number(
            "The largest packet of an endpoint in bytes, for endpoints attached from now on; at least 1280 beside an IPv6 \
             subnet (RFC 8200). Left out: what the underlay leaves beside 50 bytes of VXLAN (70 over IPv6).",
            576,
            65_535,
        ),
    ),
    Field::optional(
        "vni",
        Schema::number(
            "The VXLAN network identifier (RFC 7348), unique in the fabric; it never changes. Left out: the server gives one, \
             see status.vni.",
            1,
            Vni::MAX as i64,
        ),
    ),
])
.held_to(&[
    Rule {
        expression: "!has(self.mtu) || self.mtu >= 1280 || self.subnets.all(s, !s.cidr.contains(':'))",
        message: "an IPv6 subnet needs an mtu of 1280 or more",
    },
    Rule {
        expression: "has(self.vni) == has(oldSelf.vni) && (!has(self.vni) || self.vni == oldSelf.vni)",
        message: "the vni never changes",
    },
    Rule {
        expression: "oldSelf.subnets.all(was, self.subnets.exists(s, s.cidr == was.cidr && \
                     has(s.gateway) == has(was.gateway) && (!has(s.gateway) || s.gateway == was.gateway)))",
        message: "a subnet stays, and keeps its gateway",
    },
]);

const VERDICT: Format = Format::OneOf(&["Allow", "Deny"]);

const STATUS: Field = status(&[
    CONDITIONS,
    Field::optional(
        "vni",
        Schema::number("The identifier that the network has on the wire.", 1, Vni::MAX as i64),
    ),
]);

const SUBNET: Schema = Schema::object("One address range.", &[
    Field::required(
        "cidr",
        Schema::text(
            "The range, such as 10.1.0.0/16 or fd00:1::/64: IPv4 of /8 to /30, IPv6 of /32 to /126, none of the ranges that are \
             reserved (RFC 6890): loopback, link-local, multicast.",
            Format::Prefix,
        ),
    ),
    Field::optional(
        "gateway",
        Schema::text(
            "The address inside the range that the fabric answers on. Left out: the one after the range's first.",
            Format::Address,
        ),
    ),
])
.held_to(&[Rule {
    expression: "self.cidr.contains(':') ? self.cidr.matches('/(3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6])$') : \
                 self.cidr.matches('/([89]|[12][0-9]|30)$')",
    message: "an IPv4 range is of /8 to /30, an IPv6 range of /32 to /126",
}]);
