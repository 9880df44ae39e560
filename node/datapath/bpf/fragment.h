/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fragments. Only a datagram's first one has ports; what it said is remembered for the others, which then pass by the same
 * flow. A program cannot queue: one that comes before its first is dropped, and the sender's transport repeats it.
 */
#ifndef SEALANE_FRAGMENT_H
#define SEALANE_FRAGMENT_H

#include "packet.h"

static __always_inline struct fragment_key fragment_key_of(const struct packet *p)
{
	struct fragment_key key = {
		.vni = p->vni,
		.source = p->wire.source,
		.destination = p->wire.destination,
		.id = p->fragment_id,
		.protocol = p->protocol,
	};

	return key;
}

/*
 * Remembers a first fragment's ports, or gives a later one those of its first. `p->vni` is set, 0 on the uplink.
 * One that overlaps the first would rewrite the header that was judged (RFC 1858, RFC 5722).
 */
__noinline int fragment_resolve(struct packet *p)
{
	struct fragment_key key;
	struct fragment *first;
	struct fragment made = {};

	if (!p || p->part == PART_WHOLE)
		return 0;
	key = fragment_key_of(p);
	if (p->part == PART_FIRST) {
		made.source_port = p->wire.source_port;
		made.destination_port = p->wire.destination_port;
		made.end = p->length - (p->l4 - p->l3);
		bpf_map_update_elem(&fragments, &key, &made, BPF_ANY);
		return 0;
	}
	first = bpf_map_lookup_elem(&fragments, &key);
	if (!first)
		return DROP_FRAGMENT_BEFORE_FIRST;
	if (p->fragment_offset < first->end)
		return DROP_FRAGMENT_MALFORMED;
	p->wire.source_port = first->source_port;
	p->wire.destination_port = first->destination_port;
	p->inside = p->wire;
	return 0;
}

#endif
