//! Requests that cannot be met: ports, detaching by name, namespaces that the agent does not see.

use std::process::Command;

use record::Protocol;
use record::door::{Attach, Detach, Door, Publish, Refusal, RefusalCode, Reply, Request};

use crate::ground::{Container, Host, on_a_host};
use crate::server::Server;
use crate::world::{detach, request, world};

#[test]
fn what_a_door_asks_in_vain_is_answered_with_what_is_so_and_what_to_do() {
    on_a_host("publish::what_a_door_asks_in_vain_is_answered_with_what_is_so_and_what_to_do", on_the_host);
}

async fn on_the_host(host: Host) {
    let mut server = Server::start(&host);
    let mut agent = host.agent();
    let mut session = server.meet().await;
    session.send(1, world(), Vec::new()).await;
    let one = Container::start();

    for (publish, parts) in [
        (at(Some("198.51.100.7"), 8080), ["198.51.100.7:8080/TCP", "no address", "ip_nonlocal_bind"]),
        (at(None, 20000), ["20000/TCP", "16384-29999", "nat.ports"]),
    ] {
        let refused = refusal(host.ask(&attach("one", &one, publish)));
        assert_eq!(refused.code, RefusalCode::Invalid, "{refused:?}");
        let said = format!("{} {}", refused.message, refused.remedy);
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in {said}");
    }
    assert_eq!(host.list(), []);

    // An address that comes later is the host's to allow, and a port that an endpoint has is told with it.
    sysctl("net.ipv4.ip_nonlocal_bind=1");
    let floating = at(Some("198.51.100.7"), 8080);
    let reply = host.ask(&attach("one", &one, floating.clone()));
    assert!(matches!(reply, Reply::Attached(_)), "{reply:?}");
    let two = Container::start();
    let refused = refusal(host.ask(&attach("two", &two, floating)));
    assert_eq!(refused.code, RefusalCode::Taken);
    assert!(refused.message.contains("endpoint default/one"), "{refused:?}");

    // `sealane detach` goes by the name of the endpoint.
    let by_name = Detach { door: Door::Attach, container: "default_default_one".into(), interface: None };
    let refused = refusal(host.ask(&Request::Detach(by_name.clone())));
    let said = format!("{} {}", refused.message, refused.remedy);
    assert!(
        ["default/one", "sealane run", "end the process"].iter().all(|part| said.contains(part)),
        "{said}"
    );
    assert_eq!(host.list().len(), 1, "it has its place still");
    assert_eq!(host.ask(&Request::Detach(detach("one"))), Reply::Done);
    assert_eq!(host.ask(&Request::Detach(by_name)), Reply::Done, "nobody has it now");

    // Whoever lives among other mounts may mean another file than the agent finds.
    let refused = host.ask_from_other_mounts(&Request::Attach(request("two", &two, &[]).into()));
    let refused = refusal(refused);
    assert!(
        refused.message.contains("other mounts") && refused.remedy.contains("mount --bind"),
        "{refused:?}"
    );
    assert_eq!(host.list(), []);
    agent.stop();
}

impl Host {
    /// Asks from a process that sees the file of its own namespace where the agent sees a container's.
    fn ask_from_other_mounts(&self, request: &Request) -> Reply {
        let Request::Attach(attach) = request else { panic!("only an attach names a file") };
        let script = "mount --bind /proc/self/ns/net \"$1\" && printf '%s\\n' \"$2\" | timeout 10 socat -t 10 - UNIX-CONNECT:\"$3\"";
        let file = self.path("netns");
        std::fs::write(&file, "").unwrap();
        crate::ground::bind(&attach.netns, &file);
        let moved = Request::Attach(Attach { netns: file.clone(), ..(**attach).clone() }.into());
        let output = Command::new("unshare")
            .args(["--mount", "--net", "sh", "-c", script, "sh"])
            .arg(&file)
            .arg(serde_json::to_string(&moved).unwrap())
            .arg(self.path("agent.sock"))
            .output()
            .unwrap();
        nix::mount::umount2(&file, nix::mount::MntFlags::MNT_DETACH).unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|fault| panic!("{fault}: {output:?}"))
    }
}

fn attach(name: &str, container: &Container, publish: Publish) -> Request {
    Request::Attach(Attach { publish: vec![publish], ..request(name, container, &[]) }.into())
}

fn at(address: Option<&str>, host_port: u16) -> Publish {
    Publish {
        address: address.map(|text| text.parse().unwrap()),
        host_port,
        port: 80,
        protocol: Protocol::Tcp,
    }
}

fn refusal(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn sysctl(setting: &str) {
    assert!(Command::new("sysctl").args(["-q", "-w", setting]).status().unwrap().success(), "{setting}");
}
