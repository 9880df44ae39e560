//! Times as certificates, records and people write them. (What the time is, the caller says.)

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far clocks may lie apart. What is signed is valid from this long before now.
pub const SKEW: Duration = Duration::from_secs(record::join::SKEW_SECONDS);

/// Whole seconds since 1970 UTC.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time so many seconds after 1970 UTC.
pub fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// As people read it: `2026-11-20T18:00:00Z`.
pub fn show(time: SystemTime) -> String {
    // The writer knows the years 1970 to 9999.
    humantime::format_rfc3339_seconds(time.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)).to_string()
}

const LAST: Duration = Duration::from_secs(253_402_300_799);
