//! The recipes: policies as people write them, and who reaches whom under them.
//!
//! In a table a row asks and a column answers: `*` on every port, `-` on none, else the letters of the ports: h 80/TCP, p 8080/TCP,
//! q 5001/TCP, r 5011/TCP, d 53/UDP, u 5001/UDP. To and from the world the letters are n and f, the near and the far address. The
//! line `others` is that of everybody who has none.

mod egress;
mod ingress;
mod outside;
mod port;

pub(crate) use egress::EGRESS;
pub(crate) use ingress::INGRESS;
pub(crate) use outside::OUTSIDE;
pub(crate) use port::PORTS;

/// Policies and the table that they make.
pub(crate) struct Recipe {
    pub(crate) claim: &'static str,
    pub(crate) policies: &'static str,
    pub(crate) table: &'static str,
}
