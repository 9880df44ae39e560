//! Frames: built with etherparse, read back by hand so that every checksum is proved.

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header,
};
use record::Mac;

use crate::ground::{GATEWAY, MAC_A, MAC_B};

/// A flow's ends as a frame shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) source: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination: IpAddr,
    pub(crate) destination_port: u16,
}

impl Ends {
    pub(crate) fn new(source: IpAddr, source_port: u16, destination: IpAddr, destination_port: u16) -> Self {
        Self { source, source_port, destination, destination_port }
    }

    pub(crate) fn back(self) -> Self {
        Self::new(self.destination, self.destination_port, self.source, self.source_port)
    }
}

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const RST: u8 = 0x04;
pub(crate) const FIN: u8 = 0x01;

/// A UDP frame from the MAC.
pub(crate) fn udp(mac: Mac, ends: Ends, payload: &[u8]) -> Vec<u8> {
    ip(mac, ends, UDP, udp_segment(ends, payload), 64)
}

pub(crate) fn udp_segment(ends: Ends, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(ends.source_port.to_be_bytes());
    segment.extend(ends.destination_port.to_be_bytes());
    segment.extend((8 + payload.len() as u16).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    seal(ends, UDP, &mut segment, 6);
    segment
}

pub(crate) fn tcp(mac: Mac, ends: Ends, flags: u8) -> Vec<u8> {
    tcp_with(mac, ends, flags, 64, b"data")
}

pub(crate) fn tcp_with(mac: Mac, ends: Ends, flags: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(ends.source_port.to_be_bytes());
    segment.extend(ends.destination_port.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    seal(ends, TCP, &mut segment, 16);
    ip(mac, ends, TCP, segment, ttl)
}

/// An echo request with the identifier in the source port, or an answer with it in the destination port.
pub(crate) fn echo(mac: Mac, ends: Ends, answer: bool) -> Vec<u8> {
    let ipv6 = ends.source.is_ipv6();
    let kind = match (ipv6, answer) {
        (false, false) => 8,
        (false, true) => 0,
        (true, false) => 128,
        (true, true) => 129,
    };
    let identifier = if answer { ends.destination_port } else { ends.source_port };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 1, b'p', b'i', b'n', b'g']);
    icmp(mac, ends, message)
}

/// An ICMP message with its checksum filled in.
pub(crate) fn icmp(mac: Mac, ends: Ends, mut message: Vec<u8>) -> Vec<u8> {
    let protocol = if ends.source.is_ipv6() { 58 } else { 1 };
    seal(ends, protocol, &mut message, 2);
    ip(mac, ends, protocol, message, if message_is_neighbor(protocol) { 255 } else { 64 })
}

fn message_is_neighbor(protocol: u8) -> bool {
    protocol == 58
}

/// An error "port unreachable" from `ends.source` that quotes the IP packet of `frame`.
pub(crate) fn unreachable(mac: Mac, ends: Ends, frame: &[u8]) -> Vec<u8> {
    let (kind, code) = if ends.source.is_ipv6() { (1, 4) } else { (3, 3) };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    let header = if ends.source.is_ipv6() { 40 } else { 20 };
    message.extend(&frame[14..14 + header + 8]);
    icmp(mac, ends, message)
}

/// An IP packet of this protocol in a frame to the gateway.
pub(crate) fn ip(mac: Mac, ends: Ends, protocol: u8, payload: Vec<u8>, ttl: u8) -> Vec<u8> {
    let mut frame = ethernet(mac, ends.source.is_ipv6());
    match (ends.source, ends.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = Ipv4Header::new(
                payload.len() as u16,
                ttl,
                IpNumber(protocol),
                source.octets(),
                destination.octets(),
            )
            .unwrap();
            header.dont_fragment = true;
            header.header_checksum = header.calc_header_checksum();
            header.write(&mut frame).unwrap();
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                payload_length: payload.len() as u16,
                next_header: IpNumber(protocol),
                hop_limit: ttl,
                source: source.octets(),
                destination: destination.octets(),
                ..Default::default()
            };
            header.write(&mut frame).unwrap();
        }
        _ => panic!("two families in {ends:?}"),
    }
    frame.extend(payload);
    frame
}

