//! TLS handshakes in memory, at any time that a test wants.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authority::{ClientVerifier, Revoked, ServerIdentity, ServerNames, Subject, server_config};
use identity::{Certificate, Key, Request};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, RootCertStore,
    ServerConnection,
};

use crate::{HOUR, World, wait};

#[test]
fn who_is_certified_is_known_and_who_presents_nothing_is_nobody() {
    let now = SystemTime::now();
    let world = World::new(now);
    let alice = Subject::user("alice", &["developers".to_owned()]).unwrap();
    let seen = shake(&world, Some(&own(&world, &alice, now)), now).unwrap().unwrap();
    assert_eq!((seen.user, seen.groups), (alice.user, alice.groups));
    assert_eq!(shake(&world, None, now).unwrap(), None);
}

#[test]
fn a_certificate_that_is_over_or_has_not_begun_is_refused() {
    let now = SystemTime::now();
    let world = World::new(now);
    let admin = own(&world, &Subject::admin(), now);
    assert!(shake(&world, Some(&admin), now + HOUR - Duration::from_secs(2)).is_ok());
    let expired = shake(&world, Some(&admin), now + HOUR + Duration::from_secs(2)).unwrap_err();
    assert!(
        matches!(expired, Error::InvalidCertificate(CertificateError::ExpiredContext { .. })),
        "{expired}"
    );
    let future = own(&world, &Subject::admin(), now + HOUR);
    let early = shake(&world, Some(&future), now).unwrap_err();
    assert!(
        matches!(early, Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })),
        "{early}"
    );
}

#[test]
fn a_certificate_of_another_root_or_of_a_server_is_refused() {
    let now = SystemTime::now();
    let (world, other) = (World::new(now), World::new(now));
    let stranger = shake(&world, Some(&own(&other, &Subject::admin(), now)), now).unwrap_err();
    assert_eq!(stranger, Error::InvalidCertificate(CertificateError::UnknownIssuer));
    let names = ServerNames::new([]).unwrap();
    ServerIdentity::open(world.authority.clone(), names, now).unwrap();
    let text = std::fs::read_to_string(world.authority.folder().join("server.pem")).unwrap();
    let server = (Certificate::read(&text).unwrap(), Key::read(&text).unwrap());
    let misused = shake(&world, Some(&server), now).unwrap_err();
    assert!(
        matches!(misused, Error::InvalidCertificate(CertificateError::InvalidPurposeContext { .. })),
        "{misused}"
    );
}

#[test]
fn what_is_revoked_is_refused_from_the_next_handshake_on() {
    let now = SystemTime::now();
    let world = World::new(now);
    let [alice, other] = ["alice", "bob"].map(|user| own(&world, &Subject::user(user, &[]).unwrap(), now));
    let second = own(&world, &Subject::user("alice", &[]).unwrap(), now);
    wait(world.revocations.revoke(Revoked::Serial(alice.0.serial.clone()), "lost", now)).unwrap();
    let revoked = shake(&world, Some(&alice), now).unwrap_err();
    assert_eq!(revoked, Error::InvalidCertificate(CertificateError::Revoked));
    assert!(shake(&world, Some(&second), now).is_ok(), "another of the same user");
    wait(world.revocations.revoke(Revoked::User("alice".to_owned()), "left", now)).unwrap();
    assert!(shake(&world, Some(&second), now).is_err());
    assert!(shake(&world, Some(&other), now).is_ok(), "another user");
    let later = now + Duration::from_secs(2);
    let anew = own(&world, &Subject::user("alice", &[]).unwrap(), later);
    assert!(shake(&world, Some(&anew), later).is_ok(), "certified after the revocation");
}

/// The certificate and key of a subject.
type Own = (Certificate, Key);

fn own(world: &World, subject: &Subject, now: SystemTime) -> Own {
    let key = Key::generate();
    let request = Request::read(&key.request()).unwrap();
    (world.authority.certify(subject, &request, HOUR, now).unwrap(), key)
}

#[derive(Debug)]
struct Clock(SystemTime);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.duration_since(UNIX_EPOCH).ok()?))
    }
}

/// A handshake with the server's configuration as it is shipped. The answer is the server's: whom it saw, or why it refused.
fn shake(world: &World, own: Option<&Own>, now: SystemTime) -> Result<Option<Certificate>, Error> {
    let names = ServerNames::new(["sealane.example"]).unwrap();
    let identity = Arc::new(ServerIdentity::open(world.authority.clone(), names, now).unwrap());
    let verifier = ClientVerifier::new(world.authority.bundle(), world.revocations.clone()).unwrap();
    let mut config = server_config(identity, verifier).unwrap();
    config.time_provider = Arc::new(Clock(now));
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    let name = "sealane.example".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client(world, own, now)), name).unwrap();
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        let judged = server.process_new_packets();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        let told = client.process_new_packets();
        if let Err(refusal) = judged {
            let Err(Error::AlertReceived(alert)) = told else { panic!("the client is told: {told:?}") };
            assert_ne!(alert, AlertDescription::InternalError);
            return Err(refusal);
        }
        told.unwrap();
    }
    assert_eq!(server.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let chain = server.peer_certificates().unwrap_or_default();
    Ok(chain.first().map(|der| Certificate::new(der.clone().into_owned()).unwrap()))
}

fn client(world: &World, own: Option<&Own>, now: SystemTime) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(world.authority.root().der().clone()).unwrap();
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Clock(now)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_webpki_verifier(verifier);
    match own {
        Some((certificate, key)) => {
            builder.with_client_auth_cert(vec![certificate.der().clone()], key.der()).unwrap()
        }
        None => builder.with_no_client_auth(),
    }
}
