//! The latest dropped packets.

use std::collections::VecDeque;

use parking_lot::Mutex;
use record::inspect::DropSample;

/// A bounded memory of samples.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    samples: VecDeque<DropSample>,
    lost: u64,
}

impl Samples {
    /// Adds the newest, and how many the kernel has lost so far. The oldest make room.
    pub(crate) fn add(&self, samples: Vec<DropSample>, lost: u64) {
        let mut kept = self.kept.lock();
        kept.lost = lost;
        kept.samples.extend(samples);
        let surplus = kept.samples.len().saturating_sub(LATEST);
        kept.samples.drain(..surplus);
    }

    /// What is kept, oldest first, and how many the kernel has lost.
    pub(crate) fn latest(&self) -> (Vec<DropSample>, u64) {
        let kept = self.kept.lock();
        (kept.samples.iter().cloned().collect(), kept.lost)
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.lock().samples.len()
    }
}

/// Samples kept at most.
const LATEST: usize = 1024;
