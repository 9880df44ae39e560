/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Translation between a flow as its network sees it (inside) and as the uplink or the host's stack sees it (outside).
 * All kinds are the same pair of tuples: a container's way to the world, a published port, the host's leg.
 *
 *     kind                       inside                           outside
 *     to the world               container:p  <-> remote:q        node:p'    <-> remote:q
 *     published                  container:p  <-> client:q        node:P     <-> client:q
 *     published, client inside   container:p  <-> gateway:q'      node:P     <-> client:q
 *     host to container          container:p  <-> gateway:q'      shadow:p   <-> host:q
 *     container to host          container:p  <-> node:q          shadow:p   <-> node:q
 *     to the node's own          container:p  <-> node:P          node:p'    <-> node:P      by the loop, where it is a
 *     published port             other:r      <-> gateway:p''     node:P     <-> node:p'     client of the node itself
 */
#ifndef SEALANE_NAT_H
#define SEALANE_NAT_H

#include "flow.h"

/* Tries at a free port; the original first where it may be used. */
#define PORT_TRIES 16

/* Newer kernels keep a received IPv6 frame's checksum right only if told the family; older ones refuse the flag. */
#define CSUM_IPV6 (1ull << 7)

static __always_inline int nat_has_free_port(const struct packet *p)
{
	return p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP || packet_is_echo_request(p);
}

static __always_inline __be16 nat_port(const struct config *settings, __be16 original, int attempt)
{
	__u32 first = settings->nat_first, last = settings->nat_last;
	__u32 port = bpf_ntohs(original);

	if (attempt == 0 && port >= first && port <= last)
		return original;
	if (last < first)
		return original;
	return bpf_htons(first + bpf_get_prandom_u32() % (last - first + 1));
}

/* Claims the outside tuple for the flow of p->key, then enters the flow. 0, FLOW_TAKEN (either is in use), or a reason. */
static __always_inline int nat_claim(struct scratch *scratch)
{
	struct packet *p = &scratch->packet;
	int reason;

	scratch->translation.key = p->key;
	scratch->translation.container_low = p->endpoint ? p->source_low : !p->source_low;
	if (bpf_map_update_elem(&translations, &p->outside, &scratch->translation, BPF_NOEXIST))
		return FLOW_TAKEN;
	reason = flow_create();
	if (reason)
		bpf_map_delete_elem(&translations, &p->outside);
	return reason;
}

/* A container's way to the world: the node's address, and a port of it that is free towards this remote. */
static __always_inline int nat_begin_world(struct scratch *scratch, const struct config *settings)
{
	struct packet *p = &scratch->packet;
	int attempt, reason;

	p->outside.ours = p->ipv6 ? settings->underlay6 : settings->underlay4;
	p->outside.theirs = p->inside.destination;
	p->outside.their_port = p->inside.destination_port;
	if (!address_is_set(&p->outside.ours))
		return DROP_NAT_EXHAUSTED;
	for (attempt = 0; attempt < PORT_TRIES; attempt++) {
		p->outside.our_port = p->inside.source_port;
		if (nat_has_free_port(p))
			p->outside.our_port = nat_port(settings, p->inside.source_port, attempt);
		else if (attempt)
			break;
		reason = nat_claim(scratch);
		if (reason != FLOW_TAKEN)
			return reason;
	}
	return DROP_NAT_EXHAUSTED;
}

/* Whoever may not appear inside under its own address appears as the gateway, on a port that is free towards this end. */
static __always_inline int nat_begin_gateway(struct scratch *scratch, const struct config *settings)
{
	struct packet *p = &scratch->packet;
	__be16 original = p->inside.source_port;
	int attempt, reason;

	for (attempt = 0; attempt < PORT_TRIES; attempt++) {
		if (attempt && !nat_has_free_port(p))
			break;
		if (attempt)
			p->inside.source_port = nat_port(settings, original, attempt);
		flow_key_fill(p);
		reason = nat_claim(scratch);
		if (reason != FLOW_TAKEN)
			return reason;
	}
	return DROP_NAT_EXHAUSTED;
}

/* Enters the flow that the packet under way begins, translated where its exit asks for it. 0, or the reason to drop. */
__noinline int nat_begin(void)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &ONLY);
	struct config *settings = config_read();
	struct packet *p;
	int reason;

	if (!scratch || !settings)
		return DROP_NAT_EXHAUSTED;
	p = &scratch->packet;
	p->outside.protocol = p->protocol;
	if (p->exit == EXIT_NONE) {
		reason = flow_create();
		return reason == FLOW_TAKEN ? 0 : reason;
	}
	if (p->gateway_source)
		return nat_begin_gateway(scratch, settings);
	if (p->target == TARGET_WORLD)
		return nat_begin_world(scratch, settings);
	reason = nat_claim(scratch);
	return reason == FLOW_TAKEN ? DROP_NAT_EXHAUSTED : reason;
}

