//! The documents that the fabric writes, and how it reads them again: endpoints, nodes, blocks, conditions.
//!
//! Promises: what is written is of the kinds' own form; what was written is read back the same.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use record::delta::Report;
use record::{NodeId, Prefix};
use serde_json::{Map, Value, json};
use store::ObjectKey;

use crate::blocks::Blocks;

/// The kinds' resources.
pub(crate) const TENANTS: &str = "tenants.sealane.dev";
pub(crate) const NODES: &str = "nodes.sealane.dev";
pub(crate) const NAMESPACES: &str = "namespaces";
pub(crate) const NETWORKS: &str = "virtualnetworks.sealane.dev";
pub(crate) const ENDPOINTS: &str = "endpoints.sealane.dev";
pub(crate) const POLICIES: &str = "networkpolicies.networking.k8s.io";
/// The leases of a network; known to this crate alone.
pub(crate) const BLOCKS: &str = "blocks.fleet.sealane.dev";
/// What compiling has numbered; known to this crate alone.
pub(crate) const COMPILED: &str = "compiled.fleet.sealane.dev";

/// The `Endpoint` of a report. `object` is its name in the namespace, `network` and `node` are names.
pub(crate) fn endpoint(report: &Report, object: &str, network: &str, node: &str, created: &str) -> Value {
    let port =
        |port: &record::NamedPort| json!({ "name": port.name, "protocol": port.protocol, "port": port.port });
    let published = report.published.iter().map(|(protocol, host, inner)| json!([protocol, host, inner]));
    json!({
        "apiVersion": "sealane.dev/v1alpha1",
        "kind": "Endpoint",
        "metadata": {
            "name": object,
            "namespace": report.namespace,
            "labels": report.labels,
            "uid": uid(&format!("endpoint {}", report.uid)),
            "creationTimestamp": created,
        },
        "spec": {
            "attachment": report.uid,
            "network": network,
            "node": node,
            "addresses": report.addresses,
            "ports": report.ports.iter().map(port).collect::<Vec<_>>(),
        },
        "status": {
            "name": report.name,
            "published": published.collect::<Vec<_>>(),
            "hostAddresses": report.host_addresses,
        },
    })
}

/// What an `Endpoint` carries beside its parsed form. What was written by a release before this one lacks some of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EndpointStatus {
    /// The workload's own name.
    pub(crate) name: Option<String>,
    /// Ports of the node that lead to it: (protocol number, node's port, endpoint's port).
    pub(crate) published: Vec<(u8, u16, u16)>,
    /// The addresses by which processes of its node reach it.
    pub(crate) host_addresses: Vec<IpAddr>,
}

/// Reads an `Endpoint`'s status.
pub(crate) fn endpoint_status(document: &Value) -> EndpointStatus {
    EndpointStatus {
        name: document.pointer("/status/name").and_then(Value::as_str).map(str::to_owned),
        published: listed(document, "/status/published"),
        host_addresses: listed(document, "/status/hostAddresses"),
    }
}

/// The items of a list that are what they should be.
fn listed<T: serde::de::DeserializeOwned>(document: &Value, path: &str) -> Vec<T> {
    let items = document.pointer(path).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| serde_json::from_value(item.clone()).ok()).collect()
}

/// When a document says that it was created.
pub(crate) fn created(document: &Value) -> Option<&str> {
    document.pointer("/metadata/creationTimestamp").and_then(Value::as_str)
}

/// A `Node`, without what is observed of it.
pub(crate) fn node(name: &str, underlay: &[IpAddr], created: &str) -> Value {
    json!({
        "apiVersion": "sealane.dev/v1alpha1",
        "kind": "Node",
        "metadata": { "name": name, "uid": uid(&format!("node {name} {created}")), "creationTimestamp": created },
        "spec": { "underlay": underlay },
    })
}

