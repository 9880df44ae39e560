//! Whether the values of an attach request can be meant.

use std::collections::BTreeSet;
use std::net::IpAddr;

use record::Prefix;
use record::door::{Attach, Refusal};

use crate::attachment::{namespace_of, published, tenant_of};
use crate::refusal::invalid;

/// Refuses a request with every problem that its values have. `nat_ports`: the first and the last that are not to be published.
pub(super) fn check(request: &Attach, nat_ports: (u16, u16)) -> Result<(), Refusal> {
    let mut problems = Vec::new();
    names(request, &mut problems);
    labels(request, &mut problems);
    addresses(request, &mut problems);
    ports(request, nat_ports, &mut problems);
    if problems.is_empty() {
        return Ok(());
    }
    let remedies: BTreeSet<&str> = problems.iter().map(|problem| problem.remedy).collect();
    let reasons: Vec<String> = problems.into_iter().map(|problem| problem.reason).collect();
    Err(invalid(reasons.join("; "), remedies.into_iter().collect::<Vec<_>>().join("; ")))
}

struct Problem {
    reason: String,
    remedy: &'static str,
}

fn names(request: &Attach, problems: &mut Vec<Problem>) {
    let mut add = |reason, remedy| problems.push(Problem { reason, remedy });
    for (what, name) in [
        ("tenant", Some(tenant_of(request))),
        ("namespace", Some(namespace_of(request))),
        ("network", request.network.as_deref()),
    ] {
        if let Some(name) = name.filter(|name| !is_subdomain(name)) {
            add(format!("{what} {name:?} is no name"), "names are made of a-z, 0-9, '-' and '.' (RFC 1123)");
        }
    }
    if !is_subdomain(&request.name) {
        let reason = format!("name {:?} is no endpoint's name", request.name);
        add(reason, "names are made of a-z, 0-9, '-' and '.' (RFC 1123)");
    }
    let interface = &request.interface;
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if interface.is_empty()
        || interface.len() > 15
        || interface.contains(odd)
        || [".", "..", "lo"].contains(&interface.as_str())
    {
        let reason = format!("interface {interface:?} is no name of an interface");
        add(reason, "interfaces have names of at most 15 bytes without '/', ':' and blanks");
    }
    if request.container.is_empty() || request.container.len() > 512 {
        add(
            format!("container {:?} is no name of a container", request.container),
            "give the runtime's name for the container, of 1 to 512 bytes",
        );
    }
    if !request.netns.is_absolute() {
        let reason = format!("netns {:?} is not an absolute path", request.netns);
        add(reason, "give the namespace's file, such as /proc/4711/ns/net or /run/netns/NAME");
    }
}

/// The forms of apimachinery's labels: `[PREFIX/]NAME: VALUE`.
fn labels(request: &Attach, problems: &mut Vec<Problem>) {
    for (key, value) in &request.labels {
        let name = match key.split_once('/') {
            Some((prefix, name)) if is_subdomain(prefix) => name,
            Some(_) => "",
            None => key,
        };
        if !is_label_word(name) || !(value.is_empty() || is_label_word(value)) {
            problems.push(Problem {
                reason: format!("{key:?}: {value:?} is no label"),
                remedy: "labels' names and values have at most 63 of A-Z, a-z, 0-9, '-', '_' and '.', alphanumeric at both ends",
            });
        }
    }
}

fn addresses(request: &Attach, problems: &mut Vec<Problem>) {
    let remedy = "ask for one IPv4 and one IPv6 address at most";
    for ipv4 in [true, false] {
        if request.addresses.iter().filter(|address| address.is_ipv4() == ipv4).count() > 1 {
            let family = if ipv4 { "IPv4" } else { "IPv6" };
            let reason = format!("addresses {:?} are more than one of {family}", request.addresses);
            problems.push(Problem { reason, remedy });
        }
    }
    for address in request.addresses.iter().filter(|address| !is_unicast(**address)) {
        problems.push(Problem { reason: format!("address {address} is no endpoint's"), remedy });
    }
    if request.mac.is_some_and(|mac| mac.0 == [0; 6] || mac.0[0] & 1 != 0) {
        let reason =
            format!("mac {} is not the address of one interface", request.mac.unwrap_or(record::Mac([0; 6])));
        problems
            .push(Problem { reason, remedy: "choose a unicast Ethernet address, such as 02:00:00:00:00:01" });
    }
}

