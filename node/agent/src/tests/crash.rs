//! Killed at any step of anything, the next start leaves kernel and journal in agreement.

use proptest::prelude::*;
use record::door::Publish;
use record::{Labels, Protocol};

use super::*;
use crate::testing::{labels, request, selector};

#[derive(Clone, Debug)]
enum Action {
    Attach { container: u8, web: bool, port: bool },
    Detach { container: u8 },
    End { container: u8 },
    Policy { cut: bool },
    Tidy,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let container = 0..4_u8;
    let action = prop_oneof![
        4 => (container.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(container, web, port)| Action::Attach { container, web, port }),
        2 => container.clone().prop_map(|container| Action::Detach { container }),
        1 => container.prop_map(|container| Action::End { container }),
        1 => any::<bool>().prop_map(|cut| Action::Policy { cut }),
        1 => Just(Action::Tidy),
    ];
    proptest::collection::vec(action, 1..10)
}

/// What the server sends in turn: two policies, of which one tells `app=web` from the rest.
async fn send_policy(bench: &Bench, generation: u64, cut: bool) {
    let mut world = World::new();
    world.selector(1, selector("app", "web")).group(300, [1], &[]);
    let keys: Vec<Key> = world.records.keys().cloned().collect();
    let plain = World::new();
    let extra: Vec<Key> = keys.into_iter().filter(|key| !plain.records.contains_key(key)).collect();
    let (changed, removed) = if cut { (world.list(), Vec::new()) } else { (plain.list(), extra) };
    bench.take_over(generation, changed, &removed).await;
}

async fn act(bench: &Bench, action: &Action, generation: u64) {
    match *action {
        Action::Attach { container, web, port } => {
            let labels = if web { labels(&[("app", "web")]) } else { Labels::new() };
            let host_port = 8000 + u16::from(container);
            let publish = Publish { address: None, host_port, port: 80, protocol: Protocol::Tcp };
            let publish = if port { vec![publish] } else { Vec::new() };
            // Refused when it is there with other labels, or when everything has stopped.
            let _ = bench.attach(Attach { labels, publish, ..request(&format!("c{container}")) }).await;
        }
        Action::Detach { container } => drop(bench.detach(&format!("c{container}")).await),
        Action::End { container } => bench.kernel.end_namespace(&format!("/run/netns/c{container}")),
        Action::Policy { cut } => send_policy(bench, generation, cut).await,
        Action::Tidy => bench.node.tidy().await,
    }
}

/// Runs the script, is killed after `steps` steps in the kernel, and starts again.
async fn run(script: &[Action], steps: u32) {
    let bench = Bench::new().await;
    let node = Arc::clone(&bench.node);
    // Killed: from here on neither the kernel nor the journal changes.
    bench.kernel.stop_after(steps, move || node.journal.close());
    for (index, action) in script.iter().enumerate() {
        act(&bench, action, 10 + index as u64).await;
    }
    let bench = bench.restart().await;
    bench.assert_agreement();
    let listed = bench.node.list();
    let bench = bench.restart().await;
    bench.assert_agreement();
    assert_eq!(bench.node.list(), listed, "a second start changes nothing");
    for attached in listed {
        bench.detach(&attached.container).await.unwrap();
    }
    bench.assert_agreement();
    assert!(bench.kernel.state.lock().links.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn kernel_and_journal_agree_after_a_kill_anywhere(script in actions(), steps in 0..60_u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&script, steps));
    }
}

#[test]
fn an_attach_and_a_detach_killed_at_each_step_in_turn_leak_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let script = [Action::Attach { container: 0, web: false, port: true }, Action::Detach { container: 0 }];
    for steps in 0..10 {
        runtime.block_on(run(&script, steps));
    }
}

#[tokio::test]
async fn what_was_answered_survives_the_kill_and_what_was_not_is_undone() {
    let bench = Bench::new().await;
    let answered = bench.attach(request("a")).await.unwrap();
    let node = Arc::clone(&bench.node);
    bench.kernel.stop_after(1, move || node.journal.close());
    bench.attach(request("b")).await.unwrap_err();
    assert_eq!(bench.kernel.state.lock().links.len(), 2, "half of the second is in the kernel");
    let bench = bench.restart().await;
    assert_eq!(bench.node.list(), vec![answered]);
    bench.assert_agreement();
    assert_eq!(bench.attach(request("c")).await.unwrap().host_interface, "sl00000003", "numbers rest");
}

#[tokio::test]
async fn leftovers_of_nobody_are_swept() {
    let bench = Bench::new().await;
    {
        let mut kernel = bench.kernel.state.lock();
        kernel.links.insert(77, ("/run/netns/x".into(), "eth0".into()));
        kernel.endpoints.insert(78, Groups::new());
        kernel.published.insert((6, 99), 79);
    }
    bench.node.tidy().await;
    bench.assert_agreement();
}

#[tokio::test]
async fn a_generation_that_was_cut_off_by_the_kill_goes_forward() {
    let bench = Bench::new().await;
    let node = Arc::clone(&bench.node);
    bench.kernel.stop_after(0, move || node.journal.close());
    send_policy(&bench, 5, true).await;
    let bench = bench.restart().await;
    assert_eq!(bench.node.ledger().held.generation, Generation(5));
    assert_eq!(bench.kernel.state.lock().generation, Generation(5));
    bench.assert_agreement();
}
