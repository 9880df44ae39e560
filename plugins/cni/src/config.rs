//! The network config on stdin, as far as this plugin reads it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use record::door::Publish;
use record::{Labels, Mac, NamedPort, Protocol};
use serde::Deserialize;
use serde_json::Value;

use crate::environment::is_identifier;
use crate::fault::{Code, Fault};
use crate::version::Version;
use crate::{AGENT_SOCKET, STATE_DIR};

/// A network config. Fields that belong to the runtime or to other plugins are passed over.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) version: Version,
    pub(crate) network_name: String,
    pub(crate) fields: Fields,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) mac: Option<Mac>,
    pub(crate) publish: Vec<Publish>,
    pub(crate) labels: Labels,
}

/// The fields as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Fields {
    name: String,
    pub(crate) tenant: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) network: Option<String>,
    labels: Labels,
    pub(crate) ports: Vec<NamedPort>,
    agent_socket: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    runtime_config: RuntimeConfig,
    args: Args,
    pub(crate) dns: Option<Value>,
    pub(crate) prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub(crate) valid_attachments: Option<Vec<ValidAttachment>>,
    ipam: Option<BTreeMap<String, Value>>,
}

/// What the runtime fills in for the capabilities that the config declares (CNI conventions).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuntimeConfig {
    port_mappings: Vec<PortMapping>,
    ips: Vec<String>,
    mac: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortMapping {
    host_port: u16,
    container_port: u16,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default, rename = "hostIP")]
    host_ip: Option<String>,
}

/// What an operator adds for one container (CNI conventions, `args.cni`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: CniArgs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CniArgs {
    ips: Vec<String>,
    mac: Option<String>,
    labels: Vec<Label>,
}

#[derive(Clone, Debug, Deserialize)]
struct Label {
    key: String,
    value: String,
}

/// One entry of `cni.dev/valid-attachments`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub(crate) container: String,
    #[serde(rename = "ifname")]
    pub(crate) interface: String,
}

impl Config {
    /// Reads a config. Errors: [`Code::Decode`], [`Code::IncompatibleVersion`], [`Code::InvalidConfig`],
    /// [`Code::UnsupportedField`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let version = Self::version_of(bytes)?;
        let fields: Fields = serde_json::from_slice(bytes).map_err(|error| decode(&error))?;
        if !is_identifier(&fields.name) {
            return Err(invalid(
                format!("name {:?} is no network's name", fields.name),
                "letters and digits, and behind the first '_', '.' and '-'",
            ));
        }
        if fields.ipam.as_ref().is_some_and(|ipam| !ipam.is_empty()) {
            return Err(Fault::new(
                Code::UnsupportedField,
                "ipam is set, and not supported",
                "addresses are the virtual network's; take ipam out of the config",
            ));
        }
        let runtime = &fields.runtime_config;
        let cni = &fields.args.cni;
        let addresses = if runtime.ips.is_empty() { &cni.ips } else { &runtime.ips };
        let addresses = addresses.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
        let mac = runtime.mac.as_ref().or(cni.mac.as_ref()).map(|text| mac(text)).transpose()?;
        let open = runtime.port_mappings.iter().filter(|mapping| mapping.host_port != 0);
        let publish = open.map(PortMapping::publish).collect::<Result<_, _>>()?;
        let mut labels = fields.labels.clone();
        labels.extend(cni.labels.iter().map(|label| (label.key.clone(), label.value.clone())));
        Ok(Self { version, network_name: fields.name.clone(), addresses, mac, publish, labels, fields })
    }

    /// The version alone: it is needed to say what is wrong with the rest.
    pub(crate) fn version_of(bytes: &[u8]) -> Result<Version, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versioned {
            cni_version: Option<String>,
        }
        let versioned: Versioned = serde_json::from_slice(bytes).map_err(|error| decode(&error))?;
        // A config without a version is of 0.1.0 (specification, "Version considerations").
        Ok(Version::parse(versioned.cni_version.as_deref().unwrap_or("0.1.0"))?)
    }

    /// The agent's socket.
    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.fields.agent_socket.clone().unwrap_or_else(|| PathBuf::from(AGENT_SOCKET))
    }

    /// The agent's state folder.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.fields.state_dir.clone().unwrap_or_else(|| PathBuf::from(STATE_DIR))
    }
}

impl PortMapping {
    fn publish(&self) -> Result<Publish, Fault> {
        let protocol: Protocol = match self.protocol.as_deref() {
            None | Some("") => Protocol::Tcp,
            Some(text) => text.parse().map_err(|error: String| {
                invalid(format!("runtimeConfig.portMappings: {error}"), "write tcp, udp or sctp")
            })?,
        };
        let every = ["", "0.0.0.0", "::"];
        let address = match self.host_ip.as_deref().filter(|text| !every.contains(text)) {
            None => None,
            Some(text) => Some(address(text)?),
        };
        Ok(Publish { address, host_port: self.host_port, port: self.container_port, protocol })
    }
}

/// An address, with or without a prefix length.
pub(crate) fn address(text: &str) -> Result<IpAddr, Fault> {
    let bare = text.split_once('/').map_or(text, |(address, _)| address);
    bare.parse()
        .map_err(|_| invalid(format!("{text:?} is no IP address"), "write it as 10.1.2.3 or 10.1.2.3/24"))
}

pub(crate) fn mac(text: &str) -> Result<Mac, Fault> {
    text.parse().map_err(|error: String| invalid(error, "write six octets such as 02:00:00:00:00:01"))
}

fn invalid(msg: impl Into<String>, details: &str) -> Fault {
    Fault::new(Code::InvalidConfig, msg, details)
}

fn decode(error: &serde_json::Error) -> Fault {
    Fault::new(Code::Decode, "the network config cannot be decoded", error.to_string())
}
