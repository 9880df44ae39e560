//! Who is let in: tokens, and certificates that are known or revoked. The server's answers are [`fleet::ledger`]'s.

pub(crate) mod certificate;
pub(crate) mod token;

/// Seconds since 1970 as people read them.
fn time(seconds: u64) -> String {
    identity::clock::show(identity::clock::time(seconds))
}
