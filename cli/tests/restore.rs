//! A server is put back to a backup while containers run that the backup does not know.
#![allow(clippy::unwrap_used)]

mod fabric;

use std::collections::BTreeSet;
use std::net::IpAddr;

use fabric::ask::{Asker, Question, hold};
use fabric::{Fabric, PATIENCE, light};
use lab::echo::{Echo, Listen};
use lab::namespace::Namespace;
use lab::probe::Probe;
use lab::wait_until;
use record::Labels;

/// A container that answers.
struct Container {
    name: &'static str,
    namespace: Namespace,
    address: IpAddr,
    _echo: Echo,
}

impl Container {
    fn attach(fabric: &Fabric, host: u16, name: &'static str) -> Self {
        let namespace = Namespace::create(&light::path(&fabric.name(), name)).unwrap();
        let attached = light::attach(fabric.node(host), &namespace, "default", name, Labels::new());
        let attached = attached.unwrap_or_else(|fault| fabric.fail(&lab::report(&fault)));
        let echo = Echo::start(&namespace, name, &[Listen::tcp(80)]).unwrap();
        Self { name, namespace, address: attached.addresses[0].address, _echo: echo }
    }
}

/// Whether every container reaches every other.
fn everybody_answers(fabric: &Fabric, claim: &str, all: &[&Container]) {
    let asked: Vec<(Asker, Vec<Question>)> = all
        .iter()
        .map(|from| {
            let others = all.iter().filter(|to| to.name != from.name);
            let questions = others.map(|to| Question {
                what: to.name.to_owned(),
                probe: Probe::tcp(to.address, 80),
                wanted: Some(to.name.to_owned()),
                seen: None,
            });
            let asker = Asker { name: from.name.to_owned(), namespace: from.namespace.clone() };
            (asker, questions.collect())
        })
        .collect();
    hold(fabric, claim, &asked);
}

#[test]
fn containers_that_the_backup_does_not_know_keep_their_places_and_nobody_else_gets_them() {
    let fabric = Fabric::up("restore", 2);
    let known = [Container::attach(&fabric, 1, "web"), Container::attach(&fabric, 1, "db")];
    fabric.settle();
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("fabric.backup");
    let backup = backup.to_str().unwrap();
    fabric.done("default", &["backup", backup], "");
    // The other host has no block yet: the backup knows nothing of what it is given now.
    let unknown = [Container::attach(&fabric, 2, "late"), Container::attach(&fabric, 1, "third")];
    fabric.apply("default", POLICY);
    fabric.await_realised("default");
    let all: Vec<&Container> = known.iter().chain(&unknown).collect();

    fabric.server().stop().unwrap();
    let settings = fabric.server().folder().join("server.toml");
    let restore = ["restore", backup, "--config", settings.to_str().unwrap()];
    let refused = fabric.sealane("default", &restore, "");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"), "{refused:?}");
    let told = fabric.done("default", &[&restore[..], &["--force"]].concat(), "");
    assert!(told.contains("server.redb.replaced-1"), "{told}");
    fabric.server().start().unwrap();
    everybody_answers(&fabric, "containers notice nothing while the server listens", &all);

    let connected = || match fabric.await_ready(PATIENCE) {
        Ok(()) => {
            let names: BTreeSet<String> = fabric
                .objects("default", "endpoints")
                .iter()
                .map(|one| one["metadata"]["name"].as_str().unwrap().to_owned())
                .collect();
            if names.len() == all.len() { Ok(()) } else { Err(format!("the server knows {names:?}")) }
        }
        Err(fault) => Err(lab::report(&fault)),
    };
    wait_until(PATIENCE, "the server knows every container", connected)
        .unwrap_or_else(|late| fabric.fail(&late));
    fabric.settle();
    assert!(fabric.objects("default", "networkpolicies").is_empty(), "the policy came after the backup");
    everybody_answers(&fabric, "every container answers by the restored state", &all);

    let fresh = [Container::attach(&fabric, 1, "fresh"), Container::attach(&fabric, 2, "newer")];
    let all: Vec<&Container> = all.into_iter().chain(&fresh).collect();
    let addresses: BTreeSet<IpAddr> = all.iter().map(|one| one.address).collect();
    assert_eq!(addresses.len(), all.len(), "no address was given twice: {addresses:?}");
    everybody_answers(&fabric, "old and new containers answer each other", &all);
    for (host, name) in [(1, "web"), (1, "db"), (1, "third"), (1, "fresh"), (2, "late"), (2, "newer")] {
        light::detach(fabric.node(host), name).unwrap();
    }
    let left = || match fabric.objects("default", "endpoints").len() {
        0 => Ok(()),
        left => Err(format!("{left} endpoints are left")),
    };
    wait_until(PATIENCE, "nothing is left", left).unwrap_or_else(|late| fabric.fail(&late));
    drop((known, unknown, fresh));
    fabric.down();
}

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}
";
