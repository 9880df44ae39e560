//! The root's files.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use authority::{Authority, AuthorityError, ROOT_LIFE, ServerIdentity, ServerNames};
use identity::Key;

use crate::World;

#[test]
fn the_root_is_made_once_and_its_key_is_nobody_elses() {
    let now = SystemTime::now();
    let world = World::new(now);
    let pki = world.authority.folder();
    for (file, mode) in [("ca.key", 0o600), ("ca.crt", 0o644), (".", 0o700)] {
        let found = pki.join(file).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}");
    }
    let again = Authority::open(pki, now + Duration::from_secs(60)).unwrap();
    assert_eq!(again.root(), world.authority.root());
}

#[test]
fn programs_that_begin_at_the_same_moment_make_one_root() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let open = || Authority::open(folder.path(), now).unwrap().fingerprint();
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(hidden(folder.path()), Vec::<String>::new(), "nothing half is left");
}

#[test]
fn a_first_start_that_died_halfway_is_taken_up_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::generate();
    std::fs::write(folder.path().join("ca.key"), key.pem()).unwrap();
    let authority = Authority::open(folder.path(), SystemTime::now()).unwrap();
    assert_eq!(authority.root().public, key.public(), "the key that was there is the root's");
}

#[test]
fn what_is_lost_or_damaged_is_named_and_never_replaced() {
    let now = SystemTime::now();
    let whole = || {
        let folder = tempfile::tempdir().unwrap();
        Authority::open(folder.path(), now).unwrap();
        folder
    };
    let damaged = |change: &dyn Fn(&Path)| {
        let folder = whole();
        change(folder.path());
        let before = std::fs::read(folder.path().join("ca.crt")).unwrap();
        let error = Authority::open(folder.path(), now).unwrap_err();
        assert_eq!(std::fs::read(folder.path().join("ca.crt")).unwrap(), before, "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
        error
    };
    let lost = damaged(&|folder| std::fs::remove_file(folder.join("ca.key")).unwrap());
    assert!(matches!(lost, AuthorityError::KeyLost { .. }), "{lost}");
    let torn = damaged(&|folder| std::fs::write(folder.join("ca.key"), "").unwrap());
    assert!(matches!(torn, AuthorityError::Key { .. }), "{torn}");
    let empty = damaged(&|folder| std::fs::write(folder.join("ca.crt"), "").unwrap());
    assert!(matches!(empty, AuthorityError::Bundle { .. }), "{empty}");
    let other = damaged(&|folder| std::fs::write(folder.join("ca.key"), Key::generate().pem()).unwrap());
    assert!(matches!(other, AuthorityError::Strangers { .. }), "{other}");
}

#[test]
fn a_clock_that_was_turned_back_and_a_root_that_is_over_are_told_with_the_clock() {
    let now = SystemTime::now();
    let world = World::new(now);
    for clock in [now - crate::HOUR, now + ROOT_LIFE + crate::HOUR] {
        let error = Authority::open(world.authority.folder(), clock).unwrap_err();
        assert!(matches!(error, AuthorityError::Time { .. }), "{error}");
        assert!(error.to_string().contains("clock says"), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    let unset = Authority::open(empty.path(), SystemTime::UNIX_EPOCH + crate::HOUR).unwrap_err();
    assert!(matches!(unset, AuthorityError::Unset { .. }), "{unset}");
    Authority::open(empty.path(), now).expect("with the clock set the root is made");
}

#[test]
fn a_second_root_in_the_file_is_trusted_and_the_keys_own_signs() {
    let now = SystemTime::now();
    let (world, next) = (World::new(now), World::new(now));
    let both = format!("{}{}", next.authority.root().pem(), world.authority.root().pem());
    std::fs::write(world.authority.folder().join("ca.crt"), both).unwrap();
    let authority = Authority::open(world.authority.folder(), now).unwrap();
    assert_eq!(authority.fingerprint(), world.authority.fingerprint());
    assert_eq!(authority.bundle().roots().len(), 2);
}

#[test]
fn the_servers_certificate_is_kept_until_names_or_time_want_another() {
    let now = SystemTime::now();
    let world = World::new(now);
    let names = ServerNames::new(["sealane.example", "192.0.2.1"]).unwrap();
    let open = |names: &ServerNames, now| {
        ServerIdentity::open(world.authority.clone(), names.clone(), now).unwrap().certificate()
    };
    let first = open(&names, now);
    assert_eq!(open(&names, now + crate::HOUR), first, "a restart changes nothing");
    let identity = ServerIdentity::open(world.authority.clone(), names.clone(), now).unwrap();
    assert!(!identity.refresh(&names, now + Duration::from_hours(24 * 59)).unwrap());
    assert!(identity.refresh(&names, now + Duration::from_hours(24 * 61)).unwrap(), "a third is left");
    assert_ne!(identity.certificate(), first);
    let more = ServerNames::new(["sealane.example", "192.0.2.1", "fd00::1"]).unwrap();
    assert!(identity.refresh(&more, now).unwrap(), "other names");
    assert_ne!(open(&names, now), identity.certificate(), "other names after a restart");
    std::fs::write(world.authority.folder().join("server.pem"), "damaged").unwrap();
    open(&names, now);
    assert!(ServerNames::new(["not a name"]).is_err());
}

fn hidden(folder: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}
