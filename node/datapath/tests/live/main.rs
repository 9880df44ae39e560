//! Real sockets over real devices: two nodes joined by VXLAN, three containers, a host outside.
//!
//! ```text
//!   near: 10.1.1.10 \                                     / 10.1.2.20 :far
//!                    node1 192.0.2.1 ==(u1 = u2)== 192.0.2.2 node2
//!   side: 10.1.1.11 /      198.51.100.1 --- world 198.51.100.7
//! ```

#![allow(clippy::unwrap_used, missing_docs)]

mod published;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use datapath::{Config, Datapath, EndpointAddress, Leg, LocalEndpoint, Overlay, Published};
use nix::sched::{CloneFlags, setns, unshare};
use record::record::{
    GroupRules, Member, Members, Network, Node, Peer, PortInterval, Record, Route, Row, Subnet, Tenant,
};
use record::{
    Decision, DropReason, Generation, Group, Mac, NodeId, Protocol, RuleId, RuleSetId, TenantId, Verdict, Vni,
};

const NEAR: Group = Group(256);
const SIDE: Group = Group(257);
const FAR: Group = Group(258);

/// A named network namespace that goes with the value.
struct Net(String);

impl Net {
    fn new(role: &str) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("sldp{}-{number}-{role}", std::process::id());
        ip(&format!("netns add {name}"));
        let net = Self(name);
        net.ip("link set dev lo up");
        net
    }

    fn ip(&self, line: &str) {
        ip(&format!("-n {} {line}", self.0));
    }

    fn enter(&self) {
        let file = std::fs::File::open(format!("/run/netns/{}", self.0)).unwrap();
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Runs on a thread inside.
    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn index(&self, link: &str) -> u32 {
        self.run(|| nix::net::if_::if_nametoindex(link).unwrap())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[track_caller]
fn ip(line: &str) {
    let status = Command::new("ip").args(line.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {line}");
}

/// Unmounts and removes the bpffs with everything pinned in it.
struct Pins(tempfile::TempDir);

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = nix::mount::umount(self.0.path());
    }
}

struct Fabric {
    node1: (Net, Datapath),
    node2: (Net, Datapath),
    near: Net,
    side: Net,
    far: Net,
    world: Net,
    generation: u64,
    configs: [Config; 2],
    _pins: Pins,
}

impl Fabric {
    /// `underlay`: the prefix of the nodes' addresses, which end in their numbers.
    fn new(underlay: &str) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        nix::mount::mount(
            none,
            "/",
            none,
            nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE,
            none,
        )
        .unwrap();
        let pins = Pins(tempfile::tempdir().unwrap());
        nix::mount::mount(Some("bpf"), pins.0.path(), Some("bpf"), nix::mount::MsFlags::empty(), none)
            .unwrap();
        let [node1, node2, near, side, far, world] =
            ["n1", "n2", "near", "side", "far", "world"].map(Net::new);
        wire(&node1, "u1", &node2, "u2");
        for (node, link, number) in [(&node1, "u1", 1), (&node2, "u2", 2)] {
            let options = if underlay.contains(':') { "64 nodad" } else { "24" };
            let (length, flags) = options.split_once(' ').unwrap_or((options, ""));
            node.ip(&format!("address add {underlay}{number}/{length} dev {link} {flags}"));
        }
        wire(&node1, "w1", &world, "w");
        node1.ip("address add 198.51.100.1/24 dev w1");
        world.ip("address add 198.51.100.7/24 dev w");
        world.ip("route add default via 198.51.100.1");
        let configs = [(&node1, 1), (&node2, 2)].map(|(net, number)| {
            let own = format!("{underlay}{number}").parse().unwrap();
            configure(net, number, own, &pins.0.path().join(format!("node{number}")))
        });
        let mut nodes = [(node1, &configs[0]), (node2, &configs[1])].map(|(net, config)| {
            let datapath = net.run(|| Datapath::open(config)).unwrap();
            (net, datapath)
        });
        for (id, node, container, link, last, group) in [
            (1, 0, &near, "c1", "1.10", NEAR),
            (2, 0, &side, "c2", "1.11", SIDE),
            (1, 1, &far, "c3", "2.20", FAR),
        ] {
            let (net, datapath) = &mut nodes[node];
            attach(net, datapath, container, (id, link, last, group));
        }
        let [node1, node2] = nodes;
        let mut fabric = Self { node1, node2, near, side, far, world, generation: 0, configs, _pins: pins };
        fabric.apply(&records(underlay));
        fabric
    }

    fn apply(&mut self, records: &[Record]) {
        self.generation += 1;
        for (_, datapath) in [&mut self.node1, &mut self.node2] {
            datapath.apply(records, &[], Generation(self.generation)).unwrap();
        }
    }

    /// New programs on the maps and links that are there.
    fn restart(&mut self) {
        for ((net, datapath), config) in [&mut self.node1, &mut self.node2].into_iter().zip(&self.configs) {
            *datapath = net.run(|| Datapath::open(config)).unwrap();
        }
    }

    fn resync(&mut self, records: &[Record]) {
        self.generation += 1;
        for (_, datapath) in [&mut self.node1, &mut self.node2] {
            datapath.resync(records, Generation(self.generation)).unwrap();
        }
    }

    fn story(&self) -> String {
        let told = |datapath: &Datapath| {
            format!("{:#?}\n{:#?}", datapath.drops(), datapath.flows(&Default::default()))
        };
        format!("node1 {}\nnode2 {}", told(&self.node1.1), told(&self.node2.1))
    }
}

