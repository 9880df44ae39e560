//! Asking the agent of this host, without a server: numbers stand where the server would tell names.

use std::net::IpAddr;

use fleet::inspect::{DropList, FlowList, NamedDropCount, NamedDropSample, NamedFlow, Peer};
use record::door::{Attached, Reply, Request};
use record::inspect::{Answer, Drops, Flow, FlowFilter, Question, State};
use record::{RuleId, Vni};

use super::protocol;
use crate::door::ask;
use crate::door::attach::unexpected;
use crate::failure::Failure;
use crate::settings::Settings;

/// The flows of this host.
pub(super) fn flows(settings: &Settings, address: Option<IpAddr>, limit: u32) -> Result<FlowList, Failure> {
    let filter = FlowFilter { address, limit, ..FlowFilter::default() };
    match answer(settings, Question::Flows(filter))? {
        Answer::Flows(flows) => {
            Ok(FlowList { flows: flows.into_iter().map(named_flow).collect(), unanswered: Vec::new() })
        }
        other => Err(unexpected(&Reply::Answer { answer: other })),
    }
}

/// What this host has dropped.
pub(super) fn drops(settings: &Settings) -> Result<DropList, Failure> {
    match answer(settings, Question::Drops)? {
        Answer::Drops(drops) => Ok(named_drops(drops)),
        other => Err(unexpected(&Reply::Answer { answer: other })),
    }
}

/// The state of this host.
pub(super) fn state(settings: &Settings) -> Result<State, Failure> {
    match answer(settings, Question::State)? {
        Answer::State(state) => Ok(state),
        other => Err(unexpected(&Reply::Answer { answer: other })),
    }
}

/// What is attached on this host.
pub(super) fn attachments(settings: &Settings) -> Result<Vec<Attached>, Failure> {
    match ask(settings, "list", "attachments", &Request::List)? {
        Reply::Attachments { attachments } => Ok(attachments),
        other => Err(unexpected(&other)),
    }
}

fn answer(settings: &Settings, question: Question) -> Result<Answer, Failure> {
    match ask(settings, "answer", "a question", &Request::Ask { question })? {
        Reply::Answer { answer } => Ok(answer),
        other => Err(unexpected(&other)),
    }
}

fn named_flow(flow: Flow) -> NamedFlow {
    NamedFlow {
        node: HERE.to_owned(),
        tenant: String::new(),
        network: network(flow.vni),
        protocol: protocol(flow.protocol),
        source: end(flow.source, flow.source_port),
        destination: end(flow.destination, flow.destination_port),
        sent: flow.sent,
        received: flow.received,
        age_ms: flow.age_ms,
        idle_ms: flow.idle_ms,
        state: flow.state,
        rule: rule(flow.rule),
        translation: flow.translation,
        judged: flow.judged,
    }
}

fn named_drops(drops: Drops) -> DropList {
    let counts = drops.counts.into_iter().map(|count| NamedDropCount {
        node: HERE.to_owned(),
        tenant: None,
        network: count.vni.map(network),
        reason: count.reason,
        meaning: count.reason.meaning().to_owned(),
        rule: rule(count.rule),
        traffic: count.traffic,
    });
    let samples = drops.samples.into_iter().map(|sample| NamedDropSample {
        node: HERE.to_owned(),
        time_ms: sample.time_ms,
        tenant: None,
        network: sample.vni.map(network),
        source: end(sample.source, sample.source_port),
        destination: end(sample.destination, sample.destination_port),
        protocol: protocol(sample.protocol),
        groups: sample.groups,
        reason: sample.reason,
        rule: rule(sample.rule),
        direction: sample.direction,
    });
    DropList {
        counts: counts.collect(),
        samples: samples.collect(),
        lost: drops.lost,
        unanswered: Vec::new(),
    }
}

fn network(vni: Vni) -> String {
    format!("VNI {vni}")
}

fn end(address: IpAddr, port: u16) -> Peer {
    Peer { address, port, endpoint: None }
}

fn rule(rule: RuleId) -> Option<String> {
    (rule != RuleId::default()).then(|| format!("rule {rule}"))
}

const HERE: &str = "here";
