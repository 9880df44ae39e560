//! `sealane flows`: the live flows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Args;
use fleet::inspect::{FlowList, NamedFlow, Peer};
use serde_json::json;

use super::{duration, here, peer, tell_unanswered, traffic};
use crate::client::Query;
use crate::failure::Failure;
use crate::object::understood;
use crate::output::{self, Columns};
use crate::settings::{Format, Settings};

/// Show live flows
///
/// Each flow is told once, as its initiator began it, by the node that judged it, with the rule that allowed it; no rule means the
/// network's default. `-o wide` tells it as each node on its way sees it, with the sides of policy that the node judged: between two
/// nodes the receiver's judges both.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane flows                              of every tenant and node
  sealane flows --tenant acme --network blue
  sealane flows --address 10.1.0.7 -o wide   with one end, and how they are translated
  sealane flows --here                       of this host, without asking the server")]
pub(crate) struct Flows {
    /// In this network alone
    #[arg(long, value_name = "NAME", conflicts_with = "here")]
    network: Option<String>,

    /// On this node alone
    #[arg(long, value_name = "NAME", conflicts_with = "here")]
    node: Option<String>,

    /// With this address at either end
    #[arg(long)]
    address: Option<IpAddr>,

    /// At most so many from each node; 0: as many as it tells at once
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    limit: u32,

    /// Those that are closed too, which linger until their time is over
    #[arg(short, long)]
    all: bool,

    /// Ask the agent of this host
    #[arg(long)]
    here: bool,
}

impl Flows {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let list =
            if self.here { here::flows(settings, self.address, self.limit)? } else { self.ask(settings)? };
        let mut out = output::screen();
        match settings.output {
            Format::Json | Format::Yaml => output::document(&mut out, settings.output, &json!(list))?,
            Format::Table | Format::Wide | Format::Name => {
                table(&list, settings.output == Format::Wide, self.all).write(&mut out)?;
                tell_unanswered(&list.unanswered);
            }
        }
        Ok(())
    }

    fn ask(&self, settings: &Settings) -> Result<FlowList, Failure> {
        let address = self.address.map(|address| address.to_string());
        let query = Query::default()
            .with_some("tenant", settings.tenant.as_deref())
            .with_some("network", self.network.as_deref())
            .with_some("node", self.node.as_deref())
            .with_some("address", address.as_deref())
            .with("limit", self.limit.to_string());
        let value = settings.client()?.read(&query.on("/fabric/v1/flows"))?;
        understood("flows", serde_json::from_value(value))
    }
}

/// The flows to be told: of those that two nodes tell of, the one that judged it.
fn told(list: &FlowList, wide: bool, all: bool) -> Vec<&NamedFlow> {
    let live = list.flows.iter().filter(|flow| all || flow.state != CLOSED);
    if wide {
        return live.collect();
    }
    let mut once: BTreeMap<_, &NamedFlow> = BTreeMap::new();
    for flow in live {
        let end = |peer: &Peer| (peer.address, peer.port);
        let identity =
            (&flow.tenant, &flow.network, &flow.protocol, end(&flow.source), end(&flow.destination));
        let entry = once.entry(identity).or_insert(flow);
        if weight(flow) > weight(entry) {
            *entry = flow;
        }
    }
    once.into_values().collect()
}

/// How much a node's word on a flow says of why it passes.
fn weight(flow: &NamedFlow) -> (bool, usize) {
    (flow.rule.is_some(), flow.judged.as_ref().map_or(0, Vec::len))
}

/// What allowed a flow, as far as the node that tells of it knows.
fn allowed_by(flow: &NamedFlow) -> String {
    match (&flow.rule, &flow.judged) {
        (Some(rule), _) => rule.clone(),
        (None, Some(judged)) if judged.is_empty() => "judged by the receiver's node".to_owned(),
        (None, _) => "the default".to_owned(),
    }
}

/// The sides that the node judged.
fn judged(flow: &NamedFlow) -> String {
    let sides = flow.judged.iter().flatten().map(ToString::to_string);
    sides.collect::<Vec<_>>().join(", ")
}

const CLOSED: &str = "closed";

