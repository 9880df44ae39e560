//! What a container is: a process in namespaces of its own that starts attached and ends wholly.
#![allow(clippy::unwrap_used)]

mod bridge_agent;
mod ground;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use bridge_agent::BridgeAgent;
use ground::{apart, assert_unchanged, name};
use lab::container::{Container, Sink, Spec};
use lab::echo::{Echo, Listen};
use lab::inventory::Inventory;
use lab::probe::Probe;
use lab::{Lab, Options, ProcessId, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use record::door::{Attached, Detach, Door, TOMBSTONES};

const SOON: Duration = Duration::from_secs(30);

fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn shell(name: &str, script: &str) -> Spec {
    Spec { command: ["sh", "-c", script].map(str::to_owned).to_vec(), ..Spec::idle(name) }
}

/// Runs a test on a lab of one host with an agent.
fn with_agent(test: impl FnOnce(&Lab, &BridgeAgent) + Send) {
    apart(|| {
        let name = name();
        let before = Inventory::take().unwrap();
        let lab = Lab::up(Options::bare(&name, 1)).unwrap();
        let agent = BridgeAgent::start(lab.node(1), Duration::ZERO);
        test(&lab, &agent);
        drop(agent);
        drop(lab);
        assert_unchanged(&before, &[&name]);
    });
}

#[test]
fn a_container_sees_its_own_links_name_and_mounts_and_the_host_sees_none_of_them() {
    with_agent(|lab, _| {
        let one = lab.node(1).run(&Spec::idle("one")).unwrap();
        let two = lab.node(1).run(&Spec::idle("two")).unwrap();
        let namespaces = |container: &lab::container::Container| {
            let kinds = ["net", "mnt", "uts", "ipc"];
            kinds.map(|kind| text(container.exec(&["readlink", &format!("/proc/self/ns/{kind}")]).unwrap()))
        };
        let own = ["net", "mnt", "uts", "ipc"].map(|kind| {
            format!("{}\n", fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap().display())
        });
        for ((one, two), own) in namespaces(&one).iter().zip(namespaces(&two)).zip(own) {
            assert!(*one != two && *one != own && two != own, "{one} {two} {own}");
        }
        assert_eq!(text(one.exec(&["hostname"]).unwrap()), "one\n");
        assert_eq!(text(two.exec(&["hostname"]).unwrap()), "two\n");
        assert_eq!(text(one.exec(&["ls", "/sys/class/net"]).unwrap()), "eth0\nlo\n");
        text(one.exec(&["mount", "-t", "tmpfs", "mine", "/mnt"]).unwrap());
        assert!(text(one.exec(&["cat", "/proc/mounts"]).unwrap()).contains("mine /mnt"));
        assert!(!text(two.exec(&["cat", "/proc/mounts"]).unwrap()).contains("mine /mnt"));
        assert!(!fs::read_to_string("/proc/thread-self/mounts").unwrap().contains("mine /mnt"));
        let group = text(two.exec(&["cat", "/proc/self/cgroup"]).unwrap());
        assert!(group.contains("/n1/containers/default_default_two\n"), "{group}");
    });
}

#[test]
fn containers_of_a_host_reach_each_other_as_soon_as_they_run() {
    with_agent(|lab, _| {
        let one = lab.node(1).run(&Spec::idle("one")).unwrap();
        let two = lab.node(1).run(&Spec::idle("two")).unwrap();
        let _echo = Echo::start(two.namespace(), "two", &[Listen::tcp(80)]).unwrap();
        let probe = Probe::tcp(two.address(true).unwrap(), 80);
        let outcome = Probe::send(&[probe], one.namespace(), SOON).unwrap().remove(0);
        assert!(outcome.answered_by("two"), "{outcome}");
        assert!(two.address(false).is_none());
    });
}

#[test]
fn the_program_runs_no_instruction_before_the_attach_is_answered() {
    apart(|| {
        let lab = Lab::up(Options::bare(&name(), 1)).unwrap();
        let agent = BridgeAgent::start(lab.node(1), Duration::from_millis(200));
        let container =
            lab.node(1).run(&shell("late", "date +%s%N; cat /sys/class/net/eth0/operstate")).unwrap();
        assert!(container.wait().unwrap().success());
        let log = fs::read_to_string(&container.record().log).unwrap();
        let (started, link) = log.trim().split_once('\n').unwrap();
        let started = SystemTime::UNIX_EPOCH + Duration::from_nanos(started.parse().unwrap());
        assert!(started > agent.seen.lock().unwrap().answered.unwrap());
        assert_eq!(link, "up");
    });
}

#[test]
fn a_refused_container_never_runs_and_leaves_nothing() {
    with_agent(|lab, _| {
        let mark = Path::new("/run/mark");
        let fault = lab.node(1).run(&shell("unwanted", "touch /run/mark")).unwrap_err();
        let told = lab::report(&fault);
        assert!(told.contains("nobody wants it") && told.contains("be wanted"), "{told}");
        assert!(!mark.exists());
        let runtime = lab.node(1).runtime().unwrap();
        assert_eq!(fs::read_dir(&runtime.state).unwrap().count(), 0);
        assert!(runtime.cgroup.children().is_empty());
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error_and_its_place_is_given_back() {
    with_agent(|lab, agent| {
        let spec = Spec { command: vec!["/no/such/program".to_owned()], ..Spec::idle("lost") };
        let told = lab::report(&lab.node(1).run(&spec).unwrap_err());
        assert!(told.contains("/no/such/program") && told.contains("No such file"), "{told}");
        let seen = agent.seen.lock().unwrap();
        assert_eq!((seen.asked, seen.attached.len()), (1, 0));
    });
}

#[test]
fn stopping_ends_every_process_whatever_it_forked_and_gives_the_place_back() {
    with_agent(|lab, agent| {
        let script = "setsid sleep 601 & setsid sh -c 'sleep 602' & sleep 603";
        let container = lab.node(1).run(&shell("forks", script)).unwrap();
        let group = lab.node(1).runtime().unwrap().cgroup.child("default_default_forks");
        wait_until(SOON, "all are forked", || group.processes().len() >= 4).unwrap();
        let processes: Vec<ProcessId> = group.processes().into_iter().filter_map(ProcessId::of).collect();
        let netns = container.namespace().path().to_owned();
        assert_eq!(agent.seen.lock().unwrap().attached.len(), 1);
        container.stop().unwrap();
        assert!(processes.len() >= 4 && processes.iter().all(|process| !process.alive()));
        assert!(agent.seen.lock().unwrap().attached.is_empty());
        assert!(!netns.exists() && !group.exists());
    });
}

#[test]
fn an_agent_that_is_away_is_left_word_of_what_to_take_away() {
    apart(|| {
        let lab = Lab::up(Options::bare(&name(), 1)).unwrap();
        let agent = BridgeAgent::start(lab.node(1), Duration::ZERO);
        let container = lab.node(1).run(&Spec::idle("shop")).unwrap();
        drop(agent);
        fs::remove_file(lab.node(1).agent_socket()).unwrap();
        container.stop().unwrap();
        let wanted =
            Detach { door: Door::Run, container: "default_default_shop".to_owned(), interface: None };
        let word = fs::read(lab.node(1).folder().join(TOMBSTONES).join(wanted.tombstone())).unwrap();
        assert_eq!(serde_json::from_slice::<Detach>(&word).unwrap(), wanted);
        assert!(lab.find("default_default_shop").is_err());
    });
}

#[test]
fn a_name_that_runs_is_refused_and_free_again_after_a_drop() {
    with_agent(|lab, _| {
        let first = lab.node(1).run(&Spec::idle("shop")).unwrap();
        let fault = lab.node(1).run(&Spec::idle("shop")).unwrap_err();
        assert!(matches!(fault, lab::Error::Exists { .. }), "{fault}");
        assert!(text(first.exec(&["hostname"]).unwrap()).contains("shop"), "the first is not disturbed");
        let other = Spec { namespace: Some("blue".to_owned()), ..Spec::idle("shop") };
        let other = lab.node(1).run(&other).unwrap();
        assert_eq!(other.record().id, "default_blue_shop");
        drop(first);
        lab.node(1).run(&Spec::idle("shop")).unwrap().stop().unwrap();
    });
}

#[test]
fn a_container_is_found_by_name_from_another_process_and_its_exit_code_is_passed_on() {
    with_agent(|lab, _| {
        let container = lab.node(1).run(&Spec::idle("shop")).unwrap();
        let opened = Lab::open(&lab.name()).unwrap();
        let (host, record) = opened.find("default_default_shop").unwrap();
        assert_eq!(host.name(), "n1");
        assert_eq!(record.attached.name, "shop");
        let status = record.command("sh").unwrap().args(["-c", "exit $(hostname | wc -c)"]).status().unwrap();
        assert_eq!(lab::container::exit_code(status), 5);
        container.stop().unwrap();
        let fault = opened.find("default_default_shop").unwrap_err();
        assert!(matches!(fault, lab::Error::Missing { .. }), "{fault}");
    });
}

#[test]
fn names_that_could_be_paths_or_other_containers_are_refused() {
    for wrong in ["", "..", "a/b", "a_b", "-a", "a.", "A"] {
        assert!(matches!(Spec::idle(wrong).id(), Err(lab::Error::Name { .. })), "{wrong:?}");
    }
    assert_eq!(Spec::idle("a-b.c").id().unwrap(), "default_default_a-b.c");
}

/// Not a claim: a process of its own that runs a container in the foreground, as `sealane run` does.
#[test]
#[ignore = "started by other tests"]
fn runner() {
    let Ok(name) = std::env::var("RUNNER_LAB") else { return };
    let lab = Lab::open(&name).unwrap();
    let script = std::env::var("RUNNER_SCRIPT").unwrap();
    let spec = Spec { output: Sink::Inherit, ..shell("run", &script) };
    match lab.node(1).runtime().unwrap().run(&spec) {
        Ok(code) => std::process::exit(code.into()),
        Err(fault) => panic!("{}", lab::report(&fault)),
    }
}

fn runner_command(lab: &Lab, script: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "runner", "--nocapture"]);
    command
        .env("RUNNER_LAB", lab.name())
        .env("RUNNER_SCRIPT", script)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

#[test]
fn the_foreground_passes_on_output_and_exit_code() {
    with_agent(|lab, _| {
        let output = runner_command(lab, "hostname; exit 42").output().unwrap();
        assert_eq!(output.status.code(), Some(42));
        assert!(String::from_utf8_lossy(&output.stdout).contains("run\n"), "{output:?}");
        let output = runner_command(lab, "kill -9 $$").output().unwrap();
        assert_eq!(output.status.code(), Some(128 + 9));
    });
}

#[test]
fn a_container_in_the_background_outlives_its_caller_and_writes_a_log() {
    with_agent(|lab, agent| {
        let (id, host) = ("default_default_run", lab.node(1));
        let runtime = host.runtime().unwrap();
        let start =
            |script| runtime.start_in_background(id, runner_command(lab, script), host.place().unwrap());
        let record = start("echo ahoy; until [ -e /run/over ]; do sleep 0.05; done").unwrap().unwrap();
        assert!(record.process.alive());
        fs::write("/run/over", "").unwrap();
        wait_until(SOON, "it ends by itself", || !runtime.state.join(id).exists()).unwrap();
        assert!(fs::read_to_string(runtime.log(id)).unwrap().contains("ahoy\n"));
        assert!(agent.seen.lock().unwrap().attached.is_empty());
        UnixStream::connect(host.agent_socket()).unwrap().write_all(b"\n").unwrap();
        wait_until(SOON, "the agent is gone", || UnixStream::connect(host.agent_socket()).is_err()).unwrap();
        let told = start("true").unwrap_err().to_string();
        assert!(told.contains(id) && told.contains("cannot reach the agent"), "{told}");
    });
}

#[test]
fn an_interrupted_runner_ends_everything_and_gives_the_place_back() {
    with_agent(|lab, agent| {
        let group = lab.node(1).runtime().unwrap().cgroup.child("default_default_run");
        // The first process ends at the signal; the other ignores it and has to be killed.
        let script = "trap '' INT; sleep 600 & trap 'exit 5' INT; echo ready; while :; do sleep 0.1; done";
        let mut child = runner_command(lab, script).spawn().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            told.any(|line| line.unwrap().ends_with("ready")),
            "the container says that its traps are set"
        );
        // What is inside may be quicker than the runner's own notes of it.
        let runs = || lab.find("default_default_run").is_ok() && group.processes().len() >= 2;
        wait_until(SOON, "the runner has noted its container", runs).unwrap();
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(5));
        assert!(!group.exists());
        assert!(agent.seen.lock().unwrap().attached.is_empty());
    });
}

#[test]
fn what_a_killed_runner_left_is_swept_and_what_runs_is_not() {
    with_agent(|lab, agent| {
        let kept = lab.node(1).run(&Spec::idle("kept")).unwrap();
        let mut child = runner_command(lab, "sleep 600").spawn().unwrap();
        wait_until(SOON, "the container runs", || lab.find("default_default_run").is_ok()).unwrap();
        let (_, orphan) = lab.find("default_default_run").unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(orphan.process.alive(), "the container outlives its runner");
        let runtime = lab.node(1).runtime().unwrap();
        let like_kept = |container: &str, netns: PathBuf| {
            let container = container.to_owned();
            Attached { container, netns, ..kept.record().attached.clone() }
        };
        let forgotten = like_kept("forgotten", runtime.state.join("forgotten/netns"));
        let elsewhere = like_kept("elsewhere", PathBuf::from("/run/netns/elsewhere"));
        for attached in [forgotten, elsewhere] {
            agent.seen.lock().unwrap().attached.insert(attached.container.clone(), attached);
        }
        runtime.sweep().unwrap();
        assert!(!orphan.process.alive());
        assert!(text(kept.exec(&["hostname"]).unwrap()).contains("kept"));
        let left: Vec<String> = agent.seen.lock().unwrap().attached.keys().cloned().collect();
        assert_eq!(
            left,
            ["default_default_kept", "elsewhere"],
            "what no runner made is no runner's to take away"
        );
        let netns = orphan.attached.netns;
        assert!(!netns.exists());
    });
}

#[test]
fn those_that_start_while_others_sweep_all_keep_their_places() {
    with_agent(|lab, agent| {
        let runtime = lab.node(1).runtime().unwrap();
        let sweeping = AtomicBool::new(true);
        let started: Vec<Container> = thread::scope(|scope| {
            let sweeper = scope.spawn(|| {
                while sweeping.load(Ordering::Relaxed) {
                    runtime.sweep().unwrap();
                }
            });
            let starters: Vec<_> = (0..12)
                .map(|number| {
                    let runtime = &runtime;
                    scope.spawn(move || runtime.start(&Spec::idle(&format!("c{number}"))).unwrap())
                })
                .collect();
            let started = starters.into_iter().map(|starter| starter.join().unwrap()).collect();
            sweeping.store(false, Ordering::Relaxed);
            sweeper.join().unwrap();
            started
        });
        assert_eq!(agent.seen.lock().unwrap().attached.len(), started.len());
        for container in &started {
            assert!(container.record().attached.netns.exists(), "{}", container.name());
        }
    });
}
