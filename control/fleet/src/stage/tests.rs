//! Nodes in memory with delays of their own, random changes, and at every moment every pair judged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use compile::{Change, Compiler, Endpoint, Flow, Numbers, Someone, judge, verdict};
use intent::object::{NAMESPACE_NAME_LABEL, Namespace};
use intent::policy::{NetworkPolicy, Peers, PortMatch, Ports, Rule};
use proptest::prelude::*;
use record::delta::{Ack, Delta, Subscriber};
use record::record::{Network, Node, Route, Subnet};
use record::selector::{LabelSelector, Namespaces, Operator, Requirement, Selector};
use record::{DropReason, Group, Key, Labels, NamedPort, NodeId, Protocol, Record, TenantId, Vni};

use super::*;

const TENANT: TenantId = TenantId(1);
const NODES: u32 = 3;
const PORTS: [u16; 4] = [22, 80, 443, 8080];
const NAMESPACE: &str = "shop";

/// A node in memory: what it holds, what is on the way to it and from it.
#[derive(Default)]
struct FakeNode {
    records: BTreeMap<Key, Record>,
    subscriber: Subscriber,
    incoming: VecDeque<(Millis, Vec<Delta>)>,
    outgoing: VecDeque<(Millis, Ack)>,
    stuck: bool,
}

/// An endpoint, and what may be said of it while a change is under way.
struct Workload {
    endpoint: Endpoint,
    /// What it was before each of this window's changes; empty: it is new.
    before: Vec<Endpoint>,
    fresh: bool,
    /// The group that its node used until the time given.
    used: Option<(Millis, Group)>,
    now: Group,
}

struct World {
    stage: Stage,
    nodes: BTreeMap<NodeId, FakeNode>,
    workloads: BTreeMap<String, Workload>,
    policies: BTreeMap<String, NetworkPolicy>,
    old_policies: Vec<NetworkPolicy>,
    expected: BTreeMap<(String, bool), bool>,
    now: Millis,
    delays: Vec<Millis>,
    next_delay: usize,
    judged: usize,
}

impl FakeNode {
    /// Takes a generation in, and acknowledges it at the time given.
    fn take(&mut self, parts: Vec<Delta>, acknowledged: Millis) {
        for part in parts {
            let Some(whole) = self.subscriber.receive(part).unwrap() else { continue };
            whole.removed.iter().for_each(|key| _ = self.records.remove(key));
            self.records.extend(whole.changed.into_iter().map(|record| (record.key(), record)));
            let ack = Ack { generation: whole.generation, faults: Vec::new() };
            self.outgoing.push_back((acknowledged, ack));
        }
    }
}

impl World {
    fn new(delays: Vec<Millis>) -> Self {
        let mut stage = Stage::new(Compiler::new(Numbers::new(1_000_000)), 1);
        let subnet = Subnet { prefix: "10.0.0.0/16".parse().unwrap(), gateway: "10.0.0.1".parse().unwrap() };
        let mut changes = vec![
            Change::PutTenant { id: TENANT, name: "t".into() },
            Change::PutNamespace(TENANT, namespace()),
            Change::PutNetwork(Network {
                vni: vni(),
                tenant: TENANT,
                name: "net".into(),
                subnets: vec![subnet],
                default_allow: true,
                world: true,
                mtu: None,
            }),
        ];
        for id in 1..=NODES {
            let underlay = vec![format!("192.0.2.{id}").parse().unwrap()];
            changes.push(Change::PutNode(Node { id: NodeId(id), name: format!("n{id}"), underlay }));
            let prefix = format!("10.0.{id}.0/24").parse().unwrap();
            changes.push(Change::PutBlock(Route { vni: vni(), prefix, node: NodeId(id) }));
        }
        stage.load(changes);
        let mut world = Self {
            stage,
            nodes: BTreeMap::new(),
            workloads: BTreeMap::new(),
            policies: BTreeMap::new(),
            old_policies: Vec::new(),
            expected: BTreeMap::new(),
            now: 0,
            delays,
            next_delay: 0,
            judged: 0,
        };
        for id in 1..=NODES {
            world.nodes.insert(NodeId(id), FakeNode::default());
            let hello = record::delta::Hello {
                protocol: record::delta::PROTOCOL,
                name: format!("n{id}"),
                underlay: Vec::new(),
                generation: Generation(0),
                held: Vec::new(),
                endpoints: Vec::new(),
                software: String::new(),
                kernel: String::new(),
                mtu: 1500,
            };
            world.stage.connect(NodeId(id), &hello, 0);
        }
        world.rest();
        world
    }

