//! An attachment: one container's place on one virtual network, as the agent keeps it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use datapath::link::{HostPlan, LinkId};
use record::delta::Report;
use record::door::{Assigned, Attach, Attached, Door};
use record::{Group, Mac, TenantId, Vni};
use serde::{Deserialize, Serialize};

/// One attachment. What is in the kernel for it follows from this value alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// Its identity in the fabric.
    pub(crate) uid: String,
    /// Its number on this node: of the link, of the maps' entries, of the pins. Not used again soon.
    pub(crate) number: u32,
    /// How far it has come.
    pub(crate) step: Step,
    /// What was asked for.
    pub(crate) request: Attach,
    /// The tenant's number.
    pub(crate) tenant: TenantId,
    /// The network.
    pub(crate) vni: Vni,
    /// The network's name.
    pub(crate) network: String,
    /// The Ethernet address of the interface.
    pub(crate) mac: Mac,
    /// Its addresses, at most one of each family.
    pub(crate) addresses: Vec<Assigned>,
    /// The interface's MTU in bytes.
    pub(crate) mtu: u16,
}

/// How far an attachment has come. Before a step is taken in the kernel it is in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    /// Nothing, or any part, may be in the kernel. Nobody was told of it: found at start it is undone.
    Planned,
    /// Everything is in the kernel.
    Attached,
    /// Any part may still be in the kernel: found at start, the rest is removed.
    Leaving,
}

/// The group of each address of an attachment.
pub(crate) type Groups = BTreeMap<IpAddr, Group>;

/// What names an attachment at its door.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Which door.
    pub(crate) door: Door,
    /// The runtime's name for the container.
    pub(crate) container: String,
    /// The interface in it.
    pub(crate) interface: String,
}

impl Place {
    /// The place that a request asks for.
    pub(crate) fn of(request: &Attach) -> Self {
        Self {
            door: request.door,
            container: request.container.clone(),
            interface: request.interface.clone(),
        }
    }
}

impl Attachment {
    /// The tenant's name.
    pub(crate) fn tenant_name(&self) -> &str {
        tenant_of(&self.request)
    }

    /// The namespace's name.
    pub(crate) fn namespace(&self) -> &str {
        namespace_of(&self.request)
    }

    /// Its bare addresses.
    pub(crate) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().map(|assigned| assigned.address)
    }

    /// The addresses by which processes of this host reach it, in the order of its own.
    fn host_addresses(&self) -> Vec<IpAddr> {
        let ranges = HostPlan::shadow_ranges();
        self.ips().filter_map(|own| datapath::shadow_of(&ranges, self.number, own)).collect()
    }

    /// The host end's name.
    pub(crate) fn host_interface(&self) -> String {
        LinkId(self.number).host_end()
    }

    /// What the server is told.
    pub(crate) fn report(&self) -> Report {
        let published =
            |publish: &record::door::Publish| (publish.protocol.number(), publish.host_port, publish.port);
        Report {
            uid: self.uid.clone(),
            tenant: self.tenant,
            vni: self.vni,
            namespace: self.namespace().to_owned(),
            name: self.request.name.clone(),
            labels: self.request.labels.clone(),
            ports: self.request.ports.clone(),
            addresses: self.ips().collect(),
            published: self.request.publish.iter().map(published).collect(),
            host_addresses: self.host_addresses(),
        }
    }

    /// What the door is told.
    pub(crate) fn reply(&self, judged: bool) -> Attached {
        Attached {
            uid: self.uid.clone(),
            tenant: self.tenant_name().to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.request.name.clone(),
            network: self.network.clone(),
            container: self.request.container.clone(),
            netns: self.request.netns.clone(),
            interface: self.request.interface.clone(),
            host_interface: self.host_interface(),
            mac: self.mac,
            addresses: self.addresses.clone(),
            mtu: self.mtu,
            judged,
            publish: self.request.publish.clone(),
            host_addresses: self.host_addresses(),
            warnings: Vec::new(),
        }
    }
}

/// The tenant that a request speaks of.
pub(crate) fn tenant_of(request: &Attach) -> &str {
    request.tenant.as_deref().unwrap_or("default")
}

/// The namespace that a request speaks of.
pub(crate) fn namespace_of(request: &Attach) -> &str {
    request.namespace.as_deref().unwrap_or("default")
}

/// `[ADDRESS:]PORT/PROTOCOL`.
pub(crate) fn published(publish: &record::door::Publish) -> String {
    match publish.address {
        Some(address) => {
            format!("{}/{}", std::net::SocketAddr::new(address, publish.host_port), publish.protocol)
        }
        None => format!("{}/{}", publish.host_port, publish.protocol),
    }
}
