//! A store, its backup, and a store made from that.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use store::backup::{self, BackupError};
use store::{
    Cached, Expect, FileStore, Listing, ObjectKey, RestorationError, Retention, Scope, Store, StoreError,
    Transaction, restore,
};

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("acme", "things.test", Some("shop"), name)
}

fn mark() -> (ObjectKey, serde_json::Value) {
    (ObjectKey::new("system", "marks.test", None, "restored"), json!({ "restored": true }))
}

async fn open(path: &Path) -> Cached {
    let home = FileStore::open(path, Retention::default()).unwrap();
    Cached::start(Arc::new(home)).await.unwrap()
}

async fn put(store: &Cached, name: &str, value: u64) -> u64 {
    store.write(Transaction::put(key(name), Expect::Anything, json!(value))).await.unwrap().revision
}

fn taken(listing: Listing) -> Vec<u8> {
    backup::lines(listing, "2026-11-20T00:00:00Z".to_owned(), "0.1.0").flatten().collect()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A store with two objects, its backup, and one more write.
async fn world(folder: &Path) -> (PathBuf, Vec<u8>, u64) {
    let path = folder.join("server.redb");
    let store = open(&path).await;
    put(&store, "a", 1).await;
    put(&store, "b", 2).await;
    put(&store, "a", 3).await;
    let backup = taken(store.objects(&Scope::all()));
    let later = put(&store, "c", 4).await;
    (path, backup, later)
}

#[tokio::test]
async fn a_restored_store_is_the_backups_state_and_sends_watchers_of_the_other_history_back_to_list() {
    let folder = tempfile::tempdir().unwrap();
    let (path, backup, later) = world(folder.path()).await;
    let restored = restore(&backup[..], &path, mark(), true).unwrap();
    assert_eq!((restored.header.revision, restored.header.objects), (3, 2));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let store = open(&path).await;
    let a = store.find(&key("a")).unwrap();
    assert_eq!((&*a.value, a.revision, a.created), (&json!(3), 3, 1));
    assert_eq!((store.find(&key("b")).unwrap().revision, store.find(&key("c"))), (2, None));
    assert_eq!(*store.find(&mark().0).unwrap().value, mark().1);
    let stale = store.watch(Scope::all(), later);
    assert!(matches!(stale, Err(StoreError::Compacted { .. })), "{stale:?}");
    assert!(put(&store, "d", 5).await > later, "no revision is given twice");
    drop(store);
    let kept = open(&restored.kept.unwrap()).await;
    assert_eq!(*kept.find(&key("c")).unwrap().value, json!(4), "what was there is kept");
}

#[tokio::test]
async fn a_store_that_is_there_is_replaced_only_when_told_and_never_under_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let (path, backup, _) = world(folder.path()).await;
    let before = files(folder.path());
    let refused = restore(&backup[..], &path, mark(), false);
    assert!(matches!(refused, Err(RestorationError::Present { .. })), "{refused:?}");
    let running = open(&path).await;
    let refused = restore(&backup[..], &path, mark(), true);
    assert!(matches!(refused, Err(RestorationError::Store(StoreError::Locked { .. }))), "{refused:?}");
    assert_eq!(*running.find(&key("c")).unwrap().value, json!(4));
    drop(running);
    assert_eq!(files(folder.path()), before, "a refusal leaves nothing behind");
    for round in 1..3 {
        let kept = restore(&backup[..], &path, mark(), true).unwrap().kept.unwrap();
        assert_eq!(kept.file_name().unwrap(), format!("server.redb.replaced-{round}").as_str());
    }
}

#[tokio::test]
async fn a_damaged_backup_changes_nothing_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut backup, _) = world(folder.path()).await;
    let before = (files(folder.path()), fs::read(&path).unwrap());
    let cut = restore(&backup[..backup.len() - 10], &path, mark(), true);
    assert!(
        matches!(cut, Err(RestorationError::Backup(BackupError::Truncated { objects: 2, expected: 2 }))),
        "{cut:?}"
    );
    let at = backup.windows(6).position(|part| part == b"shop\",").unwrap();
    backup[at] = b'S';
    let flipped = restore(&backup[..], &path, mark(), true);
    assert!(matches!(flipped, Err(RestorationError::Backup(_))), "{flipped:?}");
    assert_eq!((files(folder.path()), fs::read(&path).unwrap()), before);
    let fresh = folder.path().join("fresh.redb");
    restore(&backup[..], &fresh, mark(), false).unwrap_err();
    assert!(!fresh.exists(), "a new store is not begun with it either");
}
