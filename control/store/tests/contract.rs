//! What every `Store` promises, held against the file and against the cache over it.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use redb::TableDefinition;
use serde_json::{Value, json};
use store::{
    Action, Cached, Event, Expect, FileStore, ObjectKey, Retention, SCHEMA, Scope, Store, StoreError,
    Transaction, Written,
};

const THINGS: &str = "things.test";

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", THINGS, Some("shop"), name)
}

fn file(folder: &tempfile::TempDir) -> FileStore {
    FileStore::open(&folder.path().join("s.redb"), Retention::default()).unwrap()
}

/// Runs the claim on a fresh file, and on a fresh cache over a file.
async fn on_each<F: AsyncFn(&dyn Store)>(claim: F) {
    let folder = tempfile::tempdir().unwrap();
    claim(&file(&folder)).await;
    let folder = tempfile::tempdir().unwrap();
    claim(&Cached::start(Arc::new(file(&folder))).await.unwrap()).await;
}

async fn put(store: &dyn Store, name: &str, value: u64) -> Written {
    store.write(Transaction::put(key(name), Expect::Anything, json!(value))).await.unwrap()
}

async fn delete(store: &dyn Store, name: &str) -> Written {
    store.write(Transaction::delete(key(name), Expect::Present)).await.unwrap()
}

async fn values(store: &dyn Store, scope: &Scope, at: Option<u64>) -> Vec<(String, Value)> {
    let listing = store.list(scope, at).await.unwrap();
    listing.objects.iter().map(|object| (object.key.name().to_owned(), (*object.value).clone())).collect()
}

/// (revision, name, new value, old value) of each event.
type Seen = (u64, String, Option<Value>, Option<Value>);

fn seen(event: &Event) -> Seen {
    let value = |object: &Option<store::Object>| object.as_ref().map(|object| (*object.value).clone());
    (event.revision, event.key.name().to_owned(), value(&event.object), value(&event.previous))
}

async fn watched(store: &dyn Store, scope: Scope, after: u64, through: u64) -> Vec<Seen> {
    let mut watch = store.watch(scope, after).unwrap();
    let mut events = Vec::new();
    while watch.seen() < through {
        match watch.ready().unwrap() {
            Some(batch) => events.extend(batch.events.iter().map(|event| seen(event))),
            None => tokio::task::yield_now().await,
        }
    }
    events
}

