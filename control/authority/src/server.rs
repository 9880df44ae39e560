//! The server's own certificate, and how its TLS listeners judge others'.
//!
//! Promises: the certificate is replaced while connections go on; who is certified by one of the roots is known by its certificate,
//! who presents none is nobody, and who presents one that is expired, revoked or a stranger's is refused in the handshake.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use identity::{Bundle, Certificate, Key};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::file::{self, FileError, Readers};
use crate::root::{IssueError, SERVER_LIFE};
use crate::{Authority, Revocations, ServerName};

/// The names that a server's certificate holds: those that it was told, and this host's loopback ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerNames(Vec<ServerName>);

/// The server's certificate and key, replaced as time and names want it.
#[derive(Debug)]
pub struct ServerIdentity {
    authority: Arc<Authority>,
    path: PathBuf,
    current: ArcSwap<Current>,
}

/// Why the server has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// TLS does not take it.
    #[error("use {} for TLS: delete the file, the server makes it anew", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

#[derive(Debug)]
struct Current {
    names: ServerNames,
    certificate: Certificate,
    tls: Arc<CertifiedKey>,
}

impl ServerNames {
    /// The names and addresses of a server, as its settings and the host's name give them.
    ///
    /// # Errors
    /// [`IssueError::Name`] for the first that a certificate cannot hold.
    pub fn new<'a>(told: impl IntoIterator<Item = &'a str>) -> Result<Self, IssueError> {
        let mut names = BTreeSet::from([
            ServerName::Dns("localhost".to_owned()),
            ServerName::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ServerName::Address(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ]);
        for name in told {
            names.insert(match (name.parse(), rustls::pki_types::DnsName::try_from(name)) {
                (Ok(address), _) => ServerName::Address(address),
                (Err(_), Ok(dns)) => ServerName::Dns(dns.to_lowercase_owned().as_ref().to_owned()),
                (Err(_), Err(_)) => return Err(IssueError::Name { name: name.to_owned() }),
            });
        }
        Ok(Self(names.into_iter().collect()))
    }

    /// Each once, in order.
    pub fn iter(&self) -> impl Iterator<Item = &ServerName> {
        self.0.iter()
    }
}

impl ServerIdentity {
    /// Takes the certificate of the last run up, or makes one. Errors: [`ServerError`].
    pub fn open(authority: Arc<Authority>, names: ServerNames, now: SystemTime) -> Result<Self, ServerError> {
        let path = authority.folder().join("server.pem");
        let kept = file::read(&path)?;
        let kept = kept.and_then(|text| Some((Certificate::read(&text).ok()?, Key::read(&text).ok()?)));
        let fit = kept.filter(|(certificate, key)| {
            certificate.public == key.public()
                && is_fit(certificate, &authority, now)
                && holds(certificate, &names)
        });
        let (certificate, key) = match fit {
            Some(fit) => fit,
            None => make(&authority, &path, &names, now)?,
        };
        let current = Current::new(&authority, names, certificate, &key)
            .map_err(|source| ServerError::Unusable { path: path.clone(), source })?;
        Ok(Self { current: ArcSwap::from_pointee(current), authority, path })
    }

    /// Replaces the certificate if it is for other names or a third of its life is left, and answers whether it was. To be called
    /// now and then: each hour is plenty. Errors: [`ServerError`]; then the one at hand stays in use.
    pub fn refresh(&self, names: &ServerNames, now: SystemTime) -> Result<bool, ServerError> {
        let current = self.current.load();
        if current.names == *names && is_fit(&current.certificate, &self.authority, now) {
            return Ok(false);
        }
        let (certificate, key) = make(&self.authority, &self.path, names, now)?;
        let next = Current::new(&self.authority, names.clone(), certificate, &key)
            .map_err(|source| ServerError::Unusable { path: self.path.clone(), source })?;
        self.current.store(Arc::new(next));
        Ok(true)
    }

    /// The certificate in use.
    pub fn certificate(&self) -> Certificate {
        self.current.load().certificate.clone()
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().tls))
    }
}

impl Current {
    fn new(
        authority: &Authority,
        names: ServerNames,
        certificate: Certificate,
        key: &Key,
    ) -> Result<Self, rustls::Error> {
        let signing = aws_lc_rs::sign::any_ecdsa_type(&key.der())?;
        // The root goes along: who joins knows it by its fingerprint alone and must see it.
        let chain = vec![certificate.der().clone(), authority.root().der().clone()];
        Ok(Self { names, certificate, tls: Arc::new(CertifiedKey::new(chain, signing)) })
    }
}

/// The configuration of a TLS listener: TLS 1.3, HTTP/2 and 1.1, client certificates welcome and never needed.
///
/// # Errors
/// A root of the bundle that TLS does not take.
pub fn server_config(
    identity: Arc<ServerIdentity>,
    verifier: ClientVerifier,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(verifier.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A ticket would let a client come back without its certificate being judged again.
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Judges the certificates that callers present.
#[derive(Debug)]
pub struct ClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    revocations: Arc<Revocations>,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    /// A judge that believes these roots, as far as nothing is revoked.
    ///
    /// # Errors
    /// A root that TLS does not take.
    pub fn new(bundle: &Bundle, revocations: Arc<Revocations>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for root in bundle.roots() {
            roots.add(root.der().clone())?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|fault| rustls::Error::General(fault.to_string()))?;
        Ok(Self { inner, revocations, provider })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        let unreadable = |_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let certificate = Certificate::new(end_entity.clone().into_owned()).map_err(unreadable)?;
        match self.revocations.find(&certificate) {
            Some(_) => Err(rustls::Error::InvalidCertificate(CertificateError::Revoked)),
            None => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn make(
    authority: &Authority,
    path: &std::path::Path,
    names: &ServerNames,
    now: SystemTime,
) -> Result<(Certificate, Key), FileError> {
    let key = Key::generate();
    let certificate = authority.certify_server(&key, &names.0, now);
    // One file for both: a crash leaves no certificate without its key.
    file::publish(path, &format!("{}{}", certificate.pem(), key.pem()), Readers::Nobody)?;
    Ok((certificate, key))
}

/// Whether it is certified by the root that signs, and for a while yet.
fn is_fit(certificate: &Certificate, authority: &Authority, now: SystemTime) -> bool {
    let left = certificate.validity.until.duration_since(now).unwrap_or(Duration::ZERO);
    let capped = certificate.validity.until == authority.root().validity.until;
    certificate.validity.from <= now
        && (left > SERVER_LIFE / 3 || capped && !left.is_zero())
        && verifies(certificate, authority, now)
}

fn verifies(certificate: &Certificate, authority: &Authority, now: SystemTime) -> bool {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let roots = {
        let mut roots = RootCertStore::empty();
        if roots.add(authority.root().der().clone()).is_err() {
            return false;
        }
        roots
    };
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    rustls::server::ParsedCertificate::try_from(certificate.der()).is_ok_and(|parsed| {
        let now = UnixTime::since_unix_epoch(since);
        rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms.all)
            .is_ok()
    })
}

/// Whether it holds every one of the names, and no other.
fn holds(certificate: &Certificate, names: &ServerNames) -> bool {
    crate::draft::server_names(certificate).is_some_and(|held| held == names.0)
}
