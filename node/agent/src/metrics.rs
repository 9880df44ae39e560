//! What the agent counts and measures, for `/metrics` (OpenMetrics text).
//!
//! Promises: labels are bounded by what is on the node: doors, drop reasons, its networks and tenants, its maps.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use record::Generation;
use record::door::{Door, RefusalCode};

/// What is counted as it happens. The rest is looked up when it is asked for.
#[derive(Debug)]
pub(crate) struct Metrics {
    attach_seconds: Family<DoorLabel, Histogram>,
    refused: Family<RefusalLabels, Counter>,
    apply_seconds: Histogram,
    sessions: Counter,
    offered: Mutex<Option<(Generation, Instant)>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DoorLabel {
    door: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    door: String,
    code: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            attach_seconds: Family::new_with_constructor(seconds),
            refused: Family::default(),
            apply_seconds: seconds(),
            sessions: Counter::default(),
            offered: Mutex::new(None),
        }
    }
}

impl Metrics {
    /// An attach ended after `took`.
    pub(crate) fn attached(&self, door: Door, took: Duration, refused: Option<RefusalCode>) {
        let door = door.to_string();
        match refused {
            None => self.attach_seconds.get_or_create(&DoorLabel { door }).observe(took.as_secs_f64()),
            Some(code) => {
                let code = format!("{code:?}").to_lowercase();
                self.refused.get_or_create(&RefusalLabels { door, code }).inc();
            }
        }
    }

    /// A part of a generation has come that is not in the kernel yet.
    pub(crate) fn offered(&self, generation: Generation) {
        let mut offered = self.offered.lock();
        let since = offered.map_or_else(Instant::now, |(_, since)| since);
        *offered = Some((generation, since));
    }

    /// What was offered is in the kernel, or will not be offered again until the node reconnects.
    pub(crate) fn level(&self, took: Option<Duration>) {
        *self.offered.lock() = None;
        if let Some(took) = took {
            self.apply_seconds.observe(took.as_secs_f64());
        }
    }

    /// A session with the server stands.
    pub(crate) fn connected(&self) {
        self.sessions.inc();
    }
}

impl Metrics {
    /// Enters all of it.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let lag = self.offered.lock().map(|(generation, since)| (generation, since.elapsed()));
        gauge(
            registry,
            "generation_offered",
            "The generation that is being taken over; 0: none",
            lag.map_or(0, |(offered, _)| offered.0),
        );
        let seconds = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        seconds.set(lag.map_or(0.0, |(_, lag)| lag.as_secs_f64()));
        registry.register(
            "lag_seconds",
            "For how long the kernel has been behind what the server sent",
            seconds,
        );
        registry.register("attach_seconds", "Time of successful attaches", self.attach_seconds.clone());
        registry.register("attach_refused", "Attaches refused, by door and kind", self.refused.clone());
        registry.register(
            "apply_seconds",
            "Time to bring a generation into the kernel",
            self.apply_seconds.clone(),
        );
        registry.register("sessions", "Sessions with the server begun", self.sessions.clone());
    }
}

/// Enters a number that was just looked up.
pub(crate) fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(clamped(value));
    registry.register(name, help, gauge);
}

/// As gauges have it.
pub(crate) fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// From 0.5 ms to 16 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}
