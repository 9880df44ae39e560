/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ARP (RFC 826) and neighbor discovery (RFC 4861): every other address is behind the gateway's MAC. Nothing is asked on, so
 * no neighbor table grows and none is poisoned.
 */
#ifndef SEALANE_NEIGHBOR_H
#define SEALANE_NEIGHBOR_H

#include "endpoint.h"

struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[6];
	__be32 sender __attribute__((packed));
	__u8 target_mac[6];
	__be32 target __attribute__((packed));
} __attribute__((packed));

/* `own`: the only sender address allowed; NULL on the host's leg. */
static __always_inline int neighbor_answer_arp(struct __sk_buff *skb, struct packet *p, const struct address *own)
{
	struct config *settings = config_read();
	struct arp arp;
	__be32 asked;

	if (!settings || bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return packet_drop(p, DROP_HEADER_MALFORMED);
	if (arp.hardware != bpf_htons(1) || arp.protocol != bpf_htons(ETH_P_IP) || arp.hardware_length != 6 ||
	    arp.protocol_length != 4)
		return packet_drop(p, DROP_HEADER_MALFORMED);
	address_from_ipv4(&p->inside.source, arp.sender);
	address_from_ipv4(&p->inside.destination, arp.target);
	/* Answers, probes and announcements are for other stations of a link; there are none. */
	if (arp.operation != bpf_htons(1) || !arp.sender || arp.sender == arp.target)
		return packet_drop(p, DROP_MULTICAST_UNSUPPORTED);
	if (own && !address_equal(&p->inside.source, own))
		return packet_drop(p, DROP_SOURCE_SPOOFED);
	asked = arp.target;
	arp.operation = bpf_htons(2);
	__builtin_memcpy(arp.target_mac, arp.sender_mac, 6);
	arp.target = arp.sender;
	__builtin_memcpy(arp.sender_mac, settings->gateway_mac, 6);
	arp.sender = asked;
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &arp, sizeof(arp), 0) || frame_address(skb, arp.target_mac))
		return packet_drop(p, DROP_REDIRECT_FAILED);
	return endpoint_answer(skb, p);
}

#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
/* Advertisement without its flags (solicited, override), and with a link-layer address option. */
#define ND_FLAGS 0x60000000
#define ND_ADVERTISEMENT_LENGTH 32

struct advertisement {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	struct address target;
	__u8 option;
	__u8 option_length;
	__u8 mac[6];
};

static __always_inline __u16 checksum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline int neighbor_is_solicitation(const struct packet *p)
{
	return p->ipv6 && p->protocol == IPPROTO_ICMPV6 && p->part == PART_WHOLE && p->icmp_type == ND_SOLICITATION &&
	       p->ttl == 255;
}

static __always_inline int neighbor_write_advertisement(struct __sk_buff *skb, const struct packet *p, struct address *target,
							 const __u8 *gateway_mac)
{
	struct advertisement answer = { .type = ND_ADVERTISEMENT, .flags = bpf_htonl(ND_FLAGS), .option = 2, .option_length = 1 };
	struct pseudo_header pseudo = { .length = bpf_htonl(ND_ADVERTISEMENT_LENGTH), .protocol = bpf_htonl(IPPROTO_ICMPV6) };
	struct ipv6hdr ip = { .version = 6, .nexthdr = IPPROTO_ICMPV6, .hop_limit = 255 };
	__s64 sum;

	ip.payload_len = bpf_htons(ND_ADVERTISEMENT_LENGTH);
	answer.target = *target;
	__builtin_memcpy(answer.mac, gateway_mac, 6);
	pseudo.source = *target;
	pseudo.destination = p->wire.source;
	__builtin_memcpy(&ip.saddr, target, sizeof(*target));
	__builtin_memcpy(&ip.daddr, &p->wire.source, sizeof(*target));
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&answer, sizeof(answer), sum);
	answer.checksum = checksum_fold(sum);
	if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof(ip) + sizeof(answer), 0))
		return -1;
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0))
		return -1;
	return bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(ip), &answer, sizeof(answer), 0);
}

/* Answers a solicitation for any address but the sender's own. Called before the source is checked: `own` does it here. */
__noinline int neighbor_answer_nd(struct __sk_buff *skb, struct packet *p, struct address *own)
{
	struct config *settings = config_read();
	struct address target;
	__u8 mac[6];

	if (!p || !own || !settings)
		return TC_ACT_SHOT;
	if (p->l4 != ETH_HLEN + sizeof(struct ipv6hdr) || p->length < sizeof(struct ipv6hdr) + 24)
		return packet_drop(p, DROP_HEADER_MALFORMED);
	if (bpf_skb_load_bytes(skb, p->l4 + 8, &target, sizeof(target)) || bpf_skb_load_bytes(skb, ETH_ALEN, mac, sizeof(mac)))
		return packet_drop(p, DROP_HEADER_MALFORMED);
	/* Duplicate address detection (RFC 4862) and one's own address: no other station could answer. */
	if (!address_is_set(&p->wire.source) || address_equal(&target, own))
		return packet_drop(p, DROP_MULTICAST_UNSUPPORTED);
	if (address_is_set(own) && !address_equal(&p->wire.source, own) && !address_is_link_local(&p->wire.source, 1))
		return packet_drop(p, DROP_SOURCE_SPOOFED);
	if (neighbor_write_advertisement(skb, p, &target, settings->gateway_mac) || frame_address(skb, mac))
		return packet_drop(p, DROP_REDIRECT_FAILED);
	return endpoint_answer(skb, p);
}

#endif
