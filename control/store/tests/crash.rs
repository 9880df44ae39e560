//! Writers that are killed, and disks that are full. The writer is this test program, started anew as a child.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use store::{Cached, Expect, FileStore, ObjectKey, Retention, Scope, Store, StoreError, Transaction};

const FILE: &str = "SEALANE_TEST_STORE";
const WRITERS: usize = 6;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", "things.test", Some("shop"), name)
}

/// Kills and reaps the child even when the test fails.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn child(path: &Path, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]).env(FILE, path);
    command
}

/// Not a test of its own: writes for ever and says what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of killed_writers_lose_nothing_acknowledged"]
async fn child_writes_until_killed() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let store =
        Arc::new(FileStore::open(Path::new(&path), Retention { events: 500, bytes: 1 << 30 }).unwrap());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for count in store.span().revision.. {
                    let value = json!({ "count": count, "ballast": "x".repeat(count as usize % 5000) });
                    let written = store
                        .write(Transaction::put(key(&format!("w{writer}")), Expect::Anything, value))
                        .await;
                    let line = format!("ACK w{writer} {count} {}\n", written.unwrap().revision);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn killed_writers_lose_nothing_acknowledged() {
    const KILLS: u64 = 14;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let mut acknowledged: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut total = 0;
    for round in 0..KILLS {
        let mut writer =
            Guard(child(&path, "child_writes_until_killed").stdout(Stdio::piped()).spawn().unwrap());
        let pid = Pid::from_raw(writer.0.id() as i32);
        let output = writer.0.stdout.take().unwrap();
        let mut lines =
            BufReader::new(output).lines().map_while(Result::ok).filter(|line| line.starts_with("ACK "));
        let mut take = |line: String| {
            // A line cut short by the kill was not read by anybody as an acknowledgement.
            if let [_, name, count, revision] = line.split(' ').collect::<Vec<_>>()[..] {
                let numbers = (count.parse().unwrap(), revision.parse().unwrap());
                let newest = acknowledged.entry(name.to_owned()).or_insert(numbers);
                *newest = (*newest).max(numbers);
                total += 1;
            }
        };
        take(lines.next().expect("the child acknowledges its first write"));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20 + 37 * round));
            kill(pid, Signal::SIGKILL).unwrap();
        });
        lines.for_each(&mut take);
        killer.join().unwrap();
        drop(writer);

        let store = FileStore::open(&path, Retention { events: 500, bytes: 1 << 30 }).unwrap();
        let span = store.span();
        for (name, (count, revision)) in &acknowledged {
            let object = store
                .get(&key(name))
                .await
                .unwrap()
                .unwrap_or_else(|| panic!("{name} is lost in round {round}"));
            let found = object.value["count"].as_u64().unwrap();
            assert!(
                found >= *count,
                "round {round}: {name} acknowledged {count} at {revision}, found {found}; {span:?}"
            );
            assert!(span.revision >= *revision && object.revision >= *revision);
        }
        let mut watch = store.watch(Scope::all(), span.compacted).unwrap();
        let mut history = Vec::new();
        while let Some(batch) = watch.ready().unwrap() {
            history.extend(batch.events.iter().map(|event| event.revision));
        }
        assert_eq!(history, (span.compacted + 1..=span.revision).collect::<Vec<_>>(), "history has no gaps");
    }
    assert!(total > KILLS * 10, "only {total} writes were acknowledged: the test killed nothing at work");
}

/// Not a test of its own: runs in a mount namespace whose folder is a small file system.
#[tokio::test]
#[ignore = "the child of a_full_disk_refuses_writes_and_serves_reads"]
async fn child_fills_its_disk() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let path = Path::new(&path);
    let ballast = path.parent().unwrap().join("ballast");
    let store = Cached::start(Arc::new(FileStore::open(path, Retention::default()).unwrap())).await.unwrap();
    let write = async |name: &str, bytes: usize| {
        store.write(Transaction::put(key(name), Expect::Anything, json!("x".repeat(bytes)))).await
    };
    let first = write("first", 10).await.unwrap();
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let mut acknowledged = vec![];
    let error = loop {
        let name = format!("n{}", acknowledged.len());
        match write(&name, 100_000).await {
            Ok(_) => acknowledged.push(name),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 1000, "the disk never filled");
    };
    assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
    assert!(write("more", 100_000).await.is_err());
    assert_eq!(store.find(&key("first")).unwrap().revision, first.revision);
    assert!(acknowledged.iter().all(|name| store.find(&key(name)).is_some()));

    std::fs::remove_file(&ballast).unwrap();
    write("after", 10).await.expect("room again: writes go on without a restart");
    assert!(acknowledged.iter().all(|name| store.find(&key(name)).is_some()));
    drop(store);
    let store = FileStore::open(path, Retention::default()).unwrap();
    for name in acknowledged.iter().map(String::as_str).chain(["first", "after"]) {
        assert!(store.get(&key(name)).await.unwrap().is_some(), "{name} is lost");
    }
    println!("FULL DISK SEEN after {} writes", acknowledged.len());
}

