//! Requests to certify a key (PKCS#10, RFC 2986), as whoever certifies reads them.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use der::asn1::BitString;
use der::{Decode, Encode};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::request::CertReq;
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfoOwned};

/// A key that asks to be certified, and has proven to be there. Whatever else the request said is gone: who is named is for the
/// one to say who certifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    public: Vec<u8>,
}

/// A request that is not granted.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It cannot be read.
    #[error(
        "the request is no PKCS#10 in PEM ({0}): `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256` makes one"
    )]
    Unreadable(String),
    /// The key is of a kind that is not certified.
    #[error("the request's key is {0}: use ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits")]
    Key(String),
    /// It is signed in a way that does not suit its key.
    #[error("the request is signed with {0}, which does not suit its key: sign it with SHA-256 or SHA-384")]
    Algorithm(ObjectIdentifier),
    /// The signature is not by the key.
    #[error("the request is not signed by the key in it: make it anew")]
    Signature,
}

impl Request {
    /// Reads the request and verifies that the key in it signed it.
    ///
    /// # Errors
    /// Each variant of [`RequestError`].
    pub fn read(pem: &str) -> Result<Self, RequestError> {
        if pem.len() > LONGEST {
            return Err(RequestError::Unreadable(format!("{} bytes, and {LONGEST} are read", pem.len())));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|fault| RequestError::Unreadable(fault.to_string()))?;
        let request = CertReq::from_der(&der).map_err(|fault| RequestError::Unreadable(fault.to_string()))?;
        let key = &request.info.public_key;
        let strength = Strength::of(key)?;
        let unreadable = |fault: der::Error| RequestError::Unreadable(fault.to_string());
        let verifier =
            strength.verifier(request.algorithm.oid).ok_or(RequestError::Algorithm(request.algorithm.oid))?;
        let signed = request.info.to_der().map_err(unreadable)?;
        let whole = |bits: &BitString| bits.as_bytes().map(<[u8]>::to_vec).ok_or(RequestError::Signature);
        UnparsedPublicKey::new(verifier, whole(&key.subject_public_key)?)
            .verify(&signed, &whole(&request.signature)?)
            .map_err(|_| RequestError::Signature)?;
        Ok(Self { public: key.to_der().map_err(unreadable)? })
    }

    /// The key: a SubjectPublicKeyInfo in DER.
    pub fn public(&self) -> &[u8] {
        &self.public
    }
}

/// The kinds of keys that are certified.
#[derive(Clone, Copy)]
enum Strength {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl Strength {
    fn of(key: &SubjectPublicKeyInfoOwned) -> Result<Self, RequestError> {
        let curve =
            || key.algorithm.parameters.as_ref().and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
        match key.algorithm.oid {
            EC_PUBLIC_KEY => match curve() {
                Some(SECP256R1) => Ok(Self::P256),
                Some(SECP384R1) => Ok(Self::P384),
                Some(other) => Err(RequestError::Key(format!("on the curve {other}"))),
                None => Err(RequestError::Key("on a curve without a name".to_owned())),
            },
            ED25519 => Ok(Self::Ed25519),
            // The bounds of its length are the verifier's: a key outside of them verifies nothing. Said here by size, in words.
            RSA_ENCRYPTION => match key.subject_public_key.raw_bytes().len() * 8 {
                // The modulus, an exponent of 3 bytes, and at most 13 bytes of DER around them.
                bits if bits < 2048 => Err(RequestError::Key("RSA of less than 2048 bits".to_owned())),
                bits if bits > 4096 + 256 => Err(RequestError::Key("RSA of more than 4096 bits".to_owned())),
                _ => Ok(Self::Rsa),
            },
            other => Err(RequestError::Key(format!("of the kind {other}"))),
        }
    }

    fn verifier(self, algorithm: ObjectIdentifier) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match (self, algorithm) {
            (Self::P256, crate::key::ECDSA_WITH_SHA256) => &signature::ECDSA_P256_SHA256_ASN1,
            (Self::P256, ECDSA_WITH_SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
            (Self::P384, crate::key::ECDSA_WITH_SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
            (Self::P384, ECDSA_WITH_SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
            (Self::Ed25519, ED25519) => &signature::ED25519,
            (Self::Rsa, SHA256_WITH_RSA) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa, SHA384_WITH_RSA) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa, SHA512_WITH_RSA) => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return None,
        })
    }
}

/// A request of an RSA key of 4096 bits with a page of attributes, in bytes of PEM.
const LONGEST: usize = 16 << 10;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const SHA384_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const SHA512_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Key;

    fn pem(der: &[u8]) -> String {
        der::pem::encode_string("CERTIFICATE REQUEST", der::pem::LineEnding::LF, der).unwrap()
    }

    #[test]
    fn what_a_key_asks_is_granted_for_that_key() {
        let key = Key::generate();
        assert_eq!(Request::read(&key.request()).unwrap().public(), key.public());
        assert_eq!(Key::read(&key.pem()).unwrap().public(), key.public());
    }

    #[test]
    fn a_request_with_any_bit_turned_is_refused() {
        let text = Key::generate().request();
        let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).unwrap();
        for bit in 0..der.len() * 8 {
            let mut turned = der.to_vec();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert!(Request::read(&pem(&turned)).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,200}", der in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Request::read(&text).is_err());
            prop_assert!(Request::read(&pem(&der)).is_err());
        }

        #[test]
        fn no_damage_breaks_the_reader(place in 0usize..200, with in proptest::collection::vec(any::<u8>(), 1..40), cut in 0usize..60) {
            let text = Key::generate().request();
            let mut der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).unwrap().to_vec();
            let place = place.min(der.len());
            der.splice(place..(place + cut).min(der.len()), with);
            // Whether it is refused is not the claim here: a splice may put back what was there.
            let _ = Request::read(&pem(&der));
        }
    }
}
