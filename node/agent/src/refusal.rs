//! The refusals of the doors: what was wrong, and what to do.

use record::delta;
use record::door::{Refusal, RefusalCode};

use crate::cause::chain;
use crate::journal::JournalError;
use crate::kernel::KernelError;

/// A refusal of this kind.
pub(crate) fn refusal(code: RefusalCode, message: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into(), remedy: remedy.into() }
}

/// Of a request whose values are wrong.
pub(crate) fn invalid(message: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    refusal(RefusalCode::Invalid, message, remedy)
}

/// What the server said.
pub(crate) fn of_server(said: delta::Refusal) -> Refusal {
    let code = match said.kind {
        delta::RefusalKind::NotFound => RefusalCode::NotFound,
        delta::RefusalKind::Taken => RefusalCode::Taken,
        delta::RefusalKind::Exhausted => RefusalCode::Exhausted,
        delta::RefusalKind::Invalid => RefusalCode::Invalid,
        delta::RefusalKind::Unavailable => RefusalCode::Unavailable,
    };
    Refusal { code, message: said.message, remedy: said.remedy }
}

impl From<KernelError> for Refusal {
    fn from(error: KernelError) -> Self {
        let (code, remedy) = match &error {
            KernelError::NoNamespace { .. } => (
                RefusalCode::Invalid,
                "name the file of a network namespace, as the agent sees it: among its own mounts and process numbers",
            ),
            KernelError::InterfaceTaken { .. } => {
                (RefusalCode::Taken, "choose another name, or remove that interface")
            }
            KernelError::PortTaken { .. } => {
                (RefusalCode::Taken, "publish another port of the node, or stop what has this one")
            }
            KernelError::ForeignAddress { .. } => (
                RefusalCode::Invalid,
                "publish at an address of this host, or without one at all of them; for one that comes later set \
                 net.ipv4.ip_nonlocal_bind=1 (net.ipv6.ip_nonlocal_bind=1) on this host",
            ),
            KernelError::Failed { .. } => {
                (RefusalCode::Kernel, "the agent's log has the details; nothing was left behind")
            }
        };
        refusal(code, chain(&error), remedy)
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        refusal(
            RefusalCode::Unavailable,
            chain(&error),
            "see that the agent's state_dir has room and can be written, and try again",
        )
    }
}