fn table(list: &FlowList, wide: bool, all: bool) -> Columns {
    let plain = ["network", "protocol", "from", "to", "state", "sent", "received", "idle", "allowed by"];
    let more = ["judged here", "age", "node", "tenant", "translation"];
    let mut columns = Columns::new(plain.iter().chain(if wide { &more[..] } else { &[] }));
    for flow in told(list, wide, all) {
        let cells = [
            flow.network.clone(),
            flow.protocol.clone(),
            peer(&flow.source, wide),
            peer(&flow.destination, wide),
            flow.state.clone(),
            traffic(flow.sent),
            traffic(flow.received),
            duration(flow.idle_ms),
            allowed_by(flow),
        ];
        let more = [
            judged(flow),
            duration(flow.age_ms),
            flow.node.clone(),
            flow.tenant.clone(),
            flow.translation.clone(),
        ];
        columns.row(cells.into_iter().chain(more.into_iter().filter(|_| wide)));
    }
    columns
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn flows_are_told_with_names_and_the_rule_that_allowed_them() {
        let list: FlowList = serde_json::from_value(json!({"unanswered": [], "flows": [{"node": "n1", "tenant": "default",
            "network": "blue", "protocol": "TCP", "source": {"address": "10.0.0.2", "port": 4000, "endpoint": "shop/web"},
            "destination": {"address": "192.0.2.1", "port": 80, "endpoint": null}, "sent": {"packets": 3, "bytes": 180},
            "received": {"packets": 2, "bytes": 1500}, "ageMs": 5000, "idleMs": 10, "state": "established",
            "rule": null, "translation": "source 172.31.0.1:16384"}]})).unwrap();
        let mut out = Vec::new();
        table(&list, false, false).write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let row: Vec<&str> = text
            .lines()
            .nth(1)
            .unwrap()
            .split("   ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        assert_eq!(
            row,
            [
                "blue",
                "TCP",
                "shop/web:4000",
                "192.0.2.1:80",
                "established",
                "3 / 180 B",
                "2 / 1.5 kB",
                "10ms",
                "the default"
            ]
        );
        let mut out = Vec::new();
        table(&list, true, false).write(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("shop/web (10.0.0.2:4000)"));
    }

    #[test]
    fn a_flow_that_two_nodes_tell_of_is_told_once_with_its_rule_and_closed_ones_only_on_request() {
        let flow = |node: &str, port: u16, state: &str, rule: Option<&str>| {
            json!({"node": node, "tenant": "default", "network": "blue", "protocol": "TCP",
                "source": {"address": "10.0.0.2", "port": port, "endpoint": null},
                "destination": {"address": "10.0.0.3", "port": 80, "endpoint": null},
                "sent": {"packets": 1, "bytes": 60}, "received": {"packets": 1, "bytes": 60}, "ageMs": 1, "idleMs": 1,
                "state": state, "rule": rule, "translation": ""})
        };
        let list: FlowList = serde_json::from_value(json!({"unanswered": [], "flows": [
            flow("n1", 4000, "established", None), flow("n2", 4000, "established", Some("NetworkPolicy a/b")),
            flow("n1", 4001, "closed", None)]}))
        .unwrap();
        let rules = |flows: Vec<&NamedFlow>| flows.iter().map(|flow| flow.rule.is_some()).collect::<Vec<_>>();
        assert_eq!(rules(told(&list, false, false)), [true]);
        assert_eq!(rules(told(&list, false, true)), [true, false]);
        assert_eq!(told(&list, true, true).len(), 3);
    }

    #[test]
    fn the_default_is_said_to_allow_a_flow_only_by_a_node_that_judged_it() {
        let flow = |node: &str, judged: Value| {
            json!({"node": node, "tenant": "default", "network": "blue", "protocol": "TCP",
                "source": {"address": "10.0.0.2", "port": 4000, "endpoint": null},
                "destination": {"address": "10.0.0.3", "port": 80, "endpoint": null},
                "sent": {"packets": 1, "bytes": 60}, "received": {"packets": 1, "bytes": 60}, "ageMs": 1, "idleMs": 1,
                "state": "established", "rule": null, "translation": "", "judged": judged})
        };
        let (sender, receiver) = (flow("n1", json!([])), flow("n2", json!(["Egress", "Ingress"])));
        let list = |flows: &[&Value]| -> FlowList {
            serde_json::from_value(json!({"unanswered": [], "flows": flows})).unwrap()
        };
        for flows in [[&sender, &receiver], [&receiver, &sender]] {
            let list = list(&flows);
            let told = told(&list, false, false);
            assert_eq!(told.iter().map(|flow| &*flow.node).collect::<Vec<_>>(), ["n2"]);
            assert_eq!(allowed_by(told[0]), "the default");
        }
        let alone = list(&[&sender]);
        assert_eq!(allowed_by(told(&alone, false, false)[0]), "judged by the receiver's node");
        let mut out = Vec::new();
        table(&list(&[&sender, &receiver]), true, false).write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("the default                     egress, ingress"), "{text}");
    }
}
