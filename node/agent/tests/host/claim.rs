//! Two agents on one host: whatever they share, the second changes nothing and is told who has it.

use std::path::Path;
use std::process::{Command, Stdio};

use record::door::{Reply, Request};

use crate::ground::{Container, Host, on_a_host};
use crate::server::Server;
use crate::world::{detach, request, world};

#[test]
fn a_host_is_one_agents_at_a_time_and_no_other_user_can_have_it() {
    on_a_host("claim::a_host_is_one_agents_at_a_time_and_no_other_user_can_have_it", on_the_host);
}

async fn on_the_host(host: Host) {
    let mut server = Server::start(&host);
    let mut agent = host.agent();
    let mut session = server.meet().await;
    session.send(1, world(), Vec::new()).await;
    let web = Container::start();
    host.attach(request("web", &web, &[]));

    let holder = format!("process {} and state_dir {}", agent.pid(), host.path("state").display());
    for (what, state, pins, by) in [
        ("both are another's", "other", "sealane", [].as_slice()),
        ("the namespace is", "other", "others", &[]),
        ("the same agent twice", "state", "sealane", &[]),
        ("the folder of pins is", "other", "sealane", &["unshare", "--net"]),
    ] {
        host.set(state, pins);
        let said = host.refused_by(by);
        assert!(said.contains(&holder), "{what}: {said}");
        let object = if by.is_empty() { "claim network namespace" } else { "claim pin_dir" };
        assert!(said.contains(object), "{what}: {said}");
    }
    host.set("other", "others");
    let purged = agent::purge(&host.config()).unwrap_err().to_string();
    assert!(purged.contains(&holder), "{purged}");
    assert!(!host.path("other").exists() && !host.path("bpf").join("others").exists(), "nothing was changed");
    assert_eq!(host.ask(&Request::Check(detach("web"))), Reply::Done, "{}", host.world());

    let claims: Vec<_> = std::fs::read_dir(CLAIMS).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(claims.len(), 1, "{claims:?}");
    for path in [claims[0].as_path(), host.path("bpf").join("sealane").as_path()] {
        assert!(!is_open_to_others(path), "{} can be locked by anybody", path.display());
    }
    host.set("state", "sealane");
    agent.kill();
    let mut agent = host.agent();
    agent.stop();
    assert!(!Path::new(CLAIMS).exists(), "a claim that is given back leaves nothing");
}

/// Whether a user without rights can open it, which is what locking takes.
fn is_open_to_others(path: &Path) -> bool {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--clear-groups", "flock", "--nonblock", "--shared"]);
    let status = command.arg(path).arg("true").stderr(Stdio::null()).status().unwrap();
    assert!(
        status.code().is_some_and(|code| code != 127 && code != 1),
        "{status}: not locked, and yet refused"
    );
    status.success()
}

const CLAIMS: &str = "/run/sealane-claims";
