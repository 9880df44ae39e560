/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hook: egress of the host's end of the leg. What comes by the leg counts as the host, which policy always admits; so nobody may
 * be forwarded into it. A packet of the host's own has come by no device.
 */

SEC("tc")
int leave_host(struct __sk_buff *skb)
{
	struct scratch *scratch;

	if (skb->mark == MARK_JUDGED) {
		skb->mark = 0;
		return TC_ACT_UNSPEC;
	}
	if (!skb->ingress_ifindex)
		return TC_ACT_UNSPEC;
	scratch = packet_begin(skb);
	if (!scratch)
		return TC_ACT_SHOT;
	packet_parse(skb, &scratch->packet);
	return packet_drop(&scratch->packet, DROP_HOST_FORWARDED);
}
