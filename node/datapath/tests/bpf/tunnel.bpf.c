/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * Test run gives a program no tunnel. This one puts one on the frame, as the VXLAN device would, and jumps into the program
 * under test. cb[0]: VNI, cb[1]: the outer source (IPv4, host order), cb[2]: the group, cb[3]: 1 for none.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 1);
} under_test SEC(".maps");

SEC("tc")
int tunnel(struct __sk_buff *skb)
{
	/* Reading the tunnel's remote gives the outer source, which is what setting calls local. */
	struct bpf_tunnel_key key = { .tunnel_id = skb->cb[0], .local_ipv4 = skb->cb[1], .remote_ipv4 = 0x7f000001 };
	__u32 group = skb->cb[2];

	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), 0))
		return 100;
	if (!skb->cb[3] && bpf_skb_set_tunnel_opt(skb, &group, sizeof(group)))
		return 101;
	bpf_tail_call(skb, &under_test, 0);
	return 102;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
