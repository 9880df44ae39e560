//! Where the record of what was changed and what was refused goes, whatever keeps it.

use std::io;

use crate::event::AuditEvent;
use crate::search::{Found, Search};

/// Keeps audit events, and finds them again.
pub trait Audit: Send + Sync + 'static {
    /// Keeps an event. An event that cannot be kept is logged by whoever keeps them. Errors: what the system says.
    fn note(&self, event: &AuditEvent) -> io::Result<()>;

    /// Whether a write that cannot be noted must not happen. It is noted before it happens then, too.
    fn is_required(&self) -> bool {
        false
    }

    /// The newest events that are searched for. It may take long. Errors: what the system says.
    fn find(&self, search: &Search) -> io::Result<Found>;
}

/// Keeps no audit.
#[derive(Clone, Copy, Debug)]
pub struct NoAudit;

impl Audit for NoAudit {
    fn note(&self, _: &AuditEvent) -> io::Result<()> {
        Ok(())
    }

    fn find(&self, _: &Search) -> io::Result<Found> {
        let told = "this server keeps no audit: set `audit` in its settings to a file";
        Err(io::Error::new(io::ErrorKind::Unsupported, told))
    }
}
