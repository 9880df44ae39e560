//! The containers of this node: attaching one is a handful of map entries and two links, whatever the node holds.

use std::net::IpAddr;

use record::{Group, Mac, Protocol, TenantId, Vni};

use crate::Datapath;
use crate::abi::{self, Address, Endpoint, Place, PublishedKey, Resident, Shadowed};
use crate::error::Error;
use crate::hook::Side;

/// An attachment on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalEndpoint {
    /// Unique on this node, and small: shadow addresses are counted from it. Not given to another while it is attached.
    pub id: u32,
    /// The ifindex of the host's end of its veth pair.
    pub link: u32,
    /// Its network.
    pub vni: Vni,
    /// Whose network that is.
    pub tenant: TenantId,
    /// Its MAC; frames from any other are dropped.
    pub mac: Mac,
    /// Its addresses, at most one of each family.
    pub addresses: Vec<EndpointAddress>,
}

/// One address of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointAddress {
    /// The address; packets from any other are dropped.
    pub address: IpAddr,
    /// Its group.
    pub group: Group,
}

/// A port of the node that leads to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The node's address; an unspecified one (`0.0.0.0`, `::`) stands for the node's underlay address of that family.
    pub address: IpAddr,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The node's port.
    pub port: u16,
    /// The endpoint it leads to.
    pub endpoint: u32,
    /// The endpoint's port.
    pub target: u16,
}

impl Datapath {
    /// Puts an endpoint into force: from the return on, its packets and those to it are judged and pass. Attaching one that
    /// is attached changes it to what is given.
    ///
    /// Errors: [`Error::AddressTaken`], [`Error::Unfit`], and the kernel's refusals; then nothing of it is left.
    pub fn attach(&mut self, endpoint: &LocalEndpoint) -> Result<(), Error> {
        let entry = self.entry_of(endpoint)?;
        for address in &endpoint.addresses {
            self.check_free(endpoint, address.address)?;
        }
        if let Some(before) = self.endpoint(endpoint.id)? {
            let place = |entry: &Endpoint| (entry.link, entry.vni, entry.address4, entry.address6);
            if place(&before) != place(&entry) {
                self.detach(endpoint.id)?;
            }
        }
        // A device serves one endpoint: whoever had the number before has lost its device.
        if let Some(stale) = self.loaded.tables.endpoints_by_link.find(&entry.link)?
            && stale.id != entry.id
        {
            self.detach_entry(&stale)?;
        }
        let attached = self.put_endpoint(endpoint, &entry);
        if attached.is_err() {
            // The first error is the one to tell; what cannot be undone now is swept by the next attach or detach.
            if let Err(error) = self.detach_entry(&entry) {
                tracing::warn!(%error, endpoint = endpoint.id, "taking back half an endpoint");
            }
        }
        attached
    }

    /// Takes an endpoint out of force with its flows and published ports. One that is not attached is no error.
    pub fn detach(&mut self, id: u32) -> Result<(), Error> {
        match self.endpoint(id)? {
            Some(entry) => self.detach_entry(&entry),
            None => Ok(()),
        }
    }

    /// Gives addresses of an endpoint other groups; its flows are judged anew with their next packet.
    ///
    /// Errors: [`Error::NotAttached`], and the kernel's refusals.
    pub fn regroup(&mut self, id: u32, addresses: &[EndpointAddress]) -> Result<(), Error> {
        let mut entry = self.endpoint(id)?.ok_or(Error::NotAttached(id))?;
        for given in addresses {
            let own = Address::of(given.address);
            if own == entry.address4 {
                entry.group4 = given.group.0;
            } else if own == entry.address6 {
                entry.group6 = given.group.0;
            }
        }
        self.loaded.tables.endpoints_by_link.put(&entry.link, &entry)?;
        for (address, resident) in residents(&entry) {
            self.loaded.tables.endpoints_by_address.put(&Place { vni: entry.vni, address }, &resident)?;
        }
        Ok(())
    }

