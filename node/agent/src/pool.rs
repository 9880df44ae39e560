//! The choice of a free address from the blocks that the node holds.
//!
//! Promises: pure; never an address that is in use, nor one that no endpoint may have ([`Subnet::assignable`]); an address
//! that was given back is the last to be given out again.

use std::collections::BTreeSet;
use std::net::IpAddr;

use record::Prefix;
use record::record::Subnet;

/// A free address of `subnet` in one of `blocks`: the first one behind `after`, going round.
pub(crate) fn choose(
    subnet: Subnet,
    blocks: &[Prefix],
    used: &BTreeSet<IpAddr>,
    after: Option<IpAddr>,
) -> Option<IpAddr> {
    let mut blocks: Vec<Prefix> =
        blocks.iter().copied().filter(|block| subnet.prefix.covers(*block)).collect();
    blocks.sort_unstable();
    let is_free = |address: &IpAddr| !used.contains(address) && subnet.assignable(*address);
    let behind = |address: &IpAddr| after.is_none_or(|after| *address > after);
    let later = blocks.iter().flat_map(|block| rest(*block, after)).filter(behind).find(is_free);
    later.or_else(|| blocks.iter().flat_map(|block| rest(*block, None)).find(is_free))
}

/// The addresses of a block from the one behind `after` on; all, if that lies before the block; none, if behind it.
fn rest(block: Prefix, after: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let skipped = match after {
        Some(after) if block.contains(after) => place(after) - place(block.address()) + 1,
        _ => 0,
    };
    let is_passed = after.is_some_and(|after| !block.contains(after) && after > block.address());
    let end = if is_passed { 0 } else { block.size() };
    (skipped..end).map_while(move |offset| block.nth(offset))
}

fn place(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subnet(prefix: &str, gateway: &str) -> Subnet {
        Subnet { prefix: prefix.parse().unwrap(), gateway: gateway.parse().unwrap() }
    }

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_that_was_given_back_is_the_last_to_be_given_out_again() {
        let subnet = subnet("10.0.0.0/24", "10.0.0.1");
        let blocks = prefixes(&["10.0.0.8/30", "10.0.0.0/30"]);
        let mut last = None;
        let given: Vec<String> = (0..7)
            .map(|_| {
                last = choose(subnet, &blocks, &BTreeSet::new(), last);
                last.unwrap().to_string()
            })
            .collect();
        assert_eq!(
            given,
            ["10.0.0.2", "10.0.0.3", "10.0.0.8", "10.0.0.9", "10.0.0.10", "10.0.0.11", "10.0.0.2"]
                .map(str::to_owned)
        );
    }

    #[test]
    fn a_block_of_another_family_or_subnet_is_passed_over() {
        let six = subnet("fd00::/64", "fd00::1");
        let blocks = prefixes(&["10.0.0.0/30", "fd00:1::/112", "fd00::/112"]);
        assert_eq!(choose(six, &blocks, &BTreeSet::new(), None), Some("fd00::2".parse().unwrap()));
        assert_eq!(choose(subnet("10.1.0.0/24", "10.1.0.1"), &blocks, &BTreeSet::new(), None), None);
    }

    proptest! {
        #[test]
        fn every_assignable_address_of_the_blocks_is_given_out_once_and_no_other(
            lengths in proptest::collection::vec(27u8..=32, 1..5),
            start in any::<u8>(),
        ) {
            let subnet = subnet("10.0.0.0/24", "10.0.0.1");
            let mut blocks: Vec<Prefix> = Vec::new();
            for (index, length) in lengths.into_iter().enumerate() {
                let base = subnet.prefix.nth(index as u128 * 64).unwrap();
                blocks.push(Prefix::containing(base, length).unwrap());
            }
            let all: BTreeSet<IpAddr> = blocks.iter()
                .flat_map(|block| rest(*block, None))
                .filter(|address| subnet.assignable(*address))
                .collect();
            let mut used = BTreeSet::new();
            let mut last = subnet.prefix.nth(u128::from(start));
            while let Some(address) = choose(subnet, &blocks, &used, last) {
                prop_assert!(used.insert(address), "{address} twice");
                last = Some(address);
            }
            prop_assert_eq!(used, all);
        }
    }
}