/* Where the transport's checksum stands from its header, and how an address enters it; -1: it has none of that kind. */
static __always_inline int nat_checksum_offset(const struct packet *p)
{
	if (p->part == PART_LATER)
		return -1;
	if (p->protocol == IPPROTO_TCP)
		return 16;
	if (p->protocol == IPPROTO_UDP)
		return 6;
	return p->protocol == IPPROTO_ICMPV6 && p->ipv6 ? 2 : -1;
}

static __always_inline int nat_transport_diff(struct __sk_buff *skb, const struct packet *p, __be32 from, __be64 to, __u64 flags)
{
	int offset = nat_checksum_offset(p);

	if (offset < 0)
		return 0;
	if (p->protocol == IPPROTO_UDP)
		flags |= BPF_F_MARK_MANGLED_0;
	return bpf_l4_csum_replace(skb, p->l4 + offset, from, to, flags);
}

/* One address, at `at` bytes from the IP header. */
static __always_inline int nat_address(struct __sk_buff *skb, const struct packet *p, struct address *from, struct address *to,
				       int destination)
{
	__s64 diff;

	if (address_equal(from, to))
		return 0;
	if (!p->ipv6) {
		if (bpf_l3_csum_replace(skb, p->l3 + 10, from->word[3], to->word[3], 4) ||
		    nat_transport_diff(skb, p, from->word[3], to->word[3], BPF_F_PSEUDO_HDR | 4))
			return -1;
		return bpf_skb_store_bytes(skb, p->l3 + (destination ? 16 : 12), &to->word[3], 4, 0);
	}
	diff = bpf_csum_diff((__be32 *)from, sizeof(*from), (__be32 *)to, sizeof(*to), 0);
	if (diff < 0)
		return -1;
	if (nat_transport_diff(skb, p, 0, diff, BPF_F_PSEUDO_HDR | CSUM_IPV6) &&
	    nat_transport_diff(skb, p, 0, diff, BPF_F_PSEUDO_HDR))
		return -1;
	return bpf_skb_store_bytes(skb, p->l3 + (destination ? 24 : 8), to, sizeof(*to), 0);
}

/* A port, or an ICMP identifier, `at` bytes from the transport header. */
static __always_inline int nat_port_write(struct __sk_buff *skb, const struct packet *p, int at, __be16 from, __be16 to)
{
	int checksum = packet_is_icmp(p) ? 2 : nat_checksum_offset(p);
	__u64 flags = 2 | (p->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0);

	if (from == to || p->part == PART_LATER)
		return 0;
	if (checksum < 0 || bpf_l4_csum_replace(skb, p->l4 + checksum, from, to, flags))
		return -1;
	return bpf_skb_store_bytes(skb, p->l4 + at, &to, sizeof(to), 0);
}

/* Writes `want` over what the frame has. 0, or the reason to drop. */
__noinline int nat_rewrite(struct __sk_buff *skb, struct packet *p, struct tuple *want)
{
	int failed;

	if (!p || !want)
		return DROP_REDIRECT_FAILED;
	failed = nat_address(skb, p, &p->wire.source, &want->source, 0) ||
		 nat_address(skb, p, &p->wire.destination, &want->destination, 1);
	if (failed)
		return DROP_REDIRECT_FAILED;
	if (packet_is_icmp(p)) {
		if (packet_is_echo_request(p))
			failed = nat_port_write(skb, p, 4, p->wire.source_port, want->source_port);
		else if (packet_is_echo_answer(p))
			failed = nat_port_write(skb, p, 4, p->wire.destination_port, want->destination_port);
	} else {
		failed = nat_port_write(skb, p, 0, p->wire.source_port, want->source_port) ||
			 nat_port_write(skb, p, 2, p->wire.destination_port, want->destination_port);
	}
	p->wire = *want;
	return failed ? DROP_REDIRECT_FAILED : 0;
}

/* What a packet from the container looks like outside. */
static __always_inline void nat_outward(const struct outside *o, struct tuple *want)
{
	want->source = o->ours;
	want->source_port = o->our_port;
	want->destination = o->theirs;
	want->destination_port = o->their_port;
}

/* Sets p->inside, and the ends' networks, to what the translation says of a packet that comes from outside. */
static __always_inline void nat_inward(struct packet *p, const struct translation *t)
{
	const struct flow_end *container = t->container_low ? &t->key.low : &t->key.high;
	const struct flow_end *remote = t->container_low ? &t->key.high : &t->key.low;

	p->inside.source = remote->address;
	p->inside.source_port = remote->port;
	p->inside.destination = container->address;
	p->inside.destination_port = container->port;
	p->source_vni = remote->vni;
	p->destination_vni = container->vni;
	p->vni = container->vni;
}

#endif