#[test]
fn a_full_disk_refuses_writes_and_serves_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let inner = child(&path, "child_fills_its_disk");
    let script = "mount -t tmpfs -o size=8m,mode=0700 sealane-test \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(folder.path());
    command.arg(inner.get_program()).args(inner.get_args()).env(FILE, &path);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("FULL DISK SEEN"), "{said}\n{complained}");
}

/// A source of numbers that is the same in every run (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

async fn filled(path: &Path) -> store::Listing {
    let store = FileStore::open(path, Retention::default()).unwrap();
    for i in 0..200 {
        let value = json!("x".repeat(300));
        store.write(Transaction::put(key(&format!("n{i}")), Expect::Anything, value)).await.unwrap();
    }
    store.list(&Scope::all(), None).await.unwrap()
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_a_remedy_and_never_taken_for_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let before = filled(&path).await;
    let whole = std::fs::read(&path).unwrap();
    let mut dice = Dice(0x5ea1_a9e5);
    let mut refused = 0;
    for round in 0..120 {
        let mut damaged = whole.clone();
        for _ in 0..=dice.roll(20) {
            let at = dice.roll(damaged.len());
            let end = damaged.len().min(at + 1 + dice.roll(64));
            damaged[at..end].iter_mut().for_each(|byte| *byte = dice.roll(256) as u8);
        }
        std::fs::write(&path, &damaged).unwrap();
        match FileStore::open(&path, Retention::default()) {
            Ok(store) => {
                assert_eq!(store.list(&Scope::all(), None).await.unwrap(), before, "round {round}");
                store.write(Transaction::put(key("new"), Expect::Anything, json!(1))).await.unwrap();
            }
            Err(error) => {
                let told = error.to_string();
                assert!(told.contains("restore a copy") && told.contains("s.redb"), "round {round}: {told}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "the damage never touched anything");
}

#[tokio::test]
async fn a_file_that_is_empty_cut_short_or_something_else_is_no_new_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    filled(&path).await;
    let whole = std::fs::read(&path).unwrap();
    let cut = [0, 1, 8, 100, 4096, whole.len() / 2].map(|length| whole[..length].to_vec());
    for damaged in cut.into_iter().chain([vec![0; 4096], vec![0; 1 << 20], b"#!/bin/sh\n".repeat(1000)]) {
        std::fs::write(&path, &damaged).unwrap();
        let error = FileStore::open(&path, Retention::default()).unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { .. }) && error.to_string().contains("move it away"),
            "{} bytes: {error:?}",
            damaged.len()
        );
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "what was found is left as it was found");
    }
}

/// Not a test of its own: opens a store for the first time and goes on opening new ones until it is killed.
#[test]
#[ignore = "the child of a_first_start_that_is_killed_leaves_nothing_or_a_store"]
fn child_starts_for_the_first_time() {
    let Some(path) = std::env::var_os(FILE) else { return };
    std::io::stdout().lock().write_all(b"BEGINS\n").unwrap();
    for count in 0.. {
        drop(FileStore::open(&Path::new(&path).join(format!("{count}.redb")), Retention::default()).unwrap());
    }
}

#[tokio::test]
async fn a_first_start_that_is_killed_leaves_nothing_or_a_store() {
    let mut drafts = 0;
    for round in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let mut starting = Guard(
            child(folder.path(), "child_starts_for_the_first_time").stdout(Stdio::piped()).spawn().unwrap(),
        );
        let lines = BufReader::new(starting.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.into_iter().any(|line| line.contains("BEGINS")));
        std::thread::sleep(Duration::from_micros(500 + 1_770 * round));
        drop(starting);
        let names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        drafts += names.iter().filter(|name| name.ends_with(".new")).count();
        for name in names {
            let path = folder.path().join(name.trim_end_matches(".new"));
            let store = FileStore::open(&path, Retention::default()).expect("nothing stands in the way");
            store.write(Transaction::put(key("first"), Expect::Absent, json!(1))).await.unwrap();
            drop(store);
            assert!(!folder.path().join(format!("{name}.new")).exists());
        }
    }
    assert!(drafts > 0, "no start was ever killed in the middle");
}

#[test]
fn two_first_starts_at_once_make_one_store() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = folder.path().join(format!("{round}.redb"));
        let barrier = std::sync::Barrier::new(4);
        let opened: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                FileStore::open(&path, Retention::default())
            };
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let (held, refused): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!(held.len(), 1, "round {round}");
        for error in refused.into_iter().filter_map(Result::err) {
            assert!(matches!(error, StoreError::Locked { .. }), "round {round}: {error:?}");
        }
    }
}