/// One fragment of a datagram: `part` of its payload, which starts at `offset` bytes.
pub(crate) fn fragment(
    mac: Mac,
    ends: Ends,
    protocol: u8,
    (offset, more): (u16, bool),
    part: &[u8],
) -> Vec<u8> {
    let mut frame = ethernet(mac, ends.source.is_ipv6());
    let place = IpFragOffset::try_new(offset / 8).unwrap();
    match (ends.source, ends.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = Ipv4Header::new(
                part.len() as u16,
                64,
                IpNumber(protocol),
                source.octets(),
                destination.octets(),
            )
            .unwrap();
            header.identification = 77;
            header.fragment_offset = place;
            header.more_fragments = more;
            header.dont_fragment = false;
            header.header_checksum = header.calc_header_checksum();
            header.write(&mut frame).unwrap();
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                payload_length: part.len() as u16 + 8,
                next_header: IpNumber::IPV6_FRAGMENTATION_HEADER,
                hop_limit: 64,
                source: source.octets(),
                destination: destination.octets(),
                ..Default::default()
            };
            header.write(&mut frame).unwrap();
            Ipv6FragmentHeader::new(IpNumber(protocol), place, more, 77).write(&mut frame).unwrap();
        }
        _ => panic!("two families in {ends:?}"),
    }
    frame.extend(part);
    frame
}

fn ethernet(mac: Mac, ipv6: bool) -> Vec<u8> {
    let mut frame = Vec::new();
    let ether_type = if ipv6 { EtherType::IPV6 } else { EtherType::IPV4 };
    Ethernet2Header { source: mac.0, destination: GATEWAY.0, ether_type }.write(&mut frame).unwrap();
    frame
}

/// A frame as it was read back, its checksums proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) to: Mac,
    pub(crate) from: Mac,
    pub(crate) ends: Ends,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    /// The transport header and what follows.
    pub(crate) transport: Vec<u8>,
}

/// Reads a whole, unfragmented frame. Fails on any wrong checksum.
#[track_caller]
pub(crate) fn read(frame: &[u8]) -> Seen {
    let mac = |at: usize| Mac(frame[at..at + 6].try_into().unwrap());
    let packet = &frame[14..];
    let ipv6 = packet[0] >> 4 == 6;
    let (source, destination, protocol, ttl, header): (IpAddr, IpAddr, u8, u8, usize) = if ipv6 {
        let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
        assert_eq!(
            usize::from(u16::from_be_bytes([packet[4], packet[5]])),
            packet.len() - 40,
            "the header's length"
        );
        (address(8), address(24), packet[6], packet[7], 40)
    } else {
        let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        assert_eq!(sum(&packet[..20]), 0xffff, "the header's checksum");
        assert_eq!(
            usize::from(u16::from_be_bytes([packet[2], packet[3]])),
            packet.len(),
            "the header's length"
        );
        (address(12), address(16), packet[9], packet[8], 20)
    };
    let transport = packet[header..].to_vec();
    let mut ends = Ends::new(source, 0, destination, 0);
    let word = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
    match (protocol, transport[0]) {
        (TCP | UDP, _) => (ends.source_port, ends.destination_port) = (word(0), word(2)),
        (1, 8) | (58, 128) => ends.source_port = word(4),
        (1, 0) | (58, 129) => ends.destination_port = word(4),
        _ => {}
    }
    let proved =
        u32::from(sum(&transport)) + if protocol == 1 { 0 } else { pseudo(ends, protocol, transport.len()) };
    assert_eq!(fold(proved), 0xffff, "the transport's checksum of {ends:?}");
    Seen { to: mac(0), from: mac(6), ends, protocol, ttl, transport }
}

fn seal(ends: Ends, protocol: u8, message: &mut [u8], at: usize) {
    let pseudo = if protocol == 1 { 0 } else { pseudo(ends, protocol, message.len()) };
    let checksum = !fold(u32::from(sum(message)) + pseudo);
    message[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// The pseudo header's part of a checksum (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo(ends: Ends, protocol: u8, length: usize) -> u32 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let addresses = u32::from(sum(&octets(ends.source))) + u32::from(sum(&octets(ends.destination)));
    addresses + u32::from(protocol) + length as u32
}

fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    fold(bytes.chunks(2).map(word).sum())
}

fn fold(mut value: u32) -> u16 {
    while value > 0xffff {
        value = (value & 0xffff) + (value >> 16);
    }
    value as u16
}

/// From A to B, and such.
pub(crate) fn a_to(ends: Ends, payload: &[u8]) -> Vec<u8> {
    udp(MAC_A, ends, payload)
}

pub(crate) fn b_to(ends: Ends, payload: &[u8]) -> Vec<u8> {
    udp(MAC_B, ends, payload)
}

/// The source address of any IP frame, fragments too.
pub(crate) fn source_of(frame: &[u8]) -> IpAddr {
    address_of(frame, 12, 8)
}

/// The destination address of any IP frame, fragments too.
pub(crate) fn destination_of(frame: &[u8]) -> IpAddr {
    address_of(frame, 16, 24)
}

fn address_of(frame: &[u8], at4: usize, at6: usize) -> IpAddr {
    let packet = &frame[14..];
    if packet[0] >> 4 == 4 {
        IpAddr::from(<[u8; 4]>::try_from(&packet[at4..at4 + 4]).unwrap())
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&packet[at6..at6 + 16]).unwrap())
    }
}
