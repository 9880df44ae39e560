//! kubeconfig files, with kubectl as the other reader.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use authority::{Access, Kubeconfig, Proof, admin};
use proptest::prelude::*;

use crate::World;

#[test]
fn the_admins_file_is_read_by_kubectl_and_by_us_and_by_nobody_else() {
    let now = SystemTime::now();
    let world = World::new(now);
    let path = world.folder.path().join("admin.kubeconfig");
    let write =
        |server: &str, tenants: &[&str], now| admin(&world.authority, &path, server, tenants, now).unwrap();
    assert!(write("https://127.0.0.1:7380", &["default", "system"], now));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let access = Access::read(&path, None).unwrap();
    assert_eq!(access.server, "https://127.0.0.1:7380/clusters/default");
    assert_eq!(access.bundle.as_ref(), Some(world.authority.bundle()));
    let Proof::Certificate(certificate, _) = &access.proof else { panic!("{access:?}") };
    assert_eq!(certificate.user, "admin");
    let system = Access::read(&path, Some("sealane-system")).unwrap();
    assert_eq!(system.server, "https://127.0.0.1:7380/clusters/system");

    let kubectl = |arguments: &[&str]| {
        let output = Command::new("kubectl").arg("--kubeconfig").arg(&path).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(kubectl(&["config", "current-context"]).trim(), "sealane-default");
    assert_eq!(kubectl(&["config", "get-contexts", "-o", "name"]).lines().count(), 2);
    kubectl(&["config", "use-context", "sealane-system"]);
    assert_eq!(Access::read(&path, None).unwrap().server, system.server, "what kubectl writes is read");

    write("https://127.0.0.1:7380", &["default"], now);
    assert!(
        !write("https://127.0.0.1:7380", &["default"], now + Duration::from_hours(24 * 200)),
        "good for a while"
    );
    assert!(
        write("https://127.0.0.1:7380", &["default"], now + Duration::from_hours(24 * 300)),
        "a third is left"
    );
    assert!(
        write("https://192.0.2.1:7380", &["default"], now + Duration::from_hours(24 * 300)),
        "another server"
    );
}

#[test]
fn a_file_that_others_wrote_is_read_with_the_files_beside_it() {
    let now = SystemTime::now();
    let world = World::new(now);
    let root = world.authority.folder().join("ca.crt");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u, namespace: shop}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'https://h:1/', certificate-authority: {}}}}}]\n\
         users: [{{name: u, user: {{tokenFile: token}}}}]\n",
        root.display()
    );
    std::fs::write(world.folder.path().join("token"), "secret\n").unwrap();
    let path = world.folder.path().join("config");
    std::fs::write(&path, text).unwrap();
    let access = Access::read(&path, None).unwrap();
    assert_eq!((access.server.as_str(), access.namespace.as_deref()), ("https://h:1", Some("shop")));
    assert!(matches!(access.proof, Proof::Bearer(token) if token == "secret"));
    assert_eq!(access.bundle.as_ref(), Some(world.authority.bundle()));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_its_field() {
    let parts = |cluster: &str, user: &str| {
        format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'https://h:1', {cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        )
    };
    for (text, field) in [
        (String::new(), "current-context"),
        ("current-context: 7".to_owned(), "current-context"),
        ("current-context: c".to_owned(), "contexts[c]"),
        (parts("insecure-skip-tls-verify: true", ""), "clusters[k].insecure-skip-tls-verify"),
        (parts("certificate-authority-data: '!'", ""), "clusters[k].certificate-authority-data"),
        (parts("certificate-authority-data: aGVsbG8=", ""), "clusters[k].certificate-authority"),
        (parts("certificate-authority: absent", ""), "clusters[k].certificate-authority"),
        (parts("", "exec: {command: x}"), "users[u].exec"),
        (parts("", "username: x"), "users[u].username"),
        (parts("", "client-key-data: aGVsbG8="), "users[u]"),
    ] {
        let error = Access::parse(&text, Path::new("/nowhere/config"), None).unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
    Access::parse(&parts("insecure-skip-tls-verify: false", ""), Path::new("config"), None).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,300}", place in 0usize..2000, with in "\\PC{0,20}") {
        let _ = Access::parse(&text, Path::new("/nowhere/config"), None);
        let mut whole = valid().to_owned();
        let place = (0..=place.min(whole.len())).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        whole.insert_str(place, &with);
        let _ = Access::parse(&whole, Path::new("/nowhere/config"), None);
    }
}

/// One file for all cases: making a root for each would test the root.
fn valid() -> &'static str {
    static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    TEXT.get_or_init(|| {
        let world = World::new(SystemTime::now());
        let proof = Proof::Bearer("secret".to_owned());
        let (bundle, tenants) = (world.authority.bundle(), &["default"]);
        Kubeconfig { server: "https://h:1", bundle, user: "admin", proof, tenants }.text()
    })
}
