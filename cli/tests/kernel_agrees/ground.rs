//! Two nodes in a network namespace of the test's own, each with its programs in the kernel, and links for ten pods.
//!
//! Promises: the root namespace is not touched; namespaces, devices, programs and pins go with the thread, also when it panics.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use compile::Delivery;
use datapath::{Config, Datapath, EndpointAddress, Leg, LocalEndpoint, Overlay, Published, Timeouts};
use nix::sched::{CloneFlags, unshare};
use record::{DropReason, Generation, Group, Mac, NodeId, Protocol, Record, RuleId, TenantId, Vni};

use crate::tunnel::{Tag, Tunnel};

/// What a program says of a packet that passes.
pub(crate) const REDIRECT: u32 = 7;
/// And of one that it drops.
pub(crate) const SHOT: u32 = 2;

pub(crate) const LEG_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x1e]);
/// Somebody beyond the uplink.
pub(crate) const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);

/// Links for pods on each node.
const PODS: usize = 10;

/// Drops by reason and rule.
pub(crate) type Drops = BTreeMap<(DropReason, RuleId), u64>;

/// Both nodes. The field order is that of their end: first the programs, then the mount.
pub(crate) struct Ground {
    pub(crate) nodes: BTreeMap<u32, Node>,
    _mount: Bpffs,
}

struct Bpffs(tempfile::TempDir);

impl Drop for Bpffs {
    fn drop(&mut self) {
        // A failure leaves the mount to the namespace, which ends with the thread.
        let _ = nix::mount::umount(self.0.path());
    }
}

/// One node.
pub(crate) struct Node {
    pub(crate) datapath: Datapath,
    pub(crate) underlay: Vec<IpAddr>,
    /// By name of the pod.
    pub(crate) endpoints: BTreeMap<String, LocalEndpoint>,
    pin_dir: PathBuf,
    generation: u64,
    pods: Vec<u32>,
    uplink: u32,
    leg: u32,
    overlay: u32,
    programs: BTreeMap<&'static str, OwnedFd>,
    tunnel: Option<Tunnel>,
}

/// Runs a test on a thread of its own, whose namespaces go with it.
pub(crate) fn on_ground<T: Send + 'static>(test: impl FnOnce(Ground) -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || test(Ground::new()));
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Ground {
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("the test makes namespaces: run it as root");
        let none = None::<&str>;
        let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(none, "/", none, private, none).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("bpf"), directory.path(), Some("bpf"), flags, none).unwrap();
        let mount = Bpffs(directory);
        make_links();
        let nodes = [1, 2].map(|number| (number, Node::new(number, mount.0.path())));
        Self { nodes: nodes.into(), _mount: mount }
    }

    /// The node with this number.
    pub(crate) fn node(&mut self, number: u32) -> &mut Node {
        self.nodes.get_mut(&number).expect("the nodes are 1 and 2")
    }
}

impl Node {
    fn new(number: u32, mount: &Path) -> Self {
        let index = |name: String| nix::net::if_::if_nametoindex(name.as_str()).unwrap();
        let mut config = Config::new(mount.join(format!("node{number}")), NodeId(number));
        let underlay = [format!("192.0.2.{number}"), format!("2001:db8::{number}")];
        config.underlay = underlay.iter().map(|text| text.parse().unwrap()).collect();
        let overlay = index(format!("vx{number}"));
        config.overlay = Some(Overlay { link: overlay, mtu: 1450 });
        let [host, fabric] = [format!("leg{number}h"), format!("leg{number}f")].map(index);
        config.leg = Some(Leg { host, host_mac: LEG_MAC, fabric });
        config.uplinks = vec![index(format!("up{number}"))];
        config.shadow = vec!["100.64.0.0/10".parse().unwrap(), "fd5e:a1a::/64".parse().unwrap()];
        config.capacity.rows = 16_384;
        config.capacity.intervals = 65_536;
        config.capacity.flows = 65_536;
        // No flow ends by itself while a slow machine takes its time.
        let hour = Duration::from_secs(3600);
        config.timeouts = Timeouts {
            tcp_opening: hour,
            tcp_closing: hour,
            tcp_closed: hour,
            udp_one_way: hour,
            udp_both_ways: hour,
            icmp: hour,
            ..Timeouts::default()
        };
        Self {
            datapath: Datapath::open(&config).unwrap(),
            underlay: config.underlay.clone(),
            endpoints: BTreeMap::new(),
            pin_dir: config.pin_dir.clone(),
            generation: 0,
            pods: (0..PODS).map(|pod| index(format!("pod{number}x{pod}"))).collect(),
            uplink: config.uplinks[0],
            leg: fabric,
            overlay,
            programs: BTreeMap::new(),
            tunnel: None,
        }
    }

