//! Why a packet that begins a flow passes, or does not: the verdict of the records in force, with names.
//!
//! Promises: the groups, rows and order of verdicts are those that the nodes are given ([`verdict`]); nothing is judged by
//! another way.

mod place;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use record::inspect::{Path, Side};
use record::record::{GroupRules, Members, Network, Rule};
use record::{
    DropReason, Group, Key, NamedPort, NodeId, Prefix, Record, RuleId, RuleSetId, TenantId, Verdict, Vni,
};
use serde::{Deserialize, Serialize};

use self::place::{Pair, Place, Spot, pair};
use self::words::group_in_words;
pub use self::words::{rule_in_words, selector_in_words};
use crate::compiler::Compiler;
use crate::tenant::Tenant;
use crate::verdict::{Flow, Judged, verdict};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// In which tenant.
    pub tenant: TenantId,
    /// In which network; `None`: the first one where the two can meet.
    pub network: Option<Vni>,
    /// Who begins the flow.
    pub from: Party,
    /// With whom.
    pub to: Party,
    /// IANA's protocol number.
    pub protocol: u8,
    /// The port of `to`; 0 for protocols without.
    pub port: u16,
}

/// One end, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// An endpoint by name.
    Endpoint {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An address: an endpoint's, the node's own, or one outside.
    Address(IpAddr),
    /// An outside address that no policy names.
    World,
    /// The node that the other end is on.
    Host,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Address(address) => address.fmt(f),
            Self::World => f.write_str("world"),
            Self::Host => f.write_str("host"),
        }
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The tenant is not there.
    #[error("cannot explain: there is no tenant {0}")]
    NoTenant(TenantId),
    /// No endpoint has the name.
    #[error("cannot explain: no endpoint is named {namespace}/{name}{}", hint(.nearest.as_deref()))]
    NotFound {
        /// The namespace asked for.
        namespace: String,
        /// The name asked for.
        name: String,
        /// The name that is most like it.
        nearest: Option<String>,
    },
    /// Neither end is an endpoint of the fabric.
    #[error(
        "cannot explain {from} to {to}: neither is an endpoint of this tenant, so no policy speaks of it; name one endpoint"
    )]
    NoEndpoint {
        /// As asked.
        from: String,
        /// As asked.
        to: String,
    },
    /// The ends share no network, or no address family in it.
    #[error(
        "cannot explain {from} to {to}: they share no network and address family ({from} is in {from_networks}, {to} in \
         {to_networks}), so nothing leads from one to the other"
    )]
    Apart {
        /// As asked.
        from: String,
        /// As asked.
        to: String,
        /// Where it is.
        from_networks: String,
        /// Where it is.
        to_networks: String,
    },
    /// The sender's address lies in the network and is nobody's.
    #[error("cannot explain: {address} lies in network {network}, and no endpoint there has it")]
    Vacant {
        /// The address.
        address: IpAddr,
        /// The network's name.
        network: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; is {name} meant?")).unwrap_or_default()
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// In which tenant.
    pub tenant: TenantId,
    /// In which network.
    pub vni: Vni,
    /// Its name.
    pub network: String,
    /// Whether it allows what no policy speaks of.
    pub default_allow: bool,
    /// Who begins the flow.
    pub from: End,
    /// With whom.
    pub to: End,
    /// IANA's protocol number.
    pub protocol: u8,
    /// The port of `to`.
    pub port: u16,
    /// What the sender's policies say; `None`: it is no endpoint, and has none.
    pub egress: Option<SideTold>,
    /// What the receiver's policies say.
    pub ingress: Option<SideTold>,
    /// Where the packet goes from the sender's node, or comes to the receiver's.
    pub path: Path,
    /// Whether it passes.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<DropReason>,
    /// The rule that decided; `None`: no rule did.
    pub rule: Option<Rule>,
    /// All of it in one sentence.
    pub summary: String,
}

/// One end of the flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// As it was named.
    pub name: String,
    /// The endpoint's identity, if it is one.
    pub uid: Option<String>,
    /// `NAMESPACE/NAME` of the endpoint, if it is one.
    pub endpoint: Option<String>,
    /// Where the endpoint is.
    pub node: Option<NodeId>,
    /// The address, where one is meant.
    pub address: Option<IpAddr>,
    /// The range that gives an outside address its group.
    pub range: Option<Prefix>,
    /// Its group.
    pub group: Group,
    /// What the group is, in words.
    pub group_is: String,
    /// The selectors that match it, in words.
    pub selectors: Vec<String>,
    /// Its named ports, as far as policies name them.
    pub ports: BTreeSet<NamedPort>,
}

/// What one side's policies say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SideTold {
    /// The rule set that was looked in; [`RuleSetId::OPEN`]: no policy isolates this end.
    pub rule_set: RuleSetId,
    /// What it says.
    pub verdict: Verdict,
    /// The rule that decided.
    pub rule: Option<Rule>,
    /// The same in words.
    pub words: String,
}

