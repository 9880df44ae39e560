/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Policy: (group, group, protocol, port) -> allowed, or the reason and rule that denies. A constant number of lookups,
 * however many policies, groups or endpoints there are. `explain` runs the very same function.
 *
 *     group -> rule sets -> (rule set, peer group or default) -> row -> interval that holds the port -> decision
 */
#ifndef SEALANE_POLICY_H
#define SEALANE_POLICY_H

#include "packet.h"

#define DECISION_VERDICT(decision) ((decision) >> 30)
#define DECISION_RULE(decision) ((decision) & 0x3fffffff)
/* What a rule set says of which no row is there: it isolates, so what it allows has not been heard of. No rule decided. */
#define DECISION_UNHEARD ((__u32)VERDICT_DENY << 30)
/* A row has at most 2^16 intervals. */
#define ROW_STEPS 17

/* A group of a tenant that is not given out judges nothing itself; it is only somebody's peer. */
static __always_inline int group_is_reserved(__u32 group)
{
	return group == GROUP_HOST || group == GROUP_WORLD || group == GROUP_GATEWAY;
}

/* The rule sets of a group; ABSENT where it is not known. */
static __always_inline struct rule_sets policy_rule_sets(__u32 tenant, __u32 group, __u32 generation)
{
	struct group_key key = { .tenant = tenant, .group = group };
	struct rule_sets none = { .ingress = ABSENT, .egress = ABSENT };
	struct rule_sets open = {};
	struct group_entry *entry;

	if (group_is_reserved(group))
		return open;
	entry = bpf_map_lookup_elem(&groups, &key);
	if (!entry)
		return none;
	return generation >= entry->since ? entry->new : entry->old;
}

static __always_inline struct row policy_row_of(__u32 rule_set, __u32 peer, __u32 generation)
{
	struct row_key key = { .rule_set = rule_set, .peer = peer };
	struct row none = { .first = ABSENT };
	struct row_entry *entry = bpf_map_lookup_elem(&rows, &key);

	if (!entry)
		return none;
	return generation >= entry->since ? entry->new : entry->old;
}

/* The row for the peer, or else the rule set's default row. */
static __always_inline struct row policy_row(__u32 rule_set, __u32 peer, __u32 generation)
{
	struct row row = policy_row_of(rule_set, peer, generation);

	if (row.first == ABSENT)
		row = policy_row_of(rule_set, 0, generation);
	return row;
}

/* The decision of the last interval that starts at or before `at`; 0 (Default) where there is none, a denial without a row. */
static __always_inline __u32 policy_decide(struct row row, __u32 at)
{
	__u32 low = 0, high = row.count, decision = 0;
	int step;

	if (row.first == ABSENT)
		return DECISION_UNHEARD;
	for (step = 0; step < ROW_STEPS; step++) {
		__u32 middle, index;
		struct interval *interval;

		if (low >= high)
			break;
		middle = (low + high) / 2;
		index = row.first + middle;
		interval = bpf_map_lookup_elem(&intervals, &index);
		if (!interval)
			return DECISION_UNHEARD;
		if (interval->start <= at) {
			decision = interval->decision;
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return decision;
}

static __always_inline int policy_look_up(struct judgement *j, __u32 at)
{
	struct rule_sets sets;

	if (j->sides & SIDE_EGRESS) {
		sets = policy_rule_sets(j->tenant, j->sender, j->generation);
		if (sets.egress == ABSENT)
			return DROP_GROUP_UNKNOWN;
		j->egress_set = sets.egress;
		if (sets.egress) {
			j->egress_row = policy_row(sets.egress, j->receiver, j->generation);
			j->egress = policy_decide(j->egress_row, at);
		}
	}
	if (j->sides & SIDE_INGRESS) {
		sets = policy_rule_sets(j->tenant, j->receiver, j->generation);
		if (sets.ingress == ABSENT)
			return DROP_GROUP_UNKNOWN;
		j->ingress_set = sets.ingress;
		if (sets.ingress) {
			j->ingress_row = policy_row(sets.ingress, j->sender, j->generation);
			j->ingress = policy_decide(j->ingress_row, at);
		}
	}
	return 0;
}

/*
 * What the two say together: a Deny of either wins; else an Allow; where nobody speaks, the network's default.
 * Policy judges TCP, UDP and SCTP by port; any other protocol as port 0.
 */
__noinline int policy_judge(struct judgement *j)
{
	__u32 at;
	int reason;

	if (!j)
		return DROP_GROUP_UNKNOWN;
	j->rule = 0;
	j->egress = 0;
	j->ingress = 0;
	/* The node reaches its endpoints always, and they it (probes; NetworkPolicy says so). */
	if (j->sender == GROUP_HOST || j->receiver == GROUP_HOST)
		return 0;
	at = (__u32)j->protocol << 16 | j->port;
	reason = policy_look_up(j, at);
	if (reason)
		return reason;
	if (DECISION_VERDICT(j->egress) == VERDICT_DENY) {
		j->rule = DECISION_RULE(j->egress);
		return DROP_POLICY_DENIED;
	}
	if (DECISION_VERDICT(j->ingress) == VERDICT_DENY) {
		j->rule = DECISION_RULE(j->ingress);
		return DROP_POLICY_DENIED;
	}
	/* Of two rules that allow it the receiver's is told. */
	if (DECISION_VERDICT(j->ingress) == VERDICT_ALLOW) {
		j->rule = DECISION_RULE(j->ingress);
		return 0;
	}
	if (DECISION_VERDICT(j->egress) == VERDICT_ALLOW) {
		j->rule = DECISION_RULE(j->egress);
		return 0;
	}
	return j->flags & NETWORK_DENY ? DROP_DEFAULT_DENIED : 0;
}

/* The group of an address outside the fabric. */
static __always_inline __u32 policy_class(__u32 tenant, const struct address *address, __u32 generation)
{
	struct class_key key = {
		.length = 192,
		.tenant = tenant,
		.family = address_family(address),
		.address = *address,
	};
	struct class_entry *entry = bpf_map_lookup_elem(&address_classes, &key);
	__u32 group;

	if (!entry)
		return GROUP_WORLD;
	group = generation >= entry->since ? entry->new : entry->old;
	return group == ABSENT ? GROUP_WORLD : group;
}

#endif
