//! One question, asked of policies alone: the whole way from nothing to a verdict, in one call.
//!
//! For comparing with another reading of the same policies; whoever has many questions about one state asks a [`Compiler`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use intent::object::Namespace;
use intent::policy::NetworkPolicy;
use record::{Group, Labels, NamedPort, NodeId, TenantId, Vni};

use crate::compiler::Compiler;
use crate::input::{Change, Endpoint};
use crate::number::Numbers;
use crate::verdict::{Flow, Judged, verdict};

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Someone {
    /// An endpoint.
    Endpoint {
        /// Its namespace, one of those given.
        namespace: String,
        /// Its labels.
        labels: Labels,
        /// Its named ports.
        ports: BTreeSet<NamedPort>,
        /// Its address.
        address: IpAddr,
    },
    /// An address outside the fabric.
    Outside(IpAddr),
    /// The node of the other end.
    Host,
}

/// What a tenant's policies say of a flow that `from` begins with `to`: each direction's decision, with `RuleId(0)` where no
/// rule decided.
pub fn judge(
    namespaces: &[Namespace],
    policies: &[NetworkPolicy],
    from: &Someone,
    to: &Someone,
    (protocol, port): (u8, u16),
) -> Judged {
    let tenant = TenantId(1);
    let mut compiler = Compiler::new(Numbers::new(0));
    let namespaces = namespaces.iter().map(|namespace| Change::PutNamespace(tenant, namespace.clone()));
    let policies = policies.iter().map(|policy| Change::PutPolicy(tenant, policy.clone()));
    let ends = [("from", from), ("to", to)].into_iter();
    let endpoints = ends.filter_map(|(uid, end)| endpoint(tenant, uid, end)).map(Change::PutEndpoint);
    compiler.apply(namespaces.chain(policies).chain(endpoints));
    let sender = group(&compiler, tenant, "from", from);
    let receiver = group(&compiler, tenant, "to", to);
    verdict(&compiler, Flow { tenant, sender, receiver, protocol, port })
}

fn endpoint(tenant: TenantId, uid: &str, end: &Someone) -> Option<Endpoint> {
    let Someone::Endpoint { namespace, labels, ports, address } = end else { return None };
    Some(Endpoint {
        tenant,
        uid: uid.to_owned(),
        vni: Vni::new(1).expect("1 is a network identifier"),
        namespace: namespace.clone(),
        name: uid.to_owned(),
        labels: labels.clone(),
        ports: ports.clone(),
        addresses: BTreeSet::from([*address]),
        node: NodeId(1),
    })
}

fn group(compiler: &Compiler, tenant: TenantId, uid: &str, end: &Someone) -> Group {
    match end {
        Someone::Endpoint { address, .. } => compiler.group(tenant, uid, *address),
        Someone::Outside(address) => compiler.class(tenant, *address),
        Someone::Host => Group::HOST,
    }
}