fn wire(a: &Net, a_link: &str, b: &Net, b_link: &str) {
    ip(&format!("link add name {a_link} netns {} type veth peer name {b_link} netns {}", a.0, b.0));
    a.ip(&format!("link set dev {a_link} up"));
    b.ip(&format!("link set dev {b_link} up"));
}

/// Makes the node's devices.
fn configure(net: &Net, number: u32, own: IpAddr, pins: &std::path::Path) -> Config {
    net.ip("link add name vx address 02:5e:a1:00:00:b5 type vxlan external gbp dstport 4789");
    net.ip("link set dev vx up");
    net.ip("link add name leg0 type veth peer name leg1");
    net.ip("link set dev leg0 up");
    net.ip("link set dev leg1 up");
    net.ip("address add 100.64.0.1/10 dev leg0");
    net.ip("address add fd5e:a1a::1/64 dev leg0 nodad");
    let host_mac = net.run(|| link_mac("leg0"));
    let mut config = Config::new(pins, NodeId(number));
    config.underlay = vec![own];
    config.overlay = Some(Overlay { link: net.index("vx"), mtu: 1430 });
    config.leg = Some(Leg { host: net.index("leg0"), host_mac, fabric: net.index("leg1") });
    config.uplinks = if number == 1 { vec![net.index("w1"), net.index("u1")] } else { vec![net.index("u2")] };
    config.shadow = vec!["100.64.0.0/10".parse().unwrap(), "fd5e:a1a::/64".parse().unwrap()];
    config.cgroup = Some(own_cgroup());
    config
}

/// The control group of this process in the unified hierarchy: the programs tell its namespaces apart.
fn own_cgroup() -> std::path::PathBuf {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).expect("a unified hierarchy");
    datapath::cgroup_root().expect("it is mounted").join(own)
}

/// The MAC of a device of the thread's namespace.
fn link_mac(link: &str) -> Mac {
    let shown = Command::new("ip").args(["-brief", "link", "show", "dev", link]).output().unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    text.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
}

fn attach(
    node: &Net,
    datapath: &mut Datapath,
    container: &Net,
    (id, link, last, group): (u32, &str, &str, Group),
) {
    ip(&format!("link add name {link} netns {} type veth peer name eth0 netns {}", node.0, container.0));
    let wide = last.replace('.', ":");
    container.ip(&format!("address add 10.1.{last}/16 dev eth0"));
    container.ip(&format!("address add fd01::{wide}/64 dev eth0 nodad"));
    // The host's stack has no business on this link.
    let setting = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    node.run(|| std::fs::write(setting, "1").unwrap());
    container.ip("link set dev eth0 mtu 1430 up");
    container.ip("route add default via 10.1.0.1");
    container.ip("route add default via fd01::1");
    let own = |text: String| EndpointAddress { address: text.parse().unwrap(), group };
    let endpoint = LocalEndpoint {
        id,
        link: node.index(link),
        vni: Vni::new(100).unwrap(),
        tenant: TenantId(1),
        mac: container.run(|| link_mac("eth0")),
        addresses: vec![own(format!("10.1.{last}")), own(format!("fd01::{wide}"))],
    };
    node.run(|| datapath.attach(&endpoint)).unwrap();
    node.ip(&format!("link set dev {link} up"));
}

