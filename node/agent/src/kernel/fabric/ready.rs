//! Whether an interface sends what it is given.
//!
//! The kernel takes a link into use in a work item of its own, some milliseconds after it has answered that the link is up; until
//! then what the container sends is dropped without a trace. A container that begins by connecting would wait a second for TCP's
//! second attempt.

use std::time::{Duration, Instant};

use datapath::link::{Error, Namespace};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Waits until the interface of the namespace is in use, at most [`WITHIN`]; late or not, it is attached.
pub(super) fn await_use(namespace: &Namespace, interface: &str) -> Result<bool, Error> {
    let in_use = namespace.inside(|| {
        let deadline = Instant::now() + WITHIN;
        loop {
            if is_in_use(interface) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
    })?;
    // The state is told a moment before the queues are there; both are set under the lock that this request waits for.
    namespace.facts(interface)?;
    Ok(in_use)
}

/// `IFF_RUNNING`: RFC 2863's operational state is up.
fn is_in_use(interface: &str) -> bool {
    getifaddrs().is_ok_and(|mut found| {
        found.any(|one| one.interface_name == interface && one.flags.contains(InterfaceFlags::IFF_RUNNING))
    })
}

const WITHIN: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_micros(200);
