/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whether a packet passes: by the flow that it belongs to, or by beginning one that policy allows.
 *
 * A flow is judged anew, in its initiator's direction, whenever the generation or a group is another than it was judged by;
 * so a new deny cuts what it forbids at the next packet.
 */
#ifndef SEALANE_ADMIT_H
#define SEALANE_ADMIT_H

#include "nat.h"

static __always_inline int admit_has_ports(const struct packet *p)
{
	return p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_SCTP;
}

/* Asks policy about a flow from group `sender` to `receiver` at the responder's `port`. 0, or the reason to drop. */
static __always_inline int admit_judge(struct packet *p, __u32 sender, __u32 receiver, __be16 port, __u8 sides)
{
	struct judgement *j = &p->judgement;
	int reason;

	j->tenant = p->tenant;
	j->generation = p->generation;
	j->flags = p->network_flags;
	j->sender = sender;
	j->receiver = receiver;
	j->port = admit_has_ports(p) ? bpf_ntohs(port) : 0;
	j->protocol = p->protocol;
	j->sides = sides;
	reason = policy_judge(j);
	p->rule = reason ? j->rule : 0;
	return reason;
}

/* RST, SYN-ACK and echo answers only follow. Any other TCP segment may be one of a flow that a restart or a timeout lost. */
static __always_inline int admit_may_begin(const struct packet *p)
{
	if (packet_is_echo_answer(p))
		return 0;
	if (p->protocol != IPPROTO_TCP)
		return 1;
	if (p->tcp_flags & TCP_RST)
		return 0;
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK);
}

static __always_inline int admit_begin(struct packet *p)
{
	int reason;

	if (p->follows || !admit_may_begin(p))
		return DROP_FLOW_MISSING;
	if (p->target == TARGET_GATEWAY)
		return DROP_PORT_UNPUBLISHED;
	if (p->target == TARGET_WORLD)
		p->destination_group = policy_class(p->tenant, &p->inside.destination, p->generation);
	if (p->sides) {
		reason = admit_judge(p, p->source_group, p->destination_group, p->inside.destination_port, p->sides);
		if (reason)
			return reason;
	}
	return nat_begin();
}

/* The group that the flow's end has now; what is not known here stays as it was, but for an outside address' class. */
static __always_inline __u32 admit_group(struct packet *p, const struct flow *f, int responder, int back)
{
	__u32 known = (responder ^ back) ? p->destination_group : p->source_group;
	__u32 side = responder ? SIDE_INGRESS : SIDE_EGRESS;
	__u32 judged = f->groups[responder];

	if (known != ABSENT)
		return known;
	if ((f->exit == EXIT_UPLINK || f->exit == EXIT_LOOP) && !(f->sides & side) && f->generation != p->generation)
		return policy_class(p->tenant, &f->outside.theirs, p->generation);
	return judged;
}

static __always_inline int admit_is_held(const struct packet *p, __u32 group)
{
	return policy_rule_sets(p->tenant, group, p->generation).ingress != ABSENT;
}

/*
 * An answer does not tell the group of an initiator on another node. Where the one that the flow was judged by is gone, the
 * initiator has another, which its next packet brings; until then its own node judges the answers, by the tag that they carry.
 */
static __always_inline int admit_initiator_has_moved(const struct packet *p, const struct flow *f, int back)
{
	return back && p->target == TARGET_NODE && !admit_is_held(p, f->groups[0]) && admit_is_held(p, p->source_group);
}

/*
 * Judges a known flow anew where needed. A flow to another node was not judged here when it began (`sides` 0), for the peer's
 * group was not known; the peer's answer brings it, and an answer that policy now forbids is cut at this end too.
 */
static __always_inline int admit_again(struct packet *p, struct flow *f, int back)
{
	__u32 sender = admit_group(p, f, 0, back);
	__u32 receiver = admit_group(p, f, 1, back);
	__be16 port = back ? p->inside.source_port : p->inside.destination_port;
	__u8 sides = f->sides ? f->sides : SIDE_EGRESS | SIDE_INGRESS;
	int reason;

	if (f->generation == p->generation && sender == f->groups[0] && receiver == f->groups[1])
		return 0;
	if (sender == ABSENT || receiver == ABSENT)
		return 0;
	reason = admit_judge(p, sender, receiver, port, sides);
	if (reason == DROP_GROUP_UNKNOWN && (!f->sides || admit_initiator_has_moved(p, f, back)))
		return 0;
	if (reason)
		return reason;
	f->groups[0] = sender;
	f->groups[1] = receiver;
	f->rule = p->judgement.rule;
	f->generation = p->generation;
	return 0;
}

static __always_inline int admit_continue(struct packet *p, struct flow *f)
{
	int back = p->source_low != f->initiator_low;
	int reason = admit_again(p, f, back);

	if (reason) {
		flow_remove(p, f);
		return reason;
	}
	p->rule = 0;
	p->exit = f->exit;
	p->outside = f->outside;
	flow_advance(p, f, back);
	flow_count(p, f, back);
	return 0;
}

/*
 * Passes the packet under way, described by p->inside and the ends' networks and groups. Leaves in p->exit and p->outside how the
 * flow is translated. 0, or the reason to drop.
 */
__noinline int flow_admit(void)
{
	struct packet *p = packet_here();
	struct flow *f;
	int opens;

	if (!p)
		return DROP_FLOW_MISSING;
	flow_key_fill(p);
	/* What looks like its flow may be another host's that has the same port: a free one is sought. */
	f = p->gateway_source ? NULL : bpf_map_lookup_elem(&flows, &p->key);
	if (!f)
		return admit_begin(p);
	opens = p->protocol == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	if (flow_is_expired(p, f) || (opens && f->state == STATE_TCP_CLOSED)) {
		struct outside wanted = p->outside;

		flow_remove(p, f);
		p->outside = wanted;
		return admit_begin(p);
	}
	return admit_continue(p, f);
}

#endif
