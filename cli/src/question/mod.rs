//! Questions to the fabric: explain, flows, drops, status, audit, version.
//!
//! The server's answers are [`fleet::inspect`]'s. With `--here` the agent of this host is asked, which needs no server and
//! knows numbers in place of names.

pub(crate) mod audit;
pub(crate) mod drops;
pub(crate) mod explain;
pub(crate) mod flows;
mod here;
pub(crate) mod status;
pub(crate) mod version;

use std::net::IpAddr;

use fleet::inspect::Peer;
use record::Protocol;
use record::inspect::Traffic;

/// An end of a flow: the endpoint's name where it has one, and the address.
fn peer(peer: &Peer, with_address: bool) -> String {
    let address = match (peer.port, peer.address) {
        (0, address) => address.to_string(),
        (port, IpAddr::V4(address)) => format!("{address}:{port}"),
        (port, IpAddr::V6(address)) => format!("[{address}]:{port}"),
    };
    match &peer.endpoint {
        Some(name) if with_address => format!("{name} ({address})"),
        Some(name) if peer.port != 0 => format!("{name}:{}", peer.port),
        Some(name) => name.clone(),
        None => address,
    }
}

/// A protocol as people write it.
fn protocol(number: u8) -> String {
    let named = Protocol::ALL.into_iter().find(|protocol| protocol.number() == number);
    match (named, number) {
        (Some(protocol), _) => protocol.to_string(),
        (None, 1) => "ICMP".to_owned(),
        (None, 58) => "ICMPv6".to_owned(),
        (None, number) => number.to_string(),
    }
}

/// Milliseconds as people say them.
fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds}ms"),
        1000..120_000 => format!("{}s", milliseconds / 1000),
        120_000..7_200_000 => format!("{}m", milliseconds / 60_000),
        _ => format!("{}h", milliseconds / 3_600_000),
    }
}

/// `12 packets, 3.4 kB`.
fn traffic(traffic: Traffic) -> String {
    format!("{} / {}", traffic.packets, bytes(traffic.bytes))
}

/// A number of bytes as people say it.
fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    let unit = UNITS.iter().find(|(size, _)| count >= *size);
    unit.map_or_else(
        || format!("{count} B"),
        |(size, name)| format!("{}.{} {name}", count / size, count % size * 10 / size),
    )
}

/// Tells which nodes have not answered.
fn tell_unanswered(nodes: &[String]) {
    if !nodes.is_empty() {
        eprintln!("no answer from {}; what they know is missing here", nodes.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_say_them() {
        assert_eq!([999, 1000, 1_250_000, 3_000_000_000].map(bytes), ["999 B", "1.0 kB", "1.2 MB", "3.0 GB"]);
        assert_eq!([5, 119_999, 120_000, 7_200_000].map(duration), ["5ms", "119s", "2m", "2h"]);
        assert_eq!([6, 1, 58, 47].map(protocol), ["TCP", "ICMP", "ICMPv6", "47"]);
    }

    #[test]
    fn an_end_is_told_by_name_where_it_has_one() {
        let mut end = Peer { address: "fd00::1".parse().unwrap(), port: 80, endpoint: None };
        assert_eq!(peer(&end, true), "[fd00::1]:80");
        end.endpoint = Some("shop/web".into());
        assert_eq!(peer(&end, true), "shop/web ([fd00::1]:80)");
        assert_eq!(peer(&end, false), "shop/web:80");
        end.port = 0;
        assert_eq!(peer(&end, false), "shop/web");
    }
}
