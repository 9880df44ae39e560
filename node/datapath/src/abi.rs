//! The keys and values of every map, as `bpf/abi.h` lays them out; that file says what each field means.
//!
//! Promises: no type here has padding, and each is valid whatever its bytes are, so values cross to the kernel as bytes.
//! Ports and addresses are in network order.

use std::net::{IpAddr, Ipv6Addr};

/// The version of all that is declared here; `SCHEMA_VERSION` of `bpf/abi.h`.
pub(crate) const SCHEMA: u32 = 1;
/// A versioned number that is not there.
pub(crate) const ABSENT: u32 = u32::MAX;

pub(crate) const NETWORK_DENY: u32 = 1;
pub(crate) const NETWORK_EGRESS: u32 = 2;
pub(crate) const ROUTE_NODE: u32 = 1;
pub(crate) const ROUTE_SUBNET: u32 = 2;
pub(crate) const SIDE_EGRESS: u8 = 1;
pub(crate) const SIDE_INGRESS: u8 = 2;
pub(crate) const EXIT_NONE: u8 = 0;
pub(crate) const EXIT_LEG: u8 = 2;
pub(crate) const FLOW_STATES: usize = 8;
pub(crate) const UPLINKS: usize = 4;
pub(crate) const FORGET_AT_ONCE: usize = 32;

/// Declares the types and that they may cross to the kernel.
macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type),*
        }

        // The fields fill the struct: padding would be read as uninitialised bytes.
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*);

        impl $crate::table::sealed::Plain for $name {}
    )*};
}

plain! {
    /// An address of 128 bits; IPv4 as `::ffff:a.b.c.d`.
    Address { octets: [u8; 16] }
    Config {
        underlay4: Address, underlay6: Address, namespace_cookie: u64, node: u32, overlay_link: u32, overlay_mtu: u32, leg_host_link: u32,
        leg_fabric_link: u32, uplinks: [u32; UPLINKS], timeouts: [u32; FLOW_STATES], events_per_second: u32,
        nat_first: u16, nat_last: u16, overlay_port: [u8; 2], unused: u16, gateway_mac: [u8; 6], leg_host_mac: [u8; 6],
        unused_end: [u8; 4],
    }
    State { generation: u32, schema: u32, held: u64 }
    Endpoint {
        address4: Address, address6: Address, shadow4: Address, shadow6: Address, vni: u32, tenant: u32, id: u32,
        link: u32, group4: u16, group6: u16, mac: [u8; 6], unused: [u8; 2],
    }
    Place { vni: u32, address: Address }
    Resident { link: u32, id: u32, tenant: u32, group: u16, mac: [u8; 6] }
    Shadowed { place: Place, link: u32, tenant: u32 }
    Network { gateway4: Address, gateway6: Address, tenant: u32, since: u32, flags_new: u32, flags_old: u32 }
    RouteKey { length: u32, vni: u32, family: u32, address: Address }
    Route { kind: u32, node: u32 }
    MemberKey { node: u32, vni: u32 }
    GroupKey { tenant: u32, group: u32 }
    RuleSets { ingress: u32, egress: u32 }
    GroupEntry { since: u32, new: RuleSets, old: RuleSets }
    RowKey { rule_set: u32, peer: u32 }
    Row { first: u32, count: u32 }
    RowEntry { since: u32, new: Row, old: Row }
    Interval { start: u32, decision: u32 }
    ClassKey { length: u32, tenant: u32, family: u32, address: Address }
    ClassEntry { since: u32, new: u32, old: u32 }
    FlowEnd { address: Address, vni: u32, port: [u8; 2], unused: u16 }
    FlowKey { low: FlowEnd, high: FlowEnd, protocol: u32 }
    Outside { ours: Address, theirs: Address, our_port: [u8; 2], their_port: [u8; 2], protocol: u32 }
    Flow {
        created: u64, seen: u64, packets: [u64; 2], bytes: [u64; 2], outside: Outside, tenant: u32, generation: u32,
        rule: u32, groups: [u32; 2], initiator_low: u8, container_low: u8, sides: u8, state: u8, exit: u8, finished: u8,
        unused: [u8; 6],
    }
    Translation { key: FlowKey, container_low: u32 }
    PublishedKey { address: Address, port: [u8; 2], protocol: u8, unused: u8 }
    Published { place: Place, endpoint: u32, port: [u8; 2], unused: u16 }
    PeerName { address: Address, port: [u8; 2], unused: u16 }
    NamedKey { socket: u64, peer: PeerName, unused: u32 }
    Tenant { flows: u64, quota: u64 }
    FragmentKey { vni: u32, source: Address, destination: Address, id: u32, protocol: u32 }
    Fragment { ports: [u8; 4], end: u32 }
    DropKey { vni: u32, tenant: u32, reason: u32, rule: u32 }
    DropCount { packets: u64, bytes: u64 }
    Event {
        time: u64, source: Address, destination: Address, vni: u32, tenant: u32, rule: u32, link: u32,
        source_port: [u8; 2], destination_port: [u8; 2], source_group: u16, destination_group: u16, protocol: u8,
        reason: u8, side: u8, unused: [u8; 5],
    }
    EventRate { second: u64, sent: u64, lost: u64 }
    ExplainRequest {
        source: Address, destination: Address, vni: u32, source_group: u16, destination_group: u16, port: [u8; 2],
        protocol: u8, unused: [u8; 5],
    }
    Judgement {
        tenant: u32, generation: u32, flags: u32, sender: u16, receiver: u16, port: u16, protocol: u8, sides: u8,
        egress_set: u32, ingress_set: u32, egress_row: Row, ingress_row: Row, egress: u32, ingress: u32, rule: u32,
        reason: u32,
    }
    ForgetRequest { key: FlowKey, always: u32 }
    ExplainAnswer { judgement: Judgement, target: u32, node: u32, link: u32, reason: u32 }
}

impl crate::table::sealed::Plain for u32 {}

impl Address {
    /// No address.
    pub(crate) const NONE: Self = Self { octets: [0; 16] };

    pub(crate) fn of(address: IpAddr) -> Self {
        let wide = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        Self { octets: wide.octets() }
    }

    pub(crate) fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.octets).to_canonical()
    }

    pub(crate) fn is_set(self) -> bool {
        self != Self::NONE
    }

    /// What keys of tries tell the families apart by.
    pub(crate) fn family(address: IpAddr) -> u32 {
        if address.is_ipv4() { 4 } else { 6 }
    }

    /// The length of a prefix of this family as one of 128 bits.
    pub(crate) fn wide_length(address: IpAddr, length: u8) -> u32 {
        u32::from(length) + if address.is_ipv4() { 96 } else { 0 }
    }
}

/// An optional address as the maps have it.
pub(crate) fn optional(address: Option<IpAddr>) -> Address {
    address.map(Address::of).unwrap_or(Address::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_wide_form() {
        for text in ["10.1.2.3", "0.0.0.0", "255.255.255.255", "fd00::7", "::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Address::of(address).ip(), address);
        }
        assert_eq!(Address::wide_length("10.0.0.0".parse().unwrap(), 8), 104);
    }
}
