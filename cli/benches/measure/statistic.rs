//! What a set of samples says: medians, percentiles and how far they can be trusted.
//!
//! Promises: pure; the same samples give the same answer, because the draws of the bootstrap are those of a fixed sequence.

/// A number with the interval that holds it in 95 of 100 repetitions of the measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    /// As measured.
    pub(crate) value: f64,
    /// The interval's lower end.
    pub(crate) low: f64,
    /// The interval's upper end.
    pub(crate) high: f64,
}

/// The value below which `share` (0 to 1) of the samples lie, between neighbours by proportion (type 7 of Hyndman and Fan,
/// 1996). NaN without samples.
pub(crate) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// The middle one.
pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// What `statistic` says of `items`, with its interval by the percentile bootstrap (Efron, 1979): the items are drawn again,
/// with repetition, [`DRAWS`] times. Items that belong together, such as the two sides of a pair, must be one item.
pub(crate) fn bootstrap<T: Copy>(items: &[T], statistic: impl Fn(&[T]) -> f64) -> Estimate {
    let value = statistic(items);
    if items.is_empty() {
        return Estimate { value, low: f64::NAN, high: f64::NAN };
    }
    let mut sequence = Sequence(SEED);
    let mut drawn = items.to_vec();
    let mut repetitions = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        drawn.fill_with(|| items[sequence.below(items.len())]);
        repetitions.push(statistic(&drawn));
    }
    Estimate { value, low: quantile(&repetitions, 0.025), high: quantile(&repetitions, 0.975) }
}

/// Numbers that look random: SplitMix64 (Steele, Lea and Flood, 2014).
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The product's upper half is below `bound`.
        ((u128::from(mixed) * bound as u128) >> 64) as usize
    }
}

const DRAWS: usize = 5000;
const SEED: u64 = 1;
