//! What a command may do on this host: the capabilities of this process, asked for before anything is changed.

use crate::failure::Failure;

/// A capability (`capabilities(7)`), with what it is needed for here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capability {
    /// Its bit in the sets of `/proc/PID/status`.
    bit: u32,
    name: &'static str,
    purpose: &'static str,
}

pub(crate) const NAMESPACES: Capability =
    Capability { bit: 21, name: "CAP_SYS_ADMIN", purpose: "to make namespaces and mounts" };
pub(crate) const LINKS: Capability = Capability { bit: 12, name: "CAP_NET_ADMIN", purpose: "to make links" };
pub(crate) const PROGRAMS: Capability = Capability { bit: 39, name: "CAP_BPF", purpose: "to load programs" };
pub(crate) const SIGNALS: Capability =
    Capability { bit: 5, name: "CAP_KILL", purpose: "to end what others have started" };

/// Errors: [`Failure::Incapable`] with all that this process lacks.
pub(crate) fn require(command: &'static str, needed: &[Capability]) -> Result<(), Failure> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match lacking(&status, needed) {
        Some(lacks) => Err(Failure::Incapable { command, lacks }),
        None => Ok(()),
    }
}

fn lacking(status: &str, needed: &[Capability]) -> Option<String> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(line.trim(), 16).ok()?;
    let missing: Vec<String> = needed
        .iter()
        .filter(|one| effective & (1 << one.bit) == 0)
        .map(|one| format!("{} ({})", one.name, one.purpose))
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_lacking_is_named_and_nothing_else() {
        let of = |effective: &str| {
            lacking(&format!("Name:\tx\nCapEff:\t{effective}\n"), &[NAMESPACES, LINKS, PROGRAMS])
        };
        assert_eq!(of("000001ffffffffff"), None);
        let said = of("0000000000001000").unwrap();
        assert!(
            said.contains("CAP_SYS_ADMIN") && said.contains("CAP_BPF") && !said.contains("CAP_NET_ADMIN"),
            "{said}"
        );
    }
}
