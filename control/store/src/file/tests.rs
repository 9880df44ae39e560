//! A file that fails under the store, by a redb backend that fails on command.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;
use serde_json::json;

use super::*;
use crate::{Cached, Expect};

/// A file whose writes fail while the switch is on, and that counts its syncs.
#[derive(Debug)]
struct Failing {
    file: FileBackend,
    switch: Arc<Switch>,
}

#[derive(Debug, Default)]
struct Switch {
    broken: AtomicBool,
    syncs: AtomicUsize,
}

impl Switch {
    fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }
}

impl Failing {
    fn check(&self) -> io::Result<()> {
        if self.switch.broken.load(Ordering::SeqCst) {
            Err(io::Error::from_raw_os_error(nix::libc::EIO))
        } else {
            Ok(())
        }
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.switch.syncs.fetch_add(1, Ordering::SeqCst);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }
}

fn failing(path: &Path) -> (FileStore, Arc<Switch>) {
    let switch = Arc::new(Switch::default());
    let backend = Arc::clone(&switch);
    let file = path.to_owned();
    let opener: Opener = Box::new(move || {
        let opened =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file);
        let backend = Failing { file: FileBackend::new(opened?)?, switch: Arc::clone(&backend) };
        Ok(Database::builder().create_with_backend(backend)?)
    });
    (FileStore::open_with(path, Retention::default(), opener).unwrap(), switch)
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", "things.test", Some("shop"), name)
}

async fn put(store: &dyn Store, name: &str, value: u64) -> Result<Written, StoreError> {
    store.write(Transaction::put(key(name), Expect::Anything, json!({ "value": value }))).await
}

#[tokio::test]
async fn a_failing_file_refuses_writes_serves_reads_and_recovers_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (file, switch) = failing(&folder.path().join("store.redb"));
    let store = Cached::start(Arc::new(file)).await.unwrap();
    let first = put(&store, "a", 1).await.unwrap().revision;

    switch.set_broken(true);
    for _ in 0..3 {
        let error = put(&store, "a", 2).await.unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
        assert_eq!(store.find(&key("a")).unwrap().value["value"], 1);
        assert_eq!(store.revision(), first);
    }

    switch.set_broken(false);
    let mut watch = store.watch(Scope::all(), first).unwrap();
    let written = put(&store, "b", 3).await.unwrap();
    // What failed may have been carried out, and is then in the history: the watch and the objects agree about it.
    let mut seen = Vec::new();
    while watch.seen() < written.revision {
        seen.extend(watch.next().await.unwrap().events);
    }
    assert_eq!(
        seen.iter().map(|event| event.revision).collect::<Vec<_>>(),
        (first + 1..=written.revision).collect::<Vec<_>>()
    );
    assert_eq!(seen.last().unwrap().key.name(), "b");
    let a = if seen.len() > 1 { 2 } else { 1 };
    assert_eq!(store.find(&key("a")).unwrap().value["value"], a);
}

#[tokio::test]
async fn everyone_in_a_failed_group_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, switch) = failing(&folder.path().join("store.redb"));
    switch.set_broken(true);
    let names: Vec<_> = (0..50).map(|i| format!("n{i}")).collect();
    let outcomes = futures_util::future::join_all(names.iter().map(|name| put(&file, name, 1))).await;
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
}

#[tokio::test]
async fn a_file_put_back_to_an_older_state_is_refused_until_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let (file, switch) = failing(&path);
    put(&file, "a", 1).await.unwrap();
    let copy = folder.path().join("copy.redb");
    std::fs::copy(&path, &copy).unwrap();
    put(&file, "a", 2).await.unwrap();
    switch.set_broken(true);
    put(&file, "a", 3).await.unwrap_err();
    std::fs::copy(&copy, &path).unwrap();
    switch.set_broken(false);
    let error = put(&file, "a", 4).await.unwrap_err();
    assert!(matches!(error, StoreError::Regressed { found: 1, acknowledged: 2, .. }), "{error:?}");
}

#[tokio::test]
async fn writes_that_arrive_together_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (file, switch) = failing(&folder.path().join("store.redb"));
    put(&file, "alone", 0).await.unwrap();
    let before = switch.syncs.load(Ordering::SeqCst);
    put(&file, "alone", 1).await.unwrap();
    let of_one = switch.syncs.load(Ordering::SeqCst) - before;
    assert!(of_one >= 1, "a write alone is made durable");
    let names: Vec<_> = (0..400).map(|i| format!("n{i}")).collect();
    let outcomes = futures_util::future::join_all(names.iter().map(|name| put(&file, name, 1))).await;
    let mut revisions: Vec<_> = outcomes.into_iter().map(|written| written.unwrap().revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (3..=402).collect::<Vec<_>>(), "each is a revision of its own");
    let syncs = switch.syncs.load(Ordering::SeqCst) - before - of_one;
    assert!(syncs < 100 * of_one, "400 writes took {syncs} syncs, one takes {of_one}");
}

#[tokio::test]
async fn a_cache_that_fell_behind_reads_anew_and_sends_its_watchers_back_to_list() {
    let folder = tempfile::tempdir().unwrap();
    let home =
        FileStore::open(&folder.path().join("store.redb"), Retention { events: 5, bytes: 1 << 20 }).unwrap();
    let home = Arc::new(home);
    put(&*home, "old", 1).await.unwrap();
    let store = Cached::start(Arc::clone(&home) as Arc<dyn Store>).await.unwrap();
    let mut watch = store.watch(Scope::all(), 1).unwrap();
    // This thread runs the cache: while it waits here, the cache follows nothing.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                home.write(Transaction::delete(key("old"), Expect::Present)).await.unwrap();
                for i in 0..50 {
                    put(&*home, "new", i).await.unwrap();
                }
            });
        });
    });
    assert!(store.reach(52, std::time::Duration::from_secs(5)).await);
    assert_eq!(store.find(&key("old")), None);
    assert_eq!(store.find(&key("new")).unwrap().value["value"], 49);
    assert!(matches!(watch.next().await, Err(StoreError::Compacted { .. })));
    put(&store, "new", 50).await.unwrap();
    assert_eq!(store.watch(Scope::all(), 52).unwrap().next().await.unwrap().revision, 53);
}

#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(&folder.path().join("store.redb"), Retention::default()).unwrap();
    assert_eq!(std::fs::metadata(store.path()).unwrap().permissions().mode() & 0o777, 0o600);
}
