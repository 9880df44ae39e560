//! What Sealane is measured beside, each made by the commands that are printed, so that anyone can repeat it.

use std::path::Path;
use std::process::Command;

use lab::namespace::Namespace;

use crate::fault::{Fault, Result, succeed};
use crate::ground::{Ground, level};
use crate::traffic::{Ends, PORT};

/// Makes baselines whose links carry packets of `mtu` bytes, as Sealane's do.
pub(crate) struct Baselines<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) mtu: u32,
    /// The commands so far, each with where it ran.
    pub(crate) commands: Vec<String>,
}

impl Baselines<'_> {
    /// Two containers joined by nothing but a veth pair.
    pub(crate) fn bare(&mut self) -> Result<Ends> {
        let ends = self.ends("bare veth pair", "bare")?;
        let (mtu, peer) = (self.mtu, name(&ends.server));
        self.run(
            &ends.client,
            &[&format!("ip link add eth0 mtu {mtu} type veth peer name eth0 mtu {mtu} netns {peer}")],
        )?;
        self.address(&ends)?;
        Ok(ends)
    }

    /// Two containers on a bridge of one host, judged by stateful nftables.
    pub(crate) fn bridge(&mut self) -> Result<Ends> {
        let ends = self.ends("bridge and nftables", "bridge")?;
        let host = self.ground.bare(1).namespace()?;
        self.make_bridge(&host)?;
        self.plug(&host, &ends.client, "client")?;
        self.plug(&host, &ends.server, "server")?;
        self.judge(&host)?;
        self.address(&ends)?;
        Ok(ends)
    }

    /// Two containers on bridges of two hosts, joined by the kernel's own VXLAN and judged by stateful nftables at both.
    pub(crate) fn vxlan(&mut self) -> Result<Ends> {
        let ends = self.ends("VXLAN, bridge and nftables", "vxlan")?;
        let (one, other) = (self.ground.bare(2), self.ground.bare(3));
        let sides = [(one, other, &ends.client, "client"), (other, one, &ends.server, "server")];
        for (host, peer, container, port) in sides {
            let (here, there, mtu) = (host.address(true), peer.address(true), self.mtu);
            let host = host.namespace()?;
            self.make_bridge(&host)?;
            let device = format!(
                "ip link add vxlan0 mtu {mtu} type vxlan id 100 dstport 4789 local {here} remote {there} dev eth0"
            );
            self.run(&host, &[&device, "ip link set vxlan0 master br0 up"])?;
            self.plug(&host, container, port)?;
            self.judge(&host)?;
        }
        self.address(&ends)?;
        Ok(ends)
    }

    fn ends(&self, system: &'static str, prefix: &str) -> Result<Ends> {
        let client = self.ground.namespace(&format!("{prefix}-client"))?;
        let server = self.ground.namespace(&format!("{prefix}-server"))?;
        let address = SERVER.parse().expect("the constant is an address");
        let ends = Ends { system, client, server, address };
        level(&ends)?;
        Ok(ends)
    }

    fn make_bridge(&mut self, host: &Namespace) -> Result<()> {
        let bridge = format!("ip link add br0 mtu {} type bridge forward_delay 0 mcast_snooping 0", self.mtu);
        self.run(host, &[&bridge, "ip link set br0 up", "sysctl -qw net.bridge.bridge-nf-call-iptables=1"])
    }

    fn plug(&mut self, host: &Namespace, container: &Namespace, port: &str) -> Result<()> {
        let (mtu, peer) = (self.mtu, name(container));
        let pair = format!("ip link add {port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {peer}");
        self.run(host, &[&pair, &format!("ip link set {port} master br0 up")])
    }

    /// The same verdicts as Sealane's policy.
    fn judge(&mut self, host: &Namespace) -> Result<()> {
        let accept = format!("ip saddr {CLIENT} ip daddr {SERVER} tcp dport {PORT} ct state new accept");
        self.run(
            host,
            &[
                "nft add table ip filter",
                "nft add chain ip filter forward '{ type filter hook forward priority 0; policy drop; }'",
                "nft add rule ip filter forward ct state established,related accept",
                &format!("nft add rule ip filter forward {accept}"),
            ],
        )
    }

    fn address(&mut self, ends: &Ends) -> Result<()> {
        for (container, address) in [(&ends.client, CLIENT), (&ends.server, SERVER)] {
            let own = format!("ip address add {address}/24 dev eth0");
            self.run(container, &[&own, "ip link set eth0 up"])?;
        }
        Ok(())
    }

    fn run(&mut self, namespace: &Namespace, commands: &[&str]) -> Result<()> {
        for command in commands {
            self.commands.push(format!("{}# {command}", name(namespace)));
            namespace.enter(|| succeed(Command::new("sh").args(["-ec", command])))??;
        }
        Ok(())
    }
}

/// What of a container's link decides how fast it is: MTU, offload limits, queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// In bytes.
    pub(crate) mtu: u32,
    /// As `ip` tells them, by name.
    pub(crate) settings: Vec<(&'static str, serde_json::Value)>,
}

impl Link {
    /// That of the container in this namespace.
    pub(crate) fn of(container: &Namespace) -> Result<Self> {
        let words = ["-json", "-details", "link", "show", "dev", "eth0"];
        let text = container.enter(|| succeed(Command::new("ip").args(words)))??;
        let strange = || Fault::Command { command: format!("ip {}", words.join(" ")), told: text.clone() };
        let told: serde_json::Value = serde_json::from_str(&text).map_err(|_| strange())?;
        let link = &told[0];
        let mtu = link["mtu"].as_u64().and_then(|mtu| u32::try_from(mtu).ok()).ok_or_else(strange)?;
        let settings = SETTINGS.map(|setting| (setting, link[setting].clone())).to_vec();
        Ok(Self { mtu, settings })
    }

    /// Refuses ends whose links differ from this one.
    pub(crate) fn check(&self, ends: &Ends) -> Result<()> {
        for container in [&ends.client, &ends.server] {
            let found = Self::of(container)?;
            if found != *self {
                let reason = format!("has other links than Sealane: {found:?}, not {self:?}");
                return Err(Fault::Unfair { system: ends.system.to_owned(), reason });
            }
        }
        Ok(())
    }
}

fn name(namespace: &Namespace) -> String {
    namespace.path().file_name().unwrap_or(Path::new("?").as_os_str()).to_string_lossy().into_owned()
}

const CLIENT: &str = "10.90.0.2";
const SERVER: &str = "10.90.0.3";
const SETTINGS: [&str; 9] = [
    "qdisc",
    "num_tx_queues",
    "num_rx_queues",
    "gso_max_size",
    "gso_max_segs",
    "tso_max_size",
    "tso_max_segs",
    "gro_max_size",
    "gso_ipv4_max_size",
];
