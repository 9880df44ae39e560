//! Certificates as they are read.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use der::{Decode, Encode};
use record::join::Fingerprint;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::spki::ObjectIdentifier;

use crate::clock;

/// What a certificate says. That it is to be believed is for others to find out: reading verifies no signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    /// Whom it names: the one CN of its subject.
    pub user: String,
    /// The O of its subject, in their order.
    pub groups: Vec<String>,
    /// Its number at the one who signed it.
    pub serial: Serial,
    /// From when until when.
    pub validity: Validity,
    /// The key that it certifies, a SubjectPublicKeyInfo in DER.
    pub public: Vec<u8>,
}

/// A certificate that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("no X.509 certificate: {reason}")]
pub struct CertificateError {
    reason: String,
}

impl CertificateError {
    pub(crate) fn other(fault: &dyn fmt::Display) -> Self {
        Self { reason: fault.to_string() }
    }
}

/// A span of time, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

/// A certificate's number, in hexadecimal digits without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(String);

/// A text that is no [`Serial`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no serial number of a certificate: write up to 42 hexadecimal digits, as `openssl x509 -noout -serial` shows them"
)]
pub struct SerialError;

/// The fingerprint of a public key, given as a SubjectPublicKeyInfo in DER.
pub fn fingerprint(public: &[u8]) -> Fingerprint {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, public);
    Fingerprint::new(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

impl Certificate {
    /// The first certificate of a PEM text. Errors: there is none, or it cannot be read.
    pub fn read(pem: &str) -> Result<Self, CertificateError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|fault| CertificateError { reason: fault.to_string() })?;
        Self::new(der)
    }

    /// The certificate with this DER. Errors: it cannot be read.
    pub fn new(der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        let wrong = |fault: der::Error| CertificateError { reason: fault.to_string() };
        let parsed = x509_cert::Certificate::from_der(&der).map_err(wrong)?;
        let body = parsed.tbs_certificate();
        let texts = |kind| body.subject().iter().filter(move |part| part.oid == kind).map(text);
        let mut users = texts(COMMON_NAME).collect::<Result<Vec<_>, _>>()?;
        if users.len() > 1 {
            return Err(CertificateError { reason: "it names more than one (CN)".to_owned() });
        }
        Ok(Self {
            user: users.pop().unwrap_or_default(),
            groups: texts(ORGANIZATION).collect::<Result<_, _>>()?,
            serial: Serial::new(body.serial_number().as_bytes()),
            validity: Validity {
                from: body.validity().not_before.to_system_time(),
                until: body.validity().not_after.to_system_time(),
            },
            public: body.subject_public_key_info().to_der().map_err(wrong)?,
            der,
        })
    }

    /// The certificate as TLS wants it.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> String {
        der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &self.der)
            .expect("a certificate has a PEM")
    }

    /// The fingerprint of its key.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.public)
    }

    /// When it was signed: [`clock::SKEW`] after it begins to be valid.
    pub fn issued(&self) -> SystemTime {
        self.validity.from + clock::SKEW
    }
}

fn text(part: &AttributeTypeAndValue) -> Result<String, CertificateError> {
    let utf8 = part.value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned());
    let printable = || part.value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned());
    let ia5 = || part.value.decode_as::<Ia5StringRef<'_>>().map(|text| text.as_str().to_owned());
    let read: Result<_, der::Error> = utf8.or_else(|_| printable()).or_else(|_| ia5());
    read.map_err(|_| CertificateError { reason: format!("a name in it is no UTF-8 ({})", part.oid) })
}

impl Validity {
    /// Whether the moment lies in it.
    pub fn holds(&self, now: SystemTime) -> bool {
        self.from <= now && now <= self.until
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} until {}", clock::show(self.from), clock::show(self.until))
    }
}

impl Serial {
    /// The number with these bytes, the most significant first.
    pub fn new(bytes: &[u8]) -> Self {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(digits.trim_start_matches('0').to_owned())
    }
}

/// Takes colons between digits and capital ones too.
impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        let digits = text.trim().trim_start_matches("0x").replace(':', "").to_ascii_lowercase();
        if digits.is_empty() || digits.len() > 42 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(SerialError);
        }
        Ok(Self(digits.trim_start_matches('0').to_owned()))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "0" } else { &self.0 })
    }
}

impl Serialize for Serial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_serial_is_the_same_however_it_is_written() {
        let serial = Serial::new(&[0, 0x0a, 0xbc]);
        for text in ["abc", "0ABC", "0A:BC", "0x0abc"] {
            assert_eq!(text.parse(), Ok(serial.clone()), "{text}");
        }
        for text in ["", "g", "-1", &"f".repeat(43)] {
            assert_eq!(text.parse::<Serial>(), Err(SerialError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(der in proptest::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,100}") {
            prop_assert!(Certificate::new(der.into()).is_err());
            prop_assert!(Certificate::read(&text).is_err());
        }
    }
}
