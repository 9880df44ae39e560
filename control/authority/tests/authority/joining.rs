//! Tokens, joining, renewing, revoking.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authority::{
    Grant, NODE_LIFE, Order, OrderError, Revocations, Revoked, Subject, TokenRefusal, Tokens, check,
};
use identity::{Certificate, Key};
use record::join::{Credential, JoinAnswer, JoinRequest, RenewRequest, Token};

use crate::shelf::Memory;
use crate::{HOUR, World, wait};

#[test]
fn a_node_joins_and_renews_under_its_own_name() {
    let now = SystemTime::now();
    let world = World::new(now);
    let token = world.node_token(None, false, now);
    let key = Key::generate();
    let answer = join(&world, &token, "a", &key, now).unwrap();
    let first = Certificate::read(&answer.certificate).unwrap();
    assert_eq!((first.user.as_str(), &first.groups[..]), ("system:node:a", &["system:nodes".to_owned()][..]));
    assert_eq!(first.public, key.public());
    assert_eq!(answer.authorities, world.authority.bundle().pem());
    let life = first.validity.until.duration_since(now).unwrap().as_secs();
    assert!(NODE_LIFE.as_secs() - life <= 1, "{life} s");

    let later = now + NODE_LIFE / 3;
    let next = Key::generate();
    let asked = RenewRequest { request: next.request(), clock: seconds(later) };
    let second = wait(world.registrar.renew(&first, &asked, later)).unwrap();
    let second = Certificate::read(&second.certificate).unwrap();
    assert_eq!((second.user, &second.public[..]), (first.user.clone(), next.public()));
    let over = now + NODE_LIFE + HOUR;
    let asked = RenewRequest { clock: seconds(over), ..asked };
    let refused = wait(world.registrar.renew(&first, &asked, over)).unwrap_err();
    assert!(refused.to_string().contains("join again"), "{refused}");
    assert_eq!(refused.status(), 401);
}

#[test]
fn a_token_good_for_one_lets_one_host_in_and_hears_it_twice() {
    let now = SystemTime::now();
    let world = World::new(now);
    let token = world.node_token(None, false, now);
    let key = Key::generate();
    join(&world, &token, "a", &key, now).unwrap();
    join(&world, &token, "a", &key, now).expect("the answer may have been lost");
    let refused = join(&world, &token, "b", &Key::generate(), now).unwrap_err();
    assert!(refused.contains("was used by the node a"), "{refused}");
    let many = world.node_token(None, true, now);
    for name in ["b", "c", "d"] {
        join(&world, &many, name, &Key::generate(), now).unwrap();
    }
    assert_eq!(wait(world.registrar.holders()).unwrap().len(), 4);
}

#[test]
fn nobody_takes_a_name_from_another_but_with_a_token_for_that_name() {
    let now = SystemTime::now();
    let world = World::new(now);
    let many = world.node_token(None, true, now);
    let first = join(&world, &many, "a", &Key::generate(), now).unwrap();
    let first = Certificate::read(&first.certificate).unwrap();
    let refused = join(&world, &many, "a", &Key::generate(), now).unwrap_err();
    assert!(refused.contains("another host holds the name a"), "{refused}");
    let wrong = world.node_token(Some("b"), false, now);
    let refused = join(&world, &wrong, "a", &Key::generate(), now).unwrap_err();
    assert!(refused.contains("is for the node b"), "{refused}");

    let asked = RenewRequest { request: Key::generate().request(), clock: seconds(now) };
    let renewed = wait(world.registrar.renew(&first, &asked, now)).unwrap();
    let renewed = Certificate::read(&renewed.certificate).unwrap();
    let bound = world.node_token(Some("a"), false, now);
    let now = now + Duration::from_secs(10);
    let taken = join(&world, &bound, "a", &Key::generate(), now).unwrap();
    for former in [&first, &renewed] {
        let refused = check(former, &world.revocations, now).unwrap_err();
        assert!(refused.to_string().contains("another host joined as a"), "{refused}");
    }
    check(&Certificate::read(&taken.certificate).unwrap(), &world.revocations, now).unwrap();

    wait(world.registrar.dismiss("a", "deleted", now)).unwrap();
    let later = now + Duration::from_secs(2);
    join(&world, &many, "a", &Key::generate(), later).expect("a name that was let go is free");
    assert!(check(&first, &world.revocations, later).is_err());
}

#[test]
fn a_dismissed_node_cannot_renew_also_after_a_restart() {
    let now = SystemTime::now();
    let world = World::new(now);
    let answer = join(&world, &world.node_token(None, false, now), "a", &Key::generate(), now).unwrap();
    let certificate = Certificate::read(&answer.certificate).unwrap();
    let shelf = Arc::new(Memory::default());
    let revocations = wait(Revocations::open(shelf.clone())).unwrap();
    wait(revocations.revoke(Revoked::User("system:node:a".to_owned()), "deleted", now)).unwrap();
    let restarted = wait(Revocations::open(shelf.clone())).unwrap();
    assert!(check(&certificate, &restarted, now).is_err());
    wait(restarted.sweep(now + Duration::from_hours(24 * 365))).unwrap();
    assert_eq!(restarted.list().len(), 1, "the certificate may still be valid");
    wait(restarted.sweep(now + Duration::from_hours(24 * 367))).unwrap();
    assert_eq!(restarted.list().len(), 0);
    assert_eq!(wait(Revocations::open(shelf)).unwrap().list().len(), 0);

    wait(world.registrar.dismiss("a", "deleted", now)).unwrap();
    let asked = RenewRequest { request: Key::generate().request(), clock: seconds(now) };
    let refused = wait(world.registrar.renew(&certificate, &asked, now)).unwrap_err();
    assert!(refused.to_string().contains("revoked"), "{refused}");
}

