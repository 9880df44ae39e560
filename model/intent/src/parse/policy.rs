//! networking.k8s.io/v1 `NetworkPolicy`: what upstream's validation asks of it beyond its schema.

use std::collections::BTreeSet;

use record::selector::{LabelSelector, Namespaces, Selector};
use record::{Prefix, Protocol};
use serde_json::{Value, json};

use super::Findings;
use super::cursor::Cursor;
use super::metadata::{name, namespace};
use super::selector::selector;
use crate::policy::{NetworkPolicy, Peers, PortMatch, Ports, Rule};
use crate::problem::Fault;
use crate::schema::range;

/// `policyTypes` left out: `Ingress`, and `Egress` if there are egress rules.
pub(super) fn complete(document: &mut Value) {
    let Some(spec) = document.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let listed = |value: Option<&Value>| value.and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if spec.get("policyTypes").is_some_and(|types| !types.is_array()) || listed(spec.get("policyTypes")) {
        return;
    }
    let types = if listed(spec.get("egress")) { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    spec.insert("policyTypes".to_owned(), types);
}

pub(super) fn policy(document: &Cursor<'_>, findings: &mut Findings) -> Option<NetworkPolicy> {
    let spec = document.field("spec");
    let namespace = namespace(document);
    let types = spec.field("policyTypes").elements();
    let isolates = |direction: &str| types.iter().any(|listed| listed.text() == Some(direction));
    let mut side = |direction: &str, list: &str, peers: &str| {
        let at = spec.field(list);
        let rules = at.elements().iter().map(|at| rule(at, peers, namespace.as_deref(), findings)).collect();
        if isolates(direction) {
            return Some(rules);
        }
        if !at.elements().is_empty() {
            let reason = format!("has no effect: {direction} is not among policyTypes");
            findings.warning(
                &at,
                reason,
                format!("add {direction} to spec.policyTypes, or leave these rules out"),
            );
        }
        None
    };
    let ingress = side("Ingress", "ingress", "from");
    let egress = side("Egress", "egress", "to");
    let subject = selector(&spec.field("podSelector"), findings);
    Some(NetworkPolicy { name: name(document)?, namespace: namespace?, subject, ingress, egress })
}

fn rule(at: &Cursor<'_>, peers: &str, namespace: Option<&str>, findings: &mut Findings) -> Rule {
    let peers = at.field(peers).elements();
    let peers = match peers.as_slice() {
        [] => Peers::Anyone,
        listed => Peers::These(listed.iter().filter_map(|at| peer(at, namespace, findings)).collect()),
    };
    let ports = at.field("ports").elements();
    let ports = match ports.as_slice() {
        [] => Ports::All,
        listed => Ports::These(listed.iter().filter_map(|at| port(at, findings)).collect()),
    };
    Rule { peers, ports }
}

fn peer(at: &Cursor<'_>, namespace: Option<&str>, findings: &mut Findings) -> Option<Selector> {
    let (pods, namespaces, block) =
        (at.field("podSelector"), at.field("namespaceSelector"), at.field("ipBlock"));
    if block.is_there() {
        let addresses = addresses(&block, findings);
        if pods.is_there() || namespaces.is_there() {
            let selectors = if pods.is_there() { "podSelector" } else { "namespaceSelector" };
            let reason = format!("stands beside {selectors}; a peer is addresses or endpoints");
            findings.problem(
                &block,
                Fault::Forbidden,
                reason,
                "make two peers of it, each with its own \"- \"",
            );
        }
        return addresses;
    }
    if !pods.is_there() && !namespaces.is_there() {
        let remedy = "give a podSelector, a namespaceSelector or an ipBlock; podSelector: {} means every endpoint here";
        findings.missing(at, "selects nothing", remedy);
        return None;
    }
    let endpoints = if pods.is_there() { selector(&pods, findings) } else { LabelSelector::default() };
    let namespaces = if namespaces.is_there() {
        Namespaces::Matching(selector(&namespaces, findings))
    } else {
        Namespaces::Named(namespace?.to_owned())
    };
    Some(Selector::Endpoints { namespaces, endpoints })
}

fn addresses(at: &Cursor<'_>, findings: &mut Findings) -> Option<Selector> {
    let whole = prefix(&at.field("cidr"), findings);
    let mut except = BTreeSet::new();
    for hole_at in at.field("except").elements() {
        let Some(hole) = prefix(&hole_at, findings) else { continue };
        if let Some(whole) = whole
            && (!whole.covers(hole) || hole == whole)
        {
            let (reason, remedy) = if hole == whole {
                (format!("takes away all of cidr {whole}"), "give a smaller range, or leave the peer out")
            } else {
                (format!("is not inside cidr {whole}"), "give a range inside it")
            };
            findings.problem(&hole_at, Fault::Invalid, reason, remedy);
        }
        except.insert(hole);
    }
    Some(Selector::Addresses { prefix: whole?, except })
}

/// A range as upstream reads it: host bits are cleared. That is hardly ever meant, so a warning says it.
fn prefix(at: &Cursor<'_>, findings: &mut Findings) -> Option<Prefix> {
    let text = at.text()?;
    let prefix = range(text).ok()?;
    if text.parse::<Prefix>().is_err() {
        let reason = format!("has bits set behind its length and means {prefix}");
        findings.warning(at, reason, format!("write {prefix}"));
    }
    Some(prefix)
}

fn port(at: &Cursor<'_>, findings: &mut Findings) -> Option<PortMatch> {
    let protocol: Protocol = at.field("protocol").parsed()?;
    let (port, end) = (at.field("port"), at.field("endPort"));
    if !port.is_there() {
        if end.is_there() {
            findings.problem(
                &end,
                Fault::Forbidden,
                "is given without port",
                "add port, where the range begins",
            );
        }
        return Some(PortMatch::Protocol(protocol));
    }
    if let Some(name) = port.text() {
        if end.is_there() {
            let reason = format!("is given, but port is the name {name:?}; a range needs numbers");
            findings.problem(&end, Fault::Forbidden, reason, "give port as a number, or leave endPort out");
        }
        return Some(PortMatch::Named { protocol, name: name.to_owned() });
    }
    let first: u16 = port.number()?;
    let last: u16 = if end.is_there() { end.number()? } else { first };
    if last < first {
        let reason = format!("is before port {first}");
        findings.problem(&end, Fault::Invalid, reason, format!("give {first} or more"));
    }
    Some(PortMatch::Range { protocol, first, last })
}
