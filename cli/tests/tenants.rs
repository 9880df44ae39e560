//! Many tenants with the very same network, addresses, ports and 5-tuples at the same time: nobody ever gets another's answer,
//! and each tenant's policy is its own.
#![allow(clippy::unwrap_used)]

mod fabric;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use fabric::Fabric;
use fabric::ask::{Asker, Question, hold};
use lab::container::{Container, Spec};
use lab::echo::{Echo, Listen};
use lab::probe::Probe;
use record::Protocol;

/// What a tenant's policies say; the tenants take them in turn.
#[derive(Clone, Copy, Debug)]
enum Rules {
    /// None.
    Open,
    /// `c` is reached by `a` alone.
    Guarded,
    /// `a` reaches `b` by UDP, and nothing else.
    Confined,
    /// Nobody reaches anybody.
    Closed,
}

impl Rules {
    const ALL: [Self; 4] = [Self::Open, Self::Guarded, Self::Confined, Self::Closed];

    fn allow(self, from: &str, to: &str, protocol: Protocol) -> bool {
        match self {
            Self::Open => true,
            Self::Guarded => to != "c" || from == "a",
            Self::Confined => from != "a" || (to, protocol) == ("b", Protocol::Udp),
            Self::Closed => false,
        }
    }

    fn policy(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Guarded => Some(
                "{podSelector: {matchLabels: {pod: c}}, ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}]}]}",
            ),
            Self::Confined => Some(
                "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], \
                 egress: [{to: [{podSelector: {matchLabels: {pod: b}}}], ports: [{protocol: UDP}]}]}",
            ),
            Self::Closed => Some("{podSelector: {}}"),
        }
    }
}

/// The pods of every tenant: name, host, and the last part of the address. Two are on one host.
const PODS: [(&str, u16, u8); 4] = [("a", 1, 11), ("b", 2, 12), ("c", 3, 13), ("d", 1, 14)];

struct Tenant {
    name: String,
    rules: Rules,
}

struct World {
    tenants: Vec<Tenant>,
    /// Every tenant's pods in turn, each tenant's in the order of [`PODS`].
    containers: Vec<Container>,
    _echoes: Vec<Echo>,
    fabric: Fabric,
}

#[test]
fn sixty_four_tenants_with_the_same_addresses_and_ports_never_meet() {
    let world = World::new("tenants", TENANTS);
    let mut asked = 0;
    for port in [40_001, 40_002] {
        asked += world.hold("without policies", port, |_, _, _, _| true);
    }
    for tenant in &world.tenants {
        if let Some(spec) = tenant.rules.policy() {
            world.fabric.apply(&tenant.name, &policy(spec));
        }
    }
    for tenant in &world.tenants {
        world.fabric.await_realised(&tenant.name);
    }
    for port in [40_003, 40_004] {
        let allow = |tenant: &Tenant, from: &str, to: &str, protocol| tenant.rules.allow(from, to, protocol);
        asked += world.hold("with policies of each tenant's own", port, allow);
    }
    assert!(asked >= 10_000, "{asked} were asked");
    let World { containers, _echoes: echoes, fabric, .. } = world;
    drop((echoes, containers));
    fabric.down();
}

impl World {
    fn new(lab: &str, count: usize) -> Self {
        let fabric = Fabric::up(lab, 3);
        let tenant = |number: usize| Tenant {
            name: format!("t{number}"),
            rules: Rules::ALL[number % Rules::ALL.len()],
        };
        let tenants: Vec<Tenant> = (0..count).map(tenant).collect();
        fabric.apply("system", &tenants.iter().map(|tenant| object(&tenant.name)).collect::<String>());
        for tenant in &tenants {
            fabric.apply(&tenant.name, NETWORK);
        }
        fabric.settle();
        let specs: Vec<(u16, Spec)> = tenants
            .iter()
            .flat_map(|tenant| PODS.map(|(name, host, last)| (host, spec(&tenant.name, name, last))))
            .collect();
        let containers = fabric.run_all(&specs);
        let ports = [Listen::tcp(PORT), Listen::udp(PORT)];
        let echo = |(container, (_, spec)): (&Container, &(u16, Spec))| {
            let name = full_name(spec.tenant.as_deref().unwrap(), &spec.name);
            Echo::start(container.namespace(), &name, &ports).unwrap()
        };
        let echoes = containers.iter().zip(&specs).map(echo).collect();
        Self { tenants, containers, _echoes: echoes, fabric }
    }

    /// Every pod asks every other one of its tenant, all from one port, by both protocols and families; `allow` says who may.
    /// Returns how many questions that were.
    #[track_caller]
    fn hold(&self, claim: &str, port: u16, allow: impl Fn(&Tenant, &str, &str, Protocol) -> bool) -> usize {
        let mut all = Vec::new();
        for (tenant, containers) in self.tenants.iter().zip(self.containers.chunks(PODS.len())) {
            for ((from, _, own), container) in PODS.into_iter().zip(containers) {
                let mut questions = Vec::new();
                for (to, _, last) in PODS.into_iter().filter(|(to, ..)| *to != from) {
                    for (protocol, ipv4) in FORMS {
                        let seen = SocketAddr::new(address(own, ipv4), port);
                        let to_whom = SocketAddr::new(address(last, ipv4), PORT);
                        let allowed = allow(tenant, from, to, protocol);
                        questions.push(Question {
                            what: full_name(&tenant.name, to),
                            probe: Probe { protocol, to: to_whom, from: Some(seen) },
                            wanted: allowed.then(|| full_name(&tenant.name, to)),
                            seen: Some(seen),
                        });
                    }
                }
                let name = full_name(&tenant.name, from);
                all.push((Asker { name, namespace: container.namespace().clone() }, questions));
            }
        }
        hold(&self.fabric, claim, &all);
        all.iter().map(|(_, questions)| questions.len()).sum()
    }
}

fn address(last: u8, ipv4: bool) -> IpAddr {
    let text = if ipv4 { format!("10.40.0.{last}") } else { format!("fd00:40::{last}") };
    text.parse().unwrap()
}

fn full_name(tenant: &str, pod: &str) -> String {
    format!("{tenant}/{pod}")
}

fn spec(tenant: &str, name: &str, last: u8) -> Spec {
    Spec {
        tenant: Some(tenant.to_owned()),
        namespace: Some("shop".to_owned()),
        labels: [("pod".to_owned(), name.to_owned())].into(),
        addresses: vec![address(last, true), address(last, false)],
        ..Spec::idle(name)
    }
}

fn object(tenant: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ =
        writeln!(text, "---\napiVersion: sealane.dev/v1alpha1\nkind: Tenant\nmetadata: {{name: {tenant}}}");
    text
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: rules, namespace: shop}}\nspec: {spec}\n"
    )
}

const NETWORK: &str = "
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: same}
spec:
  subnets: [{cidr: 10.40.0.0/24}, {cidr: 'fd00:40::/64'}]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {sealane.dev/network: same}}
";

const FORMS: [(Protocol, bool); 4] =
    [(Protocol::Tcp, true), (Protocol::Tcp, false), (Protocol::Udp, true), (Protocol::Udp, false)];
const TENANTS: usize = 64;
const PORT: u16 = 7000;
