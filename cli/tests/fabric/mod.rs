//! A fabric that runs: the server and agents of this build in a lab, objects applied to them, and questions asked of its
//! containers in bulk. Each proof has a lab of its own and leaves nothing of it.
#![allow(dead_code, reason = "each proof uses a part of it")]
#![allow(clippy::unwrap_used)]

pub(crate) mod ask;
pub(crate) mod light;
pub(crate) mod stream;

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lab::container::{Container, Spec};
use lab::inventory::Inventory;
use lab::{Host, Lab, Options, wait_until};
use record::Prefix;
use record::door::{Attached, Reply, Request};
use record::inspect::{Answer, Question, State};
use serde_json::Value;

/// A lab whose server and agents run, and which is removed with this value.
pub(crate) struct Fabric {
    lab: Option<Lab>,
    name: String,
}

impl Fabric {
    /// With so many hosts. What runs that were killed have left is removed first.
    pub(crate) fn up(name: &str, nodes: u16) -> Self {
        Self::with(Options::running(name, nodes, Path::new(env!("CARGO_BIN_EXE_sealane"))))
    }

    /// With these options; the lab's name is [`own`].
    pub(crate) fn with(options: Options) -> Self {
        lab::sweep().unwrap();
        let name = own(&options.name);
        let options = Options { name: name.clone(), ..options };
        let fabric = Self { lab: Some(Lab::up(options).unwrap()), name };
        fabric.await_ready(PATIENCE).unwrap();
        fabric
    }

    /// With these options, while one host's agent is not started.
    pub(crate) fn with_absent(options: Options, absent: u16) -> Self {
        lab::sweep().unwrap();
        let name = own(&options.name);
        let nodes = options.nodes;
        let options = Options { name: name.clone(), start: false, ..options };
        let fabric = Self { lab: Some(Lab::up(options).unwrap()), name };
        fabric.server().start().unwrap();
        for host in (1..=nodes).filter(|host| *host != absent) {
            fabric.node(host).start().unwrap();
            let agent = fabric.node(host).runtime().unwrap().agent;
            let look = || agent.status().map_err(|fault| lab::report(&fault));
            fabric.wait_until(PATIENCE, "an agent can attach", look).unwrap();
        }
        fabric
    }

