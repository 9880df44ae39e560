//! In which order a change reaches the nodes.
//!
//! Owns: the compiler, what each node should hold, and the barriers between the steps of a change
//! (`docs/design/0003-stages.md`). Sans-I/O: time and messages come as arguments, what to send is asked for.
//!
//! ```text
//!   anything but policy      makers ──> movers ──> leftovers          one parcel; ──> is a barrier
//!                            (a group that its last member leaves stays in what is compiled until the leftovers)
//!   a policy                 refine: the groups cut by old and new policies alike, a parcel as above
//!                            flip: the rules, in one generation on each node
//!                            coarsen: the groups cut by the new policies alone, a parcel as above
//!                            (while groups are cut anew, endpoints that come or change wait for their groups)
//! ```
//!
//! Promises:
//! - At no moment is a pair judged by anything but the old policy or the new one: a group's number is used by a sender only after
//!   every node concerned that is heard can judge it, and is forgotten by receivers only after no sender uses it.
//! - A barrier waits for nodes that are connected, and for a bounded time; who missed one is not waited for again until it is
//!   level. A node that has not heard of a number fails closed.
//! - A later change overtakes what an earlier one still holds back about the same record.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use compile::{Change, Compiler, Delivery, Left, Universe};
use intent::policy::NetworkPolicy;
use record::delta::{Ack, Delta, Hello};
use record::{Generation, Key, NodeId, TenantId};

use crate::outlet::{Epoch, Outlet};

/// Milliseconds of a clock that never goes back.
pub(crate) type Millis = u64;

/// A policy's tenant, namespace and name.
pub(crate) type PolicyName = (TenantId, String, String);

/// See the module.
pub(crate) struct Stage {
    compiler: Compiler,
    policies: BTreeMap<PolicyName, NetworkPolicy>,
    outlets: BTreeMap<NodeId, Outlet>,
    epoch: Epoch,
    start: u32,
    count: u32,
    parcels: BTreeMap<ParcelId, Parcel>,
    next_parcel: ParcelId,
    /// Which parcel will say next what a node should hold for a key.
    held_back: BTreeMap<(NodeId, Key), ParcelId>,
    turns: BTreeMap<TenantId, Turn>,
    /// Endpoints and namespaces that wait for a turn's step, in order.
    held: BTreeMap<TenantId, Vec<Change>>,
    /// The policies that every node concerned has, and those that are on their way.
    flipped: Vec<(PolicyName, Touched)>,
}

/// The nodes that a step told something, and when.
pub(crate) type Touched = BTreeMap<NodeId, Epoch>;

type ParcelId = u64;
type Step = BTreeMap<NodeId, Delivery>;

/// One change on its way.
struct Parcel {
    tenants: BTreeSet<TenantId>,
    later: VecDeque<(Step, Millis)>,
    /// Groups that lost their last member by it. Senders use them until they have moved, so they are compiled, and told of in
    /// whatever is made meanwhile, until the last step.
    left: Left,
    waiting: Touched,
    deadline: Millis,
}

/// A tenant's policies on their way.
#[derive(Default)]
struct Turn {
    phase: Phase,
    /// What this turn changes.
    changes: BTreeMap<PolicyName, Option<NetworkPolicy>>,
    /// What the next one will.
    next: BTreeMap<PolicyName, Option<NetworkPolicy>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    /// Parcels of the tenant that began before are awaited.
    Clearing(ParcelId),
    Refining(ParcelId),
    Flipping(ParcelId),
    /// The same as clearing, before the groups are cut anew.
    Settling(ParcelId),
    Coarsening(ParcelId),
}

impl Phase {
    /// Whether endpoints wait before they are given groups: a group that is made while the others are being cut anew would have
    /// no rows for those that senders still use.
    fn holds(self) -> bool {
        !matches!(self, Self::Idle | Self::Flipping(_))
    }
}

