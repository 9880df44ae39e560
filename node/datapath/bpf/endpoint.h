/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The containers on this node: whether a frame is truly theirs, and handing frames to them.
 */
#ifndef SEALANE_ENDPOINT_H
#define SEALANE_ENDPOINT_H

#include "event.h"

/* Marks a frame that a program sends out of a container's link, or round the leg, on purpose; the programs there drop all others. */
#define MARK_JUDGED 0x5ea1a9e0

/* The MAC and the address must be the endpoint's own. Every network's gateway answers neighbors, so none is spoofed. */
static __always_inline int endpoint_owns_source(const struct packet *p, const struct endpoint *e)
{
	const struct address *own = p->ipv6 ? &e->address6 : &e->address4;
	const __u8 *mac = p->frame.from;
	int i;

	for (i = 0; i < ETH_ALEN; i += 2) {
		if (*(__u16 *)(mac + i) != *(__u16 *)(e->mac + i))
			return 0;
	}
	if (p->ethertype == ETH_P_ARP)
		return 1;
	return address_is_set(own) && address_equal(&p->wire.source, own);
}

/* Writes the frame's Ethernet addresses: from the gateway, to `mac`. */
static __always_inline int frame_address(struct __sk_buff *skb, const __u8 *mac)
{
	struct config *settings = config_read();
	__u8 addresses[2 * ETH_ALEN];

	if (!settings)
		return -1;
	__builtin_memcpy(addresses, mac, ETH_ALEN);
	__builtin_memcpy(addresses + ETH_ALEN, settings->gateway_mac, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, addresses, sizeof(addresses), 0);
}

/*
 * Into the container of p->target_link. The peer skips the link's own egress program, so ingress policy is behind us.
 * The frame was addressed to another station (the gateway, the VXLAN device): the container's stack must take it as its own.
 */
static __always_inline int endpoint_deliver(struct __sk_buff *skb, struct packet *p)
{
	if (frame_address(skb, p->target_mac) || bpf_skb_change_type(skb, PACKET_HOST))
		return packet_drop(p, DROP_REDIRECT_FAILED);
	return bpf_redirect_peer(p->target_link, 0);
}

/* Back out of the link that it came by, to the container that sent it. */
static __always_inline int endpoint_answer(struct __sk_buff *skb, struct packet *p)
{
	skb->mark = MARK_JUDGED;
	return bpf_redirect(p->link, 0);
}

#endif
