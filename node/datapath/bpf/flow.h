/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows: who began one, what judged it, how far it has come. One entry serves both directions and both local endpoints.
 */
#ifndef SEALANE_FLOW_H
#define SEALANE_FLOW_H

#include "event.h"
#include "policy.h"

/* What `flow_create` says when another CPU has just made the entry. */
#define FLOW_TAKEN (-1)

static __always_inline void flow_end_fill(struct flow_end *end, const struct address *address, __u32 vni, __be16 port)
{
	end->address = *address;
	end->vni = vni;
	end->port = port;
	end->unused = 0;
}

static __always_inline int flow_source_is_low(const struct packet *p)
{
	const struct tuple *t = &p->inside;
	int i;

	if (p->source_vni != p->destination_vni)
		return p->source_vni < p->destination_vni;
	for (i = 0; i < 4; i++) {
		if (t->source.word[i] != t->destination.word[i])
			return t->source.word[i] < t->destination.word[i];
	}
	return t->source_port <= t->destination_port;
}

/* Makes p->key from p->inside and the ends' networks. */
static __always_inline void flow_key_fill(struct packet *p)
{
	const struct tuple *t = &p->inside;
	struct flow_end *source, *destination;

	p->source_low = flow_source_is_low(p);
	source = p->source_low ? &p->key.low : &p->key.high;
	destination = p->source_low ? &p->key.high : &p->key.low;
	flow_end_fill(source, &t->source, p->source_vni, t->source_port);
	flow_end_fill(destination, &t->destination, p->destination_vni, t->destination_port);
	p->key.protocol = p->protocol;
}

static __always_inline int flow_is_expired(const struct packet *p, const struct flow *f)
{
	struct config *settings = config_read();
	__u32 state = f->state;

	if (!settings || state >= FLOW_STATES)
		return 1;
	return p->now > f->seen + settings->timeouts[state] * NS_PER_SECOND;
}

/* Forgets the flow of p->key and the way to it from outside. The tenant gets its place back once: who did it gets 1. */
static __always_inline int flow_remove(struct packet *p, struct flow *f)
{
	struct tenant *tenant = bpf_map_lookup_elem(&tenants, &f->tenant);

	if (f->exit != EXIT_NONE) {
		p->outside = f->outside;
		bpf_map_delete_elem(&translations, &p->outside);
	}
	if (bpf_map_delete_elem(&flows, &p->key))
		return 0;
	if (tenant && tenant->flows)
		__sync_fetch_and_sub(&tenant->flows, 1);
	return 1;
}

static __always_inline __u8 flow_first_state(const struct packet *p)
{
	if (p->protocol == IPPROTO_TCP)
		return STATE_TCP_OPENING;
	if (p->protocol == IPPROTO_UDP)
		return STATE_UDP_ONE_WAY;
	return packet_is_icmp(p) ? STATE_ICMP : STATE_OTHER;
}

/* `back`: the packet goes to the initiator. RFC 9293, 3.3.2, as seen from the middle. */
static __always_inline void flow_advance(const struct packet *p, struct flow *f, int back)
{
	if (p->protocol == IPPROTO_UDP) {
		if (back)
			f->state = STATE_UDP_BOTH_WAYS;
		return;
	}
	if (p->protocol != IPPROTO_TCP)
		return;
	if (p->tcp_flags & TCP_RST) {
		f->state = STATE_TCP_CLOSED;
		return;
	}
	if (p->tcp_flags & TCP_FIN) {
		f->finished |= back ? 2 : 1;
		f->state = f->finished == 3 ? STATE_TCP_CLOSED : STATE_TCP_CLOSING;
		return;
	}
	if (back && f->state == STATE_TCP_OPENING)
		f->state = STATE_TCP_OPEN;
}

static __always_inline void flow_count(const struct packet *p, struct flow *f, int back)
{
	if (f->seen != p->now)
		f->seen = p->now;
	__sync_fetch_and_add(&f->packets[back & 1], 1);
	__sync_fetch_and_add(&f->bytes[back & 1], p->length);
}

/* Enters the key of the packet under way as begun by it. 0, FLOW_TAKEN, or the reason to drop. */
__noinline int flow_create(void)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &ONLY);
	struct tenant *tenant;
	struct packet *p;
	struct flow *made;
	long result;

	if (!scratch)
		return DROP_FLOWS_EXHAUSTED;
	p = &scratch->packet;
	made = &scratch->flow;
	__builtin_memset(made, 0, sizeof(*made));
	tenant = bpf_map_lookup_elem(&tenants, &p->tenant);
	if (tenant && __sync_fetch_and_add(&tenant->flows, 1) >= tenant->quota) {
		__sync_fetch_and_sub(&tenant->flows, 1);
		return DROP_FLOWS_OVER_QUOTA;
	}
	made->created = p->now;
	made->seen = p->now;
	made->packets[0] = 1;
	made->bytes[0] = p->length;
	made->outside = p->outside;
	made->tenant = p->tenant;
	made->generation = p->generation;
	made->rule = p->judgement.rule;
	made->groups[0] = p->source_group;
	made->groups[1] = p->destination_group;
	made->initiator_low = p->source_low;
	made->container_low = p->endpoint ? p->source_low : !p->source_low;
	made->sides = p->sides;
	made->state = flow_first_state(p);
	made->exit = p->exit;
	result = bpf_map_update_elem(&flows, &p->key, made, BPF_NOEXIST);
	if (!result)
		return 0;
	if (tenant)
		__sync_fetch_and_sub(&tenant->flows, 1);
	return result == -17 /* EEXIST */ ? FLOW_TAKEN : DROP_FLOWS_EXHAUSTED;
}

#endif
