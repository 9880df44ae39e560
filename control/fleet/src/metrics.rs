//! The server's figures (OpenMetrics text). Labels are bounded: one set per node, none per tenant or endpoint.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use store::Span;

use crate::fleet::Fleet;

/// What [`encode`] writes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByNode {
    node: String,
}

/// The figures as they are now.
pub(crate) fn encode(fleet: &Fleet, span: Span) -> String {
    let mut registry = Registry::with_prefix("sealane_server");
    nodes(fleet, &mut registry);
    let gauge = |value: usize| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let (under_way, turning) = fleet.stage.under_way();
    registry.register("endpoints", "Endpoints attached", gauge(fleet.endpoints.len()));
    registry.register("changes_under_way", "Changes that a node has yet to acknowledge", gauge(under_way));
    registry.register("policies_changing", "Tenants whose policies are between two states", gauge(turning));
    registry.register("attaches_waiting", "Attaches that wait for a grant", gauge(fleet.waiting()));
    let problems = fleet.stage.compiler().problems().len();
    registry.register("compile_problems", "What cannot be compiled and is denied", gauge(problems));
    registry.register("store_revision", "The store's newest revision", ConstCounter::new(span.revision));
    registry.register(
        "store_compacted",
        "History up to this revision is forgotten",
        ConstCounter::new(span.compacted),
    );
    let work = fleet.stage.compiler().work();
    for (name, help, value) in [
        ("compile_selectors_tried", "Label selectors tried", work.selectors_tried),
        ("compile_endpoints_grouped", "Endpoints whose groups were worked out", work.endpoints_grouped),
        ("compile_groups_judged", "Groups whose rule sets were worked out", work.groups_judged),
        ("compile_rows_built", "Rows worked out", work.rows_built),
        ("compile_records_written", "Records put or removed", work.records_written),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
    let mut text = String::new();
    encode_text(&mut text, &registry).expect("writing to memory does not fail");
    text
}

fn nodes(fleet: &Fleet, registry: &mut Registry) {
    let connected = Family::<ByNode, Gauge>::default();
    let lag = Family::<ByNode, Gauge>::default();
    let records = Family::<ByNode, Gauge>::default();
    let faults = Family::<ByNode, Gauge>::default();
    for (id, node) in &fleet.nodes {
        let label = ByNode { node: node.name.clone() };
        connected.get_or_create(&label).set(i64::from(node.session().is_some()));
        let Some(outlet) = fleet.stage.find(*id) else { continue };
        lag.get_or_create(&label).set(i64::from(!outlet.is_level()));
        records.get_or_create(&label).set(i64::try_from(outlet.size()).unwrap_or(i64::MAX));
        faults.get_or_create(&label).set(i64::try_from(outlet.faults().len()).unwrap_or(i64::MAX));
    }
    registry.register("node_connected", "Whether the node's agent is connected", connected);
    registry.register("node_behind", "Whether the node does not hold what it should", lag);
    registry.register("node_records", "Records that the node should hold", records);
    registry.register("node_faults", "Records that the node could not realise", faults);
}
