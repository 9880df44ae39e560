//! Settings of one link under /proc/sys/net, in the calling thread's network namespace.
//!
//! Promises: only links of ours are ever named here; a setting that has the value already is not written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;

/// A setting of a link and the value it shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) family: Family,
    pub(super) name: &'static str,
    pub(super) value: &'static str,
}

/// Which protocol a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Setting {
    pub(super) const fn ipv4(name: &'static str, value: &'static str) -> Self {
        Self { family: Family::Ipv4, name, value }
    }

    pub(super) const fn ipv6(name: &'static str, value: &'static str) -> Self {
        Self { family: Family::Ipv6, name, value }
    }

    /// Gives `link` the value; true if it had another. A kernel without the protocol has nothing to set, and neither has a
    /// link that is too small for it: the kernel takes IPv6 off links whose MTU is below 1280 (RFC 8200, section 5).
    pub(super) fn apply(self, link: &str) -> Result<bool, Error> {
        let path = self.path(link);
        let fail = |source| Error::Sysctl { path: path.clone(), value: self.value, source };
        match fs::read_to_string(&path) {
            Ok(current) if current.trim_end() == self.value => Ok(false),
            Ok(_) => fs::write(&path, self.value).map(|()| true).map_err(fail),
            Err(source) if source.kind() == io::ErrorKind::NotFound && !self.has_family(link) => Ok(false),
            Err(source) => Err(fail(source)),
        }
    }

    /// Whether the protocol is there for a link. A link that is not there at all lacks none.
    fn has_family(self, link: &str) -> bool {
        let ipv4 = Family::Ipv4.conf().join(link);
        self.family.is_present()
            && (self.family == Family::Ipv4 || !ipv4.is_dir() || self.family.conf().join(link).is_dir())
    }

    fn path(self, link: &str) -> PathBuf {
        self.family.conf().join(link).join(self.name)
    }
}

impl Family {
    fn folder(self) -> &'static str {
        match self {
            Self::Ipv4 => "/proc/sys/net/ipv4",
            Self::Ipv6 => "/proc/sys/net/ipv6",
        }
    }

    /// Whether the kernel has the protocol (a host may be started without IPv6).
    pub(super) fn is_present(self) -> bool {
        self.conf().is_dir()
    }

    /// The folder of the links' settings.
    fn conf(self) -> PathBuf {
        Path::new(self.folder()).join("conf")
    }
}
