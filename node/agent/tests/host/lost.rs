//! A journal that is missing or damaged while containers are attached.

use std::net::SocketAddr;

use crate::ground::{Container, Host, on_a_host, talks};
use crate::server::Server;
use crate::world::{request, world};

#[test]
fn a_lost_journal_costs_no_container_its_network_until_somebody_says_so() {
    on_a_host("lost::a_lost_journal_costs_no_container_its_network_until_somebody_says_so", on_the_host);
}

async fn on_the_host(host: Host) {
    let mut server = Server::start(&host);
    let mut agent = host.agent();
    let mut session = server.meet().await;
    session.send(1, world(), Vec::new()).await;
    let (web, db) = (Container::start(), Container::start());
    let before = [("db", &db), ("web", &web)].map(|(name, one)| host.attach(request(name, one, &[])));
    db.listen(8080);
    let target = SocketAddr::new(before[0].addresses[0].address, 8080);
    let mut standing = web.connect(target).unwrap();
    agent.kill();

    let (journal, aside) = (host.path("state/agent.redb"), host.path("aside"));
    let whole = std::fs::read(&journal).unwrap();
    std::fs::rename(&journal, &aside).unwrap();
    for time in ["the first time", "again"] {
        let said = host.refused();
        assert!(said.contains("2 attached") && said.contains("agent --purge"), "{time}: {said}");
        assert!(talks(&mut standing) && web.reaches(target), "{time}: {}", host.world());
    }
    for damaged in [b"no journal".to_vec(), whole[..whole.len() / 3].to_vec()] {
        std::fs::write(&journal, &damaged).unwrap();
        let said = host.refused();
        assert!(
            said.contains("damaged") && said.contains("agent --purge"),
            "{} bytes: {said}",
            damaged.len()
        );
        assert!(talks(&mut standing) && web.reaches(target), "{}", host.world());
    }

    std::fs::rename(&aside, &journal).unwrap();
    let mut agent = host.agent();
    assert_eq!(host.list(), before, "put back, it is as it was");
    assert!(talks(&mut standing), "{}", host.world());
    agent.stop();

    std::fs::remove_file(&journal).unwrap();
    host.refused();
    let removed = agent::purge(&host.config()).unwrap();
    assert!(before.iter().all(|one| removed.contains(&one.host_interface)), "{removed:?}");
    let mut agent = host.agent();
    assert_eq!(host.list(), []);
    agent.stop();
}
