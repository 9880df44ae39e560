//! Links, addresses and routes of the namespace that the calling thread is in, by netlink.
//!
//! Everything of the netlink library is behind this folder.

mod listing;

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::net::if_::if_nametoindex;
use record::Prefix;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::runtime::Runtime;

use crate::error::{Context, Result};
use crate::namespace::Namespace;

/// A netlink socket in one namespace.
pub struct Links {
    runtime: Runtime,
    handle: Handle,
}

/// One end of a veth pair in another namespace.
#[derive(Clone, Copy)]
pub struct Peer<'a> {
    /// Its name there.
    pub name: &'a str,
    /// Where.
    pub namespace: &'a Namespace,
}

impl Links {
    /// A socket in the namespace of the calling thread; use it inside [`Namespace::enter`].
    pub fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.context("open", "a netlink socket")?;
        let opened = {
            let _inside = runtime.enter();
            rtnetlink::new_connection()
        };
        let (connection, handle, _) = opened.context("open", "a netlink socket")?;
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    /// Makes a bridge that forwards at once, and sets it up.
    pub fn add_bridge(&self, name: &str, mtu: u32) -> Result<()> {
        let message = LinkBridge::new(name).forward_delay(0).mcast_snooping(false).mtu(mtu).up().build();
        self.runtime.block_on(self.handle.link().add(message).execute()).context("make the bridge", name)
    }

    /// Makes a veth pair: `name` here, the other end where `peer` says.
    pub fn add_veth(&self, name: &str, peer: Peer<'_>, mtu: u32) -> Result<()> {
        let other = LinkUnspec::new_with_name(peer.name)
            .setns_by_fd(peer.namespace.as_fd().as_raw_fd())
            .mtu(mtu)
            .build();
        let pair =
            LinkVeth::new(name, peer.name).mtu(mtu).set_info_data(InfoData::Veth(InfoVeth::Peer(other)));
        self.runtime
            .block_on(self.handle.link().add(pair.build()).execute())
            .context("make the veth pair", name)
    }

    /// Makes `name` a port of `bridge`.
    pub fn enslave(&self, name: &str, bridge: &str) -> Result<()> {
        let controller = index(bridge)?;
        self.change(name, "enslave", |link| link.controller(controller))
    }

    /// Sets a link up.
    pub fn up(&self, name: &str) -> Result<()> {
        self.change(name, "set up", LinkMessageBuilder::up)
    }

    /// Sets a link down.
    pub fn down(&self, name: &str) -> Result<()> {
        self.change(name, "set down", LinkMessageBuilder::down)
    }

    /// Sets a link's MTU, in bytes.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        self.change(name, "set the MTU of", |link| link.mtu(mtu))
    }

    /// Gives `name` an address in a subnet of `length` bits.
    pub fn add_address(&self, name: &str, address: IpAddr, length: u8) -> Result<()> {
        let request = self.handle.address().add(index(name)?, address, length);
        self.runtime
            .block_on(request.execute())
            .context("add an address", format!("{address}/{length} of {name}"))
    }

    /// Routes `prefix` by way of `gateway`.
    pub fn add_route(&self, prefix: Prefix, gateway: IpAddr) -> Result<()> {
        let object = format!("{prefix} via {gateway}");
        let route = self.route(prefix).gateway(gateway).expect("prefix and gateway are of one family");
        self.runtime
            .block_on(self.handle.route().add(route.build()).execute())
            .context("add the route", object)
    }

    /// Makes every address of `prefix` one of this host's own.
    pub fn add_local(&self, prefix: Prefix) -> Result<()> {
        let route = self.route(prefix).output_interface(index("lo")?);
        let route = route.kind(RouteType::Local).scope(RouteScope::Host).table_id(TABLE_LOCAL);
        let request = self.handle.route().add(route.build()).replace();
        self.runtime.block_on(request.execute()).context("add the local route", prefix)
    }

    fn route(&self, prefix: Prefix) -> RouteMessageBuilder<IpAddr> {
        RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.address(), prefix.length())
            .expect("a prefix's length fits its family")
    }

    fn change(&self, name: &str, operation: &'static str, alter: impl FnOnce(Link) -> Link) -> Result<()> {
        let message = alter(LinkUnspec::new_with_index(index(name)?)).build();
        self.runtime.block_on(self.handle.link().set(message).execute()).context(operation, name)
    }
}

/// Sets `/proc/sys/net/SETTING` of the calling thread's namespace; a kernel without the setting is left alone.
pub fn set_sysctl(setting: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{setting}");
    match fs::write(&path, value) {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.context("set", path),
    }
}

fn index(name: &str) -> Result<u32> {
    if_nametoindex(name).context("find the link", name)
}

type Link = LinkMessageBuilder<LinkUnspec>;

/// RT_TABLE_LOCAL of `rtnetlink(7)`.
const TABLE_LOCAL: u32 = 255;
