//! One node's way out: what it should hold, what is under way to it, and how far it has come.
//!
//! Every change of what a node should hold carries an [`Epoch`]. Promises: [`Outlet::has`] an epoch only when the node has
//! acknowledged a generation that was cut at or after it; a node that comes back starts from what it says it holds.

use std::sync::Arc;

use compile::Delivery;
use record::Generation;
use record::delta::{Ack, Delta, Fault, Hello, Publisher};

/// A step of the fabric as a whole. Larger is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(pub(crate) u64);

/// See the module.
#[derive(Debug)]
pub(crate) struct Outlet {
    publisher: Publisher,
    connected: bool,
    /// It missed a barrier and nobody waits for it until it is level.
    lagging: bool,
    wanted: Epoch,
    under_way: Option<(Generation, Epoch)>,
    reached: Epoch,
    newest: Generation,
}

impl Outlet {
    /// A node that nobody has heard of yet.
    pub(crate) fn absent() -> Self {
        Self {
            publisher: Publisher::new(&nobody()),
            connected: false,
            lagging: false,
            wanted: Epoch::default(),
            under_way: None,
            reached: Epoch::default(),
            newest: Generation::default(),
        }
    }

    /// The node is there, and holds what it says. The epoch is a new one: until the node has reached it, nothing is known of it.
    pub(crate) fn connect(&mut self, hello: &Hello, epoch: Epoch) {
        let mut publisher = Publisher::new(hello);
        self.publisher.wanted().values().cloned().for_each(|record| publisher.want(record));
        self.publisher = publisher;
        self.connected = true;
        self.lagging = false;
        self.under_way = None;
        self.wanted = epoch;
        self.reached = Epoch::default();
        self.newest = hello.generation;
    }

    /// The node is not heard any more. It still should hold what it should.
    pub(crate) fn disconnect(&mut self) {
        self.connected = false;
        self.under_way = None;
    }

    /// Whether the node is there.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Changes what the node should hold.
    pub(crate) fn deliver(&mut self, delivery: &Delivery, epoch: Epoch) {
        for record in &delivery.upserts {
            self.publisher.want(Arc::clone(record));
        }
        for key in &delivery.removals {
            self.publisher.drop_key(key);
        }
        self.wanted = epoch;
    }

    /// The next generation to send, if one is due; `number` is called once for it.
    pub(crate) fn next(&mut self, number: impl FnOnce() -> Generation) -> Vec<Delta> {
        if !self.connected || self.under_way.is_some() || self.reached == self.wanted {
            return Vec::new();
        }
        self.cut(number)
    }

    fn cut(&mut self, number: impl FnOnce() -> Generation) -> Vec<Delta> {
        let generation = number();
        let parts = self.publisher.next(generation);
        if parts.is_empty() {
            self.reach(self.wanted);
        } else {
            self.under_way = Some((generation, self.wanted));
            self.newest = generation;
        }
        parts
    }

    /// Sends what failed once more, if anything did and nothing is under way.
    pub(crate) fn retry(&mut self, number: impl FnOnce() -> Generation) -> Vec<Delta> {
        if !self.connected || self.under_way.is_some() || self.publisher.faults().is_empty() {
            return Vec::new();
        }
        self.publisher.retry();
        self.cut(number)
    }

    /// Takes the node's word on a generation. `false`: it was not under way.
    pub(crate) fn acknowledge(&mut self, ack: Ack) -> bool {
        let Some((_, epoch)) = self.under_way.take_if(|(generation, _)| *generation == ack.generation) else {
            return false;
        };
        self.publisher.acknowledge(ack);
        self.reach(epoch);
        true
    }

    fn reach(&mut self, epoch: Epoch) {
        self.reached = epoch;
        if self.reached == self.wanted {
            self.lagging = false;
        }
    }

    /// Whether the node has come as far as this. What it could not realise is among [`Outlet::faults`].
    pub(crate) fn has(&self, epoch: Epoch) -> bool {
        self.reached >= epoch
    }

    /// Whether a barrier waits for it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.connected && !self.lagging
    }

    /// It missed a barrier.
    pub(crate) fn lag(&mut self) {
        self.lagging = true;
    }

    /// When what it should hold changed last.
    pub(crate) fn wanted(&self) -> Epoch {
        self.wanted
    }

    /// The newest generation that was sent to it, and the newest it has acknowledged.
    pub(crate) fn generations(&self) -> (Generation, Generation) {
        (self.newest, self.publisher.acknowledged())
    }

    /// What it could not realise.
    pub(crate) fn faults(&self) -> &[Fault] {
        self.publisher.faults()
    }

    /// Whether it holds what it should.
    pub(crate) fn is_level(&self) -> bool {
        self.connected && self.reached == self.wanted && self.publisher.is_level()
    }

    /// How many records it should hold.
    pub(crate) fn size(&self) -> usize {
        self.publisher.wanted().len()
    }
}

/// What a node that has never said anything holds.
fn nobody() -> Hello {
    Hello {
        protocol: record::delta::PROTOCOL,
        name: String::new(),
        underlay: Vec::new(),
        generation: Generation::default(),
        held: Vec::new(),
        endpoints: Vec::new(),
        software: String::new(),
        kernel: String::new(),
        mtu: 0,
    }
}
