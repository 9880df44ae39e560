//! What stands behind the question mark, parsed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use compile::Party;
use intent::nearest::nearest;
use record::Protocol;

/// The parameters of a request, by name.
pub(super) type Query = BTreeMap<String, String>;

/// What a person asks `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) from: Party,
    pub(super) to: Party,
    pub(super) protocol: u8,
    pub(super) port: u16,
    pub(super) network: Option<String>,
    pub(super) intent: bool,
}

/// Refuses parameters that the path does not have, with the nearest that it has.
pub(super) fn known(query: &Query, names: &[&str]) -> Result<(), String> {
    let Some(name) = query.keys().find(|name| !names.contains(&name.as_str())) else { return Ok(()) };
    let meant = nearest(name, names.iter().copied()).map(|near| format!("; did you mean {near:?}?"));
    let list = if names.is_empty() { "none".to_owned() } else { format!("only {}", names.join(", ")) };
    Err(format!("there is no parameter {name:?} here, {list}{}", meant.unwrap_or_default()))
}

/// One parameter, parsed; `None`: it is not given.
pub(super) fn parsed<T: std::str::FromStr>(
    query: &Query,
    name: &str,
    form: &str,
) -> Result<Option<T>, String> {
    let given = query.get(name).filter(|text| !text.is_empty());
    given
        .map(|text| text.parse().map_err(|_| format!("the parameter {name}={text:?} is not {form}")))
        .transpose()
}

impl Asked {
    /// The question that the parameters make.
    pub(super) fn parse(query: &Query) -> Result<Self, String> {
        known(query, &["from", "to", "network", "protocol", "intent"])?;
        let needed = |name: &str| {
            let given = query.get(name).filter(|text| !text.is_empty());
            given.ok_or_else(|| format!("say {name}=NAMESPACE/NAME, an address, or world"))
        };
        let (from, port, protocol) = target(needed("from")?)?;
        if port.is_some() || protocol.is_some() {
            return Err("from takes no port: say to=NAMESPACE/NAME:PORT".to_owned());
        }
        let (to, port, written) = target(needed("to")?)?;
        let given = query.get("protocol").map(|text| number_of(text)).transpose()?;
        let protocol = written.or(given).unwrap_or(if port.is_some() { TCP } else { ICMP });
        if written.is_some() && given.is_some() && written != given {
            return Err("to and protocol name two different protocols; say it once".to_owned());
        }
        if port.is_none() && Protocol::ALL.iter().any(|known| known.number() == protocol) {
            return Err("the protocol has ports: say to=NAMESPACE/NAME:PORT/PROTOCOL".to_owned());
        }
        let intent = parsed(query, "intent", "true or false")?.unwrap_or(false);
        let network = query.get("network").filter(|name| !name.is_empty()).cloned();
        Ok(Self { from, to, protocol, port: port.unwrap_or(0), network, intent })
    }
}

/// `PARTY[:PORT[/PROTOCOL]]`; a party is `NAMESPACE/NAME`, an address (IPv6 in brackets before a port), `world` or `host`.
fn target(text: &str) -> Result<(Party, Option<u16>, Option<u8>), String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((Party::Address(address), None, None));
    }
    let (party, rest) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(party, rest)| (party, Some(rest))),
    };
    let Some(rest) = rest else { return Ok((party_of(party)?, None, None)) };
    let (port, protocol) = rest.split_once('/').map_or((rest, None), |(port, name)| (port, Some(name)));
    let port: u16 = port
        .parse()
        .map_err(|_| format!("{port:?} in {text:?} is no port: give a number from 1 to 65535"))?;
    Ok((party_of(party)?, Some(port), protocol.map(number_of).transpose()?))
}

fn party_of(text: &str) -> Result<Party, String> {
    if let Ok(address) = text.parse() {
        return Ok(Party::Address(address));
    }
    match (text, text.split_once('/')) {
        ("world", _) => Ok(Party::World),
        ("host", _) => Ok(Party::Host),
        (_, Some((namespace, name))) if !namespace.is_empty() && !name.is_empty() => {
            Ok(Party::Endpoint { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => Err(format!("{text:?} names nobody: write NAMESPACE/NAME, an address, or world")),
    }
}

fn number_of(text: &str) -> Result<u8, String> {
    match text.to_ascii_lowercase().as_str() {
        "icmp" => Ok(ICMP),
        "icmpv6" => Ok(58),
        name => text.parse::<Protocol>().map(Protocol::number).or_else(|_| {
            name.parse()
                .map_err(|_| format!("{text:?} is no protocol: write TCP, UDP, SCTP, ICMP or a number"))
        }),
    }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Asked, String> {
        let query = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Asked::parse(&query)
    }

    #[test]
    fn a_target_is_a_party_with_a_port_and_a_protocol() {
        let endpoint = |name: &str| Party::Endpoint { namespace: "shop".into(), name: name.into() };
        for (to, party, port, protocol) in [
            ("shop/db:5432", endpoint("db"), 5432, 6),
            ("shop/db:53/udp", endpoint("db"), 53, 17),
            ("shop/db", endpoint("db"), 0, 1),
            ("10.0.0.1:80", Party::Address("10.0.0.1".parse().unwrap()), 80, 6),
            ("[fd00::1]:80/SCTP", Party::Address("fd00::1".parse().unwrap()), 80, 132),
            ("fd00::1", Party::Address("fd00::1".parse().unwrap()), 0, 1),
            ("world:443", Party::World, 443, 6),
        ] {
            let asked = asked(&[("from", "shop/web"), ("to", to)]).unwrap();
            assert_eq!((asked.to, asked.port, asked.protocol), (party, port, protocol), "{to}");
        }
    }

    #[test]
    fn what_cannot_be_answered_is_refused_with_what_can() {
        for (pairs, part) in [
            (vec![("to", "a/b:1")], "say from="),
            (vec![("from", "a/b"), ("to", "db:1")], "NAMESPACE/NAME"),
            (vec![("from", "a/b"), ("to", "a/b:http")], "no port"),
            (vec![("from", "a/b:80"), ("to", "a/b:80")], "from takes no port"),
            (vec![("from", "a/b"), ("to", "a/b:80/foo")], "no protocol"),
            (vec![("from", "a/b"), ("to", "a/b"), ("protocol", "udp")], "has ports"),
            (vec![("from", "a/b"), ("to", "a/b:1"), ("intend", "true")], "\"intent\""),
            (vec![("from", "a/b"), ("to", "a/b:1"), ("intent", "yes")], "true or false"),
        ] {
            let refused = asked(&pairs).unwrap_err();
            assert!(refused.contains(part), "{pairs:?}: {refused}");
        }
    }
}
