/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map. The sizes here are the smallest; the loader sets those that are configured. All but `scratches` are pinned.
 *
 * `flows` and `translations` are plain hashes, not LRUs: a flood of one tenant must not evict another's flows, so each
 * tenant has a quota and a full table drops by name. They take their memory as flows come (BPF_F_NO_PREALLOC): a node
 * with few containers should not hold the memory of one with many.
 */
#ifndef SEALANE_MAPS_H
#define SEALANE_MAPS_H

#include "abi.h"

#define MAP(name_, type_, key_, value_, entries_, flags_) \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_##type_);       \
		__type(key, key_);                        \
		__type(value, value_);                    \
		__uint(max_entries, entries_);            \
		__uint(map_flags, flags_);                \
	} name_ SEC(".maps")

MAP(config, ARRAY, __u32, struct config, 1, 0);
MAP(state, ARRAY, __u32, struct state, 1, 0);

MAP(endpoints_by_link, HASH, __u32, struct endpoint, 4096, BPF_F_NO_PREALLOC);
MAP(endpoints_by_address, HASH, struct place, struct resident, 8192, BPF_F_NO_PREALLOC);
MAP(endpoints_by_shadow, HASH, struct address, struct shadowed, 8192, BPF_F_NO_PREALLOC);

MAP(networks, HASH, __u32, struct network, 4096, BPF_F_NO_PREALLOC);
MAP(routes, LPM_TRIE, struct route_key, struct route, 65536, BPF_F_NO_PREALLOC);
MAP(nodes, HASH, __u32, struct address, 16384, BPF_F_NO_PREALLOC);
MAP(nodes_by_address, HASH, struct address, __u32, 32768, BPF_F_NO_PREALLOC);
MAP(members, HASH, struct member_key, __u32, 131072, BPF_F_NO_PREALLOC);

MAP(groups, HASH, struct group_key, struct group_entry, 65536, BPF_F_NO_PREALLOC);
MAP(rows, HASH, struct row_key, struct row_entry, 262144, BPF_F_NO_PREALLOC);
MAP(intervals, ARRAY, __u32, struct interval, 1048576, 0);
MAP(address_classes, LPM_TRIE, struct class_key, struct class_entry, 65536, BPF_F_NO_PREALLOC);

MAP(tenants, HASH, __u32, struct tenant, 4096, BPF_F_NO_PREALLOC);
MAP(flows, HASH, struct flow_key, struct flow, 262144, BPF_F_NO_PREALLOC);
MAP(translations, HASH, struct outside, struct translation, 131072, BPF_F_NO_PREALLOC);
MAP(published, HASH, struct published_key, struct published, 4096, BPF_F_NO_PREALLOC);
MAP(named_peers, LRU_HASH, struct named_key, struct peer_name, 16384, 0);
MAP(fragments, LRU_HASH, struct fragment_key, struct fragment, 8192, 0);

MAP(drops, PERCPU_HASH, struct drop_key, struct drop_count, 8192, BPF_F_NO_PREALLOC);
MAP(event_rates, PERCPU_ARRAY, __u32, struct event_rate, 1, 0);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

#endif
