/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The datapath's programs as one object: they share every map and every function. */
#include <stddef.h>
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "drop.h"
#include "abi.h"
#include "maps.h"
#include "packet.h"
#include "fragment.h"

#include "from_container.bpf.c"
#include "to_container.bpf.c"
#include "from_overlay.bpf.c"
#include "from_uplink.bpf.c"
#include "from_host.bpf.c"
#include "leave_host.bpf.c"
#include "from_host_socket.bpf.c"
#include "explain.bpf.c"
#include "forget.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
