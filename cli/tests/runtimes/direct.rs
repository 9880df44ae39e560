//! The plugin called as a runtime calls it, with the agent of a host behind it: every verb of 1.1.0, and the older versions.

use std::time::Duration;

use lab::namespace::Namespace;
use record::door::Attached;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fabric::{Fabric, PATIENCE};
use crate::image;
use crate::plugin::{Network, Sandbox, call};
use crate::pods::from_world;
use crate::traces::{Emptiness, words};

#[test]
fn cni_1_1_is_spoken_with_a_real_agent_by_every_verb() {
    let fabric = Fabric::up("runtimesdirect", 1);
    fabric.apply("default", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    let host = fabric.node(1);
    let before = Emptiness::of(&fabric);
    let network = Network { name: "sealane", labels: &[("app", "web")], ..Network::default() };
    let config = network.config(&fabric, host, "1.1.0");

    let told = call("VERSION", &json!({ "cniVersion": "1.1.0" }), &[]).done();
    assert_eq!(told["supportedVersions"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
    assert_eq!(call("STATUS", &config, &[]).done(), Value::Null);

    let sandbox = Sandbox::new(&fabric, "c1");
    let mut asked = config.clone();
    asked["runtimeConfig"] = json!({
        "ips": ["10.201.7.7/16"], "mac": "02:00:00:00:07:07",
        "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }],
    });
    let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1";
    let variables = [&sandbox.variables()[..], &[("CNI_ARGS", arguments)]].concat();
    let result = call("ADD", &asked, &variables).done();
    is_result_of(&result, &sandbox, &fabric.attachments(host)[0]);
    let (links, addresses) = sandbox.contents();
    assert_eq!(links, ["eth0", "lo"]);
    assert!(addresses.contains(&"10.201.7.7/16 of eth0".to_owned()), "{addresses:?}");
    let endpoint = || fabric.objects("default", "endpoints").into_iter().next();
    let endpoint = fabric.wait_until(PATIENCE, "the endpoint is told of", endpoint).unwrap();
    assert_eq!(
        (&endpoint["metadata"]["namespace"], &endpoint["metadata"]["name"]),
        (&json!("shop"), &json!("web-0"))
    );
    assert_eq!(endpoint["metadata"]["labels"]["app"], "web");
    serves(&fabric, &sandbox);
    assert_eq!(call("ADD", &asked, &variables).done(), result, "asked again it says the same");

    asked["prevResult"] = result;
    call("CHECK", &asked, &variables).done();
    let delete = ["address", "delete", "10.201.7.7/16", "dev", "eth0"];
    within(&sandbox, &delete);
    let (code, text) = call("CHECK", &asked, &variables).fault();
    assert!(code == 105 && text.contains("10.201.7.7"), "{code} {text}");

    // Without its namespace, and again: nothing is there to be deleted.
    call("DEL", &asked, &[("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "")]).done();
    assert_eq!(sandbox.contents().0, ["lo"]);
    assert_eq!(call("CHECK", &asked, &variables).fault().0, 3);
    call("DEL", &asked, &variables).done();
    before.await_same(&fabric);
    drop(sandbox);
    fabric.down();
}

#[test]
fn gc_takes_away_what_its_network_config_does_not_list_and_nothing_else() {
    let fabric = Fabric::up("runtimesgc", 1);
    let host = fabric.node(1);
    let before = Emptiness::of(&fabric);
    let [one, two] = ["one", "two"].map(|name| Network { name, ..Network::default() });
    let mut config = one.config(&fabric, host, "1.1.0");
    let other = two.config(&fabric, host, "1.1.0");
    let sandboxes = ["kept", "lost", "gone"].map(|id| Sandbox::new(&fabric, id));
    for sandbox in &sandboxes {
        call("ADD", &config, &sandbox.variables()).done();
    }
    let foreign = Sandbox::new(&fabric, "foreign");
    call("ADD", &other, &foreign.variables()).done();
    // A runtime that crashed may have removed a namespace before it asks for GC.
    Namespace::remove(sandboxes[2].namespace.path()).unwrap();

    assert_eq!(call("GC", &config, &[]).fault().0, 7, "without a list it would take everything");
    config["cni.dev/valid-attachments"] = json!([{ "containerID": "kept", "ifname": "eth0" }]);
    call("GC", &config, &[]).done();
    let mut left: Vec<String> = fabric.attachments(host).into_iter().map(|one| one.container).collect();
    left.sort();
    assert_eq!(left, ["one/kept", "two/foreign"]);
    assert_eq!(sandboxes[1].contents().0, ["lo"]);
    assert_eq!(sandboxes[0].contents().0, ["eth0", "lo"]);
    call("GC", &config, &[]).done();
    assert_eq!(fabric.attachments(host).len(), 2, "a second time it finds nothing more");

    config["cni.dev/valid-attachments"] = json!([]);
    call("GC", &config, &[]).done();
    call("DEL", &other, &foreign.variables()).done();
    before.await_same(&fabric);
    drop((sandboxes, foreign));
    fabric.down();
}

#[test]
fn older_versions_are_answered_in_their_own_words() {
    let fabric = Fabric::up("runtimesversions", 1);
    let host = fabric.node(1);
    let before = Emptiness::of(&fabric);
    let network = Network { name: "sealane", ..Network::default() };
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let sandbox = Sandbox::new(&fabric, "old");
        let variables = sandbox.variables();
        let mut config = network.config(&fabric, host, version);
        let result = call("ADD", &config, &variables).done();
        let interface = &result["interfaces"][1];
        assert_eq!((&result["cniVersion"], &interface["name"]), (&json!(version), &json!("eth0")));
        assert_eq!(interface["sandbox"], json!(sandbox.namespace.path()));
        // 1.0.0 took `version` out of the addresses; 1.1.0 brought `mtu`.
        let family = if version < "1.0.0" { json!("4") } else { Value::Null };
        assert_eq!((&result["ips"][0]["version"], &interface["mtu"]), (&family, &Value::Null), "{version}");
        config["prevResult"] = result;
        let check = call("CHECK", &config, &variables);
        if version < "0.4.0" {
            assert_eq!(check.fault().0, 1, "{version} has no CHECK");
        } else {
            check.done();
        }
        for verb in ["GC", "STATUS"] {
            assert_eq!(call(verb, &config, &variables).fault().0, 1, "{version} has no {verb}");
        }
        call("DEL", &config, &variables).done();
        before.await_same(&fabric);
    }
    fabric.down();
}

#[test]
fn del_ends_by_itself_with_the_agent_dead_or_hung_and_is_done_when_it_is_back() {
    let fabric = Fabric::up("runtimesdel", 1);
    let host = fabric.node(1);
    let before = Emptiness::of(&fabric);
    let config = Network { name: "sealane", ..Network::default() }.config(&fabric, host, "1.0.0");
    for is_hung in [false, true] {
        let sandbox = Sandbox::new(&fabric, "left");
        let again = call("ADD", &config, &sandbox.variables());
        assert_eq!(again.done()["ips"].as_array().unwrap().len(), 1);
        let process = host.daemon().unwrap();
        let signal = if is_hung { Signal::STOP } else { Signal::KILL };
        assert!(process.signal(signal));
        let outcome = call("DEL", &config, &sandbox.variables());
        assert!(outcome.success && outcome.took < SOON, "hung: {is_hung}, {outcome:?}");
        assert_eq!(words(host).len(), 1);
        // Twice is as good as once.
        call("DEL", &config, &sandbox.variables()).done();
        assert_eq!(words(host).len(), 1);
        if is_hung {
            assert!(process.signal(Signal::CONT));
        } else {
            host.stop().unwrap();
            host.start().unwrap();
        }
        before.await_same(&fabric);
        assert_eq!(sandbox.contents().0, ["lo"]);
    }
    fabric.down();
}

/// What the result says is what the agent has.
#[track_caller]
fn is_result_of(result: &Value, sandbox: &Sandbox, attached: &Attached) {
    let expected = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            { "name": attached.host_interface },
            { "name": "eth0", "mac": "02:00:00:00:07:07", "sandbox": sandbox.namespace.path(), "mtu": attached.mtu },
        ],
        "ips": [{ "address": "10.201.7.7/16", "gateway": "10.201.0.1", "interface": 1 }],
        "routes": [{ "dst": "0.0.0.0/0", "gw": "10.201.0.1" }],
        "dns": {},
    });
    assert_eq!(*result, expected);
    assert_eq!(attached.container, "sealane/c1");
}

/// What listens in the namespace is reached by the published port.
#[track_caller]
fn serves(fabric: &Fabric, sandbox: &Sandbox) {
    let page = fabric.folder().join("page");
    std::fs::create_dir_all(&page).unwrap();
    std::fs::write(page.join("index.html"), "ahoy\n").unwrap();
    let mut command = std::process::Command::new(image::program("busybox", "busybox-static"));
    command.args(["httpd", "-f", "-p", "80", "-h"]).arg(&page);
    lab::spawn::Place::default().network(&sandbox.namespace).unwrap().apply(&mut command);
    let mut server = command.spawn().unwrap();
    let seen = fabric.wait_until(PATIENCE, "the page is published", || {
        let page = from_world(fabric, 1, 8080);
        if page.as_deref() == Some("ahoy") { Ok(()) } else { Err(format!("{page:?}")) }
    });
    server.kill().unwrap();
    server.wait().unwrap();
    seen.unwrap();
}

/// Runs `ip` in the namespace.
#[track_caller]
fn within(sandbox: &Sandbox, words: &[&str]) {
    let mut command = std::process::Command::new("ip");
    lab::spawn::Place::default().network(&sandbox.namespace).unwrap().apply(&mut command);
    let output = command.args(words).output().unwrap();
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// DEL gives up long before, and ADD, which waits for its agent, long after.
const SOON: Duration = Duration::from_secs(20);
