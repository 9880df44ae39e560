//! How far a TCP connection has come, and what may begin a flow.

use std::time::Duration;

use record::DropReason;

use crate::frame::{ACK, Ends, FIN, RST, SYN, a_to, echo, tcp};
use crate::ground::{GROUP_A, Ground, MAC_A, MAC_B, REDIRECT, TENANT, families, on_ground, on_ground_with};

fn state(ground: &Ground) -> String {
    ground.datapath.flows(&Default::default()).unwrap()[0].state.clone()
}

#[test]
fn a_connection_opens_closes_and_may_open_again() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 80);
            let from_a = |ground: &Ground, flags| {
                assert_eq!(ground.a_sends(&tcp(MAC_A, ends, flags)).action, REDIRECT)
            };
            let from_b = |ground: &Ground, flags| {
                assert_eq!(ground.b_sends(&tcp(MAC_B, ends.back(), flags)).action, REDIRECT)
            };
            from_a(ground, SYN);
            assert_eq!(state(ground), "new");
            from_b(ground, SYN | ACK);
            assert_eq!(state(ground), "established");
            from_a(ground, FIN | ACK);
            assert_eq!(state(ground), "closing");
            from_b(ground, FIN | ACK);
            assert_eq!(state(ground), "closed");
            // B connects to A from the same ports: a new flow, the other way round.
            from_b(ground, SYN);
            let flows = ground.datapath.flows(&Default::default()).unwrap();
            assert_eq!(
                (flows[0].source, flows[0].state.as_str(), flows[0].sent.packets),
                (family.b, "new", 1)
            );
            from_a(ground, RST);
            assert_eq!(state(ground), "closed");
            from_a(ground, SYN);
            assert_eq!(ground.datapath.flows(&Default::default()).unwrap()[0].source, family.a);
            ground.datapath.detach(1).unwrap();
            let endpoint = ground.endpoint(1, "a", 100, TENANT, 10, GROUP_A, MAC_A);
            ground.datapath.attach(&endpoint).unwrap();
        }
    });
}

#[test]
fn an_answer_to_nothing_begins_no_flow() {
    on_ground(|ground| {
        for family in families() {
            let ends = Ends::new(family.a, 4000, family.b, 80);
            for flags in [RST, RST | ACK, SYN | ACK] {
                ground
                    .assert_drops(DropReason::FlowMissing, |ground| ground.a_sends(&tcp(MAC_A, ends, flags)));
            }
            let answer = echo(MAC_A, Ends::new(family.a, 0, family.b, 9), true);
            ground.assert_drops(DropReason::FlowMissing, |ground| ground.a_sends(&answer));
            // A connection whose flow was lost is picked up.
            assert_eq!(ground.a_sends(&tcp(MAC_A, ends, ACK)).action, REDIRECT);
        }
    });
}

#[test]
fn an_idle_flow_passes_nothing_and_is_swept() {
    let short = |config: &mut datapath::Config| config.timeouts.udp_one_way = Duration::from_secs(1);
    on_ground_with(short, |ground| {
        let ends = families().map(|family| Ends::new(family.a, 4000, family.b, 53));
        for ends in ends {
            assert_eq!(ground.a_sends(&a_to(ends, b"")).action, REDIRECT);
        }
        assert_eq!(ground.datapath.sweep().unwrap(), datapath::Swept { live: 2, forgotten: 0 });
        std::thread::sleep(Duration::from_millis(1200));
        assert!(ground.datapath.flows(&Default::default()).unwrap().is_empty());
        // An answer now comes too late: it begins a flow of its own.
        let late = ground.b_sends(&crate::frame::b_to(ends[0].back(), b""));
        assert_eq!(late.action, REDIRECT);
        assert_eq!(ground.datapath.flows(&Default::default()).unwrap()[0].source, ends[0].destination);
        assert_eq!(ground.datapath.sweep().unwrap(), datapath::Swept { live: 1, forgotten: 1 });
    });
}

#[test]
fn a_tenant_over_its_quota_takes_nothing_from_another() {
    on_ground_with(
        |config| config.tenant_flows = 3,
        |ground| {
            let [family, _] = families();
            let frame = |port| a_to(Ends::new(family.a, port, family.b, 53), b"");
            for port in 1..=3 {
                assert_eq!(ground.a_sends(&frame(port)).action, REDIRECT);
            }
            ground.assert_drops(DropReason::FlowsOverQuota, |ground| ground.a_sends(&frame(4)));
            assert_eq!(ground.a_sends(&frame(3)).action, REDIRECT, "a flow that exists goes on");
            assert_eq!(ground.sends_on("3-in", "twin_a", &frame(4)).action, REDIRECT);
            // What is forgotten is given back.
            ground.datapath.detach(2).unwrap();
            assert_eq!(ground.a_sends(&a_to(Ends::new(family.a, 9, family.far, 53), b"")).action, REDIRECT);
        },
    );
}

#[test]
fn a_full_table_drops_by_name() {
    let tiny = |config: &mut datapath::Config| {
        config.capacity.flows = 2;
        config.tenant_flows = 100;
    };
    on_ground_with(tiny, |ground| {
        let [family, _] = families();
        let frame = |port| a_to(Ends::new(family.a, port, family.b, 53), b"");
        let mut passed = 0;
        for port in 1..200 {
            passed += u32::from(ground.a_sends(&frame(port)).action == REDIRECT);
        }
        assert!(passed >= 2, "{}", ground.story());
        assert_eq!(ground.dropped(DropReason::FlowsExhausted), 199 - u64::from(passed), "{}", ground.story());
        assert!(ground.dropped(DropReason::FlowsExhausted) > 0);
    });
}
