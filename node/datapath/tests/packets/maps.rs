//! The loader's promises: restarts, versions, idempotence, full maps, and a verifier that is not strained.

use std::path::Path;

use datapath::{Datapath, Error, HookKind};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use record::record::{Key, Peer, Record};
use record::{DropReason, Generation, RuleSetId, Verdict};

use crate::frame::{Ends, TCP, UDP, a_to, b_to};
use crate::ground::{
    GROUP_A, GROUP_B, Ground, MAC_B, REDIRECT, TENANT, families, group, on_ground, on_ground_with, row, world,
};

fn deny_b() -> [Record; 2] {
    [row(1, Peer::Others, &[(0, 0, Verdict::Deny, 1)]), group(TENANT, GROUP_B, 1, 0)]
}

fn probe(ground: &Ground, port: u16) -> crate::ground::Out {
    let [family, _] = families();
    ground.a_sends(&a_to(Ends::new(family.a, port, family.b, 53), b""))
}

fn state(ground: &Ground) -> [u32; 2] {
    let map = MapHandle::from_pinned_path(ground.config.pin_dir.join("maps/state")).unwrap();
    let bytes = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
    [0, 4].map(|at| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()))
}

fn set_state(pin_dir: &Path, at: usize, value: u32) {
    let map = MapHandle::from_pinned_path(pin_dir.join("maps/state")).unwrap();
    let mut bytes = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
    bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    map.update(&0u32.to_ne_bytes(), &bytes, MapFlags::ANY).unwrap();
}

#[test]
fn no_program_strains_the_verifier() {
    on_ground(|ground| {
        let verified = ground.datapath.verified().unwrap();
        assert_eq!(verified.len(), 8, "{verified:?}");
        for (name, instructions) in verified {
            println!("{name}: {instructions} instructions verified");
            assert!((1..250_000).contains(&instructions), "{name}: {instructions}");
        }
    });
}

#[test]
fn applying_what_is_there_flips_nothing() {
    on_ground(|ground| {
        ground.apply(&deny_b());
        let before = state(ground);
        ground.apply(&deny_b());
        ground.apply(&world()[..4]);
        assert_eq!(state(ground), before);
        assert_eq!(
            ground.datapath.generation().unwrap(),
            Generation(ground.generation),
            "it is held all the same"
        );
    });
}

#[test]
fn a_generation_older_than_the_one_held_is_refused() {
    on_ground(|ground| {
        ground.apply(&deny_b());
        let faults = ground.datapath.apply(&[], &[], Generation(ground.generation - 1)).unwrap_err();
        assert!(matches!(faults[0].source, Error::Older { .. }), "{faults:?}");
    });
}

#[test]
fn a_restart_keeps_flows_policy_and_endpoints() {
    on_ground(|ground| {
        let [family, _] = families();
        let ends = Ends::new(family.a, 4000, family.b, 53);
        assert_eq!(ground.a_sends(&a_to(ends, b"")).action, REDIRECT);
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 1)]), group(TENANT, GROUP_A, 1, 0)]);
        let before = state(ground);
        ground.datapath = Datapath::open(&ground.config).unwrap();
        assert_eq!(state(ground), before);
        assert_eq!(ground.datapath.generation().unwrap(), Generation(ground.generation));
        assert_eq!(ground.datapath.endpoints().unwrap().len(), 4);
        assert_eq!(ground.b_sends(&b_to(ends.back(), b"")).action, REDIRECT, "{}", ground.story());
        let other = Ends::new(family.b, 1, family.a, 2);
        ground.assert_drops(DropReason::PolicyDenied, |ground| ground.b_sends(&b_to(other, b"")));
        // What was there before the restart is known: nothing to flip, and removing works.
        ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 1)]), group(TENANT, GROUP_A, 1, 0)]);
        assert_eq!(state(ground), before);
        ground.apply(&[group(TENANT, GROUP_A, 0, 0)]);
        ground.remove(&[Key::Row(TENANT, RuleSetId(1), Peer::Others)]);
        assert_eq!(ground.b_sends(&b_to(other, b"")).action, REDIRECT, "{}", ground.story());
    });
}

#[test]
fn maps_of_another_schema_are_refused_and_left_alone() {
    on_ground(|ground| {
        for other in [2, 7] {
            set_state(&ground.config.pin_dir, 4, other);
            let refused = Datapath::open(&ground.config).unwrap_err();
            assert!(
                matches!(refused, Error::Schema { found, expected: 1, .. } if found == other),
                "{refused}"
            );
            assert_eq!(probe(ground, 1).action, REDIRECT, "the programs before go on");
        }
        set_state(&ground.config.pin_dir, 4, 1);
        Datapath::open(&ground.config).unwrap();
    });
}

