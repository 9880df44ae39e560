//! Waiting until no program runs that has seen what was before.
//!
//! The kernel promises it after an entry of a map of maps was replaced: it returns only when every program that may still
//! use the old inner map has ended, which is when every program that began before has.

use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapType};

use crate::error::Error;

/// The map of maps whose entry is replaced.
#[derive(Debug)]
pub(crate) struct Grace {
    outer: MapHandle,
    inner: MapHandle,
}

impl Grace {
    pub(crate) fn new() -> Result<Self, Error> {
        let made = |source| Error::library("make map", "grace", source);
        let mut options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let inner =
            MapHandle::create(MapType::Array, Some("grace_inner"), 4, 4, 1, &options).map_err(made)?;
        options.inner_map_fd = inner.as_fd().as_raw_fd() as u32;
        let outer =
            MapHandle::create(MapType::ArrayOfMaps, Some("grace"), 4, 4, 1, &options).map_err(made)?;
        Ok(Self { outer, inner })
    }

    /// Returns when every packet that was under way at the call has passed. Milliseconds, mostly.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        let inner = self.inner.as_fd().as_raw_fd().to_ne_bytes();
        self.outer
            .update(&0u32.to_ne_bytes(), &inner, MapFlags::ANY)
            .map_err(|source| Error::library("write map", "grace", source))
    }
}
