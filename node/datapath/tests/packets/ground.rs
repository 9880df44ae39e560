//! The world of one test: two tenants with the same addresses, two nodes, one uplink and one leg.
//!
//! ```text
//!   node 1 (this)  192.0.2.1  2001:db8::1     holds 10.1.1.0/24 fd01::1:0/112     A 10.1.1.10  B 10.1.1.11
//!   node 2         192.0.2.2  2001:db8::2     holds 10.1.2.0/24 fd01::2:0/112
//!   tenant 1: network 100, tenant 2: network 200, both 10.1.0.0/16 and fd01::/64
//! ```

#![allow(unsafe_code)]

use std::ffi::CString;
use std::net::IpAddr;
use std::process::Command;

use datapath::{Config, Datapath, EndpointAddress, Leg, LocalEndpoint, Overlay};
use nix::sched::{CloneFlags, unshare};
use record::record::{
    GroupRules, Key, Member, Members, Network, Node, Peer, PortInterval, Record, Route, Row, Subnet, Tenant,
};
use record::{
    Decision, DropReason, Generation, Group, Mac, NodeId, RuleId, RuleSetId, TenantId, Verdict, Vni,
};

/// What the programs say.
pub(crate) const PASS: u32 = 0;
pub(crate) const SHOT: u32 = 2;
pub(crate) const REDIRECT: u32 = 7;
/// TC_ACT_UNSPEC: on to whatever else hangs there.
pub(crate) const NEXT: u32 = u32::MAX;

pub(crate) const GROUP_A: Group = Group(256);
pub(crate) const GROUP_B: Group = Group(257);
pub(crate) const GROUP_FAR: Group = Group(258);
pub(crate) const TENANT: TenantId = TenantId(1);
pub(crate) const TWIN: TenantId = TenantId(2);

/// A family's addresses in the world of the test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) a: IpAddr,
    pub(crate) b: IpAddr,
    pub(crate) far: IpAddr,
    pub(crate) gateway: IpAddr,
    pub(crate) world: IpAddr,
    pub(crate) node: IpAddr,
    pub(crate) shadow_a: IpAddr,
    pub(crate) host: IpAddr,
}

pub(crate) fn families() -> [Family; 2] {
    let ip = |text: &str| text.parse().unwrap();
    [
        Family {
            a: ip("10.1.1.10"),
            b: ip("10.1.1.11"),
            far: ip("10.1.2.20"),
            gateway: ip("10.1.0.1"),
            world: ip("198.51.100.7"),
            node: ip("192.0.2.1"),
            shadow_a: ip("100.64.0.2"),
            host: ip("100.64.0.1"),
        },
        Family {
            a: ip("fd01::1:a"),
            b: ip("fd01::1:b"),
            far: ip("fd01::2:14"),
            gateway: ip("fd01::1"),
            world: ip("2001:db8:ffff::7"),
            node: ip("2001:db8::1"),
            shadow_a: ip("fd5e:a1a::2"),
            host: ip("fd5e:a1a::1"),
        },
    ]
}

pub(crate) const MAC_A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
pub(crate) const MAC_B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
pub(crate) const GATEWAY: Mac = datapath::GATEWAY_MAC;
pub(crate) const LEG_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x1e]);

/// The node under test.
pub(crate) struct Ground {
    pub(crate) datapath: Datapath,
    pub(crate) config: Config,
    pub(crate) generation: u64,
    links: Vec<(&'static str, u32)>,
    tunnel: libbpf_rs::Object,
    _mount: Bpffs,
}

struct Bpffs(tempfile::TempDir);

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = nix::mount::umount(self.0.path());
    }
}

/// What came out of a program.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) action: u32,
    pub(crate) frame: Vec<u8>,
    pub(crate) mark: u32,
}

