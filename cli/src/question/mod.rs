//! Questions to the fabric: explain, version.

pub(crate) mod explain;
pub(crate) mod version;
