/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where a destination lies: endpoints of this node by exact match first, then the longest route, then what the node publishes,
 * then the world.
 */
#ifndef SEALANE_ROUTE_H
#define SEALANE_ROUTE_H

#include "packet.h"

static __always_inline struct route *route_longest(__u32 vni, const struct address *address)
{
	struct route_key key = { .length = 192, .vni = vni, .family = address_family(address), .address = *address };

	return bpf_map_lookup_elem(&routes, &key);
}

static __always_inline struct network *network_find(__u32 vni)
{
	return bpf_map_lookup_elem(&networks, &vni);
}

static __always_inline __u32 network_flags(const struct network *n, __u32 generation)
{
	return generation >= n->since ? n->flags_new : n->flags_old;
}

static __always_inline const struct address *network_gateway(const struct network *n, int ipv6)
{
	return ipv6 ? &n->gateway6 : &n->gateway4;
}

/* Whether the address lies in the network's own subnets, held by anybody or not. */
static __always_inline int route_is_inside(__u32 vni, const struct address *address)
{
	return route_longest(vni, address) != NULL;
}

static __always_inline int route_to_resident(struct packet *p, const struct resident *r)
{
	p->target = TARGET_LOCAL;
	p->target_link = r->link;
	__builtin_memcpy(p->target_mac, r->mac, sizeof(p->target_mac));
	p->destination_group = r->group;
	p->destination_vni = p->vni;
	return 0;
}

/* What is published at exactly this address. */
static __always_inline struct published *published_exactly(const struct address *address, __be16 port, __u8 protocol)
{
	struct published_key key = { .address = *address, .port = port, .protocol = protocol };

	return bpf_map_lookup_elem(&published, &key);
}

/* What is published at the node's own address of that family, whatever it is. */
static __always_inline struct published *published_anywhere(int ipv6, __be16 port, __u8 protocol)
{
	struct published_key key = { .port = port, .protocol = protocol };

	if (!ipv6)
		key.address.word[2] = bpf_htonl(0xffff);
	return bpf_map_lookup_elem(&published, &key);
}

/* What is published where a packet goes to. */
static __always_inline struct published *published_find(const struct tuple *t, __u8 protocol, int ipv6)
{
	struct config *settings = config_read();
	struct published *found = published_exactly(&t->destination, t->destination_port, protocol);

	if (found || !settings)
		return found;
	if (!address_equal(&t->destination, ipv6 ? &settings->underlay6 : &settings->underlay4))
		return NULL;
	return published_anywhere(ipv6, t->destination_port, protocol);
}

static __always_inline int route_outside(struct packet *p, const struct config *settings)
{
	const struct address *own = p->ipv6 ? &settings->underlay6 : &settings->underlay4;

	p->destination_vni = 0;
	if (address_is_unroutable(&p->inside.destination, p->ipv6))
		return DROP_ROUTE_UNKNOWN;
	if (!(p->network_flags & NETWORK_EGRESS))
		return DROP_EGRESS_OFF;
	if (settings->leg_host_link && published_find(&p->inside, p->protocol, p->ipv6)) {
		/* As if the port were another node's: judged by the address and port that the container named. */
		p->target = TARGET_WORLD;
		p->exit = EXIT_LOOP;
	} else if (settings->leg_host_link && address_is_set(own) && address_equal(&p->inside.destination, own)) {
		p->target = TARGET_HOST;
		p->destination_group = GROUP_HOST;
		p->exit = EXIT_LEG;
	} else {
		p->target = TARGET_WORLD;
		p->exit = EXIT_UPLINK;
	}
	p->sides = SIDE_EGRESS;
	return 0;
}

/*
 * Finds p->target for p->inside.destination in network p->vni, with what is known of its group and which sides of policy
 * are judged here. The network must be one that this node holds. 0, or the reason why there is no way.
 */
__noinline int route_find(struct packet *p)
{
	struct config *settings = config_read();
	struct place place = {};
	struct network *network;
	struct resident *resident;
	struct route *route;

	if (!p || !settings)
		return DROP_ROUTE_UNKNOWN;
	network = network_find(p->vni);
	if (!network)
		return DROP_NETWORK_UNKNOWN;
	p->network_flags = network_flags(network, p->generation);
	p->source_vni = p->vni;
	p->destination_vni = p->vni;
	place.vni = p->vni;
	place.address = p->inside.destination;
	resident = bpf_map_lookup_elem(&endpoints_by_address, &place);
	if (resident && !resident->link) {
		/* Whoever stands behind it (a client, the host) is known to the flow alone. */
		p->target = TARGET_GATEWAY;
		return 0;
	}
	if (resident) {
		p->sides = SIDE_EGRESS | SIDE_INGRESS;
		return route_to_resident(p, resident);
	}
	route = route_longest(p->vni, &p->inside.destination);
	if (!route)
		return route_outside(p, settings);
	if (!(route->kind & ROUTE_NODE) || route->node == settings->node)
		return DROP_ROUTE_UNKNOWN;
	p->target = TARGET_NODE;
	p->target_node = route->node;
	return 0;
}

#endif
