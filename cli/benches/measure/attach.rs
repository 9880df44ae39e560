//! How long a container waits for its network: Sealane's door, and Sealane as a CNI plugin, beside the reference CNI plugin
//! `bridge` with `host-local`.
//!
//! Promises: all three attach to namespaces alike, on hosts that have attached before, and give the place back outside the
//! time that is counted.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use lab::door::Agent;
use lab::namespace::Namespace;
use record::door::{Attach, Detach, Door};
use serde_json::{Value, json};

use crate::fault::{Context, Fault, Result, told};
use crate::ground::Ground;

/// Somebody who attaches containers.
pub(crate) enum Attacher {
    /// By the agent's socket.
    Door(DoorCaller),
    /// By running a CNI plugin.
    Plugin(Plugin),
}

/// See [`Attacher::Door`].
pub(crate) struct DoorCaller {
    agent: Agent,
    attach: Attach,
}

/// A CNI plugin with its config.
pub(crate) struct Plugin {
    program: PathBuf,
    /// Where plugins that it calls itself are.
    folder: PathBuf,
    config: Value,
    host: Namespace,
    container: PathBuf,
    name: String,
}

impl Attacher {
    /// Sealane's door on the first host.
    pub(crate) fn door(ground: &Ground) -> Result<Self> {
        let container = ground.namespace("attach-door")?;
        let attach = Attach {
            door: Door::Attach,
            tenant: None,
            namespace: None,
            name: "attach-door".to_owned(),
            network: None,
            labels: [("bench".to_owned(), "client".to_owned())].into(),
            ports: Vec::new(),
            netns: container.path().to_owned(),
            interface: INTERFACE.to_owned(),
            container: "attach-door".to_owned(),
            pod: None,
            addresses: Vec::<IpAddr>::new(),
            mac: None,
            publish: Vec::new(),
        };
        Ok(Self::Door(DoorCaller { agent: ground.lab.node(1).runtime()?.agent, attach }))
    }

    /// Sealane's plugin on the first host.
    pub(crate) fn sealane_cni(ground: &Ground, program: &Path) -> Result<Self> {
        let host = ground.lab.node(1);
        let config = json!({
            "cniVersion": VERSION, "name": "bench", "type": "sealane-cni",
            "agentSocket": host.agent_socket(), "stateDir": host.folder(), "labels": {"bench": "client"},
        });
        Self::plugin(ground, program, config, host.namespace()?, "attach-cni")
    }

    /// The reference plugin on a bare host.
    pub(crate) fn reference(ground: &Ground) -> Result<Self> {
        let leases = ground.lab.folder().join("host-local");
        let config = json!({
            "cniVersion": VERSION, "name": "bench", "type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.91.0.0/24"}]], "dataDir": leases},
        });
        let host = ground.bare(1).namespace()?;
        Self::plugin(ground, Path::new(REFERENCE), config, host, "attach-reference")
    }

    /// What makes it, for those who want to repeat it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Door(door) => format!("a request at {}", door.agent.socket().display()),
            Self::Plugin(plugin) => {
                format!("CNI_COMMAND=ADD {} <<<'{}'", plugin.program.display(), plugin.config)
            }
        }
    }

    /// Attaches, and takes the place away again. Returns how long the first took, in ms.
    pub(crate) fn sample(&self) -> Result<f64> {
        match self {
            Self::Door(DoorCaller { agent, attach }) => {
                let start = Instant::now();
                let attached = agent.attach(attach)?;
                let took = start.elapsed();
                if !attached.judged {
                    let reason = "attached a container before its policy was known: not warm".to_owned();
                    return Err(Fault::Unfair { system: "the door".to_owned(), reason });
                }
                let (door, container) = (attach.door, attach.container.clone());
                agent.detach(&Detach { door, container, interface: None })?;
                Ok(took.as_secs_f64() * 1e3)
            }
            Self::Plugin(plugin) => {
                let start = Instant::now();
                plugin.call("ADD")?;
                let took = start.elapsed();
                plugin.call("DEL")?;
                Ok(took.as_secs_f64() * 1e3)
            }
        }
    }

    fn plugin(ground: &Ground, program: &Path, config: Value, host: Namespace, name: &str) -> Result<Self> {
        let container = ground.namespace(name)?.path().to_owned();
        let folder = program.parent().unwrap_or(Path::new("/")).to_owned();
        let (program, name) = (program.to_owned(), name.to_owned());
        Ok(Self::Plugin(Plugin { program, folder, config, host, container, name }))
    }
}

impl Plugin {
    /// Runs it as a runtime does (CNI specification 1.0, section 2).
    fn call(&self, verb: &str) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", &self.name).env("CNI_IFNAME", INTERFACE);
        command.env("CNI_NETNS", &self.container).env("CNI_PATH", &self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let config = self.config.to_string();
        let output = self.host.enter(|| {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(config.as_bytes())?;
            }
            child.wait_with_output()
        })?;
        let output = output.context("run", self.program.display())?;
        told(&command, &output).map(drop)
    }
}

const INTERFACE: &str = "eth0";
const VERSION: &str = "1.0.0";
const REFERENCE: &str = "/usr/lib/cni/bridge";