fn is_unicast(address: IpAddr) -> bool {
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let zero = Prefix::host(address).address().is_unspecified();
    !(zero || link_local || address.is_multicast() || address.is_loopback())
}

fn ports(request: &Attach, (first, last): (u16, u16), problems: &mut Vec<Problem>) {
    let mut names = BTreeSet::new();
    for port in &request.ports {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=15).contains(&port.name.len())
            && port.name.bytes().all(is_word)
            && port.name.bytes().any(|byte| byte.is_ascii_lowercase());
        if !is_name || port.port == 0 || !names.insert((port.protocol, &port.name)) {
            problems.push(Problem {
                reason: format!("port {}={}/{} is no named port", port.name, port.port, port.protocol),
                remedy: "a port's name has 1 to 15 of a-z, 0-9 and '-' with a letter, is used once a protocol, and stands for 1-65535",
            });
        }
    }
    let mut taken = BTreeSet::new();
    for publish in &request.publish {
        let shown = published(publish);
        if publish.host_port == 0 || publish.port == 0 {
            let reason = format!("publish {shown} has a port 0");
            problems.push(Problem { reason, remedy: "ports are within 1-65535" });
        }
        if (first..=last).contains(&publish.host_port) {
            let reason = format!(
                "publish {shown} is one of the ports {first}-{last}, to which containers' ways to the world are translated"
            );
            let remedy = "publish a port outside of nat.ports of the agent's settings, or change that range";
            problems.push(Problem { reason, remedy });
        }
        if !taken.insert((publish.protocol, publish.host_port, publish.address)) {
            let reason = format!("publish {shown} is asked for twice");
            problems.push(Problem { reason, remedy: "publish a port of the node once" });
        }
    }
}

/// An RFC 1123 subdomain.
fn is_subdomain(name: &str) -> bool {
    let right = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = bytes.first().zip(bytes.last()).is_some_and(|(first, last)| right(*first) && right(*last));
        ends && bytes.len() <= 63 && bytes.iter().all(|byte| right(*byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_label_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && bytes.len() <= 63
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{labels, request};
    use record::door::{Publish, RefusalCode};
    use record::{Mac, NamedPort, Protocol};

    const NAT: (u16, u16) = (16384, 29999);

    #[test]
    fn every_wrong_value_is_told_at_once() {
        let publish = Publish { address: None, host_port: 80, port: 0, protocol: Protocol::Tcp };
        let wrong = Attach {
            tenant: Some("A".into()),
            namespace: Some("".into()),
            name: "a_b".into(),
            network: Some("x/y".into()),
            labels: labels(&[("a b", ""), ("ok/x", "-")]),
            ports: vec![NamedPort { name: "80".into(), protocol: Protocol::Tcp, port: 80 }],
            netns: "relative".into(),
            interface: "sixteen-bytes-xx".into(),
            container: String::new(),
            addresses: ["10.0.0.1", "10.0.0.2", "::"].map(|text| text.parse().unwrap()).into(),
            mac: Some(Mac([0; 6])),
            publish: vec![publish.clone(), Publish { host_port: 20000, ..publish.clone() }, publish],
            ..request("c")
        };
        let refusal = check(&wrong, NAT).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Invalid);
        for part in [
            "tenant \"A\"",
            "namespace \"\"",
            "name \"a_b\"",
            "network \"x/y\"",
            "\"a b\"",
            "\"ok/x\"",
            "80=80/TCP",
            "relative",
            "sixteen",
            "container",
            "IPv4",
            "address ::",
            "mac 00:",
            "port 0",
            "twice",
            "20000/TCP is one of the ports 16384-29999",
        ] {
            assert!(refusal.message.contains(part), "{part} in {}", refusal.message);
        }
    }

    #[test]
    fn what_kubernetes_and_podman_send_is_taken() {
        let right = Attach {
            name: "web-7d4b9c-x2x.v1".into(),
            labels: labels(&[("app.kubernetes.io/name", "Web_1"), ("empty", "")]),
            ports: vec![NamedPort { name: "http-2".into(), protocol: Protocol::Tcp, port: 8080 }],
            addresses: ["10.0.0.1", "fd00::1"].map(|text| text.parse().unwrap()).into(),
            ..request("c")
        };
        assert_eq!(check(&right, NAT), Ok(()));
    }
}
