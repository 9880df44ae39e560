//! The hosts that are measured: three with Sealane, and bare ones beside them on the same underlay for the baselines.
//!
//! ```text
//!   n1 n2 n3   Sealane: containers, a policy in force        n4      bridge and nftables, containers on one host
//!                                                             n5 n6   the same with kernel VXLAN between them
//! ```
//!
//! Promises: everything goes with the [`Ground`], and what a killed run left with `sealane lab down`: each name is the lab's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::container::{Container, Spec};
use lab::link::set_sysctl;
use lab::namespace::Namespace;
use lab::{Family, Host, Lab, Options};

use crate::fault::{Context, Fault, Result, told};
use crate::pin::prefer;
use crate::traffic::{Ends, PORT};

/// The hosts, with Sealane running on the first three.
pub(crate) struct Ground {
    pub(crate) lab: Lab,
    binary: PathBuf,
}

/// Two containers on Sealane's network, and what is known of their path.
pub(crate) struct Pair {
    pub(crate) ends: Ends,
    // The containers end with this.
    _containers: [Container; 2],
}

impl Ground {
    /// Makes the hosts and starts the server and the agents.
    pub(crate) fn new(name: &str, binary: &Path) -> Result<Self> {
        let family = Family::V4;
        let options = Options { family, start: false, ..Options::running(name, SEALANE + BARE, binary) };
        let ground = Self { lab: Lab::up(options)?, binary: binary.to_owned() };
        ground.lab.server().start()?;
        for host in ground.sealane() {
            host.start()?;
            let agent = host.runtime()?.agent;
            let what = format!("the agent of {} can attach", host.name());
            ground.lab.wait_until(STARTED, &what, || agent.status().map_err(|fault| lab::report(&fault)))?;
        }
        Ok(ground)
    }

    /// The hosts with Sealane.
    pub(crate) fn sealane(&self) -> impl Iterator<Item = Host<'_>> {
        (1..=SEALANE).map(|number| self.lab.node(number))
    }

    /// The bare host with this number, from 1.
    pub(crate) fn bare(&self, number: u16) -> Host<'_> {
        self.lab.node(SEALANE + number)
    }

    /// A namespace of no host's, with a name of the lab's.
    pub(crate) fn namespace(&self, name: &str) -> Result<Namespace> {
        let path = format!("/run/netns/sl-{}-{name}", self.lab.name());
        let namespace = Namespace::create(Path::new(&path))?;
        namespace.enter(|| lab::link::Links::open()?.up("lo"))??;
        Ok(namespace)
    }

    /// The command line of `sealane`, as a person would give it, with `input` at its standard input.
    pub(crate) fn sealane_says(&self, words: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.args(words).env("SEALANE_SERVER", format!("unix:{}", self.lab.server_socket().display()));
        for name in ["SEALANE_AGENT", "SEALANE_TENANT", "SEALANE_NAMESPACE"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start", self.binary.display())?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).context("tell", "sealane")?;
        }
        told(&command, &child.wait_with_output().context("wait for", "sealane")?)
    }

    /// Puts the server and the agents before other work of the machine, as what they are measured beside is.
    pub(crate) fn prefer_daemons(&self) -> Result<()> {
        let daemons = self.sealane().chain([self.lab.server()]).filter_map(|host| host.daemon());
        daemons.into_iter().try_for_each(|daemon| prefer(daemon.pid))
    }

    /// Puts objects in force on every host.
    pub(crate) fn apply(&self, objects: &str) -> Result<()> {
        self.sealane_says(&["apply", "-f", "-"], objects)?;
        self.sealane_says(&["status", "--wait"], "").map(drop)
    }

    /// A client and a server on Sealane's network, on these hosts with Sealane.
    pub(crate) fn pair(&self, name: &str, client: u16, server: u16) -> Result<Pair> {
        let run = |role: &str, host: u16| {
            let labels = [("bench".to_owned(), role.to_owned())].into();
            self.lab.node(host).run(&Spec { labels, ..Spec::idle(&format!("{name}-{role}")) })
        };
        let (client, server) = (run("client", client)?, run("server", server)?);
        let address = server.address(true).ok_or_else(|| Fault::Unfair {
            system: SYSTEM.to_owned(),
            reason: "gave a container no IPv4 address".to_owned(),
        })?;
        let ends = Ends {
            system: SYSTEM,
            client: client.namespace().clone(),
            server: server.namespace().clone(),
            address,
        };
        level(&ends)?;
        Ok(Pair { ends, _containers: [client, server] })
    }
}

/// Makes both ends alike, whatever the machine's own settings are. A client has ports enough for many short connections: those that
/// have ended hold theirs for a minute, and looking for a free one would be measured instead of the network. Congestion control is
/// the one that every kernel has; others pace by timers, which cost more than the path.
pub(crate) fn level(ends: &Ends) -> Result<()> {
    for container in [&ends.client, &ends.server] {
        container.enter(|| {
            set_sysctl("ipv4/ip_local_port_range", "1024 65535")?;
            set_sysctl("ipv4/tcp_tw_reuse", "1")?;
            set_sysctl("ipv4/tcp_congestion_control", "reno")
        })??;
    }
    Ok(())
}

/// Clients reach servers at one port and nothing else: isolated in both directions, so every new flow is judged twice.
pub(crate) fn policy() -> String {
    let policy = |name: &str, own: &str, kind: &str, direction: &str, peer: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             podSelector: {{matchLabels: {{bench: {own}}}}}\n  policyTypes: [{kind}]\n  {direction}:\n  \
             - {peer}: [{{podSelector: {{matchLabels: {{bench: {other}}}}}}}]\n    ports: [{{port: {PORT}}}]\n",
            other = if own == "server" { "client" } else { "server" },
        )
    };
    let servers = policy("bench-servers", "server", "Ingress", "ingress", "from");
    let clients = policy("bench-clients", "client", "Egress", "egress", "to");
    format!("{servers}---\n{clients}")
}

/// What rows call the product.
pub(crate) const SYSTEM: &str = "sealane";

const SEALANE: u16 = 3;
const BARE: u16 = 3;
const STARTED: Duration = Duration::from_secs(30);
