//! An agent of the tests' own: it answers at the door as the real one does, and attaches to a plain bridge on the host.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use lab::Host;
use lab::link::{Links, Peer};
use lab::namespace::Namespace;
use record::Prefix;
use record::door::{Assigned, Attach, Attached, Refusal, RefusalCode, Reply, Request};

/// What it was asked and when it answered, shared with the test.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The attachments of now, by container.
    pub(crate) attached: BTreeMap<String, Attached>,
    /// When an attach was last answered.
    pub(crate) answered: Option<SystemTime>,
    /// How many attaches were asked.
    pub(crate) asked: u8,
}

/// The agent. It ends with this value.
pub(crate) struct BridgeAgent {
    pub(crate) seen: Arc<Mutex<Seen>>,
    socket: std::path::PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl BridgeAgent {
    /// Listens at the host's agent socket. An attach is answered after `delay`; a container called `unwanted` is refused.
    pub(crate) fn start(host: Host<'_>, delay: Duration) -> Self {
        let namespace = host.namespace().unwrap();
        let bridged = namespace.enter(|| {
            let links = Links::open()?;
            links.add_bridge(BRIDGE, 1500)?;
            links.add_address(BRIDGE, address(254), 24)
        });
        bridged.unwrap().unwrap();
        let socket = host.agent_socket();
        let listener = UnixListener::bind(&socket).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if answer(stream.unwrap(), &namespace, &shared, delay).is_none() {
                    return;
                }
            }
        });
        Self { seen, socket, thread: Some(thread) }
    }
}

impl Drop for BridgeAgent {
    fn drop(&mut self) {
        // An empty line ends it; the socket's file may be gone with the lab, then the thread ends with the test.
        if UnixStream::connect(&self.socket).is_ok_and(|mut stream| stream.write_all(b"\n").is_ok())
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn answer(stream: UnixStream, host: &Namespace, seen: &Mutex<Seen>, delay: Duration) -> Option<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    if line.trim().is_empty() {
        return None;
    }
    let reply = match serde_json::from_str(&line).unwrap() {
        Request::Attach(attach) if attach.name == "unwanted" => Reply::Refused(Refusal {
            code: RefusalCode::Forbidden,
            message: "nobody wants it".to_owned(),
            remedy: "be wanted".to_owned(),
        }),
        Request::Attach(attach) => {
            std::thread::sleep(delay);
            attach_to_bridge(&attach, host, seen)
        }
        Request::Detach(detach) => {
            seen.lock().unwrap().attached.remove(&detach.container);
            Reply::Done
        }
        Request::List => {
            Reply::Attachments { attachments: seen.lock().unwrap().attached.values().cloned().collect() }
        }
        other => panic!("the lab never asks {other:?}"),
    };
    let text = serde_json::to_string(&reply).unwrap();
    writeln!(&stream, "{text}").unwrap();
    Some(())
}

fn attach_to_bridge(attach: &Attach, host: &Namespace, seen: &Mutex<Seen>) -> Reply {
    let mut seen = seen.lock().unwrap();
    seen.asked += 1;
    let number = seen.asked;
    let namespace = Namespace::open(Path::new(&attach.netns)).unwrap();
    let host_interface = format!("sl{number}");
    let made = host.enter(|| {
        let links = Links::open()?;
        links.add_veth(&host_interface, Peer { name: &attach.interface, namespace: &namespace }, 1500)?;
        links.enslave(&host_interface, BRIDGE)?;
        links.up(&host_interface)
    });
    made.unwrap().unwrap();
    let configured = namespace.enter(|| {
        let links = Links::open()?;
        links.up(&attach.interface)?;
        links.add_address(&attach.interface, address(number), 24)
    });
    configured.unwrap().unwrap();
    let attached = attached(attach, host_interface, address(number));
    seen.attached.insert(attach.container.clone(), attached.clone());
    seen.answered = Some(SystemTime::now());
    Reply::Attached(Box::new(attached))
}

fn attached(attach: &Attach, host_interface: String, address: IpAddr) -> Attached {
    Attached {
        uid: attach.container.clone(),
        tenant: attach.tenant.clone().unwrap_or("default".to_owned()),
        namespace: attach.namespace.clone().unwrap_or("default".to_owned()),
        name: attach.name.clone(),
        network: "bridge".to_owned(),
        container: attach.container.clone(),
        netns: attach.netns.clone(),
        interface: attach.interface.clone(),
        host_interface,
        mac: "02:00:00:00:00:01".parse().unwrap(),
        addresses: vec![Assigned {
            address,
            subnet: Prefix::containing(address, 24).unwrap(),
            gateway: self::address(254),
        }],
        mtu: 1500,
        judged: true,
        publish: Vec::new(),
        host_addresses: Vec::new(),
        warnings: Vec::new(),
    }
}

fn address(place: u8) -> IpAddr {
    IpAddr::from([10, 1, 0, place])
}

const BRIDGE: &str = "br0";
