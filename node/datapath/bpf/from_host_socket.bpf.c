/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hooks: the sockets of a cgroup, where a process names an address. A process of the node that names a published port of the node
 * is led to the endpoint's shadow address, and goes on believing that it speaks to what it named. Translated once, at the
 * socket: no packet to a loopback address could leave the host.
 *
 *     connect, sendmsg         named -> shadow      noted in `named_peers`
 *     recvmsg, getpeername     shadow -> named      as it was noted
 *
 * Nothing is refused here: every program returns 1.
 */

#define SOCKET_GO_ON 1

/* Containers may live in the same cgroup, which knows no namespaces: the node's own processes are told by theirs. */
static __always_inline int socket_is_of_node(struct bpf_sock_addr *ctx)
{
	struct config *settings = config_read();

	return settings && settings->namespace_cookie && bpf_get_netns_cookie(ctx) == settings->namespace_cookie;
}

static __always_inline struct published *socket_find_published(const struct peer_name *to, __u8 protocol)
{
	struct config *settings = config_read();
	int ipv6 = !address_is_ipv4(&to->address);
	struct published *found = published_exactly(&to->address, to->port, protocol);

	if (found || !settings)
		return found;
	if (!address_is_unroutable(&to->address, ipv6) &&
	    !address_equal(&to->address, ipv6 ? &settings->underlay6 : &settings->underlay4))
		return NULL;
	return published_anywhere(ipv6, to->port, protocol);
}

/* The shadow of an endpoint's address; NULL where it has none. */
static __always_inline struct address *socket_find_shadow(struct published *service)
{
	struct resident *resident = bpf_map_lookup_elem(&endpoints_by_address, &service->place);
	struct endpoint *endpoint = resident ? bpf_map_lookup_elem(&endpoints_by_link, &resident->link) : NULL;
	struct address *shadow;

	if (!endpoint)
		return NULL;
	shadow = address_is_ipv4(&service->place.address) ? &endpoint->shadow4 : &endpoint->shadow6;
	return address_is_set(shadow) ? shadow : NULL;
}

/* Leads `peer` to the endpoint, if it names a published port. Whether it does. */
static __always_inline int socket_lead(struct bpf_sock_addr *ctx, struct peer_name *peer)
{
	struct published *service = socket_find_published(peer, ctx->protocol);
	struct address *shadow = service ? socket_find_shadow(service) : NULL;
	struct named_key key = {};
	struct peer_name *before;

	if (!shadow)
		return 0;
	key.socket = bpf_get_socket_cookie(ctx);
	key.peer.address = *shadow;
	key.peer.port = service->port;
	before = bpf_map_lookup_elem(&named_peers, &key);
	if (!before || !address_equal(&before->address, &peer->address) || before->port != peer->port)
		bpf_map_update_elem(&named_peers, &key, peer, BPF_ANY);
	*peer = key.peer;
	return 1;
}

/* Gives `peer` the name by which this socket's process was led there. Whether it was. */
static __always_inline int socket_name(struct bpf_sock_addr *ctx, struct peer_name *peer)
{
	struct named_key key = {};
	struct peer_name *named;

	key.socket = bpf_get_socket_cookie(ctx);
	key.peer = *peer;
	named = bpf_map_lookup_elem(&named_peers, &key);
	if (!named)
		return 0;
	*peer = *named;
	return 1;
}

static __always_inline struct peer_name socket_peer(struct bpf_sock_addr *ctx, int ipv6)
{
	struct peer_name peer = {};

	if (ipv6) {
		peer.address.word[0] = ctx->user_ip6[0];
		peer.address.word[1] = ctx->user_ip6[1];
		peer.address.word[2] = ctx->user_ip6[2];
		peer.address.word[3] = ctx->user_ip6[3];
	} else {
		address_from_ipv4(&peer.address, ctx->user_ip4);
	}
	peer.port = ctx->user_port;
	return peer;
}

static __always_inline void socket_set_peer(struct bpf_sock_addr *ctx, const struct peer_name *peer, int ipv6)
{
	if (ipv6) {
		ctx->user_ip6[0] = peer->address.word[0];
		ctx->user_ip6[1] = peer->address.word[1];
		ctx->user_ip6[2] = peer->address.word[2];
		ctx->user_ip6[3] = peer->address.word[3];
	} else {
		ctx->user_ip4 = peer->address.word[3];
	}
	ctx->user_port = peer->port;
}

static __always_inline int socket_out(struct bpf_sock_addr *ctx, int ipv6)
{
	struct peer_name peer = socket_peer(ctx, ipv6);

	if (socket_is_of_node(ctx) && socket_lead(ctx, &peer))
		socket_set_peer(ctx, &peer, ipv6);
	return SOCKET_GO_ON;
}

static __always_inline int socket_in(struct bpf_sock_addr *ctx, int ipv6)
{
	struct peer_name peer = socket_peer(ctx, ipv6);

	if (socket_is_of_node(ctx) && socket_name(ctx, &peer))
		socket_set_peer(ctx, &peer, ipv6);
	return SOCKET_GO_ON;
}

/* `name` is the hook's; a socket of IPv6 may name an IPv4 address in its mapped form, which is how the maps have it. */
#define SOCKET_HOOK(name, direction, ipv6)      \
	SEC("cgroup/" #name)                    \
	int name(struct bpf_sock_addr *ctx)     \
	{                                       \
		return direction(ctx, ipv6);    \
	}

SOCKET_HOOK(connect4, socket_out, 0)
SOCKET_HOOK(connect6, socket_out, 1)
SOCKET_HOOK(sendmsg4, socket_out, 0)
SOCKET_HOOK(sendmsg6, socket_out, 1)
SOCKET_HOOK(recvmsg4, socket_in, 0)
SOCKET_HOOK(recvmsg6, socket_in, 1)
SOCKET_HOOK(getpeername4, socket_in, 0)
SOCKET_HOOK(getpeername6, socket_in, 1)