/// Runs a test on a thread of its own, whose namespaces go with it.
pub(crate) fn on_ground(test: impl FnOnce(&mut Ground) + Send + 'static) {
    let run = move || {
        let mut ground = Ground::new(|_| {});
        test(&mut ground);
    };
    std::thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// The same with another configuration.
pub(crate) fn on_ground_with(
    configure: impl FnOnce(&mut Config) + Send + 'static,
    test: impl FnOnce(&mut Ground) + Send + 'static,
) {
    let run = move || {
        let mut ground = Ground::new(configure);
        test(&mut ground);
    };
    std::thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

impl Ground {
    fn new(configure: impl FnOnce(&mut Config)) -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        nix::mount::mount(
            none,
            "/",
            none,
            nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE,
            none,
        )
        .unwrap();
        let directory = tempfile::tempdir().unwrap();
        nix::mount::mount(Some("bpf"), directory.path(), Some("bpf"), nix::mount::MsFlags::empty(), none)
            .unwrap();
        let links = make_links();
        let index = |name: &str| links.iter().find(|(own, _)| *own == name).unwrap().1;
        let mut config = Config::new(directory.path().join("sealane"), NodeId(1));
        config.underlay = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        config.overlay = Some(Overlay { link: index("vx"), mtu: 1450 });
        config.leg = Some(Leg { host: index("leg0"), host_mac: LEG_MAC, fabric: index("leg1") });
        config.uplinks = vec![index("up")];
        config.shadow = vec!["100.64.0.0/10".parse().unwrap(), "fd5e:a1a::/64".parse().unwrap()];
        config.capacity.intervals = 4096;
        // A test on a busy machine takes its time; those about timeouts set their own.
        config.timeouts.udp_one_way = std::time::Duration::from_secs(600);
        configure(&mut config);
        let mut ground = Self {
            datapath: Datapath::open(&config).unwrap(),
            config,
            generation: 0,
            tunnel: tunnel(),
            links,
            _mount: Bpffs(directory),
        };
        ground.apply(&world());
        for (id, link, vni, tenant, last, group, mac) in [
            (1, "a", 100, TENANT, 10, GROUP_A, MAC_A),
            (2, "b", 100, TENANT, 11, GROUP_B, MAC_B),
            (3, "twin_a", 200, TWIN, 10, GROUP_A, MAC_A),
            (4, "twin_b", 200, TWIN, 11, GROUP_B, MAC_B),
        ] {
            let endpoint = ground.endpoint(id, link, vni, tenant, last, group, mac);
            ground.datapath.attach(&endpoint).unwrap();
        }
        ground
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn endpoint(
        &self,
        id: u32,
        link: &str,
        vni: u32,
        tenant: TenantId,
        last: u8,
        group: Group,
        mac: Mac,
    ) -> LocalEndpoint {
        let addresses = [format!("10.1.1.{last}"), format!("fd01::1:{last:x}")];
        let own = |text: &String| EndpointAddress { address: text.parse().unwrap(), group };
        LocalEndpoint {
            id,
            link: self.link(link),
            vni: Vni::new(vni).unwrap(),
            tenant,
            mac,
            addresses: addresses.iter().map(own).collect(),
        }
    }

    pub(crate) fn link(&self, name: &str) -> u32 {
        self.links.iter().find(|(own, _)| *own == name).unwrap().1
    }

    pub(crate) fn apply(&mut self, changed: &[Record]) {
        self.generation += 1;
        self.datapath.apply(changed, &[], Generation(self.generation)).unwrap();
    }

    pub(crate) fn remove(&mut self, removed: &[Key]) {
        self.generation += 1;
        self.datapath.apply(&[], removed, Generation(self.generation)).unwrap();
    }

    /// Sent by A.
    pub(crate) fn a_sends(&self, frame: &[u8]) -> Out {
        self.run("1-in", "a", frame, [0; 5])
    }

    /// Sent by B.
    pub(crate) fn b_sends(&self, frame: &[u8]) -> Out {
        self.run("2-in", "b", frame, [0; 5])
    }

    pub(crate) fn sends_on(&self, hook: &str, link: &str, frame: &[u8]) -> Out {
        self.run(hook, link, frame, [0; 5])
    }

    pub(crate) fn with_mark(&self, hook: &str, link: &str, frame: &[u8], mark: u32) -> Out {
        let program = self.program(hook);
        run(program, frame, self.link(link), [0; 5], mark)
    }

    pub(crate) fn uplink_gets(&self, frame: &[u8]) -> Out {
        self.run("uplink0", "up", frame, [0; 5])
    }

    pub(crate) fn host_sends(&self, frame: &[u8]) -> Out {
        self.run("leg", "leg1", frame, [0; 5])
    }

    /// Received over the overlay from an outer IPv4 source.
    pub(crate) fn overlay_brings(&self, vni: u32, sender: &str, group: u16, frame: &[u8]) -> Out {
        self.hop(vni, sender, Some(group), frame)
    }

    /// The same, with no group on the wire where it is `None`.
    pub(crate) fn hop(&self, vni: u32, sender: &str, group: Option<u16>, frame: &[u8]) -> Out {
        use libbpf_rs::MapCore as _;
        use std::os::fd::{AsFd as _, AsRawFd as _};
        let program = self.program("overlay");
        let map = self.tunnel.maps().find(|map| map.name() == "under_test").unwrap();
        map.update(&0u32.to_ne_bytes(), &program.to_ne_bytes(), libbpf_rs::MapFlags::ANY).unwrap();
        let outer: std::net::Ipv4Addr = sender.parse().unwrap();
        let cb = [vni, u32::from(outer), group.unwrap_or(0).into(), group.is_none().into(), 0];
        let tunnel = self.tunnel.progs().find(|program| program.name() == "tunnel").unwrap();
        let out = run(tunnel.as_fd().as_raw_fd(), frame, self.link("vx"), cb, 0);
        close(program);
        out
    }

    fn run(&self, hook: &str, link: &str, frame: &[u8], cb: [u32; 5]) -> Out {
        let program = self.program(hook);
        let out = run(program, frame, self.link(link), cb, 0);
        close(program);
        out
    }

    /// A descriptor of the program that hangs at a pinned hook.
    fn program(&self, hook: &str) -> i32 {
        let path = CString::new(self.config.pin_dir.join("links").join(hook).to_str().unwrap()).unwrap();
        let mut info = libbpf_sys::bpf_link_info::default();
        let mut length = size_of_val(&info) as u32;
        // SAFETY: the path is a C string, `info` has room for `length` bytes, and each descriptor is checked before use.
        unsafe {
            let link = libbpf_sys::bpf_obj_get(path.as_ptr());
            assert!(link >= 0, "no hook {hook}");
            assert_eq!(libbpf_sys::bpf_link_get_info_by_fd(link, &raw mut info, &raw mut length), 0);
            close(link);
            let program = libbpf_sys::bpf_prog_get_fd_by_id(info.prog_id);
            assert!(program >= 0);
            program
        }
    }

    /// Packets dropped so far for the reason.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        let drops = self.datapath.drops().unwrap();
        drops.iter().filter(|drop| drop.reason == reason).map(|drop| drop.traffic.packets).sum()
    }

    /// The frame that `send` sends is dropped for exactly this reason, and counted once.
    #[track_caller]
    pub(crate) fn assert_drops(&self, reason: DropReason, send: impl FnOnce(&Self) -> Out) {
        let before = self.datapath.drops().unwrap();
        let out = send(self);
        let after = self.datapath.drops().unwrap();
        let total =
            |drops: &[record::inspect::DropCount]| drops.iter().map(|drop| drop.traffic.packets).sum::<u64>();
        assert_eq!(out.action, SHOT, "expected {reason}; drops {after:?}");
        assert_eq!(total(&after), total(&before) + 1, "{after:?}");
        let of = |drops: &[record::inspect::DropCount]| {
            drops.iter().filter(|drop| drop.reason == reason).map(|drop| drop.traffic.packets).sum::<u64>()
        };
        assert_eq!(of(&after), of(&before) + 1, "expected {reason}; before {before:?}, after {after:?}");
    }

    /// What happened, for a failed assertion.
    pub(crate) fn story(&self) -> String {
        format!("drops {:?}\nflows {:?}", self.datapath.drops(), self.datapath.flows(&Default::default()))
    }
}

/// Every record of the world, with every group open.
pub(crate) fn world() -> Vec<Record> {
    let mut records = Vec::new();
    for (node, last) in [(1, 1), (2, 2), (3, 3)] {
        let underlay =
            vec![format!("192.0.2.{last}").parse().unwrap(), format!("2001:db8::{last}").parse().unwrap()];
        records.push(Record::Node(Node { id: NodeId(node), name: format!("node{node}"), underlay }));
    }
    for (tenant, vni) in [(TENANT, 100), (TWIN, 200)] {
        let id = Vni::new(vni).unwrap();
        let name = format!("tenant{tenant}");
        records.push(Record::Tenant(Tenant { id: tenant, name, port_names: Default::default() }));
        records.push(network(id, tenant, true, true));
        for node in [1, 2] {
            records.push(Record::Member(Member { vni: id, node: NodeId(node) }));
            for prefix in [format!("10.1.{node}.0/24"), format!("fd01::{node}:0/112")] {
                let route = Route { vni: id, prefix: prefix.parse().unwrap(), node: NodeId(node) };
                records.push(Record::Route(route));
            }
        }
        for number in [GROUP_A, GROUP_B, GROUP_FAR] {
            records.push(group(tenant, number, 0, 0));
        }
    }
    records
}

pub(crate) fn network(vni: Vni, tenant: TenantId, default_allow: bool, world: bool) -> Record {
    let subnet = |prefix: &str, gateway: &str| Subnet {
        prefix: prefix.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
    };
    Record::Network(Network {
        vni,
        tenant,
        name: "net".into(),
        subnets: vec![subnet("10.1.0.0/16", "10.1.0.1"), subnet("fd01::/64", "fd01::1")],
        default_allow,
        world,
        mtu: None,
    })
}

pub(crate) fn group(tenant: TenantId, number: Group, ingress: u32, egress: u32) -> Record {
    Record::Group(GroupRules {
        tenant,
        group: number,
        members: Members::Endpoints,
        selectors: Default::default(),
        ports: Default::default(),
        ingress: RuleSetId(ingress),
        egress: RuleSetId(egress),
    })
}

/// A row: (protocol, first port, verdict, rule) from each to the next.
pub(crate) fn row(rule_set: u32, peer: Peer, ports: &[(u8, u16, Verdict, u32)]) -> Record {
    let interval = |(protocol, port, verdict, rule): &(u8, u16, Verdict, u32)| PortInterval {
        protocol: *protocol,
        port: *port,
        decision: Decision { verdict: *verdict, rule: RuleId(*rule) },
    };
    Record::Row(Row {
        tenant: TENANT,
        rule_set: RuleSetId(rule_set),
        peer,
        ports: ports.iter().map(interval).collect(),
    })
}

fn run(program: i32, frame: &[u8], link: u32, cb: [u32; 5], mark: u32) -> Out {
    let mut context = [0u32; CONTEXT_WORDS];
    context[MARK] = mark;
    context[LINK] = link;
    context[CB..CB + 5].copy_from_slice(&cb);
    let mut after = [0u32; CONTEXT_WORDS];
    let mut out = vec![0u8; frame.len() + 512];
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
        data_in: frame.as_ptr().cast(),
        data_size_in: frame.len() as u32,
        data_out: out.as_mut_ptr().cast(),
        data_size_out: out.len() as u32,
        ctx_in: (&raw mut context).cast(),
        ctx_size_in: size_of_val(&context) as u32,
        ctx_out: (&raw mut after).cast(),
        ctx_size_out: size_of_val(&after) as u32,
        ..Default::default()
    };
    // SAFETY: every pointer is to a buffer of the size given beside it, all of which outlive the call.
    let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program, &raw mut options) };
    assert_eq!(result, 0, "test run of a frame of {} bytes: {result}", frame.len());
    out.truncate(options.data_size_out as usize);
    Out { action: options.retval, frame: out, mark: after[MARK] }
}