    fn next(&mut self) -> Generation {
        self.generation += 1;
        Generation(self.generation)
    }

    /// These records and nothing else; no pods.
    pub(crate) fn reset(&mut self, records: &[Record]) {
        for endpoint in std::mem::take(&mut self.endpoints).into_values() {
            self.datapath.detach(endpoint.id).unwrap();
        }
        let generation = self.next();
        self.datapath.resync(records, generation).unwrap_or_else(|faults| panic!("{faults:#?}"));
    }

    /// Attaches a pod by its addresses and their groups.
    pub(crate) fn attach(
        &mut self,
        name: &str,
        (tenant, vni): (TenantId, Vni),
        addresses: Vec<EndpointAddress>,
    ) {
        let place = self.endpoints.len();
        let mac = Mac([2, 0, 0, 0, 1, place as u8]);
        let id = place as u32 + 1;
        let endpoint = LocalEndpoint { id, link: self.pods[place], vni, tenant, mac, addresses };
        self.datapath.attach(&endpoint).unwrap();
        self.endpoints.insert(name.to_owned(), endpoint);
    }

    /// Takes one step in: the records by one flip, then the groups of pods, as an agent does.
    pub(crate) fn apply(&mut self, step: &Delivery) {
        let generation = self.next();
        let upserts: Vec<Record> = step.upserts.iter().map(|record| (**record).clone()).collect();
        let applied = self.datapath.apply(&upserts, &step.removals, generation);
        applied.unwrap_or_else(|faults| panic!("{faults:#?}"));
        for record in &upserts {
            let Record::Endpoint(told) = record else { continue };
            let endpoint = self.endpoints.get_mut(&told.uid).expect("a node is told of its own endpoints");
            for own in &mut endpoint.addresses {
                own.group = told.group(own.address);
            }
            self.datapath.regroup(endpoint.id, &endpoint.addresses).unwrap();
        }
    }

    /// The group that the node has for a pod's address.
    pub(crate) fn group(&self, pod: &str, address: IpAddr) -> Group {
        let mut own = self.endpoints[pod].addresses.iter();
        own.find(|own| own.address == address).expect("the address is the pod's").group
    }

    /// Leads a port of the node to a pod's.
    pub(crate) fn publish(&mut self, address: IpAddr, protocol: u8, port: u16, (pod, target): (&str, u16)) {
        let protocol = Protocol::ALL.into_iter().find(|known| known.number() == protocol).unwrap();
        let endpoint = self.endpoints[pod].id;
        self.datapath.publish(&Published { address, protocol, port, endpoint, target }).unwrap();
    }

    /// The underlay address in the family of `like`.
    pub(crate) fn underlay(&self, like: IpAddr) -> IpAddr {
        *self.underlay.iter().find(|own| own.is_ipv4() == like.is_ipv4()).unwrap()
    }

    /// The address by which the node's own stack reaches a pod, in the family of `like`.
    pub(crate) fn shadow(&self, pod: &str, like: IpAddr) -> IpAddr {
        let shadows = self.datapath.shadows(&self.endpoints[pod]);
        shadows.into_iter().find(|shadow| shadow.is_ipv4() == like.is_ipv4()).unwrap()
    }

    /// A pod sends.
    pub(crate) fn pod_sends(&mut self, pod: &str, frame: &[u8]) -> u32 {
        let link = self.endpoints[pod].link;
        // The same program hangs on every pod's link.
        let hook = format!("{}-in", self.endpoints[pod].id);
        self.run("from_container", &hook, link, frame)
    }

    /// The node's own stack sends.
    pub(crate) fn host_sends(&mut self, frame: &[u8]) -> u32 {
        self.run("from_host", "leg", self.leg, frame)
    }

