//! What the overlay device puts on the wire and takes from it, with a plain UDP socket at the other side.
//!
//! ```text
//!   here:  sealane.vx -- under0 (192.0.2.1, 2001:db8::1)  ===  under1 (192.0.2.2, 2001:db8::2)  : there, UDP 4789
//! ```

use std::net::UdpSocket;
use std::time::Duration;

use super::*;

/// VXLAN with the group policy extension (draft-smith-vxlan-group-policy): flags G and I, the group, the VNI.
fn header(vni: u32, group: u16) -> [u8; 8] {
    let [high, low] = group.to_be_bytes();
    let [_, a, b, c] = vni.to_be_bytes();
    [0x88, 0, high, low, a, b, c, 0]
}

/// Two namespaces with a cable between them: this thread's, with a prepared host, and the one returned.
fn cabled() -> Namespace {
    let there = fresh();
    ip(&format!("link add under0 type veth peer name under1 netns {}", path_of(&there)));
    let commands = |name: &str, last: u8| {
        ip(&format!("addr add 192.0.2.{last}/24 dev {name}"));
        ip(&format!("-6 addr add 2001:db8::{last}/64 dev {name} nodad"));
        ip(&format!("link set {name} up"));
    };
    commands("under0", 1);
    there.inside(|| commands("under1", 2)).unwrap();
    Links::open().unwrap().prepare_host(&plan()).unwrap();
    there
}

#[test]
fn a_packet_leaves_with_network_and_group_over_either_underlay() {
    alone(|| {
        let there = cabled();
        ip("neigh add 10.9.9.9 lladdr 0a:07:0a:09:09:09 dev sealane.vx");
        for (family, bind, remote) in
            [("ip", "192.0.2.2:4789", "192.0.2.2"), ("ip6", "[2001:db8::2]:4789", "2001:db8::2")]
        {
            let listener = there.inside(|| UdpSocket::bind(bind).unwrap()).unwrap();
            listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            // With a UDP checksum, as a plain socket wants one over IPv6 (RFC 8200, section 8.1).
            ip(&format!(
                "route replace 10.9.9.0/24 encap {family} id 74565 dst {remote} csum vxlan_opts 4242 dev sealane.vx"
            ));
            UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"cargo", "10.9.9.9:9").unwrap();
            let mut packet = [0; 2048];
            let length = listener.recv(&mut packet).unwrap();
            let packet = &packet[..length];
            assert_eq!(packet[..8], header(0x12345, 4242), "over {remote}");
            assert_eq!(packet[8..14], [0x0a, 7, 0x0a, 9, 9, 9], "the inner frame's destination");
            assert_eq!(packet[14..20], OVERLAY_MAC.0);
            assert!(packet.ends_with(b"cargo"));
        }
    });
}

#[test]
fn a_packet_with_a_group_is_taken_over_either_underlay_but_not_with_the_devices_own_source() {
    alone(|| {
        let there = cabled();
        for (from, to) in [("192.0.2.2:0", "192.0.2.1:4789"), ("[2001:db8::2]:0", "[2001:db8::1]:4789")] {
            let send = |source: Mac| {
                let mut packet = header(0x12345, 4242).to_vec();
                packet.extend(OVERLAY_MAC.0);
                packet.extend(source.0);
                // A frame of no protocol in use (IEEE 802, local experiments).
                packet.extend([0x88, 0xb5]);
                packet.extend([0; 46]);
                there.inside(|| UdpSocket::bind(from).unwrap().send_to(&packet, to).unwrap()).unwrap();
            };
            let before = received(OVERLAY);
            send(OVERLAY_MAC);
            send(GATEWAY_MAC);
            let arrived = || received(OVERLAY) - before;
            for _ in 0..500 {
                if arrived() > 0 {
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
            assert_eq!(arrived(), 1, "over {to}\n{}", ip("-s -s link show sealane.vx"));
        }
    });
}
