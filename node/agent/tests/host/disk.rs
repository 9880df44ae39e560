//! A state folder that takes nothing more: attaches are refused, containers go on, and it recovers by itself.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;

use nix::mount::{MsFlags, mount};
use record::door::{RefusalCode, Reply, Request};

use crate::ground::{Container, Host, on_a_host, talks};
use crate::server::Server;
use crate::world::{detach, request, world};

#[test]
fn without_room_or_right_to_write_nothing_new_is_attached_and_nothing_that_is_suffers() {
    on_a_host(
        "disk::without_room_or_right_to_write_nothing_new_is_attached_and_nothing_that_is_suffers",
        on_the_host,
    );
}

async fn on_the_host(host: Host) {
    let state = host.path("state");
    std::fs::create_dir(&state).unwrap();
    mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), Some("size=16m")).unwrap();
    let mut server = Server::start(&host);
    let mut agent = host.agent();
    let mut session = server.meet().await;
    session.send(1, world(), Vec::new()).await;
    let (web, db) = (Container::start(), Container::start());
    let db_is = host.attach(request("db", &db, &[]));
    host.attach(request("web", &web, &[]));
    db.listen(8080);
    let mut standing = web.connect(SocketAddr::new(db_is.addresses[0].address, 8080)).unwrap();

    let late = Container::start();
    let attach = || host.ask(&Request::Attach(request("late", &late, &[]).into()));
    let mut refused = |what: &str| {
        let refusal = loop {
            match attach() {
                Reply::Refused(refusal) => break refusal,
                // The file had room in itself.
                Reply::Attached(_) => assert_eq!(host.ask(&Request::Detach(detach("late"))), Reply::Done),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refusal.code, RefusalCode::Unavailable, "{what}: {refusal:?}");
        let said = format!("{} {}", refusal.message, refusal.remedy);
        assert!(said.contains("agent.redb") && said.contains("state_dir"), "{what}: {said}");
        assert!(talks(&mut standing), "{what}: {}", host.world());
        assert_eq!(host.list().len(), 2, "{what}");
    };
    let filler = state.join("filler");
    fill(&filler);
    refused("no room");
    std::fs::remove_file(&filler).unwrap();
    // The journal has let go of its file, else the kernel would not allow this.
    let remount = |flags| {
        mount(None::<&str>, &state, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>).unwrap();
    };
    remount(MsFlags::MS_RDONLY);
    refused("read-only");
    remount(MsFlags::empty());
    assert!(matches!(attach(), Reply::Attached(_)), "it works again, by itself");
    assert_eq!(host.ask(&Request::Detach(detach("late"))), Reply::Done);
    agent.kill();
    let mut agent = host.agent();
    assert_eq!(host.list().len(), 2, "the journal is whole");
    assert!(talks(&mut standing), "{}", host.world());
    agent.stop();
    nix::mount::umount2(&state, nix::mount::MntFlags::MNT_DETACH).unwrap();
}

/// Takes all room there is.
fn fill(path: &std::path::Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}
