//! How a command line describes an endpoint: network, labels, ports, addresses.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::Args;
use intent::schema::Format;
use record::door::Publish;
use record::{NamedPort, Protocol};

use crate::failure::Failure;

/// The endpoint.
#[derive(Args, Clone, Debug)]
pub(crate) struct Workload {
    /// The virtual network [default: the namespace's]
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Option<String>,

    /// A label, which policies select by; may be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<Label>,

    /// A named port, which policies may use, such as http=80/TCP; may be repeated
    #[arg(long = "port-name", value_name = "NAME=PORT[/PROTOCOL]")]
    pub(crate) ports: Vec<PortName>,

    /// An address it must have; may be given once for each family
    #[arg(long = "address", value_name = "ADDRESS")]
    pub(crate) addresses: Vec<IpAddr>,

    /// A port of this host that leads to it, such as 8080:80; may be repeated
    #[arg(short, long = "publish", value_name = "[ADDRESS:]PORT:PORT[/PROTOCOL]")]
    pub(crate) publish: Vec<Published>,
}

impl Workload {
    /// Its labels.
    ///
    /// Errors: a key with two values, for which of them policies should see cannot be known.
    pub(crate) fn labels(&self) -> Result<record::Labels, Failure> {
        labels_of(&self.labels)
    }

    /// Its named ports.
    pub(crate) fn ports(&self) -> Vec<NamedPort> {
        self.ports.iter().map(|port| port.0.clone()).collect()
    }

    /// Ports of the host that lead to it.
    pub(crate) fn publish(&self) -> Vec<Publish> {
        self.publish.iter().map(|publish| publish.0.clone()).collect()
    }
}

/// What was given as labels.
///
/// Errors: a key with two values, for which of them policies should see cannot be known.
pub(crate) fn labels_of(given: &[Label]) -> Result<record::Labels, Failure> {
    let mut labels = record::Labels::new();
    for Label { key, value } in given {
        if let Some(other) = labels.insert(key.clone(), value.clone()).filter(|other| other != value) {
            let message = format!("the label {key} is given twice: as {other:?} and as {value:?}");
            return Err(Failure::usage(message, "keep one of the two"));
        }
    }
    Ok(labels)
}

/// `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    key: String,
    value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE, such as app=web")?;
        if !Format::QualifiedName.accepts(key) {
            return Err(format!("{key:?} is no label key, such as app or example.com/app"));
        }
        if !Format::LabelValue.accepts(value) {
            return Err(format!("{value:?} is no label value: at most 63 of A-Z, a-z, 0-9, -, _ and ."));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// `NAME=PORT[/PROTOCOL]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortName(NamedPort);

impl FromStr for PortName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("write it as NAME=PORT, such as http=80/TCP")?;
        if !Format::PortName.accepts(name) {
            return Err(format!("{name:?} is no port name: at most 15 of a-z, 0-9 and -, with a letter"));
        }
        let (port, protocol) = port_and_protocol(rest)?;
        Ok(Self(NamedPort { name: name.to_owned(), protocol, port }))
    }
}

/// `[ADDRESS:]PORT:PORT[/PROTOCOL]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published(Publish);

impl FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write it as HOSTPORT:PORT, such as 8080:80, 127.0.0.1:8080:80/TCP or [::1]:8080:80";
        let (host, inner) = text.rsplit_once(':').ok_or(form)?;
        let (port, protocol) = port_and_protocol(inner)?;
        let (address, host_port) = if host.contains(':') {
            let socket: SocketAddr = host.parse().map_err(|_| form)?;
            (Some(socket.ip()), socket.port())
        } else {
            (None, host.parse().map_err(|_| form)?)
        };
        if host_port == 0 {
            return Err("port 0 cannot be published".to_owned());
        }
        Ok(Self(Publish { address, host_port, port, protocol }))
    }
}

/// `PORT[/PROTOCOL]`; TCP unless it is written.
fn port_and_protocol(text: &str) -> Result<(u16, Protocol), String> {
    let (port, protocol) = match text.split_once('/') {
        Some((port, protocol)) => (port, protocol.parse()?),
        None => (text, Protocol::Tcp),
    };
    match port.parse() {
        Ok(number) if number > 0 => Ok((number, protocol)),
        _ => Err(format!("{port:?} is no port from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_ports_are_read_as_policies_will_see_them() {
        let label: Label = "app.kubernetes.io/name=web".parse().unwrap();
        assert_eq!((label.key.as_str(), label.value.as_str()), ("app.kubernetes.io/name", "web"));
        let port: PortName = "dns=53/udp".parse().unwrap();
        assert_eq!(port.0, NamedPort { name: "dns".into(), protocol: Protocol::Udp, port: 53 });
        let port: PortName = "http=80".parse().unwrap();
        assert_eq!((port.0.protocol, port.0.port), (Protocol::Tcp, 80));
        for wrong in ["app", "=a", "a b=c", "app=a b"] {
            assert!(wrong.parse::<Label>().is_err(), "{wrong}");
        }
        for wrong in ["80", "http=0", "http=80/ICMP", "80=80", "http=x"] {
            assert!(wrong.parse::<PortName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_label_has_one_value() {
        let labels = |all: &[&str]| {
            let labels = all.iter().map(|text| text.parse().unwrap()).collect();
            let (ports, addresses, publish) = (Vec::new(), Vec::new(), Vec::new());
            Workload { network: None, labels, ports, addresses, publish }.labels()
        };
        assert_eq!(labels(&["a=b", "c=d", "a=b"]).unwrap().len(), 2);
        let fault = labels(&["a=b", "a=c"]).unwrap_err();
        assert_eq!(fault.to_string(), "the label a is given twice: as \"b\" and as \"c\"");
    }

    #[test]
    fn published_ports_may_name_an_address() {
        let read = |text: &str| text.parse::<Published>().map(|published| published.0);
        let plain = Publish { address: None, host_port: 8080, port: 80, protocol: Protocol::Tcp };
        assert_eq!(read("8080:80"), Ok(plain.clone()));
        let v4 = Publish { address: Some([127, 0, 0, 1].into()), protocol: Protocol::Udp, ..plain.clone() };
        assert_eq!(read("127.0.0.1:8080:80/UDP"), Ok(v4));
        assert_eq!(read("[::1]:8080:80"), Ok(Publish { address: Some("::1".parse().unwrap()), ..plain }));
        for wrong in ["80", "0:80", "80:0", "a:80", "::1:80:80", "1.2.3.4:80"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
