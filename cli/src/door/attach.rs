//! `sealane attach`, `sealane detach`: a place on a network for a namespace that somebody else has made.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, builder::NonEmptyStringValueParser};
use lab::container::identity;
use record::Mac;
use record::door::{self, Attached, Door, Reply, Request};
use serde_json::json;

use super::workload::Workload;
use super::{agent, ask};
use crate::failure::Failure;
use crate::output;
use crate::settings::{Format, Settings};

/// Give a network namespace of this host a place on a virtual network
///
/// Asked again with the same name and namespace it answers the same and changes nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane attach --name web --netns blue -l app=web        the namespace that `ip netns` calls blue
  sealane attach --name db -n shop --pid 4711 --network backend
  sealane attach --name web --netns /run/netns/x -o json   the address and gateway, for a program")]
pub(crate) struct Attach {
    #[command(flatten)]
    workload: Workload,

    /// The endpoint's name, unique in the namespace
    #[arg(long)]
    name: String,

    /// The network namespace: a file, or a name that `ip netns` knows
    #[arg(long, value_name = "FILE|NAME", required_unless_present = "pid", conflicts_with = "pid", value_parser = NonEmptyStringValueParser::new())]
    netns: Option<String>,

    /// The network namespace of this process
    #[arg(long)]
    pid: Option<u32>,

    /// The interface to make in it
    #[arg(long, default_value = "eth0", value_name = "NAME")]
    interface: String,

    /// The Ethernet address it must have
    #[arg(long, value_name = "MAC")]
    mac: Option<Mac>,
}

/// Take a place on a virtual network away again
///
/// Succeeds when there is none. An agent that is away does it when it is back.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane detach --name web
  sealane detach --name db -n shop")]
pub(crate) struct Detach {
    /// The endpoint's name, as `attach` was given it
    #[arg(long)]
    name: String,

    /// One interface of it [default: all]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
}

impl Attach {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let request = Request::Attach(Box::new(self.request(settings)?));
        match ask(settings, "attach", &self.name, &request)? {
            Reply::Attached(attached) => tell(settings, &attached),
            other => Err(unexpected(&other)),
        }
    }

    fn request(&self, settings: &Settings) -> Result<door::Attach, Failure> {
        let (tenant, namespace) = (settings.tenant.clone(), settings.namespace.clone());
        let container = identity(tenant.as_deref(), namespace.as_deref(), &self.name)?;
        Ok(door::Attach {
            door: Door::Attach,
            tenant,
            namespace,
            name: self.name.clone(),
            network: self.workload.network.clone(),
            labels: self.workload.labels()?,
            ports: self.workload.ports(),
            netns: self.netns()?,
            interface: self.interface.clone(),
            container,
            pod: None,
            addresses: self.workload.addresses.clone(),
            mac: self.mac,
            publish: self.workload.publish(),
        })
    }

    fn netns(&self) -> Result<PathBuf, Failure> {
        let path = match (&self.netns, self.pid) {
            (Some(name), _) if name.contains('/') => PathBuf::from(name),
            (Some(name), _) => Path::new("/run/netns").join(name),
            (None, pid) => PathBuf::from(format!("/proc/{}/ns/net", pid.unwrap_or_default())),
        };
        std::fs::canonicalize(path.parent().unwrap_or(Path::new("/")))
            .and_then(|folder| std::fs::symlink_metadata(&path).map(|_| folder))
            .map(|folder| path.file_name().map(|name| folder.join(name)).unwrap_or_default())
            .map_err(|source| Failure::File { operation: "find the network namespace", path, source })
    }
}

impl Detach {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let container = identity(settings.tenant.as_deref(), settings.namespace.as_deref(), &self.name)?;
        agent(settings).detach(&door::Detach {
            door: Door::Attach,
            container,
            interface: self.interface.clone(),
        })?;
        writeln!(output::screen(), "{} detached", self.name)?;
        Ok(())
    }
}

fn tell(settings: &Settings, attached: &Attached) -> Result<(), Failure> {
    let mut out = output::screen();
    match settings.output {
        Format::Json | Format::Yaml => return output::document(&mut out, settings.output, &json!(attached)),
        Format::Name => writeln!(out, "{}/{}", attached.namespace, attached.name)?,
        Format::Table | Format::Wide => {
            let addresses: Vec<String> = attached
                .addresses
                .iter()
                .map(|one| format!("{}/{} by {}", one.address, one.subnet.length(), one.gateway))
                .collect();
            writeln!(
                out,
                "{}/{} attached to {}: {} on {}, MTU {}",
                attached.namespace,
                attached.name,
                attached.network,
                addresses.join(", "),
                attached.interface,
                attached.mtu
            )?;
            for warning in &attached.warnings {
                writeln!(out, "  {warning}")?;
            }
            if !attached.judged {
                writeln!(
                    out,
                    "  its group is not known yet: it is denied by name until the server has answered"
                )?;
            }
        }
    }
    Ok(())
}

/// An answer that is none to the question.
pub(crate) fn unexpected(reply: &Reply) -> Failure {
    let text = serde_json::to_string(reply).unwrap_or_default();
    let source = serde::de::Error::custom(format!("the agent answered {text}"));
    Failure::Answer { question: "the agent's door", source }
}
