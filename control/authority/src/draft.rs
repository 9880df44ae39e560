//! Certificates as they are written: X.509 version 3 (RFC 5280), signed by a [`Key`].

use std::net::IpAddr;

use der::asn1::{OctetString, SetOfVec, Utf8StringRef};
use der::{Decode, Encode, Sequence};
use identity::{Certificate, Key, Validity};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::ext::{Extensions, ToExtension};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};
use x509_cert::time::Time;

use crate::Subject;

/// A certificate about to be signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) subject: &'a Subject,
    /// The key that is certified, a SubjectPublicKeyInfo in DER.
    pub(crate) public: &'a [u8],
    pub(crate) validity: Validity,
    pub(crate) purpose: Purpose<'a>,
}

/// What a certificate is good for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose<'a> {
    /// To sign others, which sign none.
    Root,
    /// To be a server under these names.
    Server(&'a [ServerName]),
    /// To say who calls.
    Client,
}

/// A name that clients call a server by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerName {
    /// A DNS name.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

/// Who signs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signer<'a> {
    /// The key itself: a root.
    Itself(&'a Key),
    /// A root.
    Root(&'a Certificate, &'a Key),
}

impl Draft<'_> {
    /// Signs it. What it holds must have been checked: nothing here can be refused.
    pub(crate) fn sign(&self, signer: Signer<'_>) -> Certificate {
        let (key, issuer) = match signer {
            Signer::Itself(key) => (key, names(self.subject)),
            Signer::Root(root, key) => (key, names_of(root)),
        };
        let body = Body {
            version: Version::V3,
            serial: SerialNumber::new(&serial()).expect("a serial of 16 bytes is short enough"),
            signature: Key::algorithm(),
            issuer,
            validity: x509_cert::time::Validity::new(
                instant(self.validity.from),
                instant(self.validity.until),
            ),
            subject: names(self.subject),
            public: SubjectPublicKeyInfoOwned::from_der(self.public).expect("the key was read before"),
            extensions: Some(self.extensions(key)),
        };
        let signature = key.sign(&body.to_der().expect("a certificate has a DER"));
        let signature = der::asn1::BitString::from_bytes(&signature).expect("a signature is short");
        let whole = Whole { body, algorithm: Key::algorithm(), signature };
        let der = whole.to_der().expect("a certificate has a DER");
        Certificate::new(der.into()).expect("what was written is read back")
    }

    fn extensions(&self, signer: &Key) -> Extensions {
        let mut extensions = Extensions::new();
        let root = matches!(self.purpose, Purpose::Root);
        // A root signs what stands at the end: a stolen certificate of a node cannot pass for another root.
        push(&mut extensions, true, &BasicConstraints { ca: root, path_len_constraint: root.then_some(0) });
        let usage = if root {
            KeyUsages::KeyCertSign | KeyUsages::CRLSign
        } else {
            KeyUsages::DigitalSignature.into()
        };
        push(&mut extensions, true, &KeyUsage(usage));
        push(&mut extensions, false, &SubjectKeyIdentifier(key_identifier(self.public)));
        if !root {
            let key_identifier = Some(key_identifier(signer.public()));
            push(&mut extensions, false, &AuthorityKeyIdentifier { key_identifier, ..Default::default() });
        }
        match self.purpose {
            Purpose::Root => {}
            Purpose::Client => push(&mut extensions, false, &ExtendedKeyUsage(vec![CLIENT_AUTH])),
            Purpose::Server(names) => {
                push(&mut extensions, false, &ExtendedKeyUsage(vec![SERVER_AUTH]));
                push(
                    &mut extensions,
                    false,
                    &SubjectAltName(names.iter().map(ServerName::general).collect()),
                );
            }
        }
        extensions
    }
}

impl ServerName {
    fn general(&self) -> GeneralName {
        match self {
            Self::Dns(name) => GeneralName::DnsName(
                der::asn1::Ia5String::new(name).expect("a DNS name that was checked is ASCII"),
            ),
            Self::Address(address) => GeneralName::from(*address),
        }
    }
}

impl std::fmt::Display for ServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// What is signed: `TBSCertificate` of RFC 5280 section 4.1.
#[derive(Sequence)]
struct Body {
    #[asn1(context_specific = "0", default = "Default::default")]
    version: Version,
    serial: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: RdnSequence,
    validity: x509_cert::time::Validity,
    subject: RdnSequence,
    public: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

/// `Certificate` of RFC 5280 section 4.1.
#[derive(Sequence)]
struct Whole {
    body: Body,
    algorithm: AlgorithmIdentifierOwned,
    signature: der::asn1::BitString,
}

/// Every group is an O of its own, as Kubernetes reads them.
fn names(subject: &Subject) -> RdnSequence {
    let mut names = RdnSequence::default();
    let groups = subject.groups.iter().map(|group| (ORGANIZATION, group));
    for (oid, value) in groups.chain([(COMMON_NAME, &subject.user)]) {
        let value = Utf8StringRef::new(value).expect("a name that was checked is short").into();
        let parts =
            SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }]).expect("one part is a set");
        names.push(RelativeDistinguishedName::try_from(Vec::from(parts)).expect("one part is a name"));
    }
    names
}

/// The issuer's name must be the root's own, to the byte.
fn names_of(root: &Certificate) -> RdnSequence {
    let parsed = x509_cert::Certificate::from_der(root.der()).expect("the root was read before");
    Name::clone(parsed.tbs_certificate().subject()).into()
}

/// RFC 7093 section 2, method 1: the first 20 bytes of the key's SHA-256.
fn key_identifier(public: &[u8]) -> OctetString {
    let info = SubjectPublicKeyInfoOwned::from_der(public).expect("the key was read before");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, info.subject_public_key.raw_bytes());
    OctetString::new(&digest.as_ref()[..20]).expect("20 bytes are short")
}

/// 127 random bits, never zero: RFC 5280 section 4.1.2.2 wants a positive number.
fn serial() -> [u8; 16] {
    let mut bytes: [u8; 16] = identity::random::bytes();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    bytes
}

fn instant(time: std::time::SystemTime) -> Time {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let whole = std::time::Duration::from_secs(since.as_secs());
    der::DateTime::from_unix_duration(whole).map(Time::from).expect("a certificate ends before the year 9999")
}

fn push<T>(extensions: &mut Extensions, critical: bool, value: &T)
where
    T: der::Encode + der::oid::AssociatedOid,
{
    let extension = (critical, value).to_extension(&Name::default(), &[]);
    extensions.push(extension.expect("an extension has a DER"));
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// The names in a server's certificate, in order; `None`: it has none that are read here.
pub(crate) fn server_names(certificate: &Certificate) -> Option<Vec<ServerName>> {
    let parsed = x509_cert::Certificate::from_der(certificate.der()).ok()?;
    let (_, names) = parsed.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
    let name = |name: GeneralName| match name {
        GeneralName::DnsName(name) => Some(ServerName::Dns(name.to_string())),
        GeneralName::IpAddress(address) => match address.as_bytes().len() {
            4 => Some(ServerName::Address(<[u8; 4]>::try_from(address.as_bytes()).ok()?.into())),
            _ => Some(ServerName::Address(<[u8; 16]>::try_from(address.as_bytes()).ok()?.into())),
        },
        _ => None,
    };
    names.0.into_iter().map(name).collect()
}
