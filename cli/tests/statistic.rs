//! What the benches make of their samples.
#![allow(clippy::unwrap_used)]

#[path = "../benches/measure/statistic.rs"]
mod statistic;

use statistic::{bootstrap, median, quantile};

#[test]
fn a_quantile_lies_between_its_neighbours_by_proportion() {
    let samples = [40.0, 10.0, 30.0, 20.0];
    assert_eq!(median(&samples), 25.0);
    assert_eq!((quantile(&samples, 0.0), quantile(&samples, 1.0)), (10.0, 40.0));
    assert_eq!(quantile(&samples, 0.9), 37.0);
    assert_eq!(median(&[7.0]), 7.0);
    assert!(median(&[]).is_nan());
}

#[test]
fn samples_that_agree_leave_no_doubt() {
    let estimate = bootstrap(&[1.25; 20], median);
    assert_eq!((estimate.value, estimate.low, estimate.high), (1.25, 1.25, 1.25));
}

#[test]
fn one_that_strays_moves_neither_median_nor_interval_far() {
    let mut ratios: Vec<f64> = (0..40).map(|step| 1.1 + f64::from(step) / 1000.0).collect();
    ratios[3] = 50.0;
    let estimate = bootstrap(&ratios, median);
    assert!(estimate.low <= estimate.value && estimate.value <= estimate.high, "{estimate:?}");
    assert!(estimate.low > 1.1 && estimate.high < 1.14, "{estimate:?}");
}

/// For a mean of n samples the interval is 1.96 standard errors to either side, as any book has it.
#[test]
fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
    let samples: Vec<f64> = (0..100).map(f64::from).collect();
    let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
    let estimate = bootstrap(&samples, mean);
    let deviation = (samples.iter().map(|sample| (sample - 49.5).powi(2)).sum::<f64>() / 100.0).sqrt();
    let half = 1.96 * deviation / 10.0;
    for (end, expected) in [(estimate.low, 49.5 - half), (estimate.high, 49.5 + half)] {
        assert!((end - expected).abs() < 0.3, "{estimate:?}, not {expected}");
    }
}

#[test]
fn the_two_sides_of_a_pair_are_drawn_together() {
    // Each side varies a hundredfold; their ratio does not.
    let pairs: Vec<(f64, f64)> = (1..=100).map(|size| (f64::from(size), 2.0 * f64::from(size))).collect();
    let ratio = |pairs: &[(f64, f64)]| {
        let (own, baseline): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        median(&baseline) / median(&own)
    };
    let estimate = bootstrap(&pairs, ratio);
    assert_eq!((estimate.low, estimate.high), (2.0, 2.0));
}