    /// The endpoints in force.
    pub fn endpoints(&self) -> Result<Vec<LocalEndpoint>, Error> {
        let entries = self.loaded.tables.endpoints_by_link.entries()?;
        Ok(entries.into_iter().filter_map(|(_, entry)| local_endpoint(&entry)).collect())
    }

    /// The shadow addresses by which the host's stack reaches the endpoint, one for each of its addresses that has one.
    pub fn shadows(&self, endpoint: &LocalEndpoint) -> Vec<IpAddr> {
        endpoint.addresses.iter().filter_map(|own| self.config.shadow_of(endpoint.id, own.address)).collect()
    }

    /// Leads a port of the node to an endpoint's.
    ///
    /// Errors: [`Error::NotAttached`], also where the endpoint has no address of that family, and the kernel's refusals.
    pub fn publish(&mut self, published: &Published) -> Result<(), Error> {
        let entry = self.endpoint(published.endpoint)?.ok_or(Error::NotAttached(published.endpoint))?;
        let address = if published.address.is_ipv4() { entry.address4 } else { entry.address6 };
        if !address.is_set() {
            return Err(Error::NotAttached(published.endpoint));
        }
        let value = abi::Published {
            place: Place { vni: entry.vni, address },
            endpoint: published.endpoint,
            port: published.target.to_be_bytes(),
            unused: 0,
        };
        self.loaded
            .tables
            .published
            .put(&published_key(published.address, published.protocol, published.port), &value)
    }

    /// Leads a port of the node nowhere again; one that was not published is no error. Flows that it began go on.
    pub fn unpublish(&mut self, address: IpAddr, protocol: Protocol, port: u16) -> Result<(), Error> {
        self.loaded.tables.published.remove(&published_key(address, protocol, port)).map(drop)
    }

