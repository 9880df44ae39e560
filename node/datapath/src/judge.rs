//! Asking the programs what would befall a packet: by the same functions and the maps in force, with no side effect.

use record::inspect::{Judgement, Packet, Path, Side};
use record::{Decision, DropReason, Group, NodeId, RuleId, RuleSetId, Verdict};

use crate::Datapath;
use crate::abi::{self, Address, ExplainAnswer, ExplainRequest};
use crate::error::Error;
use crate::table;

impl Datapath {
    /// What this node's programs say of a packet that would begin a flow. With a tag it is one that came over the overlay;
    /// without, the sender's group is what this node knows, or an outside address' class (a client of a published port).
    ///
    /// Errors: [`Error::Program`] if the question did not reach the program, and the kernel's refusals.
    pub fn explain(&self, packet: &Packet) -> Result<Judgement, Error> {
        let request = ExplainRequest {
            source: Address::of(packet.source),
            destination: Address::of(packet.destination),
            vni: packet.vni.value(),
            // 0 asks for what the node knows; any reserved number stands for a tag that is no group.
            source_group: packet.tag.map_or(0, |tag| tag.0.max(1)),
            destination_group: 0,
            port: packet.port.to_be_bytes(),
            protocol: packet.protocol,
            unused: [0; 5],
        };
        let mut data = table::bytes(&request).to_vec();
        data.resize(size_of::<ExplainAnswer>().max(data.len()), 0);
        let (returned, data) = self.loaded.run("explain", &data)?;
        let answer = table::value(&data).filter(|_| returned == 0);
        let answer: ExplainAnswer = answer.ok_or(Error::Program { program: "explain", returned })?;
        Ok(judgement(&answer, self.generation()?))
    }
}

fn judgement(answer: &ExplainAnswer, generation: record::Generation) -> Judgement {
    let judged = &answer.judgement;
    let side = |flag: u8, rule_set: u32, decision: u32| {
        (judged.sides & flag != 0).then(|| Side { rule_set: RuleSetId(rule_set), decision: decode(decision) })
    };
    Judgement {
        generation,
        sender: Group(judged.sender),
        receiver: Group(judged.receiver),
        egress: side(abi::SIDE_EGRESS, judged.egress_set, judged.egress),
        ingress: side(abi::SIDE_INGRESS, judged.ingress_set, judged.ingress),
        path: path(answer),
        passes: answer.reason == 0,
        reason: u8::try_from(answer.reason).ok().and_then(DropReason::from_number),
    }
}

fn decode(decision: u32) -> Decision {
    let verdict = match decision >> 30 {
        1 => Verdict::Allow,
        2 => Verdict::Deny,
        _ => Verdict::Default,
    };
    Decision { verdict, rule: RuleId(decision & RuleId::MAX) }
}

/// In the order of `enum target`. The gateway answers by itself.
fn path(answer: &ExplainAnswer) -> Path {
    match answer.target {
        1 => Path::Local,
        2 => Path::Node(NodeId(answer.node)),
        3 | 4 => Path::Host,
        5 => Path::World,
        _ => Path::Nowhere,
    }
}