    /// Runs `sealane` as a user of the tenant would.
    pub(crate) fn sealane(&self, tenant: &str, words: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sealane"))
            .args(words)
            .env("SEALANE_SERVER", format!("unix:{}", self.server_socket().display()))
            .env("SEALANE_TENANT", tenant)
            .env_remove("SEALANE_NAMESPACE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// The same; anything but success is the end of the proof.
    #[track_caller]
    pub(crate) fn done(&self, tenant: &str, words: &[&str], input: &str) -> String {
        let output = self.sealane(tenant, words, input);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sealane {words:?}: {told}\n{input}\n{}", self.story());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Applies documents of a tenant.
    #[track_caller]
    pub(crate) fn apply(&self, tenant: &str, documents: &str) {
        self.done(tenant, &["apply", "-f", "-"], documents);
    }

    /// The documents of all objects of a resource, over all namespaces.
    #[track_caller]
    pub(crate) fn objects(&self, tenant: &str, resource: &str) -> Vec<Value> {
        let text = self.done(tenant, &["get", resource, "-A", "-o", "json"], "");
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until every network and policy of the tenant says of its latest version that it is realised.
    #[track_caller]
    pub(crate) fn await_realised(&self, tenant: &str) {
        let look = || {
            let all = ["networkpolicies", "virtualnetworks"].map(|kind| self.objects(tenant, kind)).concat();
            let waiting: Vec<String> = all.iter().filter(|one| !is_realised(one)).map(shown).collect();
            if waiting.is_empty() { Ok(()) } else { Err(waiting.join("\n")) }
        };
        let outcome = wait_until(PATIENCE, &format!("everything of {tenant} is realised"), look);
        outcome.unwrap_or_else(|late| self.fail(&late));
    }

    /// Waits until no change is under way and every node holds what it should.
    #[track_caller]
    pub(crate) fn settle(&self) {
        let look = || {
            let text = self.done("system", &["status", "-o", "json"], "");
            let status: Value = serde_json::from_str(&text).unwrap();
            let level = |node: &Value| {
                node["connected"] == true && node["generationHeld"] == node["generationWanted"]
            };
            let nodes = status["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(level));
            let quiet = status["changesUnderWay"] == 0 && status["policiesChanging"] == 0;
            if nodes && quiet { Ok(()) } else { Err(text) }
        };
        let outcome = wait_until(PATIENCE, "every node holds what it should", look);
        outcome.unwrap_or_else(|late| self.fail(&late));
    }

    /// Starts a container on each host of the list, a few at a time.
    #[track_caller]
    pub(crate) fn run_all(&self, specs: &[(u16, Spec)]) -> Vec<Container> {
        let started = at_once(specs, STARTERS, |(node, spec)| self.node(*node).run(spec));
        let fail = |fault: lab::Error| self.fail(&lab::report(&fault));
        started.into_iter().map(|one| one.unwrap_or_else(fail)).collect()
    }

    /// What a host's agent says of itself.
    pub(crate) fn state(&self, host: Host<'_>) -> State {
        match host.runtime().unwrap().agent.ask(&Request::Ask { question: Question::State }) {
            Ok(Reply::Answer { answer: Answer::State(state) }) => state,
            other => self.fail(&format!("the agent of {} tells no state: {other:?}", host.name())),
        }
    }

    /// The attachments of a host, as its agent lists them.
    pub(crate) fn attachments(&self, host: Host<'_>) -> Vec<Attached> {
        match host.runtime().unwrap().agent.ask(&Request::List) {
            Ok(Reply::Attachments { attachments }) => attachments,
            other => self.fail(&format!("the agent of {} lists nothing: {other:?}", host.name())),
        }
    }

    /// The fabric as it is: objects, nodes, drops, processes and the ends of their logs.
    pub(crate) fn story(&self) -> String {
        let mut story = String::new();
        for words in [
            &["status", "-o", "wide"][..],
            &["get", "tenants"],
            &["get", "virtualnetworks", "-A"],
            &["get", "endpoints", "-A", "-o", "wide"],
            &["get", "networkpolicies", "-A", "-o", "yaml"],
            &["drops"],
            &["drops", "--samples"],
        ] {
            let output = self.sealane("default", words, "");
            let text = [output.stdout, output.stderr].concat();
            story.push_str(&format!("$ sealane {}\n{}\n", words.join(" "), beginning(&text)));
        }
        story + &self.describe()
    }

    /// Ends the proof with what is wrong and the fabric as it is.
    #[track_caller]
    pub(crate) fn fail(&self, what: &dyn std::fmt::Display) -> ! {
        panic!("{what}\n\n{}", self.story())
    }

    /// Removes the lab; nothing on the machine bears its name then.
    #[track_caller]
    pub(crate) fn down(mut self) {
        self.lab.take().unwrap().down().unwrap();
        let left = Inventory::take().unwrap().of_lab(&self.name);
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

impl Deref for Fabric {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        self.lab.as_ref().expect("the lab goes with the fabric")
    }
}

/// The name of a proof's lab in this run, so that two runs on one machine do not meet.
pub(crate) fn own(proof: &str) -> String {
    format!("{proof}{}", std::process::id())
}

/// The address by which a host's own processes reach a container of it (`docs/design`: shadow addresses).
pub(crate) fn shadow(attached: &Attached, ipv4: bool) -> IpAddr {
    let number = u32::from_str_radix(attached.host_interface.trim_start_matches("sl"), 16).unwrap();
    let range: Prefix = if ipv4 { "100.64.0.0/10" } else { "fd5e:a1a:e::/64" }.parse().unwrap();
    range.nth(u128::from(number) + 1).unwrap()
}

/// Does the work for every item, so many at a time, and gives the outcomes in the same order.
pub(crate) fn at_once<I: Sync, O: Send>(
    items: &[I],
    workers: usize,
    work: impl Fn(&I) -> O + Sync,
) -> Vec<O> {
    let (next, work) = (AtomicUsize::new(0), &work);
    let take = || {
        let mut done = Vec::new();
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(index)
        {
            done.push((index, work(item)));
        }
        done
    };
    let mut all: Vec<(usize, O)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.min(items.len())).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .flat_map(|one| one.join().unwrap_or_else(|fault| std::panic::resume_unwind(fault)))
            .collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, outcome)| outcome).collect()
}

fn is_realised(object: &Value) -> bool {
    let generation = &object["metadata"]["generation"];
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| {
        condition["type"] == "Realised"
            && condition["status"] == "True"
            && condition["observedGeneration"] == *generation
    })
}

fn shown(object: &Value) -> String {
    let name = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    format!("{} {}/{}: {}", object["kind"], name("namespace"), name("name"), object["status"])
}

fn beginning(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let all = text.lines().count();
    let mut lines: Vec<&str> = text.lines().take(SHOWN).collect();
    let more = format!("… and {} lines more", all.saturating_sub(SHOWN));
    if all > SHOWN {
        lines.push(&more);
    }
    lines.join("\n")
}

/// For what takes a moment on an idle machine: a busy one is slow, not wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Containers started at a time.
pub(crate) const STARTERS: usize = 8;
/// Lines of each answer that a story shows.
const SHOWN: usize = 60;
