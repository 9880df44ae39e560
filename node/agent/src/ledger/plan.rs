//! From a request to the attachment it shall become.

use std::net::IpAddr;

use record::door::{Assigned, Attach, Refusal, RefusalCode};
use record::record::{Network, Subnet};
use record::{Mac, Prefix, TenantId, Vni};

use super::Ledger;
use crate::attachment::{Attachment, Step, namespace_of, published, tenant_of};
use crate::config::DoorRules;
use crate::mtu::mtu_of;
use crate::pool;
use crate::refusal::refusal;

/// What can be done about a request with what is held.
#[derive(Debug)]
pub(crate) enum Plan {
    /// It has its place in the book now.
    Ready(Box<Attachment>),
    /// The server must be asked first.
    Ask(Ask),
    /// It cannot be.
    Refused(Refusal),
}

/// What the server must be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// What is not held.
    pub(crate) lacking: String,
    /// Addresses that the endpoint must have.
    pub(crate) addresses: Vec<IpAddr>,
}

/// What planning needs from outside the book.
pub(crate) struct Facts<'f> {
    /// The new attachment's identity.
    pub(crate) uid: String,
    /// What tells the container's namespace from others.
    pub(crate) namespace: Option<u64>,
    /// What the door may use.
    pub(crate) rules: &'f DoorRules,
    /// Bytes of the largest packet that the underlay leaves a container.
    pub(crate) mtu: u16,
    /// The Ethernet address that goes with an address of a network.
    pub(crate) mac: &'f dyn Fn(Vni, IpAddr) -> Mac,
}

/// Why planning stopped.
enum Stop {
    Ask(Ask),
    Refused(Refusal),
}

impl Ledger {
    /// Finds the request its network and addresses, and enters it as planned.
    pub(crate) fn plan(&mut self, request: &Attach, facts: Facts<'_>) -> Plan {
        match self.try_plan(request, facts) {
            Ok(attachment) => Plan::Ready(Box::new(attachment)),
            Err(Stop::Ask(ask)) => Plan::Ask(ask),
            Err(Stop::Refused(refusal)) => Plan::Refused(refusal),
        }
    }

    fn try_plan(&mut self, request: &Attach, facts: Facts<'_>) -> Result<Attachment, Stop> {
        let (tenant, network) = self.network_of(request, facts.rules)?;
        let network = network.clone();
        self.refuse_taken(request, tenant)?;
        let addresses = if request.addresses.is_empty() {
            self.free_addresses(&network)?
        } else {
            self.fixed_addresses(request, &network)?
        };
        refuse_lonely_ports(request, &addresses)?;
        let first = addresses.first().map(|assigned| assigned.address);
        let mac = request.mac.or_else(|| first.map(|address| (facts.mac)(network.vni, address)));
        let attachment = Attachment {
            uid: facts.uid,
            number: self.take_number(),
            step: Step::Planned,
            request: request.clone(),
            tenant,
            vni: network.vni,
            network: network.name.clone(),
            mac: mac.expect("a network has a subnet, so there is an address"),
            addresses,
            mtu: mtu_of(&network, facts.mtu),
        };
        for assigned in &attachment.addresses {
            self.last.insert((network.vni, assigned.address.is_ipv4()), assigned.address);
        }
        self.keep(attachment.clone(), facts.namespace);
        Ok(attachment)
    }

    fn network_of(&self, request: &Attach, rules: &DoorRules) -> Result<(TenantId, &Network), Stop> {
        let (tenant_name, namespace) = (tenant_of(request), namespace_of(request));
        let ask = |lacking: String| Stop::Ask(Ask { lacking, addresses: request.addresses.clone() });
        if let Some(network) = &request.network {
            allow(request, rules, tenant_name, network)?;
        }
        let tenant = self.held.tenant_named(tenant_name);
        let tenant = tenant.ok_or_else(|| ask(format!("tenant {tenant_name}")))?;
        let project = self.held.project(tenant, namespace);
        let project = project.ok_or_else(|| ask(format!("namespace {namespace} of tenant {tenant_name}")))?;
        let name = request.network.as_ref().unwrap_or(&project.network);
        allow(request, rules, tenant_name, name)?;
        let network = self.held.network_named(tenant, name);
        Ok((tenant, network.ok_or_else(|| ask(format!("network {name} of tenant {tenant_name}")))?))
    }

