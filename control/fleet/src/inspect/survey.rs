//! Questions to many nodes at once: flows and drops.

use std::net::IpAddr;

use futures_util::future::join_all;
use record::inspect::{Answer, FlowFilter, Question};
use record::{NodeId, TenantId, Vni};

use super::names::Names;
use super::{DropList, FlowList};
use crate::engine::Handle;
use crate::fleet::Fleet;

/// Whom and what a survey is about; what is not given means all.
#[derive(Clone, Debug, Default)]
pub(super) struct Area {
    pub(super) tenant: Option<String>,
    pub(super) network: Option<String>,
    pub(super) node: Option<String>,
    pub(super) address: Option<IpAddr>,
    pub(super) limit: u32,
}

/// The same in numbers.
struct Numbered {
    nodes: Vec<(NodeId, String)>,
    tenant: Option<TenantId>,
    vni: Option<Vni>,
}

impl Area {
    fn number(&self, fleet: &Fleet) -> Result<Numbered, String> {
        let words = |unknown: crate::directory::Unknown| format!("{unknown}: {}", unknown.remedy());
        let tenant =
            self.tenant.as_ref().map(|name| fleet.directory.tenant(name)).transpose().map_err(words)?;
        let home = self.tenant.as_deref().unwrap_or(intent::object::DEFAULT_TENANT);
        let network = self.network.as_ref().map(|name| fleet.directory.network(home, name));
        let network = network.transpose().map_err(words)?;
        let chosen = |name: &str| self.node.as_ref().is_none_or(|node| node == name);
        let nodes: Vec<_> = fleet
            .nodes
            .iter()
            .filter(|(_, node)| chosen(&node.name))
            .map(|(id, node)| (*id, node.name.clone()))
            .collect();
        if let Some(name) = self.node.as_ref().filter(|_| nodes.is_empty()) {
            let near = intent::nearest::nearest(name, fleet.nodes.values().map(|node| node.name.as_str()));
            let near = near.map(|near| format!("; did you mean {near:?}?"));
            return Err(format!("there is no node {name:?}{}", near.unwrap_or_default()));
        }
        Ok(Numbered {
            nodes,
            tenant: tenant.map(|tenant| tenant.id),
            vni: network.map(|network| network.vni),
        })
    }
}

/// The live flows of an area; `Err`: a name in it means nothing. `None`: the server is stopping.
pub(super) async fn flows(handle: &Handle, area: Area) -> Option<Result<FlowList, String>> {
    let place = area.clone();
    let numbered = match handle.look(move |fleet| place.number(fleet)).await? {
        Ok(numbered) => numbered,
        Err(unknown) => return Some(Err(unknown)),
    };
    let filter =
        FlowFilter { tenant: numbered.tenant, vni: numbered.vni, address: area.address, limit: area.limit };
    let (answers, unanswered) = ask_all(handle, numbered.nodes, Question::Flows(filter)).await;
    let name = move |fleet: &mut Fleet| {
        let names = Names(fleet);
        let named = answers.into_iter().flat_map(|(node, answer)| match answer {
            Answer::Flows(flows) => flows.into_iter().map(|flow| names.flow(&node, flow)).collect(),
            _ => Vec::new(),
        });
        FlowList { flows: named.collect(), unanswered }
    };
    handle.look(name).await.map(Ok)
}

/// What was dropped in an area; `Err`: a name in it means nothing. `None`: the server is stopping.
pub(super) async fn drops(handle: &Handle, area: Area) -> Option<Result<DropList, String>> {
    let place = area.clone();
    let numbered = match handle.look(move |fleet| place.number(fleet)).await? {
        Ok(numbered) => numbered,
        Err(unknown) => return Some(Err(unknown)),
    };
    let (answers, unanswered) = ask_all(handle, numbered.nodes, Question::Drops).await;
    let name = move |fleet: &mut Fleet| {
        let names = Names(fleet);
        let mut list = DropList { unanswered, ..DropList::default() };
        for (node, answer) in answers {
            let Answer::Drops(drops) = answer else { continue };
            list.lost += drops.lost;
            list.counts.extend(drops.counts.into_iter().map(|count| names.drop_count(&node, count)));
            list.samples.extend(drops.samples.into_iter().map(|sample| names.drop_sample(&node, sample)));
        }
        let ours = |tenant: &Option<String>| area.tenant.is_none() || *tenant == area.tenant;
        list.counts.retain(|count| ours(&count.tenant));
        list.samples.retain(|sample| ours(&sample.tenant));
        list.samples.sort_by_key(|sample| sample.time_ms);
        list
    };
    handle.look(name).await.map(Ok)
}

/// The answers by node's name, and the names of those that gave none.
async fn ask_all(
    handle: &Handle,
    nodes: Vec<(NodeId, String)>,
    question: Question,
) -> (Vec<(String, Answer)>, Vec<String>) {
    let asked = nodes.into_iter().map(|(node, name)| {
        let question = question.clone();
        async move { (name, handle.ask(node, question).await) }
    });
    let (mut answers, mut unanswered) = (Vec::new(), Vec::new());
    for (name, answer) in join_all(asked).await {
        match answer {
            Some(Answer::Failed(reason)) => unanswered.push(format!("{name}: {reason}")),
            Some(answer) => answers.push((name, answer)),
            None => unanswered.push(name),
        }
    }
    (answers, unanswered)
}
