//! Whatever writers do at the same time, every watcher sees one history, without gaps, and ends with what there is.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::BTreeMap;
use std::sync::Arc;

use harness::{Choices, NETWORKS, Server, network};
use proptest::prelude::*;
use serde_json::{Value, json};
use store::{Retention, Scope, Store};

/// What one writer does to one of a few objects.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Make(usize),
    Relabel(usize, bool),
    Delete(usize),
}

/// How a watcher follows.
#[derive(Clone, Copy, Debug)]
struct Habit {
    /// Asks for the state as events, rather than as a list before.
    streams: bool,
    /// Follows labelled objects alone.
    selects: bool,
    /// Ends its watch after so many events, and resumes it.
    resumes_after: usize,
}

const NAMES: usize = 4;

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (0..NAMES).prop_map(Deed::Make),
        (0..NAMES, any::<bool>()).prop_map(|(name, gold)| Deed::Relabel(name, gold)),
        (0..NAMES).prop_map(Deed::Delete),
    ]
}

fn habit() -> impl Strategy<Value = Habit> {
    let habit = |(streams, selects, resumes_after)| Habit { streams, selects, resumes_after };
    (any::<bool>(), any::<bool>(), 1..9_usize).prop_map(habit)
}

async fn write(server: &Server, deeds: Vec<Deed>) {
    for deed in deeds {
        match deed {
            Deed::Make(name) => {
                let mut made = network(&format!("n{name}"), "10.1.0.0/16");
                made["metadata"]["labels"] = json!({ "tier": "gold" });
                server.post(NETWORKS, &made).await;
            }
            Deed::Relabel(name, gold) => {
                let labels = json!({ "tier": if gold { "gold" } else { "iron" } });
                let patch = json!({ "metadata": { "labels": labels } });
                server.merge(&format!("{NETWORKS}/n{name}"), &patch).await;
            }
            Deed::Delete(name) => drop(server.delete(&format!("{NETWORKS}/n{name}")).await),
        }
    }
}

/// What a watcher believes: objects by name.
#[derive(Debug, Default)]
struct Belief {
    objects: BTreeMap<String, Value>,
    revision: u64,
}

impl Belief {
    /// Follows by list and watch, as informers do, until it has seen the last object.
    async fn follow(server: &Server, habit: Habit) -> BTreeMap<String, Value> {
        let mut belief: Option<Self> = None;
        loop {
            let mut known = match belief.take() {
                Some(known) => known,
                None if habit.streams => Self::default(),
                None => Self::list(server, habit).await,
            };
            let fresh = known.revision == 0;
            let mut watch = server.watch(&known.path(habit)).await;
            let mut left = habit.resumes_after;
            let mut lost = false;
            while left > 0 || (fresh && known.revision == 0) {
                let event = watch.next().await.expect("a watch goes on");
                if event["type"] == "ERROR" {
                    assert_eq!(event["object"]["code"], 410, "{event}");
                    lost = true;
                    break;
                }
                known.learn(&event, fresh && known.revision == 0);
                if known.objects.contains_key(LAST) && known.revision > 0 {
                    return known.objects;
                }
                left = left.saturating_sub(1);
            }
            belief = (!lost).then_some(known);
        }
    }

    async fn list(server: &Server, habit: Habit) -> Self {
        let listed = server.get(&format!("{NETWORKS}?{}", habit.selector())).await.expect(200);
        let items = listed.body["items"].as_array().unwrap().iter();
        let objects = items.map(|item| (name(item).to_owned(), item.clone())).collect();
        Self { objects, revision: listed.revision().parse().unwrap() }
    }

    fn path(&self, habit: Habit) -> String {
        let selector = habit.selector();
        let from = match self.revision {
            0 => {
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true".to_owned()
            }
            revision => format!("resourceVersion={revision}"),
        };
        format!("{NETWORKS}?watch=1&{from}&{selector}")
    }

    /// `initial`: the event tells of what was there before, by name and not in the order of time.
    fn learn(&mut self, event: &Value, initial: bool) {
        let object = &event["object"];
        let at: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        let known = self.objects.get(name(object));
        match event["type"].as_str().unwrap() {
            "BOOKMARK" => {
                self.revision = at;
                return;
            }
            "ADDED" => assert!(known.is_none(), "{object} is added to {known:?}"),
            "MODIFIED" => assert!(known.is_some(), "{object} changes and was not there"),
            "DELETED" => assert!(known.is_some(), "{object} goes and was not there"),
            other => panic!("{other}"),
        }
        assert!(initial || at > self.revision, "{at} after {}", self.revision);
        if event["type"] == "DELETED" {
            self.objects.remove(name(object));
        } else {
            self.objects.insert(name(object).to_owned(), object.clone());
        }
        if !initial {
            self.revision = at;
        }
    }
}

impl Habit {
    fn selector(self) -> &'static str {
        if self.selects { "labelSelector=tier%3Dgold" } else { "" }
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// By this object watchers know that nothing more comes.
const LAST: &str = "zlast";

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_watcher_ends_with_what_there_is(
        writers in prop::collection::vec(prop::collection::vec(deed(), 1..12), 1..4),
        habits in prop::collection::vec(habit(), 1..6),
        kept in prop::sample::select(vec![4_usize, 16, 1000]),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let retention = Retention { events: kept, bytes: 1 << 20 };
            let server = Arc::new(Server::start_with(Choices { retention, ..Choices::default() }).await);
            let watchers: Vec<_> = habits.iter().map(|habit| {
                let (server, habit) = (Arc::clone(&server), *habit);
                tokio::spawn(async move { Belief::follow(&server, habit).await })
            }).collect();
            let writing: Vec<_> = writers.into_iter().map(|deeds| {
                let server = Arc::clone(&server);
                tokio::spawn(async move { write(&server, deeds).await })
            }).collect();
            for writer in writing {
                writer.await.unwrap();
            }
            let mut last = network(LAST, "10.9.0.0/16");
            last["metadata"]["labels"] = json!({ "tier": "gold" });
            server.post(NETWORKS, &last).await.expect(201);
            for (watcher, habit) in watchers.into_iter().zip(habits) {
                let believed = watcher.await.unwrap();
                let listed = Belief::list(&server, habit).await.objects;
                prop_assert_eq!(believed, listed, "{:?}", habit);
            }
            prop_assert_eq!(server.store.span().revision, server.store.objects(&Scope::all()).revision);
            Ok(())
        })?;
    }
}
