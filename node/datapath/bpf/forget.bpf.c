/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * No hook: run by test run alone. The packet is a list of `forget_request`; each flow is forgotten if it is idle for too long,
 * or in any case where `always` is set. In the kernel, so that a flow renewed a moment ago stays and each is accounted once.
 * Returns how many were forgotten.
 */

SEC("tc")
int forget(struct __sk_buff *skb)
{
	struct scratch *scratch = packet_begin(skb);
	struct forget_request request;
	struct packet *p;
	int i, forgotten = 0;

	if (!scratch)
		return 0;
	p = &scratch->packet;
	for (i = 0; i < FORGET_AT_ONCE; i++) {
		struct flow *f;

		if (bpf_skb_load_bytes(skb, i * sizeof(request), &request, sizeof(request)))
			break;
		p->key = request.key;
		f = bpf_map_lookup_elem(&flows, &p->key);
		if (f && (request.always || flow_is_expired(p, f)))
			forgotten += flow_remove(p, f);
	}
	return forgotten;
}
