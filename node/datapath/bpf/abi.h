/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs and the loader share: the keys and values of every map, the questions of `explain`, the events.
 * `src/abi.rs` mirrors it field by field; a difference in size is refused when the maps are opened.
 *
 * Addresses are 128 bits everywhere, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so one path serves both families.
 * Every key carries its network (VNI) or its tenant. Ports and addresses are in network order, all else in the host's.
 * No struct has implicit padding: keys are compared byte by byte.
 */
#ifndef SEALANE_ABI_H
#define SEALANE_ABI_H

#include <linux/types.h>

/* Raised when a map's key, value or meaning changes. */
#define SCHEMA_VERSION 1

struct address {
	__be32 word[4];
};

/* A versioned number that is not there. */
#define ABSENT 0xffffffffu

/* Groups of every tenant's numbering that are not given out. */
enum reserved_group { GROUP_UNKNOWN = 0, GROUP_HOST = 1, GROUP_WORLD = 2, GROUP_GATEWAY = 3 };

enum verdict { VERDICT_DEFAULT = 0, VERDICT_ALLOW = 1, VERDICT_DENY = 2 };

/* A flow's life; each state has its own timeout in `config`. */
enum flow_state {
	STATE_TCP_OPENING,
	STATE_TCP_OPEN,
	STATE_TCP_CLOSING,
	STATE_TCP_CLOSED,
	STATE_UDP_ONE_WAY,
	STATE_UDP_BOTH_WAYS,
	STATE_ICMP,
	STATE_OTHER,
	FLOW_STATES,
};

#define UPLINKS 4

/* Map `config`, one entry. */
struct config {
	struct address underlay4; /* this node's; zero: none */
	struct address underlay6;
	__u64 namespace_cookie; /* of the network namespace whose processes are the node's own; 0: none is served */
	__u32 node;
	__u32 overlay_link; /* ifindex of the VXLAN device */
	__u32 overlay_mtu; /* the largest inner IP packet, bytes; 0: not checked */
	__u32 leg_host_link; /* the host leg's end in the host's stack; 0: no leg */
	__u32 leg_fabric_link;
	__u32 uplinks[UPLINKS]; /* 0: none */
	__u32 timeouts[FLOW_STATES]; /* seconds since the last packet */
	__u32 events_per_second; /* for each CPU */
	__u16 nat_first; /* host order, both ends included */
	__u16 nat_last;
	__be16 overlay_port; /* UDP */
	__u16 unused;
	__u8 gateway_mac[6]; /* every gateway's */
	__u8 leg_host_mac[6];
	__u8 unused_end[4];
};

/* Map `state`, one entry. Each packet reads `generation` once; the kernel copies a value in words of 64 bits. */
struct state {
	__u32 generation; /* counts flips */
	__u32 schema;
	__u64 held; /* the server's number of what is applied */
};

/* Map `endpoints_by_link`, by the ifindex of the host's end of a container's veth pair. */
struct endpoint {
	struct address address4; /* zero: none */
	struct address address6;
	struct address shadow4; /* how the host's stack names it */
	struct address shadow6;
	__u32 vni;
	__u32 tenant;
	__u32 id;
	__u32 link;
	__u16 group4;
	__u16 group6;
	__u8 mac[6];
	__u8 unused[2];
};

/* An address in a network. Key of `endpoints_by_address`. */
struct place {
	__u32 vni;
	struct address address;
};

/* Map `endpoints_by_address`: the endpoints on this node, and the gateways of its networks' subnets. */
struct resident {
	__u32 link; /* 0: a gateway */
	__u32 id;
	__u32 tenant;
	__u16 group;
	__u8 mac[6];
};

/* Map `endpoints_by_shadow`, by `struct address`. */
struct shadowed {
	struct place place;
	__u32 link;
	__u32 tenant;
};

