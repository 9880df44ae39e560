//! Sealane on this host: the daemons, starting and ending them, and the config of the CNI plugin.

mod daemon;
mod down;
mod up;

pub(crate) use down::Down;
pub(crate) use up::Up;
