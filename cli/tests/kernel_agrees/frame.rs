//! Frames from containers, the host and the world. Checksums stay empty: no program on the way proves them.

use std::net::IpAddr;

use record::Mac;

use crate::world::{SCTP, TCP, UDP};

/// What a frame says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) mac: Mac,
    pub(crate) protocol: u8,
    /// Address and port; for an echo request the port is its identifier.
    pub(crate) from: (IpAddr, u16),
    pub(crate) to: (IpAddr, u16),
    /// TCP's flags.
    pub(crate) flags: u8,
}

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

impl Frame {
    /// The bytes of the frame, to the gateway.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut bytes = datapath::GATEWAY_MAC.0.to_vec();
        bytes.extend(self.mac.0);
        let length = transport.len() as u16;
        match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes.extend([0x08, 0x00, 0x45, 0]);
                bytes.extend((20 + length).to_be_bytes());
                bytes.extend([0, 0, 0x40, 0, 64, self.protocol, 0, 0]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend(length.to_be_bytes());
                bytes.extend([self.protocol, 64]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
            }
            _ => panic!("two families in {self:?}"),
        }
        bytes.extend(transport);
        bytes
    }

    fn transport(&self) -> Vec<u8> {
        let ports = [self.from.1.to_be_bytes(), self.to.1.to_be_bytes()].concat();
        let rest: &[u8] = match self.protocol {
            TCP => &[0, 0, 0, 1, 0, 0, 0, 2, 0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0],
            UDP => &[0, 8, 0, 0],
            // A common header and a chunk INIT (RFC 9260, 3.3.2).
            SCTP => &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1],
            ICMP | ICMPV6 => {
                let kind = if self.protocol == ICMP { 8 } else { 128 };
                let identifier = self.from.1.to_be_bytes();
                return vec![kind, 0, 0, 0, identifier[0], identifier[1], 0, 1];
            }
            _ => return vec![0; 8],
        };
        [&ports, rest].concat()
    }
}
