//! The store beside a model of it: random transactions, then every revision that there ever was.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use store::{Action, Cached, Expect, FileStore, ObjectKey, Retention, Scope, Store, StoreError, Transaction};

/// One object's part of a random transaction.
#[derive(Clone, Debug)]
struct Step {
    name: u8,
    expect: u8,
    put: Option<u16>,
}

/// What an object should be: value, revision, created.
type Model = BTreeMap<ObjectKey, (Value, u64, u64)>;

fn key(name: u8) -> ObjectKey {
    let tenant = if name.is_multiple_of(2) { "even" } else { "odd" };
    ObjectKey::new(tenant, "things.test", (name > 3).then_some("shop"), &format!("n{name}"))
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (0..8_u8, 0..6_u8, proptest::option::weighted(0.7, any::<u16>()))
        .prop_map(|(name, expect, put)| Step { name, expect, put });
    proptest::collection::vec(proptest::collection::vec(step, 1..4), 1..40)
}

fn expectation(step: &Step, model: &Model) -> Expect {
    let revision = model.get(&key(step.name)).map_or(1, |(_, revision, _)| *revision);
    match step.expect {
        0 => Expect::Absent,
        1 => Expect::Present,
        2 => Expect::Revision(revision),
        3 => Expect::Revision(revision + 1),
        _ => Expect::Anything,
    }
}

/// What the model says of a transaction: whether it happens, and the state after it.
fn carry_out(transaction: &Transaction, model: &Model, revision: u64) -> Option<Model> {
    let mut after = model.clone();
    let mut named = std::collections::BTreeSet::new();
    for change in &transaction.changes {
        let found = model.get(&change.key);
        let holds = match change.expect {
            Expect::Anything => true,
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::Revision(wanted) => found.is_some_and(|(_, revision, _)| *revision == wanted),
        };
        if !holds || !named.insert(change.key.clone()) {
            return None;
        }
        match &change.action {
            Action::Put(value) => {
                let created = found.map_or(revision + 1, |(_, _, created)| *created);
                after.insert(change.key.clone(), ((**value).clone(), revision + 1, created));
            }
            Action::Delete => {
                after.remove(&change.key);
            }
            Action::Keep => {}
        }
    }
    Some(after)
}

async fn read(store: &dyn Store, at: u64) -> Model {
    let listing = store.list(&Scope::all(), Some(at)).await.unwrap();
    let objects = listing.objects.into_iter();
    objects
        .map(|object| ((*object.key).clone(), ((*object.value).clone(), object.revision, object.created)))
        .collect()
}

async fn compare(steps: Vec<Vec<Step>>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let open = || FileStore::open(&path, Retention::default()).unwrap();
    let mut history: Vec<Model> = vec![Model::new()];
    {
        let store = Cached::start(Arc::new(open())).await.unwrap();
        for changes in &steps {
            let model = history.last().unwrap();
            let mut transaction = Transaction::default();
            for step in changes {
                let action = step.put.map_or(Action::Delete, |value| Action::Put(Arc::new(json!(value))));
                transaction = transaction.and(key(step.name), expectation(step, model), action);
            }
            let expected = carry_out(&transaction, model, history.len() as u64 - 1);
            let written = store.write(transaction.clone()).await;
            match (written, expected) {
                (Ok(written), Some(after)) => {
                    if written.revision as usize == history.len() {
                        history.push(after);
                    } else {
                        assert_eq!(
                            (written.revision as usize, &after),
                            (history.len() - 1, model),
                            "{transaction:?}"
                        );
                    }
                }
                (Err(StoreError::Conflict { .. } | StoreError::Repeated { .. }), None) => {}
                (written, expected) => panic!("{transaction:?}: {written:?}, expected {expected:?}"),
            }
        }
        for (revision, model) in history.iter().enumerate() {
            assert_eq!(&read(&store, revision as u64).await, model, "revision {revision} from memory");
        }
    }
    let file = open();
    for (revision, model) in history.iter().enumerate() {
        assert_eq!(
            &read(&file, revision as u64).await,
            model,
            "revision {revision} from the file, opened anew"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_revision_is_what_the_transactions_before_it_made(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(compare(steps));
    }
}
