//! Published ports from the node itself: from its containers, from another node's, and from its own processes.

use std::net::{SocketAddr, TcpStream, UdpSocket};

use datapath::{Datapath, Published};
use record::Protocol;

use super::{Fabric, WAIT, echo, listen, on_fabric, own};

/// Port 8080 of node 1 leads to port 80 of its second endpoint, in both protocols and families.
fn publish(fabric: &mut Fabric) {
    let (net, datapath) = &mut fabric.node1;
    for address in ["0.0.0.0", "::"] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let published =
                Published { address: own(address), protocol, port: 8080, endpoint: 2, target: 80 };
            net.run(|| datapath.publish(&published)).unwrap();
        }
    }
}

#[test]
fn containers_reach_a_published_port_from_its_own_node_and_from_another() {
    on_fabric("192.0.2.", |fabric| {
        publish(fabric);
        // With two uplinks the host's routes are asked, which the kernel tells only of devices that forward.
        fabric.node1.0.run(|| std::fs::write("/proc/sys/net/ipv4/conf/all/forwarding", "1")).unwrap();
        // The endpoint itself, a neighbor, and one of another node, which appears as that.
        for (client, seen) in
            [(&fabric.near, "10.1.0.1"), (&fabric.side, "10.1.0.1"), (&fabric.far, "192.0.2.2")]
        {
            let served = listen(&fabric.side, "10.1.1.11:80");
            let outcome = echo(client, "192.0.2.1:8080", 2_000_000);
            outcome.unwrap_or_else(|error| panic!("{seen}: {error}\n{}", fabric.story()));
            assert_eq!(served.join().unwrap().ip(), own(seen));
        }
    });
}

/// Connects on the node; whom the program is told that it speaks to.
fn connect(fabric: &Fabric, asked: &str) -> std::io::Result<SocketAddr> {
    let asked: SocketAddr = asked.parse().unwrap();
    fabric.node1.0.run(|| TcpStream::connect_timeout(&asked, WAIT)?.peer_addr())
}

#[test]
fn processes_of_the_node_reach_a_published_port_by_loopback_and_its_own_address() {
    on_fabric("192.0.2.", |fabric| {
        publish(fabric);
        for restarted in [false, true] {
            for (asked, server, seen) in [
                ("127.0.0.1:8080", "10.1.1.11:80", "10.1.0.1"),
                ("127.8.9.1:8080", "10.1.1.11:80", "10.1.0.1"),
                ("192.0.2.1:8080", "10.1.1.11:80", "10.1.0.1"),
                ("[::ffff:127.0.0.1]:8080", "10.1.1.11:80", "10.1.0.1"),
                ("[::1]:8080", "[fd01::1:11]:80", "fd01::1"),
            ] {
                let told = |error: &dyn std::fmt::Display| {
                    format!("{asked} {restarted}: {error}\n{}", fabric.story())
                };
                let served = listen(&fabric.side, server);
                echo(&fabric.node1.0, asked, 500_000).unwrap_or_else(|error| panic!("{}", told(&error)));
                assert_eq!(served.join().unwrap().ip(), own(seen));
                let served = listen(&fabric.side, server);
                let peer = connect(fabric, asked).unwrap_or_else(|error| panic!("{}", told(&error)));
                assert_eq!(peer, asked.parse().unwrap(), "the program speaks to what it asked for");
                served.join().unwrap();
            }
            fabric.restart();
        }
    });
}

#[test]
fn datagrams_of_the_nodes_processes_are_led_and_answered_under_the_name_asked_for() {
    on_fabric("192.0.2.", |fabric| {
        publish(fabric);
        for (asked, server) in [
            ("127.0.0.1:8080", "10.1.1.11:80"),
            ("192.0.2.1:8080", "10.1.1.11:80"),
            ("[::ffff:127.0.0.1]:8080", "10.1.1.11:80"),
            ("[::1]:8080", "[fd01::1:11]:80"),
        ] {
            let asked: SocketAddr = asked.parse().unwrap();
            let server = crate::bind(&fabric.side, || UdpSocket::bind(server));
            let bind = if asked.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let client = fabric.node1.0.run(|| UdpSocket::bind(bind).unwrap());
            for socket in [&server, &client] {
                socket.set_read_timeout(Some(WAIT)).unwrap();
            }
            let exchange = |send: &dyn Fn() -> std::io::Result<usize>| {
                let mut buffer = [0; 16];
                let length = send().unwrap();
                let (got, from) = server
                    .recv_from(&mut buffer)
                    .unwrap_or_else(|error| panic!("{error}\n{}", fabric.story()));
                assert_eq!(got, length);
                server.send_to(&buffer[..got], from).unwrap();
                client.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{error}\n{}", fabric.story())).1
            };
            // Not connected, twice, and connected.
            for _ in 0..2 {
                assert_eq!(exchange(&|| client.send_to(b"ask", asked)), asked);
            }
            client.connect(asked).unwrap();
            assert_eq!(client.peer_addr().unwrap(), asked);
            assert_eq!(exchange(&|| client.send(b"ask")), asked);
        }
    });
}

#[test]
fn only_the_nodes_own_processes_and_published_ports_are_led() {
    on_fabric("192.0.2.", |fabric| {
        publish(fabric);
        // Another port; another host's and a container's namespace, in the same cgroup.
        let refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
        assert!(refused(connect(fabric, "127.0.0.1:8081").unwrap_err()));
        for other in [&fabric.world, &fabric.node2.0, &fabric.side] {
            let outcome = other.run(|| TcpStream::connect_timeout(&"127.0.0.1:8080".parse().unwrap(), WAIT));
            assert!(refused(outcome.unwrap_err()));
        }
        // Without a cgroup the programs go, and the rest stays.
        let links = |fabric: &Fabric| {
            let names = std::fs::read_dir(fabric.configs[0].pin_dir.join("links")).unwrap();
            names
                .filter(|name| name.as_ref().unwrap().file_name().to_string_lossy().contains("connect"))
                .count()
        };
        assert_eq!(links(fabric), 2);
        fabric.configs[0].cgroup = None;
        fabric.restart();
        assert_eq!(links(fabric), 0);
        assert!(refused(connect(fabric, "127.0.0.1:8080").unwrap_err()));
        let served = listen(&fabric.side, "10.1.1.11:80");
        echo(&fabric.near, "192.0.2.1:8080", 1000).unwrap();
        served.join().unwrap();
        // A cgroup that is not there is told and does no harm.
        fabric.configs[0].cgroup = Some("/sys/fs/cgroup/no such group".into());
        fabric.restart();
        assert_eq!(links(fabric), 0);
    });
}

#[test]
fn the_programs_for_sockets_pass_the_verifier_at_little_cost() {
    on_fabric("192.0.2.", |fabric| {
        let verified = fabric.node1.1.verified().unwrap();
        assert_eq!(verified.len(), 16, "{verified:?}");
        for (name, instructions) in verified {
            println!("{name}: {instructions} instructions verified");
            assert!((1..250_000).contains(&instructions), "{name}: {instructions}");
        }
        let pins = fabric.configs[0].pin_dir.clone();
        Datapath::remove(&pins).unwrap();
        assert!(!pins.exists());
    });
}
