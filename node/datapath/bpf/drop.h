/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one way out for a packet that does not pass: counted by (network, tenant, reason, rule), and a sample of them told.
 */
#ifndef SEALANE_DROP_H
#define SEALANE_DROP_H

#include "drop_reason.h"

/* The names, as constants are written; a name missing from the list does not compile. */
#define DROP_REASON_ENTRY(number, name, meaning) DROP_NUMBER_##name = number,
enum drop_number { DROP_REASONS(DROP_REASON_ENTRY) };

#define DROP_POLICY_DENIED DROP_NUMBER_policy_denied
#define DROP_DEFAULT_DENIED DROP_NUMBER_default_denied
#define DROP_SOURCE_SPOOFED DROP_NUMBER_source_spoofed
#define DROP_LINK_UNKNOWN DROP_NUMBER_link_unknown
#define DROP_NETWORK_UNKNOWN DROP_NUMBER_network_unknown
#define DROP_ROUTE_UNKNOWN DROP_NUMBER_route_unknown
#define DROP_GROUP_UNKNOWN DROP_NUMBER_group_unknown
#define DROP_SENDER_UNKNOWN DROP_NUMBER_sender_unknown
#define DROP_SENDER_FOREIGN DROP_NUMBER_sender_foreign
#define DROP_EGRESS_OFF DROP_NUMBER_egress_off
#define DROP_HEADER_MALFORMED DROP_NUMBER_header_malformed
#define DROP_PROTOCOL_UNSUPPORTED DROP_NUMBER_protocol_unsupported
#define DROP_MULTICAST_UNSUPPORTED DROP_NUMBER_multicast_unsupported
#define DROP_FRAGMENT_BEFORE_FIRST DROP_NUMBER_fragment_before_first
#define DROP_FRAGMENT_MALFORMED DROP_NUMBER_fragment_malformed
#define DROP_FLOW_MISSING DROP_NUMBER_flow_missing
#define DROP_FLOWS_EXHAUSTED DROP_NUMBER_flows_exhausted
#define DROP_FLOWS_OVER_QUOTA DROP_NUMBER_flows_over_quota
#define DROP_NAT_EXHAUSTED DROP_NUMBER_nat_exhausted
#define DROP_TOO_BIG DROP_NUMBER_too_big
#define DROP_REDIRECT_FAILED DROP_NUMBER_redirect_failed
#define DROP_ICMP_UNRELATED DROP_NUMBER_icmp_unrelated
#define DROP_HOST_UNJUDGED DROP_NUMBER_host_unjudged
#define DROP_PORT_UNPUBLISHED DROP_NUMBER_port_unpublished
#define DROP_ENCAPSULATION_FAILED DROP_NUMBER_encapsulation_failed
#define DROP_TTL_EXCEEDED DROP_NUMBER_ttl_exceeded
#define DROP_OVERLAY_FORGED DROP_NUMBER_overlay_forged
#define DROP_HOST_FORWARDED DROP_NUMBER_host_forwarded

#endif
