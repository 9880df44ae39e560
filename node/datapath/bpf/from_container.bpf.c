/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hook: ingress of the host's end of a container's veth pair. What the container sends. */
#include "leg.h"

/* What a container may say on its link at all. 0, or the reason to drop. */
static __always_inline int container_check(struct packet *p, const struct endpoint *e)
{
	if (address_is_multicast(&p->wire.destination, p->ipv6))
		return DROP_MULTICAST_UNSUPPORTED;
	if (!endpoint_owns_source(p, e))
		return DROP_SOURCE_SPOOFED;
	if (p->frame.to[0] & 1)
		return DROP_MULTICAST_UNSUPPORTED;
	return fragment_resolve(p);
}

static __always_inline int container_send(struct __sk_buff *skb, struct packet *p)
{
	if (p->exit != EXIT_NONE)
		return exit_send(skb, p);
	if (p->target == TARGET_LOCAL)
		return endpoint_deliver(skb, p);
	if (p->target == TARGET_NODE)
		return overlay_send(skb, p);
	return packet_drop(p, DROP_ROUTE_UNKNOWN);
}

__noinline int container_forward(struct __sk_buff *skb, struct packet *p)
{
	int reason;

	if (!p)
		return TC_ACT_SHOT;
	reason = route_find(p);
	if (reason)
		return packet_drop(p, reason);
	if (p->target == TARGET_GATEWAY && packet_is_echo_request(p) && p->part == PART_WHOLE)
		return icmp_answer_echo(skb, p);
	if (p->target == TARGET_HOST) {
		p->outside.theirs = p->inside.destination;
		p->outside.our_port = p->inside.source_port;
		p->outside.their_port = p->inside.destination_port;
	}
	reason = p->is_icmp_error ? icmp_outward(skb) : flow_admit();
	if (reason)
		return packet_drop(p, reason);
	return container_send(skb, p);
}

SEC("tc")
int from_container(struct __sk_buff *skb)
{
	struct scratch *scratch = packet_begin(skb);
	struct endpoint *e;
	struct packet *p;
	int reason;

	if (!scratch)
		return TC_ACT_SHOT;
	p = &scratch->packet;
	e = bpf_map_lookup_elem(&endpoints_by_link, &p->link);
	if (!e)
		return packet_drop(p, DROP_LINK_UNKNOWN);
	p->vni = e->vni;
	p->tenant = e->tenant;
	p->endpoint = e->link;
	reason = packet_parse(skb, p);
	if (reason)
		return packet_drop(p, reason);
	if (p->ethertype == ETH_P_ARP) {
		if (!endpoint_owns_source(p, e))
			return packet_drop(p, DROP_SOURCE_SPOOFED);
		return neighbor_answer_arp(skb, p, &e->address4);
	}
	if (neighbor_is_solicitation(p))
		return neighbor_answer_nd(skb, p, &e->address6);
	p->source_group = p->ipv6 ? e->group6 : e->group4;
	p->outside.ours = p->ipv6 ? e->shadow6 : e->shadow4;
	reason = container_check(p, e);
	if (reason)
		return packet_drop(p, reason);
	return container_forward(skb, p);
}
