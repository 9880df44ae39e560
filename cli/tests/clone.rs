//! Tenants as wholes: a clone has the same networks, addresses, policies and roles; who reaches whom is the same in both; what
//! somebody changes is named; and nothing goes that anybody still needs.
#![allow(clippy::unwrap_used)]

mod fabric;

use std::net::{IpAddr, SocketAddr};
use std::process::Output;

use fabric::Fabric;
use fabric::ask::{Asker, Question, hold};
use lab::container::{Container, Spec};
use lab::echo::{Echo, Listen};
use lab::probe::Probe;
use record::Protocol;
use serde_json::Value;

/// The pods of both tenants: name, host, and the last part of the address.
const PODS: [(&str, u16, u8); 3] = [("a", 1, 11), ("b", 2, 12), ("c", 1, 13)];

const TENANTS: [&str; 2] = ["production", "staging"];

struct World {
    containers: Vec<Container>,
    _echoes: Vec<Echo>,
    fabric: Fabric,
}

#[test]
fn a_clone_is_the_same_in_objects_and_in_who_reaches_whom_until_somebody_changes_a_rule() {
    let fabric = Fabric::up("clone", 2);
    fabric.done("default", &["tenant", "create", "production", "--subnet", "10.41.0.0/16"], "");
    fabric.apply("production", PRODUCTION);
    let clone = ["tenant", "clone", "production", "staging"];

    let dry = fabric.done("default", &[&clone[..], &["--dry-run"]].concat(), "");
    assert!(dry.contains("virtualnetwork.sealane.dev/same created (dry run)"), "{dry}");
    assert_eq!(names(&fabric.objects("system", "tenants")), ["default", "production"]);

    fabric.done("default", &clone, "");
    let same = fabric.done("default", &DIFF, "");
    assert!(same.starts_with("production and staging are the same: "), "{same}");
    let again = fabric.done("default", &clone, "");
    assert!(
        again.starts_with("staging is the same as production: ") && again.lines().count() == 1,
        "{again}"
    );
    let world = World::new(fabric);
    let vni = |tenant: &str| {
        let networks = world.fabric.objects(tenant, "virtualnetworks");
        let same = networks.iter().find(|network| network["metadata"]["name"] == "same").unwrap();
        same["status"]["vni"].as_u64().unwrap()
    };
    assert_eq!(vni("production"), 4711);
    assert_ne!(vni("staging"), 4711);
    let guarded = |_: &str, from: &str, to: &str| to != "c" || from == "a";
    world.hold("production and its clone", 40_001, guarded);

    world.fabric.apply("staging", &rules("b"));
    world.fabric.await_realised("staging");
    let told = world.refused(1, &DIFF);
    for line in [
        "production: networkpolicy.networking.k8s.io/rules in shop",
        "-          pod: a",
        "+          pod: b",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
    assert!(told.contains("1 is not the same, 0 only in production, 0 only in staging"), "{told}");
    let differ =
        |tenant: &str, from: &str, to: &str| to != "c" || from == if tenant == "staging" { "b" } else { "a" };
    world.hold("one rule of the clone is another", 40_002, differ);

    world.somebodys_work_is_safe(&clone);
    world.hold("brought back to what production is", 40_003, guarded);
    world.a_clone_that_was_cut_off_goes_on(&clone);
    world.ends();
}

#[test]
fn bad_names_and_subnets_are_told_at_once_and_nothing_is_made() {
    let fabric = Fabric::up("clonebad", 1);
    let told = |words: &[&str]| {
        let output = fabric.sealane("default", words, "");
        assert!(!output.status.success(), "{words:?} is not refused");
        String::from_utf8(output.stderr).unwrap()
    };
    let create = ["tenant", "create", "A_b", "--subnet", "10.1.0.0/33", "--subnet", "127.0.0.0/8"];
    let bad = told(&create);
    for part in ["NAME: ", "--subnet[0]: ", "--subnet[1]: ", "nothing was created"] {
        assert!(bad.contains(part), "{part:?} is not in\n{bad}");
    }
    assert!(told(&["tenant", "clone", "default", "default"]).contains("named twice"));
    assert!(told(&["tenant", "clone", "default", "system"]).contains("nobody's clone"));
    fabric.done("default", &["tenant", "create", "acme", "--subnet", "10.1.0.0/16"], "");
    assert!(told(&["tenant", "create", "acme"]).contains("already exists"));
    assert!(told(&["tenant", "clone", "acmee", "other"]).contains("did you mean acme?"));
    assert!(told(&["tenant", "delete", "default", "--yes"]).contains("may not be deleted"));
    assert!(told(&["diff", "--tenant", "acme"]).contains("--tenant A --tenant B"));
    assert_eq!(names(&fabric.objects("system", "tenants")), ["acme", "default"]);
    let network = &fabric.objects("acme", "virtualnetworks")[0];
    assert_eq!(network["spec"]["subnets"][0]["cidr"], "10.1.0.0/16", "{network}");
    fabric.down();
}

impl World {
    fn new(fabric: Fabric) -> Self {
        fabric.settle();
        let specs: Vec<(u16, Spec)> = TENANTS
            .iter()
            .flat_map(|tenant| PODS.map(|(name, host, last)| (host, spec(tenant, name, last))))
            .collect();
        let containers = fabric.run_all(&specs);
        let echo = |(container, (_, spec)): (&Container, &(u16, Spec))| {
            let name = full_name(spec.tenant.as_deref().unwrap(), &spec.name);
            Echo::start(container.namespace(), &name, &[Listen::tcp(PORT)]).unwrap()
        };
        let echoes = containers.iter().zip(&specs).map(echo).collect();
        for tenant in TENANTS {
            fabric.await_realised(tenant);
        }
        Self { containers, _echoes: echoes, fabric }
    }

    /// Every pod asks every other one of its tenant, in both tenants from and to the very same addresses and ports.
    #[track_caller]
    fn hold(&self, claim: &str, port: u16, allow: impl Fn(&str, &str, &str) -> bool) {
        let mut all = Vec::new();
        for (tenant, containers) in TENANTS.iter().zip(self.containers.chunks(PODS.len())) {
            for ((from, _, own), container) in PODS.into_iter().zip(containers) {
                let seen = SocketAddr::new(address(own), port);
                let question = |(to, _, last)| Question {
                    what: full_name(tenant, to),
                    probe: Probe {
                        protocol: Protocol::Tcp,
                        to: SocketAddr::new(address(last), PORT),
                        from: Some(seen),
                    },
                    wanted: allow(tenant, from, to).then(|| full_name(tenant, to)),
                    seen: Some(seen),
                };
                let others = PODS.into_iter().filter(|(to, ..)| *to != from);
                let asker = Asker { name: full_name(tenant, from), namespace: container.namespace().clone() };
                all.push((asker, others.map(question).collect()));
            }
        }
        hold(&self.fabric, claim, &all);
    }

    fn somebodys_work_is_safe(&self, clone: &[&str]) {
        let told = self.refused(1, clone);
        assert!(told.contains("rules in shop of staging: differs from production's"), "{told}");
        assert!(told.contains("nothing was cloned"), "{told}");
        let overwritten = self.fabric.done("default", &[clone, &["--overwrite"]].concat(), "");
        let expected = "networkpolicy.networking.k8s.io/rules in shop configured\nstaging is the same";
        assert!(overwritten.starts_with(expected), "{overwritten}");
        self.fabric.await_realised("staging");
    }

    /// What a clone leaves that is killed: the mark, and a part of the content.
    fn a_clone_that_was_cut_off_goes_on(&self, clone: &[&str]) {
        let mark = "apiVersion: sealane.dev/v1alpha1\nkind: Tenant\n\
            metadata: {name: staging, annotations: {sealane.dev/clone-of: production}}\n";
        self.fabric.apply("system", mark);
        self.fabric.done("staging", &["delete", "netpol", "rules", "-n", "shop"], "");
        self.fabric.apply(
            "staging",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: quiet, labels: {stage: other}}\n",
        );
        let told = self.refused(1, &DIFF);
        assert!(told.contains("rules in shop (is not there)"), "{told}");
        assert!(told.contains("sealane.dev/clone-of"), "an unfinished clone is not said: {told}");
        self.fabric.done("default", clone, "");
        self.fabric.done("default", &DIFF, "");
    }

    /// A tenant goes only without containers and only if that is said, and its twin stays whole.
    fn ends(self) {
        let told = self.refused(1, &["tenant", "delete", "staging", "--yes"]);
        assert!(told.contains("3 containers attached: shop/a on "), "{told}");
        let Self { containers, _echoes: echoes, fabric } = self;
        drop((echoes, containers));
        fabric.settle();
        let gone =
            || if fabric.objects("staging", "endpoints").is_empty() { Ok(()) } else { Err(String::new()) };
        lab::wait_until(fabric::PATIENCE, "the attachments are gone", gone).unwrap();
        let told = text(&fabric.sealane("default", &["tenant", "delete", "staging"], ""));
        assert!(
            told.contains("2 namespaces, 1 virtualnetwork, 1 networkpolicy") && told.contains("--yes"),
            "{told}"
        );
        let gone = fabric.done("default", &["tenant", "delete", "staging", "--yes"], "");
        assert_eq!(gone, "tenant.sealane.dev/staging deleted\n");
        assert_eq!(names(&fabric.objects("system", "tenants")), ["default", "production"]);
        assert_eq!(names(&fabric.objects("production", "networkpolicies")), ["rules"]);
        fabric.down();
    }

    /// What a command tells that ends with this code.
    #[track_caller]
    fn refused(&self, code: i32, words: &[&str]) -> String {
        let output = self.fabric.sealane("default", words, "");
        assert_eq!(output.status.code(), Some(code), "{words:?}\n{}", text(&output));
        text(&output)
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect()
}

fn address(last: u8) -> IpAddr {
    format!("10.40.0.{last}").parse().unwrap()
}

fn full_name(tenant: &str, pod: &str) -> String {
    format!("{tenant}/{pod}")
}

fn spec(tenant: &str, name: &str, last: u8) -> Spec {
    Spec {
        tenant: Some(tenant.to_owned()),
        namespace: Some("shop".to_owned()),
        labels: [("pod".to_owned(), name.to_owned())].into(),
        addresses: vec![address(last)],
        ..Spec::idle(name)
    }
}

/// `c` is reached by this one alone.
fn rules(friend: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: rules, namespace: shop}}\n\
         spec:\n  podSelector: {{matchLabels: {{pod: c}}}}\n  \
         ingress: [{{from: [{{podSelector: {{matchLabels: {{pod: {friend}}}}}}}]}}]\n"
    )
}

const PRODUCTION: &str = "
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: same}
spec: {vni: 4711, subnets: [{cidr: 10.40.0.0/24}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {sealane.dev/network: same}}
---
apiVersion: v1
kind: Namespace
metadata: {name: quiet, labels: {stage: any}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: rules, namespace: shop}
spec:
  podSelector: {matchLabels: {pod: c}}
  ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: shop}
rules: [{apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ada}]
";

const DIFF: [&str; 5] = ["diff", "--tenant", "production", "--tenant", "staging"];
const PORT: u16 = 7000;
