//! What a server learns from nodes that know more than its store: leases that it has lost.
//!
//! Promises: an address that a node says it uses is leased to that node before any other can get it, if no other node's lease is in
//! the way; while a restored server listens, a lease of the backup that another node contradicts is taken apart to what its holder is
//! known to use.

use std::net::IpAddr;

use compile::Change;
use record::delta::{Hello, Report, ServerMessage};
use record::record::{Route, Subnet};
use record::{Key, NodeId, Prefix, Vni};

use super::{Fleet, SessionId};
use crate::restoration::Restoration;

impl Fleet {
    /// Leases to a node what its endpoints use and nobody holds: the whole block, if the node says that it has that.
    pub(super) fn adopt(&mut self, node: NodeId, hello: &Hello) {
        let blocks: Vec<(Vni, Prefix)> = hello
            .held
            .iter()
            .filter_map(|(key, _)| match key {
                Key::Route(vni, prefix) => Some((*vni, *prefix)),
                _ => None,
            })
            .collect();
        for report in &hello.endpoints {
            for address in &report.addresses {
                let around = |(vni, block): &&(Vni, Prefix)| *vni == report.vni && block.contains(*address);
                let block = blocks.iter().find(around).map(|(_, block)| *block);
                self.adopt_address(node, report, *address, block);
            }
        }
    }

    fn adopt_address(&mut self, node: NodeId, report: &Report, address: IpAddr, held: Option<Prefix>) {
        let Some(subnet) = self.subnet_around(report, address) else { return };
        let vni = report.vni;
        match self.blocks.get(&vni).and_then(|blocks| blocks.holder(address)) {
            Some((_, holder)) if holder == node => return,
            Some((block, holder)) if self.is_listening() => self.take_apart(vni, block, holder, address),
            // Whoever hands the address out is here: which of the two is wrong is told where the endpoint is taken in.
            Some(_) => return,
            None => {}
        }
        let blocks = self.blocks.entry(vni).or_default();
        let whole = held.filter(|block| subnet.prefix.covers(*block));
        let adopted = whole.into_iter().chain([Prefix::host(address)]);
        let Some(prefix) = adopted.into_iter().find(|prefix| blocks.adopt(*prefix, node)) else { return };
        self.changes.push(Change::PutBlock(Route { vni, prefix, node }));
        self.leases_changed.insert(vni);
        let node = self.node_name(node);
        tracing::warn!(node, %vni, %prefix, "the node uses addresses that the store has leased to nobody; they are the node's");
    }

    /// The subnet that the address of an endpoint should be in, if its network is the one that it names.
    fn subnet_around(&self, report: &Report, address: IpAddr) -> Option<Subnet> {
        let (tenant, network) = self.network(report.vni)?;
        let owner = self.directory.find(tenant)?.id;
        let subnet = network.subnets().iter().find(|subnet| subnet.assignable(address))?;
        (owner == report.tenant).then_some(*subnet)
    }

    /// A block of the backup that another node uses was given back since: its former holder keeps what it is known to use.
    fn take_apart(&mut self, vni: Vni, block: Prefix, holder: NodeId, but: IpAddr) {
        let stale = self.endpoints.at(vni, but).filter(|stale| stale.node == holder);
        if let Some(uid) = stale.map(|stale| stale.report.uid.clone()) {
            self.detached(holder, &uid);
        }
        let used = self.endpoints.on(holder).filter(|observed| observed.report.vni == vni);
        let used: Vec<IpAddr> = used
            .flat_map(|observed| observed.report.addresses.iter().copied())
            .filter(|address| block.contains(*address) && *address != but)
            .collect();
        let Some(blocks) = self.blocks.get_mut(&vni) else { return };
        blocks.release(block, holder);
        self.changes.push(Change::RemoveBlock(vni, block));
        for prefix in used.into_iter().map(Prefix::host) {
            if blocks.adopt(prefix, holder) {
                self.changes.push(Change::PutBlock(Route { vni, prefix, node: holder }));
            }
        }
        self.leases_changed.insert(vni);
    }

    /// Whether a restored server still hears what nodes hold.
    pub(super) fn is_listening(&self) -> bool {
        matches!(self.restoration, Some(Restoration::Listening(_)))
    }

    /// What a node is told meanwhile: it goes on with what it holds, and comes again.
    pub(super) fn put_off(&mut self, session: SessionId) {
        let why = "the server was restored from a backup and hears first what every node holds; it takes this node in some seconds";
        self.send(session, ServerMessage::Rejected(why.to_owned()));
        self.effects.ended.push(session);
        self.closed(session);
    }

    /// Ends the listening when its time is over, and the memory of the restoration when nodes have none.
    pub(super) fn tell_restoration(&mut self) {
        let lived = self.lived_before + self.now / 1_000;
        let next = match self.restoration {
            Some(Restoration::Listening(until)) if self.now >= until => {
                tracing::info!(
                    "the restored server has heard the nodes that are there, and takes them in now"
                );
                Some(Restoration::Remembered(lived + self.stage.compiler().numbers().memory()))
            }
            Some(Restoration::Remembered(until)) if lived >= until => None,
            _ => return,
        };
        self.restoration = next;
        self.writes.extend([Restoration::write(next)]);
    }
}
