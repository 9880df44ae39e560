/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP that the datapath itself speaks, and errors about flows: the packet that one quotes must be of a flow of its own
 * network, and what was translated in that flow is translated back in the quotation too.
 */
#ifndef SEALANE_ICMP_H
#define SEALANE_ICMP_H

#include "admit.h"
#include "endpoint.h"
#include "neighbor.h"
#include "route.h"

/* The gateway answers an echo request: the same frame, turned round. */
static __always_inline int icmp_answer_echo(struct __sk_buff *skb, struct packet *p)
{
	__u8 asked = p->ipv6 ? ICMPV6_ECHO_REQUEST_TYPE : ICMP_ECHO_REQUEST;
	__u8 answer = p->ipv6 ? ICMPV6_ECHO_ANSWER_TYPE : ICMP_ECHO_ANSWER;
	__u32 at = p->l3 + (p->ipv6 ? 8 : 12);
	__u8 mac[6];
	int failed;

	/* Swapped addresses leave every checksum as it is. */
	if (p->ipv6)
		failed = bpf_skb_store_bytes(skb, at, &p->wire.destination, 16, 0) ||
			 bpf_skb_store_bytes(skb, at + 16, &p->wire.source, 16, 0);
	else
		failed = bpf_skb_store_bytes(skb, at, &p->wire.destination.word[3], 4, 0) ||
			 bpf_skb_store_bytes(skb, at + 4, &p->wire.source.word[3], 4, 0);
	failed = failed || bpf_l4_csum_replace(skb, p->l4 + 2, bpf_htons(asked << 8), bpf_htons(answer << 8), 2) ||
		 bpf_skb_store_bytes(skb, p->l4, &answer, 1, 0) || bpf_skb_load_bytes(skb, ETH_ALEN, mac, 6) ||
		 frame_address(skb, mac);
	return failed ? packet_drop(p, DROP_REDIRECT_FAILED) : endpoint_answer(skb, p);
}

/* Cuts the frame to what is quoted and makes room before it. The quotation's length, or 0 where that cannot be done. */
static __always_inline __u32 icmp_quote(struct __sk_buff *skb, const struct packet *p, struct icmp_error *error, __u32 header)
{
	__u32 headers = p->l4 - p->l3;
	__u32 quoted = headers + 8;

	/* A checksum that is left to the device may not be cut off, and TCP's lies 16 bytes in. */
	if (p->protocol == IPPROTO_TCP && headers + 20 <= QUOTE_MAX)
		quoted = headers + 20;
	if (p->part == PART_LATER || quoted > p->length)
		quoted = headers;
	/* The verifier is to see the bounds. */
	if (quoted < 20 || quoted > QUOTE_MAX)
		return 0;
	if (bpf_skb_load_bytes(skb, p->l3, error->quote, quoted))
		return 0;
	if (bpf_skb_change_tail(skb, ETH_HLEN + quoted, 0) || bpf_skb_adjust_room(skb, header + 8, BPF_ADJ_ROOM_MAC, 0))
		return 0;
	return quoted;
}

static __always_inline int icmp_write_ipv4(struct __sk_buff *skb, const struct packet *p, const struct address *gateway,
					   __u32 quoted)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_ICMP };

	ip.tot_len = bpf_htons(sizeof(ip) + 8 + quoted);
	ip.saddr = gateway->word[3];
	ip.daddr = p->wire.source.word[3];
	ip.check = checksum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
}

static __always_inline int icmp_write_ipv6(struct __sk_buff *skb, const struct packet *p, const struct address *gateway,
					   __u32 quoted)
{
	struct ipv6hdr ip = { .version = 6, .nexthdr = IPPROTO_ICMPV6, .hop_limit = 64 };

	ip.payload_len = bpf_htons(8 + quoted);
	__builtin_memcpy(&ip.saddr, gateway, sizeof(*gateway));
	__builtin_memcpy(&ip.daddr, &p->wire.source, sizeof(*gateway));
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
}