fn records(underlay: &str) -> Vec<Record> {
    let vni = Vni::new(100).unwrap();
    let tenant = TenantId(1);
    let subnet = |prefix: &str, gateway: &str| Subnet {
        prefix: prefix.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
    };
    let mut records = vec![
        Record::Tenant(Tenant { id: tenant, name: "t".into(), port_names: Default::default() }),
        Record::Network(Network {
            vni,
            tenant,
            name: "net".into(),
            subnets: vec![subnet("10.1.0.0/16", "10.1.0.1"), subnet("fd01::/64", "fd01::1")],
            default_allow: true,
            world: true,
            mtu: None,
        }),
    ];
    for node in [1, 2] {
        let own = vec![format!("{underlay}{node}").parse().unwrap()];
        records.push(Record::Node(Node { id: NodeId(node), name: format!("node{node}"), underlay: own }));
        records.push(Record::Member(Member { vni, node: NodeId(node) }));
        for prefix in [format!("10.1.{node}.0/24"), format!("fd01::{node}:0/112")] {
            records.push(Record::Route(Route { vni, prefix: prefix.parse().unwrap(), node: NodeId(node) }));
        }
    }
    records.extend([NEAR, SIDE, FAR].map(|number| group(number, 0)));
    records
}

fn group(number: Group, ingress: u32) -> Record {
    Record::Group(GroupRules {
        tenant: TenantId(1),
        group: number,
        members: Members::Endpoints,
        selectors: Default::default(),
        ports: Default::default(),
        ingress: RuleSetId(ingress),
        egress: RuleSetId::OPEN,
    })
}

/// Deny from `peer`, by rule 7, allow from all others.
fn deny(peer: Group) -> [Record; 2] {
    let row = |peer, verdict| {
        let decision = Decision { verdict, rule: RuleId(7) };
        let ports = vec![PortInterval { protocol: 0, port: 0, decision }];
        Record::Row(Row { tenant: TenantId(1), rule_set: RuleSetId(1), peer, ports })
    };
    [row(Peer::Others, Verdict::Allow), row(Peer::Group(peer), Verdict::Deny)]
}

/// For what must come: a busy machine may take long.
const WAIT: Duration = Duration::from_secs(20);

/// For what must not come: longer than TCP's first retransmission.
const SILENCE: Duration = Duration::from_millis(1500);

/// Binds a socket. Between its fork and its exec, a program that another test starts holds a copy of every open descriptor, also of
/// a socket that is closed here by now: then the address is in use a moment longer.
fn bind<S: Send>(net: &Net, open: impl Fn() -> std::io::Result<S> + Sync) -> S {
    let end = Instant::now() + WAIT;
    net.run(|| {
        loop {
            match open() {
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => return other.unwrap(),
            }
        }
    })
}

/// Serves one TCP connection with an echo; gives the client's address.
fn listen(net: &Net, address: &str) -> std::thread::JoinHandle<SocketAddr> {
    let listener = bind(net, || TcpListener::bind(address));
    std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = stream.read(&mut buffer) {
            if length == 0 || stream.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        peer
    })
}

/// Sends `length` bytes and has them back.
fn echo(net: &Net, server: &str, length: usize) -> std::io::Result<()> {
    let server: SocketAddr = server.parse().unwrap();
    net.run(|| {
        let mut stream = TcpStream::connect_timeout(&server, WAIT)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        let sent: Vec<u8> = (0..length).map(|index| index as u8).collect();
        let mut writer = stream.try_clone()?;
        let mut back = vec![0; length];
        let outcome: std::io::Result<()> = std::thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&sent));
            stream.read_exact(&mut back)
        });
        outcome?;
        assert_eq!(back, sent);
        Ok(())
    })
}

