//! The roots that are trusted: one as a rule, two while one takes over from another.

use record::join::Fingerprint;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::{Certificate, CertificateError};

/// Roots, one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle(Vec<Certificate>);

/// A text that is no [`Bundle`].
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No certificate in it.
    #[error("there is no certificate in it")]
    Empty,
    /// A part is no certificate.
    #[error("its certificate number {number} cannot be read")]
    Unreadable {
        /// Which, from 1.
        number: usize,
        /// Why.
        #[source]
        source: CertificateError,
    },
}

impl Bundle {
    /// The roots of a PEM text. Errors: there is none, or one cannot be read.
    pub fn read(pem: &str) -> Result<Self, BundleError> {
        let mut roots: Vec<Certificate> = Vec::new();
        for (at, der) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
            let unreadable = |source| BundleError::Unreadable { number: at + 1, source };
            let der = der.map_err(|fault| unreadable(CertificateError::other(&fault)))?;
            let root = Certificate::new(der).map_err(unreadable)?;
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        if roots.is_empty() { Err(BundleError::Empty) } else { Ok(Self(roots)) }
    }

    /// The roots.
    pub fn roots(&self) -> &[Certificate] {
        &self.0
    }

    /// The root with this fingerprint.
    pub fn pinned(&self, pin: &Fingerprint) -> Option<&Certificate> {
        self.0.iter().find(|root| root.fingerprint() == *pin)
    }

    /// All of them, PEM.
    pub fn pem(&self) -> String {
        self.0.iter().map(Certificate::pem).collect()
    }
}

impl From<Certificate> for Bundle {
    fn from(root: Certificate) -> Self {
        Self(vec![root])
    }
}
