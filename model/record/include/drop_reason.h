/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * Every way in which the datapath drops a packet: the one list. The eBPF programs include it; the Rust enum, the metric's
 * label, the trace and the command line are made from it when `record` is built.
 *
 * DROP_REASON(number, name, "what it means, for a person")
 * Numbers are on disk and in maps: append, never renumber.
 */
#define DROP_REASONS(DROP_REASON)                                                                        \
	DROP_REASON(1, policy_denied, "a policy's rule, or a policy's isolation, denies it")              \
	DROP_REASON(2, default_denied, "no policy speaks of it and the network's default is Deny")        \
	DROP_REASON(3, source_spoofed, "the source address or MAC is not this endpoint's")                \
	DROP_REASON(4, link_unknown, "it came from a link that belongs to no endpoint")                   \
	DROP_REASON(5, network_unknown, "this node holds no such network")                                \
	DROP_REASON(6, route_unknown, "no endpoint, block or route holds the destination")                \
	DROP_REASON(7, group_unknown, "the sender's group has no rules on this node yet")                 \
	DROP_REASON(8, sender_unknown, "the outer source is no node of this fabric")                      \
	DROP_REASON(9, sender_foreign, "the sending node holds neither this network nor this source")     \
	DROP_REASON(10, egress_off, "the network has no way out to the world")                            \
	DROP_REASON(11, header_malformed, "a header is truncated or contradicts itself")                  \
	DROP_REASON(12, protocol_unsupported, "neither IPv4, IPv6 nor ARP")                               \
	DROP_REASON(13, multicast_unsupported, "multicast or broadcast")                                  \
	DROP_REASON(14, fragment_before_first, "a fragment came before its datagram's first")             \
	DROP_REASON(15, fragment_malformed, "a fragment overlaps, or the first lacks the whole transport header") \
	DROP_REASON(16, flow_missing, "it belongs to no flow and may not begin one")                      \
	DROP_REASON(17, flows_exhausted, "the node's flow table is full")                                 \
	DROP_REASON(18, flows_over_quota, "the tenant has used up its flows on this node")                \
	DROP_REASON(19, nat_exhausted, "no free port to translate the source to")                         \
	DROP_REASON(20, too_big, "larger than the path, and it may not be fragmented")                    \
	DROP_REASON(21, neighbor_missing, "the next hop on the underlay did not answer")                  \
	DROP_REASON(22, redirect_failed, "the kernel refused to pass it on")                              \
	DROP_REASON(23, icmp_unrelated, "an ICMP error about no flow of this network")                    \
	DROP_REASON(24, host_unjudged, "the host stack sent it past the fabric's own leg")                \
	DROP_REASON(25, port_unpublished, "no endpoint has published this port")                          \
	DROP_REASON(26, encapsulation_failed, "the outer header could not be set")                        \
	DROP_REASON(27, ttl_exceeded, "its time to live ran out")                                 \
	DROP_REASON(28, overlay_forged, "an endpoint may not speak the overlay's own protocol to a node") \
	DROP_REASON(29, host_forwarded, "the host forwards it from another device: its leg takes the host's own packets alone")