impl Stage {
    /// Begins with what the compiler has been told already. `start` is the count of the server's starts: generations follow it.
    pub(crate) fn new(compiler: Compiler, start: u32) -> Self {
        Self {
            compiler,
            policies: BTreeMap::new(),
            outlets: BTreeMap::new(),
            epoch: Epoch(1),
            start,
            count: 0,
            parcels: BTreeMap::new(),
            next_parcel: 0,
            held_back: BTreeMap::new(),
            turns: BTreeMap::new(),
            held: BTreeMap::new(),
            flipped: Vec::new(),
        }
    }

    /// Takes in the inputs as they are at a start: nobody is connected, so there is nothing to keep apart. Says which nodes are to
    /// be told something.
    pub(crate) fn load(&mut self, changes: Vec<Change>) -> Touched {
        for change in &changes {
            if let Change::PutPolicy(tenant, policy) = change {
                let name = (*tenant, policy.namespace.clone(), policy.name.clone());
                self.policies.insert(name, policy.clone());
            }
        }
        let step = self.compiler.apply(changes).nodes;
        let touched = self.tell(&step);
        self.flipped.extend(self.policies.keys().map(|name| (name.clone(), touched.clone())));
        touched
    }

    /// Takes in changes of anything but policies. Says which nodes were told something at once, and when.
    pub(crate) fn apply(&mut self, changes: Vec<Change>, now: Millis) -> Touched {
        let changes: Vec<Change> = changes.into_iter().filter_map(|change| self.hold(change)).collect();
        if changes.is_empty() {
            return Touched::new();
        }
        let touched = self.move_over(changes, now);
        self.advance(now);
        touched
    }

    /// Keeps a change back while its tenant's groups are being cut anew.
    fn hold(&mut self, change: Change) -> Option<Change> {
        let tenant = match &change {
            Change::PutEndpoint(endpoint) => endpoint.tenant,
            Change::RemoveEndpoint(tenant, _)
            | Change::PutNamespace(tenant, _)
            | Change::RemoveNamespace(tenant, _) => *tenant,
            _ => return Some(change),
        };
        if !self.turns.get(&tenant).is_some_and(|turn| turn.phase.holds()) {
            return Some(change);
        }
        self.held.entry(tenant).or_default().push(change);
        None
    }

    /// Takes in changes of policies (`None`: it is gone). Those of a tenant that come together take effect together.
    pub(crate) fn apply_policies(
        &mut self,
        changes: impl IntoIterator<Item = (PolicyName, Option<NetworkPolicy>)>,
        now: Millis,
    ) {
        for (name, policy) in changes {
            self.turns.entry(name.0).or_default().next.insert(name, policy);
        }
        self.advance(now);
    }

    /// A node is there and says what it holds.
    pub(crate) fn connect(&mut self, node: NodeId, hello: &Hello, now: Millis) {
        let epoch = self.step();
        self.outlet(node).connect(hello, epoch);
        self.advance(now);
    }

    /// A node is not heard any more.
    pub(crate) fn disconnect(&mut self, node: NodeId, now: Millis) {
        self.outlet(node).disconnect();
        self.advance(now);
    }

    /// A node is gone for good.
    pub(crate) fn forget(&mut self, node: NodeId, now: Millis) {
        self.outlets.remove(&node);
        self.held_back.retain(|(other, _), _| *other != node);
        self.advance(now);
    }

    /// Takes a node's word on a generation.
    pub(crate) fn acknowledge(&mut self, node: NodeId, ack: Ack, now: Millis) -> bool {
        let taken = self.outlet(node).acknowledge(ack);
        self.advance(now);
        taken
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Millis) {
        self.advance(now);
    }

