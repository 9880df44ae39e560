//! The delta protocol: how a node comes to hold the records that it should. Sans-I/O: bytes and time belong to the callers.
//!
//! A node says what it holds; the server sends what differs, in order of dependence, as numbered generations; the node
//! acknowledges a generation once the kernel has it, or says what failed. Nothing is kept on the server about a node that is
//! gone: versions follow from content.
//!
//! ```text
//!   node                         server
//!   Hello {held, generation} ->
//!                             <- Welcome {node, ...}
//!                             <- Delta {g, changed, more: true}
//!                             <- Delta {g, changed, removed, more: false}
//!   Ack {g, faults}          ->                       (the next generation is sent when this one is acknowledged)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::inspect::{Answer, Question};
use crate::record::{Key, Record, Version};
use crate::word::{Generation, Labels, NamedPort, NodeId, Prefix, TenantId, Vni};

/// The version of this protocol. A peer of another one is refused with both numbers.
pub const PROTOCOL: u16 = 1;

/// Records in one message at most, so that no message outgrows what a peer reads.
pub const BATCH: usize = 512;

/// The longest message that is read, in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;

/// From a node to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub enum NodeMessage {
    /// The first message of a session.
    #[n(0)]
    Hello(#[n(0)] Hello),
    /// A generation is in the kernel, apart from what failed.
    #[n(1)]
    Ack(#[n(0)] Ack),
    /// An attach waits for a network, or for addresses in it.
    #[n(2)]
    Want(#[n(0)] Want),
    /// A block that the node holds is empty, and it gives it back.
    #[n(3)]
    Release(#[n(0)] Vni, #[n(1)] Prefix),
    /// An endpoint is attached, or has changed.
    #[n(4)]
    Attached(#[n(0)] Report),
    /// An endpoint is gone.
    #[n(5)]
    Detached(#[n(0)] TenantId, #[n(1)] String),
    /// To a [`ServerMessage::Ask`].
    #[n(6)]
    Answer(#[n(0)] u64, #[n(1)] Answer),
}

/// From the server to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub enum ServerMessage {
    /// The session stands.
    #[n(0)]
    Welcome(#[n(0)] NodeId),
    /// The session does not stand: why, and the remedy.
    #[n(1)]
    Rejected(#[n(0)] String),
    /// A part of a generation.
    #[n(2)]
    Delta(#[n(0)] Delta),
    /// A [`Want`] can be met: its records are in a generation that was sent before this.
    #[n(3)]
    Granted(#[n(0)] Grant),
    /// A [`Want`] cannot be met.
    #[n(4)]
    Refused(#[n(0)] u64, #[n(1)] Refusal),
    /// A question for the node's datapath.
    #[n(5)]
    Ask(#[n(0)] u64, #[n(1)] Question),
}

/// Who a node is and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Hello {
    /// [`PROTOCOL`].
    #[n(0)]
    pub protocol: u16,
    /// The node's name, unique in the fabric.
    #[n(1)]
    pub name: String,
    /// Its underlay addresses, at most one of each family, preferred first.
    #[n(2)]
    pub underlay: Vec<IpAddr>,
    /// The generation in its kernel.
    #[n(3)]
    pub generation: Generation,
    /// The records it holds.
    #[n(4)]
    pub held: Vec<(Key, Version)>,
    /// Its endpoints, all of them.
    #[n(5)]
    pub endpoints: Vec<Report>,
    /// Version of the program, and of the kernel.
    #[n(6)]
    pub software: String,
    /// The kernel's release.
    #[n(7)]
    pub kernel: String,
    /// The underlay's MTU in bytes.
    #[n(8)]
    pub mtu: u16,
}

/// A part of a generation. Parts of one generation come in order; the node applies them together when the last is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Delta {
    /// Which.
    #[n(0)]
    pub generation: Generation,
    /// What is new or different, in order of dependence.
    #[n(1)]
    pub changed: Vec<Record>,
    /// What goes, in reverse order of dependence.
    #[n(2)]
    pub removed: Vec<Key>,
    /// Whether another part of this generation follows.
    #[n(3)]
    pub more: bool,
}

/// What became of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Ack {
    /// Which.
    #[n(0)]
    pub generation: Generation,
    /// The records that are not in the kernel, and why. What was in force for them stays.
    #[n(1)]
    pub faults: Vec<Fault>,
}

/// A record that could not be realised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Fault {
    /// Which.
    #[n(0)]
    pub key: Key,
    /// Operation, object and fault.
    #[n(1)]
    pub reason: String,
}

/// What an attach waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Want {
    /// The node's number for this want; the answer carries it.
    #[n(0)]
    pub id: u64,
    /// The tenant's name.
    #[n(1)]
    pub tenant: String,
    /// The namespace's name.
    #[n(2)]
    pub namespace: String,
    /// The network's name; `None`: the namespace's.
    #[n(3)]
    pub network: Option<String>,
    /// Addresses that the endpoint must have; empty: a free one of each family that the network has.
    #[n(4)]
    pub addresses: Vec<IpAddr>,
    /// The endpoint's name: taken elsewhere in the fabric, it is refused.
    #[n(5)]
    pub endpoint: String,
    /// The attachment that wants it.
    #[n(6)]
    pub uid: String,
}

/// A want that can be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Grant {
    /// The [`Want::id`].
    #[n(0)]
    pub id: u64,
    /// The tenant.
    #[n(1)]
    pub tenant: TenantId,
    /// The network.
    #[n(2)]
    pub vni: Vni,
}

/// Why a want cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Refusal {
    /// For a program.
    #[n(0)]
    pub kind: RefusalKind,
    /// What was wrong, with the object and the value.
    #[n(1)]
    pub message: String,
    /// What to do.
    #[n(2)]
    pub remedy: String,
}

/// What kind of fault a [`Refusal`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum RefusalKind {
    /// No such tenant, namespace or network.
    #[n(0)]
    NotFound,
    /// The name or the address is another's.
    #[n(1)]
    Taken,
    /// No address is left.
    #[n(2)]
    Exhausted,
    /// A value is wrong.
    #[n(3)]
    Invalid,
    /// It may work later.
    #[n(4)]
    Unavailable,
}

/// An endpoint as its node attached it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Report {
    /// The attachment's identity, unique in the fabric.
    #[n(0)]
    pub uid: String,
    /// Whose.
    #[n(1)]
    pub tenant: TenantId,
    /// In which network.
    #[n(2)]
    pub vni: Vni,
    /// In which namespace.
    #[n(3)]
    pub namespace: String,
    /// Its name.
    #[n(4)]
    pub name: String,
    /// Its labels.
    #[n(5)]
    pub labels: Labels,
    /// Its named ports.
    #[n(6)]
    pub ports: Vec<NamedPort>,
    /// Its addresses, at most one of each family.
    #[n(7)]
    pub addresses: Vec<IpAddr>,
    /// Ports of the node that lead to it: (protocol number, node's port, endpoint's port).
    #[n(8)]
    pub published: Vec<(u8, u16, u16)>,
    /// The addresses by which processes of its node reach it, in the order of `addresses`; they mean nothing elsewhere.
    #[n(9)]
    #[cbor(default)]
    #[serde(default)]
    pub host_addresses: Vec<IpAddr>,
}

/// The server's side of one node's records.
///
/// Give it what the node should hold ([`Publisher::want`]); take what to send ([`Publisher::next`]); tell it what came back
/// ([`Publisher::acknowledge`]). One generation is under way at a time: what changes meanwhile is one generation later, so a
/// slow node is sent the newest state and not every one between. Work is proportional to what changed.
#[derive(Debug)]
pub struct Publisher {
    /// Shared with whoever gave them: most records are many nodes'.
    wanted: BTreeMap<Key, Arc<Record>>,
    /// What the node holds, as far as it has acknowledged or said.
    held: BTreeMap<Key, Version>,
    /// Keys for which `wanted` and `held` may differ; no other key differs.
    suspects: BTreeSet<Key>,
    under_way: Option<UnderWay>,
    acknowledged: Generation,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct UnderWay {
    generation: Generation,
    changed: Vec<(Key, Version)>,
    removed: Vec<Key>,
}

impl Publisher {
    /// A session that began with this hello.
    pub fn new(hello: &Hello) -> Self {
        let held: BTreeMap<Key, Version> = hello.held.iter().cloned().collect();
        Self {
            wanted: BTreeMap::new(),
            suspects: held.keys().cloned().collect(),
            held,
            under_way: None,
            acknowledged: hello.generation,
            faults: Vec::new(),
        }
    }

    /// Replaces or adds one record of the wanted state.
    pub fn want(&mut self, record: impl Into<Arc<Record>>) {
        let record = record.into();
        let key = record.key();
        self.suspects.insert(key.clone());
        self.wanted.insert(key, record);
    }

    /// Takes one record out of the wanted state.
    pub fn drop_key(&mut self, key: &Key) {
        if self.wanted.remove(key).is_some() {
            self.suspects.insert(key.clone());
        }
    }

    /// The wanted state.
    pub fn wanted(&self) -> &BTreeMap<Key, Arc<Record>> {
        &self.wanted
    }

    /// The newest generation that the node has acknowledged.
    pub fn acknowledged(&self) -> Generation {
        self.acknowledged
    }

    /// What the node could not realise of it.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether the node holds all that is wanted, nothing else, and nothing failed.
    pub fn is_level(&self) -> bool {
        self.under_way.is_none()
            && self.faults.is_empty()
            && !self.suspects.iter().any(|key| self.differs(key))
    }

    /// The parts of the next generation, numbered `generation`; empty when one is under way or nothing differs.
    pub fn next(&mut self, generation: Generation) -> Vec<Delta> {
        if self.under_way.is_some() {
            return Vec::new();
        }
        let mut suspects = std::mem::take(&mut self.suspects);
        suspects.retain(|key| self.differs(key));
        if suspects.is_empty() {
            return Vec::new();
        }
        // What failed is tried again with every change: the change may have made room for it.
        suspects.extend(self.faults.iter().map(|fault| fault.key.clone()));
        let differing: Vec<Key> = suspects.into_iter().filter(|key| self.differs(key)).collect();
        let changed = differing.iter().filter_map(|key| self.wanted.get(key));
        let changed: Vec<Record> = changed.map(|record| Record::clone(record)).collect();
        let removed: Vec<Key> =
            differing.into_iter().rev().filter(|key| !self.wanted.contains_key(key)).collect();
        self.under_way = Some(UnderWay {
            generation,
            changed: changed.iter().map(|record| (record.key(), record.version())).collect(),
            removed: removed.clone(),
        });
        parts(generation, changed, removed)
    }

    /// Takes the node's word on a generation. `false`: it speaks of one that is not under way, and nothing changed.
    pub fn acknowledge(&mut self, ack: Ack) -> bool {
        let Some(done) = self.under_way.take_if(|under_way| under_way.generation == ack.generation) else {
            return false;
        };
        let failed: BTreeSet<&Key> = ack.faults.iter().map(|fault| &fault.key).collect();
        for (key, version) in done.changed {
            if failed.contains(&key) {
                // What the node holds for it now is not known to be anything.
                self.held.remove(&key);
            } else {
                self.held.insert(key, version);
            }
        }
        for key in done.removed {
            if !failed.contains(&key) {
                self.held.remove(&key);
            }
        }
        self.acknowledged = ack.generation;
        self.faults = ack.faults;
        true
    }

    /// Lets what failed be sent again although nothing else has changed. The caller paces it.
    pub fn retry(&mut self) {
        self.suspects.extend(self.faults.iter().map(|fault| fault.key.clone()));
    }

    fn differs(&self, key: &Key) -> bool {
        self.wanted.get(key).map(|record| record.version()) != self.held.get(key).copied()
    }
}

/// Cuts a generation into messages of at most [`BATCH`] items.
fn parts(generation: Generation, changed: Vec<Record>, removed: Vec<Key>) -> Vec<Delta> {
    let mut deltas: Vec<Delta> = changed
        .chunks(BATCH)
        .map(|records| Delta { generation, changed: records.to_vec(), removed: Vec::new(), more: true })
        .chain(removed.chunks(BATCH).map(|keys| Delta {
            generation,
            changed: Vec::new(),
            removed: keys.to_vec(),
            more: true,
        }))
        .collect();
    if let Some(last) = deltas.last_mut() {
        last.more = false;
    }
    deltas
}

/// The node's side: collects the parts of a generation and refuses what is out of order.
#[derive(Debug, Default)]
pub struct Subscriber {
    generation: Generation,
    gathering: Option<Delta>,
}

/// A message that the protocol does not allow; the session ends and begins anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// Older than what is held, or the same.
    #[error("generation {offered} was sent, but {held} is held already")]
    Older {
        /// What came.
        offered: Generation,
        /// What is held.
        held: Generation,
    },
    /// A part of another generation came before the last part of this one.
    #[error("generation {began} was not complete when a part of {came} came")]
    Mixed {
        /// What was under way.
        began: Generation,
        /// What came.
        came: Generation,
    },
}

impl Subscriber {
    /// A node that holds this generation.
    pub fn new(generation: Generation) -> Self {
        Self { generation, gathering: None }
    }

    /// The generation that is held.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes a part. The whole generation comes back when it was the last.
    pub fn receive(&mut self, part: Delta) -> Result<Option<Delta>, OutOfOrder> {
        if part.generation <= self.generation {
            return Err(OutOfOrder::Older { offered: part.generation, held: self.generation });
        }
        let more = part.more;
        match &mut self.gathering {
            Some(whole) if whole.generation != part.generation => {
                return Err(OutOfOrder::Mixed { began: whole.generation, came: part.generation });
            }
            Some(whole) => {
                whole.changed.extend(part.changed);
                whole.removed.extend(part.removed);
            }
            None => self.gathering = Some(part),
        }
        if more {
            return Ok(None);
        }
        let whole = self.gathering.take().map(|whole| Delta { more: false, ..whole });
        if let Some(whole) = &whole {
            self.generation = whole.generation;
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Tenant, decode, encode};
    use proptest::prelude::*;

    fn tenant(id: u32, name: &str) -> Record {
        Record::Tenant(Tenant { id: TenantId(id), name: name.to_owned(), port_names: BTreeSet::new() })
    }

    fn hello(held: Vec<(Key, Version)>) -> Hello {
        Hello {
            protocol: PROTOCOL,
            name: "n1".into(),
            underlay: vec!["192.0.2.1".parse().unwrap()],
            generation: Generation(0),
            held,
            endpoints: Vec::new(),
            software: String::new(),
            kernel: String::new(),
            mtu: 1500,
        }
    }

    /// A [`Report`] as releases before the host's addresses send and keep it.
    #[derive(Encode, Decode)]
    struct OldReport {
        #[n(0)]
        uid: String,
        #[n(1)]
        tenant: TenantId,
        #[n(2)]
        vni: Vni,
        #[n(3)]
        namespace: String,
        #[n(4)]
        name: String,
        #[n(5)]
        labels: Labels,
        #[n(6)]
        ports: Vec<NamedPort>,
        #[n(7)]
        addresses: Vec<IpAddr>,
        #[n(8)]
        published: Vec<(u8, u16, u16)>,
    }

    #[test]
    fn a_report_without_the_hosts_addresses_is_read_and_one_with_them_by_older_releases_too() {
        let report = Report {
            uid: "u".into(),
            tenant: TenantId(1),
            vni: Vni::new(5).unwrap(),
            namespace: "shop".into(),
            name: "web".into(),
            labels: Labels::default(),
            ports: Vec::new(),
            addresses: vec!["10.0.0.2".parse().unwrap()],
            published: vec![(6, 8080, 80)],
            host_addresses: vec!["100.64.0.3".parse().unwrap()],
        };
        let old: OldReport = decode(&encode(&report)).unwrap();
        assert_eq!((&old.addresses, &old.published), (&report.addresses, &report.published));
        let read: Report = decode(&encode(&old)).unwrap();
        assert_eq!(read, Report { host_addresses: Vec::new(), ..report.clone() });
        assert_eq!(decode::<Report>(&encode(&report)).unwrap(), report);
    }

    #[test]
    fn a_failed_record_is_sent_again_and_what_succeeded_is_not() {
        let mut publisher = Publisher::new(&hello(Vec::new()));
        publisher.want(tenant(1, "a"));
        publisher.want(tenant(2, "b"));
        assert_eq!(publisher.next(Generation(1)).len(), 1);
        let fault = Fault { key: Key::Tenant(TenantId(2)), reason: "map full".into() };
        assert!(publisher.acknowledge(Ack { generation: Generation(1), faults: vec![fault] }));
        assert!(!publisher.is_level());
        assert!(publisher.next(Generation(2)).is_empty(), "nothing is sent again at once");
        publisher.retry();
        let again = publisher.next(Generation(2));
        assert_eq!(again[0].changed, vec![tenant(2, "b")]);
    }

    #[test]
    fn a_record_that_many_nodes_hold_is_in_memory_once() {
        let record = Arc::new(tenant(1, "a"));
        let mut publishers = [Publisher::new(&hello(Vec::new())), Publisher::new(&hello(Vec::new()))];
        for publisher in &mut publishers {
            publisher.want(Arc::clone(&record));
            publisher.next(Generation(1));
            assert!(Arc::ptr_eq(&publisher.wanted()[&record.key()], &record));
        }
        assert_eq!(Arc::strong_count(&record), 3);
    }

    #[test]
    fn an_ack_of_another_generation_changes_nothing() {
        let mut publisher = Publisher::new(&hello(Vec::new()));
        publisher.want(tenant(1, "a"));
        publisher.next(Generation(5));
        assert!(!publisher.acknowledge(Ack { generation: Generation(4), faults: Vec::new() }));
        assert!(publisher.next(Generation(6)).is_empty(), "one generation is under way at a time");
    }

    #[test]
    fn an_older_generation_is_refused() {
        let mut subscriber = Subscriber::new(Generation(7));
        let delta =
            Delta { generation: Generation(7), changed: Vec::new(), removed: Vec::new(), more: false };
        assert_eq!(
            subscriber.receive(delta),
            Err(OutOfOrder::Older { offered: Generation(7), held: Generation(7) })
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Want(u32, u8),
        Drop(u32),
        Exchange,
        Reconnect,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0u32..700, 0u8..3).prop_map(|(id, name)| Step::Want(id, name)),
            (0u32..700).prop_map(Step::Drop),
            Just(Step::Exchange),
            Just(Step::Reconnect),
        ];
        proptest::collection::vec(step, 1..200)
    }

    /// One generation from publisher to node, over the wire's encoding.
    fn exchange(
        publisher: &mut Publisher,
        subscriber: &mut Subscriber,
        node: &mut BTreeMap<Key, Record>,
        generation: u64,
    ) {
        for part in publisher.next(Generation(generation)) {
            let part: Delta = decode(&encode(&part)).unwrap();
            if let Some(whole) = subscriber.receive(part).unwrap() {
                node.retain(|key, _| !whole.removed.contains(key));
                node.extend(whole.changed.into_iter().map(|record| (record.key(), record)));
                assert!(publisher.acknowledge(Ack { generation: whole.generation, faults: Vec::new() }));
            }
        }
    }

    proptest! {
        #[test]
        fn a_node_ends_with_what_is_wanted_whatever_happened_before(steps in steps()) {
            let mut publisher = Publisher::new(&hello(Vec::new()));
            let mut subscriber = Subscriber::default();
            let mut node: BTreeMap<Key, Record> = BTreeMap::new();
            let mut generation = 0;
            for step in steps {
                match step {
                    Step::Want(id, name) => publisher.want(tenant(id, &name.to_string())),
                    Step::Drop(id) => publisher.drop_key(&Key::Tenant(TenantId(id))),
                    Step::Exchange => {
                        generation += 1;
                        exchange(&mut publisher, &mut subscriber, &mut node, generation);
                    }
                    Step::Reconnect => {
                        let held = node.values().map(|record| (record.key(), record.version())).collect();
                        let mut again = Publisher::new(&hello(held));
                        publisher.wanted().values().cloned().for_each(|record| again.want(record));
                        publisher = again;
                    }
                }
            }
            generation += 1;
            exchange(&mut publisher, &mut subscriber, &mut node, generation);
            prop_assert!(publisher.is_level());
            let wanted = publisher.wanted().iter().map(|(key, record)| (key.clone(), Record::clone(record)));
            let wanted: BTreeMap<Key, Record> = wanted.collect();
            prop_assert_eq!(&node, &wanted);
            let sent: BTreeSet<_> = publisher.next(Generation(generation + 1)).into_iter().map(|part| part.generation).collect();
            prop_assert!(sent.is_empty(), "a level node is sent nothing");
        }
    }
}
