//! How each kind is written: the descriptor trees, in the words and with all the fields of the kinds' own specifications.

mod fabric;
mod meta;
mod network;
mod policy;

pub use fabric::{ENDPOINT, NAMESPACE, NODE, TENANT};
pub use network::VIRTUAL_NETWORK;
pub use policy::NETWORK_POLICY;