    fn delay(&mut self) -> Millis {
        self.next_delay += 1;
        self.delays[self.next_delay % self.delays.len()]
    }

    /// Sends what the stage has to send.
    fn post(&mut self) {
        for (node, parts) in self.stage.outgoing() {
            let delay = self.delay();
            let node = self.nodes.get_mut(&node).unwrap();
            let after = node.incoming.back().map_or(0, |(at, _)| *at);
            node.incoming.push_back((after.max(self.now + delay), parts));
        }
    }

    /// The next moment at which something happens, and what happens then. `false`: nothing is under way.
    fn step(&mut self) -> bool {
        self.post();
        let due = |node: &FakeNode| {
            let incoming = node.incoming.front().map(|(at, _)| *at).filter(|_| !node.stuck);
            let outgoing = node.outgoing.front().map(|(at, _)| *at);
            incoming.into_iter().chain(outgoing).min()
        };
        let next = self.nodes.values().filter_map(due).chain(self.stage.deadline()).min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.deliver(id);
        }
        self.stage.tick(self.now);
        self.note_groups();
        self.judge_all();
        true
    }

    fn deliver(&mut self, id: NodeId) {
        let delay = self.delay();
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        if let Some((_, parts)) = node.incoming.pop_front_if(|(at, _)| *at <= now && !node.stuck) {
            node.take(parts, now + delay);
        }
        if let Some((_, ack)) = node.outgoing.pop_front_if(|(at, _)| *at <= now) {
            assert!(self.stage.acknowledge(id, ack, now));
        }
    }

    /// What each endpoint's node uses as its group from now on.
    fn note_groups(&mut self) {
        let now = self.now;
        for workload in self.workloads.values_mut() {
            let key = Key::Endpoint(TENANT, workload.endpoint.uid.clone());
            let records = &self.nodes[&workload.endpoint.node].records;
            let address = *workload.endpoint.addresses.first().unwrap();
            let group = match records.get(&key) {
                Some(Record::Endpoint(endpoint)) => endpoint.group(address),
                _ => Group::UNKNOWN,
            };
            if group != workload.now {
                workload.used = Some((now, workload.now));
                workload.now = group;
            }
        }
    }

    /// Until nothing is under way.
    fn rest(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 10_000, "the stage does not come to rest");
        }
        assert_eq!(self.stage.under_way(), (0, 0));
        self.old_policies = self.policies.values().cloned().collect();
        self.expected.clear();
        for workload in self.workloads.values_mut() {
            workload.before = vec![workload.endpoint.clone()];
            workload.fresh = false;
        }
        for (id, node) in self.nodes.iter().filter(|(_, node)| !node.stuck) {
            let wanted: BTreeMap<Key, Record> = self
                .stage
                .compiler()
                .records_of(*id)
                .iter()
                .map(|record| (record.key(), (**record).clone()))
                .collect();
            assert_eq!(node.records, wanted, "node {id} at rest");
        }
        self.judge_all();
    }

    /// Every pair, as the receiver's node judges what the sender's node sends, on every port.
    fn judge_all(&mut self) {
        let names: Vec<String> = self.workloads.keys().cloned().collect();
        for sender in &names {
            for receiver in names.iter().filter(|receiver| *receiver != sender) {
                let used = self.workloads[sender]
                    .used
                    .filter(|(until, _)| *until == self.now)
                    .map(|(_, group)| group);
                for group in [Some(self.workloads[sender].now), used].into_iter().flatten() {
                    PORTS.into_iter().for_each(|port| self.judge_pair(sender, receiver, group, port));
                }
            }
        }
    }

    fn judge_pair(&mut self, from: &str, to: &str, sender: Group, port: u16) {
        self.judged += 1;
        let (one, other) = (&self.workloads[from], &self.workloads[to]);
        let records = &self.nodes[&other.endpoint.node].records;
        let flow = Flow { tenant: TENANT, sender, receiver: other.now, protocol: 6, port };
        let outcome = verdict(records, flow).outcome(true);
        let stuck = self.nodes[&one.endpoint.node].stuck || self.nodes[&other.endpoint.node].stuck;
        if outcome.is_err_and(|(reason, _)| reason == DropReason::GroupUnknown) {
            assert!(
                one.fresh || other.fresh || stuck,
                "{from} (group {sender}) to {to} (group {}) is not known at {} ms, though neither changed:\n{records:#?}",
                other.now,
                self.now
            );
            return;
        }
        let told = outcome.is_ok();
        let fits = self.allowed(from, to, port, told);
        assert!(
            fits,
            "{from} (group {sender}) to {to}:{port} (group {}) is {} at {} ms, by neither policy; old {:#?} new {:#?}\n{:#?}",
            self.workloads[to].now,
            if told { "allowed" } else { "denied" },
            self.now,
            self.old_policies,
            self.policies,
            self.nodes[&self.workloads[to].endpoint.node].records,
        );
    }

    /// Whether the old policies or the new ones say this of the pair, with the labels that each had or has.
    fn allowed(&mut self, from: &str, to: &str, port: u16, told: bool) -> bool {
        let versions = |workload: &Workload| -> Vec<Endpoint> {
            workload.before.iter().chain([&workload.endpoint]).cloned().collect()
        };
        let (senders, receivers) = (versions(&self.workloads[from]), versions(&self.workloads[to]));
        let new: Vec<NetworkPolicy> = self.policies.values().cloned().collect();
        for sender in &senders {
            for receiver in &receivers {
                for (which, policies) in [(false, &self.old_policies), (true, &new)] {
                    let question = format!("{sender:?} {receiver:?} {port}");
                    let said = *self.expected.entry((question, which)).or_insert_with(|| {
                        judge(&[namespace()], policies, &someone(sender), &someone(receiver), (6, port))
                            .outcome(true)
                            .is_ok()
                    });
                    if said == told {
                        return true;
                    }
                }
            }
        }
        false
    }

    fn attach(&mut self, name: &str, labels: Labels, port: u16) {
        self.attach_all(vec![(name, labels, port)]);
    }

    /// Endpoints that come, or change, in one batch.
    fn attach_all(&mut self, batch: Vec<(&str, Labels, u16)>) {
        let changes = batch.into_iter().map(|(name, labels, port)| self.attached(name, labels, port));
        let changes = changes.collect();
        self.stage.apply(changes, self.now);
    }

    fn attached(&mut self, name: &str, labels: Labels, port: u16) -> Change {
        let at = name.bytes().map(u32::from).sum::<u32>();
        let node = self.workloads.get(name).map_or(NodeId(at % NODES + 1), |workload| workload.endpoint.node);
        let address: IpAddr = format!("10.0.{}.{}", node, at % 200 + 10).parse().unwrap();
        let http = NamedPort { name: "http".into(), protocol: Protocol::Tcp, port };
        let endpoint = Endpoint {
            tenant: TENANT,
            uid: name.into(),
            vni: vni(),
            namespace: NAMESPACE.into(),
            name: name.into(),
            labels,
            ports: BTreeSet::from([http]),
            addresses: BTreeSet::from([address]),
            node,
        };
        let known = self.workloads.remove(name);
        let fresh = known.as_ref().is_none_or(|known| known.fresh);
        let (mut before, used, now) =
            known.map_or((Vec::new(), None, Group::UNKNOWN), |known| (known.before, known.used, known.now));
        before.push(endpoint.clone());
        let change = Change::PutEndpoint(endpoint.clone());
        self.workloads.insert(name.into(), Workload { endpoint, before, fresh, used, now });
        change
    }

    fn change_policies(&mut self, changes: Vec<(String, Option<NetworkPolicy>)>) {
        for (name, policy) in &changes {
            match policy {
                Some(policy) => _ = self.policies.insert(name.clone(), policy.clone()),
                None => _ = self.policies.remove(name),
            }
        }
        self.expected.clear();
        let named = |(name, policy)| ((TENANT, NAMESPACE.to_owned(), name), policy);
        self.stage.apply_policies(changes.into_iter().map(named), self.now);
    }
}