    /// When [`Self::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let waiting = self.parcels.values().filter(|parcel| !parcel.waiting.is_empty());
        waiting.map(|parcel| parcel.deadline).min()
    }

    /// What is to be sent now. Whatever [`Compiler::drain_numbers`] gives has to be durable before.
    pub(crate) fn outgoing(&mut self) -> Vec<(NodeId, Vec<Delta>)> {
        let (start, count) = (self.start, &mut self.count);
        let mut number = || next_generation(start, count);
        let cut = |(node, outlet): (&NodeId, &mut Outlet)| (*node, outlet.next(&mut number));
        let sent: Vec<_> = self.outlets.iter_mut().map(cut).filter(|(_, parts)| !parts.is_empty()).collect();
        sent
    }

    /// What failed on nodes, once more.
    pub(crate) fn retries(&mut self) -> Vec<(NodeId, Vec<Delta>)> {
        let (start, count) = (self.start, &mut self.count);
        let mut number = || next_generation(start, count);
        let cut = |(node, outlet): (&NodeId, &mut Outlet)| (*node, outlet.retry(&mut number));
        self.outlets.iter_mut().map(cut).filter(|(_, parts)| !parts.is_empty()).collect()
    }

    /// A generation of this server is refused by a node that holds a newer one: count on from there.
    pub(crate) fn restart_after(&mut self, start: u32) {
        self.start = start;
        self.count = 0;
    }

    /// The count of starts that generations carry.
    pub(crate) fn start(&self) -> u32 {
        self.start
    }

    /// The newest generation that was numbered.
    pub(crate) fn newest(&self) -> Generation {
        Generation(u64::from(self.start) << 32 | u64::from(self.count))
    }

    /// The policies in force since the last call, each with the nodes that were told and when.
    pub(crate) fn take_flipped(&mut self) -> Vec<(PolicyName, Touched)> {
        std::mem::take(&mut self.flipped)
    }

    /// Whether this is the newest word on a policy.
    pub(crate) fn has_policy(&self, name: &PolicyName, policy: &NetworkPolicy) -> bool {
        let turn = self.turns.get(&name.0);
        let coming = turn.and_then(|turn| turn.next.get(name).or_else(|| turn.changes.get(name)));
        coming.map_or(self.policies.get(name), Option::as_ref) == Some(policy)
    }

    /// The policies of a tenant, in force or on their way.
    pub(crate) fn policies_of(&self, tenant: TenantId) -> Vec<PolicyName> {
        let first = (tenant, String::new(), String::new());
        let mut names: BTreeSet<PolicyName> = self
            .policies
            .range(first..)
            .map(|(name, _)| name)
            .take_while(|name| name.0 == tenant)
            .cloned()
            .collect();
        if let Some(turn) = self.turns.get(&tenant) {
            names.extend(turn.changes.keys().chain(turn.next.keys()).cloned());
        }
        names.into_iter().collect()
    }

    /// The compiler, to explain and to number with.
    pub(crate) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// The same, to drain its numbers.
    pub(crate) fn compiler_mut(&mut self) -> &mut Compiler {
        &mut self.compiler
    }

    /// A node's way out.
    pub(crate) fn find(&self, node: NodeId) -> Option<&Outlet> {
        self.outlets.get(&node)
    }

    /// Changes under way: parcels whose last step is not yet told, and tenants whose policies are changing.
    pub(crate) fn under_way(&self) -> (usize, usize) {
        let turning = self.turns.values().filter(|turn| turn.phase != Phase::Idle).count();
        (self.parcels.len(), turning)
    }

    fn outlet(&mut self, node: NodeId) -> &mut Outlet {
        self.outlets.entry(node).or_insert_with(Outlet::absent)
    }

    fn step(&mut self) -> Epoch {
        self.epoch.0 += 1;
        self.epoch
    }

    /// Everything that can go on goes on.
    fn advance(&mut self, now: Millis) {
        loop {
            let mut moved = false;
            for id in self.parcels.keys().copied().collect::<Vec<_>>() {
                moved |= self.advance_parcel(id, now);
            }
            for tenant in self.turns.keys().copied().collect::<Vec<_>>() {
                moved |= self.advance_turn(tenant, now);
            }
            if !moved {
                break;
            }
        }
    }

    /// Compiles and sends makers, movers, leftovers.
    fn move_over(&mut self, changes: Vec<Change>, now: Millis) -> Touched {
        let (steps, left) = self.compile(changes);
        self.send_off(steps, left, now)
    }

    /// What the makers, movers and leftovers of a change are told, and the groups that it leaves over.
    fn compile(&mut self, changes: impl IntoIterator<Item = Change>) -> ([Step; 3], Left) {
        let mut steps = [Step::new(), Step::new(), Step::new()];
        let (changes, left) = self.compiler.move_over(changes);
        for (node, delivery) in changes.nodes {
            for (step, part) in steps.iter_mut().zip(delivery.stages()) {
                if !part.upserts.is_empty() || !part.removals.is_empty() {
                    step.insert(node, part);
                }
            }
        }
        (steps, left)
    }

    fn send_off(&mut self, steps: [Step; 3], left: Left, now: Millis) -> Touched {
        let tenants = steps.iter().flat_map(tenants).collect();
        let (waiting, deadline) = self.earlier_makers(&tenants);
        let [makers, movers, leftovers] = steps;
        let later = VecDeque::from([(movers, MAKING), (leftovers, MOVING)]);
        let deadline = deadline.max(now + MAKING);
        self.dispatch(makers, Parcel { tenants, later, left, waiting, deadline })
    }

    /// Whom a parcel waits for because an earlier one of the same tenants made groups that its own movers may use.
    fn earlier_makers(&self, tenants: &BTreeSet<TenantId>) -> (Touched, Millis) {
        let making = |parcel: &&Parcel| parcel.later.len() == 2 && !parcel.tenants.is_disjoint(tenants);
        let (mut waiting, mut deadline) = (Touched::new(), 0);
        for parcel in self.parcels.values().filter(making) {
            deadline = deadline.max(parcel.deadline);
            for (node, epoch) in &parcel.waiting {
                let later = waiting.entry(*node).or_insert(*epoch);
                *later = (*later).max(*epoch);
            }
        }
        (waiting, deadline)
    }

    /// Takes a parcel's first step and keeps it for its later ones.
    fn dispatch(&mut self, first: Step, mut parcel: Parcel) -> Touched {
        let id = self.next_parcel;
        self.next_parcel += 1;
        for (node, key) in first.iter().flat_map(|(node, delivery)| keys(*node, delivery)) {
            self.held_back.remove(&(node, key));
        }
        for (step, _) in &parcel.later {
            for held in step.iter().flat_map(|(node, delivery)| keys(*node, delivery)) {
                self.held_back.insert(held, id);
            }
        }
        let touched = self.tell(&first);
        parcel.waiting.extend(self.awaited(&touched));
        self.parcels.insert(id, parcel);
        touched
    }

    fn tell(&mut self, step: &Step) -> Touched {
        if step.is_empty() {
            return Touched::new();
        }
        let epoch = self.step();
        step.iter()
            .map(|(node, delivery)| {
                self.outlet(*node).deliver(delivery, epoch);
                (*node, epoch)
            })
            .collect()
    }

    fn awaited(&self, touched: &Touched) -> Touched {
        let awaited = |node: &NodeId| self.outlets.get(node).is_some_and(Outlet::is_awaited);
        touched.iter().filter(|(node, _)| awaited(node)).map(|(node, epoch)| (*node, *epoch)).collect()
    }

    fn advance_parcel(&mut self, id: ParcelId, now: Millis) -> bool {
        let Some(mut parcel) = self.parcels.remove(&id) else { return false };
        let outlets = &mut self.outlets;
        parcel.waiting.retain(|node, epoch| {
            outlets.get(node).is_some_and(|outlet| outlet.is_awaited() && !outlet.has(*epoch))
        });
        if now >= parcel.deadline {
            for node in std::mem::take(&mut parcel.waiting).into_keys() {
                tracing::warn!(%node, "the node did not acknowledge in time; changes go on without it");
                self.outlet(node).lag();
            }
        }
        if !parcel.waiting.is_empty() {
            self.parcels.insert(id, parcel);
            return false;
        }
        let Some((step, patience)) = parcel.later.pop_front() else { return true };
        let mut step = self.still_held_back(id, step);
        if parcel.later.is_empty() {
            for (node, delivery) in self.bury(std::mem::take(&mut parcel.left), now) {
                step.entry(node).or_default().removals.extend(delivery.removals);
            }
        }
        let touched = self.tell(&step);
        parcel.waiting = self.awaited(&touched);
        parcel.deadline = now + patience;
        self.parcels.insert(id, parcel);
        true
    }

    /// Nobody uses these groups any more: what is left over by their end. What else can be done by it (somebody has waited for a
    /// number) is a parcel of its own.
    fn bury(&mut self, left: Left, now: Millis) -> Step {
        if left.is_empty() {
            return Step::new();
        }
        let buried = left.into_iter().map(|(tenant, group)| Change::Bury(tenant, group));
        let ([makers, movers, leftovers], left) = self.compile(buried);
        if !makers.is_empty() || !movers.is_empty() {
            self.send_off([makers, movers, Step::new()], left, now);
        }
        leftovers
    }

    /// The part of a step that no later parcel has overtaken.
    fn still_held_back(&mut self, id: ParcelId, step: Step) -> Step {
        let held_back = &mut self.held_back;
        let mut ours = |node: NodeId, key: Key| {
            let held = (node, key);
            let ours = held_back.get(&held) == Some(&id);
            if ours {
                held_back.remove(&held);
            }
            ours
        };
        let keep = |(node, mut delivery): (NodeId, Delivery)| {
            delivery.upserts.retain(|record| ours(node, record.key()));
            delivery.removals.retain(|key| ours(node, key.clone()));
            let left = !delivery.upserts.is_empty() || !delivery.removals.is_empty();
            left.then_some((node, delivery))
        };
        step.into_iter().filter_map(keep).collect()
    }

    /// Whether a parcel of the tenant is under way that began no later than this one.
    fn is_moving(&self, tenant: TenantId, parcel: ParcelId) -> bool {
        self.parcels.range(..=parcel).any(|(_, parcel)| parcel.tenants.contains(&tenant))
    }

    /// Tells what the tenant's parcels still hold back (nodes that joined its networks meanwhile): new rules know nothing of what
    /// is only left over. Gives back the groups that are to be buried for them.
    fn hurry(&mut self, tenant: TenantId) -> Left {
        let mut left = Left::new();
        let concerned = |(_, parcel): &(&ParcelId, &Parcel)| parcel.tenants.contains(&tenant);
        let hurried: Vec<ParcelId> = self.parcels.iter().filter(concerned).map(|(id, _)| *id).collect();
        for id in hurried {
            let Some(parcel) = self.parcels.remove(&id) else { continue };
            for (step, _) in parcel.later {
                let step = self.still_held_back(id, step);
                self.tell(&step);
            }
            left.extend(parcel.left);
        }
        left
    }

    fn advance_turn(&mut self, tenant: TenantId, now: Millis) -> bool {
        let phase = self.turns.get(&tenant).map_or(Phase::Idle, |turn| turn.phase);
        match phase {
            Phase::Idle => self.begin(tenant),
            Phase::Clearing(last) if !self.is_moving(tenant, last) => self.refine(tenant, now),
            Phase::Refining(last) if !self.is_moving(tenant, last) => self.flip(tenant, now),
            Phase::Flipping(parcel) if !self.parcels.contains_key(&parcel) => {
                self.enter(tenant, Phase::Settling(self.next_parcel), now)
            }
            Phase::Settling(last) if !self.is_moving(tenant, last) => self.coarsen(tenant, now),
            Phase::Coarsening(last) if !self.is_moving(tenant, last) => self.enter(tenant, Phase::Idle, now),
            _ => false,
        }
    }

    fn enter(&mut self, tenant: TenantId, phase: Phase, now: Millis) -> bool {
        self.turns.entry(tenant).or_default().phase = phase;
        if !phase.holds()
            && let Some(changes) = self.held.remove(&tenant)
        {
            self.move_over(changes, now);
        }
        true
    }

    /// A turn begins, if there is anything to change.
    fn begin(&mut self, tenant: TenantId) -> bool {
        let Some(turn) = self.turns.get_mut(&tenant) else { return false };
        let policies = &self.policies;
        turn.changes = std::mem::take(&mut turn.next);
        turn.changes.retain(|name, policy| policies.get(name) != policy.as_ref());
        if turn.changes.is_empty() {
            self.turns.remove(&tenant);
            return false;
        }
        turn.phase = Phase::Clearing(self.next_parcel);
        true
    }

    /// Cuts the groups by the old policies and the new ones; what each group may do stays.
    fn refine(&mut self, tenant: TenantId, now: Millis) -> bool {
        let Some(turn) = self.turns.get(&tenant) else { return false };
        let mut universe = Universe::default();
        for (name, policy) in &turn.changes {
            self.policies.get(name).into_iter().chain(policy).for_each(|policy| {
                universe.extend(Universe::of(policy));
            });
        }
        let parcel = self.next_parcel;
        self.move_over(vec![Change::Keep(tenant, universe)], now);
        self.enter(tenant, Phase::Refining(parcel), now)
    }

    /// Changes the rules, with every group in place.
    fn flip(&mut self, tenant: TenantId, now: Millis) -> bool {
        let left = self.hurry(tenant);
        let Some(turn) = self.turns.get_mut(&tenant) else { return false };
        let turned = std::mem::take(&mut turn.changes);
        let mut changes = Vec::new();
        for (name, policy) in &turned {
            let (_, namespace, short) = name.clone();
            changes.push(match policy {
                Some(policy) => Change::PutPolicy(tenant, policy.clone()),
                None => Change::RemovePolicy { tenant, namespace, name: short },
            });
        }
        let step: Step = self.compiler.apply(changes).nodes;
        let id = self.next_parcel;
        let parcel = Parcel {
            tenants: BTreeSet::from([tenant]),
            later: if left.is_empty() { VecDeque::new() } else { VecDeque::from([(Step::new(), MOVING)]) },
            left,
            waiting: Touched::new(),
            deadline: now + FLIPPING,
        };
        let touched = self.dispatch(step, parcel);
        for (name, policy) in turned {
            match policy {
                Some(policy) => {
                    self.flipped.push((name.clone(), touched.clone()));
                    self.policies.insert(name, policy);
                }
                None => _ = self.policies.remove(&name),
            }
        }
        self.enter(tenant, Phase::Flipping(id), now)
    }

    /// Cuts the groups by the new policies alone.
    fn coarsen(&mut self, tenant: TenantId, now: Millis) -> bool {
        let parcel = self.next_parcel;
        self.move_over(vec![Change::Keep(tenant, Universe::default())], now);
        self.enter(tenant, Phase::Coarsening(parcel), now)
    }
}

