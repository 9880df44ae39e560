//! Address blocks: which node hands out which addresses of a network.
//!
//! Owns: the leases of one network ([`Blocks`]). A node hands out addresses of the blocks that it holds, alone, whether or not
//! the server is reached; each block is one route.
//!
//! Promises: no two blocks overlap, every block lies inside one subnet and holds at least one address that an endpoint may
//! have. Who keeps the network's own addresses (gateway, network, broadcast) from endpoints: the *node*, by
//! [`Subnet::assignable`]; blocks may contain them, and only what is assignable is counted here. Fixed addresses that are not
//! assignable are refused here.
//!
//! Sizes: a block is the square root of the subnet, at most 64 addresses of IPv4 and 65,536 of IPv6, and never more than a
//! sixteenth of what is left; a subnet of 16 addresses or fewer goes out one by one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use record::record::Subnet;
use record::{NodeId, Prefix};

/// The leases of one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    leases: BTreeMap<Prefix, NodeId>,
}

/// Why a fixed address cannot be leased.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FixedError {
    /// It lies in none of the network's subnets.
    #[error("the address {address} is in none of the network's subnets ({})", list(subnets))]
    Outside {
        /// What was asked for.
        address: IpAddr,
        /// What there is.
        subnets: Vec<Prefix>,
    },
    /// It is the network's own.
    #[error("the address {address} is the gateway, the first or the last address of {subnet}")]
    Reserved {
        /// What was asked for.
        address: IpAddr,
        /// Of which subnet.
        subnet: Prefix,
    },
    /// Another node hands it out.
    #[error("the address {address} lies in the block {block} of another node")]
    Held {
        /// What was asked for.
        address: IpAddr,
        /// The block.
        block: Prefix,
        /// Its holder.
        holder: NodeId,
    },
}

impl Blocks {
    /// The leases as they were kept; `Err` names two that overlap.
    pub(crate) fn restore(
        leases: impl IntoIterator<Item = (Prefix, NodeId)>,
    ) -> Result<Self, (Prefix, Prefix)> {
        let leases: BTreeMap<_, _> = leases.into_iter().collect();
        let mut before: Option<Prefix> = None;
        for &block in leases.keys() {
            if let Some(before) = before.filter(|before| before.overlaps(block)) {
                return Err((before, block));
            }
            before = Some(block);
        }
        Ok(Self { leases })
    }

    /// Every block and its holder, in order of addresses.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (Prefix, NodeId)> {
        self.leases.iter().map(|(block, node)| (*block, *node))
    }

    /// The blocks that a node holds.
    pub(crate) fn held_by(&self, node: NodeId) -> impl Iterator<Item = Prefix> {
        self.leases().filter(move |(_, holder)| *holder == node).map(|(block, _)| block)
    }

    /// The block that holds an address, and whose it is.
    pub(crate) fn holder(&self, address: IpAddr) -> Option<(Prefix, NodeId)> {
        let host = Prefix::host(address);
        let (block, node) = self.leases.range(..=host).next_back()?;
        // The only lease that can sort at or before the address's own /32 and cover it is the nearest one: leases are disjoint.
        block.contains(address).then_some((*block, *node))
    }

    /// Addresses of a subnet that the node can give to endpoints, used ones too.
    pub(crate) fn assignable(&self, subnet: Subnet, node: NodeId) -> u128 {
        self.held_by(node).filter(|block| subnet.prefix.covers(*block)).map(|block| subnet.count(block)).sum()
    }

    /// A block for a node; `None`: nothing is left.
    pub(crate) fn lease(&mut self, subnet: Subnet, node: NodeId) -> Option<Prefix> {
        let mut bits = block_bits(subnet.prefix);
        let left = subnet.prefix.size().saturating_sub(self.leased(subnet.prefix));
        while bits > 0 && (1u128 << bits) > left / SHARE {
            bits -= 1;
        }
        let block = (0..=bits).rev().find_map(|bits| self.free(subnet, bits))?;
        self.leases.insert(block, node);
        Some(block)
    }

    /// A block of one address that an endpoint must have; `None`: it lies in a block that the node holds already.
    pub(crate) fn lease_fixed(
        &mut self,
        subnets: &[Subnet],
        address: IpAddr,
        node: NodeId,
    ) -> Result<Option<Prefix>, FixedError> {
        let Some(subnet) = subnets.iter().find(|subnet| subnet.prefix.contains(address)) else {
            let subnets = subnets.iter().map(|subnet| subnet.prefix).collect();
            return Err(FixedError::Outside { address, subnets });
        };
        if !subnet.assignable(address) {
            return Err(FixedError::Reserved { address, subnet: subnet.prefix });
        }
        match self.holder(address) {
            Some((_, holder)) if holder == node => Ok(None),
            Some((block, holder)) => Err(FixedError::Held { address, block, holder }),
            None => {
                self.leases.insert(Prefix::host(address), node);
                Ok(Some(Prefix::host(address)))
            }
        }
    }

    /// Leases a block that a node has already. `false`: another lease is in the way, and nothing changed.
    pub(crate) fn adopt(&mut self, block: Prefix, node: NodeId) -> bool {
        let free = self.leases.keys().all(|leased| !leased.overlaps(block));
        if free {
            self.leases.insert(block, node);
        }
        free
    }

    /// Takes a block back. `false`: the node does not hold it, and nothing changed.
    pub(crate) fn release(&mut self, block: Prefix, node: NodeId) -> bool {
        let held = self.leases.get(&block) == Some(&node);
        if held {
            self.leases.remove(&block);
        }
        held
    }

    /// Takes back all that a node holds.
    pub(crate) fn release_all(&mut self, node: NodeId) -> Vec<Prefix> {
        let blocks: Vec<Prefix> = self.held_by(node).collect();
        for block in &blocks {
            self.leases.remove(block);
        }
        blocks
    }

    /// Addresses of a subnet that are leased.
    fn leased(&self, subnet: Prefix) -> u128 {
        self.within(subnet).map(Prefix::size).fold(0, u128::saturating_add)
    }

    fn within(&self, subnet: Prefix) -> impl Iterator<Item = Prefix> {
        self.leases.range(subnet..).map(|(block, _)| *block).take_while(move |block| subnet.covers(*block))
    }

    /// The first free block of 2^`bits` addresses that has an assignable one.
    fn free(&self, subnet: Subnet, bits: u8) -> Option<Prefix> {
        let size = 1u128 << bits;
        let end = subnet.prefix.size();
        let mut gap = 0u128;
        let taken = self.within(subnet.prefix).map(|block| {
            let start = offset(subnet.prefix, block.address());
            (start, start + block.size())
        });
        for (start, after) in taken.chain(std::iter::once((end, end))) {
            let mut candidate = gap.next_multiple_of(size);
            // At most three candidates of a gap hold none but the network's own addresses.
            while candidate + size <= start {
                let block =
                    Prefix::containing(subnet.prefix.nth(candidate)?, subnet.prefix.bits() - bits).ok()?;
                if subnet.count(block) > 0 {
                    return Some(block);
                }
                candidate += size;
            }
            gap = after;
        }
        None
    }
}