fn vni() -> Vni {
    Vni::new(1).unwrap()
}

fn namespace() -> Namespace {
    let labels = Labels::from([(NAMESPACE_NAME_LABEL.to_owned(), NAMESPACE.to_owned())]);
    Namespace { name: NAMESPACE.into(), labels, network: "net".into() }
}

fn someone(endpoint: &Endpoint) -> Someone {
    Someone::Endpoint {
        namespace: endpoint.namespace.clone(),
        labels: endpoint.labels.clone(),
        ports: endpoint.ports.clone(),
        address: *endpoint.addresses.first().unwrap(),
    }
}

fn app(value: &str) -> LabelSelector {
    let operator = Operator::In(BTreeSet::from([value.to_owned()]));
    LabelSelector(BTreeSet::from([Requirement { key: "app".into(), operator }]))
}

fn labels() -> impl Strategy<Value = Labels> {
    let app = prop::sample::select(vec!["a", "b", "c"]);
    let tier = prop::option::of(prop::sample::select(vec!["x", "y"]));
    (app, tier).prop_map(|(app, tier)| {
        let tier = tier.map(|tier| ("tier".to_owned(), tier.to_owned()));
        tier.into_iter().chain([("app".to_owned(), app.to_owned())]).collect()
    })
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    prop_oneof![
        Just(LabelSelector::default()),
        prop::sample::select(vec!["a", "b", "c"]).prop_map(app),
        Just(LabelSelector(BTreeSet::from([Requirement {
            key: "tier".into(),
            operator: Operator::NotIn(BTreeSet::from(["x".into()])),
        }]))),
    ]
}

