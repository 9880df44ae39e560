//! The compiler: takes changes, gives what they make of the records.
//!
//! Promises: what it holds after any sequence of changes is what the same inputs give from nothing with the same numbers; a
//! change costs what depends on it ([`Work`] counts that).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use record::record::Network;
use record::{Group, Key, NodeId, Record, TenantId, Vni};

use crate::fabric::Fabric;
use crate::input::{Change, Endpoint, Universe};
use crate::ledger::{Changes, Ledger};
use crate::number::{Numbers, Stored};
use crate::tenant::{Desk, Tenant};
use crate::work::Work;

/// The state of the fabric, as records.
#[derive(Clone, Debug)]
pub struct Compiler {
    numbers: Numbers,
    fabric: Fabric,
    tenants: BTreeMap<TenantId, Tenant>,
    /// Those in which something waits for a group number.
    waiting: BTreeSet<TenantId>,
    ledger: Ledger,
    work: Work,
}

/// Groups that nobody is in any more and that are kept for now; one that was kept twice is in it twice.
pub type Left = Vec<(TenantId, Group)>;

/// What the compiler could not do; until it can, what is concerned is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A tenant has more groups than numbers.
    #[error(
        "tenant {tenant} has used up its 65,280 group numbers: {endpoints} endpoints, and address ranges, have no group and are \
         denied; policies with fewer different selectors, or a rest for freed numbers, bring some back"
    )]
    GroupsExhausted {
        /// Whose.
        tenant: TenantId,
        /// How many endpoints have no group.
        endpoints: usize,
    },
}

impl Compiler {
    /// Knows nothing yet; numbers as they were left, by an earlier run or by another compiler. Where there are any, call
    /// [`Compiler::sweep`] once the inputs are complete.
    pub fn new(numbers: Numbers) -> Self {
        Self {
            numbers: numbers.unclaimed(),
            fabric: Fabric::default(),
            tenants: BTreeMap::new(),
            waiting: BTreeSet::new(),
            ledger: Ledger::default(),
            work: Work::default(),
        }
    }

