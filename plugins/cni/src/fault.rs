//! Errors as the runtime is told them (CNI specification, section "Error").

use std::fmt;

use record::door::{Refusal, RefusalCode};
use serde_json::{Value, json};

use crate::version::{SUPPORTED, Unspoken, Version};

/// An error of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For a program.
    pub code: Code,
    /// What was wrong.
    pub msg: String,
    /// More of it, and what to do.
    pub details: String,
}

/// The numbers. Those below 100 are the specification's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The config's version is not spoken.
    IncompatibleVersion = 1,
    /// A field of the config is not supported.
    UnsupportedField = 2,
    /// The container is not known, or does not exist.
    UnknownContainer = 3,
    /// A variable is missing or wrong.
    InvalidEnvironment = 4,
    /// Reading or writing failed.
    Io = 5,
    /// What came is no JSON of the expected shape.
    Decode = 6,
    /// The config's values are wrong.
    InvalidConfig = 7,
    /// It may work later.
    TryAgain = 11,
    /// `STATUS`: nothing can be attached now.
    NotAvailable = 50,
    /// `STATUS`: nothing can be attached, and what is attached may be cut off.
    LimitedConnectivity = 51,
    /// The agent's settings do not allow it.
    Forbidden = 100,
    /// A name, address, interface or port is taken.
    Taken = 101,
    /// No address is left.
    Exhausted = 102,
    /// The tenant, namespace or network does not exist.
    NotFound = 103,
    /// The kernel refused.
    Kernel = 104,
    /// `CHECK`: the attachment is not as it was made.
    Drifted = 105,
}

impl Fault {
    /// An error.
    pub fn new(code: Code, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: details.into() }
    }

    /// As it is written to stdout.
    pub fn json(&self, version: Version) -> Value {
        json!({ "cniVersion": version.text(), "code": self.code as u32, "msg": self.msg, "details": self.details })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.msg, self.code as u32, self.details)
    }
}

impl std::error::Error for Fault {}

impl From<Unspoken> for Fault {
    fn from(unspoken: Unspoken) -> Self {
        let details = format!("supported versions: {}", SUPPORTED.join(", "));
        Self::new(Code::IncompatibleVersion, unspoken.to_string(), details)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.code {
            RefusalCode::Invalid => Code::InvalidConfig,
            RefusalCode::Forbidden => Code::Forbidden,
            RefusalCode::NotFound => Code::NotFound,
            RefusalCode::Taken => Code::Taken,
            RefusalCode::Exhausted => Code::Exhausted,
            RefusalCode::Unavailable => Code::TryAgain,
            RefusalCode::Kernel => Code::Kernel,
            RefusalCode::Drifted => Code::Drifted,
        };
        Self::new(code, refusal.message, refusal.remedy)
    }
}

#[test]
fn a_version_that_is_not_spoken_is_answered_with_those_that_are() {
    let fault = Fault::from(Unspoken("9.9.9".to_owned()));
    assert_eq!(fault.code, Code::IncompatibleVersion);
    assert!(
        fault.msg.contains("9.9.9") && fault.details.contains("0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        "{fault}"
    );
}
