//! `/metrics`: what was counted, and what the book and the kernel say at the moment.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use record::inspect::FlowFilter;

use crate::attachment::Step;
use crate::cause::chain;
use crate::metrics::{clamped, gauge};
use crate::node::Node;

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
