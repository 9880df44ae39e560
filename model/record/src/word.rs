//! The words that every layer shares: identities, prefixes, groups, verdicts.
//!
//! Promises: a value that exists is valid. Conversion from text or the wire is where a wrong one is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Labels of an endpoint or a namespace, sorted by key.
pub type Labels = BTreeMap<String, String>;

/// Declares a number that names something, so that no two kinds of number are mixed up.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
        #[serde(transparent)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A tenant, unique in the fabric for its life. 0 is the provider's own level, `system`.
    TenantId(u32)
}
id! {
    /// A host of the fabric.
    NodeId(u32)
}
id! {
    /// A selector that policies in force use, unique in the fabric.
    SelectorId(u32)
}
id! {
    /// What one direction of policy says for the groups that have it, unique in the fabric. 0 means "not isolated": every
    /// lookup in it answers [`Verdict::Default`].
    RuleSetId(u32)
}
id! {
    /// One rule of one policy object, unique in the fabric; at most [`RuleId::MAX`]. 0 means that no rule decided.
    RuleId(u32)
}
id! {
    /// A node's numbered state: the server's start counter in the upper 32 bits, a count within it in the lower. A node
    /// refuses an older one than it holds.
    Generation(u64)
}
id! {
    /// A group of a tenant: what no policy in force can tell apart. 0–255 are reserved, see the constants.
    Group(u16)
}

impl RuleId {
    /// The datapath keeps a rule and its verdict in one 32-bit word: 30 bits are the rule's.
    pub const MAX: u32 = (1 << 30) - 1;
}

impl RuleSetId {
    /// The rule set of whoever no policy isolates.
    pub const OPEN: Self = Self(0);
}

impl Group {
    /// Not known (yet): denied by name, never treated as somebody.
    pub const UNKNOWN: Self = Self(0);
    /// The node that an endpoint runs on. Upstream lets it reach its own endpoints always (probes).
    pub const HOST: Self = Self(1);
    /// An address outside the fabric that no `ipBlock` in force covers.
    pub const WORLD: Self = Self(2);
    /// The network's own gateway address.
    pub const GATEWAY: Self = Self(3);
    /// The first number that is given out; those before are reserved.
    pub const FIRST: Self = Self(256);
}

/// A VXLAN network identifier (RFC 7348): 24 bits, never 0. One names one virtual network in the whole fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Encode)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Vni(#[n(0)] u32);

impl Vni {
    /// The largest identifier that fits the header.
    pub const MAX: u32 = (1 << 24) - 1;

    /// `None` for 0 and for what does not fit 24 bits.
    pub const fn new(value: u32) -> Option<Self> {
        if value == 0 || value > Self::MAX { None } else { Some(Self(value)) }
    }

    /// The number as the datapath and the wire carry it.
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Vni {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u32::deserialize(deserializer)?;
        Self::new(value)
            .ok_or_else(|| serde::de::Error::custom(format!("VNI {value} is not within 1–{}", Self::MAX)))
    }
}

impl<'b, C> Decode<'b, C> for Vni {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::new(d.u32()?).ok_or_else(|| minicbor::decode::Error::message("VNI outside 1–16777215"))
    }
}

/// An IPv4 or IPv6 network in its canonical form: no bit set behind the length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why a text is no [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not `ADDRESS/LENGTH`.
    #[error("{0:?} is not ADDRESS/LENGTH, such as 10.1.0.0/16 or fd00:1::/64")]
    Form(String),
    /// The length is longer than the address.
    #[error("/{length} is longer than an address of {bits} bits")]
    Length {
        /// The length given.
        length: u8,
        /// What the family allows.
        bits: u8,
    },
    /// Bits are set behind the length.
    #[error("{given} has bits set behind its length; the network is {network}")]
    HostBits {
        /// What was written.
        given: String,
        /// The network it lies in.
        network: Prefix,
    },
}

impl Prefix {
    /// The network of `length` bits that holds `address`; bits behind the length are cleared.
    pub fn containing(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let network = ipnet::IpNet::new(address, length)
            .map_err(|_| PrefixError::Length { length, bits: address_bits(address) })?;
        Ok(Self { address: network.network(), length })
    }

    /// The prefix of one address: /32 or /128.
    pub const fn host(address: IpAddr) -> Self {
        Self { address, length: address_bits(address) }
    }