fn own(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// On a thread of its own: its mount namespace goes with it.
fn on_fabric(underlay: &'static str, test: impl FnOnce(&mut Fabric) + Send + 'static) {
    let run = move || {
        let mut fabric = Fabric::new(underlay);
        test(&mut fabric);
        let drops = fabric.node1.1.drops().unwrap();
        let unwanted = [DropReason::HostUnjudged, DropReason::SourceSpoofed, DropReason::RedirectFailed];
        assert!(!drops.iter().any(|drop| unwanted.contains(&drop.reason)), "{drops:#?}");
    };
    std::thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn containers_nodes_and_the_world_reach_each_other_as_policy_says() {
    on_fabric("192.0.2.", |fabric| {
        connect_inside(fabric);
        connect_outside(fabric);
        cut_established(fabric);
    });
}

#[test]
fn an_underlay_of_ipv6_carries_both_families() {
    on_fabric("2001:db8::", |fabric| {
        connect_inside(fabric);
        cut_established(fabric);
    });
}

#[test]
fn flips_resyncs_and_restarts_lose_no_packet_of_an_allowed_flow() {
    on_fabric("192.0.2.", |fabric| {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let exchanges =
            [(&fabric.side, "10.1.1.11:53"), (&fabric.far, "10.1.2.20:53")].map(|(net, server)| {
                let answering = bind(net, || UdpSocket::bind(server));
                let asking = fabric.near.run(|| UdpSocket::bind("10.1.1.10:0").unwrap());
                let (stop, server) = (stop.clone(), server.to_owned());
                std::thread::spawn(move || exchange(&asking, &answering, &server, &stop))
            });
        let rule = |rule| {
            let decision = Decision { verdict: Verdict::Allow, rule: RuleId(rule) };
            let ports = vec![PortInterval { protocol: 0, port: 0, decision }];
            let row = Row { tenant: TenantId(1), rule_set: RuleSetId(1), peer: Peer::Others, ports };
            [Record::Row(row), group(SIDE, 1), group(FAR, 1)]
        };
        for round in 0..20 {
            fabric.apply(&rule(round + 1));
            if round % 5 == 4 {
                fabric.restart();
                let mut whole = records("192.0.2.");
                whole.retain(|record| !matches!(record, Record::Group(group) if group.group != NEAR));
                whole.extend(rule(round + 1));
                fabric.resync(&whole);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for exchanged in exchanges {
            let (sent, lost) = exchanged.join().unwrap();
            assert!(sent > 100, "only {sent} packets were exchanged");
            assert_eq!(lost, 0, "of {sent} packets\n{}", fabric.story());
        }
    });
}

/// Sends one datagram after another there and back; how many, and how many never came.
fn exchange(
    asking: &UdpSocket,
    answering: &UdpSocket,
    server: &str,
    stop: &std::sync::atomic::AtomicBool,
) -> (u32, u32) {
    for socket in [asking, answering] {
        socket.set_read_timeout(Some(WAIT)).unwrap();
    }
    let (mut sent, mut lost) = (0u32, 0);
    let mut buffer = [0; 4];
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        sent += 1;
        asking.send_to(&sent.to_be_bytes(), server).unwrap();
        let there = answering.recv_from(&mut buffer).and_then(|(_, from)| answering.send_to(&buffer, from));
        if there.and_then(|_| asking.recv(&mut buffer)).is_err() || buffer != sent.to_be_bytes() {
            lost += 1;
        }
    }
    (sent, lost)
}

/// On one node and over the overlay, large segments included.
fn connect_inside(fabric: &Fabric) {
    for (from, to, server, client) in [
        (&fabric.near, &fabric.side, "10.1.1.11:80", "10.1.1.10"),
        (&fabric.near, &fabric.side, "[fd01::1:11]:80", "fd01::1:10"),
        (&fabric.near, &fabric.far, "10.1.2.20:80", "10.1.1.10"),
        (&fabric.far, &fabric.near, "10.1.1.10:80", "10.1.2.20"),
        (&fabric.near, &fabric.far, "[fd01::2:20]:80", "fd01::1:10"),
    ] {
        let served = listen(to, server);
        echo(from, server, 2_000_000).unwrap_or_else(|error| panic!("{server}: {error}\n{}", fabric.story()));
        assert_eq!(served.join().unwrap().ip(), own(client));
    }
    // A datagram that must be fragmented.
    let server = bind(&fabric.far, || UdpSocket::bind("10.1.2.20:53"));
    server.set_read_timeout(Some(WAIT)).unwrap();
    fabric.near.run(|| UdpSocket::bind("10.1.1.10:0").unwrap().send_to(&[7; 4000], "10.1.2.20:53").unwrap());
    let mut buffer = [0; 8000];
    let (length, _) =
        server.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{error}\n{}", fabric.story()));
    assert_eq!(length, 4000);
}

/// To the world, from the world, and between the host's stack and its containers.
fn connect_outside(fabric: &mut Fabric) {
    let served = listen(&fabric.world, "198.51.100.7:443");
    echo(&fabric.near, "198.51.100.7:443", 500_000)
        .unwrap_or_else(|error| panic!("{error}\n{}", fabric.story()));
    assert_eq!(served.join().unwrap().ip(), own("192.0.2.1"));

    let published =
        Published { address: own("0.0.0.0"), protocol: Protocol::Tcp, port: 8080, endpoint: 2, target: 80 };
    let (net, datapath) = &mut fabric.node1;
    net.run(|| datapath.publish(&published)).unwrap();
    let served = listen(&fabric.side, "10.1.1.11:80");
    echo(&fabric.world, "192.0.2.1:8080", 500_000)
        .unwrap_or_else(|error| panic!("{error}\n{}", fabric.story()));
    assert_eq!(served.join().unwrap().ip(), own("198.51.100.7"));

    for (shadow, listener, gateway) in
        [("100.64.0.2:90", "10.1.1.10:90", "10.1.0.1"), ("[fd5e:a1a::2]:90", "[fd01::1:10]:90", "fd01::1")]
    {
        let served = listen(&fabric.near, listener);
        let outcome = echo(&fabric.node1.0, shadow, 500_000);
        outcome.unwrap_or_else(|error| panic!("{shadow}: {error}\n{}", fabric.story()));
        assert_eq!(served.join().unwrap().ip(), own(gateway));
    }
    let served = listen(&fabric.node1.0, "192.0.2.1:99");
    echo(&fabric.near, "192.0.2.1:99", 500_000).unwrap_or_else(|error| panic!("{error}\n{}", fabric.story()));
    assert_eq!(served.join().unwrap().ip(), own("100.64.0.2"));
}

#[test]
fn nobody_is_forwarded_to_a_container_as_if_it_were_the_host() {
    on_fabric("192.0.2.", |fabric| {
        let node = &fabric.node1.0;
        for setting in ["ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"] {
            node.run(|| std::fs::write(format!("/proc/sys/net/{setting}"), "1")).unwrap();
        }
        node.ip("address add 2001:db8:1::1/64 dev w1 nodad");
        fabric.world.ip("address add 2001:db8:1::7/64 dev w nodad");
        fabric.world.ip("route add fd5e:a1a::/64 via 2001:db8:1::1");
        for (shadow, listener) in [("100.64.0.2:90", "10.1.1.10:90"), ("[fd5e:a1a::2]:90", "[fd01::1:10]:90")]
        {
            let served = listen(&fabric.near, listener);
            let before = forwarded(fabric);
            let asked = shadow.parse().unwrap();
            let refused = fabric.world.run(|| TcpStream::connect_timeout(&asked, SILENCE));
            assert!(refused.is_err(), "{}", fabric.story());
            assert!(forwarded(fabric) > before, "{shadow}: {}", fabric.story());
            echo(&fabric.node1.0, shadow, 500_000)
                .unwrap_or_else(|error| panic!("{error}\n{}", fabric.story()));
            served.join().unwrap();
        }
    });
}

/// Packets that the first node's host tried to forward into the leg.
fn forwarded(fabric: &Fabric) -> u64 {
    let drops = fabric.node1.1.drops().unwrap().into_iter();
    drops.filter(|drop| drop.reason == DropReason::HostForwarded).map(|drop| drop.traffic.packets).sum()
}

/// A connection that a new policy forbids carries nothing more.
fn cut_established(fabric: &mut Fabric) {
    for (to, server, number) in [(SIDE, "10.1.1.11:81", 1), (FAR, "10.1.2.20:81", 2)] {
        let net = if number == 1 { &fabric.side } else { &fabric.far };
        let served = listen(net, server);
        let mut stream = fabric.near.run(|| TcpStream::connect(server).unwrap());
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut buffer = [0; 4];
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut buffer).unwrap();
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        fabric.apply(&deny(NEAR));
        fabric.apply(&[group(to, 1)]);
        stream.write_all(b"pong").unwrap();
        assert!(stream.read_exact(&mut buffer).is_err(), "{}", fabric.story());
        fabric.apply(&[group(to, 0)]);
        stream.set_read_timeout(Some(WAIT)).unwrap();
        // Allowed again: the segments that TCP repeats are picked up.
        stream.read_exact(&mut buffer).unwrap_or_else(|error| panic!("{error}\n{}", fabric.story()));
        assert_eq!(&buffer, b"pong");
        drop(stream);
        served.join().unwrap();
    }
}
