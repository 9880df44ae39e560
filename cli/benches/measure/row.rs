//! Samples, and the rows of the summary that they give.
//!
//! Promises: systems are measured by turns, round by round, each as often first as last, so that what else the machine does
//! meets all of them; a ratio is that of samples of one round; every sample is kept.

use std::fmt::Write as _;

use serde::Serialize;

use crate::fault::Result;
use crate::statistic::{Estimate, bootstrap, median, quantile};

/// A row of `summary.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured beside what; one of the rows that must be there.
    pub(crate) name: &'static str,
    /// Of `value` and `baseline`.
    pub(crate) unit: &'static str,
    /// Sealane's.
    pub(crate) value: f64,
    /// What it is measured beside.
    pub(crate) baseline_name: Option<&'static str>,
    /// The baseline's.
    pub(crate) baseline: Option<f64>,
    /// How many times better than the baseline: above 1 is faster, for rates and for latencies.
    pub(crate) ratio: Option<f64>,
    /// The 95% interval of the ratio; without a baseline, of the value.
    pub(crate) ci95: [f64; 2],
    /// The least ratio that is wanted; without a baseline, the greatest value.
    pub(crate) goal: Option<f64>,
    /// Whether the whole interval is on the right side of the goal.
    pub(crate) met: Option<bool>,
}

/// What a system is called, and how one sample of it is taken.
pub(crate) type System<'a> = (&'static str, &'a dyn Fn() -> Result<f64>);

/// The samples of some systems, taken by turns.
pub(crate) struct Series {
    measure: &'static str,
    unit: &'static str,
    systems: Vec<&'static str>,
    rounds: Vec<Round>,
}

/// One sample of each system.
struct Round {
    /// By system.
    values: Vec<f64>,
    /// The systems in the order in which they were measured.
    order: Vec<usize>,
}

/// A sample of Sealane and one of the baseline, of one round.
type Pair = (f64, f64);

/// Two systems of a series, and what is wanted of them.
#[derive(Clone, Copy)]
pub(crate) struct Beside {
    /// The row's name.
    pub(crate) name: &'static str,
    /// Sealane's place in the series.
    pub(crate) own: usize,
    /// The baseline's.
    pub(crate) baseline: usize,
    /// The least ratio that is wanted.
    pub(crate) goal: Option<f64>,
}

impl Series {
    /// Takes `rounds` samples of each system.
    pub(crate) fn take(
        measure: &'static str,
        unit: &'static str,
        systems: &[System<'_>],
        rounds: usize,
    ) -> Result<Self> {
        let mut series = Self {
            measure,
            unit,
            systems: systems.iter().map(|(name, _)| *name).collect(),
            rounds: Vec::new(),
        };
        for round in 0..rounds {
            let order = order(round, systems.len());
            let mut values = vec![f64::NAN; systems.len()];
            for system in &order {
                values[*system] = systems[*system].1()?;
            }
            series.rounds.push(Round { values, order });
        }
        Ok(series)
    }

    /// A row of rates: more is better.
    pub(crate) fn rate(&self, beside: Beside) -> Row {
        let pairs = self.pairs(beside);
        let ratios: Vec<f64> = pairs.iter().map(|(own, baseline)| own / baseline).collect();
        self.row(beside, 0.5, bootstrap(&ratios, median))
    }

    /// A row of latencies at a quantile (0 to 1): less is better, so the ratio is the baseline's by Sealane's.
    pub(crate) fn latency(&self, beside: Beside, share: f64) -> Row {
        let pairs = self.pairs(beside);
        let ratio = |pairs: &[Pair]| {
            let (own, baseline): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            quantile(&baseline, share) / quantile(&own, share)
        };
        self.row(beside, share, bootstrap(&pairs, ratio))
    }

    /// A row without a baseline: the median of the first system, which shall be at most `goal`.
    pub(crate) fn lone(&self, name: &'static str, goal: f64) -> Row {
        let estimate = bootstrap(&self.of(0), median);
        Row {
            name,
            unit: self.unit,
            value: estimate.value,
            baseline_name: None,
            baseline: None,
            ratio: None,
            ci95: [estimate.low, estimate.high],
            goal: Some(goal),
            met: Some(estimate.high <= goal),
        }
    }

    /// Every sample as lines of `samples.csv`, below [`HEADER`].
    pub(crate) fn csv(&self) -> String {
        let mut text = String::new();
        for (number, round) in self.rounds.iter().enumerate() {
            for (place, system) in round.order.iter().enumerate() {
                let (measure, unit) = (self.measure, self.unit);
                let (name, value) = (self.systems[*system], round.values[*system]);
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{measure},{number},{place},\"{name}\",{value},{unit}");
            }
        }
        text
    }

    fn row(&self, beside: Beside, share: f64, ratio: Estimate) -> Row {
        Row {
            name: beside.name,
            unit: self.unit,
            value: quantile(&self.of(beside.own), share),
            baseline_name: Some(self.systems[beside.baseline]),
            baseline: Some(quantile(&self.of(beside.baseline), share)),
            ratio: Some(ratio.value),
            ci95: [ratio.low, ratio.high],
            goal: beside.goal,
            met: beside.goal.map(|goal| ratio.low >= goal),
        }
    }

    fn pairs(&self, beside: Beside) -> Vec<Pair> {
        self.rounds.iter().map(|round| (round.values[beside.own], round.values[beside.baseline])).collect()
    }

    fn of(&self, system: usize) -> Vec<f64> {
        self.rounds.iter().map(|round| round.values[system]).collect()
    }
}

/// Who is measured when: everyone begins in turn, and every other time round the order is turned about.
pub(crate) fn order(round: usize, systems: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..systems).collect();
    order.rotate_left(round % systems.max(1));
    if (round / systems.max(1)) % 2 == 1 {
        order.reverse();
    }
    order
}

/// The rows as a table for people.
pub(crate) fn table(rows: &[Row]) -> String {
    let line = |cells: [String; 8]| {
        let [name, value, baseline, ratio, interval, goal, met, system] = cells;
        format!("{name:<22}{value:>24}{baseline:>10}{ratio:>8}{interval:>18}{goal:>8}{met:>6}  {system}\n")
    };
    let head = ["row", "value", "beside", "ratio", "95% interval", "goal", "met", "baseline"];
    let mut text = line(head.map(str::to_owned));
    for row in rows {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let digits = if row.value < 100.0 { 2 } else { 0 };
        let interval = if row.ratio.is_some() { 3 } else { digits };
        let [low, high] = row.ci95;
        text += &line([
            row.name.to_owned(),
            format!("{:.digits$} {}", row.value, row.unit),
            number(row.baseline, digits),
            number(row.ratio, 3),
            format!("{low:.interval$} to {high:.interval$}"),
            number(row.goal, if row.ratio.is_some() { 2 } else { 0 }),
            row.met.map_or("-", |met| if met { "yes" } else { "no" }).to_owned(),
            row.baseline_name.unwrap_or("-").to_owned(),
        ]);
    }
    text
}

/// The first line of `samples.csv`: `place` is the turn within the round.
pub(crate) const HEADER: &str = "measure,round,place,system,value,unit\n";
