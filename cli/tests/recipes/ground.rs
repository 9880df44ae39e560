//! The place of the recipes: six kinds of pods, each on two of three hosts so that every pair is both on one host and across
//! two, on one network of both families, and two clients outside.
//!
//! ```text
//!   shop (team=shop)           web: app=web,tier=front   api: app=api,tier=back   db: app=db,tier=back
//!   prod (purpose=production)  pay: app=pay              ops: type=monitoring
//!   test (purpose=testing)     try: app=web
//!   world                      near: 203.0.113.10, 2001:db8:113::10     far: 203.0.113.200, 2001:db8:113::c8
//! ```

use std::net::{IpAddr, SocketAddr};

use lab::container::{Container, Spec};
use lab::echo::{Echo, Listen};
use lab::probe::Probe;
use record::door::Publish;
use record::{NamedPort, Protocol};

use super::table::Table;
use crate::fabric::ask::{Asker, Question, Wrong, ask, summary};
use crate::fabric::{Fabric, shadow};

/// The ports of every pod, by the letters that tables use: http, the other http, one inside and one outside 5000-5010, DNS, and
/// UDP with a number that TCP has too.
const PORTS: [(char, Protocol, u16); 6] = [
    ('h', Protocol::Tcp, 80),
    ('p', Protocol::Tcp, 8080),
    ('q', Protocol::Tcp, 5001),
    ('r', Protocol::Tcp, 5011),
    ('d', Protocol::Udp, 53),
    ('u', Protocol::Udp, 5001),
];
const LETTERS: &str = "hpqrdu";
/// The two outside.
const OUTSIDE: [(char, [&str; 2]); 2] =
    [('n', ["203.0.113.10", "2001:db8:113::10"]), ('f', ["203.0.113.200", "2001:db8:113::c8"])];
const WORLD: &str = "world";

/// Name, namespace, labels, the port that it calls `http`, the hosts, and the hosts' port that leads to its port 80.
const KINDS: [Kind; 6] = [
    Kind {
        name: "web",
        namespace: "shop",
        labels: &[("app", "web"), ("tier", "front")],
        http: Some(80),
        hosts: [1, 2],
    },
    Kind {
        name: "api",
        namespace: "shop",
        labels: &[("app", "api"), ("tier", "back")],
        http: Some(8080),
        hosts: [2, 3],
    },
    Kind {
        name: "db",
        namespace: "shop",
        labels: &[("app", "db"), ("tier", "back")],
        http: None,
        hosts: [3, 1],
    },
    Kind { name: "pay", namespace: "prod", labels: &[("app", "pay")], http: Some(80), hosts: [1, 2] },
    Kind { name: "ops", namespace: "prod", labels: &[("type", "monitoring")], http: None, hosts: [2, 3] },
    Kind { name: "try", namespace: "test", labels: &[("app", "web")], http: None, hosts: [3, 1] },
];

struct Kind {
    name: &'static str,
    namespace: &'static str,
    labels: &'static [(&'static str, &'static str)],
    http: Option<u16>,
    hosts: [u16; 2],
}

/// One pod.
struct Pod {
    kind: &'static str,
    name: String,
    host: u16,
    published: u16,
    container: Container,
}

/// See the module. Dropping it ends the echoes and containers before the fabric.
pub(crate) struct Ground {
    pods: Vec<Pod>,
    _echoes: Vec<Echo>,
    pub(crate) fabric: Fabric,
}

/// What one question stands for in a table.
struct Cell {
    from: String,
    to: String,
    letter: char,
}

