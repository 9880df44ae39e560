/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hook: ingress of an uplink. Answers from the world, and clients of published ports; all else is the host's and untouched. */

#define UPLINK_NOT_OURS TC_ACT_UNSPEC

/* Sets what a packet for the endpoint of p->inside.destination needs. 0, or the reason to drop. */
static __always_inline int uplink_find_endpoint(struct packet *p)
{
	struct network *network = network_find(p->vni);
	struct place place = { .vni = p->vni, .address = p->inside.destination };
	struct resident *resident = bpf_map_lookup_elem(&endpoints_by_address, &place);

	if (!network)
		return DROP_NETWORK_UNKNOWN;
	p->tenant = network->tenant;
	p->network_flags = network_flags(network, p->generation);
	if (!resident || !resident->link)
		return DROP_ROUTE_UNKNOWN;
	return route_to_resident(p, resident);
}

static __always_inline void outside_from_wire(struct packet *p)
{
	p->outside.ours = p->wire.destination;
	p->outside.our_port = p->wire.destination_port;
	p->outside.theirs = p->wire.source;
	p->outside.their_port = p->wire.source_port;
	p->outside.protocol = p->protocol;
}

/* A client of a published port begins a flow, which leaves by p->exit. 0, or the reason to drop. */
__noinline int uplink_begin(struct packet *p)
{
	struct published *service;
	struct network *network;
	int reason;

	if (!p)
		return DROP_PORT_UNPUBLISHED;
	service = published_find(&p->wire, p->protocol, p->ipv6);
	if (!service)
		return DROP_PORT_UNPUBLISHED;
	p->vni = service->place.vni;
	p->inside.destination = service->place.address;
	p->inside.destination_port = service->port;
	reason = uplink_find_endpoint(p);
	network = network_find(p->vni);
	if (reason || !network)
		return reason ? reason : DROP_NETWORK_UNKNOWN;
	p->source_group = policy_class(p->tenant, &p->wire.source, p->generation);
	p->source_vni = 0;
	p->sides = SIDE_INGRESS;
	/* The node's own address is nobody's inside: a container would take it for the host. */
	if (p->exit == EXIT_LOOP || route_is_inside(p->vni, &p->wire.source)) {
		p->inside.source = *network_gateway(network, p->ipv6);
		p->source_vni = p->vni;
		p->gateway_source = 1;
	}
	return flow_admit();
}

/*
 * The packet under way as one of a translated flow. 0, or the reason to drop; DROP_FLOW_MISSING where the flow has ended, or
 * there is none: then the packet is as it came, and may be a published port's.
 */
__noinline int uplink_continue(void)
{
	struct packet *p = packet_here();
	struct translation *t;
	int reason;

	if (!p)
		return DROP_FLOW_MISSING;
	t = bpf_map_lookup_elem(&translations, &p->outside);
	if (!t)
		return DROP_FLOW_MISSING;
	nat_inward(p, t);
	p->follows = 1;
	reason = uplink_find_endpoint(p);
	reason = reason ? reason : flow_admit();
	if (reason == DROP_FLOW_MISSING) {
		p->follows = 0;
		p->inside = p->wire;
		outside_from_wire(p);
	}
	return reason;
}

/*
 * Most of what comes in is the overlay's own, and nobody else's: the kernel's VXLAN device listens at its port. It is told by few
 * bytes, before any table is asked; IPv4 with options and IPv6 with extensions take the long way to the same end.
 */
static __always_inline int uplink_is_overlay(struct __sk_buff *skb)
{
	struct config *settings = config_read();
	struct {
		struct ethhdr ethernet;
		struct iphdr ip;
		__be16 source_port;
		__be16 destination_port;
	} __attribute__((packed)) head;

	if (!settings || bpf_skb_load_bytes(skb, 0, &head, sizeof(head)))
		return 0;
	if (head.ethernet.h_proto == bpf_htons(ETH_P_IPV6)) {
		__u8 next;

		if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), &next, sizeof(next)) || next != IPPROTO_UDP)
			return 0;
		if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(struct ipv6hdr) + 2, &head.destination_port, sizeof(__be16)))
			return 0;
	} else if (head.ethernet.h_proto != bpf_htons(ETH_P_IP) || head.ip.version != 4 || head.ip.ihl != 5 ||
		   head.ip.protocol != IPPROTO_UDP || head.ip.frag_off & bpf_htons(0x3fff)) {
		return 0;
	}
	return head.destination_port == settings->overlay_port;
}

SEC("tc")
int from_uplink(struct __sk_buff *skb)
{
	struct scratch *scratch;
	struct packet *p;
	int reason;

	if (uplink_is_overlay(skb))
		return UPLINK_NOT_OURS;
	scratch = packet_begin(skb);
	if (!scratch)
		return UPLINK_NOT_OURS;
	p = &scratch->packet;
	if (packet_parse(skb, p) || p->ethertype == ETH_P_ARP || fragment_resolve(p))
		return UPLINK_NOT_OURS;
	if (p->is_icmp_error) {
		if (icmp_inward(skb))
			return UPLINK_NOT_OURS;
		reason = uplink_find_endpoint(p);
		return reason ? packet_drop(p, reason) : endpoint_deliver(skb, p);
	}
	outside_from_wire(p);
	reason = uplink_continue();
	if (reason == DROP_FLOW_MISSING) {
		if (!published_find(&p->wire, p->protocol, p->ipv6))
			return UPLINK_NOT_OURS;
		p->exit = EXIT_UPLINK;
		reason = uplink_begin(p);
	}
	if (!reason)
		reason = nat_rewrite(skb, p, &p->inside);
	return reason ? packet_drop(p, reason) : endpoint_deliver(skb, p);
}
