//! podman's containers on two hosts.

use std::net::IpAddr;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use lab::wait_until;
use rustix::process::Signal;
use serde_json::json;

use crate::fabric::{Fabric, PATIENCE};
use crate::plugin::Network;
use crate::podman::Podman;
use crate::policy;
use crate::traces::{Ground, words};

#[test]
fn podmans_containers_reach_other_hosts_as_policy_says_and_are_released() {
    let ground = Ground::up("runtimespods", 2);
    let fabric = &ground.fabric;
    fabric.apply("default", &policy(80));
    fabric.await_realised("default");
    let of = |name, labels| Network { name, namespace: Some("shop"), labels, ..Network::default() };
    let one = Podman::on(fabric, 1, &[of("web", &[("app", "web")]), of("other", &[("app", "other")])]);
    let two = Podman::on(fabric, 2, &[of("db", &[("app", "db")]), of("front", &[("app", "front")])]);

    let chosen = ["--ip", "10.201.7.7", "--mac-address", "02:00:00:00:07:07"];
    two.serve("db", "db", &chosen);
    two.serve("front", "front", &["--publish", "8080:80"]);
    one.run("web", "web", &[], &["sleep", "1000"]);
    one.run("other", "other", &[], &["sleep", "1000"]);
    let place = two.place("db", "db");
    assert_eq!((&place["IPAddress"], &place["MacAddress"]), (&json!("10.201.7.7"), &json!(chosen[3])));
    let db: IpAddr = chosen[1].parse().unwrap();
    let front = two.address("front", "front");
    let judged = |when: &str| {
        fabric.settle();
        reach(fabric, when, || one.page("web", db), Some("db"));
        reach(fabric, when, || one.page("other", db), None);
        reach(fabric, when, || one.page("other", front), Some("front"));
    };
    judged("at first");
    assert_eq!(names(fabric), ["shop/db n2", "shop/front n2", "shop/other n1", "shop/web n1"]);
    let published = || from_world(fabric, 2, 8080);
    reach(fabric, "published", published, Some("front"));

    two.done(&["restart", "--time", "0", "db"]);
    two.note("db");
    judged("after a restart");
    assert_eq!(two.place("db", "db")["MacAddress"], json!(chosen[3]));

    two.done(&["stop", "--time", "0", "front"]);
    two.done(&["rm", "front"]);
    one.done(&["stop", "--time", "0", "other"]);
    let left = || names(fabric) == ["shop/db n2", "shop/web n1"];
    fabric.wait_until(PATIENCE, "stopped containers have no endpoint", left).unwrap();
    reach(fabric, "no longer published", published, None);
    two.serve("front", "front", &["--publish", "8080:80"]);
    reach(fabric, "published anew", published, Some("front"));
    one.done(&["start", "other"]);
    one.note("other");
    reach(fabric, "started again", || one.page("web", db), Some("db"));
    reach(fabric, "started again", || one.page("other", db), None);

    one.empty();
    two.empty();
    ground.await_empty();
    drop((one, two));
    ground.down();
}

#[test]
fn two_podman_networks_of_tenants_with_the_same_subnet_do_not_meet() {
    let ground = Ground::up("runtimestenants", 2);
    let fabric = &ground.fabric;
    let network = "
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: wide}
spec: {subnets: [{cidr: 10.50.0.0/24}]}
";
    for tenant in ["red", "blue"] {
        let object =
            format!("apiVersion: sealane.dev/v1alpha1\nkind: Tenant\nmetadata: {{name: {tenant}}}\n");
        fabric.apply("system", &object);
        fabric.apply(tenant, network);
        fabric.await_realised(tenant);
    }
    let of =
        |tenant| Network { name: tenant, tenant: Some(tenant), network: Some("wide"), ..Network::default() };
    let networks = ["red", "blue"].map(of);
    let (one, two) = (Podman::on(fabric, 1, &networks), Podman::on(fabric, 2, &networks));
    for tenant in ["red", "blue"] {
        one.serve(&format!("{tenant}-here"), tenant, &["--ip", "10.50.0.10"]);
        two.serve(&format!("{tenant}-there"), tenant, &["--ip", "10.50.0.20"]);
    }
    one.serve("red-near", "red", &["--ip", "10.50.0.30"]);
    two.serve("red-far", "red", &["--ip", "10.50.0.40"]);
    let address = |last: u8| IpAddr::from([10, 50, 0, last]);
    for (tenant, near, far) in [("red", Some("red-near"), Some("red-far")), ("blue", None, None)] {
        let here = format!("{tenant}-here");
        let there = format!("{tenant}-there");
        reach(fabric, tenant, || one.page(&here, address(20)), Some(&there));
        reach(fabric, tenant, || two.page(&there, address(10)), Some(&here));
        reach(fabric, tenant, || one.page(&here, address(30)), near);
        reach(fabric, tenant, || one.page(&here, address(40)), far);
    }
    one.empty();
    two.empty();
    ground.await_empty();
    drop((one, two));
    ground.down();
}

