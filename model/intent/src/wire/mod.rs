//! How each kind is written: the descriptor trees, in the words and with all the fields of the kinds' own specifications.

mod fabric;
mod meta;
mod network;
mod policy;
mod rights;

pub use fabric::{ENDPOINT, NAMESPACE, NODE, TENANT};
pub use network::VIRTUAL_NETWORK;
pub use policy::NETWORK_POLICY;
pub use rights::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
