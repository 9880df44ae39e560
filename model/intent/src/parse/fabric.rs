//! `Tenant`, `Namespace`, `Endpoint`, `Node`.

use std::net::IpAddr;

use record::NamedPort;
use serde_json::Value;

use super::Findings;
use super::cursor::Cursor;
use super::metadata::{labels, name, namespace as namespace_of, object_at};
use crate::object::{
    DEFAULT, Endpoint, NAMESPACE_NAME_LABEL, NETWORK_ANNOTATION, Namespace, Node, SYSTEM_TENANT, Tenant,
};
use crate::problem::Fault;
use crate::schema::Format;

pub(super) fn tenant(document: &Cursor<'_>, findings: &mut Findings) -> Option<Tenant> {
    let name = name(document)?;
    if name == SYSTEM_TENANT {
        let at = document.field("metadata").field("name");
        findings.problem(&at, Fault::Forbidden, "is the provider's own level", "choose another name");
    }
    Some(Tenant { name })
}

/// Every namespace carries its own name as a label; another value is replaced, as upstream does.
pub(super) fn complete_namespace(document: &mut Value) {
    let Some(name) = document.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned) else {
        return;
    };
    let Some(metadata) = document.get_mut("metadata") else { return };
    if let Some(labels) = object_at(metadata, "labels") {
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), Value::from(name));
    }
}

pub(super) fn namespace(document: &Cursor<'_>, findings: &mut Findings) -> Option<Namespace> {
    let annotation = document.field("metadata").field("annotations").field(NETWORK_ANNOTATION);
    if let Some(Err(misfit)) = annotation.text().map(|network| Format::Label.check(network)) {
        findings.problem(&annotation, misfit.fault, misfit.reason, misfit.remedy);
    }
    let network = annotation.text().unwrap_or(DEFAULT).to_owned();
    Some(Namespace { name: name(document)?, labels: labels(document), network })
}

pub(super) fn endpoint(document: &Cursor<'_>, findings: &mut Findings) -> Option<Endpoint> {
    let spec = document.field("spec");
    let addresses = one_of_each_family(&spec.field("addresses"), findings);
    Some(Endpoint {
        name: name(document)?,
        namespace: namespace_of(document)?,
        uid: spec.field("attachment").text()?.to_owned(),
        labels: labels(document),
        network: spec.field("network").text()?.to_owned(),
        node: spec.field("node").text()?.to_owned(),
        addresses,
        mac: spec.field("mac").parsed(),
        ports: named_ports(&spec.field("ports"), findings),
    })
}

pub(super) fn node(document: &Cursor<'_>, findings: &mut Findings) -> Option<Node> {
    let underlay = one_of_each_family(&document.field("spec").field("underlay"), findings);
    Some(Node { name: name(document)?, underlay })
}

fn one_of_each_family(list: &Cursor<'_>, findings: &mut Findings) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for at in list.elements() {
        let Some(address) = at.parsed::<IpAddr>() else { continue };
        if let Some(first) = addresses.iter().find(|known| known.is_ipv4() == address.is_ipv4()) {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let reason = format!("is a second {family} address beside {first}");
            findings.problem(&at, Fault::Duplicate, reason, "keep one of each family");
        } else {
            addresses.push(address);
        }
    }
    addresses
}

fn named_ports(list: &Cursor<'_>, findings: &mut Findings) -> Vec<NamedPort> {
    let mut ports: Vec<NamedPort> = Vec::new();
    for at in list.elements() {
        let (name, protocol, port) = (at.field("name"), at.field("protocol"), at.field("port"));
        let (Some(text), Some(protocol), Some(port)) = (name.text(), protocol.parsed(), port.number()) else {
            continue;
        };
        if let Some(first) = ports.iter().find(|known| known.name == text && known.protocol == protocol) {
            let reason = format!("names {protocol} port {port}, and {} before", first.port);
            findings.problem(&name, Fault::Duplicate, reason, "give each port a name of its own");
            continue;
        }
        ports.push(NamedPort { name: text.to_owned(), protocol, port });
    }
    ports
}
