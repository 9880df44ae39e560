//! `make bench`: the directory's own speed. The server and its clients are one process; both share the machine.
//!
//! Prints three rows and writes them to `target/bench/directory.json`: durable writes beside the store's own at the same batch,
//! a list of many objects, and how soon a write is seen by many watchers. `BENCH_QUICK=1` is there to see that it works.
#![allow(clippy::unwrap_used)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use harness::{NETWORKS, Server, network, policies, policy};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use store::{Expect, ObjectKey, Store, Transaction};
use tokio::net::UnixStream;

/// How much is measured.
#[derive(Clone, Copy)]
struct Amount {
    rounds: usize,
    window: Duration,
    objects: usize,
    lists: usize,
    watchers: usize,
    writes: usize,
}

const FULL: Amount = Amount {
    rounds: 7,
    window: Duration::from_secs(2),
    objects: 10_000,
    lists: 15,
    watchers: 1000,
    writes: 60,
};
const QUICK: Amount =
    Amount { rounds: 2, window: Duration::from_millis(200), objects: 200, lists: 3, watchers: 20, writes: 5 };

#[tokio::main(worker_threads = 2)]
async fn main() {
    // Cargo's own arguments mean nothing here.
    let quick = std::env::var_os("BENCH_QUICK").is_some_and(|value| value == "1");
    let amount = if quick { QUICK } else { FULL };
    let rows = [writes(amount).await, lists(amount).await, watches(amount).await];
    for row in &rows {
        println!("{row}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("directory.json"), serde_json::to_vec_pretty(&rows).unwrap()).unwrap();
}

/// A connection of its own to the server's socket.
async fn connect(server: &Server) -> http1::SendRequest<Body> {
    let stream = UnixStream::connect(&server.socket).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: Method, path: &str, body: String) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    request.header("content-type", "application/json").body(Body::from(body)).unwrap()
}

/// Writes a second through the API, and straight into a store of the same kind, by turns.
async fn writes(amount: Amount) -> Value {
    let (own, other) = (Server::start().await, Server::start().await);
    let mut senders = Vec::new();
    for _ in 0..WRITERS {
        senders.push(Some(connect(&own).await));
    }
    let (mut through, mut straight) = (Vec::new(), Vec::new());
    for round in 0..amount.rounds {
        through.push(api_rate(&mut senders, round, amount.window).await);
        straight.push(store_rate(&other, round, amount.window).await);
    }
    let ratios: Vec<_> = through.iter().zip(&straight).map(|(own, other)| own / other).collect();
    json!({
        "name": "directory-write", "unit": "1/s", "value": quantile(&through, 0.5),
        "baseline_name": format!("the store alone, {WRITERS} writers"), "baseline": quantile(&straight, 0.5),
        "ratio": quantile(&ratios, 0.5), "goal": 0.8, "met": quantile(&ratios, 0.5) >= 0.8,
    })
}

async fn api_rate(senders: &mut [Option<http1::SendRequest<Body>>], round: usize, window: Duration) -> f64 {
    let began = Instant::now();
    let writers: Vec<_> = senders
        .iter_mut()
        .enumerate()
        .map(|(writer, sender)| {
            let mut sender = sender.take().unwrap();
            tokio::spawn(async move {
                let mut done = 0;
                while began.elapsed() < window {
                    let document = policy(&format!("r{round}w{writer}n{done}")).to_string();
                    let post = request(Method::POST, &policies("default"), document);
                    sender.ready().await.unwrap();
                    let answer = sender.send_request(post).await.unwrap();
                    assert_eq!(answer.status(), 201);
                    answer.into_body().collect().await.unwrap();
                    done += 1;
                }
                (sender, done)
            })
        })
        .collect();
    let mut done = 0;
    for (place, writer) in senders.iter_mut().zip(writers) {
        let (sender, count) = writer.await.unwrap();
        *place = Some(sender);
        done += count;
    }
    f64::from(done) / began.elapsed().as_secs_f64()
}

async fn store_rate(server: &Server, round: usize, window: Duration) -> f64 {
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&server.store);
            tokio::spawn(async move {
                let mut done = 0;
                while began.elapsed() < window {
                    let name = format!("r{round}w{writer}n{done}");
                    let resource = "networkpolicies.networking.k8s.io";
                    let key = ObjectKey::new("default", resource, Some("default"), &name);
                    store.write(Transaction::put(key, Expect::Absent, policy(&name))).await.unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for writer in writers {
        done += writer.await.unwrap();
    }
    f64::from(done) / began.elapsed().as_secs_f64()
}

/// Milliseconds until a whole list is read.
async fn lists(amount: Amount) -> Value {
    let server = Server::start().await;
    let made = server.post(&policies("default"), &policy("first")).await.expect(201).body;
    let resource = "networkpolicies.networking.k8s.io";
    for chunk in (0..amount.objects).collect::<Vec<_>>().chunks(500) {
        let put = |all: Transaction, number: &usize| {
            let name = format!("p{number}");
            let mut document = made.clone();
            document["metadata"]["name"] = json!(name);
            let key = ObjectKey::new("default", resource, Some("default"), &name);
            all.and(key, Expect::Absent, store::Action::Put(document.into()))
        };
        server.store.write(chunk.iter().fold(Transaction::default(), put)).await.unwrap();
    }
    let mut sender = connect(&server).await;
    let mut taken = Vec::new();
    for _ in 0..amount.lists {
        sender.ready().await.unwrap();
        let began = Instant::now();
        let answer =
            sender.send_request(request(Method::GET, &policies("default"), String::new())).await.unwrap();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        taken.push(millis(began.elapsed()));
        assert!(bytes.len() > amount.objects * 100);
    }
    let name = format!("directory-list-{}", amount.objects);
    lone(&name, quantile(&taken, 0.5))
}

/// Milliseconds from the beginning of a write until a watcher has read of it: the 99th percentile over watchers and writes.
async fn watches(amount: Amount) -> Value {
    let server = Server::start().await;
    server.post(NETWORKS, &network("red", "10.1.0.0/16")).await.expect(201);
    let origin = Instant::now();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut watchers = Vec::new();
    for _ in 0..amount.watchers {
        let mut sender = connect(&server).await;
        let path = format!("{NETWORKS}?watch=1&resourceVersion={}", server.store.revision());
        let mut body =
            sender.send_request(request(Method::GET, &path, String::new())).await.unwrap().into_body();
        let seen = Arc::clone(&seen);
        watchers.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while times.len() < amount.writes {
                let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
                // Each event is a line.
                let events = frame.iter().filter(|byte| **byte == b'\n').count();
                times.extend(std::iter::repeat_n(origin.elapsed(), events));
                seen.fetch_add(events, Ordering::SeqCst);
            }
            drop(sender);
            times
        }));
    }
    let mut written = Vec::new();
    for write in 0..amount.writes {
        written.push(origin.elapsed());
        let patch = json!({ "metadata": { "labels": { "write": write.to_string() } } });
        server.merge(&format!("{NETWORKS}/red"), &patch).await.expect(200);
        // One after the other: a queue would be measured instead.
        while seen.load(Ordering::SeqCst) < (write + 1) * amount.watchers {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let mut taken = Vec::new();
    for watcher in watchers {
        let times = watcher.await.unwrap();
        taken.extend(times.iter().zip(&written).map(|(seen, began)| millis(seen.saturating_sub(*began))));
    }
    lone(&format!("directory-watch-{}-p99", amount.watchers), quantile(&taken, 0.99))
}

fn lone(name: &str, value: f64) -> Value {
    json!({ "name": name, "unit": "ms", "value": value, "goal": GOAL, "met": value <= GOAL })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Milliseconds that a list, and the news of a write, may take.
const GOAL: f64 = 100.0;
/// Requests under way at once.
const WRITERS: usize = 64;
