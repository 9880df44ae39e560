/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hook: ingress of the fabric's end of the host leg. What the host's stack sends to containers, by their shadow addresses, and the loop. */

/* Finds the endpoint behind the shadow address, and how the flow looks inside. 0, or the reason to drop. */
static __always_inline int host_find(struct packet *p, const struct shadowed *shadowed)
{
	struct translation *t;
	struct network *network;

	p->vni = shadowed->place.vni;
	p->inside.destination = shadowed->place.address;
	network = network_find(p->vni);
	if (!network)
		return DROP_NETWORK_UNKNOWN;
	p->exit = EXIT_LEG;
	p->source_vni = p->vni;
	outside_from_wire(p);
	t = bpf_map_lookup_elem(&translations, &p->outside);
	if (t) {
		nat_inward(p, t);
	} else {
		p->gateway_source = 1;
		p->inside.source = *network_gateway(network, p->ipv6);
		if (!address_is_set(&p->inside.source))
			return DROP_ROUTE_UNKNOWN;
	}
	p->source_group = GROUP_HOST;
	p->sides = SIDE_INGRESS;
	return uplink_find_endpoint(p);
}

/* What a container of this node sent to the node's own address comes round by the loop. 0, or the reason to drop. */
static __always_inline int loop_find(struct packet *p)
{
	int reason;

	outside_from_wire(p);
	reason = uplink_continue();
	if (reason != DROP_FLOW_MISSING)
		return reason;
	if (!published_find(&p->wire, p->protocol, p->ipv6))
		return DROP_ROUTE_UNKNOWN;
	p->exit = EXIT_LOOP;
	return uplink_begin(p);
}

static __always_inline int host_forward(struct __sk_buff *skb, struct packet *p)
{
	struct shadowed *shadowed;
	int reason;

	if (p->is_icmp_error) {
		reason = icmp_inward(skb);
		reason = reason ? reason : uplink_find_endpoint(p);
		return reason ? packet_drop(p, reason) : endpoint_deliver(skb, p);
	}
	shadowed = bpf_map_lookup_elem(&endpoints_by_shadow, &p->wire.destination);
	reason = shadowed ? host_find(p, shadowed) : loop_find(p);
	if (!reason && shadowed)
		reason = flow_admit();
	if (!reason)
		reason = nat_rewrite(skb, p, &p->inside);
	return reason ? packet_drop(p, reason) : endpoint_deliver(skb, p);
}

SEC("tc")
int from_host(struct __sk_buff *skb)
{
	struct scratch *scratch = packet_begin(skb);
	struct packet *p;
	int reason;

	if (!scratch)
		return TC_ACT_SHOT;
	p = &scratch->packet;
	reason = packet_parse(skb, p);
	if (reason)
		return packet_drop(p, reason);
	if (p->ethertype == ETH_P_ARP)
		return neighbor_answer_arp(skb, p, NULL);
	if (neighbor_is_solicitation(p)) {
		struct address any = {};

		return neighbor_answer_nd(skb, p, &any);
	}
	if (address_is_multicast(&p->wire.destination, p->ipv6))
		return packet_drop(p, DROP_MULTICAST_UNSUPPORTED);
	reason = fragment_resolve(p);
	if (reason)
		return packet_drop(p, reason);
	return host_forward(skb, p);
}