/// A minimal document of a kind that people write too.
pub(crate) fn plain(api_version: &str, kind: &str, name: &str, spec: Option<Value>, created: &str) -> Value {
    let mut document = json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "uid": uid(&format!("{kind} {name} {created}")),
            "creationTimestamp": created,
            "generation": 1,
        },
    });
    if let Some(spec) = spec {
        document["spec"] = spec;
    }
    document
}

/// The network that a new tenant gets: what requests without one mean.
pub(crate) fn default_network(subnets: &[Prefix], created: &str) -> Value {
    let subnets: Vec<Value> = subnets.iter().map(|subnet| json!({ "cidr": subnet.to_string() })).collect();
    let spec = json!({ "subnets": subnets });
    let document =
        plain("sealane.dev/v1alpha1", "VirtualNetwork", intent::object::DEFAULT, Some(spec), created);
    let admitted = intent::admit(intent::Kind::VirtualNetwork, document, intent::UnknownFields::Refuse);
    admitted.expect("the server's config was checked by the same rules").document
}

/// The leases of one network.
pub(crate) fn blocks(blocks: &Blocks) -> Value {
    let leases: Map<String, Value> =
        blocks.leases().map(|(block, node)| (block.to_string(), Value::from(node.0))).collect();
    json!({ "leases": leases })
}

/// The leases that [`blocks`] wrote; `None`: it is of another form, or two overlap.
pub(crate) fn read_blocks(document: &Value) -> Option<Blocks> {
    let leases = document.get("leases")?.as_object()?;
    let lease = |(block, node): (&String, &Value)| {
        let node = u32::try_from(node.as_u64()?).ok()?;
        Some((block.parse::<Prefix>().ok()?, NodeId(node)))
    };
    Blocks::restore(leases.iter().map(lease).collect::<Option<Vec<_>>>()?).ok()
}

/// One number that compiling gave, by its opaque key.
pub(crate) fn compiled(key: &[u8], value: &[u8]) -> Value {
    json!({ "key": hex(key), "value": hex(value) })
}

/// What [`compiled`] wrote.
pub(crate) fn read_compiled(document: &Value) -> Option<(Vec<u8>, Vec<u8>)> {
    let bytes = |field: &str| unhex(document.get(field)?.as_str()?);
    Some((bytes("key")?, bytes("value")?))
}

/// Under which object a compiled number is kept.
pub(crate) fn compiled_key(key: &[u8]) -> ObjectKey {
    let name = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(key));
    ObjectKey::new(ObjectKey::SYSTEM, COMPILED, None, &name)
}

