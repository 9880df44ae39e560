/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A packet on its way through a program: what its headers say, and what was found out about it.
 *
 * One lives in a per-CPU scratch, for a program's stack holds 512 bytes. Programs at these hooks run to their end on
 * one CPU with softirqs off, so two never share it. Packet bytes are read and written by helpers alone: no bounds to
 * prove, no pointer to lose when the frame moves.
 */
#ifndef SEALANE_PACKET_H
#define SEALANE_PACKET_H

#include "maps.h"

enum fragment_part { PART_WHOLE, PART_FIRST, PART_LATER };

/* Addresses and ports as the wire has them, or should have them. */
struct tuple {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
};

/* The Ethernet header. */
struct frame {
	__u8 to[ETH_ALEN];
	__u8 from[ETH_ALEN];
	__be16 ethertype;
};

struct packet {
	/* From the headers. */
	struct frame frame;
	struct tuple wire; /* as it stands in the frame */
	struct tuple inside; /* as the container's network sees it */
	__u16 ethertype; /* host order */
	__u16 l3; /* offsets from the frame's start */
	__u16 l4;
	__u16 length; /* of the IP packet, bytes */
	__u8 protocol;
	__u8 ttl;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 part; /* enum fragment_part */
	__u8 dont_fragment;
	__u8 is_icmp_error;
	__u8 ipv6;
	__u32 fragment_id;
	__u16 fragment_offset; /* bytes */

	/* Found out. */
	__u64 now; /* ns */
	__u32 generation;
	__u32 vni; /* the network in which it is judged */
	__u32 tenant;
	__u32 source_vni; /* of each end; 0: outside */
	__u32 destination_vni;
	__u32 network_flags;
	__u32 link; /* it came by */
	__u32 endpoint; /* link of the endpoint it came from, 0: none */
	__u32 target; /* enum target */
	__u32 target_link;
	__u32 target_node;
	__u8 target_mac[6];
	__u32 source_group; /* ABSENT: not known here */
	__u32 destination_group;
	__u8 sides; /* of policy that this hook judges for a flow begun by this packet */
	__u8 source_low; /* the source is the flow key's lower end */
	__u8 exit; /* enum flow_exit of the flow */
	__u8 gateway_source; /* a flow that begins; its source is to become the network's gateway */
	__u8 follows; /* it may not begin a flow */
	__u32 rule; /* that denied it */
	struct outside outside; /* the flow's, where exit is not EXIT_NONE */
	struct flow_key key;
	struct judgement judgement;
};

struct pseudo_header {
	struct address source;
	struct address destination;
	__be32 length;
	__be32 protocol;
};

/* An error quotes the packet's IP header and eight bytes of its transport. */
#define QUOTE_MAX 68

struct icmp_error {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 info; /* the MTU */
	__u8 quote[QUOTE_MAX];
};

/* What a program needs at most: the packet, the one that an ICMP error speaks of, what it enters and what it answers. */
struct scratch {
	struct packet packet;
	struct packet embedded;
	struct flow flow;
	struct translation translation;
	struct icmp_error error;
	struct pseudo_header pseudo;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct scratch);
	__uint(max_entries, 1);
} scratches SEC(".maps");

static const __u32 ONLY;

static __always_inline struct config *config_read(void)
{
	return bpf_map_lookup_elem(&config, &ONLY);
}

/* The scratch, cleared, with the generation that this packet is judged by; NULL only to please the verifier. */
static __always_inline struct scratch *packet_begin(struct __sk_buff *skb)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &ONLY);
	struct state *current = bpf_map_lookup_elem(&state, &ONLY);

	if (!scratch || !current)
		return NULL;
	__builtin_memset(&scratch->packet, 0, sizeof(scratch->packet));
	scratch->packet.now = bpf_ktime_get_coarse_ns();
	scratch->packet.generation = *(volatile __u32 *)&current->generation;
	scratch->packet.link = skb->ifindex;
	scratch->packet.source_group = ABSENT;
	scratch->packet.destination_group = ABSENT;
	return scratch;
}