fn next_generation(start: u32, count: &mut u32) -> Generation {
    *count += 1;
    Generation(u64::from(start) << 32 | u64::from(*count))
}

fn keys(node: NodeId, delivery: &Delivery) -> impl Iterator<Item = (NodeId, Key)> {
    let upserts = delivery.upserts.iter().map(|record| record.key());
    upserts.chain(delivery.removals.iter().cloned()).map(move |key| (node, key))
}

/// The tenants whose groups a step speaks of.
fn tenants(step: &Step) -> impl Iterator<Item = TenantId> {
    let keys = step.iter().flat_map(|(node, delivery)| keys(*node, delivery));
    keys.filter_map(|(_, key)| match key {
        Key::Tenant(tenant)
        | Key::Project(tenant, _)
        | Key::Selector(tenant, _)
        | Key::Rule(tenant, _)
        | Key::Row(tenant, ..)
        | Key::Group(tenant, _)
        | Key::AddressClass(tenant, _)
        | Key::Endpoint(tenant, _) => Some(tenant),
        Key::Node(_) | Key::Network(_) | Key::Member(..) | Key::Route(..) => None,
    })
}

/// How long new groups wait for the nodes that will judge them: what a container waits for at most.
const MAKING: Millis = 1_000;

/// How long old groups stay for senders that have not said that they moved.
const MOVING: Millis = 5_000;

/// How long new rules wait to be in force everywhere before groups are merged.
const FLIPPING: Millis = 5_000;