impl Ground {
    pub(crate) fn new(lab: &str) -> Self {
        let fabric = Fabric::up(lab, 3);
        fabric.apply("default", NETWORK);
        fabric.await_realised("default");
        let mut wanted = Vec::new();
        for (index, kind) in KINDS.iter().enumerate() {
            wanted.extend(kind.hosts.map(|host| (host, spec(kind, host, published(index)))));
        }
        let containers = fabric.run_all(&wanted);
        let mut pods: Vec<Pod> = Vec::new();
        for (container, (host, spec)) in containers.into_iter().zip(&wanted) {
            let index = pods.len() / 2;
            let kind = KINDS[index].name;
            pods.push(Pod {
                kind,
                name: spec.name.clone(),
                host: *host,
                published: published(index),
                container,
            });
        }
        let listens: Vec<Listen> = PORTS
            .iter()
            .map(|(_, protocol, port)| Listen { protocol: *protocol, address: None, port: *port })
            .collect();
        let mut echoes: Vec<Echo> = pods
            .iter()
            .map(|pod| Echo::start(pod.container.namespace(), &pod.name, &listens).unwrap())
            .collect();
        let outside = |address: &str| {
            let address = Some(address.parse().unwrap());
            [Listen { address, ..Listen::tcp(80) }, Listen { address, ..Listen::udp(53) }]
        };
        let listens: Vec<Listen> =
            OUTSIDE.iter().flat_map(|(_, addresses)| addresses.iter().copied().flat_map(outside)).collect();
        echoes.push(Echo::start(&fabric.world().namespace().unwrap(), WORLD, &listens).unwrap());
        Self { pods, _echoes: echoes, fabric }
    }

    /// Ends it; nothing is left.
    pub(crate) fn down(self) {
        let Self { pods, _echoes: echoes, fabric } = self;
        drop((echoes, pods));
        fabric.down();
    }

    /// Holds that exactly what the table says is open is open, and that every host reaches its own pods.
    pub(crate) fn hold(&self, claim: &str, table: &Table) {
        let (mut asked, mut cells) = (Vec::new(), Vec::new());
        for pod in &self.pods {
            let asker = Asker { name: pod.name.clone(), namespace: pod.container.namespace().clone() };
            let (questions, of): (Vec<_>, Vec<_>) =
                self.pod_to_pods(pod, table).into_iter().chain(self.pod_to_world(pod, table)).unzip();
            asked.push((asker, questions));
            cells.push(of);
        }
        let asker = Asker { name: WORLD.to_owned(), namespace: self.fabric.world().namespace().unwrap() };
        let (questions, of): (Vec<_>, Vec<_>) = self.world_to_pods(table).into_iter().unzip();
        asked.push((asker, questions));
        cells.push(of);
        asked.extend(self.hosts_to_own());
        let wrong = ask(&asked);
        if wrong.is_empty() {
            return;
        }
        let count = asked.iter().map(|(_, questions)| questions.len()).sum();
        let diff = difference(table, &cells, &wrong);
        self.fabric.fail(&format!("{}\n{diff}", summary(claim, count, &wrong)));
    }

    /// From one pod to every port of every pod. A pod always reaches itself: that leaves no interface.
    fn pod_to_pods(&self, from: &Pod, table: &Table) -> Vec<(Question, Cell)> {
        let mut all = Vec::new();
        for to in &self.pods {
            for (letter, protocol, port) in PORTS {
                for ipv4 in [true, false] {
                    let address = to.container.address(ipv4).unwrap();
                    let own = from.container.address(ipv4).unwrap();
                    let open = from.name == to.name || table.is_open(from.kind, to.kind, letter);
                    let question = Question {
                        what: to.name.clone(),
                        probe: Probe { protocol, to: SocketAddr::new(address, port), from: None },
                        wanted: open.then(|| to.name.clone()),
                        seen: Some(SocketAddr::new(own, 0)),
                    };
                    all.push((question, Cell { from: from.kind.to_owned(), to: to.kind.to_owned(), letter }));
                }
            }
        }
        all
    }

    /// From one pod to those outside, who see the host's address.
    fn pod_to_world(&self, from: &Pod, table: &Table) -> Vec<(Question, Cell)> {
        let mut all = Vec::new();
        for (letter, addresses) in OUTSIDE {
            for address in addresses {
                let address: IpAddr = address.parse().unwrap();
                let host = self.fabric.node(from.host).address(address.is_ipv4());
                for probe in [Probe::tcp(address, 80), Probe::udp(address, 53)] {
                    let open = table.is_open(from.kind, WORLD, letter);
                    let question = Question {
                        what: format!("{WORLD} at {address}"),
                        probe,
                        wanted: open.then(|| WORLD.to_owned()),
                        seen: Some(SocketAddr::new(host, 0)),
                    };
                    all.push((question, Cell { from: from.kind.to_owned(), to: WORLD.to_owned(), letter }));
                }
            }
        }
        all
    }