#[test]
fn what_a_kill_before_the_flip_left_is_taken_back() {
    on_ground(|ground| {
        ground.apply(&[row(2, Peer::Others, &[(0, 0, Verdict::Allow, 5)]), group(TENANT, GROUP_B, 2, 0)]);
        let [before, _] = state(ground);
        ground.apply(&[
            row(1, Peer::Others, &[(0, 0, Verdict::Deny, 1)]),
            row(2, Peer::Others, &[(0, 0, Verdict::Deny, 6)]),
            group(TENANT, GROUP_A, 0, 1),
        ]);
        ground.assert_drops(DropReason::PolicyDenied, |ground| probe(ground, 1));
        // The flip never came.
        set_state(&ground.config.pin_dir, 0, before);
        assert_eq!(probe(ground, 2).action, REDIRECT, "packets see the generation before");
        ground.datapath = Datapath::open(&ground.config).unwrap();
        assert_eq!(probe(ground, 3).action, REDIRECT);
        // Another change flips to the same number: what was written for it must not come into force.
        ground.apply(&[row(9, Peer::Others, &[(0, 0, Verdict::Deny, 9)])]);
        assert_eq!(state(ground)[0], before + 1);
        assert_eq!(probe(ground, 4).action, REDIRECT, "{}", ground.story());
    });
}

#[test]
fn when_a_map_is_full_the_last_good_state_stays() {
    on_ground_with(
        |config| config.capacity.rows = 2,
        |ground| {
            ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Allow, 1)]), group(TENANT, GROUP_B, 1, 0)]);
            let before = state(ground);
            let mut records =
                vec![group(TENANT, GROUP_A, 0, 2), row(1, Peer::Others, &[(0, 0, Verdict::Deny, 2)])];
            records.extend((2..6).map(|set| row(set, Peer::Others, &[(0, 0, Verdict::Deny, 2)])));
            let faults = ground.datapath.apply(&records, &[], Generation(99)).unwrap_err();
            assert!(faults.iter().all(|fault| fault.source.is_full()), "{faults:?}");
            let keys: Vec<_> = faults.iter().map(|fault| fault.key.clone().unwrap()).collect();
            assert!(keys.iter().all(|key| matches!(key, Key::Row(..))) && !keys.is_empty(), "{keys:?}");
            assert_eq!(state(ground), before);
            assert_eq!(probe(ground, 1).action, REDIRECT, "{}", ground.story());
            // What fits is realised afterwards.
            ground.apply(&[row(1, Peer::Others, &[(0, 0, Verdict::Deny, 2)])]);
            ground.assert_drops(DropReason::PolicyDenied, |ground| probe(ground, 1));
        },
    );
}

#[test]
fn rows_give_their_intervals_back() {
    on_ground_with(
        |config| config.capacity.intervals = 8,
        |ground| {
            let used = |ground: &Ground| {
                let fill = ground.datapath.fill().unwrap();
                fill.iter()
                    .find(|fill| fill.map == "intervals")
                    .map(|fill| (fill.used, fill.capacity))
                    .unwrap()
            };
            let four = |first| {
                [
                    (0, 0, Verdict::Deny, first),
                    (TCP, 1, Verdict::Allow, 2),
                    (TCP, 2, Verdict::Deny, 3),
                    (UDP, 1, Verdict::Allow, 4),
                ]
            };
            for round in 0..10 {
                ground.apply(&[row(1, Peer::Others, &four(round)), row(2, Peer::Others, &four(round))]);
                assert_eq!(used(ground), (4, 8), "equal rows share, old ones are free");
            }
            let large: Vec<_> = (0..9).map(|port| (TCP, port, Verdict::Allow, 1)).collect();
            let faults =
                ground.datapath.apply(&[row(3, Peer::Others, &large)], &[], Generation(99)).unwrap_err();
            assert!(matches!(faults[0].source, Error::Intervals { .. }), "{faults:?}");
            ground.remove(&[
                Key::Row(TENANT, RuleSetId(1), Peer::Others),
                Key::Row(TENANT, RuleSetId(2), Peer::Others),
            ]);
            assert_eq!(used(ground), (0, 8));
        },
    );
}

#[test]
fn a_resync_sweeps_what_nobody_wants_and_keeps_the_rest() {
    on_ground(|ground| {
        assert_eq!(probe(ground, 7).action, REDIRECT);
        let fill = |ground: &Ground| {
            let fill = ground.datapath.fill().unwrap();
            fill.into_iter()
                .filter(|fill| fill.map != "flows")
                .map(|fill| (fill.map, fill.used))
                .collect::<Vec<_>>()
        };
        let clean = fill(ground);
        ground.apply(&deny_b());
        ground.remove(&[Key::Node(record::NodeId(2))]);
        ground.generation += 1;
        ground.datapath.resync(&world(), Generation(ground.generation)).unwrap();
        assert_eq!(fill(ground), clean);
        assert_eq!(probe(ground, 7).action, REDIRECT, "{}", ground.story());
        let [family, _] = families();
        let far = a_to(Ends::new(family.a, 1, family.far, 2), b"");
        assert_eq!(ground.a_sends(&far).action, REDIRECT, "the node is back");
        // A second time there is nothing to do.
        let before = state(ground);
        ground.datapath.resync(&world(), Generation(ground.generation)).unwrap();
        assert_eq!(state(ground), before);
    });
}