fn rules() -> impl Strategy<Value = Option<Vec<Rule>>> {
    let peers = prop_oneof![
        1 => Just(Peers::Anyone),
        1 => Just(Peers::These(vec![Selector::Addresses {
            prefix: "10.0.2.0/24".parse().unwrap(),
            except: BTreeSet::new(),
        }])),
        3 => selector().prop_map(|endpoints| {
            let namespaces = Namespaces::Named(NAMESPACE.into());
            Peers::These(vec![Selector::Endpoints { namespaces, endpoints }])
        }),
    ];
    let port = prop_oneof![
        Just(PortMatch::Named { protocol: Protocol::Tcp, name: "http".into() }),
        Just(PortMatch::Range { protocol: Protocol::Tcp, first: 443, last: 8080 }),
        Just(PortMatch::Range { protocol: Protocol::Tcp, first: 80, last: 80 }),
    ];
    let ports = prop_oneof![Just(Ports::All), port.prop_map(|port| Ports::These(BTreeSet::from([port])))];
    let rule = (peers, ports).prop_map(|(peers, ports)| Rule { peers, ports });
    prop::option::of(prop::collection::vec(rule, 0..3))
}

fn policy() -> impl Strategy<Value = (String, Option<NetworkPolicy>)> {
    let name = prop::sample::select(vec!["p", "q", "r"]);
    let body = prop::option::weighted(0.8, (selector(), rules(), rules()));
    (name, body).prop_map(|(name, body)| {
        let policy = body.map(|(subject, ingress, egress)| NetworkPolicy {
            name: name.into(),
            namespace: NAMESPACE.into(),
            subject,
            ingress,
            egress,
        });
        (name.to_owned(), policy)
    })
}