/*
 * The packet under way. Kernels before 6.2 take no key or value for a map from what a function is given as argument, only from
 * a map or the stack: a function that looks up with a large part of the packet finds it by this, a small part it copies.
 */
static __always_inline struct packet *packet_here(void)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &ONLY);

	return scratch ? &scratch->packet : NULL;
}

static __always_inline int address_equal(const struct address *a, const struct address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

static __always_inline int address_is_ipv4(const struct address *a)
{
	return !a->word[0] && !a->word[1] && a->word[2] == bpf_htonl(0xffff);
}

/* For keys of tries: ::/0 means no IPv4 address, though those lie within it here. */
static __always_inline __u32 address_family(const struct address *a)
{
	return address_is_ipv4(a) ? 4 : 6;
}

static __always_inline int address_is_set(const struct address *a)
{
	return a->word[0] | a->word[1] | a->word[2] | a->word[3];
}

static __always_inline void address_from_ipv4(struct address *a, __be32 ipv4)
{
	a->word[0] = 0;
	a->word[1] = 0;
	a->word[2] = bpf_htonl(0xffff);
	a->word[3] = ipv4;
}

static __always_inline int address_is_multicast(const struct address *a, int ipv6)
{
	__u32 first = bpf_ntohl(ipv6 ? a->word[0] : a->word[3]);

	return ipv6 ? first >> 24 == 0xff : first >> 28 == 0xe || first == 0xffffffff;
}

/* Loopback and the unspecified address never leave a host (RFC 1122, 3.2.1.3; RFC 4291, 2.5). */
static __always_inline int address_is_unroutable(const struct address *a, int ipv6)
{
	__u32 first = bpf_ntohl(a->word[3]) >> 24;

	if (!ipv6)
		return first == 0 || first == 127;
	return !a->word[0] && !a->word[1] && !a->word[2] && bpf_ntohl(a->word[3]) <= 1;
}

static __always_inline int address_is_link_local(const struct address *a, int ipv6)
{
	return ipv6 && bpf_ntohl(a->word[0]) >> 22 == 0xfe80 >> 6;
}

#define ICMP_ECHO_REQUEST 8
#define ICMP_ECHO_ANSWER 0
#define ICMPV6_ECHO_REQUEST_TYPE 128
#define ICMPV6_ECHO_ANSWER_TYPE 129

static __always_inline int packet_is_icmp(const struct packet *p)
{
	return p->protocol == (p->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static __always_inline int packet_is_echo_request(const struct packet *p)
{
	return packet_is_icmp(p) && p->part != PART_LATER &&
	       p->icmp_type == (p->ipv6 ? ICMPV6_ECHO_REQUEST_TYPE : ICMP_ECHO_REQUEST);
}

static __always_inline int packet_is_echo_answer(const struct packet *p)
{
	return packet_is_icmp(p) && p->part != PART_LATER &&
	       p->icmp_type == (p->ipv6 ? ICMPV6_ECHO_ANSWER_TYPE : ICMP_ECHO_ANSWER);
}

static __always_inline void icmp_parse(struct packet *p, const __u8 *head)
{
	__be16 identifier = *(__be16 *)(head + 4);

	p->icmp_type = head[0];
	if (p->ipv6)
		p->is_icmp_error = head[0] < 128;
	else
		p->is_icmp_error = head[0] == 3 || head[0] == 4 || head[0] == 5 || head[0] == 11 || head[0] == 12;
	if (packet_is_echo_request(p))
		p->wire.source_port = identifier;
	else if (packet_is_echo_answer(p))
		p->wire.destination_port = identifier;
}

/*
 * The transport header at p->l4. `room`: bytes of it that are there; `embedded`: an ICMP error quotes as few as eight.
 * A whole header must be there, or else policy would judge ports that are not.
 */
static __always_inline int transport_parse(struct __sk_buff *skb, struct packet *p, __u32 room, int embedded)
{
	__u8 head[14] = {};
	__u32 need = p->protocol == IPPROTO_TCP && !embedded ? 20 : p->protocol == IPPROTO_SCTP && !embedded ? 12 : 8;
	int has_ports = p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_SCTP;
	int short_header = p->part == PART_FIRST ? DROP_FRAGMENT_MALFORMED : DROP_HEADER_MALFORMED;

	if (!has_ports && !packet_is_icmp(p))
		return 0;
	if (room < need)
		return short_header;
	/* One look for what is wanted of TCP: every look is a call. */
	if (need == 20 ? bpf_skb_load_bytes(skb, p->l4, head, 14) : bpf_skb_load_bytes(skb, p->l4, head, 8))
		return short_header;
	if (!has_ports) {
		icmp_parse(p, head);
		return 0;
	}
	p->wire.source_port = *(__be16 *)head;
	p->wire.destination_port = *(__be16 *)(head + 2);
	if (p->protocol == IPPROTO_UDP && !embedded && bpf_ntohs(*(__be16 *)(head + 4)) < 8)
		return short_header;
	if (p->protocol == IPPROTO_TCP && !embedded) {
		if ((head[12] >> 4) * 4 < 20 || (__u32)(head[12] >> 4) * 4 > room)
			return short_header;
		p->tcp_flags = head[13];
	}
	return 0;
}

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

static __always_inline int ipv4_parse(struct __sk_buff *skb, struct packet *p, __u32 available, int embedded)
{
	struct iphdr ip;
	__u32 header, total;
	__u16 fragment;

	if (available < sizeof(ip) || bpf_skb_load_bytes(skb, p->l3, &ip, sizeof(ip)))
		return DROP_HEADER_MALFORMED;
	header = ip.ihl * 4;
	total = bpf_ntohs(ip.tot_len);
	if (ip.version != 4 || header < sizeof(ip) || total < header)
		return DROP_HEADER_MALFORMED;
	/* An embedded packet is cut short by whoever quotes it. */
	if (embedded && total > available)
		total = available;
	if (total > available || header > total)
		return DROP_HEADER_MALFORMED;
	address_from_ipv4(&p->wire.source, ip.saddr);
	address_from_ipv4(&p->wire.destination, ip.daddr);
	p->protocol = ip.protocol;
	p->ttl = ip.ttl;
	p->length = total;
	p->l4 = p->l3 + header;
	fragment = bpf_ntohs(ip.frag_off);
	p->dont_fragment = !!(fragment & 0x4000);
	p->fragment_offset = (fragment & 0x1fff) * 8;
	p->fragment_id = ip.id;
	p->part = p->fragment_offset ? PART_LATER : fragment & 0x2000 ? PART_FIRST : PART_WHOLE;
	if (p->part == PART_LATER)
		return 0;
	return transport_parse(skb, p, total - header, embedded);
}

#define IPV6_EXTENSIONS 6

static __always_inline int ipv6_is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_DSTOPTS;
}

/* Walks the extension headers (RFC 8200, 4.1) from `offset` within the packet to the transport's. */
static __always_inline int ipv6_extensions_parse(struct __sk_buff *skb, struct packet *p, __u32 *offset)
{
	__u8 head[8];
	int i;

	for (i = 0; i < IPV6_EXTENSIONS; i++) {
		if (!ipv6_is_extension(p->protocol) && p->protocol != IPPROTO_FRAGMENT)
			return 0;
		if (*offset + sizeof(head) > p->length || bpf_skb_load_bytes(skb, p->l3 + *offset, head, sizeof(head)))
			return DROP_HEADER_MALFORMED;
		if (p->protocol == IPPROTO_FRAGMENT) {
			__u16 fragment = bpf_ntohs(*(__be16 *)(head + 2));

			p->fragment_offset = fragment & 0xfff8;
			p->fragment_id = *(__be32 *)(head + 4);
			p->part = p->fragment_offset ? PART_LATER : fragment & 1 ? PART_FIRST : PART_WHOLE;
			*offset += 8;
			p->protocol = head[0];
			if (p->part == PART_LATER)
				return 0;
			continue;
		}
		*offset += (head[1] + 1) * 8;
		p->protocol = head[0];
	}
	return ipv6_is_extension(p->protocol) || p->protocol == IPPROTO_FRAGMENT ? DROP_HEADER_MALFORMED : 0;
}

static __always_inline int ipv6_parse(struct __sk_buff *skb, struct packet *p, __u32 available, int embedded)
{
	struct ipv6hdr ip;
	__u32 offset = sizeof(ip);
	__u32 total;
	int reason;

	if (available < sizeof(ip) || bpf_skb_load_bytes(skb, p->l3, &ip, sizeof(ip)))
		return DROP_HEADER_MALFORMED;
	total = bpf_ntohs(ip.payload_len) + sizeof(ip);
	if (ip.version != 6)
		return DROP_HEADER_MALFORMED;
	if (embedded && total > available)
		total = available;
	if (total > available)
		return DROP_HEADER_MALFORMED;
	__builtin_memcpy(&p->wire.source, &ip.saddr, sizeof(p->wire.source));
	__builtin_memcpy(&p->wire.destination, &ip.daddr, sizeof(p->wire.destination));
	/* Here a mapped address stands for IPv4; on the wire it has no meaning. */
	if (address_is_ipv4(&p->wire.source) || address_is_ipv4(&p->wire.destination))
		return DROP_HEADER_MALFORMED;
	p->ipv6 = 1;
	p->protocol = ip.nexthdr;
	p->ttl = ip.hop_limit;
	p->length = total;
	p->dont_fragment = 1;
	reason = ipv6_extensions_parse(skb, p, &offset);
	if (reason)
		return reason;
	if (offset > total)
		return DROP_HEADER_MALFORMED;
	p->l4 = p->l3 + offset;
	if (p->part == PART_LATER)
		return 0;
	return transport_parse(skb, p, total - offset, embedded);
}

/* Reads the frame's headers. 0, or the reason to drop it. ARP is left to `neighbor.h`. */
__noinline int packet_parse(struct __sk_buff *skb, struct packet *p)
{
	int reason = 0;

	if (!p)
		return DROP_HEADER_MALFORMED;
	p->l3 = ETH_HLEN;
	if (skb->len < ETH_HLEN || bpf_skb_load_bytes(skb, 0, &p->frame, sizeof(p->frame)))
		return DROP_HEADER_MALFORMED;
	if (skb->vlan_present)
		return DROP_PROTOCOL_UNSUPPORTED;
	p->ethertype = bpf_ntohs(p->frame.ethertype);
	if (p->ethertype == ETH_P_IP)
		reason = ipv4_parse(skb, p, skb->len - ETH_HLEN, 0);
	else if (p->ethertype == ETH_P_IPV6)
		reason = ipv6_parse(skb, p, skb->len - ETH_HLEN, 0);
	else if (p->ethertype != ETH_P_ARP)
		reason = DROP_PROTOCOL_UNSUPPORTED;
	p->inside = p->wire;
	return reason;
}

/* Reads into `quoted` the packet that the ICMP error `p` speaks of (RFC 792, RFC 4443). 0, or the reason to drop. */
__noinline int packet_parse_quoted(struct __sk_buff *skb, struct packet *p, struct packet *quoted)
{
	__u32 available;
	int reason;

	if (!p || !quoted)
		return DROP_HEADER_MALFORMED;
	__builtin_memset(quoted, 0, sizeof(*quoted));
	quoted->l3 = p->l4 + 8;
	quoted->now = p->now;
	if (skb->len < quoted->l3)
		return DROP_HEADER_MALFORMED;
	available = skb->len - quoted->l3;
	reason = p->ipv6 ? ipv6_parse(skb, quoted, available, 1) : ipv4_parse(skb, quoted, available, 1);
	quoted->inside = quoted->wire;
	return reason;
}

#endif
