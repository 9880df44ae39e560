//! Certificates and requests, with OpenSSL as the other reader and writer.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use authority::{IssueError, MASTERS, MAX_LIFE, ServerIdentity, ServerNames, Subject};
use identity::{Certificate, Key, Request};

use crate::{HOUR, World};

#[test]
fn openssl_verifies_every_kind_and_reads_the_names_that_were_meant() {
    let now = SystemTime::now();
    let world = World::new(now);
    let groups = ["developers".to_owned(), MASTERS.to_owned(), "öl, O=x".to_owned()];
    for subject in
        [Subject::admin(), Subject::user("alice", &groups).unwrap(), Subject::node("host-1.example").unwrap()]
    {
        let certificate = certify(&world, &subject, now);
        assert_eq!((&certificate.user, &certificate.groups), (&subject.user, &subject.groups));
        let path = world.folder.path().join("client.pem");
        std::fs::write(&path, certificate.pem()).unwrap();
        verify(&world, &path, "sslclient");
        let text =
            openssl(&["x509", "-noout", "-text", "-nameopt", "utf8,sep_multiline,-esc_msb", "-in"], &path);
        for part in
            [format!("CN={}", subject.user), "CA:FALSE".into(), "TLS Web Client Authentication".into()]
        {
            assert!(text.contains(&part), "{part} in\n{text}");
        }
        let groups = text.lines().filter(|line| line.trim().starts_with("O=")).count();
        assert_eq!(groups, subject.groups.len(), "every group is an O of its own\n{text}");
    }
    let names = ServerNames::new(["Sealane.example", "192.0.2.1", "fd00::1"]).unwrap();
    ServerIdentity::open(world.authority.clone(), names, now).unwrap();
    let server = world.authority.folder().join("server.pem");
    verify(&world, &server, "sslserver");
    let text = openssl(&["x509", "-noout", "-text", "-in"], &server);
    for part in [
        "DNS:localhost",
        "DNS:sealane.example",
        "IP Address:127.0.0.1",
        "IP Address:192.0.2.1",
        "FD00:0:0:0:0:0:0:1",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let root = openssl(&["x509", "-noout", "-text", "-in"], &world.authority.folder().join("ca.crt"));
    for part in ["CA:TRUE, pathlen:0", "Certificate Sign", "prime256v1"] {
        assert!(root.contains(part), "{part} in\n{root}");
    }
}

#[test]
fn the_pin_is_the_one_that_openssl_finds() {
    let world = World::new(SystemTime::now());
    let script =
        "openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(world.authority.folder().join("ca.crt"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.split(' ').next().unwrap(), world.authority.fingerprint().to_string());
}

#[test]
fn requests_that_openssl_makes_are_read_and_weak_keys_refused() {
    let folder = tempfile::tempdir().unwrap();
    let request = |kind: &[&str]| {
        let path = folder.path().join("request.pem");
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-new",
            "-nodes",
            "-keyout",
            "/dev/null",
            "-subj",
            "/CN=root/O=system:masters",
            "-newkey",
        ]);
        let output = command.args(kind).arg("-out").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Request::read(&std::fs::read_to_string(&path).unwrap())
    };
    for kind in [
        &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
        &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["ed25519"],
        &["rsa:2048"],
        &["rsa:4096", "-sha512"],
        &[
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-addext",
            "subjectAltName=DNS:x",
            "-addext",
            "basicConstraints=CA:TRUE",
        ],
    ] {
        request(kind).unwrap_or_else(|fault| panic!("{kind:?}: {fault}"));
    }
    for kind in [
        &["rsa:1024"][..],
        &["rsa:2048", "-sha1"],
        &["ec", "-pkeyopt", "ec_paramgen_curve:P-224"],
        &["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
        &["ed448"],
    ] {
        let error = request(kind).expect_err(&format!("{kind:?}")).to_string();
        assert!(error.contains("use ECDSA") || error.contains("sign it with"), "{kind:?}: {error}");
    }
}

#[test]
fn a_certificate_begins_before_now_and_ends_no_later_than_its_root() {
    let now = SystemTime::now();
    let world = World::new(now);
    let certificate = certify(&world, &Subject::admin(), now);
    assert!(certificate.validity.holds(now - Duration::from_secs(299)));
    assert!(!certificate.validity.holds(now - Duration::from_secs(302)));
    let request = Request::read(&Key::generate().request()).unwrap();
    for life in [Duration::ZERO, MAX_LIFE + HOUR, Duration::MAX] {
        let refused = world.authority.certify(&Subject::admin(), &request, life, now);
        assert_eq!(refused, Err(IssueError::Life { asked: life }));
    }
    let late = world.authority.root().validity.until - HOUR;
    let capped = world.authority.certify(&Subject::admin(), &request, MAX_LIFE, late).unwrap();
    assert_eq!(capped.validity.until, world.authority.root().validity.until);
}

pub(crate) fn certify(world: &World, subject: &Subject, now: SystemTime) -> Certificate {
    let request = Request::read(&Key::generate().request()).unwrap();
    world.authority.certify(subject, &request, HOUR, now).unwrap()
}

fn verify(world: &World, path: &Path, purpose: &str) {
    let root = world.authority.folder().join("ca.crt");
    let root = root.to_str().unwrap();
    let text = openssl(&["verify", "-x509_strict", "-purpose", purpose, "-CAfile", root], path);
    assert!(text.contains(": OK"), "{text}");
}

fn openssl(arguments: &[&str], path: &Path) -> String {
    let output = Command::new("openssl").args(arguments).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