/* Sends the error (RFC 792, RFC 1191, RFC 4443) back to the container, from its gateway. 0 where that cannot be done. */
static __always_inline int icmp_send_error(struct __sk_buff *skb, struct packet *p, struct scratch *scratch)
{
	struct icmp_error *error = &scratch->error;
	struct pseudo_header *pseudo = &scratch->pseudo;
	struct network *network = network_find(p->vni);
	__u32 header = p->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	const struct address *gateway;
	__s64 sum = 0;
	__u32 quoted;
	__u8 mac[6];

	if (!network || !p->endpoint || bpf_skb_load_bytes(skb, ETH_ALEN, mac, 6))
		return 0;
	gateway = network_gateway(network, p->ipv6);
	quoted = address_is_set(gateway) ? icmp_quote(skb, p, error, header) : 0;
	if (quoted < 20 || quoted > QUOTE_MAX)
		return 0;
	if (p->ipv6) {
		pseudo->source = *gateway;
		pseudo->destination = p->wire.source;
		pseudo->length = bpf_htonl(8 + quoted);
		pseudo->protocol = bpf_htonl(IPPROTO_ICMPV6);
		sum = bpf_csum_diff(NULL, 0, (__be32 *)pseudo, sizeof(*pseudo), 0);
	}
	/* Behind the quotation the buffer is zero and adds nothing. */
	error->checksum = checksum_fold(bpf_csum_diff(NULL, 0, (__be32 *)error, sizeof(*error), sum));
	if (p->ipv6 ? icmp_write_ipv6(skb, p, gateway, quoted) : icmp_write_ipv4(skb, p, gateway, quoted))
		return 0;
	return !bpf_skb_store_bytes(skb, ETH_HLEN + header, error, 8, 0) && !frame_address(skb, mac);
}

/* Drops the packet for `reason` and tells its sender by an error of this type and code. */
__noinline int icmp_answer(struct __sk_buff *skb, struct packet *p, __u32 reason, __u32 type_code, __u32 info)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &ONLY);

	if (!p || !scratch)
		return TC_ACT_SHOT;
	packet_drop(p, reason);
	__builtin_memset(&scratch->error, 0, sizeof(scratch->error));
	scratch->error.type = type_code >> 8;
	scratch->error.code = type_code;
	scratch->error.info = bpf_htonl(info);
	if (!icmp_send_error(skb, p, scratch))
		return TC_ACT_SHOT;
	return endpoint_answer(skb, p);
}

/* For a packet larger than `mtu` bytes. Where it may be fragmented, nobody needs to be told; we do not. */
static __always_inline int icmp_answer_too_big(struct __sk_buff *skb, struct packet *p, __u32 mtu)
{
	if (!p->dont_fragment)
		return packet_drop(p, DROP_TOO_BIG);
	return icmp_answer(skb, p, DROP_TOO_BIG, p->ipv6 ? 2 << 8 : 3 << 8 | 4, p->ipv6 ? mtu : mtu & 0xffff);
}

/* For a packet whose time to live has run out. */
static __always_inline int icmp_answer_ttl_exceeded(struct __sk_buff *skb, struct packet *p)
{
	return icmp_answer(skb, p, DROP_TTL_EXCEEDED, p->ipv6 ? 3 << 8 : 11 << 8, 0);
}

/* An address in the quoted header; `at` from it. The error's checksum covers it; an IPv4 header's own makes up for it. */
static __always_inline int icmp_rewrite_address(struct __sk_buff *skb, const struct packet *p, const struct packet *quoted,
						struct address *from, struct address *to, int destination)
{
	__s64 diff;

	if (address_equal(from, to))
		return 0;
	if (!p->ipv6) {
		if (bpf_l3_csum_replace(skb, quoted->l3 + 10, from->word[3], to->word[3], 4))
			return -1;
		return bpf_skb_store_bytes(skb, quoted->l3 + (destination ? 16 : 12), &to->word[3], 4, 0);
	}
	diff = bpf_csum_diff((__be32 *)from, sizeof(*from), (__be32 *)to, sizeof(*to), 0);
	if (diff < 0 || bpf_l4_csum_replace(skb, p->l4 + 2, 0, diff, 0))
		return -1;
	return bpf_skb_store_bytes(skb, quoted->l3 + (destination ? 24 : 8), to, sizeof(*to), 0);
}

static __always_inline int icmp_rewrite_port(struct __sk_buff *skb, const struct packet *p, __u32 at, __be16 from, __be16 to)
{
	if (from == to)
		return 0;
	if (bpf_l4_csum_replace(skb, p->l4 + 2, from, to, 2))
		return -1;
	return bpf_skb_store_bytes(skb, at, &to, sizeof(to), 0);
}

/* Writes `want` over the quoted packet's addresses and ports. 0, or the reason to drop. */
__noinline int icmp_rewrite_quoted(struct __sk_buff *skb, struct packet *p, struct packet *quoted, struct tuple *want)
{
	int failed;

	if (!p || !quoted || !want)
		return DROP_REDIRECT_FAILED;
	failed = icmp_rewrite_address(skb, p, quoted, &quoted->wire.source, &want->source, 0) ||
		 icmp_rewrite_address(skb, p, quoted, &quoted->wire.destination, &want->destination, 1);
	if (failed)
		return DROP_REDIRECT_FAILED;
	if (packet_is_echo_request(quoted))
		failed = icmp_rewrite_port(skb, p, quoted->l4 + 4, quoted->wire.source_port, want->source_port);
	else if (packet_is_echo_answer(quoted))
		failed = icmp_rewrite_port(skb, p, quoted->l4 + 4, quoted->wire.destination_port, want->destination_port);
	else if (admit_has_ports(quoted))
		failed = icmp_rewrite_port(skb, p, quoted->l4, quoted->wire.source_port, want->source_port) ||
			 icmp_rewrite_port(skb, p, quoted->l4 + 2, quoted->wire.destination_port, want->destination_port);
	return failed ? DROP_REDIRECT_FAILED : 0;
}