    fn refuse_taken(&self, request: &Attach, tenant: TenantId) -> Result<(), Stop> {
        let taken =
            |message: String, remedy: &str| Err(Stop::Refused(refusal(RefusalCode::Taken, message, remedy)));
        let name = (tenant, namespace_of(request).to_owned(), request.name.clone());
        if let Some(other) = self.names.get(&name).and_then(|uid| self.kept(uid)) {
            let other = &other.attachment.request;
            let message = format!(
                "endpoint {}/{} is container {} of door {} on this node",
                namespace_of(request),
                request.name,
                other.container,
                other.door
            );
            return taken(message, "choose another name, or detach that container");
        }
        for publish in &request.publish {
            if let Some(other) = self.publisher(publish) {
                let message = format!(
                    "port {} of the node leads to endpoint {}/{}",
                    published(publish),
                    other.namespace(),
                    other.request.name
                );
                return taken(message, "publish another port of the node, or detach that container");
            }
        }
        Ok(())
    }

    /// A free address of each family that the network has.
    fn free_addresses(&self, network: &Network) -> Result<Vec<Assigned>, Stop> {
        let blocks: Vec<Prefix> = self
            .held
            .blocks(network.vni)
            .filter(|block| !self.rest.is_leaving(network.vni, *block))
            .collect();
        let none = Default::default();
        let used = self.used(network.vni).unwrap_or(&none);
        let mut addresses = Vec::new();
        for ipv4 in [true, false] {
            let mut subnets =
                network.subnets.iter().filter(|subnet| subnet.prefix.is_ipv4() == ipv4).peekable();
            if subnets.peek().is_none() {
                continue;
            }
            let last = self.last.get(&(network.vni, ipv4)).copied();
            let found = subnets.find_map(|subnet| {
                pool::choose(*subnet, &blocks, used, last).map(|address| assigned(*subnet, address))
            });
            addresses.push(found.ok_or_else(|| {
                let family = if ipv4 { "IPv4" } else { "IPv6" };
                let lacking = format!("a free {family} address of network {}", network.name);
                Stop::Ask(Ask { lacking, addresses: Vec::new() })
            })?);
        }
        Ok(addresses)
    }

    fn fixed_addresses(&self, request: &Attach, network: &Network) -> Result<Vec<Assigned>, Stop> {
        let mut addresses = Vec::new();
        for &address in &request.addresses {
            let subnet =
                network.subnets.iter().find(|subnet| subnet.assignable(address)).ok_or_else(|| {
                    let subnets: Vec<String> =
                        network.subnets.iter().map(|subnet| subnet.prefix.to_string()).collect();
                    let message = format!(
                        "{address} is no endpoint's address in network {} ({})",
                        network.name,
                        subnets.join(", ")
                    );
                    let remedy = "choose an address inside, but not the gateway's, the first or the last";
                    Stop::Refused(refusal(RefusalCode::Invalid, message, remedy))
                })?;
            if let Some(other) = self.owner(network.vni, address) {
                let message = format!(
                    "{address} of network {} is endpoint {}/{}'s",
                    network.name,
                    other.namespace(),
                    other.request.name
                );
                let remedy = "choose another address, or detach that container";
                return Err(Stop::Refused(refusal(RefusalCode::Taken, message, remedy)));
            }
            let is_ours =
                |block: Prefix| block.contains(address) && !self.rest.is_leaving(network.vni, block);
            if !self.held.blocks(network.vni).any(is_ours) {
                let lacking = format!("address {address} of network {}", network.name);
                return Err(Stop::Ask(Ask { lacking, addresses: request.addresses.clone() }));
            }
            addresses.push(assigned(*subnet, address));
        }
        Ok(addresses)
    }
}

/// Refuses a port published at an address of a family that the endpoint does not have.
fn refuse_lonely_ports(request: &Attach, addresses: &[Assigned]) -> Result<(), Stop> {
    let lonely = request.publish.iter().find(|publish| {
        let same_family = |own: &Assigned, given: IpAddr| own.address.is_ipv4() == given.is_ipv4();
        publish.address.is_some_and(|given| !addresses.iter().any(|own| same_family(own, given)))
    });
    lonely.map_or(Ok(()), |publish| {
        let message =
            format!("port {} leads to an endpoint without an address of that family", published(publish));
        let remedy = "publish it at an address of a family that the network has";
        Err(Stop::Refused(refusal(RefusalCode::Invalid, message, remedy)))
    })
}

/// Refuses what the door's settings do not allow.
fn allow(request: &Attach, rules: &DoorRules, tenant: &str, network: &str) -> Result<(), Stop> {
    if rules.allows_network(tenant, network) {
        return Ok(());
    }
    let message =
        format!("door {} may not use network {network} of tenant {tenant} on this node", request.door);
    let remedy =
        format!("add \"{tenant}/{network}\" to doors.{}.networks in the agent's settings", request.door);
    Err(Stop::Refused(refusal(RefusalCode::Forbidden, message, remedy)))
}

fn assigned(subnet: Subnet, address: IpAddr) -> Assigned {
    Assigned { address, subnet: subnet.prefix, gateway: subnet.gateway }
}
