//! Whether a port of the host is free to be published.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use record::Protocol;
use record::door::Publish;

use crate::attachment::published;
use crate::kernel::KernelError;

/// Opens the port for a moment, and the address with it: what the kernel lets nobody open is not this host's to publish. SCTP's ports
/// cannot be tried so, and count as free.
pub(super) fn offers(publish: &Publish) -> Result<(), KernelError> {
    let addresses = match publish.address {
        Some(address) => vec![address],
        None => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
    };
    addresses.into_iter().try_for_each(|address| {
        let at = SocketAddr::new(address, publish.host_port);
        let opened = match publish.protocol {
            Protocol::Tcp => TcpListener::bind(at).map(drop),
            Protocol::Udp => UdpSocket::bind(at).map(drop),
            Protocol::Sctp => UdpSocket::bind(SocketAddr::new(address, 0)).map(drop),
        };
        let port = published(publish);
        match opened.map_err(|error| error.kind()) {
            Err(io::ErrorKind::AddrInUse) => Err(KernelError::PortTaken {
                port,
                by: format!("a process of this host, or the kernel, at {at}"),
            }),
            Err(io::ErrorKind::AddrNotAvailable) if publish.address.is_some() => {
                Err(KernelError::ForeignAddress { port, address })
            }
            // Another failure is not about this port, such as a family that the host lacks.
            _ => Ok(()),
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
        let taken = |publish: &Publish| matches!(offers(publish), Err(KernelError::PortTaken { .. }));
        assert!(taken(&publish(None, Protocol::Tcp)), "every address includes that one");
        assert!(taken(&publish(Some("127.0.0.1"), Protocol::Tcp)));
        assert!(!taken(&publish(Some("127.0.0.2"), Protocol::Tcp)), "another address's port is another");
        drop(listener);
        assert!(!taken(&publish(None, Protocol::Tcp)));
        // RFC 5737: no host's.
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            let refused = offers(&publish(Some("198.51.100.7"), protocol));
            assert!(matches!(refused, Err(KernelError::ForeignAddress { .. })), "{protocol}: {refused:?}");
        }
    }
}