impl Compiler {
    /// Why a packet passes, or does not, by the records in force.
    pub fn explain(&self, inquiry: &Inquiry) -> Result<Explanation, ExplainError> {
        let tenant = self.tenant(inquiry.tenant).ok_or(ExplainError::NoTenant(inquiry.tenant))?;
        let Pair { network, from, to } = pair(self, tenant, inquiry)?;
        if let (Place::Vacant, Some(address)) = (from.place, from.address) {
            return Err(ExplainError::Vacant { address, network: network.name.clone() });
        }
        let judged = judge(self, inquiry, &from, &to);
        let outcome = outcome(inquiry, network, &to, &judged);
        let (allowed, reason, rule) = match outcome {
            Ok(rule) => (true, None, rule),
            Err((reason, rule)) => (false, Some(reason), rule),
        };
        let rule = self.rule(inquiry.tenant, rule);
        let side = |end: &Spot<'_>, side: Side| end.endpoint().map(|_| self.side(inquiry.tenant, side));
        let mut explanation = Explanation {
            tenant: inquiry.tenant,
            vni: network.vni,
            network: network.name.clone(),
            default_allow: network.default_allow,
            egress: side(&from, judged.egress),
            ingress: side(&to, judged.ingress),
            path: path(&from, &to, reason),
            from: self.end(tenant, inquiry.tenant, &inquiry.from, &from),
            to: self.end(tenant, inquiry.tenant, &inquiry.to, &to),
            protocol: inquiry.protocol,
            port: inquiry.port,
            allowed,
            reason,
            rule,
            summary: String::new(),
        };
        explanation.summary = summary(&explanation);
        Ok(explanation)
    }

    fn rule(&self, tenant: TenantId, rule: RuleId) -> Option<Rule> {
        match self.record(&Key::Rule(tenant, rule)) {
            Some(Record::Rule(rule)) => Some(rule.clone()),
            _ => None,
        }
    }

    fn side(&self, tenant: TenantId, side: Side) -> SideTold {
        let rule = self.rule(tenant, side.decision.rule);
        let words = match (&rule, side.decision.verdict) {
            (Some(rule), Verdict::Allow) => format!("allowed by {}", rule_in_words(rule)),
            (Some(rule), _) => format!("denied by {}", rule_in_words(rule)),
            (None, Verdict::Allow) => {
                "allowed: a node and its own endpoints always reach each other".to_owned()
            }
            (None, Verdict::Deny) => "denied: its group or rules are not known".to_owned(),
            (None, Verdict::Default) => "no policy isolates it".to_owned(),
        };
        SideTold { rule_set: side.rule_set, verdict: side.decision.verdict, rule, words }
    }

    fn end(&self, tenant: &Tenant, id: TenantId, party: &Party, spot: &Spot<'_>) -> End {
        let rules: Option<&GroupRules> = match self.record(&Key::Group(id, spot.group)) {
            Some(Record::Group(rules)) => Some(rules),
            _ => None,
        };
        let selectors = rules.into_iter().flat_map(|rules| &rules.selectors);
        let members: Option<Members> = rules.map(|rules| rules.members);
        let endpoint = spot.endpoint();
        End {
            name: party.to_string(),
            uid: endpoint.map(|endpoint| endpoint.uid.clone()),
            endpoint: endpoint.map(|endpoint| format!("{}/{}", endpoint.namespace, endpoint.name)),
            node: endpoint.map(|endpoint| endpoint.node),
            address: spot.address,
            range: match spot.place {
                Place::Outside(range) => range,
                _ => None,
            },
            group: spot.group,
            group_is: group_in_words(spot.group, members).to_owned(),
            selectors: selectors.filter_map(|id| tenant.selector(*id)).map(selector_in_words).collect(),
            ports: rules.map(|rules| rules.ports.clone()).unwrap_or_default(),
        }
    }
}

const OWN_NODE: &str = "a node and its own endpoints always reach each other";

fn judge(compiler: &Compiler, inquiry: &Inquiry, from: &Spot<'_>, to: &Spot<'_>) -> Judged {
    verdict(
        compiler,
        Flow {
            tenant: inquiry.tenant,
            sender: from.group,
            receiver: to.group,
            protocol: inquiry.protocol,
            port: inquiry.port,
        },
    )
}

/// The rule that allows the packet, or why it does not pass: first what lies in the way, then what policy says.
fn outcome(
    inquiry: &Inquiry,
    network: &Network,
    to: &Spot<'_>,
    judged: &Judged,
) -> Result<RuleId, (DropReason, RuleId)> {
    match to.place {
        Place::Vacant => Err((DropReason::RouteUnknown, RuleId(0))),
        Place::Gateway if ICMP.contains(&inquiry.protocol) => Ok(RuleId(0)),
        Place::Gateway => Err((DropReason::PortUnpublished, RuleId(0))),
        Place::Outside(_) if !network.world => Err((DropReason::EgressOff, RuleId(0))),
        _ => judged.outcome(network.default_allow),
    }
}

/// The protocols that a gateway answers: ICMP and ICMPv6.
const ICMP: [u8; 2] = [1, 58];

fn path(from: &Spot<'_>, to: &Spot<'_>, reason: Option<DropReason>) -> Path {
    match to.place {
        Place::Endpoint(receiver) => match from.endpoint() {
            Some(sender) if sender.node != receiver.node => Path::Node(receiver.node),
            _ => Path::Local,
        },
        Place::Outside(_) if reason == Some(DropReason::EgressOff) => Path::Nowhere,
        Place::Outside(_) => Path::World,
        Place::Host => Path::Host,
        Place::Gateway if reason.is_none() => Path::Host,
        Place::Gateway | Place::Vacant => Path::Nowhere,
    }
}

fn summary(explanation: &Explanation) -> String {
    let Explanation { from, to, network, .. } = explanation;
    let verb = if explanation.allowed { "reaches" } else { "does not reach" };
    let told = match (&explanation.rule, explanation.reason) {
        (Some(rule), None) => format!("allowed by {}", rule_in_words(rule)),
        (Some(rule), Some(_)) => format!("denied by {}", rule_in_words(rule)),
        (None, Some(reason)) => reason.meaning().to_owned(),
        (None, None) if to.group == Group::GATEWAY => "the network's own gateway answers it".to_owned(),
        (None, None) if [from.group, to.group].contains(&Group::HOST) => OWN_NODE.to_owned(),
        (None, None) => format!("no policy speaks of it, and network {network} allows that"),
    };
    format!("{} {verb} {} in network {network}: {told}", from.name, to.name)
}