#[derive(Clone, Debug)]
enum Act {
    Policies(Vec<(String, Option<NetworkPolicy>)>),
    Attach(BTreeMap<usize, (Labels, u16)>),
    Steps(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => prop::collection::vec(policy(), 1..3).prop_map(Act::Policies),
        2 => prop::collection::btree_map(0usize..6, (labels(), prop::sample::select(vec![80u16, 8080])), 1..4).prop_map(Act::Attach),
        3 => (1usize..6).prop_map(Act::Steps),
    ];
    prop::collection::vec(act, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn at_no_moment_is_a_pair_judged_by_anything_but_the_old_policies_or_the_new_ones(
        acts in acts(),
        delays in prop::collection::vec(1u64..60, 7..40),
    ) {
        let mut world = World::new(delays);
        for (name, label) in [("w0", "a"), ("w1", "b"), ("w2", "c"), ("w3", "a")] {
            world.attach(name, Labels::from([("app".to_owned(), label.to_owned())]), 80);
        }
        world.rest();
        let (mut changed, mut moved) = (false, BTreeSet::new());
        for act in acts {
            match act {
                Act::Policies(changes) => {
                    // Old and new are two states: the next change of policies begins when the last one has arrived.
                    if std::mem::replace(&mut changed, true) {
                        world.rest();
                        moved.clear();
                    }
                    world.change_policies(changes);
                }
                Act::Attach(batch) => {
                    let names: BTreeSet<String> = batch.keys().map(|at| format!("w{at}")).collect();
                    if !moved.is_disjoint(&names) {
                        world.rest();
                        (changed, moved) = (false, BTreeSet::new());
                    }
                    let batch = names.iter().zip(batch.values());
                    world.attach_all(batch.map(|(name, (labels, port))| (&**name, labels.clone(), *port)).collect());
                    moved.extend(names);
                }
                Act::Steps(count) => for _ in 0..count { world.step(); },
            }
        }
        world.rest();
        prop_assert!(world.judged > 100);
    }
}

/// A policy that lets `from` reach `to` alone.
fn only(name: &str, to: &str, from: &str) -> (String, Option<NetworkPolicy>) {
    let peers = Peers::These(vec![Selector::Endpoints {
        namespaces: Namespaces::Named(NAMESPACE.into()),
        endpoints: app(from),
    }]);
    let policy = NetworkPolicy {
        name: name.into(),
        namespace: NAMESPACE.into(),
        subject: app(to),
        ingress: Some(vec![Rule { peers, ports: Ports::All }]),
        egress: None,
    };
    (name.to_owned(), Some(policy))
}

fn three() -> World {
    let mut world = World::new(vec![3, 1, 7, 20]);
    for (name, label) in [("w0", "a"), ("w1", "b"), ("w2", "c")] {
        world.attach(name, Labels::from([("app".to_owned(), label.to_owned())]), 80);
    }
    world.rest();
    world
}

#[test]
fn a_node_that_is_stuck_holds_a_policy_up_for_a_bounded_time_and_once() {
    let mut world = three();
    world.nodes.get_mut(&NodeId(2)).unwrap().stuck = true;
    let began = world.now;
    world.change_policies(vec![only("p", "a", "b")]);
    world.rest_of_others();
    assert!(world.now - began <= MAKING + MOVING + FLIPPING, "took {} ms", world.now - began);
    let again = world.now;
    world.change_policies(vec![only("q", "c", "b")]);
    world.rest_of_others();
    assert!(world.now - again < 500, "the stuck node was waited for again: {} ms", world.now - again);
    world.nodes.get_mut(&NodeId(2)).unwrap().stuck = false;
    world.rest();
}

#[test]
fn a_stream_of_new_containers_does_not_withhold_a_policy() {
    let mut world = three();
    world.change_policies(vec![only("p", "a", "b")]);
    let name = (TENANT, NAMESPACE.to_owned(), "p".to_owned());
    let began = world.now;
    for at in 0..200 {
        if world.stage.policies.contains_key(&name) {
            break;
        }
        let labels = Labels::from([("app".to_owned(), "c".to_owned()), ("one".to_owned(), at.to_string())]);
        world.attach(&format!("extra{}", at % 5), labels, 80);
        world.step();
    }
    assert!(world.stage.policies.contains_key(&name), "withheld for {} ms", world.now - began);
}

#[test]
fn a_later_change_overtakes_what_an_earlier_one_holds_back() {
    let mut world = three();
    world.change_policies(vec![only("p", "a", "b"), only("q", "b", "c")]);
    world.rest();
    let label = |value: &str| Labels::from([("app".to_owned(), value.to_owned())]);
    world.attach("w0", label("b"), 80);
    world.attach("w0", label("c"), 80);
    world.attach("w0", label("a"), 80);
    world.rest();
    world.stage.apply(vec![Change::RemoveEndpoint(TENANT, "w1".into())], world.now);
    world.workloads.remove("w1");
    world.rest();
}

#[test]
fn a_change_that_changes_nothing_is_sent_to_nobody() {
    let mut world = three();
    world.change_policies(vec![only("p", "a", "b")]);
    world.rest();
    world.change_policies(vec![only("p", "a", "b")]);
    assert!(world.stage.outgoing().is_empty());
    assert_eq!(world.stage.under_way(), (0, 0));
}

impl World {
    /// Until nothing is under way but what a stuck node has not read.
    fn rest_of_others(&mut self) {
        let mut steps = 0;
        while self.stage.under_way() != (0, 0) && self.step() {
            steps += 1;
            assert!(steps < 10_000, "the stage does not come to rest");
        }
    }
}

/// One run of a change in which whatever can happen next is chosen by a plan, and then by the first that can.
struct Run {
    world: World,
    plan: Vec<usize>,
    /// How many things could have happened at each step.
    choices: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Deliver(NodeId),
    Acknowledge(NodeId),
}

impl Run {
    /// Lets things happen until nothing is under way, and judges every pair after each.
    fn finish(mut self, mut between: Vec<Vec<(&str, Labels, u16)>>) -> Vec<usize> {
        loop {
            self.world.post();
            let mut events: Vec<Option<Event>> = Vec::new();
            for (id, node) in &self.world.nodes {
                let incoming = !node.incoming.is_empty();
                events.extend(incoming.then_some(Some(Event::Deliver(*id))));
                events.extend((!node.outgoing.is_empty()).then_some(Some(Event::Acknowledge(*id))));
            }
            events.extend((!between.is_empty()).then_some(None));
            if events.is_empty() {
                assert_eq!(self.world.stage.under_way(), (0, 0));
                return self.choices;
            }
            let choice = self.plan.get(self.choices.len()).copied().unwrap_or_default() % events.len();
            self.choices.push(events.len());
            self.world.now += 1;
            match events[choice] {
                Some(event) => self.happen(event),
                None => self.world.attach_all(between.remove(0)),
            }
            self.world.note_groups();
            self.world.judge_all();
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.world.now;
        match event {
            Event::Deliver(id) => {
                let node = self.world.nodes.get_mut(&id).unwrap();
                let (_, parts) = node.incoming.pop_front().unwrap();
                node.take(parts, now);
            }
            Event::Acknowledge(id) => {
                let (_, ack) = self.world.nodes.get_mut(&id).unwrap().outgoing.pop_front().unwrap();
                assert!(self.world.stage.acknowledge(id, ack, now));
            }
        }
    }
}

/// Runs a change in every order in which nodes can hear of it and acknowledge it. Says how many there are.
fn in_every_order(prepare: impl Fn() -> World, batch: &[(&'static str, Labels, u16)]) -> usize {
    let (mut plan, mut runs) = (Vec::new(), 0);
    loop {
        let mut world = prepare();
        world.attach_all(batch.to_vec());
        let run = Run { world, plan: plan.clone(), choices: Vec::new() };
        let choices = run.finish(Vec::new());
        runs += 1;
        plan.resize(choices.len(), 0);
        // The next plan in order: the last step that has another choice takes it, and those after it begin anew.
        let Some(step) = (0..choices.len()).rev().find(|step| plan[*step] + 1 < choices[*step]) else {
            return runs;
        };
        plan[step] += 1;
        plan.truncate(step + 1);
    }
}

/// A sender and a receiver on two nodes; whoever is `a` or `c` may reach `b`, and everybody everybody else.
fn sender_and_receiver() -> World {
    let mut world = World::new(vec![1]);
    world.stage.disconnect(NodeId(3), 0);
    let of = |app: &str| Labels::from([("app".to_owned(), app.to_owned())]);
    world.attach_all(vec![("w1", of("a"), 80), ("w2", of("d"), 80)]);
    let (name, policy) = only("p", "b", "a");
    let (_, other) = only("q", "b", "c");
    world.change_policies(vec![(name, policy), ("q".to_owned(), other)]);
    world.nodes.remove(&NodeId(3));
    world.rest();
    world
}

#[test]
fn a_pair_that_is_allowed_all_along_is_never_denied_in_whatever_order_nodes_hear_that_both_ends_move() {
    let of = |app: &str| Labels::from([("app".to_owned(), app.to_owned())]);
    let together = [("w1", of("c"), 80), ("w2", of("b"), 80)];
    let runs = in_every_order(sender_and_receiver, &together);
    assert!(runs > 100, "{runs} orders");
    // The orders are too many where the second batch may come at any moment: some of them, far apart.
    let apart = [vec![("w1", of("c"), 80)], vec![("w2", of("b"), 80)]];
    for seed in 1..=60_usize {
        let plan = (1..40).map(|step| seed.wrapping_mul(2_654_435_761).rotate_right(step) >> 7).collect();
        let mut world = sender_and_receiver();
        world.attach_all(apart[0].clone());
        Run { world, plan, choices: Vec::new() }.finish(apart[1..].to_vec());
    }
}
