//! The versions of the CNI specification that are spoken.

use std::fmt;

/// One of them, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.3.0
    V0_3_0,
    /// 0.3.1
    V0_3_1,
    /// 0.4.0, which brought `CHECK`.
    V0_4_0,
    /// 1.0.0
    V1_0_0,
    /// 1.1.0, which brought `GC` and `STATUS`.
    V1_1_0,
}

/// All of them, as they are written.
pub const SUPPORTED: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

const ORDER: [Version; 5] =
    [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0, Version::V1_0_0, Version::V1_1_0];

impl Version {
    /// The version that is answered in when a request names none.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As it is written.
    pub fn text(self) -> &'static str {
        SUPPORTED[self as usize]
    }

    /// Reads a `cniVersion`.
    pub fn parse(text: &str) -> Result<Self, Unspoken> {
        let place = SUPPORTED.iter().position(|supported| *supported == text);
        place.map(|place| ORDER[place]).ok_or_else(|| Unspoken(text.to_owned()))
    }
}

/// A version that is not spoken, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unspoken(pub String);

impl fmt::Display for Unspoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cniVersion {:?} is not spoken here", self.0)
    }
}

impl std::error::Error for Unspoken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_the_order_is_theirs() {
        for (version, text) in ORDER.into_iter().zip(SUPPORTED) {
            assert_eq!(version.text(), text);
            assert_eq!(Version::parse(text), Ok(version));
        }
        assert!(ORDER.is_sorted());
        for unknown in ["", "0.1.0", "0.2.0", "1.2.0", "1.1", "1.0.0 "] {
            assert_eq!(Version::parse(unknown), Err(Unspoken(unknown.to_owned())));
        }
    }
}
