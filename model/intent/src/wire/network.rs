//! `VirtualNetwork`.

use record::Vni;

use super::meta::{API_VERSION, KIND, METADATA, STATUS};
use crate::schema::{Absent, Field, Format, Schema};

/// `sealane.dev/v1alpha1` `VirtualNetwork`.
pub const VIRTUAL_NETWORK: Schema = Schema::object(
    "A virtual network: address ranges of a tenant's own, which may overlap any other network's.",
    &[
        API_VERSION,
        KIND,
        METADATA,
        Field::required(
            "spec",
            Schema::object(
                "What is asked for.",
                &[
                    Field::required(
                        "subnets",
                        Schema::list_of("Its address ranges; none overlaps another.", &SUBNET, 1, 16),
                    ),
                    Field::preset(
                        "defaultVerdict",
                        Schema::text("What holds for traffic that no policy speaks of.", VERDICT),
                        Absent::Text("Allow"),
                    ),
                    Field::preset(
                        "world",
                        Schema::text(
                            "Whether endpoints may leave to addresses outside the fabric, source-translated to their node.",
                            VERDICT,
                        ),
                        Absent::Text("Allow"),
                    ),
                    Field::optional(
                        "mtu",
                        Schema::number(
                            "The largest packet of an endpoint in bytes, for endpoints attached from now on; left out: what the underlay leaves.",
                            576,
                            65_535,
                        ),
                    ),
                    Field::optional(
                        "vni",
                        Schema::number(
                            "The VXLAN network identifier (RFC 7348), unique in the fabric; left out: the server gives one.",
                            1,
                            Vni::MAX as i64,
                        ),
                    ),
                ],
            ),
        ),
        STATUS,
    ],
);

const VERDICT: Format = Format::OneOf(&["Allow", "Deny"]);

const SUBNET: Schema = Schema::object(
    "One address range.",
    &[
        Field::required(
            "cidr",
            Schema::text("The range, such as 10.1.0.0/16 or fd00:1::/64.", Format::Prefix),
        ),
        Field::optional(
            "gateway",
            Schema::text(
                "The address that the fabric answers on; left out: the one after the range's first.",
                Format::Address,
            ),
        ),
    ],
);
