//! Finds the two ends that a question names, in a network where they can meet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use record::record::Network;
use record::{Group, Key, Prefix, Record, Vni};

use super::{ExplainError, Inquiry, Party};
use crate::compiler::Compiler;
use crate::input::Endpoint;
use crate::tenant::{Found, Tenant};

/// One end, in a network.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    pub(super) place: Place<'a>,
    /// `None`: the world, or a node, at whatever address.
    pub(super) address: Option<IpAddr>,
    pub(super) group: Group,
}

/// What is at an address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Endpoint(&'a Endpoint),
    /// The range that gives an outside address its group, if one does.
    Outside(Option<Prefix>),
    /// The node that the other end is on.
    Host,
    /// The network's own address.
    Gateway,
    /// An address of the network that nobody has.
    Vacant,
}

impl<'a> Spot<'a> {
    pub(super) fn endpoint(&self) -> Option<&'a Endpoint> {
        match self.place {
            Place::Endpoint(endpoint) => Some(endpoint),
            _ => None,
        }
    }

    fn meets(&self, other: &Self) -> bool {
        let families = self.address.zip(other.address);
        families.is_none_or(|(one, other)| one.is_ipv4() == other.is_ipv4())
            && (self.endpoint().is_some() || other.endpoint().is_some())
    }
}

/// The two ends and their network.
pub(super) struct Pair<'a> {
    pub(super) network: &'a Network,
    pub(super) from: Spot<'a>,
    pub(super) to: Spot<'a>,
}

/// Where the question's parties can meet: the first network, in the order of identifiers, and the first family.
pub(super) fn pair<'a>(
    compiler: &'a Compiler,
    tenant: &'a Tenant,
    inquiry: &Inquiry,
) -> Result<Pair<'a>, ExplainError> {
    let from = homes(compiler, tenant, &inquiry.from)?;
    let to = homes(compiler, tenant, &inquiry.to)?;
    let candidates: BTreeSet<Vni> = from.iter().chain(&to).copied().collect();
    if candidates.is_empty() {
        return Err(ExplainError::NoEndpoint { from: inquiry.from.to_string(), to: inquiry.to.to_string() });
    }
    let wanted = |vni: &&Vni| inquiry.network.is_none_or(|network| network == **vni);
    for vni in candidates.iter().filter(wanted) {
        let Some(network) = compiler.network(*vni) else { continue };
        let froms = spots(tenant, network, &inquiry.from);
        let tos = spots(tenant, network, &inquiry.to);
        let pairs = froms.iter().flat_map(|from| tos.iter().map(move |to| (from, to)));
        if let Some((from, to)) = pairs.clone().find(|(from, to)| from.meets(to)) {
            let (from, to) = (own_node(compiler, from, to), own_node(compiler, to, from));
            return Ok(Pair { network, from, to });
        }
    }
    Err(ExplainError::Apart {
        from: inquiry.from.to_string(),
        to: inquiry.to.to_string(),
        from_networks: names(compiler, &from),
        to_networks: names(compiler, &to),
    })
}

/// The networks in which an endpoint is meant.
fn homes(compiler: &Compiler, tenant: &Tenant, party: &Party) -> Result<BTreeSet<Vni>, ExplainError> {
    match party {
        Party::Endpoint { namespace, name } => {
            let homes: BTreeSet<Vni> =
                tenant.endpoints_named(namespace, name).map(|found| found.endpoint.vni).collect();
            if homes.is_empty() {
                let known = tenant.endpoint_names().map(|(namespace, name)| format!("{namespace}/{name}"));
                let nearest = nearest(&format!("{namespace}/{name}"), known);
                let (namespace, name) = (namespace.clone(), name.clone());
                return Err(ExplainError::NotFound { namespace, name, nearest });
            }
            Ok(homes.into_iter().filter(|vni| compiler.network(*vni).is_some()).collect())
        }
        Party::Address(address) => {
            Ok(tenant.endpoints_at(*address).map(|found| found.endpoint.vni).collect())
        }
        Party::World | Party::Host => Ok(BTreeSet::new()),
    }
}

/// What a party is in one network, best first.
fn spots<'a>(tenant: &'a Tenant, network: &Network, party: &Party) -> Vec<Spot<'a>> {
    let here = |found: &Found<'a>| found.endpoint.vni == network.vni;
    match party {
        Party::Endpoint { namespace, name } => {
            tenant.endpoints_named(namespace, name).filter(here).flat_map(of_endpoint).collect()
        }
        Party::Address(address) => {
            let own = |spot: &Spot<'_>| spot.address == Some(*address);
            let endpoints: Vec<Spot<'a>> =
                tenant.endpoints_at(*address).filter(here).flat_map(of_endpoint).filter(own).collect();
            if endpoints.is_empty() { vec![outside(tenant, network, *address)] } else { endpoints }
        }
        Party::World => vec![Spot { place: Place::Outside(None), address: None, group: Group::WORLD }],
        Party::Host => vec![Spot { place: Place::Host, address: None, group: Group::HOST }],
    }
}

fn of_endpoint<'a>(found: Found<'a>) -> impl Iterator<Item = Spot<'a>> {
    let place = Place::Endpoint(found.endpoint);
    found.groups.iter().map(move |(address, group)| Spot { place, address: Some(*address), group: *group })
}

/// An address that no endpoint of the network has.
fn outside<'a>(tenant: &Tenant, network: &Network, address: IpAddr) -> Spot<'a> {
    let (place, group) = if network.subnets.iter().any(|subnet| subnet.gateway == address) {
        (Place::Gateway, Group::GATEWAY)
    } else if network.subnets.iter().any(|subnet| subnet.prefix.contains(address)) {
        (Place::Vacant, Group::UNKNOWN)
    } else {
        let (group, range) = tenant.class_of(address);
        (Place::Outside(range), group)
    };
    Spot { place, address: Some(address), group }
}

/// An outside address that is the other end's own node's is the node.
fn own_node<'a>(compiler: &Compiler, spot: &Spot<'a>, other: &Spot<'a>) -> Spot<'a> {
    let node = other.endpoint().and_then(|endpoint| compiler.record(&Key::Node(endpoint.node)));
    let own = |address: IpAddr| matches!(node, Some(Record::Node(node)) if node.underlay.contains(&address));
    match (spot.place, spot.address) {
        (Place::Outside(_), Some(address)) if own(address) => {
            Spot { place: Place::Host, address: Some(address), group: Group::HOST }
        }
        _ => spot.clone(),
    }
}

fn names(compiler: &Compiler, networks: &BTreeSet<Vni>) -> String {
    let name = |vni: &Vni| compiler.network(*vni).map(|network| network.name.clone());
    let names: Vec<String> = networks.iter().filter_map(name).collect();
    if names.is_empty() { "no network".to_owned() } else { names.join(", ") }
}

/// The known name that differs in the fewest letters, if it is anything like the one given.
fn nearest(wanted: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let near = known.map(|name| (distance(wanted, &name), name)).min()?;
    (near.0 <= wanted.chars().count() / 3 + 1).then_some(near.1)
}

/// Levenshtein's distance: insertions, deletions and replacements of one letter.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (place, against) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *against);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