#[test]
fn a_removed_route_uncovers_the_subnet_and_everything_goes_with_the_pins() {
    on_ground(|ground| {
        let [family, _] = families();
        let far = a_to(Ends::new(family.a, 1, family.far, 2), b"");
        assert_eq!(ground.a_sends(&far).action, REDIRECT);
        let vni = record::Vni::new(100).unwrap();
        ground.remove(&[Key::Route(vni, "10.1.2.0/24".parse().unwrap())]);
        ground.assert_drops(DropReason::RouteUnknown, |ground| ground.a_sends(&far));
        Datapath::remove(&ground.config.pin_dir).unwrap();
        Datapath::remove(&ground.config.pin_dir).unwrap();
        assert!(!ground.config.pin_dir.exists());
    });
}

#[test]
fn kernels_without_tcx_are_served_by_clsact() {
    on_ground_with(
        |config| config.hooks = Some(HookKind::Clsact),
        |ground| {
            let filters = |side: &str| {
                let shown = std::process::Command::new("tc")
                    .args(["filter", "show", "dev", "a", side])
                    .output()
                    .unwrap();
                String::from_utf8(shown.stdout).unwrap()
            };
            assert!(filters("ingress").contains("from_container"), "{}", filters("ingress"));
            assert!(filters("egress").contains("to_container"), "{}", filters("egress"));
            // A restart replaces, it does not add.
            ground.datapath = Datapath::open(&ground.config).unwrap();
            assert_eq!(filters("ingress").matches("handle").count(), 1, "{}", filters("ingress"));
            ground.datapath.detach(1).unwrap();
            assert_eq!((filters("ingress"), filters("egress")), (String::new(), String::new()));
        },
    );
}

#[test]
fn dropped_packets_are_told_and_what_is_not_told_is_counted() {
    on_ground_with(
        |config| config.events_per_second = 3,
        |ground| {
            ground.apply(&deny_b());
            for port in 1..=50 {
                ground.assert_drops(DropReason::PolicyDenied, |ground| probe(ground, port));
            }
            let mut told = Vec::new();
            ground
                .datapath
                .events(std::time::Duration::from_millis(200), |sample| told.push(sample))
                .unwrap();
            let [family, _] = families();
            let first = &told[0];
            assert_eq!((first.source, first.source_port), (family.a, 1));
            assert_eq!((first.destination, first.destination_port, first.protocol), (family.b, 53, UDP));
            assert_eq!((first.reason, first.rule.0), (DropReason::PolicyDenied, 1));
            assert_eq!(
                (first.groups, first.direction),
                ((GROUP_A, GROUP_B), Some(record::Direction::Ingress))
            );
            assert!(told.len() < 50, "{}", told.len());
            assert_eq!(told.len() as u64 + ground.datapath.events_lost().unwrap(), 50);
        },
    );
}

#[test]
fn an_endpoint_whose_device_has_gone_hinders_nothing() {
    on_ground(|ground| {
        let [family, _] = families();
        assert!(
            std::process::Command::new("ip").args(["link", "del", "dev", "b"]).status().unwrap().success()
        );
        ground.datapath = Datapath::open(&ground.config).unwrap();
        assert_eq!(probe(ground, 1).action, REDIRECT, "others go on");
        ground.datapath.detach(2).unwrap();
        ground.assert_drops(DropReason::RouteUnknown, |ground| probe(ground, 2));
        let far = a_to(Ends::new(family.a, 1, family.far, 2), b"");
        assert_eq!(ground.a_sends(&far).action, REDIRECT);
    });
}

#[test]
fn attaching_again_changes_the_endpoint_to_what_is_given() {
    on_ground(|ground| {
        let [family, _] = families();
        let to = |last: u8| a_to(Ends::new(family.a, 1, format!("10.1.1.{last}").parse().unwrap(), 2), b"");
        let mut moved = ground.endpoint(2, "b", 100, TENANT, 12, GROUP_B, MAC_B);
        ground.datapath.attach(&moved).unwrap();
        assert_eq!(ground.a_sends(&to(12)).action, REDIRECT);
        ground.assert_drops(DropReason::RouteUnknown, |ground| ground.a_sends(&to(11)));
        // A's address is A's.
        let taken = ground.endpoint(2, "b", 100, TENANT, 10, GROUP_B, MAC_B);
        let refused = ground.datapath.attach(&taken).unwrap_err();
        assert!(matches!(refused, Error::AddressTaken { owner: 1, .. }), "{refused}");
        assert_eq!(ground.a_sends(&to(12)).action, REDIRECT, "what was in force stays");
        // Another endpoint on the same device: the one before has lost it.
        moved.id = 7;
        moved.addresses[0].address = "10.1.1.13".parse().unwrap();
        moved.addresses.truncate(1);
        ground.datapath.attach(&moved).unwrap();
        assert_eq!(ground.a_sends(&to(13)).action, REDIRECT, "{}", ground.story());
        ground.assert_drops(DropReason::RouteUnknown, |ground| ground.a_sends(&to(12)));
        let ids: Vec<_> = ground.datapath.endpoints().unwrap().iter().map(|endpoint| endpoint.id).collect();
        assert!(ids.contains(&7) && !ids.contains(&2), "{ids:?}");
    });
}
