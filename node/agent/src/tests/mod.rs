//! The agent against a kernel in memory: every request, every step at which it can be killed, every message of a session.

mod attach;
mod crash;
mod door;
mod session;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use record::delta::Delta;
use record::door::{Attach, Attached, Detach, Door, Refusal};
use record::{Generation, Key, NodeId, Record};
use tempfile::TempDir;

use crate::attachment::{Attachment, Groups, Step};
use crate::config::Config;
use crate::journal::Journal;
use crate::kernel::memory::Memory;
use crate::node::Node;
use crate::testing::World;

/// A node on a table: a folder for its files, a kernel in memory, no server.
struct Bench {
    folder: TempDir,
    kernel: Arc<Memory>,
    node: Arc<Node>,
}

impl Bench {
    /// A node that holds nothing.
    async fn empty() -> Self {
        Self::begin(TempDir::new().unwrap(), Arc::default()).await
    }

    /// A node that holds the small world.
    async fn new() -> Self {
        Self::of(&World::new()).await
    }

    async fn of(world: &World) -> Self {
        let bench = Self::empty().await;
        bench.node.number(NodeId(1)).await.unwrap();
        bench.take_over(1, world.list(), &[]).await;
        bench
    }

    async fn begin(folder: TempDir, kernel: Arc<Memory>) -> Self {
        let (journal, contents) = Journal::open(&folder.path().join("agent.redb")).unwrap();
        let shared: Arc<Memory> = Arc::clone(&kernel);
        let node = crate::book(config(&folder), shared, journal, contents);
        node.resume().await.unwrap();
        node.bury().await;
        Self { folder, kernel, node }
    }

    /// As a process that is killed and started again: the kernel and the files stay.
    async fn restart(self) -> Self {
        let Self { folder, kernel, node } = self;
        node.journal.close();
        drop(node);
        kernel.revive();
        Self::begin(folder, kernel).await
    }

    async fn attach(&self, request: Attach) -> Result<Attached, Refusal> {
        Arc::clone(&self.node).attach(request).await
    }

    async fn detach(&self, container: &str) -> Result<(), Refusal> {
        Arc::clone(&self.node).detach(detach(container)).await
    }

    async fn take_over(&self, generation: u64, changed: Vec<Record>, removed: &[Key]) -> record::delta::Ack {
        let generation = Generation(generation);
        self.node.take_over(Delta { generation, changed, removed: removed.to_vec(), more: false }).await
    }

    fn tombstones(&self) -> PathBuf {
        let folder = self.node.config.tombstones();
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Asserts that book and kernel tell of the very same things.
    fn assert_agreement(&self) {
        let ledger = self.node.ledger();
        let attached: BTreeMap<u32, &Attachment> =
            ledger.all().map(|kept| (kept.attachment.number, &kept.attachment)).collect();
        assert!(attached.values().all(|attachment| attachment.step == Step::Attached), "{attached:#?}");
        let kernel = self.kernel.state.lock();
        let links: BTreeMap<u32, (String, String)> = attached
            .iter()
            .map(|(number, attachment)| {
                let request = &attachment.request;
                (*number, (request.netns.display().to_string(), request.interface.clone()))
            })
            .collect();
        assert_eq!(kernel.links, links, "links");
        assert!(kernel.up.iter().eq(links.keys()), "links that are up");
        let groups: BTreeMap<u32, Groups> = attached
            .iter()
            .map(|(number, attachment)| (*number, ledger.held.groups_of(attachment)))
            .collect();
        assert_eq!(kernel.endpoints, groups, "endpoints and their groups");
        let published: BTreeMap<(u8, u16), u32> = attached
            .iter()
            .flat_map(|(number, attachment)| {
                let port = |publish: &record::door::Publish| (publish.protocol.number(), publish.host_port);
                attachment.request.publish.iter().map(move |publish| (port(publish), *number))
            })
            .collect();
        assert_eq!(kernel.published, published, "published ports");
        let records: BTreeMap<Key, Record> =
            ledger.held.records().map(|record| (record.key(), record.clone())).collect();
        assert_eq!(kernel.records, records, "records in force");
        let mut addresses: Vec<_> = attached.values().flat_map(|attachment| attachment.ips()).collect();
        addresses.sort();
        let used: Vec<_> = ledger.used(crate::testing::vni()).into_iter().flatten().copied().collect();
        assert_eq!(used, addresses, "addresses in use");
    }
}

fn config(folder: &TempDir) -> Config {
    Config {
        node: "n1".to_owned(),
        state_dir: folder.path().to_owned(),
        socket: folder.path().join("agent.sock"),
        server: stream::Address::Unix(folder.path().join("server.sock")),
        ..Config::default()
    }
}

fn detach(container: &str) -> Detach {
    Detach { door: Door::Cni, container: container.to_owned(), interface: None }
}
