//! Bad moments: an end in the middle of a command, a second agent, a second server, a host that is full.

use std::process::{Command, Stdio};
use std::time::Duration;

use lab::inventory::Inventory;
use lab::{Lab, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::InForce;
use crate::fabric::{Fabric, PATIENCE};

#[test]
fn a_lab_that_is_interrupted_while_it_is_made_leaves_nothing() {
    for (round, moment) in [100, 600, 1200].into_iter().enumerate() {
        let name = format!("badctrlc{round}");
        lab::down(&name).unwrap();
        let mut making = Command::new(env!("CARGO_BIN_EXE_sealane"))
            .args(["lab", "--lab", &name, "up", "--nodes", "2"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        kill(Pid::from_raw(making.id().cast_signed()), Signal::SIGINT).unwrap();
        let code = making.wait().unwrap().code();
        let kept = Lab::all().contains(&name);
        lab::down(&name).unwrap();
        // The lab may have been there before the signal; then it was kept, as was asked.
        assert!(code == Some(130) || code == Some(0) || code.is_none(), "{code:?}");
        assert_eq!(kept, code == Some(0), "ended with {code:?} at {moment} ms");
        let left = Inventory::take().unwrap().of_lab(&name);
        assert!(left.is_empty(), "{left:#?}");
    }
}

#[test]
fn a_second_agent_or_server_is_refused_and_the_first_goes_on() {
    let fabric = Fabric::up("badsecond", 1);
    let before = InForce::of(&fabric);
    let (host, server) = (fabric.node(1), fabric.server());
    let config = |host: &str, file: &str| fabric.folder().join(host).join(file).to_str().unwrap().to_owned();
    let second = |host: lab::Host<'_>, words: &[&str]| {
        let mut command = host.command(env!("CARGO_BIN_EXE_sealane")).unwrap();
        let output = command.args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = second(host, &["agent", "--config", &config("n1", "agent.toml")]);
    let holder = before.daemons[1].unwrap();
    assert!(told.contains(&format!("process {holder} ")) && told.contains("stop that one"), "{told}");
    let told = second(server, &["server", "--config", &config("server", "server.toml")]);
    assert!(told.contains("another server answers there"), "{told}");
    let told = second(host, &["agent", "--config", "/etc/passwd"]);
    assert!(told.contains("/etc/passwd"), "{told}");
    let told = second(host, &["agent", "--config", fabric.folder().to_str().unwrap()]);
    assert!(told.contains("directory"), "{told}");
    before.stays(&fabric);
    fabric.down();
}

#[test]
fn a_runner_that_is_killed_has_its_container_swept_by_the_next() {
    let fabric = Fabric::up("badkill", 1);
    let name = fabric.name();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealane"));
        command.args(["lab", "--lab", &name, "run", "n1"]).args(words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut runner = run(&["--name", "orphan", "--", "sleep", "600"]).spawn().unwrap();
    let host = fabric.node(1);
    wait_until(PATIENCE, "it runs", || fabric.find("default_default_orphan").is_ok()).unwrap();
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert_eq!(fabric.attachments(host).len(), 1, "nobody has looked after it yet");
    assert!(run(&["--name", "next", "--", "true"]).status().unwrap().success());
    assert_eq!(fabric.attachments(host).len(), 0);
    let gone = || fabric.objects("default", "endpoints").is_empty();
    fabric.wait_until(PATIENCE, "the server has heard", gone).unwrap();
    fabric.down();
}
