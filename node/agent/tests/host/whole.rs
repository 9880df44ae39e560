//! The whole life of an agent: policy, a server that goes, kills, a restart, and nothing that is left.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use record::door::{Attached, Reply, Request};
use record::inspect::{Answer, Question};
use record::{DropReason, Generation, RuleId, RuleSetId};

use crate::ground::{Agent, Container, Host, attached, is_cut, on_a_host, talks};
use crate::server::Server;
use crate::world::{detach, group, isolation, request, world};

#[test]
fn containers_go_where_policy_lets_them_through_kills_and_restarts_and_nothing_is_left() {
    on_a_host(
        "whole::containers_go_where_policy_lets_them_through_kills_and_restarts_and_nothing_is_left",
        on_the_host,
    );
}

async fn on_the_host(host: Host) {
    let mut server = Server::start(&host);
    let before = host.leftovers();
    let mut agent = host.agent();
    let mut session = server.meet().await;
    session.send(1, world(), Vec::new()).await;

    let (web, db) = (Container::start(), Container::start());
    let [web_is, db_is] = [("web", &web), ("db", &db)]
        .map(|(name, container)| host.attach(request(name, container, &[("app", name)])));
    assert!(web_is.judged && db_is.judged, "{web_is:?} {db_is:?}");
    let listener = db.listen(8080);
    let target = SocketAddr::new(db_is.addresses[0].address, 8080);
    assert!(web.reaches(target), "{}", host.world());
    assert_eq!(host.ask(&Request::Check(detach("web"))), Reply::Done);

    // A policy isolates `app=db`; the flow that stands is cut, a new one is denied, by name.
    let mut standing = web.connect(target).unwrap();
    session.send(2, isolation(), Vec::new()).await;
    assert!(web.is_kept_from(target), "denied: {}", host.world());
    assert!(is_cut(&mut standing), "a standing flow is judged anew");
    let Reply::Answer { answer: Answer::Drops(drops) } =
        host.ask(&Request::Ask { question: Question::Drops })
    else {
        panic!("drops are told")
    };
    let denied = drops.counts.iter().find(|count| count.reason == DropReason::PolicyDenied).unwrap();
    assert_eq!(denied.rule, RuleId(9), "{drops:?}");
    session.send(3, vec![group(257, &[1], RuleSetId::OPEN)], Vec::new()).await;
    assert!(web.reaches(target), "allowed again: {}", host.world());

    // The server goes; the agent is killed; what stands goes on, and what is new is attached from what is held.
    drop((session, server));
    let mut standing = web.connect(target).unwrap();
    agent.kill();
    assert!(talks(&mut standing), "the datapath needs no agent");
    let mut agent = host.agent();
    assert!(talks(&mut standing), "nor does its restart cut anything");
    assert_eq!(host.list(), [&db_is, &web_is].map(Clone::clone).to_vec());
    let late = Container::start();
    let late_is = host.attach(request("late", &late, &[("app", "db")]));
    assert!(late_is.judged && late.reaches(target), "{late_is:?}: {}", host.world());
    let warm = host.time_of_attaches();
    assert!(warm < Duration::from_secs(1), "a warm attach waits for nobody; it took {warm:?}");

    // The server is back: it is told what is held and who is attached, and sends nothing that is held.
    let mut server = Server::start(&host);
    let (session, hello) = server.greet().await;
    assert_eq!((hello.generation, hello.held.len()), (Generation(3), world().len() + 2));
    let names: BTreeSet<&str> = hello.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["db", "late", "web"]));
    host.wait_until("the session counts", || host.metrics().contains("sealane_agent_server_connected 1"));
    assert!(host.metrics().contains("sealane_agent_attachments 3"), "{}", host.metrics());
    drop((session, server));

    for pause in [20, 80, 200, 400] {
        agent = host.kill_amid_attaches(agent, Duration::from_millis(pause));
    }
    assert!(talks(&mut standing), "none of it cuts what stands");

    // A container that ends is released; a stopped agent leaves the rest alone; purged, nothing is left.
    drop(late);
    host.wait_until("the ended container is released", || host.list().len() == 2);
    agent.stop();
    assert!(talks(&mut standing), "a stopped agent leaves containers alone");
    let mut agent = host.agent();
    assert_eq!(host.ask(&Request::Detach(detach("db"))), Reply::Done);
    assert!(web.is_kept_from(target), "what is detached is not reached");
    assert_eq!(host.list(), vec![web_is]);
    agent.stop();
    drop((listener, standing));
    let removed = agent::purge(&host.config()).unwrap();
    assert!(!removed.is_empty());
    assert_eq!(host.leftovers(), before);
    assert_eq!(agent::purge(&host.config()).unwrap(), Vec::<String>::new(), "a second time there is nothing");
}

impl Host {
    /// Kills the agent while containers are attached: whatever was answered stays, and of the rest nothing half.
    fn kill_amid_attaches(&self, mut agent: Agent, pause: Duration) -> Agent {
        let containers: Vec<Container> = (0..8).map(|_| Container::start()).collect();
        let answered: Vec<Attached> = std::thread::scope(|scope| {
            let attach = |(index, container): (usize, &Container)| {
                let request = request(&format!("killed{index}"), container, &[]);
                scope.spawn(move || self.try_ask(&Request::Attach(request.into())))
            };
            let attaches: Vec<_> = containers.iter().enumerate().map(attach).collect();
            std::thread::sleep(pause);
            agent.kill();
            let answers = attaches.into_iter().filter_map(|attach| attach.join().unwrap());
            answers.map(attached).collect()
        });
        let agent = self.agent();
        self.assert_nothing_leaked();
        let listed = self.list();
        eprintln!("killed after {pause:?}: {} of 8 were answered, {} stay", answered.len(), listed.len() - 3);
        assert!(answered.iter().all(|attached| listed.contains(attached)), "{answered:#?}\n{listed:#?}");
        for attached in listed.iter().filter(|attached| attached.name.starts_with("killed")) {
            assert_eq!(self.ask(&Request::Detach(detach(&attached.container))), Reply::Done);
        }
        self.assert_nothing_leaked();
        agent
    }

    /// Links and pins are those of the attachments that are listed.
    fn assert_nothing_leaked(&self) {
        let listed: BTreeSet<String> =
            self.list().into_iter().map(|attached| attached.host_interface).collect();
        let name = |link: &String| link.split('@').next().map(str::to_owned);
        let leftovers = self.leftovers();
        let links = leftovers["links"].iter().filter_map(name).filter(|name| name.starts_with("sl0"));
        assert_eq!(links.collect::<BTreeSet<String>>(), listed, "links");
        let pins = std::fs::read_dir(self.path("bpf/sealane/links")).unwrap().filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let number: u32 = name.split_once('-')?.0.parse().unwrap();
            Some(format!("sl{number:08x}"))
        });
        assert_eq!(pins.collect::<BTreeSet<String>>(), listed, "pins");
    }

    /// The shortest of some attaches, door to door.
    fn time_of_attaches(&self) -> Duration {
        let containers: Vec<Container> = (0..5).map(|_| Container::start()).collect();
        let times = containers.iter().enumerate().map(|(index, container)| {
            let name = format!("timed{index}");
            let began = Instant::now();
            self.attach(request(&name, container, &[]));
            let took = began.elapsed();
            assert_eq!(self.ask(&Request::Detach(detach(&name))), Reply::Done);
            took
        });
        let times: Vec<Duration> = times.collect();
        eprintln!("attaches, door to door: {times:?}");
        times.into_iter().min().unwrap()
    }
}