/// log2 of a block's size when there is plenty.
fn block_bits(subnet: Prefix) -> u8 {
    let host_bits = subnet.bits() - subnet.length();
    let most = if subnet.is_ipv4() { 6 } else { 16 };
    if host_bits <= 4 { 0 } else { (host_bits / 2).min(most) }
}

/// How far an address is behind the first of a prefix that holds it.
fn offset(prefix: Prefix, address: IpAddr) -> u128 {
    match (prefix.address(), address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => u128::from(u32::from(address) - u32::from(first)),
        (IpAddr::V6(first), IpAddr::V6(address)) => u128::from(address) - u128::from(first),
        _ => unreachable!("a prefix holds addresses of its own family"),
    }
}

/// A block is at most this part of what is left, so that the last nodes to come find something too.
const SHARE: u128 = 16;

fn list(prefixes: &[Prefix]) -> String {
    prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subnet(prefix: &str) -> Subnet {
        let prefix: Prefix = prefix.parse().unwrap();
        Subnet { prefix, gateway: prefix.nth(1).unwrap_or(prefix.address()) }
    }

    #[test]
    fn blocks_follow_the_size_of_the_network() {
        for (network, block) in [
            ("10.0.0.0/16", "10.0.0.0/26"),
            ("10.0.0.0/24", "10.0.0.0/28"),
            ("10.0.0.0/28", "10.0.0.2/32"),
            ("10.0.0.0/30", "10.0.0.2/32"),
            ("fd00::/64", "fd00::/112"),
            ("fd00::/112", "fd00::/120"),
        ] {
            let leased = Blocks::default().lease(subnet(network), NodeId(1)).unwrap();
            assert_eq!(leased, block.parse().unwrap(), "{network}");
        }
    }

    #[test]
    fn a_small_network_reaches_many_nodes() {
        let (subnet, mut blocks) = (subnet("10.0.0.0/24"), Blocks::default());
        let nodes = (0..).take_while(|node| blocks.lease(subnet, NodeId(*node)).is_some()).count();
        assert!(nodes >= 60, "{nodes}");
    }

    #[test]
    fn a_full_network_has_leased_every_assignable_address_and_refuses_more() {
        for (network, hosts) in
            [("10.0.0.0/24", 253), ("10.0.0.0/29", 5), ("10.0.0.0/31", 1), ("fd00::/120", 254)]
        {
            let (subnet, mut blocks) = (subnet(network), Blocks::default());
            let mut node = 0;
            while blocks.lease(subnet, NodeId(node % 7)).is_some() {
                node += 1;
            }
            let assignable: u128 = (0..7).map(|node| blocks.assignable(subnet, NodeId(node))).sum();
            assert_eq!(assignable, hosts, "{network}: {blocks:?}");
            assert!(
                blocks.leases().any(|(block, _)| block.length() == block.bits()),
                "the last go out one by one"
            );
        }
    }

    #[test]
    fn a_fixed_address_is_a_block_of_its_own_and_its_refusals_are_told_apart() {
        let (subnets, mut blocks) = ([subnet("10.0.0.0/24")], Blocks::default());
        let fixed = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            blocks.lease_fixed(&subnets, fixed("10.0.0.77"), NodeId(1)),
            Ok(Some("10.0.0.77/32".parse().unwrap()))
        );
        assert_eq!(blocks.lease_fixed(&subnets, fixed("10.0.0.77"), NodeId(1)), Ok(None));
        assert!(matches!(
            blocks.lease_fixed(&subnets, fixed("10.0.0.77"), NodeId(2)),
            Err(FixedError::Held { holder: NodeId(1), .. })
        ));
        for own in ["10.0.0.0", "10.0.0.1", "10.0.0.255"] {
            let refused = blocks.lease_fixed(&subnets, fixed(own), NodeId(1));
            assert!(matches!(refused, Err(FixedError::Reserved { .. })), "{own}");
        }
        let outside = blocks.lease_fixed(&subnets, fixed("10.0.1.5"), NodeId(1)).unwrap_err();
        assert!(outside.to_string().contains("10.0.0.0/24"), "{outside}");
    }

    #[test]
    fn what_was_kept_and_overlaps_is_named() {
        let wide: Prefix = "10.0.0.0/26".parse().unwrap();
        let narrow: Prefix = "10.0.0.5/32".parse().unwrap();
        assert_eq!(Blocks::restore([(narrow, NodeId(1)), (wide, NodeId(2))]), Err((wide, narrow)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Lease(u32, usize),
        Fixed(u32, u32),
        Release(u32, usize),
        ReleaseAll(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u32..5, 0usize..2).prop_map(|(node, subnet)| Step::Lease(node, subnet)),
            2 => (0u32..5, 0u32..300).prop_map(|(node, offset)| Step::Fixed(node, offset)),
            2 => (0u32..5, 0usize..40).prop_map(|(node, at)| Step::Release(node, at)),
            1 => (0u32..5).prop_map(Step::ReleaseAll),
        ];
        proptest::collection::vec(step, 1..120)
    }

    proptest! {
        #[test]
        fn no_two_nodes_overlap_and_all_is_given_back(steps in steps()) {
            let subnets = [subnet("10.0.0.0/24"), subnet("fd00::/122")];
            let mut blocks = Blocks::default();
            for step in steps {
                match step {
                    Step::Lease(node, at) => {
                        let before = blocks.clone();
                        if let Some(block) = blocks.lease(subnets[at], NodeId(node)) {
                            prop_assert!(subnets[at].prefix.covers(block));
                            prop_assert!(subnets[at].count(block) > 0);
                            prop_assert!(before.leases().all(|(other, _)| !other.overlaps(block)));
                        } else {
                            let free = (0..subnets[at].prefix.size()).filter_map(|at_offset| subnets[at].prefix.nth(at_offset));
                            let left: Vec<_> = free
                                .filter(|address| subnets[at].assignable(*address) && blocks.holder(*address).is_none())
                                .collect();
                            prop_assert!(left.is_empty(), "refused although {left:?} are free");
                        }
                    }
                    Step::Fixed(node, offset) => {
                        let address = IpAddr::from([10, 0, (offset / 256) as u8, (offset % 256) as u8]);
                        let before = blocks.holder(address);
                        if blocks.lease_fixed(&subnets, address, NodeId(node)).is_ok() {
                            prop_assert_eq!(blocks.holder(address).map(|(_, node)| node), Some(NodeId(node)));
                        } else {
                            prop_assert_eq!(blocks.holder(address), before);
                        }
                    }
                    Step::Release(node, at) => {
                        let lease = blocks.leases().nth(at);
                        if let Some((block, holder)) = lease {
                            prop_assert_eq!(blocks.release(block, NodeId(node)), holder == NodeId(node));
                        }
                    }
                    Step::ReleaseAll(node) => {
                        blocks.release_all(NodeId(node));
                        prop_assert_eq!(blocks.held_by(NodeId(node)).count(), 0);
                    }
                }
                prop_assert!(Blocks::restore(blocks.leases()).is_ok(), "{blocks:?}");
            }
            for node in 0..5 {
                blocks.release_all(NodeId(node));
            }
            prop_assert_eq!(blocks, Blocks::default());
        }
    }
}
