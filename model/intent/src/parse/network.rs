//! `sealane.dev/v1alpha1` `VirtualNetwork`: subnets that do not conflict, gateways that can be one.

use std::net::IpAddr;

use record::record::Subnet;
use record::{Prefix, Vni};
use serde_json::Value;

use super::Findings;
use super::cursor::Cursor;
use super::metadata::name;
use crate::object::VirtualNetwork;
use crate::problem::Fault;

/// A gateway that is not written is the address after the range's first.
pub(super) fn complete(document: &mut Value) {
    let Some(subnets) = document.pointer_mut("/spec/subnets").and_then(Value::as_array_mut) else { return };
    for subnet in subnets.iter_mut().filter_map(Value::as_object_mut) {
        if subnet.contains_key("gateway") {
            continue;
        }
        let prefix = subnet.get("cidr").and_then(Value::as_str).and_then(|text| text.parse::<Prefix>().ok());
        if let Some(gateway) = prefix.and_then(|prefix| prefix.nth(1)) {
            subnet.insert("gateway".to_owned(), Value::from(gateway.to_string()));
        }
    }
}

pub(super) fn network(document: &Cursor<'_>, findings: &mut Findings) -> Option<VirtualNetwork> {
    let spec = document.field("spec");
    let subnets = subnets(&spec.field("subnets"), findings);
    let mtu_at = spec.field("mtu");
    let mtu: Option<u16> = mtu_at.number();
    if let Some(v6) = subnets.iter().find(|subnet| !subnet.prefix.is_ipv4())
        && mtu.is_some_and(|mtu| (576..IPV6_MTU).contains(&mtu))
    {
        let reason = format!("is less than IPv6 needs (RFC 8200), and subnet {} is IPv6", v6.prefix);
        findings.problem(&mtu_at, Fault::Invalid, reason, format!("give {IPV6_MTU} or more"));
    }
    let allows = |field: &str| spec.field(field).text().map(|verdict| verdict == "Allow");
    Some(VirtualNetwork {
        name: name(document)?,
        subnets,
        vni: spec.field("vni").number().and_then(Vni::new),
        default_allow: allows("defaultVerdict")?,
        world: allows("world")?,
        mtu,
    })
}

fn subnets(list: &Cursor<'_>, findings: &mut Findings) -> Vec<Subnet> {
    let mut ranges: Vec<(usize, Prefix)> = Vec::new();
    let mut subnets = Vec::new();
    for (index, at) in list.elements().iter().enumerate() {
        let (cidr, gateway) = (at.field("cidr"), at.field("gateway"));
        let Some(prefix) = cidr.parsed::<Prefix>() else { continue };
        let usable = check_range(prefix, &cidr, findings);
        if let Some((other, conflict)) = ranges.iter().find(|(_, known)| known.overlaps(prefix)) {
            let reason = format!("overlaps {conflict} of {}[{other}].cidr", list.path());
            findings.problem(&cidr, Fault::Duplicate, reason, "keep the larger of the two, or move one");
        }
        ranges.push((index, prefix));
        if let Some(address) = gateway.parsed::<IpAddr>() {
            if usable {
                check_gateway(prefix, address, &gateway, findings);
            }
            subnets.push(Subnet { prefix, gateway: address });
        }
    }
    subnets
}

/// Whether the range has a usable size; what is wrong with it is reported.
fn check_range(prefix: Prefix, at: &Cursor<'_>, findings: &mut Findings) -> bool {
    let (shortest, longest) = if prefix.is_ipv4() { V4_LENGTHS } else { V6_LENGTHS };
    let length = prefix.length();
    if length < shortest {
        let reason = format!("is too large: /{length} is shorter than /{shortest}");
        findings.problem(at, Fault::Invalid, reason, format!("give a length from {shortest} to {longest}"));
    } else if length > longest {
        let reason = format!("is too small: /{length} leaves no address for an endpoint beside the gateway");
        findings.problem(at, Fault::Invalid, reason, format!("give a length from {shortest} to {longest}"));
    }
    for (reserved, what) in RESERVED {
        let reserved: Prefix = reserved.parse().expect("the table holds prefixes");
        if reserved.overlaps(prefix) && length >= shortest {
            let reason = format!("holds addresses of {reserved}, {what}");
            let remedy = "take a range that endpoints can have, such as 10.1.0.0/16 or fd00:1::/64";
            findings.problem(at, Fault::Invalid, reason, remedy);
        }
    }
    (shortest..=longest).contains(&length)
}

fn check_gateway(prefix: Prefix, gateway: IpAddr, at: &Cursor<'_>, findings: &mut Findings) {
    let example = prefix.nth(1).map(|first| format!("give one inside, such as {first}, or leave it out"));
    let remedy = example.unwrap_or_default();
    if !prefix.contains(gateway) {
        findings.problem(at, Fault::Invalid, format!("is not inside {prefix}"), remedy);
    } else if gateway == prefix.address() {
        let what =
            if prefix.is_ipv4() { "the network's own address" } else { "the subnet-router anycast address" };
        findings.problem(at, Fault::Invalid, format!("is {what} of {prefix}"), remedy);
    } else if prefix.is_ipv4() && prefix.nth(prefix.size() - 1) == Some(gateway) {
        findings.problem(at, Fault::Invalid, format!("is the broadcast address of {prefix}"), remedy);
    }
}

/// The shortest and the longest prefix: a gateway and an endpoint fit beside the network's own and broadcast addresses.
const V4_LENGTHS: (u8, u8) = (8, 30);
const V6_LENGTHS: (u8, u8) = (32, 126);

/// The smallest MTU that IPv6 allows (RFC 8200 section 5).
const IPV6_MTU: u16 = 1280;

/// Ranges that no endpoint can have addresses of (RFC 6890).
const RESERVED: [(&str, &str); 9] = [
    ("0.0.0.0/8", "which means this network"),
    ("127.0.0.0/8", "which is loopback"),
    ("169.254.0.0/16", "which is link-local"),
    ("224.0.0.0/4", "which is multicast"),
    ("240.0.0.0/4", "which is reserved"),
    ("::/32", "which is loopback and embedded IPv4"),
    ("64:ff9b::/96", "which is translated IPv4"),
    ("fe80::/10", "which is link-local"),
    ("ff00::/8", "which is multicast"),
];
