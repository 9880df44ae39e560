//! Ground on which a test can count everything: a thread with network and mount namespaces of its own and an empty
//! `/run`, so that whatever else goes on on the machine is not seen. Control groups alone are the machine's.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{panic, process, thread};

use lab::inventory::{Inventory, Kind};
use lab::link::Links;
use lab::mount::Mount;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// A name that no other lab of the machine has.
pub(crate) fn name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}x{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a test on such ground.
pub(crate) fn apart<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        // Whoever removes what these are mounted on would take them away here too.
        Mount::remove_below(Path::new("/run")).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
        // As hosts with systemd have it, where what a lab mounts would spread.
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none).unwrap();
        Links::open().unwrap().up("lo").unwrap();
        test()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap_or_else(|fault| panic::resume_unwind(fault)))
}

/// Holds that nothing has come or gone since `before`, and that nothing of these labs is left. Control groups and what lies
/// outside `/run` may be others'.
pub(crate) fn assert_unchanged(before: &Inventory, labs: &[&str]) {
    let after = Inventory::take().unwrap();
    let difference = before.diff(&after).only(|item| match item.kind {
        Kind::Cgroup => false,
        Kind::Mount | Kind::Pin => item.name.starts_with("/run/"),
        _ => true,
    });
    assert!(difference.is_empty(), "{difference}");
    for lab in labs {
        assert_eq!(after.of_lab(lab), [], "left of {lab}");
    }
}