/*
 * An error that arrives inside the network, from a container or the overlay: the flow that it quotes must be known. Leaves in
 * p->exit and p->outside how that flow is translated. 0, or the reason to drop.
 */
static __always_inline int icmp_find_flow(struct __sk_buff *skb, struct scratch *scratch)
{
	struct packet *p = &scratch->packet, *quoted = &scratch->embedded;
	struct flow *f;

	if (packet_parse_quoted(skb, p, quoted))
		return DROP_ICMP_UNRELATED;
	quoted->source_vni = p->destination_vni;
	quoted->destination_vni = p->source_vni;
	flow_key_fill(quoted);
	f = bpf_map_lookup_elem(&flows, &quoted->key);
	if (!f || flow_is_expired(p, f))
		return DROP_ICMP_UNRELATED;
	p->exit = f->exit;
	p->outside = f->outside;
	return 0;
}

/* A container's error about a packet that it got: what it quotes goes back to what the sender had sent. */
__noinline int icmp_outward(struct __sk_buff *skb)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &ONLY);
	struct packet *p, *quoted;
	struct tuple want = {};
	int reason;

	if (!scratch)
		return DROP_ICMP_UNRELATED;
	p = &scratch->packet;
	quoted = &scratch->embedded;
	reason = icmp_find_flow(skb, scratch);
	if (reason)
		return reason;
	/* It must be about a packet sent to this container, by whom it now speaks to. */
	if (!address_equal(&quoted->wire.destination, &p->wire.source) ||
	    !address_equal(&quoted->wire.source, &p->wire.destination))
		return DROP_ICMP_UNRELATED;
	if (p->exit == EXIT_NONE)
		return 0;
	want.source = p->outside.theirs;
	want.source_port = p->outside.their_port;
	want.destination = p->outside.ours;
	want.destination_port = p->outside.our_port;
	return icmp_rewrite_quoted(skb, p, quoted, &want);
}

/* An error from another node about a packet of this one's container. */
__noinline int icmp_from_peer(struct __sk_buff *skb)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &ONLY);
	struct packet *p;
	int reason;

	if (!scratch)
		return DROP_ICMP_UNRELATED;
	p = &scratch->packet;
	reason = icmp_find_flow(skb, scratch);
	if (reason)
		return reason;
	if (!address_equal(&scratch->embedded.wire.source, &p->wire.destination) || p->exit != EXIT_NONE)
		return DROP_ICMP_UNRELATED;
	return 0;
}

/* An error from outside (uplink, host's stack) about a translated flow. 0: p->inside says where it goes; else a reason. */
__noinline int icmp_inward(struct __sk_buff *skb)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &ONLY);
	struct packet *p, *quoted;
	struct translation *t;
	struct tuple want = {};
	int reason;

	if (!scratch)
		return DROP_ICMP_UNRELATED;
	p = &scratch->packet;
	quoted = &scratch->embedded;
	if (packet_parse_quoted(skb, p, quoted))
		return DROP_ICMP_UNRELATED;
	quoted->outside.ours = quoted->wire.source;
	quoted->outside.our_port = quoted->wire.source_port;
	quoted->outside.theirs = quoted->wire.destination;
	quoted->outside.their_port = quoted->wire.destination_port;
	quoted->outside.protocol = quoted->protocol;
	t = bpf_map_lookup_elem(&translations, &quoted->outside);
	if (!t)
		return DROP_ICMP_UNRELATED;
	nat_inward(quoted, t);
	want.source = quoted->inside.destination;
	want.source_port = quoted->inside.destination_port;
	want.destination = quoted->inside.source;
	want.destination_port = quoted->inside.source_port;
	p->vni = quoted->vni;
	p->inside.destination = want.source;
	/* A router on the way speaks for itself; the remote itself may have another address inside. */
	if (address_equal(&p->wire.source, &quoted->wire.destination))
		p->inside.source = want.destination;
	reason = icmp_rewrite_quoted(skb, p, quoted, &want);
	return reason ? reason : nat_rewrite(skb, p, &p->inside);
}

#endif