enum network_flag {
	NETWORK_DENY = 1, /* what no policy speaks of is denied */
	NETWORK_EGRESS = 2, /* the world is reached through this node's address */
};

/* Map `networks`, by VNI. */
struct network {
	struct address gateway4; /* whoever is translated appears under it; zero: none */
	struct address gateway6;
	__u32 tenant;
	__u32 since; /* generation from which flags_new holds */
	__u32 flags_new;
	__u32 flags_old;
};

/* A prefix may be both. */
enum route_kind {
	ROUTE_NODE = 1, /* a block of addresses that a node holds */
	ROUTE_SUBNET = 2, /* a range of the network */
};

/* Map `routes`, longest prefix. */
struct route_key {
	__u32 length; /* 32 for the VNI, 32 for the family and 128 for the address */
	__u32 vni;
	__u32 family; /* as in `struct class_key` */
	struct address address;
};

struct route {
	__u32 kind; /* enum route_kind, or'ed */
	__u32 node;
};

/* Map `members`: the node holds the network. */
struct member_key {
	__u32 node;
	__u32 vni;
};

/* A versioned value: `old` until generation `since`, `new` from it on. */
struct group_key {
	__u32 tenant;
	__u32 group;
};

struct rule_sets {
	__u32 ingress; /* ABSENT: the group is not known */
	__u32 egress;
};

/* Map `groups`. */
struct group_entry {
	__u32 since;
	struct rule_sets new;
	struct rule_sets old;
};

/* Map `rows`: what a rule set says of a peer group; peer 0 is the row of all others. */
struct row_key {
	__u32 rule_set;
	__u32 peer;
};

/* A slice of `intervals`. */
struct row {
	__u32 first; /* ABSENT: there is no row */
	__u32 count;
};

struct row_entry {
	__u32 since;
	struct row new;
	struct row old;
};

/* Array `intervals`: from `start` to the next one's, `decision` holds. A row starts with what holds from 0 on. */
struct interval {
	__u32 start; /* protocol << 16 | port */
	__u32 decision; /* verdict << 30 | rule */
};

/* Map `address_classes`, longest prefix: groups of addresses outside the fabric. */
struct class_key {
	__u32 length; /* 32 for the tenant, 32 for the family and 128 for the address */
	__u32 tenant;
	__u32 family; /* 4 or 6: ::/0 means no IPv4 address, though those lie within it here */
	struct address address;
};

struct class_entry {
	__u32 since;
	__u32 new; /* ABSENT: no class */
	__u32 old;
};

/* One end of a flow. Outside the fabric the VNI is 0. */
struct flow_end {
	struct address address;
	__u32 vni;
	__be16 port; /* ICMP echo: the identifier, at the end that asks */
	__u16 unused;
};

/* Map `flows`: one entry serves both directions, for the lower end always comes first. */
struct flow_key {
	struct flow_end low;
	struct flow_end high;
	__u32 protocol;
};

/* The same flow as it is seen outside its network: on the uplink, or by the host's stack. */
struct outside {
	struct address ours; /* the node's, or the container's shadow */
	struct address theirs;
	__be16 our_port;
	__be16 their_port;
	__u32 protocol;
};

/* By the loop goes what this node would send to itself: a container's way to a published port, and its answers. */
enum flow_exit { EXIT_NONE = 0, EXIT_UPLINK = 1, EXIT_LEG = 2, EXIT_LOOP = 3 };

enum flow_side { SIDE_EGRESS = 1, SIDE_INGRESS = 2 };

struct flow {
	__u64 created; /* ns of CLOCK_MONOTONIC */
	__u64 seen;
	__u64 packets[2]; /* [0] from the initiator, [1] to it */
	__u64 bytes[2];
	struct outside outside; /* where exit is not EXIT_NONE */
	__u32 tenant;
	__u32 generation; /* in which it was judged last */
	__u32 rule; /* that allowed it */
	__u32 groups[2]; /* initiator's, responder's, as judged last; ABSENT: not known here */
	__u8 initiator_low; /* the lower end began it */
	__u8 container_low; /* the lower end is the container, where exit is not EXIT_NONE */
	__u8 sides; /* of the initiator's direction, judged here */
	__u8 state;
	__u8 exit;
	__u8 finished; /* bit 0: the initiator sent FIN, bit 1: the responder */
	__u8 unused[6];
};

