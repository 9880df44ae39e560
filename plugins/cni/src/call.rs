//! One call of the plugin: verb in, one request to the agent, answer out.

use std::time::Duration;

use record::door::{Attach, Attached, Collect, Detach, Door, RefusalCode, Reply, Request};
use serde_json::{Value, json};

use crate::agent::{ask, leave_word};
use crate::config::{Config, address, mac};
use crate::environment::Environment;
use crate::fault::{Code, Fault};
use crate::outcome;
use crate::version::{SUPPORTED, Version};

/// Carries out one call. `None`: success without anything to say. The version is that in which an error is told too.
pub fn run(environment: &Environment, stdin: &[u8]) -> (Version, Result<Option<Value>, Fault>) {
    if environment.command == "VERSION" {
        return version(stdin);
    }
    let told_in = Config::version_of(stdin).unwrap_or(Version::NEWEST);
    (told_in, carry_out(environment, stdin))
}

fn carry_out(environment: &Environment, stdin: &[u8]) -> Result<Option<Value>, Fault> {
    let verb = environment.command.as_str();
    if verb.is_empty() {
        return Err(Fault::new(
            Code::InvalidEnvironment,
            "CNI_COMMAND is not set",
            "a container runtime sets it",
        ));
    }
    let Some((_, since)) = VERBS.iter().find(|(known, _)| *known == verb) else {
        let known: Vec<&str> = VERBS.iter().map(|(verb, _)| *verb).collect();
        let msg = format!("CNI_COMMAND {verb:?} is unknown");
        return Err(Fault::new(
            Code::InvalidEnvironment,
            msg,
            format!("known are VERSION, {}", known.join(", ")),
        ));
    };
    let config = Config::parse(stdin)?;
    if config.version < *since {
        let msg = format!("{verb} does not exist in cniVersion {}", config.version.text());
        return Err(Fault::new(Code::IncompatibleVersion, msg, format!("it came with {}", since.text())));
    }
    match verb {
        "ADD" => add(environment, &config).map(Some),
        "DEL" => delete(environment, &config).map(|()| None),
        "CHECK" => check(environment, &config).map(|()| None),
        "GC" => collect(&config).map(|()| None),
        _ => status(&config).map(|()| None),
    }
}

fn version(stdin: &[u8]) -> (Version, Result<Option<Value>, Fault>) {
    // Runtimes send their own version; one that is not spoken is no error here: the answer says which are.
    let spoken = Config::version_of(stdin).unwrap_or(Version::NEWEST);
    (spoken, Ok(Some(json!({ "cniVersion": spoken.text(), "supportedVersions": SUPPORTED }))))
}

fn add(environment: &Environment, config: &Config) -> Result<Value, Fault> {
    environment.check(true)?;
    if config.fields.prev_result.is_some() {
        return Err(Fault::new(
            Code::InvalidConfig,
            "prevResult is set: another plugin has made an interface already",
            "put sealane-cni first in the list of plugins",
        ));
    }
    if !std::path::Path::new(&environment.netns).exists() {
        let msg = format!("CNI_NETNS {} does not exist", environment.netns);
        return Err(Fault::new(Code::UnknownContainer, msg, "nothing was made, nothing need be deleted"));
    }
    let request = Request::Attach(attach(environment, config)?.into());
    match ask(&config.agent_socket(), &request, ADD_PATIENCE)? {
        Reply::Attached(attached) => {
            Ok(outcome::result(config.version, &attached, config.fields.dns.as_ref()))
        }
        Reply::Refused(refusal) => Err(refusal.into()),
        other => Err(unexpected(&other)),
    }
}

fn attach(environment: &Environment, config: &Config) -> Result<Attach, Fault> {
    let arguments = environment.arguments()?;
    let of_pod =
        |key: &str| arguments.get(key).filter(|value| !value.is_empty()).map(|value| (*value).to_owned());
    let mut addresses = config.addresses.clone();
    if addresses.is_empty() {
        let given = arguments.get("IP").into_iter().flat_map(|list| list.split(','));
        addresses = given.filter(|text| !text.is_empty()).map(address).collect::<Result<_, _>>()?;
    }
    let given_mac = of_pod("MAC").map(|text| mac(&text)).transpose()?;
    let name = of_pod("K8S_POD_NAME").unwrap_or_else(|| environment.container.clone());
    Ok(Attach {
        door: Door::Cni,
        tenant: config.fields.tenant.clone(),
        namespace: config.fields.namespace.clone().or_else(|| of_pod("K8S_POD_NAMESPACE")),
        name: endpoint_name(&name, &environment.interface),
        network: config.fields.network.clone(),
        labels: config.labels.clone(),
        ports: config.fields.ports.clone(),
        netns: environment.netns.clone().into(),
        interface: environment.interface.clone(),
        container: container(environment, config),
        pod: of_pod("K8S_POD_UID"),
        addresses,
        mac: config.mac.or(given_mac),
        publish: config.publish.clone(),
    })
}

fn delete(environment: &Environment, config: &Config) -> Result<(), Fault> {
    environment.check(false)?;
    let detach = detach(environment, config);
    match ask(&config.agent_socket(), &Request::Detach(detach.clone()), DEL_PATIENCE) {
        Ok(Reply::Done) => Ok(()),
        // The agent has taken note, and goes on trying.
        Ok(Reply::Refused(refusal)) if refusal.code == RefusalCode::Kernel => Ok(()),
        Ok(Reply::Refused(refusal)) => Err(refusal.into()),
        Ok(other) => Err(unexpected(&other)),
        Err(_) => leave_word(&config.state_dir(), &detach),
    }
}

