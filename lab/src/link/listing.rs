//! What is there: links, addresses, routes and rules as lines of text that are equal when nothing changed.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::TryStreamExt;
use record::Prefix;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    BridgePortState, InfoBridgePort, InfoPortData, LinkAttribute, LinkInfo, LinkMessage, State,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{IpVersion, RouteMessageBuilder};

use super::Links;
use crate::error::{Context, Result};
use crate::wait::wait_until;

impl Links {
    /// The names of all links, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.indices()?.into_values().collect();
        names.sort();
        Ok(names)
    }

    /// Every address with its prefix length and link, such as `10.0.0.1/24 of eth0`.
    pub fn addresses(&self) -> Result<Vec<String>> {
        let names = self.indices()?;
        let found =
            self.list("the addresses", self.handle.address().get().execute().try_collect::<Vec<_>>())?;
        let line = |message: rtnetlink::packet_route::address::AddressMessage| {
            let address = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(address.to_string()),
                _ => None,
            })?;
            Some(format!("{address}/{} of {}", message.header.prefix_len, name(&names, message.header.index)))
        };
        Ok(found.into_iter().filter_map(line).collect())
    }

    /// Every route of both families, with its table.
    pub fn routes(&self) -> Result<Vec<String>> {
        let names = self.indices()?;
        let mut lines = Vec::new();
        let families =
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        for family in families {
            let found =
                self.list("the routes", self.handle.route().get(family).execute().try_collect::<Vec<_>>())?;
            lines.extend(found.iter().map(|message| route(message, &names)));
        }
        Ok(lines)
    }

    /// Every rule of both families.
    pub fn rules(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for family in [IpVersion::V4, IpVersion::V6] {
            let found =
                self.list("the rules", self.handle.rule().get(family).execute().try_collect::<Vec<_>>())?;
            lines.extend(
                found.into_iter().map(|message| format!("{:?} {:?}", message.header, message.attributes)),
            );
        }
        Ok(lines)
    }

    /// Waits until a link that is up carries packets, at most 10 s: after the other end of a veth pair has come up too, the kernel
    /// starts the queues, and a bridge its port, a little later. Until then packets are dropped.
    pub fn await_carrying(&self, name: &str) -> Result<()> {
        let found = wait_until(CARRIES_WITHIN, &format!("{name} carries packets"), || {
            let get = self.handle.link().get().match_name(name.to_owned()).execute();
            let found =
                self.runtime.block_on(get.try_collect::<Vec<_>>()).map_err(|fault| fault.to_string())?;
            found.iter().try_for_each(carries)
        });
        Ok(found?)
    }

    /// Waits until this host accepts packets for one of its addresses, at most 10 s: an IPv6 address gets its local route by
    /// a task of the kernel's that runs some time after the address was added, even where nobody asks whether it is taken.
    pub fn await_address(&self, address: IpAddr) -> Result<()> {
        let family =
            RouteMessageBuilder::<IpAddr>::new().destination_prefix(address, Prefix::host(address).length());
        let family = family.expect("a host's prefix fits its family").build();
        let wanted = RouteAttribute::Destination(address.into());
        let found = wait_until(CARRIES_WITHIN, &format!("{address} is this host's own"), || {
            let get = self.handle.route().get(family.clone()).execute();
            let found =
                self.runtime.block_on(get.try_collect::<Vec<_>>()).map_err(|fault| fault.to_string())?;
            let own = |route: &RouteMessage| {
                route.header.kind == RouteType::Local && route.attributes.contains(&wanted)
            };
            if found.iter().any(own) { Ok(()) } else { Err(format!("no local route among {}", found.len())) }
        });
        Ok(found?)
    }

    fn indices(&self) -> Result<HashMap<u32, String>> {
        let found = self.list("the links", self.handle.link().get().execute().try_collect::<Vec<_>>())?;
        let name = |message: LinkMessage| {
            let index = message.header.index;
            message.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some((index, name)),
                _ => None,
            })
        };
        Ok(found.into_iter().filter_map(name).collect())
    }

    fn list<T>(&self, object: &str, listing: impl Future<Output = Result<T, rtnetlink::Error>>) -> Result<T> {
        self.runtime.block_on(listing).context("list", object)
    }
}

/// The error says what it still waits for.
fn carries(link: &LinkMessage) -> Result<(), String> {
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::OperState(state) if *state != State::Up => {
                return Err(format!("the link is {state:?}"));
            }
            LinkAttribute::LinkInfo(parts) => parts.iter().try_for_each(forwards)?,
            _ => {}
        }
    }
    Ok(())
}

fn forwards(part: &LinkInfo) -> Result<(), String> {
    let LinkInfo::PortData(InfoPortData::BridgePort(settings)) = part else { return Ok(()) };
    settings.iter().try_for_each(|setting| match setting {
        InfoBridgePort::State(state) if *state != BridgePortState::Forwarding => {
            Err(format!("its bridge port is {state:?}"))
        }
        _ => Ok(()),
    })
}

fn route(message: &RouteMessage, names: &HashMap<u32, String>) -> String {
    let header = &message.header;
    let mut text = format!("{:?} /{} table {}", header.kind, header.destination_prefix_length, header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => text.push_str(&format!(" dev {}", name(names, *index))),
            // The rest counts uses and ages, which differ while nothing changes.
            RouteAttribute::Destination(_)
            | RouteAttribute::Gateway(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::PrefSource(_)
            | RouteAttribute::Priority(_)
            | RouteAttribute::Table(_) => text.push_str(&format!(" {attribute:?}")),
            _ => {}
        }
    }
    text
}

fn name(names: &HashMap<u32, String>, index: u32) -> String {
    names.get(&index).cloned().unwrap_or_else(|| format!("link {index}"))
}

const CARRIES_WITHIN: Duration = Duration::from_secs(10);
