//! The records: small named units of node state. A node is the sum of the records it holds.
//!
//! Promises: a record is named by its [`Key`]; what it refers to comes before it in the order of keys, and is removed after it;
//! its [`Version`] follows from its content, so server and node agree on what is held without any memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::selector::Selector;
use crate::word::{
    Decision, Direction, Group, Labels, NamedPort, NodeId, Prefix, Protocol, RuleId, RuleSetId, SelectorId,
    TenantId, Vni,
};

/// One unit of node state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(tag = "record", rename_all = "camelCase")]
pub enum Record {
    /// A tenant with a network on this node.
    #[n(0)]
    Tenant(#[n(0)] Tenant),
    /// A host of the fabric.
    #[n(1)]
    Node(#[n(0)] Node),
    /// A virtual network.
    #[n(2)]
    Network(#[n(0)] Network),
    /// That a node may send in a network.
    #[n(3)]
    Member(#[n(0)] Member),
    /// Where the addresses of a block are.
    #[n(4)]
    Route(#[n(0)] Route),
    /// A namespace of a tenant, as far as attaching and selecting need it.
    #[n(5)]
    Project(#[n(0)] Project),
    /// A selector that policy uses.
    #[n(6)]
    Selector(#[n(0)] NamedSelector),
    /// A rule that verdicts refer to.
    #[n(7)]
    Rule(#[n(0)] Rule),
    /// One row of a rule set.
    #[n(8)]
    Row(#[n(0)] Row),
    /// A group and its rule sets.
    #[n(9)]
    Group(#[n(0)] GroupRules),
    /// The group of outside addresses.
    #[n(10)]
    AddressClass(#[n(0)] AddressClass),
    /// The server's word on an endpoint of this node.
    #[n(11)]
    Endpoint(#[n(0)] Endpoint),
}

/// What names a record. The order of keys is the order in which records depend on each other: what is referred to first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
pub enum Key {
    /// See [`Record::Tenant`].
    #[n(0)]
    Tenant(#[n(0)] TenantId),
    /// See [`Record::Node`].
    #[n(1)]
    Node(#[n(0)] NodeId),
    /// See [`Record::Network`].
    #[n(2)]
    Network(#[n(0)] Vni),
    /// See [`Record::Member`].
    #[n(3)]
    Member(#[n(0)] Vni, #[n(1)] NodeId),
    /// See [`Record::Route`].
    #[n(4)]
    Route(#[n(0)] Vni, #[n(1)] Prefix),
    /// See [`Record::Project`].
    #[n(5)]
    Project(#[n(0)] TenantId, #[n(1)] String),
    /// See [`Record::Selector`].
    #[n(6)]
    Selector(#[n(0)] TenantId, #[n(1)] SelectorId),
    /// See [`Record::Rule`].
    #[n(7)]
    Rule(#[n(0)] TenantId, #[n(1)] RuleId),
    /// See [`Record::Row`].
    #[n(8)]
    Row(#[n(0)] TenantId, #[n(1)] RuleSetId, #[n(2)] Peer),
    /// See [`Record::Group`].
    #[n(9)]
    Group(#[n(0)] TenantId, #[n(1)] Group),
    /// See [`Record::AddressClass`].
    #[n(10)]
    AddressClass(#[n(0)] TenantId, #[n(1)] Prefix),
    /// See [`Record::Endpoint`].
    #[n(11)]
    Endpoint(#[n(0)] TenantId, #[n(1)] String),
}

/// The content of a record in 64 bits (XXH3 of its encoding).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Version(#[n(0)] pub u64);

/// A tenant with a network on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Tenant {
    /// Its number.
    #[n(0)]
    pub id: TenantId,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// The ports that its policies name: of an endpoint's named ports exactly these are part of its group.
    #[n(2)]
    pub port_names: BTreeSet<PortName>,
}

/// A name that a policy uses for a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
pub struct PortName {
    /// The protocol.
    #[n(0)]
    pub protocol: Protocol,
    /// The name.
    #[n(1)]
    pub name: String,
}

/// A host of the fabric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Node {
    /// Its number.
    #[n(0)]
    pub id: NodeId,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// Its underlay addresses, at most one of each family, in order of preference for tunnels to it.
    #[n(2)]
    pub underlay: Vec<IpAddr>,
}

/// A virtual network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Its identifier, in the fabric and on the wire.
    #[n(0)]
    pub vni: Vni,
    /// Whose it is.
    #[n(1)]
    pub tenant: TenantId,
    /// Its name within the tenant.
    #[n(2)]
    pub name: String,
    /// Its address ranges, at least one; no two overlap.
    #[n(3)]
    pub subnets: Vec<Subnet>,
    /// Whether traffic that no policy speaks of is allowed.
    #[n(4)]
    pub default_allow: bool,
    /// Whether endpoints may leave to the world (source-translated to their node).
    #[n(5)]
    pub world: bool,
    /// The largest packet of an endpoint in bytes; `None`: what the underlay leaves.
    #[n(6)]
    pub mtu: Option<u16>,
}

/// One address range of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode)]
pub struct Subnet {
    /// The range.
    #[n(0)]
    pub prefix: Prefix,
    /// The address that the fabric answers on; no endpoint has it.
    #[n(1)]
    pub gateway: IpAddr,
}

/// That a node has endpoints in a network, so that its word on a sender's group is believed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Member {
    /// The network.
    #[n(0)]
    pub vni: Vni,
    /// The node.
    #[n(1)]
    pub node: NodeId,
}

/// A block of a network's addresses and the node that holds it. A node hands out addresses from the blocks it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Route {
    /// The network.
    #[n(0)]
    pub vni: Vni,
    /// The block.
    #[n(1)]
    pub prefix: Prefix,
    /// Who holds it.
    #[n(2)]
    pub node: NodeId,
}

/// A namespace of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Project {
    /// Whose it is.
    #[n(0)]
    pub tenant: TenantId,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// Its labels, which selectors match.
    #[n(2)]
    pub labels: Labels,
    /// The network of endpoints that name none.
    #[n(3)]
    pub network: String,
}

/// A selector with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct NamedSelector {
    /// Whose policies use it.
    #[n(0)]
    pub tenant: TenantId,
    /// Its number.
    #[n(1)]
    pub id: SelectorId,
    /// What it selects.
    #[n(2)]
    pub selector: Selector,
}

/// One rule of one policy object: what drops and explanations refer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Rule {
    /// Whose policy it is.
    #[n(0)]
    pub tenant: TenantId,
    /// Its number.
    #[n(1)]
    pub id: RuleId,
    /// The object's kind: `NetworkPolicy`.
    #[n(2)]
    pub kind: String,
    /// The object's namespace.
    #[n(3)]
    pub namespace: String,
    /// The object's name.
    #[n(4)]
    pub name: String,
    /// Of which list.
    #[n(5)]
    pub direction: Direction,
    /// Its place in that list, from 0; `None`: the isolation that the object brings by selecting the endpoint.
    #[n(6)]
    pub index: Option<u32>,
}

/// Whom a row is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
pub enum Peer {
    /// Every group that has no row of its own.
    #[n(0)]
    Others,
    /// This group.
    #[n(1)]
    Group(#[n(0)] Group),
}

/// One row of a rule set: what it says of one peer group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Whose.
    #[n(0)]
    pub tenant: TenantId,
    /// Of which rule set; never [`RuleSetId::OPEN`].
    #[n(1)]
    pub rule_set: RuleSetId,
    /// About whom.
    #[n(2)]
    pub peer: Peer,
    /// Disjoint intervals, sorted by [`PortInterval::start`], the first at (0, 0); each reaches to the next one's start.
    #[n(3)]
    pub ports: Vec<PortInterval>,
}

/// An interval of a [`Row`]: from (protocol, port) to the start of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode)]
pub struct PortInterval {
    /// IANA's protocol number. Protocols without ports look up port 0.
    #[n(0)]
    pub protocol: u8,
    /// The first port.
    #[n(1)]
    pub port: u16,
    /// What holds from there on.
    #[n(2)]
    pub decision: Decision,
}

/// A group: how its members are known, and the rule sets that judge them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct GroupRules {
    /// Whose.
    #[n(0)]
    pub tenant: TenantId,
    /// Its number in the tenant.
    #[n(1)]
    pub group: Group,
    /// Whether its members are endpoints, or outside addresses.
    #[n(2)]
    pub members: Members,
    /// The selectors that match its members: exactly these.
    #[n(3)]
    pub selectors: BTreeSet<SelectorId>,
    /// Its members' named ports, as far as [`Tenant::port_names`] has them.
    #[n(4)]
    pub ports: BTreeSet<NamedPort>,
    /// What judges traffic to its members.
    #[n(5)]
    pub ingress: RuleSetId,
    /// What judges traffic from its members.
    #[n(6)]
    pub egress: RuleSetId,
}

/// What a group is made of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[cbor(index_only)]
pub enum Members {
    /// Endpoints of the fabric.
    #[n(0)]
    Endpoints,
    /// Addresses outside the fabric.
    #[n(1)]
    Addresses,
}

/// The group of the outside addresses in a range; the longest range that holds an address counts, none: [`Group::WORLD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct AddressClass {
    /// Whose policies cut it.
    #[n(0)]
    pub tenant: TenantId,
    /// The range.
    #[n(1)]
    pub prefix: Prefix,
    /// Its group.
    #[n(2)]
    pub group: Group,
}

/// The server's word on an endpoint that the node has reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Endpoint {
    /// Whose.
    #[n(0)]
    pub tenant: TenantId,
    /// The attachment, as the node named it.
    #[n(1)]
    pub uid: String,
    /// The group of each of its addresses.
    #[n(2)]
    pub groups: BTreeMap<IpAddr, Group>,
}

impl Record {
    /// What names it.
    pub fn key(&self) -> Key {
        match self {
            Self::Tenant(tenant) => Key::Tenant(tenant.id),
            Self::Node(node) => Key::Node(node.id),
            Self::Network(network) => Key::Network(network.vni),
            Self::Member(member) => Key::Member(member.vni, member.node),
            Self::Route(route) => Key::Route(route.vni, route.prefix),
            Self::Project(project) => Key::Project(project.tenant, project.name.clone()),
            Self::Selector(selector) => Key::Selector(selector.tenant, selector.id),
            Self::Rule(rule) => Key::Rule(rule.tenant, rule.id),
            Self::Row(row) => Key::Row(row.tenant, row.rule_set, row.peer),
            Self::Group(group) => Key::Group(group.tenant, group.group),
            Self::AddressClass(class) => Key::AddressClass(class.tenant, class.prefix),
            Self::Endpoint(endpoint) => Key::Endpoint(endpoint.tenant, endpoint.uid.clone()),
        }
    }

    /// Its content in 64 bits: equal records have equal versions.
    pub fn version(&self) -> Version {
        Version(xxhash_rust::xxh3::xxh3_64(&encode(self)))
    }
}

impl Subnet {
    /// Whether an endpoint may have the address: inside, not the gateway, not the first (IPv4: the network's own; IPv6: the
    /// routers' anycast address, RFC 4291 section 2.6.1), in IPv4 not the last (broadcast). Subnets of one or two addresses
    /// have no first and last (RFC 3021, RFC 6164). Nodes hand out no other address of the blocks they hold.
    pub fn assignable(self, address: IpAddr) -> bool {
        self.prefix.contains(address) && !self.reserved().contains(&Some(address))
    }

    /// How many addresses of a block inside the subnet are assignable, saturating.
    pub fn count(self, block: Prefix) -> u128 {
        let [gateway, first, last] = self.reserved();
        let distinct =
            [gateway, first.filter(|_| first != gateway), last.filter(|_| last != gateway && last != first)];
        let reserved = distinct.into_iter().flatten().filter(|address| block.contains(*address)).count();
        block.size() - reserved as u128
    }

    /// The gateway, and the first and last address where they are set apart.
    fn reserved(self) -> [Option<IpAddr>; 3] {
        let wide = self.prefix.bits() - self.prefix.length() > 1;
        let first = Some(self.prefix.address()).filter(|_| wide);
        let last = (wide && self.prefix.is_ipv4()).then(|| self.prefix.nth(self.prefix.size() - 1)).flatten();
        [Some(self.gateway), first, last]
    }
}

impl Row {
    /// What the row says of one protocol and port. The same search that the datapath makes.
    pub fn decision(&self, protocol: u8, port: u16) -> Decision {
        let after =
            self.ports.partition_point(|interval| (interval.protocol, interval.port) <= (protocol, port));
        after.checked_sub(1).map(|index| self.ports[index].decision).unwrap_or_default()
    }
}

impl Endpoint {
    /// The group of one address, [`Group::UNKNOWN`] for one that is not the endpoint's.
    pub fn group(&self, address: IpAddr) -> Group {
        self.groups.get(&address).copied().unwrap_or(Group::UNKNOWN)
    }
}

/// The encoding used on the stream, in the journal and for versions: CBOR with numbered fields (RFC 8949), so that a later
/// version may add fields.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to memory does not fail")
}

/// The inverse of [`encode`].
pub fn decode<'a, T: Decode<'a, ()>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    minicbor::decode(bytes).map_err(|source| DecodeError { source })
}

/// Bytes that are no value of this version.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode a record: it is damaged, or of a newer version")]
pub struct DecodeError {
    #[source]
    source: minicbor::decode::Error,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::Verdict;

    #[test]
    fn a_row_answers_with_the_last_interval_that_starts_at_or_before() {
        let deny = Decision { verdict: Verdict::Deny, rule: RuleId(1) };
        let allow = Decision { verdict: Verdict::Allow, rule: RuleId(2) };
        let row = Row {
            tenant: TenantId(1),
            rule_set: RuleSetId(1),
            peer: Peer::Others,
            ports: vec![
                PortInterval { protocol: 0, port: 0, decision: deny },
                PortInterval { protocol: 6, port: 80, decision: allow },
                PortInterval { protocol: 6, port: 82, decision: deny },
            ],
        };
        for (protocol, port, expected) in
            [(1, 0, deny), (6, 79, deny), (6, 80, allow), (6, 81, allow), (6, 82, deny), (17, 80, deny)]
        {
            assert_eq!(row.decision(protocol, port), expected, "{protocol}/{port}");
        }
    }

    #[test]
    fn the_networks_own_addresses_are_not_assignable() {
        for (prefix, gateway, own, hosts) in [
            ("10.0.0.0/24", "10.0.0.1", vec!["10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.1.1"], 253),
            ("10.0.0.0/30", "10.0.0.2", vec!["10.0.0.0", "10.0.0.2", "10.0.0.3"], 1),
            ("10.0.0.0/31", "10.0.0.0", vec!["10.0.0.0"], 1),
            ("fd00::/126", "fd00::1", vec!["fd00::", "fd00::1"], 2),
        ] {
            let subnet = Subnet { prefix: prefix.parse().unwrap(), gateway: gateway.parse().unwrap() };
            for address in own {
                assert!(!subnet.assignable(address.parse().unwrap()), "{address} of {prefix}");
            }
            let all = (0..subnet.prefix.size()).filter_map(|offset| subnet.prefix.nth(offset));
            assert_eq!(all.filter(|address| subnet.assignable(*address)).count(), hosts, "{prefix}");
            assert_eq!(subnet.count(subnet.prefix), hosts as u128, "{prefix}");
        }
    }

    #[test]
    fn records_survive_the_wire_and_equal_ones_have_equal_versions() {
        let record = Record::Network(Network {
            vni: Vni::new(7).unwrap(),
            tenant: TenantId(3),
            name: "web".into(),
            subnets: vec![Subnet {
                prefix: "10.1.0.0/24".parse().unwrap(),
                gateway: "10.1.0.1".parse().unwrap(),
            }],
            default_allow: true,
            world: true,
            mtu: None,
        });
        let back: Record = decode(&encode(&record)).unwrap();
        assert_eq!(back, record);
        assert_eq!(back.version(), record.version());
    }

    #[test]
    fn keys_sort_in_order_of_dependence() {
        let vni = Vni::new(1).unwrap();
        let tenant = TenantId(1);
        let prefix = "10.0.0.0/24".parse().unwrap();
        let keys = [
            Key::Tenant(tenant),
            Key::Node(NodeId(1)),
            Key::Network(vni),
            Key::Member(vni, NodeId(1)),
            Key::Route(vni, prefix),
            Key::Project(tenant, "a".into()),
            Key::Selector(tenant, SelectorId(1)),
            Key::Rule(tenant, RuleId(1)),
            Key::Row(tenant, RuleSetId(1), Peer::Others),
            Key::Group(tenant, Group::FIRST),
            Key::AddressClass(tenant, prefix),
            Key::Endpoint(tenant, "a".into()),
        ];
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