    /// From those outside to the published port of every pod, which sees who asks.
    fn world_to_pods(&self, table: &Table) -> Vec<(Question, Cell)> {
        let mut all = Vec::new();
        for to in &self.pods {
            for (letter, addresses) in OUTSIDE {
                for address in addresses {
                    let from: IpAddr = address.parse().unwrap();
                    let host = self.fabric.node(to.host).address(from.is_ipv4());
                    let question = Question {
                        what: format!("{} by its host's port", to.name),
                        probe: Probe::tcp(host, to.published).from(SocketAddr::new(from, 0)),
                        wanted: table.is_open(WORLD, to.kind, letter).then(|| to.name.clone()),
                        seen: Some(SocketAddr::new(from, 0)),
                    };
                    all.push((question, Cell { from: WORLD.to_owned(), to: to.kind.to_owned(), letter }));
                }
            }
        }
        all
    }

    /// From every host to its own pods, which no policy keeps from it.
    fn hosts_to_own(&self) -> Vec<(Asker, Vec<Question>)> {
        let of_host = |host: u16| {
            let mut questions = Vec::new();
            for pod in self.pods.iter().filter(|pod| pod.host == host) {
                for ipv4 in [true, false] {
                    let address = shadow(&pod.container.record().attached, ipv4);
                    for probe in [Probe::tcp(address, 80), Probe::udp(address, 53)] {
                        let what = format!("its own {}", pod.name);
                        questions.push(Question { what, probe, wanted: Some(pod.name.clone()), seen: None });
                    }
                }
            }
            let node = self.fabric.node(host);
            (Asker { name: node.name(), namespace: node.namespace().unwrap() }, questions)
        };
        [1, 2, 3].map(of_host).into()
    }
}

/// The table as measured, beside the wanted one. A cell is open as wanted unless one of its questions came out otherwise.
fn difference(table: &Table, cells: &[Vec<Cell>], wrong: &[Wrong]) -> String {
    // The hosts' questions stand in no table.
    let turned: Vec<&Cell> =
        wrong.iter().filter_map(|wrong| cells.get(wrong.asker)?.get(wrong.question)).collect();
    let of = |from: &str, to: &str| if [from, to].contains(&WORLD) { "nf" } else { LETTERS };
    let open = |from: &str, to: &str, letter: char| {
        if !of(from, to).contains(letter) || (from, to) == (WORLD, WORLD) {
            return false;
        }
        let is_turned = turned
            .iter()
            .any(|cell| (cell.from.as_str(), cell.to.as_str(), cell.letter) == (from, to, letter));
        table.is_open(from, to, letter) != is_turned
    };
    let all = format!("{LETTERS}nf");
    let wanted = table.measured(&all, |from, to, letter| {
        of(from, to).contains(letter) && (from, to) != (WORLD, WORLD) && table.is_open(from, to, letter)
    });
    format!("wanted (-) and measured (+):\n{}", wanted.diff(&table.measured(&all, open)))
}

fn spec(kind: &Kind, host: u16, published: u16) -> Spec {
    Spec {
        namespace: Some(kind.namespace.to_owned()),
        labels: kind.labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ports: kind
            .http
            .map(|port| NamedPort { name: "http".to_owned(), protocol: Protocol::Tcp, port })
            .into_iter()
            .collect(),
        publish: vec![Publish { address: None, host_port: published, port: 80, protocol: Protocol::Tcp }],
        ..Spec::idle(&format!("{}-{host}", kind.name))
    }
}

fn published(kind: usize) -> u16 {
    9000 + u16::try_from(kind).unwrap()
}

const NETWORK: &str = "
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: wide}
spec:
  subnets: [{cidr: 10.30.0.0/16}, {cidr: 'fd00:30::/64'}]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop}, annotations: {sealane.dev/network: wide}}
---
apiVersion: v1
kind: Namespace
metadata: {name: prod, labels: {purpose: production}, annotations: {sealane.dev/network: wide}}
---
apiVersion: v1
kind: Namespace
metadata: {name: test, labels: {purpose: testing}, annotations: {sealane.dev/network: wide}}
";
