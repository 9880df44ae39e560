//! Sealane on this host: the daemons, starting and ending them, backups of the server, and the config of the CNI plugin.

mod backup;
mod bpffs;
mod cni;
mod daemon;
mod down;
mod purge;
mod serve;
mod up;

pub(crate) use backup::{Backup, Restore};
pub(crate) use cni::Cni;
pub(crate) use down::Down;
pub(crate) use serve::{Agent, Server};
pub(crate) use up::Up;
