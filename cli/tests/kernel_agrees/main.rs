//! Upstream's text, the compiler, `explain` and the kernel say the same of every packet.
//!
//! Random worlds are compiled, their records brought into force on two nodes, and packets pushed through the programs that hang
//! there. Then the policies change, by the stages by which nodes are told of it, with flows under way. `SEALANE_CASES` says how
//! many packets go through the kernel at least; there are always at least [`CASES`]. Needs root.

#![allow(clippy::unwrap_used)]

#[path = "../../../compile/tests/upstream/fabric.rs"]
mod fabric;
mod frame;
mod ground;
#[path = "../../../compile/tests/upstream/oracle.rs"]
#[allow(dead_code, reason = "the other test asks it about single rules too")]
mod oracle;
mod traffic;
mod tunnel;
#[path = "../../../compile/tests/upstream/world.rs"]
mod world;

use std::cell::{Cell, RefCell};

use compile::{Change, Changes, Compiler, Numbers, Universe};
use datapath::EndpointAddress;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use record::{NodeId, Record};

use fabric::TENANT;
use ground::{Ground, on_ground};
use traffic::{Round, cases};
use world::World;

/// Packets that go through the kernel.
const CASES: u64 = 20_000;

/// Worlds made between two looks at how many packets they had.
const WORLDS_AT_ONCE: u32 = 8;

#[test]
fn the_kernel_says_what_upstream_says_before_while_and_after_policies_change() {
    let asked = std::env::var("SEALANE_CASES").ok();
    let asked = asked.map(|text| text.parse().expect("SEALANE_CASES is a number of packets"));
    let least = asked.unwrap_or(CASES).max(CASES);
    let counts = on_ground(move |ground| {
        let ground = RefCell::new(ground);
        let counts = Cell::new(Counts::default());
        while counts.get().packets < least {
            judge_worlds(&ground, &counts);
        }
        counts.get()
    });
    println!("{counts:?}");
    let often = counts.packets / 10;
    assert!(counts.passed > often && counts.dropped > often, "too much alike: {counts:?}");
    assert!(
        counts.cut > 0 && counts.answered > 0 && counts.explained > often,
        "nothing was under way: {counts:?}"
    );
}

/// What was tried, so that a test that asks nothing is found out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Through the kernel's programs.
    pub(crate) packets: u64,
    pub(crate) passed: u64,
    pub(crate) dropped: u64,
    /// Answers that passed.
    pub(crate) answered: u64,
    /// Flows that were under way and that a change forbade.
    pub(crate) cut: u64,
    /// Questions to the programs and to the compiler.
    pub(crate) explained: u64,
}

fn judge_worlds(ground: &RefCell<Ground>, counts: &Cell<Counts>) {
    let config = Config {
        cases: WORLDS_AT_ONCE,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&world::moves(), |(before, after)| {
        let mut tried = counts.get();
        let outcome = change(&mut ground.borrow_mut(), &mut tried, &before, &after);
        counts.set(tried);
        outcome
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, (before, after))) => {
            panic!("{reason}\n# before\n{before}\n# after\n{after}")
        }
        Err(error) => panic!("{error}"),
    }
}

/// From the policies of one world to those of another: refine the groups, change the rules, coarsen the groups.
fn change(
    ground: &mut Ground,
    counts: &mut Counts,
    before: &World,
    after: &World,
) -> Result<(), TestCaseError> {
    let mut compiler = Compiler::new(Numbers::new(0));
    compiler.apply(fabric::changes(before));
    begin(ground, &compiler, before);
    let cases = cases(ground, before, after);
    let mut pass = |ground: &mut Ground, compiler: &Compiler, world, settled, when| {
        Round { ground, compiler, world, cases: &cases, settled, counts }.pass(when)
    };
    pass(ground, &compiler, before, true, "before")?;
    let refined = compiler.apply([Change::Keep(TENANT, fabric::universe(after))]);
    for step in steps(&refined) {
        for (node, delivery) in step {
            ground.node(node).apply(&delivery);
            pass(ground, &compiler, before, false, "while groups are refined")?;
        }
    }
    pass(ground, &compiler, before, true, "with groups refined")?;
    let mut edits = fabric::policy_changes(before, after);
    edits.push(Change::Keep(TENANT, fabric::universe(before)));
    let changed = compiler.apply(edits);
    for (node, delivery) in whole(&changed) {
        ground.node(node).apply(&delivery);
    }
    pass(ground, &compiler, after, true, "with the rules changed")?;
    let coarsened = compiler.apply([Change::Keep(TENANT, Universe::default())]);
    for step in steps(&coarsened) {
        for (node, delivery) in step.into_iter().rev() {
            ground.node(node).apply(&delivery);
            pass(ground, &compiler, after, false, "while groups are coarsened")?;
        }
    }
    pass(ground, &compiler, after, true, "after")
}

/// Nothing but this world is on the nodes: its records, its pods, and a published port for each packet from outside.
fn begin(ground: &mut Ground, compiler: &Compiler, world: &World) {
    for (number, node) in &mut ground.nodes {
        let records: Vec<Record> =
            compiler.records_of(NodeId(*number)).iter().map(|record| (**record).clone()).collect();
        node.reset(&records);
        for pod in world.pods.iter().filter(|pod| pod.node == *number) {
            let own = |address: &std::net::IpAddr| EndpointAddress {
                address: *address,
                group: compiler.group(TENANT, &pod.name, *address),
            };
            node.attach(&pod.name, (TENANT, fabric::vni()), pod.addresses.iter().map(own).collect());
        }
    }
}

/// What each node is told in one step. Between two steps some nodes are ahead of others.
type Step = std::collections::BTreeMap<u32, compile::Delivery>;

fn whole(changes: &Changes) -> Step {
    changes.nodes.iter().map(|(node, delivery)| (node.0, delivery.clone())).collect()
}

fn steps(changes: &Changes) -> [Step; 3] {
    let mut steps = [Step::new(), Step::new(), Step::new()];
    for (node, delivery) in whole(changes) {
        for (step, stage) in steps.iter_mut().zip(delivery.stages()) {
            step.insert(node, stage);
        }
    }
    steps
}
