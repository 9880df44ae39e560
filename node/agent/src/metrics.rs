//! What the agent counts and measures, for `/metrics` (OpenMetrics text).
//!
//! Promises: labels are bounded by what is on the node: doors, drop reasons, its networks and tenants, its maps.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use record::Generation;
use record::door::{Door, RefusalCode};
use record::inspect::FlowFilter;

use crate::attachment::Step;
use crate::error::chain;
use crate::node::Node;

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabels {
    reason: &'static str,
    vni: u32,
    network: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabel {
    tenant: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MapLabel {
    map: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: &'static str,
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

impl Node {
    /// Everything, as OpenMetrics text. Blocks: it reads the kernel.
    pub(crate) fn scrape(&self) -> String {
        let mut registry = Registry::with_prefix("sealane_agent");
        self.metrics.register(&mut registry);
        self.register_book(&mut registry);
        self.register_kernel(&mut registry);
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).expect("writing to memory does not fail");
        encoded
    }

    fn register_book(&self, registry: &mut Registry) {
        let (held, attached, leaving, records) = {
            let ledger = self.ledger();
            let held = &ledger.held;
            (
                held.generation,
                ledger.count(Step::Attached),
                ledger.count(Step::Leaving),
                held.records().count(),
            )
        };
        gauge(registry, "generation_held", "The generation in the kernel", held.0);
        gauge(registry, "attachments", "Endpoints that are attached", attached as u64);
        gauge(registry, "attachments_leaving", "Endpoints whose removal is not complete", leaving as u64);
        gauge(registry, "records", "Records held", records as u64);
        gauge(
            registry,
            "server_connected",
            "1 while a session with the server stands",
            u64::from(self.outbox.is_open()),
        );
        let queues = Family::<QueueLabel, Gauge>::default();
        for (queue, length) in
            [("outbox", self.outbox.len()), ("wants", self.wants.len()), ("drop_samples", self.samples.len())]
        {
            queues.get_or_create(&QueueLabel { queue }).set(clamped(length as u64));
        }
        registry.register("queue_length", "What waits, by queue", queues);
    }

    fn register_kernel(&self, registry: &mut Registry) {
        let told = |what: &str, error: &dyn std::error::Error| {
            tracing::warn!(error = chain(error), "{what} cannot be read for /metrics");
        };
        let drops = Family::<DropLabels, Counter>::default();
        match self.kernel.drops() {
            Ok(counts) => {
                let ledger = self.ledger();
                for count in counts {
                    let network = count.vni.and_then(|vni| ledger.held.network(vni));
                    let network = network.map(|network| network.name.clone()).unwrap_or_default();
                    let vni = count.vni.map_or(0, record::Vni::value);
                    let labels = DropLabels { reason: count.reason.name(), vni, network };
                    drops.get_or_create(&labels).inc_by(count.traffic.packets);
                }
            }
            Err(error) => told("drop counters", &error),
        }
        registry.register("dropped_packets", "Packets dropped, by reason and network", drops);
        let flows = Family::<TenantLabel, Gauge>::default();
        let every = FlowFilter { limit: u32::MAX, ..FlowFilter::default() };
        match self.kernel.flows(&every) {
            Ok(live) => {
                let ledger = self.ledger();
                for flow in live {
                    let tenant = ledger.held.network(flow.vni).map(|network| network.tenant);
                    let tenant =
                        tenant.and_then(|tenant| ledger.held.tenant_name(tenant)).unwrap_or_default();
                    flows.get_or_create(&TenantLabel { tenant }).inc();
                }
            }
            Err(error) => told("the flow table", &error),
        }
        registry.register("flows", "Live flows, by tenant", flows);
        let (used, capacity) = (Family::<MapLabel, Gauge>::default(), Family::<MapLabel, Gauge>::default());
        match self.kernel.fill() {
            Ok(maps) => {
                for map in maps {
                    let label = MapLabel { map: map.map };
                    used.get_or_create(&label).set(clamped(map.used));
                    capacity.get_or_create(&label).set(clamped(map.capacity));
                }
            }
            Err(error) => told("map fill", &error),
        }
        registry.register("map_entries", "Entries in use, by map", used);
        registry.register("map_capacity", "Entries a map can hold", capacity);
    }
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
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

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(clamped(value));
    registry.register(name, help, gauge);
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// From 0.5 ms to 16 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}