    /// Another node, with this underlay address, sends for a pod of this group.
    pub(crate) fn overlay_brings(
        &mut self,
        sender: Ipv4Addr,
        (vni, group): (Vni, Group),
        frame: &[u8],
    ) -> u32 {
        let hook = self.pin_dir.join("links").join("overlay");
        let tunnel = self.tunnel.get_or_insert_with(|| Tunnel::into(&hanging(&hook)));
        run(&tunnel.program, self.overlay, [vni.value(), u32::from(sender), group.0.into()], frame)
    }

    /// Something comes from the world.
    pub(crate) fn uplink_gets(&mut self, frame: &[u8]) -> u32 {
        self.run("from_uplink", "uplink0", self.uplink, frame)
    }

    /// All that was dropped so far.
    pub(crate) fn drops(&self) -> Drops {
        let mut drops = Drops::new();
        for count in self.datapath.drops().unwrap() {
            *drops.entry((count.reason, count.rule)).or_default() += count.traffic.packets;
        }
        drops
    }

    fn run(&mut self, name: &'static str, hook: &str, link: u32, frame: &[u8]) -> u32 {
        let pin_dir = &self.pin_dir;
        let program = self.programs.entry(name).or_insert_with(|| hanging(&pin_dir.join("links").join(hook)));
        run(program, link, Tag::default(), frame)
    }
}

/// The program that hangs at a pinned hook.
fn hanging(hook: &Path) -> OwnedFd {
    let path = CString::new(hook.to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string that outlives the call.
    let link = unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) };
    assert!(link >= 0, "no hook at {}: {link}", hook.display());
    // SAFETY: the kernel has just given this descriptor to us alone.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut length = size_of_val(&info) as u32;
    // SAFETY: `info` has room for `length` bytes, and the kernel writes no more.
    let told =
        unsafe { libbpf_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &raw mut info, &raw mut length) };
    assert_eq!(told, 0, "describe {}", hook.display());
    // SAFETY: the call takes a number.
    let program = unsafe { libbpf_sys::bpf_prog_get_fd_by_id(info.prog_id) };
    assert!(program >= 0, "no program at {}: {program}", hook.display());
    // SAFETY: the kernel has just given this descriptor to us alone.
    unsafe { OwnedFd::from_raw_fd(program) }
}

/// What the program says of a frame that comes in by the link.
fn run(program: &OwnedFd, link: u32, tag: Tag, frame: &[u8]) -> u32 {
    let mut context = [0u32; CONTEXT_WORDS];
    context[LINK] = link;
    context[CB..CB + tag.len()].copy_from_slice(&tag);
    let mut out = vec![0u8; frame.len() + 512];
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
        data_in: frame.as_ptr().cast(),
        data_size_in: frame.len() as u32,
        data_out: out.as_mut_ptr().cast(),
        data_size_out: out.len() as u32,
        ctx_in: (&raw mut context).cast(),
        ctx_size_in: size_of_val(&context) as u32,
        ..Default::default()
    };
    // SAFETY: every pointer is to a buffer of the size given beside it, all of which outlive the call.
    let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    assert_eq!(result, 0, "test run of a frame of {} bytes", frame.len());
    options.retval
}

/// The kernel's `struct __sk_buff` in words, and where `ifindex` and `cb` are in it.
const CONTEXT_WORDS: usize = 48;
const LINK: usize = 10;
const CB: usize = 12;

/// Pods' links stay down: frames come by test run, and the kernel's own neighbour discovery would be counted among the drops.
fn make_links() {
    let mut script = String::from("link set lo up\n");
    for node in [1, 2] {
        let mut pair =
            |name: String, peer: String| script += &format!("link add {name} type veth peer name {peer}\n");
        (0..PODS).for_each(|pod| pair(format!("pod{node}x{pod}"), format!("in{node}x{pod}")));
        pair(format!("vx{node}"), format!("vx{node}p"));
        pair(format!("leg{node}h"), format!("leg{node}f"));
        pair(format!("up{node}"), format!("up{node}p"));
        script += &format!("link set up{node} up\nlink set up{node}p up\n");
        script += &format!("address add 192.0.2.{node}/24 dev up{node}\n");
        script += &format!("address add 2001:db8::{node}/64 dev up{node} nodad\n");
        for gateway in ["192.0.2.254", "2001:db8::fe"] {
            script += &format!("route add default via {gateway} dev up{node} metric {node}\n");
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let status = Command::new("ip").arg("-batch").arg(file.path()).status().unwrap();
    assert!(status.success(), "ip refused the links: its message is above");
}
