/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * No hook: run by test run alone. The packet is an `explain_request`; over it is written an `explain_answer`: what would befall
 * the first packet of such a flow, by the same functions and live maps, with no side effect.
 */

static __always_inline void explain_groups(struct packet *p, const struct explain_request *request)
{
	struct place place = { .vni = request->vni, .address = request->source };
	struct resident *sender = bpf_map_lookup_elem(&endpoints_by_address, &place);
	struct network *network = network_find(p->vni);

	if (network)
		p->tenant = network->tenant;
	/* As a tag on the wire: what is not given out is no group. */
	if (request->source_group)
		p->source_group = request->source_group < 256 ? GROUP_UNKNOWN : request->source_group;
	else if (sender)
		p->source_group = sender->group;
	else if (p->target == TARGET_LOCAL && !route_is_inside(p->vni, &p->inside.source)) {
		/* A client of a published port. */
		p->source_group = policy_class(p->tenant, &p->inside.source, p->generation);
		p->sides = SIDE_INGRESS;
	}
	if (p->target == TARGET_WORLD)
		p->destination_group = policy_class(p->tenant, &p->inside.destination, p->generation);
	if (request->destination_group)
		p->destination_group = request->destination_group;
}

/* Asks policy where both groups are known. 0, or the reason. */
static __always_inline int explain_judge(struct packet *p, const struct explain_request *request)
{
	__u8 sides = p->target == TARGET_NODE ? SIDE_EGRESS | SIDE_INGRESS : p->sides;

	if (p->target == TARGET_GATEWAY)
		return packet_is_icmp(p) ? 0 : DROP_PORT_UNPUBLISHED;
	if (p->destination_group == ABSENT)
		return 0;
	if (p->source_group == ABSENT)
		p->source_group = GROUP_UNKNOWN;
	return admit_judge(p, p->source_group, p->destination_group, request->port, sides);
}

SEC("tc")
int explain(struct __sk_buff *skb)
{
	struct scratch *scratch = packet_begin(skb);
	struct explain_request request;
	struct explain_answer answer = {};
	struct packet *p;
	int reason;

	if (!scratch || bpf_skb_load_bytes(skb, 0, &request, sizeof(request)))
		return TC_ACT_SHOT;
	p = &scratch->packet;
	p->vni = request.vni;
	p->protocol = request.protocol;
	p->ipv6 = !address_is_ipv4(&request.destination);
	p->inside.source = request.source;
	p->inside.destination = request.destination;
	p->inside.destination_port = request.port;
	reason = route_find(p);
	explain_groups(p, &request);
	if (!reason)
		reason = explain_judge(p, &request);
	/* Told also where this node leaves judging to another. */
	p->judgement.sender = p->source_group == ABSENT ? GROUP_UNKNOWN : p->source_group;
	p->judgement.receiver = p->destination_group == ABSENT ? GROUP_UNKNOWN : p->destination_group;
	p->judgement.tenant = p->tenant;
	p->judgement.generation = p->generation;
	p->judgement.flags = p->network_flags;
	p->judgement.reason = reason;
	answer.judgement = p->judgement;
	answer.target = p->target;
	answer.node = p->target_node;
	answer.link = p->target_link;
	answer.reason = reason;
	return bpf_skb_store_bytes(skb, 0, &answer, sizeof(answer), 0) ? TC_ACT_SHOT : TC_ACT_OK;
}
