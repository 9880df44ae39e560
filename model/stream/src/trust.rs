//! Whom a client believes, and in what words it says that it does not.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use identity::{Bundle, Certificate, clock};
use record::join::Fingerprint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, WantsClientCert};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

/// Which certificate of a server is believed.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// One that a root of these signed.
    Bundle(Bundle),
    /// One that the root with this fingerprint signed; the server sends that root along.
    Pin(Fingerprint),
}

/// A configuration that believes these roots and does not say yet who one is.
pub(crate) fn believing(bundle: &Bundle) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    builder(Verifier::new(Trust::Bundle(bundle.clone()), Times::Now)?)
}

/// A configuration for nobody, who believes whom `trust` says.
pub(crate) fn nobody(trust: Trust, times: Times, protocol: &str) -> Result<Arc<ClientConfig>, Error> {
    let config = builder(Verifier::new(trust, times)?)?.with_no_client_auth();
    Ok(speaking(&config, protocol))
}

/// The same configuration for one application protocol.
pub(crate) fn speaking(config: &ClientConfig, protocol: &str) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(config)
}

/// At what time certificates must be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// Now.
    Now,
    /// Whenever: to ask a server for the time, and for nothing else.
    Any,
}

fn builder(verifier: Verifier) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let provider = verifier.provider.clone();
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

/// Judges a server's certificate: webpki's own judgement, for the roots and the time that are asked for.
#[derive(Debug)]
struct Verifier {
    trust: Judge,
    times: Times,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Judge {
    Roots(Arc<WebPkiServerVerifier>),
    Pin(Fingerprint),
}

impl Verifier {
    fn new(trust: Trust, times: Times) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let trust = match trust {
            Trust::Pin(pin) => Judge::Pin(pin),
            Trust::Bundle(bundle) => {
                Judge::Roots(judge(bundle.roots().iter().map(Certificate::der), &provider)?)
            }
        };
        Ok(Self { trust, times, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let read = |der: &CertificateDer<'_>| Certificate::new(der.clone().into_owned());
        let judge = match &self.trust {
            Judge::Roots(judge) => judge.clone(),
            Judge::Pin(pin) => {
                // Whoever has not that key cannot have signed the end's certificate, whatever else they send along.
                let pinned =
                    |der: &&CertificateDer<'_>| read(der).is_ok_and(|root| root.fingerprint() == *pin);
                let root = intermediates.iter().find(pinned).ok_or(CertificateError::UnknownIssuer)?;
                judge([root].into_iter(), &self.provider)?
            }
        };
        let now = match self.times {
            Times::Now => now,
            Times::Any => {
                let validity = read(end_entity).map_err(|_| CertificateError::BadEncoding)?.validity;
                let from = validity.from.duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixTime::since_unix_epoch(from + Duration::from_secs(1))
            }
        };
        judge.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn judge<'a, 'der: 'a>(
    roots: impl Iterator<Item = &'a CertificateDer<'der>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone().into_owned())?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .build()
        .map_err(|fault| Error::General(fault.to_string()))
}

/// Why the two ends do not believe each other, in words and with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust(String);

impl Distrust {
    /// The words for what TLS said.
    pub(crate) fn new(error: &Error) -> Self {
        Self(match error {
            Error::InvalidCertificate(fault) => of_server(fault),
            Error::AlertReceived(alert) => of_client(*alert),
            other => format!("TLS failed: {other}"),
        })
    }

    /// The words for two clocks that lie apart.
    pub(crate) fn clocks(here: SystemTime, there: SystemTime) -> Self {
        Self(format!(
            "this host's clock says {}, the server's {}: set the one that is wrong (chrony, systemd-timesyncd)",
            clock::show(here),
            clock::show(there)
        ))
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Distrust {}

fn of_server(fault: &CertificateError) -> String {
    let shown = |time: UnixTime| clock::show(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    match fault {
        CertificateError::UnknownIssuer => {
            "the server is certified by no root that is trusted here: it is another server, somebody stands between, or its root \
             was made anew; get a new token or kubeconfig from whoever runs it"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is not for {}, but for {}: use one of these, or add the name to the server's settings",
            expected.to_str(),
            presented.join(", ")
        ),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the server's certificate was valid until {}, and this host's clock says {}: set the clock if it is wrong; otherwise \
             restart the server, which makes its certificate anew",
            shown(*not_after),
            shown(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is valid from {}, and this host's clock says {}: set the clock that is wrong",
            shown(*not_before),
            shown(*time)
        ),
        other => format!("the server's certificate is not believed: {other}"),
    }
}

fn of_client(alert: AlertDescription) -> String {
    let (reason, remedy) = match alert {
        AlertDescription::CertificateExpired => {
            ("it is expired, or a clock is wrong", "join again with a new token")
        }
        AlertDescription::CertificateRevoked => ("it is revoked", "join again with a new token"),
        AlertDescription::UnknownCA => ("it is of another fabric", "join again with a token of this server"),
        AlertDescription::NoApplicationProtocol => {
            return "the server does not speak the protocol asked for".to_owned();
        }
        other => return format!("the server ended the TLS handshake: {other:?}"),
    };
    format!("the server does not believe this host's certificate: {reason}; {remedy}")
}

/// Whether it is about time: then the clocks are worth comparing.
pub(crate) fn is_about_time(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}
