//! Whether a port of the host is free to be published.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use record::Protocol;
use record::door::Publish;

/// Who has the port. It is tried by opening it for a moment; SCTP cannot be tried so, and counts as free.
pub(super) fn taken(publish: &Publish) -> Option<String> {
    let addresses = match publish.address {
        Some(address) => vec![address],
        None => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
    };
    addresses.into_iter().map(|address| SocketAddr::new(address, publish.host_port)).find_map(|address| {
        let opened = match publish.protocol {
            Protocol::Tcp => TcpListener::bind(address).map(drop),
            Protocol::Udp => UdpSocket::bind(address).map(drop),
            Protocol::Sctp => Ok(()),
        };
        match opened {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Some(format!("a process of this host, or the kernel, at {address}"))
            }
            // Another failure is not about this port: a family that the host lacks, an address that it does not have.
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_listened_at_is_taken_and_free_again_afterwards() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let publish = |address: Option<&str>, protocol| Publish {
            address: address.map(|text| text.parse().unwrap()),
            host_port: port,
            port: 80,
            protocol,
        };
        assert!(taken(&publish(None, Protocol::Tcp)).is_some(), "every address includes that one");
        assert!(taken(&publish(Some("127.0.0.1"), Protocol::Tcp)).is_some());
        assert!(
            taken(&publish(Some("127.0.0.2"), Protocol::Tcp)).is_none(),
            "another address's port is another"
        );
        drop(listener);
        assert!(taken(&publish(None, Protocol::Tcp)).is_none());
    }
}
