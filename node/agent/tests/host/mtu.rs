//! The MTU of links that are there follows their network and the underlay.

use std::net::{SocketAddr, TcpStream};

use record::door::{Reply, Request};
use record::inspect::{Answer, Question};
use record::record::{Network, Node};
use record::{Key, NodeId, Record};

use crate::ground::{Container, Host, ip, on_a_host, talks};
use crate::server::{Server, Session};
use crate::world::{request, world};

#[test]
fn networks_and_the_underlay_change_the_mtu_of_links_that_are_there_and_flows_go_on() {
    on_a_host(
        "mtu::networks_and_the_underlay_change_the_mtu_of_links_that_are_there_and_flows_go_on",
        on_the_host,
    );
}

async fn on_the_host(host: Host) {
    let mut server = Server::start(&host);
    let mut agent = host.agent();
    let mut session = server.meet().await;
    session.send(1, world(), Vec::new()).await;
    let (web, db) = (Container::start(), Container::start());
    let db_is = host.attach(request("db", &db, &[]));
    let web_is = host.attach(request("web", &web, &[]));
    assert_eq!((web_is.mtu, web_is.warnings.len()), (1450, 0));
    db.listen(8080);
    let mut standing = web.connect(SocketAddr::new(db_is.addresses[0].address, 8080)).unwrap();
    let mut hold = |what: &str, mtu: u32| hold(&host, what, [&web, &db], &mut standing, mtu);

    network(&mut session, 2, Some(1300)).await;
    hold("the network is narrower", 1300);
    network(&mut session, 3, Some(9000)).await;
    hold("the network is wider than the underlay", 1450);
    let late = Container::start();
    let late_is = host.attach(request("late", &late, &[]));
    let told = &late_is.warnings[0];
    assert!(["9000", "1450", "7550 more"].iter().all(|part| told.contains(part)), "{told}");
    assert_eq!(host.attach(request("late", &late, &[])).warnings, late_is.warnings, "asked again");
    assert_eq!(problems(&host), late_is.warnings, "whoever runs the node is told the same");
    drop(late);

    ip("link set wire mtu 9100");
    ip("link set uplink mtu 9100");
    hold("the underlay is as wide as the network wants", 9000);
    assert_eq!(problems(&host), Vec::<String>::new());
    ip("link set uplink mtu 1400");
    hold("the underlay is narrower", 1350);
    network(&mut session, 4, None).await;
    ip("link set uplink mtu 1500");
    hold("the underlay is as before", 1450);

    // With both families what counts is how nodes are reached.
    agent.kill();
    drop((session, server));
    ip("address add 2001:db8::10/64 dev uplink nodad");
    let mut server = Server::start(&host);
    let mut agent = host.agent();
    let mut session = server.meet().await;
    hold("nobody is known", 1430);
    session.send(5, vec![node(2, &["192.0.2.20"]), node(3, &["192.0.2.30", "2001:db8::30"])], vec![]).await;
    hold("all are reached by IPv4", 1450);
    session.send(6, vec![node(4, &["2001:db8::40"])], Vec::new()).await;
    hold("one is reached by IPv6", 1430);
    session.send(7, Vec::new(), vec![Key::Node(NodeId(4))]).await;
    hold("it is gone", 1450);
    agent.kill();
    let agent = host.agent();
    hold("another agent finds it so", 1450);
    drop(agent);
}

/// Waits until the containers' links, the overlay and the agent's list have this MTU; the flow that stands goes on.
fn hold(host: &Host, what: &str, containers: [&Container; 2], standing: &mut TcpStream, mtu: u32) {
    let inner = |one: &Container| one.mtu();
    let outer = || host.list().iter().map(|one| link_mtu(&one.host_interface)).collect::<Vec<_>>();
    let is_so = || {
        containers.iter().all(|one| inner(one) == mtu)
            && host.list().iter().all(|one| u32::from(one.mtu) == mtu)
            && outer().iter().all(|one| *one == mtu)
    };
    host.wait_until(&format!("{what}: links have {mtu}"), is_so);
    let overlay = link_mtu("sealane.vx");
    assert!(overlay >= mtu, "{what}: the overlay has {overlay}");
    assert!(talks(standing), "{what}: {}", host.world());
}

fn link_mtu(name: &str) -> u32 {
    let links = std::process::Command::new("ip").args(["-o", "link", "show", name]).output().unwrap();
    let text = String::from_utf8(links.stdout).unwrap();
    text.split_once(" mtu ").unwrap().1.split(' ').next().unwrap().parse().unwrap()
}

fn problems(host: &Host) -> Vec<String> {
    match host.ask(&Request::Ask { question: Question::State }) {
        Reply::Answer { answer: Answer::State(state) } => state.problems,
        other => panic!("{other:?}"),
    }
}

async fn network(session: &mut Session, generation: u64, mtu: Option<u16>) {
    let network = world().into_iter().find_map(|record| match record {
        Record::Network(network) => Some(Record::Network(Network { mtu, ..network })),
        _ => None,
    });
    session.send(generation, network.into_iter().collect(), Vec::new()).await;
}

fn node(id: u32, underlay: &[&str]) -> Record {
    let underlay = underlay.iter().map(|text| text.parse().unwrap()).collect();
    Record::Node(Node { id: NodeId(id), name: format!("n{id}"), underlay })
}
