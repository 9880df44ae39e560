//! The agent's settings: one TOML file, every one with a default.
//!
//! Promises: a [`Config`] that exists is valid; a file is refused with every problem at once, each with its path, value,
//! reason and remedy; an unknown key names the nearest known one.

mod parse;
mod problem;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use record::door::Door;
use record::join::Token;
use stream::Address;

pub use problem::{ConfigError, Problem};

/// The agent's settings. [`Config::default`] is what an empty file gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node's name, unique in the fabric.
    pub node: String,
    /// Where the server is.
    pub server: Address,
    /// What lets this host in at a server over TLS, until it has a certificate.
    pub token: Option<Token>,
    /// The file that the token is in; it counts in place of `token`.
    pub token_file: Option<PathBuf>,
    /// The folder of what the agent keeps over restarts.
    pub state_dir: PathBuf,
    /// The unix socket of the doors.
    pub socket: PathBuf,
    /// The folder, on a BPF file system, of the pinned maps and links.
    pub pin_dir: PathBuf,
    /// The control group whose processes reach published ports at loopback addresses; `None`: the root of the unified hierarchy.
    pub cgroup: Option<PathBuf>,
    /// The network between hosts.
    pub underlay: Underlay,
    /// The first and the last port that source translation to the world uses.
    pub nat_ports: (u16, u16),
    /// What each door may use.
    pub doors: BTreeMap<Door, DoorRules>,
    /// Where `/metrics` is served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// What is logged.
    pub log: Log,
}

/// The network between hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// This host's addresses on it, at most one of each family, preferred first; empty: those of the default route's link.
    pub addresses: Vec<IpAddr>,
    /// The UDP port of the overlay (RFC 7348: 4789).
    pub vxlan_port: u16,
}

/// What one door may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorRules {
    /// Names of tenants; `*` means every one.
    pub tenants: Vec<String>,
    /// Names of networks, as `NETWORK` or `TENANT/NETWORK`; `*` means every one.
    pub networks: Vec<String>,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A filter in the words of `tracing`: `info`, `agent=debug`.
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Config {
    /// Reads a file.
    ///
    /// Errors: [`ConfigError::Read`], and what [`Config::parse`] says.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|error| error.of_file(path))
    }

    /// Reads a text.
    ///
    /// Errors: [`ConfigError::Syntax`] for what is no TOML, [`ConfigError::Invalid`] with every problem.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        parse::parse(text)
    }

    /// What a door may use; one that the settings do not name may use the defaults.
    pub fn door(&self, door: Door) -> DoorRules {
        self.doors.get(&door).cloned().unwrap_or_default()
    }

    /// The folder where a door leaves word of what to take away when the agent is back.
    pub(crate) fn tombstones(&self) -> PathBuf {
        self.state_dir.join(record::door::TOMBSTONES)
    }

    /// The file of what is found after a restart.
    pub(crate) fn journal(&self) -> PathBuf {
        self.state_dir.join("agent.redb")
    }

    /// A file with every setting, its default and what it means; all of them are commented out.
    pub fn example() -> &'static str {
        include_str!("example.toml")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: host_name(),
            server: Address::Unix(PathBuf::from("/run/sealane/server.sock")),
            token: None,
            token_file: None,
            state_dir: PathBuf::from("/var/lib/sealane"),
            socket: PathBuf::from("/run/sealane/agent.sock"),
            pin_dir: PathBuf::from("/sys/fs/bpf/sealane"),
            cgroup: None,
            underlay: Underlay::default(),
            nat_ports: (16384, 29999),
            doors: BTreeMap::new(),
            metrics: None,
            log: Log::default(),
        }
    }
}

impl Default for Underlay {
    fn default() -> Self {
        Self { addresses: Vec::new(), vxlan_port: 4789 }
    }
}

impl Default for DoorRules {
    fn default() -> Self {
        Self { tenants: vec!["default".to_owned()], networks: vec![ANY.to_owned()] }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), json: false }
    }
}

impl DoorRules {
    /// Whether the tenant may be used.
    pub fn allows_tenant(&self, tenant: &str) -> bool {
        self.tenants.iter().any(|allowed| allowed == ANY || allowed == tenant)
    }

    /// Whether the network of the tenant may be used.
    pub fn allows_network(&self, tenant: &str, network: &str) -> bool {
        self.networks.iter().any(|allowed| match allowed.split_once('/') {
            None => allowed == ANY || allowed == network,
            Some((of, name)) => of == tenant && (name == ANY || name == network),
        })
    }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .map_or_else(|| "localhost".to_owned(), |name| name.to_ascii_lowercase())
}