    /// The whole family of `address`: 0.0.0.0/0 or ::/0.
    pub const fn everything(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 },
            IpAddr::V6(_) => Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 },
        }
    }

    /// The first address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The length in bits, at most [`Prefix::bits`].
    pub const fn length(self) -> u8 {
        self.length
    }

    /// 32 or 128.
    pub const fn bits(self) -> u8 {
        address_bits(self.address)
    }

    /// Whether it is IPv4.
    pub const fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether the address lies inside; an address of the other family never does.
    pub fn contains(self, address: IpAddr) -> bool {
        self.net().contains(&address)
    }

    /// Whether the whole of `other` lies inside (a prefix covers itself).
    pub fn covers(self, other: Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    /// Whether any address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The same as `ipnet`'s type, for its arithmetic.
    pub fn net(self) -> ipnet::IpNet {
        ipnet::IpNet::new(self.address, self.length).expect("a prefix's length fits its family")
    }

    /// The address `offset` places after the first; `None` past the end.
    pub fn nth(self, offset: u128) -> Option<IpAddr> {
        let free = u32::from(self.bits() - self.length);
        if free < 128 && offset >> free != 0 {
            return None;
        }
        Some(match self.address {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from(u32::from(first) + u32::try_from(offset).ok()?)),
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from(u128::from(first) + offset)),
        })
    }

    /// How many addresses it holds, saturating for ::/0.
    pub fn size(self) -> u128 {
        1u128.checked_shl(u32::from(self.bits() - self.length)).unwrap_or(u128::MAX)
    }
}

const fn address_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl From<ipnet::IpNet> for Prefix {
    fn from(net: ipnet::IpNet) -> Self {
        Self { address: net.network(), length: net.prefix_len() }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let form = || PrefixError::Form(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(form)?;
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u8 = if digits { length.parse().map_err(|_| form())? } else { return Err(form()) };
        let network = Self::containing(address, length)?;
        if network.address == address {
            Ok(network)
        } else {
            Err(PrefixError::HostBits { given: text.to_owned(), network })
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> Encode<C> for Prefix {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?.encode_with(self.address, ctx)?.u8(self.length)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Prefix {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("a prefix is an address and a length"));
        }
        let address: IpAddr = d.decode_with(ctx)?;
        Self::containing(address, d.u8()?).map_err(minicbor::decode::Error::custom)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Mac(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2);
            *octet = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| format!("{text:?} is not an Ethernet address such as 02:00:00:00:00:01"))?;
        }
        if parts.next().is_some() || octets[0] & 1 != 0 {
            return Err(format!("{text:?} is not the Ethernet address of one interface"));
        }
        Ok(Self(octets))
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A transport protocol that policy can name; the numbers are IANA's.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "UPPERCASE")]
#[cbor(index_only)]
pub enum Protocol {
    /// Transmission Control Protocol.
    #[n(6)]
    Tcp = 6,
    /// User Datagram Protocol.
    #[n(17)]
    Udp = 17,
    /// Stream Control Transmission Protocol.
    #[n(132)]
    Sctp = 132,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// IANA's number.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("{text:?} is not TCP, UDP or SCTP"))
    }
}

/// A port that a workload has given a name, as policies may use it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
pub struct NamedPort {
    /// An IANA service name: at most 15 of `a-z0-9-`.
    #[n(0)]
    pub name: String,
    /// The protocol it is served by.
    #[n(1)]
    pub protocol: Protocol,
    /// 1–65535.
    #[n(2)]
    pub port: u16,
}

/// Which side of a flow a policy speaks of, as the workload sees it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[cbor(index_only)]
pub enum Direction {
    /// To the workload.
    #[n(0)]
    Ingress,
    /// From the workload.
    #[n(1)]
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// What policy says of one direction of a flow. The numbers are the datapath's.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[cbor(index_only)]
pub enum Verdict {
    /// No policy speaks of it: the network's default decides.
    #[default]
    #[n(0)]
    Default = 0,
    /// Allowed by a rule.
    #[n(1)]
    Allow = 1,
    /// Denied by a rule, or by the isolation that a policy brings.
    #[n(2)]
    Deny = 2,
}

/// A verdict and the rule that decided it ([`RuleId`] 0: none).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
pub struct Decision {
    /// What was decided.
    #[n(0)]
    pub verdict: Verdict,
    /// By which rule.
    #[n(1)]
    pub rule: RuleId,
}