/// One thing that holds of an object, or does not (meta.k8s.io/v1 `Condition`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) kind: &'static str,
    pub(crate) holds: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Condition {
    /// Writes it into a document's status; the time of transition stays while the condition holds or does not. `false`: it said
    /// so before.
    pub(crate) fn write(&self, document: &mut Value, now: &str) -> bool {
        let before = document.pointer("/status/conditions").and_then(Value::as_array).cloned();
        let mut conditions = before.clone().unwrap_or_default();
        let generation = document.pointer("/metadata/generation").cloned();
        let known = conditions.iter().position(|condition| condition["type"] == self.kind);
        let status = if self.holds { "True" } else { "False" };
        let since = known.map(|at| &conditions[at]).filter(|condition| condition["status"] == status);
        let since = since.and_then(|condition| condition["lastTransitionTime"].as_str()).unwrap_or(now);
        let mut condition = json!({
            "type": self.kind,
            "status": status,
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": since,
        });
        if let Some(generation) = generation {
            condition["observedGeneration"] = generation;
        }
        match known {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
        let changed = before.as_deref() != Some(conditions.as_slice());
        if changed {
            status_of(document).insert("conditions".into(), conditions.into());
        }
        changed
    }
}

/// The status of a document; made where there is none.
pub(crate) fn status_of(document: &mut Value) -> &mut Map<String, Value> {
    if !document.get("status").is_some_and(Value::is_object) {
        document["status"] = json!({});
    }
    document["status"].as_object_mut().expect("it was just made an object")
}

/// A time as documents carry it (RFC 3339, seconds, UTC).
pub(crate) fn stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 1970 to a date of the Gregorian calendar, counted in eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// An object's `metadata.uid` that follows from what it stands for (RFC 9562 version 8).
pub(crate) fn uid(of: &str) -> String {
    let bits = xxhash_rust::xxh3::xxh3_128(of.as_bytes());
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x8 << 76) | (0x2 << 62);
    let text = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to memory does not fail");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use intent::{Kind, Parsed};

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_132_799, "2026-11-19T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn an_endpoint_is_read_back_as_it_was_reported() {
        let report = Report {
            uid: "n1/cni/abc/eth0".into(),
            tenant: record::TenantId(1),
            vni: record::Vni::new(5).unwrap(),
            namespace: "shop".into(),
            name: "web".into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ports: vec![record::NamedPort { name: "http".into(), protocol: record::Protocol::Tcp, port: 80 }],
            addresses: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            published: vec![(6, 8080, 80)],
            host_addresses: vec!["100.64.0.3".parse().unwrap(), "fd5e::3".parse().unwrap()],
        };
        let document = endpoint(&report, "web-2", "default", "n1", "2026-11-20T00:00:00Z");
        let Parsed::Endpoint(parsed) = intent::parse(Kind::Endpoint, &document).unwrap() else { panic!() };
        assert_eq!((parsed.uid, parsed.addresses), (report.uid, report.addresses));
        assert_eq!((parsed.labels, parsed.ports), (report.labels, report.ports));
        let status = endpoint_status(&document);
        assert_eq!((status.name.as_deref(), status.published), (Some("web"), report.published));
        assert_eq!(status.host_addresses, report.host_addresses);
        let bare = EndpointStatus { name: None, published: Vec::new(), host_addresses: Vec::new() };
        assert_eq!(endpoint_status(&json!({ "status": {} })), bare);
        let node = node("n1", &["192.0.2.1".parse().unwrap()], "2026-11-20T00:00:00Z");
        assert!(matches!(intent::parse(Kind::Node, &node), Ok(Parsed::Node(_))));
    }

    #[test]
    fn what_is_kept_for_this_crate_alone_is_read_back() {
        let mut leases = Blocks::default();
        let host: IpAddr = "10.0.0.9".parse().unwrap();
        let prefix: Prefix = "10.0.0.0/24".parse().unwrap();
        let subnet = record::record::Subnet { prefix, gateway: "10.0.0.1".parse().unwrap() };
        leases.lease_fixed(&[subnet], host, NodeId(3)).unwrap();
        assert_eq!(read_blocks(&blocks(&leases)), Some(leases));
        assert_eq!(read_blocks(&json!({ "leases": { "10.0.0.0/8": 1, "10.0.0.1/32": 2 } })), None);
        let (key, value) = (vec![0, 255, 16], vec![]);
        assert_eq!(read_compiled(&compiled(&key, &value)), Some((key, value)));
        assert_eq!(read_compiled(&json!({ "key": "0", "value": "" })), None);
    }

    #[test]
    fn a_condition_keeps_the_time_since_when_it_holds() {
        let mut document = json!({ "metadata": { "generation": 2 } });
        let condition = |holds| Condition { kind: "Ready", holds, reason: "Heard", message: String::new() };
        assert!(condition(true).write(&mut document, "then"));
        assert!(!condition(true).write(&mut document, "later"));
        assert_eq!(document["status"]["conditions"][0]["lastTransitionTime"], "then");
        assert!(condition(false).write(&mut document, "later"));
        assert_eq!(document["status"]["conditions"][0]["lastTransitionTime"], "later");
        assert_eq!(document["status"]["conditions"].as_array().unwrap().len(), 1);
    }
}