    /// Takes a batch of changes in, all at once: what lies between its first and its last is seen by nobody.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Changes {
        self.settle(changes, |tenant, desk| {
            tenant.settle(desk);
            Vec::new()
        })
        .0
    }

    /// The same for nodes that do not hear of it all at once: groups that lose their last member stay, with their rules and
    /// whatever others, new ones too, say of them, until a [`Change::Bury`] for each of those that are given back.
    pub fn move_over(&mut self, changes: impl IntoIterator<Item = Change>) -> (Changes, Left) {
        self.settle(changes, Tenant::settle_keeping)
    }

    fn settle(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        settle: impl Fn(&mut Tenant, &mut Desk<'_>) -> Vec<Group>,
    ) -> (Changes, Left) {
        let mut concerned = std::mem::take(&mut self.waiting);
        for change in changes {
            concerned.extend(self.take_in(change));
        }
        let mut left = Left::new();
        for id in concerned {
            self.with_tenant(id, |tenant, desk| {
                left.extend(settle(tenant, desk).into_iter().map(|group| (id, group)));
            });
            let tenant = self.tenants.get(&id);
            if tenant.is_some_and(Tenant::waits) {
                self.waiting.insert(id);
            }
            if tenant.is_some_and(Tenant::is_gone) {
                self.tenants.remove(&id);
            }
        }
        self.work.records_written = self.ledger.written();
        (self.ledger.finish(), left)
    }

    /// Numbers that have changed since the last call: to be stored before the records are sent.
    pub fn drain_numbers(&mut self) -> Vec<Stored> {
        self.numbers.drain()
    }

    /// Tells the time by which freed numbers rest, see [`Numbers::advance`].
    pub fn advance(&mut self, now: u64) {
        self.numbers.advance(now);
    }

    /// The inputs are complete after a restart, see [`Numbers::sweep`].
    pub fn sweep(&mut self) {
        self.numbers.sweep();
    }

    /// The numbers in use.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// All records of the fabric, in order of dependence.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.ledger.records()
    }

    /// One record.
    pub fn record(&self, key: &Key) -> Option<&Record> {
        self.ledger.record(key)
    }

    /// What a node should hold, in order of dependence.
    pub fn records_of(&self, node: NodeId) -> Vec<Arc<Record>> {
        self.ledger.records_of(node)
    }

    /// The nodes that need a record.
    pub fn audience(&self, key: &Key) -> BTreeSet<NodeId> {
        self.ledger.audience(key)
    }

    /// The group of one address of an endpoint; [`Group::UNKNOWN`] where there is none.
    pub fn group(&self, tenant: TenantId, uid: &str, address: IpAddr) -> Group {
        let groups = self.tenants.get(&tenant).and_then(|tenant| tenant.groups_of(uid));
        groups.and_then(|groups| groups.get(&address)).copied().unwrap_or(Group::UNKNOWN)
    }

    /// The group of an address outside the fabric.
    pub fn class(&self, tenant: TenantId, address: IpAddr) -> Group {
        self.tenants.get(&tenant).map_or(Group::WORLD, |tenant| tenant.class_of(address).0)
    }

    /// What a tenant's groups are cut by now: what its policies use, and what is kept.
    pub fn universe(&self, tenant: TenantId) -> Universe {
        self.tenants.get(&tenant).map(Tenant::universe).unwrap_or_default()
    }

    /// What has been done so far.
    pub fn work(&self) -> Work {
        self.work
    }

    /// What could not be done, and is denied for now.
    pub fn problems(&self) -> Vec<Problem> {
        let homeless = |id: &TenantId| self.tenants.get(id).map_or(0, Tenant::homeless);
        let problem = |id: &TenantId| Problem::GroupsExhausted { tenant: *id, endpoints: homeless(id) };
        self.waiting.iter().map(problem).collect()
    }

    pub(crate) fn tenant(&self, id: TenantId) -> Option<&Tenant> {
        self.tenants.get(&id)
    }

    pub(crate) fn network(&self, vni: Vni) -> Option<&Network> {
        self.fabric.network(vni)
    }

    /// Takes one change in. Gives back the tenant that has to be settled.
    fn take_in(&mut self, change: Change) -> Option<TenantId> {
        let ledger = &mut self.ledger;
        match change {
            Change::PutNode(node) => self.fabric.put_node(node, ledger),
            Change::RemoveNode(node) => self.fabric.remove_node(node, ledger),
            Change::PutNetwork(network) => self.fabric.put_network(network, ledger),
            Change::RemoveNetwork(vni) => self.fabric.remove_network(vni, ledger),
            Change::PutBlock(route) => self.fabric.put_block(route, ledger),
            Change::RemoveBlock(vni, prefix) => self.fabric.remove_block(vni, prefix, ledger),
            Change::PutTenant { id, name } => {
                return self.with_tenant(id, |tenant, desk| tenant.put_name(name, desk));
            }
            Change::RemoveTenant(id) => return self.with_tenant(id, Tenant::remove_name),
            Change::PutNamespace(id, namespace) => {
                return self.with_tenant(id, |tenant, desk| tenant.put_namespace(namespace, desk));
            }
            Change::RemoveNamespace(id, name) => {
                return self.with_tenant(id, |tenant, desk| tenant.remove_namespace(&name, desk));
            }
            Change::PutPolicy(id, policy) => {
                return self.with_tenant(id, |tenant, desk| tenant.put_policy(policy, desk));
            }
            Change::RemovePolicy { tenant: id, namespace, name } => {
                return self.with_tenant(id, |tenant, desk| tenant.remove_policy(namespace, name, desk));
            }
            Change::Keep(id, universe) => {
                return self.with_tenant(id, |tenant, desk| tenant.keep(universe, desk));
            }
            Change::Bury(id, group) => return self.with_tenant(id, |tenant, _| tenant.release_group(group)),
            Change::PutEndpoint(endpoint) => return self.put_endpoint(endpoint),
            Change::RemoveEndpoint(id, uid) => return self.remove_endpoint(id, &uid),
        }
        None
    }

    fn put_endpoint(&mut self, endpoint: Endpoint) -> Option<TenantId> {
        let (vni, node) = (endpoint.vni, endpoint.node);
        let mut old = None;
        let id = self.with_tenant(endpoint.tenant, |tenant, desk| old = tenant.put_endpoint(endpoint, desk));
        self.fabric.join(vni, node, &mut self.ledger);
        if let Some(old) = old {
            self.fabric.leave(old.vni, old.node, &mut self.ledger);
        }
        id
    }

    fn remove_endpoint(&mut self, id: TenantId, uid: &str) -> Option<TenantId> {
        let mut old = None;
        let id = self.with_tenant(id, |tenant, desk| old = tenant.remove_endpoint(uid, desk));
        if let Some(old) = old {
            self.fabric.leave(old.vni, old.node, &mut self.ledger);
        }
        id
    }

    /// Lets a tenant act; it has to be settled afterwards.
    fn with_tenant(
        &mut self,
        id: TenantId,
        act: impl FnOnce(&mut Tenant, &mut Desk<'_>),
    ) -> Option<TenantId> {
        let mut desk =
            Desk { tenant: id, numbers: &mut self.numbers, ledger: &mut self.ledger, work: &mut self.work };
        act(self.tenants.entry(id).or_default(), &mut desk);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Endpoint;
    use intent::object::Namespace;
    use record::record::{AddressClass, PortName};
    use record::selector::Selector;
    use record::{Labels, NamedPort, Prefix, Protocol};

    const TENANT: TenantId = TenantId(1);

    /// An endpoint whose named port makes it a group of its own.
    fn endpoint(number: u16) -> Endpoint {
        Endpoint {
            tenant: TENANT,
            uid: number.to_string(),
            vni: Vni::new(1).unwrap(),
            namespace: "shop".into(),
            name: number.to_string(),
            labels: Labels::new(),
            ports: [NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: number }].into(),
            addresses: [address()].into(),
            node: NodeId(1),
        }
    }

    fn address() -> IpAddr {
        "10.0.0.2".parse().unwrap()
    }

    fn group(compiler: &Compiler, number: u16) -> Group {
        compiler.group(TENANT, &number.to_string(), address())
    }

    #[test]
    fn who_gets_no_group_number_is_denied_and_gets_one_when_one_has_rested() {
        let mut compiler = Compiler::new(Numbers::with_groups(10, 3));
        let namespace = Namespace { name: "shop".into(), labels: Labels::new(), network: "default".into() };
        let port = PortName { protocol: Protocol::Tcp, name: "http".into() };
        let names = Universe { ports: [port].into(), ..Universe::default() };
        compiler.apply([
            Change::PutTenant { id: TENANT, name: "t".into() },
            Change::PutNamespace(TENANT, namespace),
            Change::Keep(TENANT, names.clone()),
            Change::PutEndpoint(endpoint(1)),
            Change::PutEndpoint(endpoint(2)),
            Change::PutEndpoint(endpoint(3)),
        ]);
        assert_eq!(group(&compiler, 3), Group::UNKNOWN, "the empty group and two more are all");
        assert_eq!(compiler.problems(), [Problem::GroupsExhausted { tenant: TENANT, endpoints: 1 }]);

        // A range without a number is not the world.
        let prefix: Prefix = "192.0.2.0/24".parse().unwrap();
        let range = Selector::Addresses { prefix, except: BTreeSet::new() };
        compiler.apply([Change::Keep(TENANT, Universe { selectors: [range].into(), ..names })]);
        let class = compiler.record(&Key::AddressClass(TENANT, prefix)).cloned();
        let unknown = AddressClass { tenant: TENANT, prefix, group: Group::UNKNOWN };
        assert_eq!(class, Some(Record::AddressClass(unknown)));

        compiler
            .apply([Change::RemoveEndpoint(TENANT, "1".into()), Change::RemoveEndpoint(TENANT, "2".into())]);
        assert_eq!(group(&compiler, 3), Group::UNKNOWN, "freed numbers rest");
        compiler.advance(10);
        let changes = compiler.apply([]);
        assert!(group(&compiler, 3) >= Group::FIRST);
        assert!(compiler.class(TENANT, "192.0.2.1".parse().unwrap()) >= Group::FIRST);
        assert_eq!(compiler.problems(), []);
        assert!(changes.upserts.iter().any(|record| record.key() == Key::Endpoint(TENANT, "3".into())));
    }
}
