/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ways out of the fabric: the world by the uplink, the host's stack by its leg, this node's published ports by a loop.
 *
 * The host has no route to overlapping tenants. It names each local endpoint by a shadow address, unique on the node, and the
 * leg translates to and from it.
 */
#ifndef SEALANE_LEG_H
#define SEALANE_LEG_H

#include "overlay.h"

/* Into the host's stack. A frame that is received again is judged by its MAC: it must be the receiving device's. */
static __always_inline int leg_send(struct __sk_buff *skb, struct packet *p)
{
	struct config *settings = config_read();

	if (!settings || !settings->leg_host_link)
		return packet_drop(p, DROP_ROUTE_UNKNOWN);
	if (frame_address(skb, settings->leg_host_mac) || bpf_skb_change_type(skb, PACKET_HOST))
		return packet_drop(p, DROP_REDIRECT_FAILED);
	return bpf_redirect(settings->leg_host_link, BPF_F_INGRESS);
}

/*
 * Past the host's stack, which would take it for its own, and out of its end of the leg: `from_host` meets it at the other as
 * from_uplink meets what another node sends.
 */
static __always_inline int loop_send(struct __sk_buff *skb, struct packet *p)
{
	struct config *settings = config_read();

	if (!settings || !settings->leg_host_link)
		return packet_drop(p, DROP_ROUTE_UNKNOWN);
	skb->mark = MARK_JUDGED;
	return bpf_redirect(settings->leg_host_link, 0);
}

static __always_inline int uplink_decrement_ttl(struct __sk_buff *skb, const struct packet *p)
{
	__u8 ttl = p->ttl - 1;

	if (p->ipv6)
		return bpf_skb_store_bytes(skb, p->l3 + 7, &ttl, 1, 0);
	/* The checksum's 16-bit word holds the time to live and the protocol. */
	if (bpf_l3_csum_replace(skb, p->l3 + 10, bpf_htons(p->ttl << 8 | p->protocol), bpf_htons(ttl << 8 | p->protocol), 2))
		return -1;
	return bpf_skb_store_bytes(skb, p->l3 + 8, &ttl, 1, 0);
}

/* Whether the packet fits the device: its ifindex, or, negative, the MTU. */
static __always_inline long uplink_fits(struct __sk_buff *skb, __u32 link)
{
	__u32 mtu = 0;

	return bpf_check_mtu(skb, link, &mtu, 0, 0) == BPF_MTU_CHK_RET_FRAG_NEEDED ? -(long)mtu : (long)link;
}

/*
 * Asks the host's routes about one uplink. The uplink; 0: no way by it; or, negative, the MTU that is too small. The kernel
 * tells its routes only where the device forwards; where it does not, the route is looked up when the packet is sent.
 */
static __always_inline long uplink_try(struct __sk_buff *skb, const struct packet *p, __u32 link)
{
	struct bpf_fib_lookup fib = {};
	long result;

	fib.ifindex = link;
	fib.l4_protocol = p->protocol;
	fib.tot_len = skb->gso_size ? 0 : p->length;
	if (p->ipv6) {
		fib.family = 10 /* AF_INET6 */;
		__builtin_memcpy(fib.ipv6_src, &p->outside.ours, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &p->outside.theirs, sizeof(fib.ipv6_dst));
	} else {
		fib.family = 2 /* AF_INET */;
		fib.ipv4_src = p->outside.ours.word[3];
		fib.ipv4_dst = p->outside.theirs.word[3];
	}
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), BPF_FIB_LOOKUP_OUTPUT);
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return -(long)fib.mtu_result;
	if (result == BPF_FIB_LKUP_RET_SUCCESS || result == BPF_FIB_LKUP_RET_NO_NEIGH || result == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return uplink_fits(skb, link);
	return 0;
}

/* The first uplink by which the host's routes reach the destination. */
__noinline long uplink_find(struct __sk_buff *skb, struct packet *p)
{
	struct config *settings = config_read();
	int i;

	if (!p || !settings)
		return 0;
	for (i = 0; i < UPLINKS; i++) {
		long found = settings->uplinks[i] ? uplink_try(skb, p, settings->uplinks[i]) : 0;

		if (found)
			return found;
	}
	return 0;
}

/*
 * Whether the packet would look like one of the overlay's own. It leaves under this node's address, which other nodes trust:
 * a container could speak in any network, for any group.
 */
static __always_inline int uplink_is_forged(const struct packet *p)
{
	struct config *settings = config_read();
	struct address theirs = p->outside.theirs;

	return settings && p->protocol == IPPROTO_UDP && p->outside.their_port == settings->overlay_port &&
	       bpf_map_lookup_elem(&nodes_by_address, &theirs);
}

/* Out to the world, by a flow whose translation is in p->outside. */
static __always_inline int uplink_send(struct __sk_buff *skb, struct packet *p)
{
	long link;
	int reason;
	struct tuple want;

	if (uplink_is_forged(p))
		return packet_drop(p, DROP_OVERLAY_FORGED);
	if (p->ttl <= 1)
		return icmp_answer_ttl_exceeded(skb, p);
	link = uplink_find(skb, p);
	if (link < 0)
		return icmp_answer_too_big(skb, p, -link);
	if (!link)
		return packet_drop(p, DROP_ROUTE_UNKNOWN);
	nat_outward(&p->outside, &want);
	reason = nat_rewrite(skb, p, &want);
	if (reason || uplink_decrement_ttl(skb, p))
		return packet_drop(p, DROP_REDIRECT_FAILED);
	return bpf_redirect_neigh(link, NULL, 0, 0);
}

/* Out by whichever exit the flow has. */
static __always_inline int exit_send(struct __sk_buff *skb, struct packet *p)
{
	struct tuple want;
	int reason;

	if (p->exit == EXIT_UPLINK)
		return uplink_send(skb, p);
	nat_outward(&p->outside, &want);
	reason = nat_rewrite(skb, p, &want);
	if (reason)
		return packet_drop(p, reason);
	return p->exit == EXIT_LOOP ? loop_send(skb, p) : leg_send(skb, p);
}

#endif
