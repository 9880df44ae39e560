/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hook: egress of the host's end of a container's veth pair. Nothing gets in past the fabric's own programs. */

SEC("tc")
int to_container(struct __sk_buff *skb)
{
	struct scratch *scratch;
	struct endpoint *e;
	struct packet *p;

	if (skb->mark == MARK_JUDGED) {
		skb->mark = 0;
		return TC_ACT_OK;
	}
	scratch = packet_begin(skb);
	if (!scratch)
		return TC_ACT_SHOT;
	p = &scratch->packet;
	e = bpf_map_lookup_elem(&endpoints_by_link, &p->link);
	if (e) {
		p->vni = e->vni;
		p->tenant = e->tenant;
	}
	packet_parse(skb, p);
	return packet_drop(p, DROP_HOST_UNJUDGED);
}
