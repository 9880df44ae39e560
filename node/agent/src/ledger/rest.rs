//! Blocks without an endpoint: how long they have been empty, and which are on their way back to the server.
//!
//! Promises: a block that is given back is not handed out from, unless the server lets the node have it again: it does so by
//! leaving it in the records for [`TAKEN_WITHIN`], or by sending it in a later session.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use record::{Key, Prefix, Record, Vni};

use super::Ledger;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    empty_since: BTreeMap<(Vni, Prefix), Instant>,
    leaving: BTreeMap<(Vni, Prefix), Instant>,
}

/// What a look at the blocks found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Resting {
    /// To be given back; they count as leaving from now on.
    pub(crate) release: Vec<(Vni, Prefix)>,
    /// The server has not taken these: they are in use again.
    pub(crate) stay: Vec<Record>,
}

impl Rest {
    /// Whether the block has been given back, and the server has not yet taken it out of the records.
    pub(crate) fn is_leaving(&self, vni: Vni, block: Prefix) -> bool {
        self.leaving.contains_key(&(vni, block))
    }
}

impl Ledger {
    /// Finds the blocks that have been empty for `patience` by now, and those that the server did not take.
    pub(crate) fn rest_blocks(&mut self, now: Instant, patience: Duration) -> Resting {
        let blocks: BTreeSet<(Vni, Prefix)> = self.held.own_blocks().collect();
        let is_empty = |(vni, block): &(Vni, Prefix)| {
            !self.used(*vni).is_some_and(|used| used.iter().any(|address| block.contains(*address)))
        };
        let empty: BTreeSet<(Vni, Prefix)> = blocks.iter().copied().filter(is_empty).collect();
        let mut resting = Resting::default();
        self.rest.leaving.retain(|block, since| {
            let is_held = blocks.contains(block);
            let stays = is_held && now.duration_since(*since) >= TAKEN_WITHIN;
            if stays {
                resting.stay.extend(self.held.record(&Key::Route(block.0, block.1)).cloned());
                self.rest.empty_since.insert(*block, now);
            }
            is_held && !stays
        });
        self.rest.empty_since.retain(|block, _| empty.contains(block));
        for block in empty {
            let since = *self.rest.empty_since.entry(block).or_insert(now);
            if now.duration_since(since) >= patience && !self.rest.leaving.contains_key(&block) {
                self.rest.leaving.insert(block, now);
                resting.release.push(block);
            }
        }
        resting
    }

    /// The session with the server is over: what was given back is no longer this node's, unless the next one sends it.
    pub(crate) fn part_with_leaving(&mut self) {
        let keys: Vec<Key> = self.rest.leaving.keys().map(|(vni, block)| Key::Route(*vni, *block)).collect();
        self.held.apply(Vec::new(), &keys);
        self.rest = Rest::default();
    }
}

/// A server that has not taken a block out of the records within this time lets the node keep it.
pub(crate) const TAKEN_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::Step;
    use crate::testing::{World, attachment, vni};

    #[test]
    fn a_block_goes_back_after_a_rest_and_stays_when_the_server_does_not_take_it() {
        let mut ledger = Ledger::new(World::new().held(), 1);
        let block = (vni(), "10.0.0.0/26".parse().unwrap());
        let (start, rest) = (Instant::now(), Duration::from_secs(300));
        let after = |seconds| start + Duration::from_secs(seconds);
        ledger.keep(attachment("a", 1, Step::Attached), None);
        assert_eq!(ledger.rest_blocks(start, rest), Resting::default());
        assert_eq!(ledger.rest_blocks(after(400), rest), Resting::default(), "it is in use");
        ledger.strike("a");
        assert_eq!(ledger.rest_blocks(after(401), rest), Resting::default(), "it has not rested");
        assert_eq!(ledger.rest_blocks(after(701), rest).release, [block]);
        assert!(ledger.rest.is_leaving(block.0, block.1));
        assert_eq!(ledger.rest_blocks(after(702), rest), Resting::default(), "it is told once");
        let stayed = ledger.rest_blocks(after(761), rest);
        assert_eq!((stayed.release, stayed.stay.len()), (Vec::new(), 1));
        assert!(!ledger.rest.is_leaving(block.0, block.1));
        assert_eq!(ledger.rest_blocks(after(1061), rest).release, [block]);
        ledger.part_with_leaving();
        assert_eq!(ledger.held.own_blocks().count(), 0, "the next session says whose it is");
    }
}
