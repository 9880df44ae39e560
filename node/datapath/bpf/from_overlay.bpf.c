/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hook: ingress of the VXLAN device. What other nodes' containers send to this node's. */

/* Whether the frame comes from where it says and goes to an endpoint of this node. 0, or the reason to drop. */
static __always_inline int overlay_check(struct __sk_buff *skb, struct packet *p)
{
	struct resident *resident;
	struct place place = {};
	__u32 sender = 0;
	int parsed = packet_parse(skb, p);
	int reason = overlay_read(skb, p, &sender);

	if (reason)
		return reason;
	if (parsed || p->ethertype == ETH_P_ARP)
		return parsed ? parsed : DROP_PROTOCOL_UNSUPPORTED;
	reason = overlay_check_sender(p, sender);
	if (reason)
		return reason;
	if (address_is_multicast(&p->wire.destination, p->ipv6))
		return DROP_MULTICAST_UNSUPPORTED;
	reason = fragment_resolve(p);
	if (reason)
		return reason;
	place.vni = p->vni;
	place.address = p->wire.destination;
	resident = bpf_map_lookup_elem(&endpoints_by_address, &place);
	if (!resident || !resident->link)
		return DROP_ROUTE_UNKNOWN;
	p->source_vni = p->vni;
	p->sides = SIDE_EGRESS | SIDE_INGRESS;
	return route_to_resident(p, resident);
}

SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	struct scratch *scratch = packet_begin(skb);
	struct packet *p;
	int reason;

	if (!scratch)
		return TC_ACT_SHOT;
	p = &scratch->packet;
	reason = overlay_check(skb, p);
	if (!reason)
		reason = p->is_icmp_error ? icmp_from_peer(skb) : flow_admit();
	if (reason)
		return packet_drop(p, reason);
	if (p->exit != EXIT_NONE)
		return packet_drop(p, DROP_FLOW_MISSING);
	return endpoint_deliver(skb, p);
}
