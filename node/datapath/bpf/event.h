/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counting drops and telling a sample of them. A flood must not drown the reader: each CPU tells at most so many a second,
 * and counts what it did not tell.
 */
#ifndef SEALANE_EVENT_H
#define SEALANE_EVENT_H

#include "packet.h"

#define NS_PER_SECOND 1000000000ull

static __always_inline int event_is_due(const struct packet *p, struct event_rate *rate)
{
	struct config *settings = config_read();
	__u64 second = p->now / NS_PER_SECOND;

	if (!settings)
		return 0;
	if (rate->second != second) {
		rate->second = second;
		rate->sent = 0;
	}
	if (rate->sent >= settings->events_per_second) {
		rate->lost++;
		return 0;
	}
	rate->sent++;
	return 1;
}

static __always_inline void event_tell(const struct packet *p, __u32 reason)
{
	struct event_rate *rate = bpf_map_lookup_elem(&event_rates, &ONLY);
	struct event *event;

	if (!rate || !event_is_due(p, rate))
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		rate->lost++;
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time = p->now;
	event->source = p->inside.source;
	event->destination = p->inside.destination;
	event->source_port = p->inside.source_port;
	event->destination_port = p->inside.destination_port;
	event->vni = p->vni;
	event->tenant = p->tenant;
	event->rule = p->rule;
	event->link = p->link;
	event->source_group = p->source_group == ABSENT ? GROUP_UNKNOWN : p->source_group;
	event->destination_group = p->destination_group == ABSENT ? GROUP_UNKNOWN : p->destination_group;
	event->protocol = p->protocol;
	event->reason = reason;
	if (reason == DROP_POLICY_DENIED)
		event->side = p->judgement.egress >> 30 == VERDICT_DENY ? SIDE_EGRESS : SIDE_INGRESS;
	bpf_ringbuf_submit(event, 0);
}

/* Drops the packet for `reason`, of the list in drop_reason.h. Always TC_ACT_SHOT. */
__noinline int packet_drop(struct packet *p, __u32 reason)
{
	struct drop_key key = {};
	struct drop_count *count, first = {};

	if (!p)
		return TC_ACT_SHOT;
	key.vni = p->vni;
	key.tenant = p->tenant;
	key.reason = reason;
	key.rule = p->rule;
	count = bpf_map_lookup_elem(&drops, &key);
	if (!count) {
		/* A full table loses the rule and the network, never the reason: the loader makes those entries at start. */
		if (bpf_map_update_elem(&drops, &key, &first, BPF_NOEXIST) == -7 /* E2BIG */) {
			key.vni = 0;
			key.tenant = 0;
			key.rule = 0;
		}
		count = bpf_map_lookup_elem(&drops, &key);
	}
	if (count) {
		count->packets++;
		count->bytes += p->length;
	}
	event_tell(p, reason);
	return TC_ACT_SHOT;
}

#endif
