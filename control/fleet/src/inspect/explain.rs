//! Why a packet passes: the compiled policies and the nodes' datapaths, and where the two differ.

use std::net::IpAddr;

use compile::{Explanation, Inquiry};
use record::inspect::{Answer, Judgement, Packet, Path, Question, Side};
use record::{Decision, Group, NodeId, RuleId, Verdict};

use super::parameters::Asked;
use super::{Explained, NodeJudgement};
use crate::engine::Handle;
use crate::fleet::Fleet;

/// The answer; `Err`: the question means nothing. `None`: the server is stopping.
pub(super) async fn explain(
    handle: &Handle,
    tenant: String,
    asked: Asked,
) -> Option<Result<Explained, String>> {
    let intent_alone = asked.intent;
    let mut explained = match handle.look(move |fleet| compiled(fleet, &tenant, &asked)).await? {
        Ok(explained) => explained,
        Err(unknown) => return Some(Err(unknown)),
    };
    if !intent_alone {
        for (node, name, packet) in questions(&explained) {
            match handle.ask(node, Question::Judge(packet)).await {
                Some(Answer::Judgement(judgement)) => {
                    let fault = difference(&explained.explanation, node, &judgement);
                    explained.faults.extend(fault.map(|fault| format!("the node {name} {fault}")));
                    explained.datapath.push(NodeJudgement { node: name, judgement });
                }
                Some(Answer::Failed(reason)) => {
                    explained.faults.push(format!("the node {name} cannot judge: {reason}"));
                }
                Some(_) => explained.faults.push(format!("the node {name} answered something else")),
                None => explained.faults.push(format!("the node {name} gave no answer")),
            }
        }
    }
    Some(Ok(explained))
}

fn compiled(fleet: &Fleet, tenant: &str, asked: &Asked) -> Result<Explained, String> {
    let words = |unknown: crate::directory::Unknown| format!("{unknown}: {}", unknown.remedy());
    let id = fleet.directory.tenant(tenant).map_err(words)?.id;
    let network = asked.network.as_ref().map(|name| fleet.directory.network(tenant, name));
    let network = network.transpose().map_err(words)?.map(|network| network.vni);
    let inquiry = Inquiry {
        tenant: id,
        network,
        from: asked.from.clone(),
        to: asked.to.clone(),
        protocol: asked.protocol,
        port: asked.port,
    };
    let compiler = fleet.stage.compiler();
    let mut explanation = compiler.explain(&inquiry).map_err(|error| error.to_string())?;
    stand_in(&mut explanation, |address| compiler.class(id, address) == Group::WORLD);
    let name = |node: Option<NodeId>| node.map(|node| fleet.node_name(node));
    let nodes = (name(explanation.from.node), name(explanation.to.node));
    let mut faults = Vec::new();
    for node in [explanation.from.node, explanation.to.node].into_iter().flatten() {
        let behind = fleet.behind(node);
        let fault = format!("the node {} may hold something else: {behind}", fleet.node_name(node));
        if !behind.is_empty() && !asked.intent && !faults.contains(&fault) {
            faults.push(fault);
        }
    }
    Ok(Explained { tenant: tenant.to_owned(), explanation, nodes, datapath: Vec::new(), faults })
}

/// Gives `world` an address, so that a node can be asked: one for documentation (RFC 5737, RFC 3849, RFC 9637) that no policy
/// names. Without one left the nodes are not asked.
fn stand_in(explanation: &mut Explanation, is_world: impl Fn(IpAddr) -> bool) {
    let (world, other) = match (explanation.from.address, explanation.to.address) {
        (None, Some(other)) => (&mut explanation.from, other),
        (Some(other), None) => (&mut explanation.to, other),
        _ => return,
    };
    if world.group == Group::WORLD {
        let mut candidates = STAND_INS.iter().filter_map(|text| text.parse::<IpAddr>().ok());
        world.address = candidates.find(|one| one.is_ipv4() == other.is_ipv4() && is_world(*one));
    }
}

const STAND_INS: [&str; 5] = ["203.0.113.1", "198.51.100.1", "192.0.2.1", "2001:db8::1", "3fff::1"];

/// What each node is asked: the sender's as the packet leaves, the receiver's as it comes, with the tag it then has.
fn questions(explained: &Explained) -> Vec<(NodeId, String, Packet)> {
    let Explanation { from, to, vni, protocol, port, .. } = &explained.explanation;
    let (Some(source), Some(destination)) = (from.address, to.address) else { return Vec::new() };
    let packet = |tag| Packet { vni: *vni, source, destination, tag, protocol: *protocol, port: *port };
    let (sender, receiver) =
        (from.node.zip(explained.nodes.0.clone()), to.node.zip(explained.nodes.1.clone()));
    let remote = from.node.is_some() && from.node != to.node;
    let leaving = sender.map(|(node, name)| (node, name, packet(None)));
    let arriving = receiver.filter(|_| remote || from.node.is_none());
    let arriving = arriving.map(|(node, name)| (node, name, packet(remote.then_some(from.group))));
    leaving.into_iter().chain(arriving).collect()
}

/// Whether the receiver's node decides by another rule than the policies: right by chance is not right.
fn other_rule(explanation: &Explanation, side: Side) -> Option<String> {
    let told = explanation.ingress.as_ref()?;
    let rule = told.rule.as_ref().map_or(RuleId(0), |rule| rule.id);
    let same = rule == side.decision.rule && told.verdict == side.decision.verdict;
    (!same).then(|| {
        let Decision { verdict, rule: decided } = side.decision;
        format!("decides {verdict:?} by rule {decided}, and the policies {:?} by rule {rule}", told.verdict)
    })
}

/// Where a node's word is another than the policies'.
fn difference(explanation: &Explanation, node: NodeId, judgement: &Judgement) -> Option<String> {
    let receives = explanation.to.node == Some(node);
    let sends = explanation.from.node == Some(node);
    if sends && judgement.sender != explanation.from.group {
        return Some(format!("has the sender in group {}, not {}", judgement.sender, explanation.from.group));
    }
    if receives && judgement.receiver != explanation.to.group {
        return Some(format!(
            "has the receiver in group {}, not {}",
            judgement.receiver, explanation.to.group
        ));
    }
    if receives || explanation.to.node.is_none() {
        if judgement.passes != explanation.allowed {
            let (says, why) = if judgement.passes {
                ("lets it pass", String::new())
            } else {
                ("drops it", judgement.reason.map_or(String::new(), |reason| format!(" ({reason})")))
            };
            let said = if explanation.allowed { "allow" } else { "deny" };
            return Some(format!("{says}{why}, and the policies {said} it"));
        }
        return judgement.ingress.filter(|_| receives).and_then(|side| other_rule(explanation, side));
    }
    // The sender's node may leave the verdict to the receiver's, but not send elsewhere, nor drop what is allowed.
    let path_differs =
        judgement.passes && matches!(judgement.path, Path::Node(other) if Some(other) != explanation.to.node);
    if path_differs {
        return Some(format!("sends it to another node: {:?}", judgement.path));
    }
    let denied = judgement.denied_by().is_some_and(|(_, side)| side.decision.verdict == Verdict::Deny);
    (explanation.allowed && (!judgement.passes || denied)).then(|| {
        let reason = judgement.reason.map_or(String::new(), |reason| format!(" ({reason})"));
        format!("drops it{reason}, and the policies allow it")
    })
}