#[tokio::test]
async fn compare_and_set_lets_one_writer_through() {
    on_each(async |store| {
        let made = store.write(Transaction::put(key("a"), Expect::Absent, json!(1))).await.unwrap();
        assert_eq!((made.revision, made.objects[0].as_ref().unwrap().created), (1, 1));
        let again = store.write(Transaction::put(key("a"), Expect::Absent, json!(2))).await.unwrap_err();
        assert!(
            matches!(again, StoreError::Conflict { found: Some(1), expected: Expect::Absent, .. }),
            "{again:?}"
        );
        let writers = (0..20).map(|i| store.write(Transaction::put(key("a"), Expect::Revision(1), json!(i))));
        let outcomes = futures_util::future::join_all(writers).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let object = store.get(&key("a")).await.unwrap().unwrap();
        assert_eq!((object.revision, object.created), (2, 1));
        let missing = store.write(Transaction::delete(key("b"), Expect::Present)).await.unwrap_err();
        assert!(matches!(missing, StoreError::Conflict { found: None, .. }), "{missing:?}");
        assert_eq!(store.span().revision, 2);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_happens_whole_as_one_revision_or_not_at_all() {
    on_each(async |store| {
        put(store, "a", 1).await;
        let refused = Transaction::put(key("b"), Expect::Anything, json!(2))
            .and(key("a"), Expect::Anything, Action::Delete)
            .and(key("c"), Expect::Present, Action::Keep);
        let error = store.write(refused).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { ref key, .. } if key.name() == "c"), "{error:?}");
        assert_eq!(values(store, &Scope::all(), None).await, [("a".to_owned(), json!(1))]);

        let twice = Transaction::put(key("b"), Expect::Anything, json!(2)).and(
            key("b"),
            Expect::Anything,
            Action::Delete,
        );
        assert!(matches!(store.write(twice).await, Err(StoreError::Repeated { .. })));

        let whole = Transaction::put(key("b"), Expect::Absent, json!(2)).and(
            key("a"),
            Expect::Revision(1),
            Action::Delete,
        );
        let written = store.write(whole).await.unwrap();
        assert_eq!((written.revision, written.objects[1].is_none()), (2, true));
        let events = watched(store, Scope::all(), 1, 2).await;
        assert_eq!(events, [(2, "b".into(), Some(json!(2)), None), (2, "a".into(), None, Some(json!(1)))]);

        let nothing = store.write(Transaction::delete(key("a"), Expect::Anything)).await.unwrap();
        assert_eq!(nothing.revision, 2, "a transaction that changes nothing is no revision");
    })
    .await;
}

#[tokio::test]
async fn a_list_shows_the_past_as_it_was() {
    on_each(async |store| {
        put(store, "a", 1).await;
        put(store, "b", 2).await;
        put(store, "a", 3).await;
        delete(store, "b").await;
        let all = Scope::all();
        assert_eq!(values(store, &all, Some(0)).await, []);
        assert_eq!(values(store, &all, Some(2)).await, [("a".into(), json!(1)), ("b".into(), json!(2))]);
        assert_eq!(values(store, &all, Some(3)).await, [("a".into(), json!(3)), ("b".into(), json!(2))]);
        assert_eq!(values(store, &all, None).await, [("a".into(), json!(3))]);
        let future = store.list(&all, Some(9)).await.unwrap_err();
        assert!(matches!(future, StoreError::Future { revision: 9, newest: 4 }), "{future:?}");
    })
    .await;
}

#[tokio::test]
async fn a_scope_holds_its_own_and_nothing_else() {
    on_each(async |store| {
        let keys = [
            ObjectKey::new("default", "namespaces", None, "shop"),
            ObjectKey::new("default", THINGS, Some("shop"), "a"),
            ObjectKey::new("default", THINGS, Some("shop2"), "a"),
            ObjectKey::new("other", THINGS, Some("shop"), "a"),
            ObjectKey::new("other", THINGS, None, "cluster"),
        ];
        for key in &keys {
            store.write(Transaction::put(key.clone(), Expect::Absent, json!(1))).await.unwrap();
        }
        let cases = [
            (Scope::all(), vec![0, 1, 2, 3, 4]),
            (Scope::resource(THINGS), vec![1, 2, 3, 4]),
            (Scope::resource(THINGS).of_tenant("other"), vec![3, 4]),
            (Scope::resource(THINGS).of_tenant("default").in_namespace("shop"), vec![1]),
            (Scope::resource(THINGS).in_namespace("shop"), vec![1, 3]),
            (Scope::all().of_tenant("default"), vec![0, 1, 2]),
            (Scope::resource("thing"), vec![]),
        ];
        for (scope, expected) in cases {
            let mut expected: Vec<_> = expected.into_iter().map(|i| keys[i].clone()).collect();
            let events = watched(store, scope.clone(), 0, 5).await.len();
            assert_eq!(events, expected.len(), "{scope:?}");
            let listing = store.list(&scope, None).await.unwrap();
            let found: Vec<_> = listing.objects.iter().map(|object| (*object.key).clone()).collect();
            expected.sort();
            assert_eq!(found, expected, "{scope:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn compacted_history_is_refused_and_objects_stay() {
    on_each(async |store| {
        for i in 0..10 {
            put(store, "a", i).await;
        }
        let mut behind = store.watch(Scope::all(), 3).unwrap();
        store.compact(5).await.unwrap();
        assert!(matches!(
            store.watch(Scope::all(), 4),
            Err(StoreError::Compacted { revision: 4, compacted: 5 })
        ));
        assert!(matches!(store.list(&Scope::all(), Some(4)).await, Err(StoreError::Compacted { .. })));
        assert!(matches!(behind.next().await, Err(StoreError::Compacted { revision: 3, compacted: 5 })));
        assert_eq!(values(store, &Scope::all(), Some(5)).await, [("a".into(), json!(4))]);
        assert_eq!(watched(store, Scope::all(), 5, 10).await.len(), 5);
        assert!(matches!(store.compact(11).await, Err(StoreError::Future { .. })));
    })
    .await;
}

#[tokio::test]
async fn history_stays_within_its_bounds_and_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let retention = Retention { events: 10, bytes: 1 << 20 };
    let before = {
        let store = FileStore::open(&path, retention).unwrap();
        for i in 0..25 {
            put(&store, "a", i).await;
        }
        assert_eq!((store.span().compacted, store.span().revision), (15, 25));
        watched(&store, Scope::all(), 15, 25).await
    };
    let store = Cached::start(Arc::new(FileStore::open(&path, retention).unwrap())).await.unwrap();
    assert_eq!((store.span().compacted, store.span().revision), (15, 25));
    assert_eq!(watched(&store, Scope::all(), 15, 25).await, before);
    put(&store, "b", 1).await;
    assert_eq!(store.span().compacted, 16);

    let folder = tempfile::tempdir().unwrap();
    let small = FileStore::open(&folder.path().join("s.redb"), Retention { events: 100, bytes: 1 }).unwrap();
    put(&small, "a", 1).await;
    put(&small, "a", 2).await;
    assert_eq!(small.span().compacted, 1, "the newest transaction is always kept");
}

#[tokio::test]
async fn a_second_server_on_the_same_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let _first = file(&folder);
    let second = FileStore::open(&folder.path().join("s.redb"), Retention::default()).unwrap_err();
    assert!(matches!(second, StoreError::Locked { .. }), "{second:?}");
    assert!(second.to_string().contains("another server uses this file"), "{second}");
}

fn set_schema(path: &Path, schema: u64) {
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(TableDefinition::<&str, u64>::new("meta"))
        .unwrap()
        .insert("schema", schema)
        .unwrap();
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_file_of_another_schema_is_refused_with_the_remedy_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    put(&file(&folder), "a", 1).await;
    set_schema(&path, SCHEMA + 1);
    for _ in 0..2 {
        let newer = FileStore::open(&path, Retention::default()).unwrap_err();
        assert!(
            matches!(newer, StoreError::Newer { found, known: SCHEMA, .. } if found == SCHEMA + 1),
            "{newer:?}"
        );
        assert!(newer.to_string().contains("start the release that wrote it"), "{newer}");
    }
    set_schema(&path, 0);
    let older = FileStore::open(&path, Retention::default()).unwrap_err();
    assert!(matches!(older, StoreError::Older { found: 0, .. }), "{older:?}");
    set_schema(&path, SCHEMA);
    assert_eq!(values(&file(&folder), &Scope::all(), None).await, [("a".into(), json!(1))]);
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let text = "these are a stranger's notes\n".repeat(400);
    std::fs::write(&path, &text).unwrap();
    let error = FileStore::open(&path, Retention::default()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn whoever_writes_through_the_cache_reads_it_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = Cached::start(Arc::new(file(&folder))).await.unwrap();
    for i in 0..100 {
        put(&store, "a", i).await;
        assert_eq!(*store.find(&key("a")).unwrap().value, json!(i));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_resumed_under_load_lose_nothing_and_repeat_nothing() {
    const WRITERS: u64 = 8;
    const EACH: u64 = 150;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Cached::start(Arc::new(file(&folder))).await.unwrap());
    let reader = |pause: usize| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let (listing, mut watch) = store.subscribe(Scope::resource(THINGS));
            assert!(listing.objects.is_empty());
            let mut revisions = Vec::new();
            while revisions.len() < (WRITERS * EACH) as usize {
                revisions.extend(watch.next().await.unwrap().events.iter().map(|event| event.revision));
                if revisions.len() % pause == 0 {
                    // As a client does whose connection broke.
                    watch = store.watch(Scope::resource(THINGS), *revisions.last().unwrap()).unwrap();
                }
            }
            revisions
        })
    };
    let readers = [reader(1), reader(2), reader(7)];
    tokio::task::yield_now().await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for i in 0..EACH {
                    put(&*store, &format!("w{writer}"), i).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for reader in readers {
        let revisions = reader.await.unwrap();
        assert_eq!(revisions, (1..=WRITERS * EACH).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_watch_ends_when_its_store_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = Cached::start(Arc::new(file(&folder))).await.unwrap();
    let mut watch = store.watch(Scope::all(), 0).unwrap();
    put(&store, "a", 1).await;
    drop(store);
    assert_eq!(watch.next().await.unwrap().events.len(), 1, "what happened before is still delivered");
    assert!(matches!(watch.next().await, Err(StoreError::Closed)));
}
