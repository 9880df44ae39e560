//! What the runtime is told of an attachment (CNI specification, section "Result types").

use std::net::IpAddr;

use record::door::{Assigned, Attached};
use serde_json::{Map, Value, json};

use crate::version::Version;

/// The result of `ADD` in the config's version.
pub(crate) fn result(version: Version, attached: &Attached, dns: Option<&Value>) -> Value {
    let mut inner = Map::new();
    inner.insert("name".into(), json!(attached.interface));
    inner.insert("mac".into(), json!(attached.mac));
    inner.insert("sandbox".into(), json!(attached.netns));
    if version >= Version::V1_1_0 {
        inner.insert("mtu".into(), json!(attached.mtu));
    }
    let ips: Vec<Value> = attached.addresses.iter().map(|assigned| ip(version, assigned)).collect();
    let routes: Vec<Value> = attached.addresses.iter().map(route).collect();
    json!({
        "cniVersion": version.text(),
        "interfaces": [{ "name": attached.host_interface }, inner],
        "ips": ips,
        "routes": routes,
        "dns": dns.cloned().unwrap_or_else(|| json!({})),
    })
}

fn ip(version: Version, assigned: &Assigned) -> Value {
    let mut ip = Map::new();
    if version < Version::V1_0_0 {
        ip.insert("version".into(), json!(if assigned.address.is_ipv4() { "4" } else { "6" }));
    }
    ip.insert("address".into(), json!(cidr(assigned)));
    ip.insert("gateway".into(), json!(assigned.gateway));
    ip.insert("interface".into(), json!(INNER));
    ip.into()
}

fn route(assigned: &Assigned) -> Value {
    let everything = if assigned.address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    json!({ "dst": everything, "gw": assigned.gateway })
}

/// How the runtime's memory of `ADD` and what the agent has differ; empty: not at all.
pub(crate) fn differences(previous: &Value, attached: &Attached) -> Vec<String> {
    let mut differences = Vec::new();
    let interfaces = previous["interfaces"].as_array().cloned().unwrap_or_default();
    let inner = interfaces.iter().find(|interface| {
        interface["name"] == json!(attached.interface)
            && interface["sandbox"].as_str().is_some_and(|path| !path.is_empty())
    });
    match inner {
        None => differences.push(format!("prevResult has no interface {}", attached.interface)),
        Some(inner) => {
            let mac = inner["mac"].as_str().unwrap_or_default();
            if !mac.eq_ignore_ascii_case(&attached.mac.to_string()) {
                differences.push(format!("prevResult has mac {mac:?}, the interface {}", attached.mac));
            }
        }
    }
    let bare =
        |value: &Value| -> Option<IpAddr> { value["address"].as_str()?.split('/').next()?.parse().ok() };
    let known: Vec<IpAddr> = previous["ips"].as_array().into_iter().flatten().filter_map(bare).collect();
    for assigned in attached.addresses.iter().filter(|assigned| !known.contains(&assigned.address)) {
        differences.push(format!("prevResult lacks the address {}", cidr(assigned)));
    }
    for address in
        known.iter().filter(|address| !attached.addresses.iter().any(|own| own.address == **address))
    {
        differences.push(format!("prevResult has the address {address}, which the interface has not"));
    }
    differences
}

fn cidr(assigned: &Assigned) -> String {
    format!("{}/{}", assigned.address, assigned.subnet.length())
}

/// The place of the container's interface in the list of interfaces.
const INNER: u32 = 1;