/// Places in the kernel's `struct __sk_buff`, in words.
const CONTEXT_WORDS: usize = 48;
const MARK: usize = 2;
const LINK: usize = 10;
const CB: usize = 12;

fn close(fd: i32) {
    // SAFETY: the callers own the descriptor and do not use it again.
    drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) });
}

fn tunnel() -> libbpf_rs::Object {
    let path = env!("SEALANE_TEST_TUNNEL_OBJECT");
    libbpf_rs::ObjectBuilder::default().open_file(path).unwrap().load().unwrap()
}

fn make_links() -> Vec<(&'static str, u32)> {
    // No neighbor discovery or listener report of the kernel's own among the drops.
    std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    let mut script = String::from("link set lo up\n");
    for name in ["a", "b", "twin_a", "twin_b", "vx", "up"] {
        script += &format!(
            "link add name {name} type veth peer name {name}_p\nlink set dev {name} up\nlink set dev {name}_p up\n"
        );
    }
    script += "link add name leg0 type veth peer name leg1\nlink set leg0 up\nlink set leg1 up\n";
    script += "address add 192.0.2.1/24 dev up\nroute add default via 192.0.2.254\n";
    script += "link set dev up addrgenmode none\n";
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), script).unwrap();
    let status = Command::new("ip").arg("-batch").arg(path.path()).status().unwrap();
    assert!(status.success());
    std::fs::write("/proc/sys/net/ipv6/conf/up/disable_ipv6", "0").unwrap();
    for line in ["address add 2001:db8::1/64 dev up nodad", "route add default via 2001:db8::fe"] {
        assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success());
    }
    ["a", "b", "twin_a", "twin_b", "vx", "up", "leg0", "leg1"]
        .map(|name| (name, nix::net::if_::if_nametoindex(name).unwrap()))
        .to_vec()
}
