//! One node's datapath: the eBPF programs, their loader, the map codecs, and the links they hang on.

pub mod link;
