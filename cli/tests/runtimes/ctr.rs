//! Containers of containerd's own client.

use std::net::IpAddr;

use lab::container::Spec;
use lab::echo::{Echo, Listen};
use lab::wait_until;

use crate::containerd::Containerd;
use crate::fabric::{Fabric, PATIENCE};
use crate::plugin::Network;
use crate::policy;
use crate::traces::Ground;

#[test]
fn ctrs_containers_reach_other_hosts_as_policy_says_and_are_released_with_and_without_del() {
    let ground = Ground::up("runtimesctr", 2);
    let fabric = &ground.fabric;
    fabric.apply("default", &policy(5432));
    fabric.await_realised("default");
    let spec = |name: &str, app: &str| Spec {
        namespace: Some("shop".to_owned()),
        labels: [("app".to_owned(), app.to_owned())].into(),
        ..Spec::idle(name)
    };
    let db = fabric.node(2).run(&spec("db", "db")).unwrap();
    let free = fabric.node(2).run(&spec("free", "free")).unwrap();
    let listens = [Listen::tcp(5432), Listen::tcp(5433)];
    let echoes = [("db", &db), ("free", &free)]
        .map(|(name, one)| Echo::start(one.namespace(), name, &listens).unwrap());
    let (to_db, to_free) = (db.address(true).unwrap(), free.address(true).unwrap());
    let network =
        Network { name: "sealane", namespace: Some("shop"), labels: &[("app", "web")], ..Network::default() };
    let containerd = Containerd::on(fabric, 1, network);
    containerd.run("web", &["--detach"], &["sleep", "1000"]);
    fabric.settle();
    answers(fabric, &containerd, (to_db, 5432), Some("db"));
    answers(fabric, &containerd, (to_db, 5433), None);
    answers(fabric, &containerd, (to_free, 5433), Some("free"));
    // ctr tells no name but its own, made of its namespace and the container's.
    let attached = fabric.attachments(fabric.node(1));
    assert_eq!(attached.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["proof-web"]);

    // One that ends by itself: ctr calls DEL, and without a namespace.
    let [address, port] = [to_db.to_string(), "5432".to_owned()];
    let told = containerd.run("brief", &["--rm"], &["nc", "-w", "5", &address, &port]);
    assert!(told.starts_with("db "), "{told:?}");
    let left = fabric.attachments(fabric.node(1));
    assert_eq!(left.len(), 1, "ctr's DEL released it at once: {left:?}");

    containerd.delete("web");
    drop(echoes);
    db.stop().unwrap();
    free.stop().unwrap();
    ground.await_empty();
    drop(containerd);
    ground.down();
}

/// Asks from the container `web` until the answer is as it should be.
#[track_caller]
fn answers(
    fabric: &Fabric,
    containerd: &Containerd<'_>,
    (address, port): (IpAddr, u16),
    wanted: Option<&str>,
) {
    let (address, port) = (address.to_string(), port.to_string());
    let look = || {
        let told =
            containerd.exec("web", &["nc", "-w", "2", &address, &port]).filter(|told| !told.is_empty());
        let by = told.as_deref().and_then(|told| told.split_whitespace().next());
        if by == wanted { Ok(()) } else { Err(format!("{told:?} instead of {wanted:?}")) }
    };
    let what = format!("{address}:{port} answers as it should");
    wait_until(PATIENCE, &what, look).unwrap_or_else(|late| fabric.fail(&late));
}
