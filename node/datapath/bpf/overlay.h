/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The wire between nodes: VXLAN (RFC 7348) with the group policy extension. The VNI is the network, the 16-bit group the
 * sender's. A tag is believed only from a node that holds the network and the inner source.
 */
#ifndef SEALANE_OVERLAY_H
#define SEALANE_OVERLAY_H

#include "icmp.h"
#include "route.h"

/* What the kernel's VXLAN device reads and writes as tunnel option (struct vxlan_metadata). */
struct tunnel_group {
	__u32 gbp;
};

/* Bytes of the IP packet that go on the wire in one piece: a large send is cut into segments by the device. */
static __always_inline __u32 packet_wire_length(struct __sk_buff *skb, const struct packet *p)
{
	__u32 headers = p->l4 - p->l3 + (p->protocol == IPPROTO_TCP ? 32 : 8);

	return skb->gso_size ? skb->gso_size + headers : p->length;
}

/* To the node of p->target_node, with the sender's group. */
static __always_inline int overlay_send(struct __sk_buff *skb, struct packet *p)
{
	struct config *settings = config_read();
	__u32 node = p->target_node;
	struct address *remote = bpf_map_lookup_elem(&nodes, &node);
	struct tunnel_group group = { .gbp = p->source_group & 0xffff };
	struct bpf_tunnel_key key = { .tunnel_id = p->vni, .tunnel_ttl = 64 };
	__u64 flags = 0;

	if (!settings || !remote)
		return packet_drop(p, DROP_ROUTE_UNKNOWN);
	if (settings->overlay_mtu && packet_wire_length(skb, p) > settings->overlay_mtu)
		return icmp_answer_too_big(skb, p, settings->overlay_mtu);
	if (address_is_ipv4(remote)) {
		key.remote_ipv4 = bpf_ntohl(remote->word[3]);
		/* Others know this node by this address. */
		key.local_ipv4 = bpf_ntohl(settings->underlay4.word[3]);
		flags = BPF_F_ZERO_CSUM_TX;
	} else {
		__builtin_memcpy(key.remote_ipv6, remote, sizeof(key.remote_ipv6));
		__builtin_memcpy(key.local_ipv6, &settings->underlay6, sizeof(key.local_ipv6));
		flags = BPF_F_TUNINFO_IPV6;
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags) || bpf_skb_set_tunnel_opt(skb, &group, sizeof(group)))
		return packet_drop(p, DROP_ENCAPSULATION_FAILED);
	return bpf_redirect(settings->overlay_link, 0);
}

/* Reads the VNI, the sender's node and the group of a decapsulated frame. 0, or the reason to drop. */
static __always_inline int overlay_read(struct __sk_buff *skb, struct packet *p, __u32 *sender)
{
	struct bpf_tunnel_key key = {};
	struct tunnel_group group = {};
	struct address outer = {};
	__u32 *node;

	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0))
		address_from_ipv4(&outer, bpf_htonl(key.remote_ipv4));
	else if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
		__builtin_memcpy(&outer, key.remote_ipv6, sizeof(outer));
	else
		return DROP_SENDER_UNKNOWN;
	p->vni = key.tunnel_id;
	node = bpf_map_lookup_elem(&nodes_by_address, &outer);
	if (!node)
		return DROP_SENDER_UNKNOWN;
	*sender = *node;
	if (bpf_skb_get_tunnel_opt(skb, &group, sizeof(group)) < 0)
		group.gbp = 0;
	/* Nobody may claim to be the host: a number that is not given out is no group. */
	p->source_group = group.gbp & 0xffff;
	if (p->source_group < 256)
		p->source_group = GROUP_UNKNOWN;
	return 0;
}

/* Whether the node may speak for this source in this network: 0, or the reason to drop. */
static __always_inline int overlay_check_sender(struct packet *p, __u32 sender)
{
	struct member_key member = { .node = sender, .vni = p->vni };
	struct network *network = network_find(p->vni);
	struct route *route;

	if (!network)
		return DROP_NETWORK_UNKNOWN;
	p->tenant = network->tenant;
	p->network_flags = network_flags(network, p->generation);
	if (!bpf_map_lookup_elem(&members, &member))
		return DROP_SENDER_FOREIGN;
	route = route_longest(p->vni, &p->wire.source);
	if (!route || !(route->kind & ROUTE_NODE) || route->node != sender)
		return DROP_SENDER_FOREIGN;
	return 0;
}

#endif
