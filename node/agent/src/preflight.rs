//! Whether this host can run the agent. Looked at before anything is changed.
//!
//! Promises: every lack is told at once, with what was found, what is needed and the remedy.

use std::fmt;
use std::path::Path;

use datapath::link::{self, HostPlan, Links};
use nix::sched::{CloneFlags, unshare};

use crate::cause::chain;
use crate::config::Config;

/// Something that this host lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What was found.
    pub found: String,
    /// What is needed.
    pub needed: &'static str,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; needed is {}; {}", self.found, self.needed, self.remedy)
    }
}

/// What of the host matters.
#[derive(Clone, Debug)]
struct Facts {
    /// The kernel's release: `6.18.44-amd64`.
    release: String,
    has_btf: bool,
    /// The effective capabilities of this process, a bit each (`linux/capability.h`).
    capabilities: u64,
    /// The closest folder above the pins that exists, and whether it is on a BPF file system.
    pins: (String, bool),
}

/// Everything that this host lacks. Blocks; makes links in a network namespace of its own, which ends with it.
pub(crate) fn lacks(config: &Config) -> Vec<Lack> {
    let mut lacks = judge(&facts(config));
    if lacks.is_empty() {
        lacks.extend(try_links(config));
    }
    lacks
}

fn facts(config: &Config) -> Facts {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Facts {
        release: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        capabilities: capabilities(),
        pins: pins(&config.pin_dir),
    }
}

fn pins(pin_dir: &Path) -> (String, bool) {
    let Some(above) = pin_dir.ancestors().find(|folder| folder.exists()) else {
        return (pin_dir.display().to_string(), false);
    };
    let is_bpf = nix::sys::statfs::statfs(above)
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC);
    (above.display().to_string(), is_bpf)
}

fn judge(facts: &Facts) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let mut lack = |found: String, needed: &'static str, remedy: String| {
        lacks.push(Lack { found, needed, remedy });
    };
    if version(&facts.release) < OLDEST {
        let found = format!("this kernel is {}", facts.release);
        lack(found, "Linux 6.1 or later (6.6 for TCX)", "boot a newer kernel".to_owned());
    }
    if !facts.has_btf {
        lack(
            "this kernel has no type information (/sys/kernel/btf/vmlinux)".to_owned(),
            "CONFIG_DEBUG_INFO_BTF",
            "boot a kernel that is built with it; distributions' kernels are".to_owned(),
        );
    }
    let (folder, is_bpf) = &facts.pins;
    if !is_bpf {
        lack(
            format!("{folder} is not on a BPF file system"),
            "a place for pins that outlives the agent",
            "run `mount -t bpf bpf /sys/fs/bpf`, or set pin_dir to a folder on one".to_owned(),
        );
    }
    lacks.extend(missing(facts.capabilities));
    lacks
}

/// What this process may not do of what an agent must.
pub(crate) fn incapable() -> Vec<Lack> {
    missing(capabilities()).into_iter().collect()
}

fn missing(effective: u64) -> Option<Lack> {
    let missing: Vec<&str> =
        CAPABILITIES.iter().filter(|(bit, _)| effective & (1 << bit) == 0).map(|(_, name)| *name).collect();
    (!missing.is_empty()).then(|| Lack {
        found: format!("this process lacks {}", missing.join(", ")),
        needed: "the rights to change links, load programs and enter containers' namespaces",
        remedy: "run it as root, or give it these capabilities".to_owned(),
    })
}

/// The effective capabilities of this process, a bit each; none if they cannot be read.
fn capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0)
}

/// Tries the links that a host needs where they disturb nobody.
fn try_links(config: &Config) -> Option<Lack> {
    let port = config.underlay.vxlan_port;
    let trial = std::thread::spawn(move || -> Result<(), String> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| format!("no network namespace can be made: {errno}"))?;
        let plan = HostPlan { port, ..HostPlan::on(link::Underlay { mtu: 1500, ipv6: false }) };
        let mut links = Links::open().map_err(|error| chain(&error))?;
        links.prepare_host(&plan).map(drop).map_err(|error| chain(&error))
    });
    let outcome = trial.join().unwrap_or_else(|_| Err("the trial failed, see the log".to_owned()));
    outcome.err().map(|found| Lack {
        found: format!("links cannot be made on this kernel: {found}"),
        needed: "network namespaces, and veth and VXLAN links",
        remedy: "load the modules veth and vxlan, or boot a kernel that has them".to_owned(),
    })
}

/// `6.18.44-amd64` as (6, 18); (0, 0) for what is no release.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

const OLDEST: (u32, u32) = (6, 1);
const CAPABILITIES: [(u32, &str); 5] =
    [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (21, "CAP_SYS_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

#[cfg(test)]
mod tests {
    use super::*;

    fn fit() -> Facts {
        Facts {
            release: "6.18.44-x".into(),
            has_btf: true,
            capabilities: u64::MAX,
            pins: ("/sys/fs/bpf".into(), true),
        }
    }

    #[test]
    fn a_fit_host_lacks_nothing() {
        assert_eq!(judge(&fit()), []);
        assert_eq!(judge(&Facts { release: "6.1.0".into(), ..fit() }), []);
    }

    #[test]
    fn every_lack_is_told_at_once() {
        let unfit = Facts {
            release: "5.15.0-91-generic".into(),
            has_btf: false,
            capabilities: !(1 << 12 | 1 << 39),
            pins: ("/var".into(), false),
        };
        let lacks: Vec<String> = judge(&unfit).iter().map(ToString::to_string).collect();
        assert_eq!(lacks.len(), 4, "{lacks:#?}");
        for (lack, part) in lacks.iter().zip(["5.15.0", "btf", "/var", "CAP_NET_ADMIN, CAP_BPF"]) {
            assert!(lack.contains(part), "{part} in {lack}");
        }
    }

    #[test]
    fn releases_are_read_as_numbers() {
        assert_eq!(version("6.18.44-fc"), (6, 18));
        assert_eq!(version("6.6"), (6, 6));
        assert_eq!(version("nonsense"), (0, 0));
    }
}