fn check(environment: &Environment, config: &Config) -> Result<(), Fault> {
    environment.check(true)?;
    let Some(previous) = &config.fields.prev_result else {
        return Err(Fault::new(
            Code::InvalidConfig,
            "prevResult is needed for CHECK, and not set",
            "the runtime keeps it",
        ));
    };
    let socket = config.agent_socket();
    let wanted = detach(environment, config);
    let attached = match ask(&socket, &Request::List, CHECK_PATIENCE)? {
        Reply::Attachments { attachments } => {
            attachments.into_iter().find(|attached| is_meant(attached, &wanted))
        }
        Reply::Refused(refusal) => return Err(refusal.into()),
        other => return Err(unexpected(&other)),
    };
    let Some(attached) = attached else {
        let msg = format!(
            "container {} has no interface {} of this network",
            environment.container, environment.interface
        );
        return Err(Fault::new(Code::UnknownContainer, msg, "add it first"));
    };
    let differences = outcome::differences(previous, &attached);
    if !differences.is_empty() {
        return Err(Fault::new(
            Code::Drifted,
            differences.join("; "),
            "delete the container and add it again",
        ));
    }
    match ask(&socket, &Request::Check(wanted), CHECK_PATIENCE)? {
        Reply::Done => Ok(()),
        Reply::Refused(refusal) if refusal.code == RefusalCode::NotFound => {
            Err(Fault::new(Code::UnknownContainer, refusal.message, refusal.remedy))
        }
        Reply::Refused(refusal) => Err(refusal.into()),
        other => Err(unexpected(&other)),
    }
}

fn collect(config: &Config) -> Result<(), Fault> {
    let Some(valid) = &config.fields.valid_attachments else {
        let msg = "cni.dev/valid-attachments is needed for GC, and not set";
        return Err(Fault::new(Code::InvalidConfig, msg, "the runtime lists what it still wants there"));
    };
    let keep =
        valid.iter().map(|valid| (scoped(config, &valid.container), valid.interface.clone())).collect();
    let request =
        Request::Collect(Collect { door: Door::Cni, within: Some(config.network_name.clone()), keep });
    match ask(&config.agent_socket(), &request, ADD_PATIENCE)? {
        Reply::Done => Ok(()),
        Reply::Refused(refusal) => Err(refusal.into()),
        other => Err(unexpected(&other)),
    }
}

fn status(config: &Config) -> Result<(), Fault> {
    let not_available = |fault: Fault| Fault { code: Code::NotAvailable, ..fault };
    match ask(&config.agent_socket(), &Request::Status, CHECK_PATIENCE).map_err(not_available)? {
        Reply::Done => Ok(()),
        Reply::Refused(refusal) if refusal.code == RefusalCode::Kernel => {
            Err(Fault { code: Code::LimitedConnectivity, ..Fault::from(refusal) })
        }
        Reply::Refused(refusal) => Err(not_available(refusal.into())),
        other => Err(not_available(unexpected(&other))),
    }
}

fn detach(environment: &Environment, config: &Config) -> Detach {
    let interface = Some(environment.interface.clone());
    Detach { door: Door::Cni, container: container(environment, config), interface }
}

fn is_meant(attached: &Attached, wanted: &Detach) -> bool {
    attached.container == wanted.container && Some(&attached.interface) == wanted.interface.as_ref()
}

fn container(environment: &Environment, config: &Config) -> String {
    scoped(config, &environment.container)
}

/// Containers are told apart within a network config, so that `GC` of one touches no other's.
fn scoped(config: &Config, container: &str) -> String {
    format!("{}/{container}", config.network_name)
}

/// A name that the model allows (RFC 1123): runtimes are freer in theirs. A second interface has the interface's name too.
fn endpoint_name(name: &str, interface: &str) -> String {
    let full = if interface == FIRST_INTERFACE { name.to_owned() } else { format!("{name}.{interface}") };
    let labels = full.split('.').filter_map(|label| {
        let fit: String = label
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(63)
            .collect();
        let fit = fit.trim_matches('-').to_owned();
        (!fit.is_empty()).then_some(fit)
    });
    labels.collect::<Vec<_>>().join(".")
}

fn unexpected(reply: &Reply) -> Fault {
    let msg = format!("the agent answered something else than was asked: {reply:?}");
    Fault::new(Code::Decode, msg, "use the sealane-cni that came with this agent")
}

/// The verbs beside `VERSION`, and when they came.
const VERBS: [(&str, Version); 5] = [
    ("ADD", Version::V0_3_0),
    ("DEL", Version::V0_3_0),
    ("CHECK", Version::V0_4_0),
    ("GC", Version::V1_1_0),
    ("STATUS", Version::V1_1_0),
];
const FIRST_INTERFACE: &str = "eth0";
/// The agent may wait for the server several times.
const ADD_PATIENCE: Duration = Duration::from_secs(60);
const CHECK_PATIENCE: Duration = Duration::from_secs(5);
/// With what leaving word takes, a `DEL` ends within a second.
const DEL_PATIENCE: Duration = Duration::from_millis(800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_names_become_names_of_the_model() {
        for (name, interface, expected) in [
            ("web-1", "eth0", "web-1"),
            ("peaceful_Euclid", "eth0", "peaceful-euclid"),
            ("web", "net_1", "web.net-1"),
            ("_x_", "eth0", "x"),
            ("a..b", "eth0", "a.b"),
        ] {
            assert_eq!(endpoint_name(name, interface), expected);
        }
        assert_eq!(endpoint_name(&"f".repeat(64), "eth0"), "f".repeat(63));
    }
}