    /// After a restart: the new programs on every endpoint's link. An endpoint whose device has gone is left to `detach`.
    pub(crate) fn hang_on_endpoints(&self) -> Result<(), Error> {
        for (_, entry) in self.loaded.tables.endpoints_by_link.entries()? {
            match self.hang(&entry) {
                Err(error) if error.is_invalid() => {
                    tracing::warn!(%error, endpoint = entry.id, "its device has gone: it stays until it is detached");
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    fn endpoint(&self, id: u32) -> Result<Option<Endpoint>, Error> {
        match self.attached.get(&id) {
            Some(link) => self.loaded.tables.endpoints_by_link.find(link),
            None => Ok(None),
        }
    }

    /// In the order that lets nothing pass unjudged: its own packets are known before its programs hang, and nobody's are
    /// delivered to it before they do.
    fn put_endpoint(&mut self, endpoint: &LocalEndpoint, entry: &Endpoint) -> Result<(), Error> {
        let tables = &self.loaded.tables;
        tables.endpoints_by_link.put(&entry.link, entry)?;
        self.attached.insert(entry.id, entry.link);
        self.hang(entry)?;
        for own in &endpoint.addresses {
            let place = Place { vni: entry.vni, address: Address::of(own.address) };
            if let Some(shadow) = self.config.shadow_of(endpoint.id, own.address) {
                let shadowed = Shadowed { place, link: entry.link, tenant: entry.tenant };
                tables.endpoints_by_shadow.put(&Address::of(shadow), &shadowed)?;
            }
        }
        for (address, resident) in residents(entry) {
            tables.endpoints_by_address.put(&Place { vni: entry.vni, address }, &resident)?;
        }
        Ok(())
    }

    fn hang(&self, entry: &Endpoint) -> Result<(), Error> {
        let [ingress, egress] = hook_names(entry.id);
        // What gets in is shut before what gets out is opened.
        self.hooks.attach(&egress, self.loaded.program("to_container"), entry.link, Side::Egress)?;
        self.hooks.attach(&ingress, self.loaded.program("from_container"), entry.link, Side::Ingress)
    }

    fn detach_entry(&mut self, entry: &Endpoint) -> Result<(), Error> {
        let tables = &self.loaded.tables;
        for (address, _) in residents(entry) {
            let place = Place { vni: entry.vni, address };
            if tables.endpoints_by_address.find(&place)?.is_some_and(|resident| resident.id == entry.id) {
                tables.endpoints_by_address.remove(&place)?;
            }
        }
        for shadow in [entry.shadow4, entry.shadow6].into_iter().filter(|shadow| shadow.is_set()) {
            tables.endpoints_by_shadow.remove(&shadow)?;
        }
        for (key, published) in tables.published.entries()? {
            if published.endpoint == entry.id {
                tables.published.remove(&key)?;
            }
        }
        // The entry goes before the programs: in between its packets are dropped, never passed.
        tables.endpoints_by_link.remove(&entry.link)?;
        let [ingress, egress] = hook_names(entry.id);
        self.hooks.detach(&ingress, entry.link, Side::Ingress)?;
        self.hooks.detach(&egress, entry.link, Side::Egress)?;
        self.attached.remove(&entry.id);
        // Whoever gets the address next must not inherit what this one was allowed.
        self.forget_flows(entry.vni, &[entry.address4, entry.address6])
    }

    fn check_free(&self, endpoint: &LocalEndpoint, address: IpAddr) -> Result<(), Error> {
        let place = Place { vni: endpoint.vni.value(), address: Address::of(address) };
        match self.loaded.tables.endpoints_by_address.find(&place)? {
            Some(resident) if resident.id != endpoint.id || resident.link == 0 => {
                Err(Error::AddressTaken { vni: place.vni, address, owner: resident.id })
            }
            _ => Ok(()),
        }
    }

    fn entry_of(&self, endpoint: &LocalEndpoint) -> Result<Endpoint, Error> {
        let family = |ipv4: bool| {
            let mut own = endpoint.addresses.iter().filter(move |own| own.address.is_ipv4() == ipv4);
            (own.next().copied(), own.next().is_some())
        };
        let ((own4, more4), (own6, more6)) = (family(true), family(false));
        if more4 || more6 || endpoint.id == 0 || endpoint.link == 0 {
            let what = format!("endpoint {}: two addresses of one family, or no link or number", endpoint.id);
            return Err(Error::Unfit { what });
        }
        let shadow = |own: Option<EndpointAddress>| {
            abi::optional(own.and_then(|own| self.config.shadow_of(endpoint.id, own.address)))
        };
        Ok(Endpoint {
            address4: abi::optional(own4.map(|own| own.address)),
            address6: abi::optional(own6.map(|own| own.address)),
            shadow4: shadow(own4),
            shadow6: shadow(own6),
            vni: endpoint.vni.value(),
            tenant: endpoint.tenant.0,
            id: endpoint.id,
            link: endpoint.link,
            group4: own4.map_or(0, |own| own.group.0),
            group6: own6.map_or(0, |own| own.group.0),
            mac: endpoint.mac.0,
            unused: [0; 2],
        })
    }
}

fn residents(entry: &Endpoint) -> impl Iterator<Item = (Address, Resident)> {
    let resident =
        |group| Resident { link: entry.link, id: entry.id, tenant: entry.tenant, group, mac: entry.mac };
    [(entry.address4, resident(entry.group4)), (entry.address6, resident(entry.group6))]
        .into_iter()
        .filter(|(address, _)| address.is_set())
}

fn local_endpoint(entry: &Endpoint) -> Option<LocalEndpoint> {
    let addresses = residents(entry)
        .map(|(address, resident)| EndpointAddress { address: address.ip(), group: Group(resident.group) })
        .collect();
    Some(LocalEndpoint {
        id: entry.id,
        link: entry.link,
        vni: Vni::new(entry.vni)?,
        tenant: TenantId(entry.tenant),
        mac: Mac(entry.mac),
        addresses,
    })
}

fn published_key(address: IpAddr, protocol: Protocol, port: u16) -> PublishedKey {
    PublishedKey {
        address: Address::of(address),
        port: port.to_be_bytes(),
        protocol: protocol.number(),
        unused: 0,
    }
}

/// Ingress and egress. A bpffs takes no name with a dot.
fn hook_names(id: u32) -> [String; 2] {
    [format!("{id}-in"), format!("{id}-out")]
}