/// Stands for every name.
const ANY: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn the_example_is_the_defaults_with_and_without_its_comment_signs() {
        assert_eq!(Config::parse(Config::example()).unwrap(), Config::default());
        let settings: Vec<&str> = Config::example()
            .lines()
            .filter_map(|line| {
                line.strip_prefix("#").filter(|rest| !rest.starts_with([' ', '#']) && !rest.is_empty())
            })
            .collect();
        assert!(settings.len() > 20, "{settings:?}");
        let mut config = Config::parse(&settings.join("\n")).unwrap();
        assert_eq!(config.node, "node-1");
        config.node = Config::default().node;
        assert_eq!(config.doors.len(), 3);
        assert!(config.doors.values().all(|rules| *rules == DoorRules::default()));
        config.doors.clear();
        assert_eq!(config.cgroup.take(), Some("/sys/fs/cgroup".into()));
        assert_eq!(config.token_file.take(), Some("/etc/sealane/token".into()));
        assert_eq!(config.metrics.take(), Some("127.0.0.1:7381".parse().unwrap()));
        assert_eq!(config, Config::default());
    }

    #[test]
    fn every_problem_is_told_at_once_with_path_value_and_remedy() {
        let error = Config::parse(
            "nodee = \"a\"\nnode = \"A b\"\nserver = \"ftp://x\"\nstate_dir = 5\n[underlay]\nvxlan_prt = 1\nvxlan_port = 0\n\
             addresses = [\"10.0.0.1\", \"10.0.0.2\", \"x\"]\n[doors.docker]\n[doors.cni]\ntenants = [\"a b\"]\n[nat]\nports = \"9-1\"\n",
        )
        .unwrap_err();
        let ConfigError::Invalid { problems, .. } = error else { panic!("{error}") };
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "doors.cni.tenants[0]",
                "doors.docker",
                "nat.ports",
                "node",
                "nodee",
                "server",
                "state_dir",
                "underlay.addresses",
                "underlay.addresses[2]",
                "underlay.vxlan_port",
                "underlay.vxlan_prt",
            ],
            "{problems:#?}"
        );
        let unknown = problems.iter().find(|problem| problem.path == "underlay.vxlan_prt").unwrap();
        assert!(unknown.remedy.contains("vxlan_port"), "{unknown}");
        assert!(problems.iter().all(|problem| !problem.remedy.is_empty() && !problem.reason.is_empty()));
    }

    #[test]
    fn a_token_is_read_whole_or_refused_unseen_and_goes_over_tls_alone() {
        let whole = format!("abcdefg234.{}.{}", "b".repeat(52), "0f".repeat(32));
        let joining = |server: &str, token: &str| {
            Config::parse(&format!("server = \"{server}\"\ntoken = \"{token}\""))
                .map_err(|error| error.to_string())
        };
        let config = joining("https://192.0.2.1:7380", &whole).unwrap();
        assert_eq!(config.token.as_ref().unwrap().reveal(), whole);
        assert!(!format!("{config:?}").contains("bbb"));
        let cut = joining("https://192.0.2.1:7380", &whole[..60]).unwrap_err();
        assert!(cut.contains("token = (hidden)") && !cut.contains("bbb"), "{cut}");
        let plain = joining("http://192.0.2.1:7380", &whole).unwrap_err();
        assert!(plain.contains("https://HOST:PORT"), "{plain}");
        let both =
            Config::parse(&format!("token = \"{whole}\"\ntoken_file = \"/t\"")).unwrap_err().to_string();
        assert!(both.contains("leave out one") && !both.contains("bbb"), "{both}");
    }

    #[test]
    fn text_that_is_no_toml_is_refused_with_its_place() {
        let error = Config::parse("node = ").unwrap_err();
        assert!(matches!(error, ConfigError::Syntax { .. }), "{error:?}");
    }

    #[test]
    fn a_door_may_use_the_default_tenant_alone_unless_told() {
        let config =
            Config::parse("[doors.run]\ntenants = [\"red\", \"blue\"]\nnetworks = [\"red/*\", \"web\"]")
                .unwrap();
        assert!(config.door(Door::Cni).allows_tenant("default"));
        assert!(!config.door(Door::Cni).allows_tenant("red"));
        let run = config.door(Door::Run);
        assert!(run.allows_tenant("blue") && !run.allows_tenant("default"));
        assert!(run.allows_network("red", "anything") && run.allows_network("blue", "web"));
        assert!(!run.allows_network("blue", "anything"));
    }
}
