//! The server and the agents of a lab as processes: started with their configs, killed, started again, and found by
//! whoever comes after an owner that was killed.
#![allow(clippy::unwrap_used)]

mod ground;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ground::{apart, assert_unchanged, name};
use lab::inventory::Inventory;
use lab::{Lab, Options, ProcessId, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Not a claim: stands in for `sealane server` and `sealane agent`. It opens the socket that its config names; the server
/// answers with `OK` at the listener that it was handed.
#[test]
#[ignore = "started by other tests"]
fn stand_in() {
    let Ok(role) = std::env::var("STAND_IN_ROLE") else { return };
    let config = std::env::var("STAND_IN_CONFIG").unwrap();
    println!("{role} starts");
    let config: toml::Table = fs::read_to_string(config).unwrap().parse().unwrap();
    assert!(config.get("fail").is_none(), "told to fail");
    let socket = PathBuf::from(config["socket"].as_str().unwrap());
    // A process that was killed leaves its socket's file.
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    if role == "server" {
        let handed = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        for stream in TcpListener::from(handed).incoming() {
            stream.unwrap().write_all(b"OK").unwrap();
        }
    }
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut line = String::new();
        // Nothing comes from whoever only looks whether somebody listens.
        if BufReader::new(&stream).read_line(&mut line).is_ok_and(|length| length > 0) {
            stream.write_all(b"{\"reply\":\"done\"}\n").unwrap();
        }
    }
}

/// Not a claim: an owner of a lab that does not live to remove it.
#[test]
#[ignore = "started by other tests"]
fn owner() {
    let Ok(name) = std::env::var("OWNER_LAB") else { return };
    let options = Options::running(&name, 2, Path::new(&std::env::var("OWNER_BINARY").unwrap()));
    let _lab = Lab::up(options).unwrap();
    println!("\nlab is up");
    loop {
        std::thread::park();
    }
}

/// A program that is started as `sealane` is. It checks what it was handed, and becomes the stand-in.
fn binary() -> PathBuf {
    let path = PathBuf::from("/run/sealane-stand-in");
    let text = format!(
        "#!/bin/sh\nset -eu\n[ \"$2\" = --config ]\nexport STAND_IN_ROLE=\"$1\" STAND_IN_CONFIG=\"$3\" RUST_BACKTRACE=0\n\
         set -- --ignored --exact stand_in --nocapture\n\
         if [ \"$STAND_IN_ROLE\" = server ]; then [ \"$LISTEN_PID $LISTEN_FDS\" = \"$$ 1\" ]; exec {0} \"$@\" <&3; fi\n\
         exec {0} \"$@\"\n",
        std::env::current_exe().unwrap().display()
    );
    // By a program: what this process writes itself is busy as long as one that another test starts has it open, until its exec.
    let script = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let status = Command::new("sh").args(["-c", script]).arg(&path).arg(text).status().unwrap();
    assert!(status.success(), "{status}");
    path
}

