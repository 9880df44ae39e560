//! What a node tells about itself when asked: the datapath's verdict on a packet, flows, drops, fill.
//!
//! The server asks on the delta stream for whoever stands at its API; a person on the node asks at the agent's socket.

use std::net::IpAddr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::DropReason;
use crate::word::{Decision, Direction, Generation, Group, NodeId, RuleSetId, TenantId, Verdict, Vni};

/// What can be asked of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(tag = "question", rename_all = "camelCase")]
pub enum Question {
    /// What the maps in force say of a packet.
    #[n(0)]
    Judge(#[n(0)] Packet),
    /// The live flows that match.
    #[n(1)]
    Flows(#[n(0)] FlowFilter),
    /// Drop counters, and the latest samples.
    #[n(2)]
    Drops,
    /// Generation, attachments, map fill.
    #[n(3)]
    State,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(tag = "answer", content = "content", rename_all = "camelCase")]
pub enum Answer {
    /// To [`Question::Judge`].
    #[n(0)]
    Judgement(#[n(0)] Judgement),
    /// To [`Question::Flows`].
    #[n(1)]
    Flows(#[n(0)] Vec<Flow>),
    /// To [`Question::Drops`].
    #[n(2)]
    Drops(#[n(0)] Drops),
    /// To [`Question::State`].
    #[n(3)]
    State(#[n(0)] State),
    /// It could not be answered.
    #[n(4)]
    Failed(#[n(0)] String),
}

/// A packet that would begin a flow, as [`Question::Judge`] asks about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Packet {
    /// The network it is in.
    #[n(0)]
    pub vni: Vni,
    /// From.
    #[n(1)]
    pub source: IpAddr,
    /// To.
    #[n(2)]
    pub destination: IpAddr,
    /// The group in the packet's tag when it comes over the overlay; `None`: as the node knows the source.
    #[n(3)]
    pub tag: Option<Group>,
    /// IANA's protocol number.
    #[n(4)]
    pub protocol: u8,
    /// Destination port, 0 for protocols without.
    #[n(5)]
    pub port: u16,
}

/// What the maps of one node say of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// The node's generation when it was judged.
    #[n(0)]
    pub generation: Generation,
    /// The sender's group as this node sees it.
    #[n(1)]
    pub sender: Group,
    /// The receiver's group as this node sees it.
    #[n(2)]
    pub receiver: Group,
    /// The sender's egress side: rule set and decision; `None` where this node does not judge it.
    #[n(3)]
    pub egress: Option<Side>,
    /// The receiver's ingress side.
    #[n(4)]
    pub ingress: Option<Side>,
    /// Where the packet would go.
    #[n(5)]
    pub path: Path,
    /// Whether it passes this node.
    #[n(6)]
    pub passes: bool,
    /// Why not.
    #[n(7)]
    pub reason: Option<DropReason>,
}

/// One direction of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Which rule set was looked in.
    #[n(0)]
    pub rule_set: RuleSetId,
    /// What it said.
    #[n(1)]
    pub decision: Decision,
}

/// Where a packet goes from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "camelCase")]
pub enum Path {
    /// To an endpoint of the same node.
    #[n(0)]
    Local,
    /// Over the overlay to this node.
    #[n(1)]
    Node(#[n(0)] NodeId),
    /// To the world, source-translated.
    #[n(2)]
    World,
    /// To the node's own host stack.
    #[n(3)]
    Host,
    /// Nowhere.
    #[n(4)]
    Nowhere,
}

/// Which flows are wanted; an empty filter means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(default)]
pub struct FlowFilter {
    /// Of this tenant alone.
    #[n(0)]
    pub tenant: Option<TenantId>,
    /// In this network alone.
    #[n(1)]
    pub vni: Option<Vni>,
    /// With this address at either end.
    #[n(2)]
    pub address: Option<IpAddr>,
    /// At most this many; 0: as many as one answer holds (65,536).
    #[n(3)]
    pub limit: u32,
}

/// One live flow, told from its initiator's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// The network.
    #[n(0)]
    pub vni: Vni,
    /// IANA's protocol number.
    #[n(1)]
    pub protocol: u8,
    /// Who began it.
    #[n(2)]
    pub source: IpAddr,
    /// The port it was begun from (0 for protocols without; ICMP echo: the identifier).
    #[n(3)]
    pub source_port: u16,
    /// To whom.
    #[n(4)]
    pub destination: IpAddr,
    /// To which port.
    #[n(5)]
    pub destination_port: u16,
    /// Packets and bytes from the initiator.
    #[n(6)]
    pub sent: Traffic,
    /// Packets and bytes to the initiator.
    #[n(7)]
    pub received: Traffic,
    /// Age in milliseconds.
    #[n(8)]
    pub age_ms: u64,
    /// Milliseconds since the last packet.
    #[n(9)]
    pub idle_ms: u64,
    /// What state the flow is in: `new`, `established`, `closing`.
    #[n(10)]
    pub state: String,
    /// The rule that allowed it; 0: none of those that this node asked, see `judged`.
    #[n(11)]
    pub rule: crate::word::RuleId,
    /// How it is translated, in words; empty: not.
    #[n(12)]
    pub translation: String,
    /// The sides of policy that this node judged when the flow began; none: the receiver's node judges both, for it alone knows
    /// both groups. `None`: a node of an older release does not say.
    #[n(13)]
    #[cbor(default)]
    #[serde(default)]
    pub judged: Option<Vec<Direction>>,
}

/// A count of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Traffic {
    /// Packets as the datapath saw them (a GSO packet counts once).
    #[n(0)]
    pub packets: u64,
    /// Bytes from the network header on.
    #[n(1)]
    pub bytes: u64,
}

/// What a node has dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Drops {
    /// Counts since the maps were made.
    #[n(0)]
    pub counts: Vec<DropCount>,
    /// The latest dropped packets, oldest first, bounded.
    #[n(1)]
    pub samples: Vec<DropSample>,
    /// Samples that were lost for want of room.
    #[n(2)]
    pub lost: u64,
}

/// How much was dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct DropCount {
    /// The network; `None`: before it was known.
    #[n(0)]
    pub vni: Option<Vni>,
    /// Why.
    #[n(1)]
    pub reason: DropReason,
    /// By which rule; 0: none.
    #[n(2)]
    pub rule: crate::word::RuleId,
    /// How much.
    #[n(3)]
    pub traffic: Traffic,
}

/// One dropped packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "camelCase")]
pub struct DropSample {
    /// Milliseconds since 1970 by the node's clock.
    #[n(0)]
    pub time_ms: u64,
    /// The network; `None`: before it was known.
    #[n(1)]
    pub vni: Option<Vni>,
    /// From.
    #[n(2)]
    pub source: IpAddr,
    /// From which port.
    #[n(3)]
    pub source_port: u16,
    /// To.
    #[n(4)]
    pub destination: IpAddr,
    /// To which port.
    #[n(5)]
    pub destination_port: u16,
    /// IANA's protocol number.
    #[n(6)]
    pub protocol: u8,
    /// The groups, sender's first.
    #[n(7)]
    pub groups: (Group, Group),
    /// Why.
    #[n(8)]
    pub reason: DropReason,
    /// By which rule; 0: none.
    #[n(9)]
    pub rule: crate::word::RuleId,
    /// Which side denied, where policy did.
    #[n(10)]
    pub direction: Option<Direction>,
}

/// A node's own state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct State {
    /// The generation in the kernel.
    #[n(0)]
    pub generation: Generation,
    /// How many endpoints are attached.
    #[n(1)]
    pub endpoints: u32,
    /// How full each map is.
    #[n(2)]
    pub fill: Vec<MapFill>,
    /// What whoever runs the node should know: what is in force, and yet not as somebody wished.
    #[n(3)]
    #[cbor(default)]
    #[serde(default)]
    pub problems: Vec<String>,
}

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct MapFill {
    /// Its name.
    #[n(0)]
    pub map: String,
    /// Entries in it.
    #[n(1)]
    pub used: u64,
    /// Entries it can hold.
    #[n(2)]
    pub capacity: u64,
}

