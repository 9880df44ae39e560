//! The plugin's binary against a scripted agent: every verb, every version, every code, an agent that is away.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use record::door::{
    Assigned, Attach, Attached, Detach, Door, Publish, Refusal, RefusalCode, Reply, Request, TOMBSTONES,
};
use record::{Mac, Protocol};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An agent that answers what it is told, and tells what it was asked.
struct Agent {
    folder: TempDir,
    asked: mpsc::Receiver<Request>,
}

impl Agent {
    fn answering(replies: Vec<Reply>) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join("agent.sock")).unwrap();
        let (sender, asked) = mpsc::channel();
        std::thread::spawn(move || {
            for reply in replies {
                let (stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                sender.send(serde_json::from_str(&line).unwrap()).unwrap();
                let mut answer = serde_json::to_vec(&reply).unwrap();
                answer.push(b'\n');
                (&stream).write_all(&answer).unwrap();
            }
        });
        Self { folder, asked }
    }

    fn asked(&self) -> Request {
        self.asked.recv_timeout(SOON).unwrap()
    }

    fn config(&self, version: &str, more: Value) -> Value {
        config(self.folder.path(), version, more)
    }
}

fn config(folder: &Path, version: &str, more: Value) -> Value {
    let mut config = json!({
        "cniVersion": version, "name": "shop", "type": "sealane-cni",
        "agentSocket": folder.join("agent.sock"), "stateDir": folder.join("state"),
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

struct Outcome {
    success: bool,
    value: Option<Value>,
    took: Duration,
}

impl Outcome {
    fn code(&self) -> u64 {
        assert!(!self.success, "{:?}", self.value);
        let value = self.value.as_ref().unwrap();
        assert!(["cniVersion", "msg", "details"].iter().all(|key| value[*key].is_string()), "{value}");
        value["code"].as_u64().unwrap()
    }
}

fn call(verb: &str, stdin: &[u8], variables: &[(&str, &str)]) -> Outcome {
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealane-cni"));
    command.env_clear().env("CNI_COMMAND", verb).envs(variables.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A plugin that needs no config may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let value = (!output.stdout.is_empty()).then(|| serde_json::from_slice(&output.stdout).unwrap());
    Outcome { success: output.status.success(), value, took: began.elapsed() }
}

fn ask(verb: &str, config: &Value) -> Outcome {
    call(verb, config.to_string().as_bytes(), &CONTAINER)
}

/// A namespace's file that exists: the plugin looks at nothing but that.
const CONTAINER: [(&str, &str); 4] = [
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/proc/self/ns/net"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/opt/cni/bin"),
];

fn attached() -> Attached {
    let assigned = |address: &str, subnet: &str, gateway: &str| Assigned {
        address: address.parse().unwrap(),
        subnet: subnet.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
    };
    Attached {
        uid: "u".into(),
        tenant: "default".into(),
        namespace: "default".into(),
        name: "c1".into(),
        network: "default".into(),
        container: "shop/c1".into(),
        netns: "/proc/self/ns/net".into(),
        interface: "eth0".into(),
        host_interface: "sl00000001".into(),
        mac: Mac([0x0a, 1, 10, 1, 0, 2]),
        addresses: vec![
            assigned("10.1.0.2", "10.1.0.0/16", "10.1.0.1"),
            assigned("fd00::2", "fd00::/64", "fd00::1"),
        ],
        mtu: 1450,
        judged: true,
        publish: Vec::new(),
        host_addresses: Vec::new(),
        warnings: Vec::new(),
    }
}

fn refused(code: RefusalCode) -> Reply {
    Reply::Refused(Refusal { code, message: "what was wrong".into(), remedy: "what to do".into() })
}

fn detach() -> Detach {
    Detach { door: Door::Cni, container: "shop/c1".into(), interface: Some("eth0".into()) }
}

#[test]
fn add_answers_in_the_configs_own_version() {
    for version in cni::SUPPORTED {
        let agent = Agent::answering(vec![Reply::Attached(attached().into())]);
        let outcome = ask("ADD", &agent.config(version, json!({ "dns": { "nameservers": ["10.1.0.1"] } })));
        let result = outcome.value.unwrap();
        assert!(outcome.success, "{result}");
        let mut inner = json!({ "name": "eth0", "mac": "0a:01:0a:01:00:02", "sandbox": "/proc/self/ns/net" });
        let mut ips = json!([
            { "address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 1 },
            { "address": "fd00::2/64", "gateway": "fd00::1", "interface": 1 },
        ]);
        if version == "1.1.0" {
            inner["mtu"] = json!(1450);
        }
        if version.starts_with('0') {
            ips[0]["version"] = json!("4");
            ips[1]["version"] = json!("6");
        }
        let expected = json!({
            "cniVersion": version,
            "interfaces": [{ "name": "sl00000001" }, inner],
            "ips": ips,
            "routes": [{ "dst": "0.0.0.0/0", "gw": "10.1.0.1" }, { "dst": "::/0", "gw": "fd00::1" }],
            "dns": { "nameservers": ["10.1.0.1"] },
        });
        assert_eq!(result, expected);
    }
}

#[test]
fn add_passes_on_all_that_the_runtime_and_the_operator_say() {
    let agent = Agent::answering(vec![Reply::Attached(attached().into())]);
    let config = agent.config(
        "1.0.0",
        json!({
            "tenant": "red", "network": "web", "labels": { "app": "web" },
            "ports": [{ "name": "http", "protocol": "TCP", "port": 8080 }],
            "capabilities": { "portMappings": true },
            "runtimeConfig": {
                "portMappings": [
                    { "hostPort": 80, "containerPort": 8080, "protocol": "tcp" },
                    { "hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.1" },
                    { "hostPort": 0, "containerPort": 9 },
                ],
                "ips": ["10.1.0.9/16"], "mac": "02:00:00:00:00:09",
            },
            "args": { "cni": { "labels": [{ "key": "tier", "value": "front" }], "ips": ["10.1.0.8"] } },
        }),
    );
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web_1;K8S_POD_UID=x;OTHER=1";
    let mut variables = CONTAINER.to_vec();
    variables.push(("CNI_ARGS", args));
    assert!(call("ADD", config.to_string().as_bytes(), &variables).success);
    let publish = |address: Option<&str>, host_port, port, protocol| Publish {
        address: address.map(|text| text.parse().unwrap()),
        host_port,
        port,
        protocol,
    };
    let expected = Attach {
        door: Door::Cni,
        tenant: Some("red".into()),
        namespace: Some("shop".into()),
        name: "web-1".into(),
        network: Some("web".into()),
        labels: [("app", "web"), ("tier", "front")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ports: vec![record::NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        netns: PathBuf::from("/proc/self/ns/net"),
        interface: "eth0".into(),
        container: "shop/c1".into(),
        pod: Some("x".into()),
        addresses: vec!["10.1.0.9".parse().unwrap()],
        mac: Some(Mac([2, 0, 0, 0, 0, 9])),
        publish: vec![
            publish(None, 80, 8080, Protocol::Tcp),
            publish(Some("192.0.2.1"), 53, 53, Protocol::Udp),
        ],
    };
    assert_eq!(agent.asked(), Request::Attach(expected.into()));
}

#[test]
fn each_refusal_has_its_code() {
    for (refusal, code) in [
        (RefusalCode::Invalid, 7),
        (RefusalCode::Unavailable, 11),
        (RefusalCode::Forbidden, 100),
        (RefusalCode::Taken, 101),
        (RefusalCode::Exhausted, 102),
        (RefusalCode::NotFound, 103),
        (RefusalCode::Kernel, 104),
    ] {
        let agent = Agent::answering(vec![refused(refusal)]);
        let outcome = ask("ADD", &agent.config("1.1.0", json!({})));
        assert_eq!(outcome.code(), code);
        let error = outcome.value.unwrap();
        assert_eq!((&error["msg"], &error["details"]), (&json!("what was wrong"), &json!("what to do")));
    }
}

#[test]
fn what_is_wrong_with_a_call_is_told_by_the_specifications_codes() {
    let folder = TempDir::new().unwrap();
    let config = |version: &str, more: Value| config(folder.path(), version, more);
    for version in ["0.2.0", "2.0.0", ""] {
        let outcome = ask("ADD", &config(version, json!({})));
        assert_eq!(outcome.code(), 1);
        assert!(
            outcome.value.unwrap()["details"].as_str().unwrap().contains("0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0")
        );
    }
    assert_eq!(ask("CHECK", &config("0.3.1", json!({}))).code(), 1);
    assert_eq!(ask("GC", &config("1.0.0", json!({}))).code(), 1);
    assert_eq!(ask("ADD", &config("1.0.0", json!({ "ipam": { "type": "host-local" } }))).code(), 2);
    let mut gone = CONTAINER.to_vec();
    gone.push(("CNI_NETNS", "/run/netns/no-such-namespace"));
    let text = config("1.0.0", json!({})).to_string();
    assert_eq!(call("ADD", text.as_bytes(), &gone).code(), 3);
    assert_eq!(call("ADD", text.as_bytes(), &CONTAINER[..1]).code(), 4);
    assert_eq!(call("FLY", text.as_bytes(), &CONTAINER).code(), 4);
    assert_eq!(call("", text.as_bytes(), &CONTAINER).code(), 4);
    let mut args = CONTAINER.to_vec();
    args.push(("CNI_ARGS", "UNKNOWN=1"));
    assert_eq!(call("ADD", text.as_bytes(), &args).code(), 4);
    for garbage in [&b""[..], b"{", b"[]", b"\xff", b"{\"cniVersion\":\"1.0.0\",\"name\":5}"] {
        assert_eq!(call("ADD", garbage, &CONTAINER).code(), 6, "{}", String::from_utf8_lossy(garbage));
    }
    for wrong in [
        json!({ "name": "" }),
        json!({ "name": "a/b" }),
        json!({ "prevResult": {} }),
        json!({ "runtimeConfig": { "ips": ["x"] } }),
        json!({ "runtimeConfig": { "mac": "x" } }),
        json!({ "runtimeConfig": { "portMappings": [{ "hostPort": 1, "containerPort": 1, "protocol": "icmp" }] } }),
    ] {
        assert_eq!(ask("ADD", &config("1.0.0", wrong.clone())).code(), 7, "{wrong}");
    }
    assert_eq!(ask("ADD", &config("1.0.0", json!({}))).code(), 11, "no agent");
    assert_eq!(ask("STATUS", &config("1.1.0", json!({}))).code(), 50, "no agent");
}

#[test]
fn delete_succeeds_whatever_the_agent_has_left() {
    for reply in [Reply::Done, refused(RefusalCode::Kernel)] {
        let agent = Agent::answering(vec![reply]);
        // The namespace may be gone, and containerd's ctr passes no arguments.
        let outcome = call(
            "DEL",
            agent.config("1.1.0", json!({})).to_string().as_bytes(),
            &[("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "")],
        );
        assert!(outcome.success && outcome.value.is_none(), "{:?}", outcome.value);
        assert_eq!(agent.asked(), Request::Detach(detach()));
    }
}

#[test]
fn delete_leaves_word_and_waits_no_longer_when_the_agent_is_away_or_hangs() {
    let away = TempDir::new().unwrap();
    let hangs = TempDir::new().unwrap();
    let _listener = UnixListener::bind(hangs.path().join("agent.sock")).unwrap();
    for folder in [&away, &hangs] {
        let text = config(folder.path(), "1.0.0", json!({})).to_string();
        for _ in 0..2 {
            let outcome = call("DEL", text.as_bytes(), &CONTAINER);
            assert!(outcome.success, "{:?}", outcome.value);
            assert!(outcome.took < SOON, "{:?}", outcome.took);
        }
        let words: Vec<_> =
            std::fs::read_dir(folder.path().join("state").join(TOMBSTONES)).unwrap().collect();
        assert_eq!(words.len(), 1, "{words:?}");
        let word = std::fs::read(words[0].as_ref().unwrap().path()).unwrap();
        assert_eq!(serde_json::from_slice::<Detach>(&word).unwrap(), detach());
        assert_eq!(words[0].as_ref().unwrap().file_name().to_str().unwrap(), detach().tombstone());
    }
    let nowhere = TempDir::new().unwrap();
    std::fs::write(nowhere.path().join("state"), "a file").unwrap();
    let text = config(nowhere.path(), "1.0.0", json!({})).to_string();
    assert_eq!(call("DEL", text.as_bytes(), &CONTAINER).code(), 11, "word that cannot be left is no success");
}

#[test]
fn check_compares_what_the_runtime_remembers_with_what_is_attached() {
    let listed = || Reply::Attachments { attachments: vec![attached()] };
    let added = Agent::answering(vec![Reply::Attached(attached().into())]);
    let result = ask("ADD", &added.config("1.0.0", json!({}))).value.unwrap();
    let check = |replies: Vec<Reply>, previous: &Value| {
        let agent = Agent::answering(replies);
        ask("CHECK", &agent.config("1.0.0", json!({ "prevResult": previous })))
    };
    assert!(check(vec![listed(), Reply::Done], &result).success);
    assert_eq!(check(vec![listed(), refused(RefusalCode::Drifted)], &result).code(), 105);
    assert_eq!(check(vec![Reply::Attachments { attachments: vec![] }], &result).code(), 3);
    for (path, value) in [
        ("/ips/0/address", "10.1.0.3/16"),
        ("/interfaces/1/mac", "02:00:00:00:00:01"),
        ("/interfaces/1/name", "x"),
    ] {
        let mut other = result.clone();
        *other.pointer_mut(path).unwrap() = json!(value);
        assert_eq!(check(vec![listed()], &other).code(), 105, "{path}");
    }
    let agent = Agent::answering(vec![]);
    assert_eq!(ask("CHECK", &agent.config("1.0.0", json!({}))).code(), 7);
}

#[test]
fn garbage_collection_keeps_what_the_runtime_lists_and_stays_within_its_network() {
    let agent = Agent::answering(vec![Reply::Done]);
    let valid = json!({ "cni.dev/valid-attachments": [{ "containerID": "c1", "ifname": "eth0" }] });
    assert!(call("GC", agent.config("1.1.0", valid).to_string().as_bytes(), &[]).success);
    let keep = vec![("shop/c1".to_owned(), "eth0".to_owned())];
    let expected = record::door::Collect { door: Door::Cni, within: Some("shop".into()), keep };
    assert_eq!(agent.asked(), Request::Collect(expected));
    assert_eq!(ask("GC", &agent.config("1.1.0", json!({}))).code(), 7);
}

#[test]
fn status_tells_an_agent_that_cannot_attach() {
    for (reply, code) in [
        (Reply::Done, None),
        (refused(RefusalCode::Unavailable), Some(50)),
        (refused(RefusalCode::Kernel), Some(51)),
    ] {
        let agent = Agent::answering(vec![reply]);
        let outcome = call("STATUS", agent.config("1.1.0", json!({})).to_string().as_bytes(), &[]);
        match code {
            None => assert!(outcome.success && outcome.value.is_none()),
            Some(code) => assert_eq!(outcome.code(), code),
        }
    }
}

#[test]
fn version_names_those_that_are_spoken() {
    for (asked, answered) in [("1.0.0", "1.0.0"), ("9.9.9", "1.1.0")] {
        let outcome = call("VERSION", json!({ "cniVersion": asked }).to_string().as_bytes(), &[]);
        assert!(outcome.success);
        assert_eq!(
            outcome.value.unwrap(),
            json!({ "cniVersion": answered, "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] })
        );
    }
    assert!(call("VERSION", b"", &[]).success);
}

/// DEL gives up on its agent long before, and ADD long after.
const SOON: Duration = Duration::from_secs(20);