/* Map `translations`, by `struct outside`: leads from the outside to the flow. */
struct translation {
	struct flow_key key;
	__u32 container_low;
};

/* Map `published`; address ::ffff:0.0.0.0 or :: stands for the node's own of that family. */
struct published_key {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 unused;
};

struct published {
	struct place place;
	__u32 endpoint;
	__be16 port;
	__u16 unused;
};

/* Whom a socket speaks to. */
struct peer_name {
	struct address address;
	__be16 port;
	__u16 unused;
};

/* Map `named_peers`, to `struct peer_name`: what a host process named when it was led to `peer`. */
struct named_key {
	__u64 socket; /* its cookie */
	struct peer_name peer;
	__u32 unused;
};

/* Map `tenants`. */
struct tenant {
	__u64 flows; /* that it has on this node */
	__u64 quota;
};

/* Map `fragments`: what the first fragment of a datagram said. */
struct fragment_key {
	__u32 vni;
	struct address source;
	struct address destination;
	__u32 id;
	__u32 protocol;
};

struct fragment {
	__be16 source_port;
	__be16 destination_port;
	__u32 end; /* bytes of payload that the first carried */
};

/* Map `drops`, counted by each CPU. */
struct drop_key {
	__u32 vni;
	__u32 tenant;
	__u32 reason;
	__u32 rule;
};

struct drop_count {
	__u64 packets;
	__u64 bytes;
};

/* Ring `events`: a sample of what is dropped. */
struct event {
	__u64 time; /* ns of CLOCK_MONOTONIC */
	struct address source;
	struct address destination;
	__u32 vni;
	__u32 tenant;
	__u32 rule;
	__u32 link;
	__be16 source_port;
	__be16 destination_port;
	__u16 source_group;
	__u16 destination_group;
	__u8 protocol;
	__u8 reason;
	__u8 side; /* enum flow_side that denied, where policy did; else 0 */
	__u8 unused[5];
};

/* Map `event_rates`, one for each CPU. */
struct event_rate {
	__u64 second;
	__u64 sent;
	__u64 lost; /* since the map was made */
};

/* Where a destination lies, as the node that asks sees it. */
enum target { TARGET_NONE, TARGET_LOCAL, TARGET_NODE, TARGET_GATEWAY, TARGET_HOST, TARGET_WORLD };

/* The packet given to `explain`; groups of 0 are looked up. */
struct explain_request {
	struct address source;
	struct address destination;
	__u32 vni;
	__u16 source_group;
	__u16 destination_group;
	__be16 port;
	__u8 protocol;
	__u8 unused[5];
};

/* Flows that `forget` takes at once. */
#define FORGET_AT_ONCE 32

/* One of the packet given to `forget`. */
struct forget_request {
	struct flow_key key;
	__u32 always;
};

/* What both directions of policy said, and from what. */
struct judgement {
	__u32 tenant;
	__u32 generation;
	__u32 flags; /* enum network_flag */
	__u16 sender;
	__u16 receiver;
	__u16 port; /* host order */
	__u8 protocol;
	__u8 sides; /* enum flow_side */
	__u32 egress_set;
	__u32 ingress_set;
	struct row egress_row;
	struct row ingress_row;
	__u32 egress; /* decision */
	__u32 ingress;
	__u32 rule;
	__u32 reason; /* 0: allowed */
};

struct explain_answer {
	struct judgement judgement;
	__u32 target;
	__u32 node;
	__u32 link;
	__u32 reason; /* what would befall the packet; 0: it passes */
};

#endif