impl Judgement {
    /// The side that denied, if policy did.
    pub fn denied_by(&self) -> Option<(Direction, Side)> {
        let denies = |side: &Side| side.decision.verdict == Verdict::Deny;
        let egress = self.egress.filter(denies).map(|side| (Direction::Egress, side));
        egress.or_else(|| self.ingress.filter(denies).map(|side| (Direction::Ingress, side)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::{Reply, Request};

    /// A [`Flow`] as releases before `judged` send it.
    #[derive(Encode, Decode)]
    struct OldFlow {
        #[n(0)]
        vni: Vni,
        #[n(1)]
        protocol: u8,
        #[n(2)]
        source: IpAddr,
        #[n(3)]
        source_port: u16,
        #[n(4)]
        destination: IpAddr,
        #[n(5)]
        destination_port: u16,
        #[n(6)]
        sent: Traffic,
        #[n(7)]
        received: Traffic,
        #[n(8)]
        age_ms: u64,
        #[n(9)]
        idle_ms: u64,
        #[n(10)]
        state: String,
        #[n(11)]
        rule: crate::word::RuleId,
        #[n(12)]
        translation: String,
    }

    #[test]
    fn a_flow_of_a_release_before_says_nothing_of_who_judged_it_and_reads_a_newer_one() {
        let old = OldFlow {
            vni: Vni::new(1).unwrap(),
            protocol: 6,
            source: [10, 0, 0, 1].into(),
            source_port: 40_000,
            destination: [10, 0, 0, 2].into(),
            destination_port: 80,
            sent: Traffic::default(),
            received: Traffic::default(),
            age_ms: 1,
            idle_ms: 1,
            state: "established".to_owned(),
            rule: crate::word::RuleId(7),
            translation: String::new(),
        };
        let flow: Flow = minicbor::decode(&minicbor::to_vec(&old).unwrap()).unwrap();
        assert_eq!((flow.judged.clone(), flow.rule), (None, crate::word::RuleId(7)));
        let newer = Flow { judged: Some(vec![Direction::Egress, Direction::Ingress]), ..flow };
        let bytes = minicbor::to_vec(&newer).unwrap();
        assert_eq!(minicbor::decode::<Flow>(&bytes).unwrap(), newer);
        assert_eq!(minicbor::decode::<OldFlow>(&bytes).unwrap().rule, newer.rule);
    }

    #[test]
    fn every_question_and_answer_passes_a_door() {
        let packet = Packet {
            vni: Vni::new(1).unwrap(),
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            tag: None,
            protocol: 6,
            port: 80,
        };
        let flows = Question::Flows(FlowFilter::default());
        for question in [Question::Judge(packet), flows, Question::Drops, Question::State] {
            let request = Request::Ask { question };
            let line = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request, "{line}");
        }
        let judgement = Judgement {
            generation: Generation(1),
            sender: Group::FIRST,
            receiver: Group::WORLD,
            egress: Some(Side { rule_set: RuleSetId(1), decision: Decision::default() }),
            ingress: None,
            path: Path::Node(NodeId(2)),
            passes: true,
            reason: None,
        };
        let answers = [
            Answer::Judgement(judgement),
            Answer::Flows(Vec::new()),
            Answer::Drops(Drops::default()),
            Answer::State(State::default()),
            Answer::Failed("the map is gone".to_owned()),
        ];
        for answer in answers {
            let reply = Reply::Answer { answer };
            let line = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&line).unwrap(), reply, "{line}");
        }
    }
}