fn answer(lab: &Lab) -> String {
    let mut stream = TcpStream::connect(lab.api().unwrap()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_server_answers_clients_of_this_machine_and_keeps_its_port_over_a_restart() {
    apart(|| {
        let lab = Lab::up(Options::running(&name(), 1, &binary())).unwrap();
        let api = lab.api().unwrap();
        assert!(api.ip().is_loopback());
        assert_eq!(answer(&lab), "OK");
        let kubeconfig = lab.kubeconfig(Some("red")).unwrap();
        assert!(kubeconfig.contains(&format!("server: http://{api}/clusters/red\n")), "{kubeconfig}");
        let first = lab.server().daemon().unwrap();
        lab.server().restart().unwrap();
        assert!(!first.alive() && lab.server().daemon().unwrap() != first);
        assert_eq!((lab.api().unwrap(), answer(&lab).as_str()), (api, "OK"));
    });
}

#[test]
fn an_agent_runs_in_its_hosts_network_with_its_hosts_config() {
    apart(|| {
        let name = name();
        let agent = "[nat]\nports = \"20000-20999\"\n[underlay]\nvxlan_port = 4790".parse().unwrap();
        let lab = Lab::up(Options { agent, ..Options::running(&name, 2, &binary()) }).unwrap();
        let host = lab.node(2);
        let process = host.daemon().unwrap();
        let inode = |path: &str| fs::read_link(path).unwrap();
        let expected = host.exec(&["readlink", "/proc/self/ns/net"]).unwrap().stdout;
        let found = inode(&format!("/proc/{}/ns/net", process.pid));
        assert_eq!(found.to_str().unwrap(), String::from_utf8(expected).unwrap().trim());
        let config: toml::Table =
            fs::read_to_string(host.folder().join("agent.toml")).unwrap().parse().unwrap();
        assert_eq!(config["node"].as_str(), Some("n2"));
        assert_eq!(config["server"].as_str(), Some("http://172.31.0.2:7380"));
        assert_eq!(config["pin_dir"].as_str(), Some(format!("/run/sealane-lab/{name}/bpf/n2").as_str()));
        assert_eq!(config["cgroup"].as_str(), host.cgroup().unwrap().path().to_str());
        assert_eq!(config["nat"]["ports"].as_str(), Some("20000-20999"));
        assert_eq!(config["underlay"]["vxlan_port"].as_integer(), Some(4790));
        assert_eq!(config["underlay"]["addresses"].as_array().unwrap()[0].as_str(), Some("172.31.1.2"));
        assert_eq!(config["doors"]["run"]["tenants"].as_array().unwrap()[0].as_str(), Some("*"));
    });
}

#[test]
fn a_killed_agent_stays_down_until_it_is_started_and_the_others_run_on() {
    apart(|| {
        let lab = Lab::up(Options::running(&name(), 2, &binary())).unwrap();
        let (first, second) = (lab.node(1).daemon().unwrap(), lab.node(2).daemon().unwrap());
        lab.node(1).kill().unwrap();
        assert!(!first.alive() && lab.node(1).daemon().is_none());
        assert!(
            lab.describe().contains("n1: agent") && lab.describe().contains("has ended"),
            "{}",
            lab.describe()
        );
        lab.node(1).start().unwrap();
        assert!(lab.node(1).daemon().is_some_and(ProcessId::alive));
        assert_eq!(lab.node(2).daemon(), Some(second));
        lab.node(2).stop().unwrap();
        assert!(!second.alive() && lab.node(2).daemon().is_none());
        lab.start().unwrap();
        assert!(lab.world().start().is_err() && lab.world().daemon().is_none());
        lab.await_ready(SOON).unwrap();
        lab.node(2).kill().unwrap();
        let late = lab.await_ready(Duration::from_millis(50)).unwrap_err().to_string();
        assert!(late.contains("the agent of n2") && late.contains("links eth0 lo"), "{late}");
    });
}

#[test]
fn a_daemon_that_ends_at_once_is_told_with_its_log_and_the_lab_is_removed() {
    apart(|| {
        let name = name();
        let before = Inventory::take().unwrap();
        let agent = "fail = true".parse().unwrap();
        let fault = Lab::up(Options { agent, ..Options::running(&name, 1, &binary()) }).unwrap_err();
        let told = lab::report(&fault);
        assert!(told.contains("sealane agent") && told.contains("told to fail"), "{told}");
        assert_unchanged(&before, &[&name]);
        let missing = Lab::up(Options::running(&name, 1, Path::new("/no/such/sealane"))).unwrap_err();
        assert!(lab::report(&missing).contains("/no/such/sealane"), "{missing}");
        assert_unchanged(&before, &[&name]);
    });
}

#[test]
fn what_an_owner_killed_at_any_moment_left_is_removed_by_name() {
    apart(|| {
        let binary = binary();
        let before = Inventory::take().unwrap();
        // None: after it has told that the lab is up.
        let moments =
            [1, 5, 10, 20, 40, 80, 160, 320].map(Duration::from_millis).map(Some).into_iter().chain([None]);
        for moment in moments {
            let name = name();
            let mut owner = Command::new(std::env::current_exe().unwrap());
            owner
                .args(["--ignored", "--exact", "owner", "--nocapture"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            let mut owner = owner.env("OWNER_LAB", &name).env("OWNER_BINARY", &binary).spawn().unwrap();
            match moment {
                Some(moment) => std::thread::sleep(moment),
                None => {
                    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
                    assert!(lines.map_while(Result::ok).any(|line| line == "lab is up"));
                }
            }
            owner.kill().unwrap();
            owner.wait().unwrap();
            if moment.is_none() {
                let opened = Lab::open(&name).unwrap();
                assert!(opened.nodes().all(|host| host.daemon().is_some()), "{}", opened.describe());
                assert_eq!(answer(&opened), "OK", "the lab outlives its owner");
                opened.server().restart().unwrap();
                assert_eq!(answer(&opened), "OK", "whoever comes after can look after it");
                assert_eq!(lab::sweep().unwrap(), [name.as_str()]);
            } else {
                lab::down(&name).unwrap();
            }
            assert!(!lab::down(&name).unwrap(), "there was something left to remove");
            assert_unchanged(&before, &[&name]);
        }
    });
}

#[test]
fn a_lab_that_is_kept_outlives_its_value() {
    apart(|| {
        let name = name();
        drop(Lab::up(Options::bare(&name, 1)).unwrap().keep().unwrap());
        assert!(lab::sweep().unwrap().is_empty(), "a lab that is kept has no owner to miss");
        let opened = Lab::open(&name).unwrap();
        assert!(opened.node(1).exec(&["true"]).unwrap().status.success());
        drop(opened);
        assert_eq!(Lab::all(), [name.as_str()]);
        assert!(lab::down(&name).unwrap());
        assert!(matches!(Lab::open(&name), Err(lab::Error::Missing { .. })));
        wait_until(SOON, "it is gone", || Lab::all().is_empty()).unwrap();
    });
}
