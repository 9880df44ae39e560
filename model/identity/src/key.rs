//! Private keys: ECDSA on P-256, which everything that speaks TLS knows.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use der::asn1::{BitString, SetOfVec};
use der::{Decode, Encode, EncodePem};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo};
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier};

/// A private key. Its PEM is for a file that nobody else can read.
pub struct Key {
    pair: EcdsaKeyPair,
    pkcs8: PrivatePkcs8KeyDer<'static>,
    public: Vec<u8>,
}

/// A text that is no key of ours.
#[derive(Debug, thiserror::Error)]
#[error("no private key in PKCS#8, ECDSA on P-256: {reason}")]
pub struct KeyError {
    reason: String,
}

/// ECDSA with SHA-256 (RFC 5758 section 3.2): how a [`Key`] signs.
pub(crate) const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

impl Key {
    /// A new key.
    pub fn generate() -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .expect("a P-256 key can always be made");
        Self::new(PrivatePkcs8KeyDer::from(document.as_ref().to_vec()))
            .expect("what was written is read back")
    }

    /// The key in a PEM text. Errors: there is none, or it is of another kind.
    pub fn read(pem: &str) -> Result<Self, KeyError> {
        let wrong = |fault: rustls_pki_types::pem::Error| KeyError { reason: fault.to_string() };
        Self::new(PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(wrong)?)
    }

    fn new(pkcs8: PrivatePkcs8KeyDer<'static>) -> Result<Self, KeyError> {
        let wrong = |reason: &dyn fmt::Display| KeyError { reason: reason.to_string() };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.secret_pkcs8_der())
            .map_err(|fault| wrong(&fault))?;
        let public = pair.public_key().as_der().map_err(|fault| wrong(&fault))?.as_ref().to_vec();
        Ok(Self { pair, pkcs8, public })
    }

    /// The key as PEM.
    pub fn pem(&self) -> String {
        der::pem::encode_string("PRIVATE KEY", der::pem::LineEnding::LF, self.pkcs8.secret_pkcs8_der())
            .expect("a key has a PEM")
    }

    /// The key as TLS wants it.
    pub fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.pkcs8.clone_key())
    }

    /// The public half: a SubjectPublicKeyInfo in DER.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Signs, as [`Key::algorithm`] says.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), message).expect("a P-256 key signs everything");
        signature.as_ref().to_vec()
    }

    /// How it signs.
    pub fn algorithm() -> AlgorithmIdentifierOwned {
        AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None }
    }

    /// Asks for this key to be certified: PKCS#10 in PEM. It names nobody, for no name in it would count.
    pub fn request(&self) -> String {
        let public_key = Decode::from_der(&self.public).expect("what was written is read back");
        let info = CertReqInfo {
            version: x509_cert::request::Version::V1,
            subject: Name::default(),
            public_key,
            attributes: SetOfVec::default(),
        };
        let signed = info.to_der().expect("a request has a DER");
        let signature = BitString::from_bytes(&self.sign(&signed)).expect("a signature is short");
        let request = CertReq { info, algorithm: Self::algorithm(), signature };
        request.to_pem(der::pem::LineEnding::LF).expect("a request has a PEM")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}