#[test]
fn podman_removes_containers_while_the_agent_dies_and_nothing_of_them_is_left() {
    let ground = Ground::up("runtimesdying", 1);
    let fabric = &ground.fabric;
    let network = Network { name: "sealane", ..Network::default() };
    let podman = Podman::on(fabric, 1, &[network]);
    let host = fabric.node(1);
    // From long before podman's DEL to after it.
    for delay in [0, 40, 80, 120, 160, 240].map(Duration::from_millis) {
        podman.serve("doomed", "sealane", &["--publish", "8080:80", "--ip", "10.201.7.7"]);
        reach(fabric, "before", || from_world(fabric, 1, 8080), Some("doomed"));
        let mut removal = podman.command(&["rm", "--force", "--time", "0", "doomed"]);
        let removal = removal.stdout(Stdio::null()).spawn().unwrap();
        thread::sleep(delay);
        host.kill().unwrap();
        let output = removal.wait_with_output().unwrap();
        assert!(output.status.success(), "podman rm, the agent killed after {delay:?}");
        assert_eq!(podman.done(&["ps", "--all", "--quiet"]), "");
        host.start().unwrap();
        ground.await_empty();
        reach(fabric, "after", || from_world(fabric, 1, 8080), None);
    }
    podman.serve("last", "sealane", &["--ip", "10.201.7.7"]);
    host.kill().unwrap();
    let began = Instant::now();
    podman.done(&["rm", "--force", "--time", "0", "last"]);
    // podman's own work included; what DEL takes of it is held alone where the plugin is called directly.
    assert!(began.elapsed() < Duration::from_secs(10), "podman rm took {:?}", began.elapsed());
    host.start().unwrap();
    ground.await_empty();
    drop(podman);
    ground.down();
}

#[test]
fn a_container_restarted_while_the_agent_hangs_is_on_its_network_afterwards() {
    let ground = Ground::up("runtimeshanging", 1);
    let fabric = &ground.fabric;
    let podman = Podman::on(fabric, 1, &[Network { name: "sealane", ..Network::default() }]);
    let host = fabric.node(1);
    podman.serve("again", "sealane", &["--publish", "8080:80", "--ip", "10.201.7.7"]);
    for _ in 0..3 {
        let agent = host.daemon().unwrap();
        assert!(agent.signal(Signal::STOP));
        let mut restart = podman.command(&["restart", "--time", "0", "again"]);
        let restart = restart.stdout(Stdio::null()).spawn().unwrap();
        // DEL has given up and left word, ADD waits.
        fabric.wait_until(PATIENCE, "DEL leaves word", || !words(host).is_empty()).unwrap();
        thread::sleep(Duration::from_millis(300));
        assert!(agent.signal(Signal::CONT));
        let output = restart.wait_with_output().unwrap();
        assert!(output.status.success(), "podman restart");
        podman.note("again");
        reach(fabric, "after the restart", || from_world(fabric, 1, 8080), Some("again"));
        fabric.wait_until(PATIENCE, "the word is carried out", || words(host).is_empty()).unwrap();
        let attached: Vec<String> = fabric.attachments(host).into_iter().map(|one| one.name).collect();
        assert_eq!(attached, ["again"]);
        reach(fabric, "and later", || from_world(fabric, 1, 8080), Some("again"));
    }
    podman.empty();
    ground.await_empty();
    drop(podman);
    ground.down();
}

/// Looks until it is so, for what has just been started or taken away may need a moment.
#[track_caller]
fn reach(fabric: &Fabric, when: &str, look: impl Fn() -> Option<String>, wanted: Option<&str>) {
    let outcome = wait_until(PATIENCE, when, || {
        let page = look();
        if page.as_deref() == wanted { Ok(()) } else { Err(format!("{page:?} instead of {wanted:?}")) }
    });
    outcome.unwrap_or_else(|late| fabric.fail(&late));
}

/// What somebody outside gets from a published port of a host.
pub(crate) fn from_world(fabric: &Fabric, node: u16, port: u16) -> Option<String> {
    let url = format!("http://{}:{port}/", fabric.node(node).address(true));
    let output = fabric.world().exec(&["curl", "--silent", "--max-time", "2", &url]).unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
}

/// The endpoints of the default tenant, each with its node.
fn names(fabric: &Fabric) -> Vec<String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let objects = fabric.objects("default", "endpoints");
    let mut names: Vec<String> = objects
        .iter()
        .map(|one| {
            let metadata = &one["metadata"];
            format!(
                "{}/{} {}",
                text(&metadata["namespace"]),
                text(&metadata["name"]),
                text(&one["spec"]["node"])
            )
        })
        .collect();
    names.sort();
    names
}