#[test]
fn a_person_renews_nothing_and_a_pretender_is_no_node() {
    let now = SystemTime::now();
    let world = World::new(now);
    for subject in [
        Subject::admin(),
        Subject { user: "system:node:a".to_owned(), groups: vec!["developers".to_owned()] },
    ] {
        let certificate = crate::certificate::certify(&world, &subject, now);
        let asked = RenewRequest { request: Key::generate().request(), clock: seconds(now) };
        let refused = wait(world.registrar.renew(&certificate, &asked, now)).unwrap_err();
        assert_eq!(refused.status(), 403, "{refused}");
    }
}

#[test]
fn clocks_that_lie_hours_apart_are_both_named() {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let world = World::new(now);
    let token = world.node_token(None, false, now);
    let key = Key::generate();
    for node in [now - 3 * HOUR, now + 3 * HOUR] {
        let asked = JoinRequest { clock: seconds(node), ..request(&token, "a", &key, now) };
        let refused = wait(world.registrar.join(&asked, now)).unwrap_err().to_string();
        let (here, there) = ("2027-01-15T08:00:00Z", identity::clock::show(node));
        assert!(refused.contains(here) && refused.contains(&there), "{refused}");
    }
    join(&world, &token, "a", &key, now).expect("the token is not used up by that");
}

#[test]
fn a_token_is_refused_when_over_deleted_unknown_or_for_something_else() {
    let now = SystemTime::now();
    let world = World::new(now);
    let alice = Subject::user("alice", &["developers".to_owned()]).unwrap();
    let user = world.token(Grant::User { subject: alice.clone() }, now);
    let node = world.node_token(None, true, now);
    assert_eq!(wait(world.tokens.bearer(&user.credential, now)).unwrap(), alice);
    let refused = wait(world.tokens.bearer(&node.credential, now)).unwrap_err();
    assert!(matches!(refused, TokenRefusal::OtherUse { .. }), "{refused}");
    let refused = join(&world, &user, "a", &Key::generate(), now).unwrap_err();
    assert!(refused.contains("is for the user alice"), "{refused}");

    let expired = wait(world.tokens.bearer(&user.credential, now + HOUR)).unwrap_err();
    assert!(matches!(expired, TokenRefusal::Expired { .. }), "{expired}");
    let id = user.credential.id().to_string();
    let forged = Credential::new(&id, &"a".repeat(Credential::SECRET_LENGTH)).unwrap();
    let wrong = wait(world.tokens.bearer(&forged, now)).unwrap_err().to_string();
    assert!(wait(world.tokens.delete(user.credential.id())).unwrap());
    let deleted = wait(world.tokens.bearer(&user.credential, now)).unwrap_err().to_string();
    assert_eq!(wrong, deleted, "a wrong secret does not tell that the id is right");
    assert!(!wait(world.tokens.delete(user.credential.id())).unwrap());
    wait(world.tokens.sweep(now + HOUR)).unwrap();
    assert_eq!(wait(world.tokens.list()).unwrap(), []);
}

#[test]
fn no_token_is_made_for_the_fabrics_own_names_or_for_ever() {
    let now = SystemTime::now();
    let world = World::new(now);
    let subject = |user: &str, group: &str| Subject { user: user.to_owned(), groups: vec![group.to_owned()] };
    for (grant, life) in [
        (Grant::User { subject: subject("system:node:a", "x") }, HOUR),
        (Grant::User { subject: subject("a", "system:nodes") }, HOUR),
        (Grant::Node { name: Some("A B".to_owned()), many: false }, HOUR),
        (Grant::Node { name: None, many: false }, Duration::ZERO),
        (Grant::Node { name: None, many: false }, Duration::MAX),
    ] {
        let order = Order { grant, life, by: "admin".to_owned() };
        let refused = wait(world.tokens.create(order, world.authority.fingerprint(), now)).unwrap_err();
        assert!(matches!(refused, OrderError::Name(_) | OrderError::Life(_)), "{refused}");
    }
}

#[test]
fn no_secret_is_kept() {
    let now = SystemTime::now();
    let shelf = Arc::new(Memory::default());
    let tokens = Tokens::new(shelf.clone());
    let order = Order { grant: Grant::Node { name: None, many: true }, life: HOUR, by: "admin".to_owned() };
    let token = wait(tokens.create(order, World::new(now).authority.fingerprint(), now)).unwrap();
    let kept = format!("{:?}", wait(authority::Shelf::list(&*shelf)).unwrap());
    assert!(!kept.contains(token.credential.secret()));
    assert!(kept.contains(&token.credential.id().to_string()));
}

fn join(world: &World, token: &Token, node: &str, key: &Key, now: SystemTime) -> Result<JoinAnswer, String> {
    wait(world.registrar.join(&request(token, node, key, now), now)).map_err(|refused| refused.to_string())
}

fn request(token: &Token, node: &str, key: &Key, now: SystemTime) -> JoinRequest {
    JoinRequest {
        token: token.credential.clone(),
        node: node.to_owned(),
        request: key.request(),
        clock: seconds(now),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}
