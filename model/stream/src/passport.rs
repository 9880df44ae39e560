//! What a node or person proves itself with over TLS, replaced while it is in use.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use identity::{Bundle, BundleError, Certificate, CertificateError, Key, KeyError};
use rustls::ClientConfig;

use crate::trust;

/// A certificate, its key, and the roots that the other side must be certified by.
#[derive(Debug)]
pub struct Passport {
    /// Who one is.
    pub certificate: Certificate,
    /// Its key.
    pub key: Key,
    /// Whom to believe.
    pub bundle: Bundle,
}

/// A text that is no [`Passport`], or one that TLS does not take.
#[derive(Debug, thiserror::Error)]
pub enum PassportError {
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The roots.
    #[error("the roots that it trusts")]
    Bundle(#[from] BundleError),
    /// The certificate is for another key.
    #[error("the certificate and the key do not belong together: join again with a new token")]
    Strangers,
    /// TLS does not take it.
    #[error("TLS does not take it: {0}")]
    Unusable(String),
}

/// Whom a client believes and what it proves itself with. Shared; what is put in place counts from the next connection on.
#[derive(Debug)]
pub struct Credentials(ArcSwap<Held>);

#[derive(Debug)]
struct Held {
    certificate: Option<Certificate>,
    bundle: Bundle,
    config: Arc<ClientConfig>,
}

impl Passport {
    /// Everything in one text, secret key and all: one file, so that no crash tears it apart.
    pub fn pem(&self) -> String {
        format!("{}{}{}", self.certificate.pem(), self.key.pem(), self.bundle.pem())
    }

    /// Reads what [`Passport::pem`] wrote. Errors: each variant of [`PassportError`] but `Unusable`.
    pub fn read(pem: &str) -> Result<Self, PassportError> {
        let certificate = Certificate::read(pem)?;
        let key = Key::read(pem)?;
        if certificate.public != key.public() {
            return Err(PassportError::Strangers);
        }
        // The first certificate is the own one; the roots follow the key.
        let end = "-----END PRIVATE KEY-----";
        let roots = pem.split_once(end).map_or("", |(_, roots)| roots);
        Ok(Self { certificate, key, bundle: Bundle::read(roots)? })
    }

    /// When to ask for the next one: from 30 to 45 hundredths of its life, as `chance` (0 to 1) says, so that a fleet that joined
    /// together does not ask together.
    pub fn renewal(&self, chance: f64) -> SystemTime {
        let issued = self.certificate.issued();
        let life = self.certificate.validity.until.duration_since(issued).unwrap_or(Duration::ZERO);
        issued + life.mul_f64(0.30 + 0.15 * chance.clamp(0.0, 1.0))
    }
}

impl Credentials {
    /// Proves itself with a passport. Errors: [`PassportError::Unusable`].
    pub fn new(passport: &Passport) -> Result<Self, PassportError> {
        Held::new(passport).map(|held| Self(ArcSwap::from_pointee(held)))
    }

    /// Believes the roots and proves nothing: for callers with a bearer token. Errors: [`PassportError::Unusable`].
    pub fn anonymous(bundle: Bundle) -> Result<Self, PassportError> {
        let config = trust::believing(&bundle).map_err(unusable)?.with_no_client_auth();
        Ok(Self(ArcSwap::from_pointee(Held { certificate: None, bundle, config: Arc::new(config) })))
    }

    /// Puts the next passport in place of the one at hand. Errors: [`PassportError::Unusable`]; then the one at hand stays.
    pub fn replace(&self, passport: &Passport) -> Result<(), PassportError> {
        self.0.store(Arc::new(Held::new(passport)?));
        Ok(())
    }

    /// Who one is; `None`: nobody.
    pub fn certificate(&self) -> Option<Certificate> {
        self.0.load().certificate.clone()
    }

    /// Whom to believe.
    pub fn bundle(&self) -> Bundle {
        self.0.load().bundle.clone()
    }

    /// The configuration for a connection with one application protocol: `h2`, `http/1.1`.
    pub fn config(&self, protocol: &str) -> Arc<ClientConfig> {
        trust::speaking(&self.0.load().config, protocol)
    }
}

impl Held {
    fn new(passport: &Passport) -> Result<Self, PassportError> {
        let chain = vec![passport.certificate.der().clone()];
        let config = trust::believing(&passport.bundle)
            .and_then(|config| config.with_client_auth_cert(chain, passport.key.der()))
            .map_err(unusable)?;
        Ok(Self {
            certificate: Some(passport.certificate.clone()),
            bundle: passport.bundle.clone(),
            config: Arc::new(config),
        })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn unusable(fault: rustls::Error) -> PassportError {
    PassportError::Unusable(fault.to_string())
}
