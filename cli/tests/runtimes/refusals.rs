//! What a runtime is told when something is wrong: the codes that `docs/cni.md` lists, from a real agent; and that a refused
//! container leaves nothing.

use lab::Options;
use serde_json::{Value, json};

use crate::fabric::{Fabric, PATIENCE};
use crate::plugin::{Network, Sandbox, call, call_with};
use crate::traces::Emptiness;

const OBJECTS: &str = "
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: tiny}
spec: {subnets: [{cidr: 10.60.0.0/30}]}
---
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: secret}
spec: {subnets: [{cidr: 10.61.0.0/24}]}
";

/// Two tenants may come through the door, one of which there is not; and of the networks all but one.
const DOORS: &str = "
[doors.cni]
tenants = [\"default\", \"ghost\"]
networks = [\"default\", \"tiny\", \"nowhere\"]
";

#[test]
fn every_error_has_its_code_and_names_what_is_wrong_and_leaves_nothing() {
    let sealane = std::path::Path::new(env!("CARGO_BIN_EXE_sealane"));
    let options =
        Options { agent: DOORS.parse().unwrap(), ..Options::running("runtimesrefusals", 1, sealane) };
    let fabric = Fabric::with(options);
    fabric.apply("default", OBJECTS);
    fabric.apply("system", "apiVersion: sealane.dev/v1alpha1\nkind: Tenant\nmetadata: {name: red}\n");
    fabric.await_realised("default");
    let host = fabric.node(1);
    let before = Emptiness::of(&fabric);
    let taken = Sandbox::new(&fabric, "taken");
    let of = |network| Network { name: "sealane", network: Some(network), ..Network::default() };
    let default = of("default").config(&fabric, host, "1.1.0");
    let with = |key: &str, value: Value| {
        let mut config = default.clone();
        config[key] = value;
        config
    };
    let published =
        json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80 }], "ips": ["10.201.7.7"] });
    call("ADD", &with("runtimeConfig", published), &taken.variables()).done();
    let only = Sandbox::new(&fabric, "only");
    call("ADD", &of("tiny").config(&fabric, host, "1.1.0"), &only.variables()).done();

    let sandbox = Sandbox::new(&fabric, "refused");
    for (config, code, named) in [
        (with("cniVersion", json!("2.0.0")), 1, "2.0.0"),
        (with("ipam", json!({ "type": "host-local" })), 2, "ipam"),
        (with("runtimeConfig", json!({ "ips": ["10.201.7"] })), 7, "10.201.7"),
        (with("runtimeConfig", json!({ "ips": ["10.99.0.1"] })), 7, "10.99.0.1"),
        (with("labels", json!({ "a b": "c" })), 7, "a b"),
        (with("tenant", json!("red")), 100, "red"),
        (with("network", json!("secret")), 100, "secret"),
        (with("runtimeConfig", json!({ "ips": ["10.201.7.7"] })), 101, "10.201.7.7"),
        (
            with("runtimeConfig", json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80 }] })),
            101,
            "8080",
        ),
        (with("network", json!("tiny")), 102, "tiny"),
        (with("network", json!("nowhere")), 103, "nowhere"),
        (with("tenant", json!("ghost")), 103, "ghost"),
    ] {
        let (told, text) = call("ADD", &config, &sandbox.variables()).fault();
        assert_eq!(told, code, "{text}\n{config}");
        assert!(text.contains(named), "{code} does not name {named}: {text}");
        assert_eq!(sandbox.contents().0, ["lo"], "{code}: {text}");
        call("DEL", &with("name", json!("sealane")), &sandbox.variables()).done();
    }
    let missing = [("CNI_CONTAINERID", "c"), ("CNI_NETNS", "/run/netns/sl-none"), ("CNI_IFNAME", "eth0")];
    assert_eq!(call("ADD", &default, &missing).fault().0, 3);
    assert_eq!(call("ADD", &default, &missing[..2]).fault().0, 4);
    assert_eq!(call("MOVE", &default, &sandbox.variables()).fault().0, 4);
    assert_eq!(call_with("ADD", b"{", &sandbox.variables()).fault().0, 6);

    let attached = || fabric.attachments(host).len() == 2;
    fabric.wait_until(PATIENCE, "those that were let in are there, and no others", attached).unwrap();
    for sandbox in [&taken, &only] {
        call("DEL", &default, &sandbox.variables()).done();
    }
    before.await_same(&fabric);
    host.kill().unwrap();
    assert_eq!(call("ADD", &default, &sandbox.variables()).fault().0, 11, "the agent is away");
    assert_eq!(call("STATUS", &default, &[]).fault().0, 50);
    drop((taken, only, sandbox));
    fabric.down();
}
