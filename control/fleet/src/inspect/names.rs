//! Names in place of numbers.

use std::net::IpAddr;

use compile::rule_in_words;
use record::inspect::{DropCount, DropSample, Flow};
use record::{Key, Protocol, Record, RuleId, Vni};

use super::{NamedDropCount, NamedDropSample, NamedFlow, Peer};
use crate::fleet::Fleet;

/// The fleet, as far as names go.
pub(super) struct Names<'a>(pub(super) &'a Fleet);

impl Names<'_> {
    pub(super) fn flow(&self, node: &str, flow: Flow) -> NamedFlow {
        let (tenant, network) = self.network(Some(flow.vni));
        NamedFlow {
            node: node.to_owned(),
            rule: self.rule(Some(flow.vni), flow.rule),
            tenant: tenant.unwrap_or_default(),
            network: network.unwrap_or_else(|| format!("VNI {}", flow.vni)),
            protocol: protocol(flow.protocol),
            source: self.peer(Some(flow.vni), flow.source, flow.source_port),
            destination: self.peer(Some(flow.vni), flow.destination, flow.destination_port),
            sent: flow.sent,
            received: flow.received,
            age_ms: flow.age_ms,
            idle_ms: flow.idle_ms,
            state: flow.state,
            translation: flow.translation,
            judged: flow.judged,
        }
    }

    pub(super) fn drop_count(&self, node: &str, count: DropCount) -> NamedDropCount {
        let (tenant, network) = self.network(count.vni);
        NamedDropCount {
            node: node.to_owned(),
            tenant,
            network,
            meaning: count.reason.meaning().to_owned(),
            reason: count.reason,
            rule: self.rule(count.vni, count.rule),
            traffic: count.traffic,
        }
    }

    pub(super) fn drop_sample(&self, node: &str, sample: DropSample) -> NamedDropSample {
        let (tenant, network) = self.network(sample.vni);
        NamedDropSample {
            node: node.to_owned(),
            time_ms: sample.time_ms,
            tenant,
            network,
            source: self.peer(sample.vni, sample.source, sample.source_port),
            destination: self.peer(sample.vni, sample.destination, sample.destination_port),
            protocol: protocol(sample.protocol),
            groups: sample.groups,
            reason: sample.reason,
            rule: self.rule(sample.vni, sample.rule),
            direction: sample.direction,
        }
    }

    fn network(&self, vni: Option<Vni>) -> (Option<String>, Option<String>) {
        vni.and_then(|vni| self.0.numbers.network_name(vni))
            .map(|(tenant, network)| (Some(tenant.clone()), Some(network.clone())))
            .unwrap_or_default()
    }

    fn peer(&self, vni: Option<Vni>, address: IpAddr, port: u16) -> Peer {
        let endpoint = vni.and_then(|vni| self.0.endpoints.at(vni, address));
        let name = |endpoint: &crate::observed::Observed| {
            format!("{}/{}", endpoint.report.namespace, endpoint.report.name)
        };
        Peer { address, port, endpoint: endpoint.map(name) }
    }

    fn rule(&self, vni: Option<Vni>, rule: RuleId) -> Option<String> {
        if rule == RuleId(0) {
            return None;
        }
        let (tenant, _) = self.0.network(vni?)?;
        let id = self.0.directory.find(tenant)?.id;
        match self.0.stage.compiler().record(&Key::Rule(id, rule)) {
            Some(Record::Rule(rule)) => Some(rule_in_words(rule)),
            _ => Some(format!("rule {rule}, which is not in force any more")),
        }
    }
}

/// A protocol as people write it.
fn protocol(number: u8) -> String {
    match number {
        1 => "ICMP".to_owned(),
        58 => "ICMPv6".to_owned(),
        _ => Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.number() == number)
            .map_or_else(|| number.to_string(), |protocol| protocol.to_string()),
    }
}
